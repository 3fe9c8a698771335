"""Speculative generation: a draft model proposes tokens, and the target looks at several of them in one call."""

from collections.abc import Callable, Collection, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray

from ergodica.samplers.acceptance import single_draft_native
from ergodica.samplers.acceptance.blocks import block_verification_native
from ergodica.samplers.acceptance.blocks.block_rule import ChainRule
from ergodica.samplers.acceptance.blocks.block_verification import BlockVerification
from ergodica.samplers.acceptance.blocks.draft_length_policy import DraftLengthPolicy
from ergodica.samplers.acceptance.blocks.token_verification import TokenVerification
from ergodica.samplers.acceptance.single_draft import SingleDraft
from ergodica.samplers.inputs import static_count
from ergodica.samplers.sequences.choices import Choices, invert_rows
from ergodica.samplers.sequences.generation import Block, Generation
from ergodica.samplers.sequences.model import Prefix, SequenceModel, as_text

__all__ = ["generate", "stream"]

Predictor = Callable[[Float[np.ndarray, "B V"]], Float[np.ndarray, " B"]]


def _largest(rows: Float[np.ndarray, "B V"]) -> Float[np.ndarray, " B"]:
    return rows.max(axis=-1)


def generate(
    target: SequenceModel,
    draft: SequenceModel,
    rule: SingleDraft | ChainRule,
    prompt: Any = (),
    *,
    max_tokens: int,
    key: PRNGKeyArray,
    gamma: int = 4,
    policy: DraftLengthPolicy | None = None,
    predict: Predictor = _largest,
    stop: Collection[int] = (),
    num_texts: int | None = None,
    batch: int | None = None,
    on_block: Callable[[Block], None] | None = None,
) -> Generation:
    """Generate texts with the target's law, in fewer calls of the target than tokens.

    In each round the draft proposes up to ``gamma`` tokens, the target evaluates all of them in one call, and the rule
    keeps some and adds one. The law of the text is the target's whatever the draft. What the models have read in vain is
    cut from their caches.

    Parameters
    ----------
    target, draft
        Models on the same vocabulary.
    rule
        ``SingleDraft()`` tests token after token; ``BlockVerification()`` keeps the most; or another rule for chains.
    prompt
        Tokens that every text goes on from; or a prompt for each text, as a list of lists.
    max_tokens
        Most tokens of a text.
    key
        Typed key. A text depends on the key, its number and its prompt, not on what is generated beside it.
    gamma
        Most drafts of a round.
    policy
        Decides after each draft whether to draft another; default: always ``gamma``.
    predict
        From the draft's laws, shape ``(B, V)``, to the predicted probability that a token from them is kept, for the
        policy; default: the largest probability.
    stop
        Tokens that end a text; they belong to it.
    num_texts
        How many texts; default: one, or one for each prompt.
    batch
        How many of them at a time; default: all.
    on_block
        Called with each block as it comes.

    Returns
    -------
    Generation

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit.
    """
    blocks = []
    texts: dict[int, list[int]] = {}
    for block in stream(
        target,
        draft,
        rule,
        prompt,
        max_tokens=max_tokens,
        key=key,
        gamma=gamma,
        policy=policy,
        predict=predict,
        stop=stop,
        num_texts=num_texts,
        batch=batch,
    ):
        blocks.append(block)
        texts.setdefault(block.text, []).extend(block.tokens)
        if on_block is not None:
            on_block(block)
    return Generation(tuple(tuple(texts[text]) for text in sorted(texts)), tuple(blocks))


def stream(
    target: SequenceModel,
    draft: SequenceModel,
    rule: SingleDraft | ChainRule,
    prompt: Any = (),
    *,
    max_tokens: int,
    key: PRNGKeyArray,
    gamma: int = 4,
    policy: DraftLengthPolicy | None = None,
    predict: Predictor = _largest,
    stop: Collection[int] = (),
    num_texts: int | None = None,
    batch: int | None = None,
) -> Iterator[Block]:
    """Yield the blocks of :func:`generate` as they come."""
    size = target.vocabulary_size
    if draft.vocabulary_size != size:
        raise ValueError(f"target and draft need one vocabulary; got {size} and {draft.vocabulary_size} tokens")
    if not isinstance(rule, SingleDraft | ChainRule):
        raise TypeError(f"rule has to verify chains, as SingleDraft() or BlockVerification(); got {rule!r}")
    static_count("max_tokens", max_tokens)
    static_count("gamma", gamma, at_least=0)
    prompts = _prompts(prompt, num_texts, size)
    batch = len(prompts) if batch is None else static_count("batch", batch)
    choices = Choices(key)
    ends = frozenset(int(token) for token in stop)
    chain = TokenVerification() if isinstance(rule, SingleDraft) else rule
    for first in range(0, len(prompts), batch):
        group = range(first, min(first + batch, len(prompts)))
        texts = _Texts(target, draft, chain, choices, list(group), [prompts[text] for text in group], max_tokens, ends)
        place = 0
        while texts.live.any():
            yield from texts.advance(gamma, policy, predict, place)
            place += 1


def _prompts(prompt: Any, num_texts: int | None, size: int) -> list[Prefix]:
    several = isinstance(prompt, Sequence) and len(prompt) > 0 and all(np.ndim(entry) == 1 for entry in prompt)
    if several:
        if num_texts is not None and num_texts != len(prompt):
            raise ValueError(f"num_texts is {num_texts}, but there are {len(prompt)} prompts")
        return [as_text("prompt", entry, size) for entry in prompt]
    return [as_text("prompt", prompt, size)] * (1 if num_texts is None else static_count("num_texts", num_texts))


class _Texts:
    """Texts that are generated side by side."""

    def __init__(
        self,
        target: SequenceModel,
        draft: SequenceModel,
        rule: ChainRule,
        choices: Choices,
        numbers: list[int],
        prompts: list[Prefix],
        max_tokens: int,
        stop: frozenset[int],
    ) -> None:
        self.rule, self.choices, self.numbers, self.stop = rule, choices, numbers, stop
        self.target, self.draft = target.open(prompts), draft.open(prompts)
        self.texts = [list(prompt) for prompt in prompts]
        self.ends = [len(prompt) + max_tokens for prompt in prompts]
        self.live = np.ones(len(prompts), bool)

    def _unread(self, lengths: Int[np.ndarray, " B"]) -> list[list[int]]:
        return [
            text[length:] if live else [] for text, length, live in zip(self.texts, lengths, self.live, strict=True)
        ]

    def _last_rows(self, new: list[list[int]], width: int) -> Float[np.ndarray, "B V"]:
        """Let the draft read on, and return its law after each text; after a prompt, if there was nothing to read."""
        if width == 0:
            return self.draft.law
        rows = self.draft.extend(new, width)
        return rows[np.arange(len(new)), [max(len(tokens) - 1, 0) for tokens in new]]

    def advance(self, gamma: int, policy: DraftLengthPolicy | None, predict: Predictor, place: int) -> list[Block]:
        """Draft, verify, and return what each text got."""
        uniforms = np.zeros((len(self.texts), 2 * gamma + 1))
        if not self.choices.is_resolved:
            for b in np.flatnonzero(self.live):
                uniforms[b] = self.choices.uniforms(self.numbers[b], place, 2 * gamma + 1)
        drafts, q = self._drafted(gamma, policy, predict, uniforms[:, :gamma])
        unread = self._unread(self.target.lengths)
        new = [left + drafted for left, drafted in zip(unread, drafts, strict=True)]
        # One width for all rounds but the first, so that compiled models see one shape.
        rows = self.target.extend(new, gamma + 1 if max(map(len, unread)) <= 1 else None)
        p = []
        for law, read, tokens, drafted in zip(self.target.law, rows, new, drafts, strict=True):
            known = np.concatenate([law[None], read[: len(tokens)]])
            p.append(known[len(tokens) - len(drafted) :])
        outcome: list[tuple[int, int]] = [(0, 0)] * len(drafts)
        for length in {len(drafts[b]) for b in np.flatnonzero(self.live)}:
            group = [b for b in np.flatnonzero(self.live) if len(drafts[b]) == length]
            chains = np.array([drafts[b] for b in group], np.int32).reshape(len(group), length)
            laws = np.stack([p[b] for b in group]), q[group, :length]
            # The last uniform draws the own token, whatever the length.
            chosen = uniforms[group][:, [*range(gamma, gamma + length), 2 * gamma]]
            for number, result in zip(group, self._verified(chains, *laws, chosen), strict=True):
                outcome[number] = result
        before = [len(text) for text in self.texts]
        out = [self._taken(b, drafts[b], *outcome[b], p[b], q[b]) for b in range(len(drafts)) if self.live[b]]
        kept = [
            min(length + accepted, len(text) - 1) if live else len(text)
            for length, (accepted, _), text, live in zip(before, outcome, self.texts, self.live, strict=True)
        ]
        for reader in (self.target, self.draft):
            reader.cut(np.minimum(kept, reader.lengths))
        for block in out:
            self.live[self.numbers.index(block.text)] = not block.is_last
        return out

    def _drafted(
        self, gamma: int, policy: DraftLengthPolicy | None, predict: Predictor, uniforms: Float[np.ndarray, "B g"]
    ) -> tuple[list[list[int]], Float[np.ndarray, "B g V"]]:
        count = len(self.texts)
        q = np.zeros((count, gamma, self.draft.law.shape[-1]))
        drafts: list[list[int]] = [[] for _ in range(count)]
        # The rule adds a token of its own, so that one less than there is room for is drafted.
        room = np.array([end - len(text) - 1 for end, text in zip(self.ends, self.texts, strict=True)])
        going, so_far = self.live.copy(), np.ones(count)
        new = self._unread(self.draft.lengths)
        for i in range(gamma):
            going = going & (i < room)
            if not going.any():
                break
            new = [tokens if goes else [] for tokens, goes in zip(new, going, strict=True)]
            longest = max(map(len, new))
            # One width for the first draft of all rounds but the first, so that compiled models see one shape.
            rows = self._last_rows(new, longest if i or longest > 2 else 2 * (longest > 0))
            if policy is not None:
                following = so_far * np.where(going, predict(rows), 1.0)
                going = going & np.asarray(policy.goes_on(so_far, following))  # type: ignore[arg-type]
                so_far = following
            tokens = np.zeros(count, int)
            at = np.flatnonzero(going)
            if at.size:
                tokens[at] = (
                    self.choices.resolved(rows[at])
                    if self.choices.is_resolved
                    else invert_rows(rows[at], uniforms[at, i])
                )
            q[at, i] = rows[at]
            for b in at:
                drafts[b].append(int(tokens[b]))
            new = [[int(tokens[b])] if going[b] else [] for b in range(count)]
        return drafts, q

    def _verified(
        self,
        tokens: Int[np.ndarray, "B g"],
        p: Float[np.ndarray, "B g+1 V"],
        q: Float[np.ndarray, "B g V"],
        uniforms: Float[np.ndarray, "B g+1"],
    ) -> list[tuple[int, int]]:
        """Return how many drafts of each chain are kept, and the token after them."""
        if self.choices.is_resolved:
            return [self._resolved(*chain) for chain in zip(tokens, p, q, strict=True)]
        # Subclasses may decide otherwise than the compiled cores do.
        if type(self.rule) is TokenVerification:
            out = single_draft_native.verify(tokens, p, q, uniforms)
        elif type(self.rule) is BlockVerification:
            out = block_verification_native.verify(tokens, p, q, uniforms)
        else:
            out = self.rule.decide(tokens, p, q, uniforms)  # type: ignore[arg-type]
        tau, emitted = np.asarray(out.tau), np.asarray(out.tokens)
        return [(int(accepted), int(row[accepted])) for accepted, row in zip(tau, emitted, strict=True)]

    def _resolved(self, tokens: Any, p: Any, q: Any) -> tuple[int, int]:
        """Choose from the rule's own law of what it does, in fractions; the cores are tied to it elsewhere."""
        exact = [np.array([[Fraction(x) for x in row] for row in rows], object) for rows in (p, q)]
        stop, own = self.rule.stop_law(tokens, exact[0], exact[1].reshape(len(tokens), p.shape[-1]))
        accepted = int(self.choices.resolved(stop[None])[0])
        return accepted, int(self.choices.resolved(own[accepted][None])[0])

    def _taken(self, b: int, drafts: list[int], accepted: int, own: int, p: Any, q: Any) -> Block:
        tokens = [*drafts[:accepted], own]
        stops = [i for i, token in enumerate(tokens) if token in self.stop]
        if stops:
            tokens = tokens[: stops[0] + 1]
        self.texts[b].extend(tokens)
        is_last = bool(stops) or len(self.texts[b]) >= self.ends[b]
        by_token, by_block = _kept_on_average(drafts, p, q)
        return Block(self.numbers[b], tuple(tokens), len(drafts), accepted, by_token, by_block, is_last)


def _kept_on_average(drafts: list[int], p: Any, q: Any) -> tuple[float, float]:
    """Return the mean number of kept drafts given the drafts: by tokens, and as a block."""
    alive, budget, by_token, by_block = 1.0, 1.0, 0.0, 0.0
    for i, token in enumerate(drafts):
        ratio = float(p[i, token] / q[i, token])
        alive, budget = alive * min(1.0, ratio), min(1.0, budget * ratio)
        by_token, by_block = by_token + alive, by_block + budget
    return by_token, by_block
