"""Several chains of drafts: select one by the order of the ratios, then verify it as a block."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.acceptance.blocks.block_rule import BlockLaw, BlockRule, Model, as_laws, listed_laws
from ergodica.samplers.acceptance.blocks.block_verification import BlockVerification, outcome
from ergodica.samplers.acceptance.laws import invert, namespace
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.inputs import static_count


class PathVerification(NamedTuple):
    """The outcome for several chains of drafts.

    Parameters
    ----------
    tokens, tau, is_valid
        As in :class:`~ergodica.samplers.acceptance.verification.Verification`.
    path
        The chain that was selected; -1 where the laws were invalid.
    """

    tokens: Int[Array, " h"]
    tau: Int[Array, ""]
    path: Int[Array, ""]
    is_valid: Bool[Array, ""]


class OrderedPaths(BlockRule):
    """Select the chain whose tokens have the largest ``P / Q``, the first position first, and verify it as a block.

    The chains are independent draws of the draft model. With the tokens in the order of the ratio at each prefix, the
    prefix that ends in a token has an interval ``[lo, hi)`` of the draft's distribution function, and the selected chain
    begins with it with probability ``hi^K - lo^K``. This is the draft law that block verification is given. More chains
    may be worse: for ``P = Q`` one is the best number.

    Parameters
    ----------
    paths
        Number of chains ``K``.

    References
    ----------
    Thomas, Pal, 2026, arXiv 2602.16961, for selection followed by block verification; A. Khisti et al., 2025,
    arXiv 2410.18234, for one position.
    """

    paths: int = eqx.field(static=True)

    def __init__(self, paths: int) -> None:
        self.paths = static_count("paths", paths)

    @property
    def claim(self) -> Claim:
        """Exact for independent chains."""
        return Claim(
            Exactness.EXACT,
            "emits tokens with the target's law, for independent chains of drafts",
            "Thomas, Pal (2026), arXiv 2602.16961",
            spaces=frozenset({Space.FINITE, Space.SEQUENCE}),
            independent=True,
        )

    @property
    def cost(self) -> str:
        """For ``K`` chains of ``g`` drafts."""
        return "O(K g V log V)"

    def selected_law(self, tokens: Any, p: Any, q: Any) -> Any:
        """Return the law of the next token of the selected chain, after each prefix of it.

        Parameters
        ----------
        tokens
            The selected chain, shape ``(g,)``.
        p, q
            Laws along it, of shapes ``(g + 1, V)`` and ``(g, V)``.

        Returns
        -------
        array of shape (g, V)
        """
        xp = namespace(p, q)
        low, high, rows = 0 * p[0, 0], 1 + 0 * p[0, 0], []
        for level in range(q.shape[0]):
            order, rank = _order(p[level], q[level])
            to = xp.cumsum(q[level][order])
            to = to / to[-1]
            start = (low + (high - low) * xp.concatenate([0 * to[:1], to[:-1]]))[rank]
            end = (low + (high - low) * to)[rank]
            # (n^K - b^K) / (hi^K - lo^K) without the differences, which would cancel in small intervals.
            whole = self._slope(low, high)
            rows.append(q[level] * self._slope(start, end) / xp.where(whole > 0, whole, 1))
            low, high = start[tokens[level]], end[tokens[level]]
        return xp.stack(rows) if rows else q

    def _slope(self, low: Any, high: Any) -> Any:
        """Return ``(high^K - low^K) / (high - low)``."""
        total: Any = 0
        for power in range(self.paths):
            total = total + high**power * low ** (self.paths - 1 - power)
        return total

    def selected(self, tokens: Any, p: Any, q: Any) -> Any:
        """Return the number of the selected chain.

        Parameters
        ----------
        tokens, p, q
            All chains, of shapes ``(K, g)``, ``(K, g + 1, V)`` and ``(K, g, V)``.
        """
        xp = namespace(p, q)
        alive = xp.ones(self.paths, bool)
        for level in range(q.shape[1]):
            ranks = [_order(p[path, level], q[path, level])[1][tokens[path, level]] for path in range(self.paths)]
            rank = xp.where(alive, xp.stack(ranks), -1)
            alive = rank == rank.max()
        return xp.argmax(alive)

    def conditional_law(self, P: Model, Q: Model, drafts: Sequence[Sequence[int]]) -> BlockLaw:
        """Return the exact law of what is emitted given the chains; see :meth:`BlockRule.conditional_law`."""
        chains = [tuple(int(token) for token in chain) for chain in drafts]
        gamma = len(chains[0])
        if len(chains) != self.paths or any(len(chain) != gamma for chain in chains):
            raise ValueError(f"{self.paths} chains of equal length are needed; got {drafts}")

        def rows(name: str, model: Model, chain: tuple[int, ...], count: int) -> np.ndarray:
            size = len(model[()])
            return listed_laws(name, model, [chain[:level] for level in range(count)]).reshape(count, size)

        tokens = np.array(chains, dtype=np.int64).reshape(self.paths, gamma)
        p = np.stack([rows("P", P, chain, gamma + 1) for chain in chains])
        q = np.stack([rows("Q", Q, chain, gamma) for chain in chains])
        path = int(self.selected(tokens, p, q))
        law = self.selected_law(tokens[path], p[path], q[path])
        table = {chains[path][:level]: law[level] for level in range(gamma)}
        return BlockVerification().conditional_law(P, table, chains[path])

    def verify(
        self, key: PRNGKeyArray, tokens: Int[Array, "K g"], p: Float[Array, "K g+1 V"], q: Float[Array, "K g V"]
    ) -> PathVerification:
        """Verify chains at random, through choice points.

        Parameters
        ----------
        key
            Typed key.
        tokens
            Drafted tokens, shape ``(K, g)``.
        p, q
            Weights along each chain, of shapes ``(K, g + 1, V)`` and ``(K, g, V)``; equal where prefixes are.

        Raises
        ------
        ValueError
            If a shape does not fit.
        """
        pass_key, own_key = random.split(key)
        return self._outcome(
            tokens,
            p,
            q,
            lambda chances: random.bernoulli(pass_key, chances),
            lambda weights: random.categorical(own_key, jnp.log(weights)),
        )

    def decide(
        self,
        tokens: Int[Array, "K g"],
        p: Float[Array, "K g+1 V"],
        q: Float[Array, "K g V"],
        uniforms: Float[Array, " g+1"],
    ) -> PathVerification:
        """Do as :meth:`verify`, given uniforms in ``[0, 1)``: one for each draft of the selected chain, and the own one."""
        return self._outcome(
            tokens,
            p,
            q,
            lambda chances: uniforms[:-1] < chances,
            lambda weights: invert(weights, uniforms[-1]),
        )

    def _outcome(
        self, tokens: Any, p: Any, q: Any, passes: Callable[[Array], Array], own: Callable[[Array], Array]
    ) -> PathVerification:
        tokens, p, q = (jnp.asarray(array) for array in (tokens, p, q))
        count, gamma = tokens.shape if tokens.ndim == 2 else (0, 0)
        vocabulary = p.shape[-1]
        if count != self.paths or p.shape != (count, gamma + 1, vocabulary) or q.shape != (count, gamma, vocabulary):
            raise ValueError(
                f"tokens, p and q have to have shapes (K, g), (K, g + 1, V) and (K, g, V) with K={self.paths}; got "
                f"{tokens.shape}, {p.shape} and {q.shape}"
            )
        (target, p_valid), (draft, q_valid) = jax.vmap(as_laws)(p), jax.vmap(as_laws)(q)
        inside = (tokens >= 0) & (tokens < vocabulary)
        is_valid = jnp.all(p_valid) & jnp.all(q_valid) & jnp.all(inside)
        target, draft = (jnp.where(is_valid, rows, 1 / vocabulary) for rows in (target, draft))
        tokens = jnp.where(inside, tokens, 0)
        path = self.selected(tokens, target, draft)
        law = self.selected_law(tokens[path], target[path], draft[path])
        # A law that cannot select the token at hand exists only where drafts are impossible; the draft.s own then stands in.
        law = jnp.where((law.sum(axis=-1) > 0)[:, None], law, draft[path])
        out = outcome(BlockVerification(), tokens[path], target[path], law, passes, own)

        def masked(value: Any) -> Array:
            return jnp.where(is_valid, value, -1).astype(jnp.int32)

        return PathVerification(masked(out.tokens), masked(out.tau), masked(path), is_valid)


def _order(p: Any, q: Any) -> tuple[Any, Any]:
    """Return the tokens in the order of ``p / q``, and the place of each; of equal ones the later is preferred."""
    xp = namespace(p, q)
    order = xp.argsort(xp.where(q > 0, p / xp.where(q > 0, q, 1), 0 * p), stable=True)
    return order, xp.argsort(order, stable=True)
