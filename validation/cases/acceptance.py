"""Rows of the catalogue for acceptance rules of the equality kind.

The checks take any :class:`~ergodica.samplers.acceptance.token_rule.TokenRule`. Laws are computed, not sampled, so that
no check has a false alarm.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.greedy_multi_draft import GreedyMultiDraft
from ergodica.samplers.acceptance.luce_selection import LuceSelection
from ergodica.samplers.acceptance.naive import Naive
from ergodica.samplers.acceptance.optimal_luce_selection import OptimalLuceSelection
from ergodica.samplers.acceptance.optimal_selection import OptimalSelection
from ergodica.samplers.acceptance.ordered_selection import OrderedSelection
from ergodica.samplers.acceptance.recursive_rejection import RecursiveRejection
from ergodica.samplers.acceptance.recursive_rejection_without_replacement import RecursiveRejectionWithoutReplacement
from ergodica.samplers.acceptance.sequential_selection import SequentialSelection
from ergodica.samplers.acceptance.single_draft import SingleDraft
from ergodica.samplers.acceptance.spechub import SpecHub
from ergodica.samplers.acceptance.token_rule import TokenRule
from ergodica.validation.enumeration import enumerate_law
from ergodica.validation.evidence import Case, Check, Outcome

Weights = tuple[int, ...]
Model = Mapping[tuple[int, ...], Sequence[Fraction]]

_ROUNDING = 1e-12


def _fractions(weights: Weights) -> np.ndarray:
    return np.array([Fraction(weight, sum(weights)) for weight in weights], dtype=object)


def _floats(weights: Weights) -> np.ndarray:
    return np.asarray(weights, np.float64) / sum(weights)


def _random_pairs(count: int, seed: int) -> list[tuple[Weights, Weights]]:
    """Pairs of integer weights on three to five tokens, some of them zero."""
    generator = np.random.default_rng(seed)
    pairs: list[tuple[Weights, Weights]] = []
    while len(pairs) < count:
        size = int(generator.integers(3, 6))
        both = generator.integers(0, 13, (2, size)) * (generator.random((2, size)) < 0.85)
        if both.any(axis=1).all():
            pairs.append((tuple(both[0].tolist()), tuple(both[1].tolist())))
    return pairs


# A residual on one token alone hides what is wrong with residuals: three tokens are the least that show it.
PAIRS: tuple[tuple[Weights, Weights], ...] = (
    ((5, 0, 3, 11, 10), (4, 9, 1, 0, 6)),
    ((5, 11, 4, 10), (5, 11, 4, 10)),
    ((5, 1, 0, 0), (0, 0, 2, 1)),
    ((1, 12, 6), (7, 12, 11)),
    ((0, 5, 0, 9), (5, 9, 7, 2)),
    ((1, 2, 4, 8), (8, 4, 2, 1)),
    ((0, 0, 1), (2, 3, 4)),
    ((2, 3, 4), (0, 1, 0)),
    ((7,), (3,)),
    ((1, 1, 1_000_000), (1, 1_000_000, 2)),
    *_random_pairs(30, seed=20221130),
)
"""Targets and drafts as integer weights: generic, equal, disjoint, with zeros on either side, one-hot, one token."""

PAIRS_OF_THREE: list[tuple[Weights, Weights]] = [
    ((5, 3, 2), (2, 3, 5)),
    ((2, 2, 7, 1), (5, 0, 1, 6)),
    ((1, 2, 2), (1, 2, 2)),
    ((1, 0, 6), (4, 4, 1)),
    ((0, 1, 0), (1, 0, 3)),
    ((4, 1, 3), (1, 4, 0)),
    ((3, 8, 1), (9, 2, 1)),
]
"""The same on few tokens, for three drafts."""


def _pairs(k: int) -> list[tuple[Weights, Weights]]:
    """Return the pairs with few enough tuples of drafts."""
    return [pair for pair in PAIRS if len(pair[0]) ** k <= 125] if k < 3 else PAIRS_OF_THREE


def _drafts_in(k: int) -> str:
    return f", {k} drafts" if k > 1 else ""


def _worst(errors: Sequence[tuple[float, str]], bound: float, *, what: str) -> Outcome:
    error, where = max(errors, key=lambda pair: np.inf if np.isnan(pair[0]) else pair[0])
    passed = bool(error <= bound)
    return Outcome(float(error), bound, passed, 0.0, "" if passed else f"{what} {where}")


def _distance(law: Any, target: Any) -> float:
    return float(max(abs(got - wanted) for got, wanted in zip(law, target, strict=True)))


def _decisions(rule: TokenRule, points: Any, k: int) -> Callable[[Any, int], list[tuple[Any, np.ndarray]]]:
    """Return a function from a state and the vocabulary's size to the tokens decided on a grid, by tuple of drafts."""
    grid = jnp.stack(jnp.meshgrid(*[points] * rule.num_uniforms(k), indexing="ij"), axis=-1)
    uniforms = grid.reshape(-1, rule.num_uniforms(k))

    def token(state: Any, at: Any, u: Any) -> Any:
        return rule.decide(state, at, u).token

    decide = jax.jit(jax.vmap(jax.vmap(token, (None, None, 0)), (None, 0, None)))

    def decided(state: Any, size: int) -> list[tuple[Any, np.ndarray]]:
        drafts = list(itertools.product(range(size), repeat=k))
        return list(zip(drafts, np.asarray(decide(state, jnp.asarray(drafts), uniforms)), strict=True))

    return decided


# --- one position ---------------------------------------------------------------------------------------------------


def rational_law(k: int = 1) -> Check:
    """Return the check that the output has the target's law, in fractions and without tolerance."""

    def run(rule: TokenRule, key: PRNGKeyArray) -> Outcome:
        del key
        errors = []
        for p, q in _pairs(k):
            out = rule.output_law(_fractions(p), _fractions(q), k)
            errors.append((_distance(out.law, _fractions(p)), f"p={p}, q={q}: {[str(part) for part in out.law]}"))
        return _worst(errors, 0.0, what="the output's law is not the target's for weights")

    return Check(f"exact: rational law of the output{_drafts_in(k)}", run, seconds=0.3 * k)


def enumerated_law(k: int = 1, *, traced: bool = True) -> Check:
    """Return the check that the code that runs, from drafting to the output, has the target's law.

    Parameters
    ----------
    k
        Number of drafts.
    traced
        Whether the code includes what the rule computes once; rules that do so on the host leave it out.
    """

    def run(rule: TokenRule, key: PRNGKeyArray) -> Outcome:
        errors = []
        for p, q in PAIRS[:14] if k == 1 else PAIRS_OF_THREE[:3]:
            target, draft = _floats(p), _floats(q)
            drafts = rule.draft_law(draft, k)

            def program(key: PRNGKeyArray, *inputs: Any, drafts: Any = drafts) -> Any:
                draft_key, rule_key = random.split(key)
                state = rule.prepare(inputs[0], inputs[1], k) if traced else inputs[0]
                return rule.draw(rule_key, state, drafts.sample(draft_key)).token

            inputs = (jnp.asarray(target), jnp.asarray(draft)) if traced else (rule.prepare(target, draft, k),)
            law = enumerate_law(program, key, *inputs)
            errors.append((_distance(law.vector(len(p)), target), f"p={p}, q={q}"))
        return _worst(errors, _ROUNDING, what="the enumerated law of the output is not the target's for weights")

    return Check(f"exact: enumerated law of the code that draws{_drafts_in(k)}", run, seconds=2.0)


def decided_law(k: int = 1) -> Check:
    """Return the check that decisions on uniforms have the conditional law.

    For one draft the thresholds of the decision are multiples of 1/24 for these laws, so that the average over the
    midpoints of a grid of 24 is the integral. For more the average over a grid of ``n`` is off by at most ``1 / n`` for
    each uniform but the last, of which an interval decides, and ``1 / n`` for that.
    """
    p, q = ((1, 3, 4, 0), (4, 2, 1, 1)) if k == 1 else ((3, 5, 8, 0), (6, 4, 2, 4))

    def run(rule: TokenRule, key: PRNGKeyArray) -> Outcome:
        del key
        cells = 24 if k == 1 else 36
        bound = _ROUNDING if k == 1 else (max(k, rule.num_uniforms(k)) + 1) / cells
        state = rule.prepare(jnp.asarray(_floats(p)), jnp.asarray(_floats(q)), k)
        exact = rule.prepare(_fractions(p), _fractions(q), k)
        errors = []
        for drafts, tokens in _decisions(rule, (jnp.arange(cells) + 0.5) / cells, k)(state, len(p)):
            law = np.bincount(tokens, minlength=len(p)) / len(tokens)
            wanted = rule.conditional_law(exact, np.asarray(drafts)).law
            errors.append((_distance(law, [float(part) for part in wanted]), f"{drafts}"))
        return _worst(errors, bound, what="decisions on uniforms do not have the conditional law given drafts")

    return Check("exact: decisions on a grid of uniforms", run, seconds=1.0)


def impossible_tokens(k: int = 1) -> Check:
    """Return the check that no token of probability zero is emitted, whatever the uniforms, zero included."""

    def run(rule: TokenRule, key: PRNGKeyArray) -> Outcome:
        del key
        bad = []
        decided = _decisions(rule, jnp.asarray([0.0, 0.5, 1 - 2.0**-53]), k)
        for p, q in PAIRS[:8] if k == 1 else [PAIRS[number] for number in (0, 1, 4, 5)]:
            state = rule.prepare(jnp.asarray(_floats(p)), jnp.asarray(_floats(q)), k)
            for drafts, tokens in decided(state, len(p)):
                wrong = [token for token in set(tokens.tolist()) if token < 0 or p[token] == 0]
                bad.append((float(len(wrong)), f"p={p}, q={q}, drafts {drafts}: {wrong}"))
        return _worst(bad, 0.0, what="tokens of probability zero are emitted for weights")

    return Check("exact: no impossible token at the ends of the uniforms", run, seconds=1.5)


def nothing_left(k: int = 1) -> Check:
    """Return the check that a rejection with an empty residual emits from the target.

    It is provoked by a draft that cannot have been drawn.
    """
    p = (1, 3, 0, 2)

    def run(rule: TokenRule, key: PRNGKeyArray) -> Outcome:
        del key
        law = rule.conditional_law(rule.prepare(_fractions(p), _fractions(p), k), np.full(k, 2)).law
        return _worst([(_distance(law, _fractions(p)), f"p={p}")], 0.0, what="an empty residual is not the target for")

    return Check("exact: the target if no residual is left", run, seconds=0.1)


def invariances(k: int = 1) -> Check:
    """Return the check that rescaled weights and relabelled tokens change nothing but the labels."""

    def run(rule: TokenRule, key: PRNGKeyArray) -> Outcome:
        del key
        errors = []
        for p, q in PAIRS[3:12]:
            target, draft = _fractions(p), _fractions(q)
            base = rule.prepare(target, draft, k)
            scaled = rule.prepare(3 * target, draft / 7, k)
            order = np.roll(np.arange(len(p)), 1)
            moved = rule.prepare(target[order], draft[order], k)
            for drafts in itertools.product(range(len(p)), repeat=k):
                law = rule.conditional_law(base, np.asarray(drafts)).law
                other = rule.conditional_law(scaled, np.asarray(drafts)).law
                errors.append((_distance(other, law), f"scaling at p={p}, q={q}"))
                label = np.argsort(order)[np.asarray(drafts)]
                other = rule.conditional_law(moved, label).law
                errors.append((_distance(other, law[order]), f"labels at p={p}, q={q}"))
        return _worst(errors, 0.0, what="the conditional law depends on the")

    return Check("exact: invariant under scale, equivariant under labels", run, seconds=0.3)


def acceptance_rate(k: int = 1, *, optimal: bool, tolerance: float = 0.0) -> Check:
    """Return the check that acceptance is what the closed form says, and not above the optimum; or equal to it.

    Parameters
    ----------
    k
        Number of drafts.
    optimal
        Whether the rule claims to be the best for its drafts.
    tolerance
        How far from the optimum it may be: that of the method that looks for it.
    """

    def run(rule: TokenRule, key: PRNGKeyArray) -> Outcome:
        del key
        errors = []
        for p, q in _pairs(k):
            target, draft = _fractions(p), _fractions(q)
            out = rule.output_law(target, draft, k)
            best = rule.optimum(target, rule.draft_law(draft, k))
            claimed = rule.alpha(rule.prepare(target, draft, k))
            excess = [out.accept_branch - out.accept_member, out.accept_member - best]
            if claimed is not None:
                excess.append(abs(claimed - out.accept_branch))
            if optimal:
                excess.append(abs(best - out.accept_branch))
            errors.append((float(max(excess)), f"p={p}, q={q}"))
        return _worst(errors, tolerance, what="acceptance is not as claimed, or above the optimum, for weights")

    return Check(f"exact: acceptance as claimed, within the optimum{_drafts_in(k)}", run, seconds=0.5)


def robustness(k: int = 1) -> Check:
    """Return the check that drafts from another law move the output by at most the distance of the two laws of tuples."""

    def run(rule: TokenRule, key: PRNGKeyArray) -> Outcome:
        del key
        errors = []
        for (p, q), (other, _) in itertools.pairwise(_pairs(k)):
            if len(other) != len(p):
                continue
            target, draft, drawn = _fractions(p), _fractions(q), rule.draft_law(_fractions(other), k)
            out = rule.output_law(target, draft, k, drafts_from=drawn)
            moved = sum(abs(out.law - target)) / 2
            meant, had = dict(rule.draft_law(draft, k).enumerate()), dict(drawn.enumerate())
            distance = sum(abs(meant.get(drafts, 0) - had.get(drafts, 0)) for drafts in {**meant, **had}) / 2
            errors.append((float(moved - distance), f"p={p}, q={q}, drawn from {other}"))
        return _worst(errors, 0.0, what="a wrong draft law moves the output by more than its distance at weights")

    return Check("exact: a wrong draft law costs at most its distance", run, seconds=0.2)


# --- chains ---------------------------------------------------------------------------------------------------------


def random_model(size: int, depth: int, seed: int) -> Model:
    """Return a model whose next-token laws depend on the whole prefix, of at most ``depth`` tokens."""
    generator = np.random.default_rng(seed)
    model = {}
    for length in range(depth + 1):
        for prefix in itertools.product(range(size), repeat=length):
            weights = generator.integers(0, 9, size)
            weights[generator.integers(size)] += 1
            model[prefix] = [Fraction(int(weight), int(weights.sum())) for weight in weights]
    return model


def rows_along(model: Model, tokens: Sequence[int], count: int) -> np.ndarray:
    """Return the model's laws after the first ``count`` prefixes of a chain."""
    return np.array([[float(part) for part in model[tuple(tokens[:length])]] for length in range(count)])


def emitted_law(
    verify: Callable[..., Any], target: Model, draft: Model, gamma: int, size: int, key: PRNGKeyArray
) -> dict[tuple[int, ...], float]:
    """Return the law of what a verifier emits, by enumerating all chains of drafts and its choices.

    Parameters
    ----------
    verify
        ``verify(key, tokens, p, q) -> Verification``.
    target, draft
        Laws of the next token by prefix.
    gamma
        Number of drafts.
    size
        Number of tokens.
    key
        Any key.
    """
    out: dict[tuple[int, ...], float] = {}
    for tokens in itertools.product(range(size), repeat=gamma):
        weight = float(math.prod(draft[tokens[:length]][tokens[length]] for length in range(gamma)))
        if weight == 0:
            continue
        p, q = rows_along(target, tokens, gamma + 1), rows_along(draft, tokens, gamma).reshape(gamma, size)
        law = enumerate_law(lambda key, *chain: verify(key, *chain).tokens, key, jnp.asarray(tokens, int), p, q)
        for emitted, probability in law:
            string = tuple(token for token in np.asarray(emitted).tolist() if token >= 0)
            out[string] = out.get(string, 0.0) + weight * probability
    return out


def completed(emitted: Mapping[tuple[int, ...], float], target: Model, length: int, size: int) -> dict[Any, float]:
    """Return the law of the first ``length`` tokens, if the target continues what was emitted."""
    out = {}
    for string in itertools.product(range(size), repeat=length):
        total = 0.0
        for cut in range(1, length + 1):
            rest = math.prod(target[string[:at]][string[at]] for at in range(cut, length))
            total += emitted.get(string[:cut], 0.0) * float(rest)
        out[string] = total
    return out


def chain_law(gamma: int, size: int, seed: int) -> Check:
    """Return the check that a verified chain, continued by the target, has the target's law, by enumeration."""

    def run(rule: SingleDraft, key: PRNGKeyArray) -> Outcome:
        target, draft = random_model(size, gamma, seed), random_model(size, gamma, seed + 1)
        emitted = emitted_law(rule.verify, target, draft, gamma, size, key)
        law = completed(emitted, target, gamma + 1, size)
        errors = []
        for string, probability in law.items():
            wanted = math.prod(target[string[:at]][string[at]] for at in range(gamma + 1))
            errors.append((abs(probability - float(wanted)), f"{string}"))
        return _worst(errors, _ROUNDING, what="a chain's law is not the target's at")

    return Check(f"exact: enumerated law of chains of {gamma} on {size} tokens", run, seconds=2.0)


CASES: tuple[Case, ...] = (
    Case(
        "single-draft",
        SingleDraft,
        SingleDraft,
        (
            rational_law(),
            enumerated_law(),
            decided_law(),
            impossible_tokens(),
            nothing_left(),
            invariances(),
            acceptance_rate(optimal=True),
            robustness(),
            chain_law(2, 3, seed=1),
        ),
    ),
)
"""Speculative sampling with one draft a position."""


def _several(
    name: str,
    rule: type[TokenRule],
    *more: Check,
    optimal: bool = False,
    traced: bool = True,
    most: int = 3,
    tolerance: float = 0.0,
) -> Case:
    """Return the row of a rule for several drafts, with the checks that all of them have to pass."""
    checks = [rational_law(k) for k in range(2, most + 1)]
    checks += [acceptance_rate(k, optimal=optimal, tolerance=tolerance) for k in range(2, most + 1)]
    checks += [enumerated_law(2, traced=traced), decided_law(2), impossible_tokens(2), robustness(2)]
    return Case(name, rule, rule, (*checks, *more))


CASES += (
    _several("naive-multi-draft", Naive, nothing_left(2), invariances(2)),
    _several("recursive-rejection", RecursiveRejection, nothing_left(2), invariances(2)),
    _several(
        "recursive-rejection-without-replacement",
        RecursiveRejectionWithoutReplacement,
        nothing_left(2),
        invariances(2),
    ),
    _several("sequential-selection", SequentialSelection, nothing_left(2), invariances(2)),
    _several("greedy-multi-draft", GreedyMultiDraft, optimal=True),
    _several("spechub", SpecHub, optimal=True, most=2),
    _several("ordered-selection", OrderedSelection),
    _several("luce-selection", LuceSelection, invariances(2)),
    _several("optimal-selection", OptimalSelection, optimal=True, traced=False, tolerance=1e-9),
    _several("optimal-luce-selection", OptimalLuceSelection, optimal=True, traced=False, tolerance=1e-12),
)
"""Rules for several drafts of one position."""
