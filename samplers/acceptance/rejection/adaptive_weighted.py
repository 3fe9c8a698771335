"""Adaptive weighted rejection: a token under a constraint that is dear to test, with an unbiased weight."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.laws import check_weights
from ergodica.samplers.claim import Claim, Exactness, Space

__all__ = ["AdaptiveWeightedRejection", "WeightedToken", "geometric_weight", "recursive_weight"]

Potential = Callable[[Any], Any]
"""Whether a token is allowed; or, more generally, a factor in ``[0, inf)`` that its probability is multiplied by."""


class WeightedToken(NamedTuple):
    """A token with its weight.

    Parameters
    ----------
    token
        The token, -1 if there is none.
    weight
        Not negative; ``E[weight 1{token = x}] = p(x) potential(x)``.
    num_tests
        Tokens that were tested, each at most once.
    """

    token: Any
    weight: Any
    num_tests: Any


def _value(potential: Potential, token: int) -> Any:
    value = potential(token)
    if isinstance(value, bool | np.bool_):
        return int(value)
    # NaN is neither: it fails the comparison.
    if not value >= 0 or value == float("inf"):
        raise ValueError(f"the potential of token {token} is {value}; expected True, False, or a number in [0, inf)")
    return value


def recursive_weight(order: Sequence[int], p: Any, potential: Potential) -> WeightedToken:
    """Return the first allowed token, and the recursive weight.

    With ``c`` the probability of the next token given those that are left, ``Z = c 1{allowed} + (1 - c) Z_rest``; each
    rejection multiplies by ``1 - c``, and at the first success one more token says what ``Z_rest`` is.

    Parameters
    ----------
    order
        All tokens of positive probability, in an order of successive draws without replacement.
    p
        Probabilities, summing to one; fractions give an exact weight.
    potential
        See :class:`AdaptiveWeightedRejection`.
    """
    weight = 1 + 0 * p[order[0]]
    left = weight
    for tested, token in enumerate(order):
        is_last = tested == len(order) - 1
        chance = 1 + 0 * left if is_last else p[token] / left
        value = _value(potential, token)
        if value > 0:
            estimate, num_tests = 1 + 0 * left, tested + 1
            if not is_last:
                num_tests += 1
                if not _value(potential, order[tested + 1]) > 0:
                    estimate = chance
            return WeightedToken(token, weight * estimate * value, num_tests)
        weight = weight * (1 - chance)
        left = left - p[token]
    return WeightedToken(-1, 0 * weight, len(order))


def geometric_weight(
    draws: Sequence[int], potential: Potential, accepts: int, rejects: int, one: Any = 1.0
) -> WeightedToken:
    """Return the first allowed token of draws with replacement, and the weight from how many draws were allowed.

    The draws stop at ``accepts`` allowed or ``rejects`` forbidden ones; with ``a`` and ``j`` of them the weight is
    ``min(accepts - 1, a) / (a + j - 1)``.

    Parameters
    ----------
    draws
        At least ``accepts + rejects - 1`` draws.
    potential
        See :class:`AdaptiveWeightedRejection`.
    accepts, rejects
        At least 2 each.
    one
        The number one in the arithmetic of the weight.
    """
    known: dict[int, Any] = {}
    accepted: list[int] = []
    rejected = 0
    for token in draws:
        if token not in known:
            known[token] = _value(potential, token)
        if known[token] > 0:
            accepted.append(token)
        else:
            rejected += 1
        if len(accepted) == accepts or rejected == rejects:
            break
    if not accepted:
        return WeightedToken(-1, 0 * one, len(known))
    weight = one * min(accepts - 1, len(accepted)) / (len(accepted) + rejected - 1)
    return WeightedToken(accepted[0], weight * known[accepted[0]], len(known))


class _Turn(NamedTuple):
    """Where the loop over tokens stands.

    Parameters
    ----------
    log_p
        Log probabilities of the tokens that are left.
    token, value
        The first allowed token, and its potential.
    weight
        Product of ``1 - c`` so far.
    left
        Probability of the tokens that are left; after the first success, its conditional probability ``c``.
    num_tests
        Tests so far.
    done
        Whether that is all.
    """

    log_p: Array
    token: Array
    value: Array
    weight: Array
    left: Array
    num_tests: Array
    done: Array


_Counts = tuple[Array, Array, Array, Array, Array, Array]


class AdaptiveWeightedRejection(eqx.Module):
    """A token with the law of ``p`` given a constraint, exactly, with a weight whose mean is the constraint's probability.

    Tokens are drawn without replacement until one is allowed, so that none is tested twice. The pair is properly
    weighted: ``E[weight 1{token = x}] = p(x)`` for allowed tokens, which is what sequential Monte Carlo needs.

    Parameters
    ----------
    weight
        ``"recursive"``: one test after the first success. ``"geometric"``: goes on with replacement, for a weight of less
        variance; tokens tested before cost nothing.
    accepts, rejects
        For the geometric weight: the draws stop at so many allowed or forbidden ones. It may be that none was allowed;
        then there is no token, and the weight is zero.

    Raises
    ------
    ValueError
        If a parameter is out of range.

    Notes
    -----
    A potential with other values than 0 and 1 is allowed wherever it is positive, and multiplies the weight. Then the
    token alone does not follow the tilted law, but token and weight do.

    No probability is so small that the loop stops before all tokens were tested.

    References
    ----------
    B. Lipkin et al., Fast controlled generation from language models with adaptive weighted rejection sampling, COLM 2025,
    arXiv:2504.05410.
    """

    weight: Literal["recursive", "geometric"] = eqx.field(static=True)
    accepts: int = eqx.field(static=True)
    rejects: int = eqx.field(static=True)

    def __init__(
        self, weight: Literal["recursive", "geometric"] = "recursive", *, accepts: int = 2, rejects: int = 4
    ) -> None:
        if weight not in ("recursive", "geometric"):
            raise ValueError(f"weight is 'recursive' or 'geometric'; got {weight!r}")
        self.weight = weight
        self.accepts = inputs.static_count("accepts", accepts, at_least=2)
        self.rejects = inputs.static_count("rejects", rejects, at_least=2)

    @property
    def claim(self) -> Claim:
        """Exact, and weighted."""
        return Claim(
            Exactness.EXACT,
            "draws a token and a weight with E[weight 1{token = x}] = p(x) potential(x)",
            source="Lipkin et al. 2025, arXiv:2504.05410",
            spaces=frozenset({Space.SEQUENCE}),
            independent=True,
            weighted=True,
        )

    def draw_on_host(self, key: PRNGKeyArray, p: Any, potential: Potential) -> WeightedToken:
        """Draw with a potential in plain Python.

        Parameters
        ----------
        key
            Typed key.
        p
            Weights of the tokens, shape ``(V,)``, not necessarily normalised.
        potential
            Called with a token as ``int``: returns whether it is allowed, or a factor in ``[0, inf)``.

        Returns
        -------
        WeightedToken
            Python numbers.

        Raises
        ------
        ValueError
            If ``p`` is no law, or the potential is negative, NaN or infinite.
        """
        p = np.asarray(p, np.float64)
        check_weights("p", p)
        p = np.maximum(p, 0) / np.maximum(p, 0).sum()
        support = np.flatnonzero(p)
        law = jnp.asarray(p[support] / p[support].sum())
        if self.weight == "geometric":
            shape = (self.accepts + self.rejects - 1,)
            draws = support[np.asarray(random.categorical(key, jnp.log(law), shape=shape))]
            return geometric_weight(draws.tolist(), potential, self.accepts, self.rejects)
        order = support[np.asarray(random.choice(key, support.size, (support.size,), replace=False, p=law))]
        return recursive_weight(order.tolist(), p.tolist(), potential)

    def draw(self, key: PRNGKeyArray, p: Float[Array, " V"], potential: Potential) -> WeightedToken:
        """Draw with a potential that JAX can trace.

        Parameters
        ----------
        key
            Typed key.
        p
            Weights of the tokens, shape ``(V,)``, not necessarily normalised.
        potential
            Called with a traced token; returns a boolean, or a factor in ``[0, inf)``. NaN counts as zero.

        Returns
        -------
        WeightedToken
            Arrays. Under ``vmap`` the potential is evaluated until the last lane is done.

        Raises
        ------
        ValueError
            If ``p`` can be inspected and is no law; otherwise the weight is NaN.
        """
        p = jnp.asarray(p)
        p = p if jnp.issubdtype(p.dtype, jnp.floating) else p.astype(float)
        if inputs.is_concrete(p):
            check_weights("p", np.asarray(p))
        p = jnp.maximum(p, 0) / jnp.sum(jnp.maximum(p, 0))

        def value(token: Array) -> Array:
            factor = jnp.asarray(potential(token)).astype(p.dtype)
            return jnp.where(factor > 0, factor, 0)

        if self.weight == "geometric":
            return self._geometric(key, p, value)
        return self._recursive(key, p, value)

    def _recursive(self, key: PRNGKeyArray, p: Array, value: Callable[[Array], Array]) -> WeightedToken:
        one, none = jnp.ones((), p.dtype), jnp.zeros((), jnp.int32)
        tokens = jnp.arange(p.shape[0])

        def body(turn: _Turn) -> _Turn:
            token = random.categorical(random.fold_in(key, turn.num_tests), turn.log_p).astype(jnp.int32)
            is_last = jnp.sum(jnp.isfinite(turn.log_p)) == 1
            chance = jnp.where(is_last, 1, jnp.minimum(1, p[token] / turn.left))
            factor = value(token)
            is_first = turn.token < 0
            found = is_first & (factor > 0)
            # After the first success one more token is tested; its verdict is the estimate for all that is left.
            again = jnp.where(factor > 0, 1, turn.left)
            return _Turn(
                jnp.where(tokens == token, -jnp.inf, turn.log_p),
                jnp.where(found, token, turn.token),
                jnp.where(found, factor, turn.value),
                jnp.where(is_first, turn.weight * jnp.where(found, 1, 1 - chance), turn.weight * again),
                jnp.where(found, chance, turn.left - p[token]),
                turn.num_tests + 1,
                is_last | ~is_first,
            )

        start = _Turn(jnp.log(p), none - 1, 0 * one, one, one, none, jnp.asarray(False))
        end = lax.while_loop(lambda turn: ~turn.done, body, start)
        weight = jnp.where(end.token < 0, 0, end.weight) * end.value
        return WeightedToken(end.token, jnp.where(jnp.isnan(jnp.sum(p)), jnp.nan, weight), end.num_tests)

    def _geometric(self, key: PRNGKeyArray, p: Array, value: Callable[[Array], Array]) -> WeightedToken:
        none = jnp.zeros((), jnp.int32)

        def body(carry: _Counts) -> _Counts:
            first, factor, accepted, rejected, verdicts, tests = carry
            turn = accepted + rejected
            token = random.categorical(random.fold_in(key, turn), jnp.log(p)).astype(jnp.int32)
            seen = verdicts[token]
            # Under vmap both ways are computed; the count is that of the tests that were needed.
            here = lax.cond(seen < 0, lambda: value(token), lambda: seen)
            found = (first < 0) & (here > 0)
            return (
                jnp.where(found, token, first),
                jnp.where(found, here, factor),
                accepted + (here > 0),
                rejected + (here <= 0),
                verdicts.at[token].set(here),
                tests + (seen < 0),
            )

        start = (none - 1, jnp.zeros((), p.dtype), none, none, jnp.full(p.shape, -1, p.dtype), none)
        first, factor, accepted, rejected, _, tests = lax.while_loop(
            lambda carry: (carry[2] < self.accepts) & (carry[3] < self.rejects), body, start
        )
        share = jnp.minimum(self.accepts - 1, accepted).astype(p.dtype) / jnp.maximum(accepted + rejected - 1, 1)
        weight = jnp.where(accepted > 0, share, 0) * factor
        return WeightedToken(first, jnp.where(jnp.isnan(jnp.sum(p)), jnp.nan, weight), tests)
