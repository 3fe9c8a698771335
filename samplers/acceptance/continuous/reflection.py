"""Drafts from a normal law with the target's covariance: a rejected draft is reflected, and nothing is drawn again."""

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.continuous.decision import ContinuousDecision
from ergodica.samplers.acceptance.rule import AcceptanceRule
from ergodica.samplers.claim import Claim, Exactness, Space

SAME = 1e-8
"""Means closer than this, in standard deviations, count as equal: the laws differ by less than rounding."""


def whitened(factor: Float[Array, "..."], vector: Float[Array, " d"]) -> Float[Array, " d"]:
    """Return ``L^{-1} v`` for a factor that is a number, a vector of standard deviations or a lower triangular matrix."""
    if factor.ndim == 2:
        return jax.scipy.linalg.solve_triangular(factor, vector, lower=True)
    return vector / factor


def coloured(factor: Float[Array, "..."], vector: Float[Array, " d"]) -> Float[Array, " d"]:
    """Return ``L v``."""
    return factor @ vector if factor.ndim == 2 else factor * vector


def checked_normals(
    value: inputs.Numbers, target_mean: inputs.Numbers, draft_mean: inputs.Numbers, factor: inputs.Numbers
) -> tuple[Array, Array, Array, Array]:
    """Check values, two means and a common factor of the covariance; the last axes of values are ``(d,)``.

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit; for concrete arguments also if the factor is not lower triangular with a positive diagonal, or
        a number is not finite.
    """
    values = inputs.real_parameter("a draft", value, ndim=None)
    wanted = inputs.real_parameter("target_mean", target_mean, ndim=None)
    drafted = inputs.real_parameter("draft_mean", draft_mean, ndim=None)
    L = inputs.real_parameter("factor", factor, ndim=None)
    if wanted.ndim != 1 or drafted.shape != wanted.shape or values.shape[-1:] != wanted.shape:
        raise ValueError(
            f"expected means of shape (d,) and drafts of shape (..., d); got {wanted.shape}, {drafted.shape} and "
            f"{values.shape}"
        )
    size = wanted.shape[0]
    if L.ndim > 2 or (L.ndim > 0 and L.shape != (size,) * L.ndim):
        raise ValueError(
            f"factor is a number, {size} standard deviations, or a {size} x {size} matrix; got shape {L.shape}"
        )
    if inputs.is_concrete(L):
        matrix = np.asarray(L)
        if matrix.ndim == 2 and np.any(np.triu(matrix, 1) != 0):
            raise ValueError("factor has entries above the diagonal; pass jnp.linalg.cholesky(covariance)")
        if np.any((np.diagonal(matrix) if matrix.ndim == 2 else matrix) <= 0):
            raise ValueError("factor has to be greater than 0, on its diagonal if it is a matrix")
    dtype = jnp.result_type(values, wanted, drafted)
    return values.astype(dtype), wanted.astype(dtype), drafted.astype(dtype), L.astype(dtype)


class ChainVerification(NamedTuple):
    """The outcome for a drafted path.

    Parameters
    ----------
    path
        Accepted drafts, then the reflected one, then NaN; shape ``(g, d)``.
    tau
        How many drafts were accepted.
    num_emitted
        Steps that the path advanced: ``min(tau + 1, g)``.
    """

    path: Float[Array, "g d"]
    tau: Int[Array, ""]
    num_emitted: Int[Array, ""]


class GaussianReflection(AcceptanceRule):
    """Keep ``x ~ N(m_q, L L^T)`` as ``N(m_p, L L^T)`` as often as possible, else emit its mirror image.

    With ``e = L^{-1} (x - m_q)`` and ``z = L^{-1} (m_q - m_p)`` the draft is kept with probability
    ``min(1, exp((|e|^2 - |e + z|^2) / 2))``. Otherwise ``m_p + L (e - 2 (z . e) z / |z|^2)`` is emitted: along ``z`` the
    rejected draft has the density ``(q - p)+``, which the reflection at the midpoint maps onto ``(p - q)+``, and across it
    nothing changes. A draft is kept with probability ``2 Phi(-|z| / 2) = 1 - TV``.

    Notes
    -----
    The covariances have to be equal; for others there is
    :class:`~ergodica.samplers.acceptance.continuous.density_draft.DensityDraft`.

    References
    ----------
    N. Bou-Rabee, A. Eberle and R. Zimmer, 2020, arXiv:1805.00452; P. E. Jacob, J. O'Leary and Y. F. Atchadé, 2020,
    JRSS B 82, arXiv:1708.03625; for diffusion, V. De Bortoli et al., 2025, arXiv:2501.05370.
    """

    @property
    def kind(self) -> Literal["equality", "invariance"]:
        """``"equality"``."""
        return "equality"

    @property
    def claim(self) -> Claim:
        """Exact: values have the target's law."""
        return Claim(
            Exactness.EXACT,
            "emits values with the target's normal law, if the draft's has the same covariance",
            "Bou-Rabee, Eberle and Zimmer 2020, arXiv:1805.00452; De Bortoli et al. 2025, arXiv:2501.05370",
            spaces=frozenset({Space.REAL}),
            independent=True,
        )

    def acceptance(
        self, target_mean: inputs.Numbers, draft_mean: inputs.Numbers, factor: inputs.Numbers
    ) -> Float[Array, ""]:
        """Return the probability ``2 Phi(-d / 2)`` of keeping a draft, with the distance ``d`` of the means."""
        _, wanted, drafted, L = checked_normals(target_mean, target_mean, draft_mean, factor)
        return 2 * jax.scipy.stats.norm.cdf(-jnp.linalg.norm(whitened(L, drafted - wanted)) / 2)

    def draw(
        self,
        key: PRNGKeyArray,
        draft: inputs.Numbers,
        target_mean: inputs.Numbers,
        draft_mean: inputs.Numbers,
        factor: inputs.Numbers,
    ) -> ContinuousDecision:
        """Keep the draft or reflect it.

        Parameters
        ----------
        key
            Typed key, not the one that the draft was drawn with.
        draft
            A draw of ``N(draft_mean, L L^T)``, shape ``(d,)``.
        target_mean, draft_mean
            Shape ``(d,)``.
        factor
            ``L``: a positive number, ``d`` standard deviations, or a lower triangular matrix.

        Raises
        ------
        ValueError, TypeError
            If shapes do not fit, or the factor is no such thing.
        """
        return self._decide(key, *checked_normals(draft, target_mean, draft_mean, factor))

    @staticmethod
    def _decide(
        key: PRNGKeyArray, draft: Array, target_mean: Array, draft_mean: Array, factor: Array
    ) -> ContinuousDecision:
        e, z = whitened(factor, draft - draft_mean), whitened(factor, draft_mean - target_mean)
        square, along = jnp.sum(z**2), jnp.sum(z * e)
        is_valid = jnp.all(jnp.isfinite(e)) & jnp.all(jnp.isfinite(z))
        is_same = square < SAME**2
        # The exponent is (|e|^2 - |e + z|^2) / 2 without its cancellation.
        chance = jnp.where(is_same, 1.0, jnp.exp(jnp.minimum(-along - square / 2, 0.0)))
        accepted = random.bernoulli(key, jnp.where(is_valid, chance, 0.0)) & is_valid
        mirrored = target_mean + coloured(factor, e - 2 * along / jnp.where(is_same, 1.0, square) * z)
        value = jnp.where(is_valid, jnp.where(accepted, draft, mirrored), jnp.nan)
        index = jnp.where(accepted, 0, -1).astype(jnp.int32)
        return ContinuousDecision(value, accepted, index, jnp.zeros((), jnp.int32), is_valid)

    def verify(
        self,
        key: PRNGKeyArray,
        drafts: Float[Array, "g d"],
        target_means: Float[Array, "g d"],
        draft_means: Float[Array, "g d"],
        factors: Float[Array, "g ..."],
    ) -> ChainVerification:
        """Verify a drafted path of a Markov chain with normal transitions, up to the first rejection.

        Parameters
        ----------
        key
            Typed key; step ``i`` uses ``fold_in(key, i)``.
        drafts
            The path: draft ``i`` was drawn from ``N(draft_means[i], L_i L_i^T)``.
        target_means
            Row ``i`` is the mean of the target's transition from draft ``i - 1``, computed for all drafts at once.
        draft_means
            Means that the drafts were drawn with.
        factors
            ``L_i``, as in :meth:`draw`, with a leading axis.

        Returns
        -------
        ChainVerification
            At least one step of the target's chain, exactly.
        """
        if drafts.ndim != 2 or drafts.shape[0] == 0 or target_means.shape != drafts.shape:
            raise ValueError(f"expected drafts and means of shape (g, d); got {drafts.shape} and {target_means.shape}")
        if draft_means.shape != drafts.shape or factors.shape[:1] != drafts.shape[:1]:
            raise ValueError(
                f"expected draft means of shape {drafts.shape} and {drafts.shape[0]} factors; got {draft_means.shape} and "
                f"{factors.shape}"
            )
        keys = jax.vmap(lambda step: random.fold_in(key, step))(jnp.arange(drafts.shape[0]))
        decisions = jax.vmap(self._decide)(keys, drafts, target_means, draft_means, factors)
        return first_rejection(decisions.value, decisions.is_accepted)


def first_rejection(values: Float[Array, "g d"], is_accepted: Bool[Array, " g"]) -> ChainVerification:
    """Return the path up to the first decision that was no acceptance, that one included."""
    steps = values.shape[0]
    tau = jnp.sum(jnp.cumprod(is_accepted.astype(jnp.int32)), dtype=jnp.int32)
    path = jnp.where((jnp.arange(steps) <= tau)[:, None], values, jnp.nan)
    return ChainVerification(path, tau, jnp.minimum(tau + 1, steps))
