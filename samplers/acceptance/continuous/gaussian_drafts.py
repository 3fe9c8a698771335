"""Several drafts from a normal law with the target's covariance, for which all rules have one dimension.

With ``v`` the direction of ``L^{-1} (m_p - m_q)`` and ``d`` its length, the draft ``m_q + L e`` counts by ``s = v . e`` alone:
drafts are ``N(0, 1)``, the target is ``N(d, 1)``, and their ratio ``exp(d s - d^2 / 2)`` increases. What a rule rejects
leaves ``(p - lam q)+`` for some ``lam``: a half-line, on which the distribution function is inverted. Across ``v`` both laws
agree; that part is taken from the accepted draft, or from the first.
"""

import abc
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.stats import norm
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.continuous.decision import ContinuousDecision
from ergodica.samplers.acceptance.continuous.reflection import SAME, checked_normals, coloured, whitened
from ergodica.samplers.acceptance.rule import AcceptanceRule
from ergodica.samplers.claim import Claim, Exactness, Space

_HALVINGS = 60


def hockey_stick(factor: Float[Array, "..."], distance: Float[Array, ""]) -> Float[Array, "..."]:
    """Return ``int (p - factor q)+`` for ``N(d, 1)`` and ``N(0, 1)``, ``d > 0``."""
    shift = jnp.log(factor) / distance
    value = norm.cdf(distance / 2 - shift) - factor * norm.cdf(-distance / 2 - shift)
    return jnp.where(factor > 0, jnp.maximum(value, 0.0), 1.0)


def residual_draw(u: Float[Array, ""], factor: Float[Array, ""], distance: Float[Array, ""]) -> Float[Array, ""]:
    """Draw from ``(N(d, 1) - factor N(0, 1))+``, normalised, by inverting its upper tail at ``u`` times its mass.

    Parameters
    ----------
    u
        Uniform in ``[0, 1)``.
    factor, distance
        ``lam > 0`` and ``d > 0``.
    """

    def tail(s: Float[Array, ""]) -> Float[Array, ""]:
        return norm.cdf(distance - s) - factor * norm.cdf(-s)

    low = distance / 2 + jnp.log(factor) / distance
    mass = tail(low)

    def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = bracket
        middle = (low + high) / 2
        is_above = tail(middle) > (1 - u) * mass
        return jnp.where(is_above, middle, low), jnp.where(is_above, high, middle)

    low, high = lax.fori_loop(0, _HALVINGS, halve, (low, jnp.maximum(low, distance) + 40.0))
    return (low + high) / 2


class _Reduced(NamedTuple):
    """Drafts in whitened coordinates.

    Parameters
    ----------
    noise
        ``e``, shape ``(k, d)``.
    direction
        ``v``, shape ``(d,)``; zero if the means are equal.
    along
        ``v . e``, shape ``(k,)``.
    distance
        ``d``; one if the means are equal.
    is_same
        Whether they are.
    """

    noise: Float[Array, "k d"]
    direction: Float[Array, " d"]
    along: Float[Array, " k"]
    distance: Float[Array, ""]
    is_same: Bool[Array, ""]


class Verdict(NamedTuple):
    """What a rule does with drafts along the line.

    Parameters
    ----------
    is_accepted
        For each draft, whether its own test accepts it; the first one counts.
    factor
        ``lam``, with ``(p - lam q)+`` the residual.
    """

    is_accepted: Bool[Array, " k"]
    factor: Float[Array, ""]


class GaussianDrafts(AcceptanceRule):
    """A rule for several independent drafts of one normal law; a subclass defines ``claim`` and :meth:`examine`."""

    @property
    def kind(self) -> Literal["equality", "invariance"]:
        """``"equality"``."""
        return "equality"

    @abc.abstractmethod
    def examine(self, key: PRNGKeyArray, along: Float[Array, " k"], distance: Float[Array, ""]) -> Verdict:
        """Test the drafts.

        Parameters
        ----------
        key
            Typed key.
        along
            Coordinates of the drafts along the line, standard normal.
        distance
            Of the means, positive.
        """

    def draw(
        self,
        key: PRNGKeyArray,
        drafts: inputs.Numbers,
        target_mean: inputs.Numbers,
        draft_mean: inputs.Numbers,
        factor: inputs.Numbers,
    ) -> ContinuousDecision:
        """Keep one of the drafts, or draw from the residual.

        Parameters
        ----------
        key
            Typed key, not the one that the drafts were drawn with.
        drafts
            Independent draws of ``N(draft_mean, L L^T)``, shape ``(k, d)``.
        target_mean, draft_mean
            Shape ``(d,)``.
        factor
            ``L``: a positive number, ``d`` standard deviations, or a lower triangular matrix.

        Raises
        ------
        ValueError, TypeError
            If shapes do not fit, or the factor is no such thing.
        """
        values, wanted, drafted, L = checked_normals(drafts, target_mean, draft_mean, factor)
        if values.ndim != 2 or values.shape[0] == 0:
            raise ValueError(f"expected drafts of shape (k, d); got {values.shape}")
        test_key, residual_key = random.split(key)
        z = whitened(L, wanted - drafted)
        length = jnp.linalg.norm(z)
        is_same = length < SAME
        distance = jnp.where(is_same, 1.0, length)
        noise = jax.vmap(lambda value: whitened(L, value - drafted))(values)
        direction = jnp.where(is_same, 0.0, z / distance)
        along = noise @ direction
        is_valid = jnp.all(jnp.isfinite(noise)) & jnp.isfinite(length)

        verdict = self.examine(test_key, along, distance)
        index = jnp.where(is_same, 0, jnp.argmax(verdict.is_accepted)).astype(jnp.int32)
        accepted = (is_same | jnp.any(verdict.is_accepted)) & is_valid
        own = residual_draw(random.uniform(residual_key, (), values.dtype), verdict.factor, distance)
        emitted = drafted + coloured(L, noise[0] + (own - along[0]) * direction)
        value = jnp.where(is_valid, jnp.where(accepted, values[index], emitted), jnp.nan)
        return ContinuousDecision(value, accepted, jnp.where(accepted, index, -1), jnp.zeros((), jnp.int32), is_valid)


def _exact(statement: str, source: str) -> Claim:
    return Claim(Exactness.EXACT, statement, source, spaces=frozenset({Space.REAL}), independent=True)


class RecursiveGaussianDrafts(GaussianDrafts):
    """Examine the drafts in turn, each against what the ones before have left of the target.

    Draft ``i`` is kept with probability ``min(1, (r - lam)+ / s)`` at the ratio ``r = p / q``; after its rejection
    ``lam += s`` and ``s = int (p - lam q)+``. Acceptance in closed form:
    :func:`ergodica.theory.gaussian_drafts.recursive_acceptance`.

    References
    ----------
    X. Miao et al., 2024, arXiv 2305.09781, for finite vocabularies; arXiv 2609.17691, greedy rejection coupling.
    """

    @property
    def claim(self) -> Claim:
        """Exact: values have the target's law."""
        return _exact(
            "emits values with the target's normal law, for independent drafts of one law with the same covariance",
            "recursive rejection, Miao et al. 2024, arXiv 2305.09781, in one dimension",
        )

    def examine(self, key: PRNGKeyArray, along: Float[Array, " k"], distance: Float[Array, ""]) -> Verdict:
        """Test the drafts in turn."""
        ratio = jnp.exp(distance * along - distance**2 / 2)
        factor, left = jnp.zeros_like(distance), jnp.ones_like(distance)
        chances = []
        for r in ratio:
            excess = jnp.maximum(r - factor, 0.0)
            chances.append(jnp.where(excess >= left, 1.0, excess / jnp.where(left > 0, left, 1.0)))
            factor = factor + left
            left = hockey_stick(factor, distance)
        return Verdict(random.bernoulli(key, jnp.stack(chances)), factor)


class SequentialGaussianDrafts(GaussianDrafts):
    """Examine the drafts in turn, each with probability ``min(1, p / (rho q))`` for one factor ``rho`` between 1 and ``k``.

    ``rho`` solves ``1 - (1 - g / rho)^k = g`` with ``g = int min(p, rho q)``, so that the residual is ``(p - rho q)+``. At
    least as many drafts are kept as by :class:`RecursiveGaussianDrafts`:
    :func:`ergodica.theory.gaussian_drafts.sequential_acceptance`.

    References
    ----------
    Z. Sun et al., 2023, arXiv 2310.15141, algorithm 2, for finite vocabularies.
    """

    @property
    def claim(self) -> Claim:
        """Exact: values have the target's law."""
        return _exact(
            "emits values with the target's normal law, for independent drafts of one law with the same covariance",
            "sequential selection, Sun et al. 2023, arXiv 2310.15141, in one dimension",
        )

    def factor(self, distance: Float[Array, ""], k: int) -> Float[Array, ""]:
        """Return ``rho``, by halving; the upper end of the bracket, where nothing of the residual is negative."""

        def halve(_: Any, bracket: tuple[Array, Array]) -> tuple[Array, Array]:
            low, high = bracket
            middle = (low + high) / 2
            kept = 1 - hockey_stick(middle, distance)
            is_below = 1 - (1 - kept / middle) ** k > kept
            return jnp.where(is_below, middle, low), jnp.where(is_below, high, middle)

        bracket = jnp.ones_like(distance), jnp.full_like(distance, k)
        return lax.fori_loop(0, _HALVINGS, halve, bracket)[1]

    def examine(self, key: PRNGKeyArray, along: Float[Array, " k"], distance: Float[Array, ""]) -> Verdict:
        """Test the drafts by one factor."""
        rho = self.factor(distance, along.shape[0])
        log_chance = distance * along - distance**2 / 2 - jnp.log(rho)
        return Verdict(random.bernoulli(key, jnp.exp(jnp.minimum(log_chance, 0.0))), rho)
