"""Rerandomisation: assignments of a trial drawn until the groups are alike, and the exact test that goes with it."""

import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree
from scipy import special

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.rejection.trials import DrawState, RejectionInfo, Trial, until_accepted
from ergodica.samplers.kernel import Claim, Exactness, Kernel, Space

__all__ = ["Rerandomisation", "asymptotic_acceptance", "variance_factor"]

Statistic = Callable[[Int[np.ndarray, " n"]], Any]
"""A test statistic of an assignment, large where the groups differ; it closes over the outcomes."""


def asymptotic_acceptance(num_covariates: int, threshold: float) -> float:
    """Return the share of assignments with imbalance at most ``threshold``, for many units: ``P(chi2_k <= a)``."""
    return float(special.chdtr(inputs.static_count("num_covariates", num_covariates), threshold))


def variance_factor(num_covariates: int, threshold: float) -> float:
    """Return what the variance of a difference of covariate means is multiplied by: ``P(chi2_{k+2} <= a) / P(chi2_k <= a)``.

    Source: Morgan and Rubin 2012, theorem 3.1.
    """
    within = asymptotic_acceptance(num_covariates, threshold)
    if within == 0:
        raise ValueError(f"threshold has to be greater than 0; got {threshold}")
    return float(special.chdtr(num_covariates + 2, threshold)) / within


class Rerandomisation(Kernel[DrawState, RejectionInfo]):
    """Assignments to two groups, uniform among those whose imbalance is at most a threshold.

    Parameters
    ----------
    covariates
        Shape ``(n, k)``, or ``(n,)`` for one. Their covariance matrix has to be regular.
    num_treated
        Units that are treated, between 1 and ``n - 1``; the others are controls.
    threshold
        Largest Mahalanobis imbalance ``M`` of the two means. For many units a share ``P(chi2_k <= threshold)`` of the
        assignments is accepted.
    max_trials
        After this many assignments the chain stays where it is; a threshold below every imbalance would go on for ever.

    Raises
    ------
    ValueError
        If the covariates are not finite or collinear, or a parameter is out of range.

    Notes
    -----
    A position is an assignment, ``n`` zeros and ones. The analysis has to know the design: compare with accepted
    assignments only, as :meth:`randomisation_test` does.

    References
    ----------
    K. L. Morgan and D. B. Rubin, Rerandomization to improve covariate balance in experiments, 2012, Annals of Statistics
    40(2), arXiv:1207.5625.
    """

    whitened: Float[Array, "n k"]
    num_treated: int = eqx.field(static=True)
    threshold: Float[Array, ""]
    max_trials: int = eqx.field(static=True)

    def __init__(
        self,
        covariates: inputs.Numbers,
        num_treated: int,
        threshold: inputs.Numbers,
        *,
        max_trials: int = 1_000_000,
    ) -> None:
        values = np.asarray(inputs.real_parameter("covariates", covariates, ndim=None), np.float64)
        values = values[:, None] if values.ndim == 1 else values
        if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] == 0:
            raise ValueError(f"covariates have to have shape (n, k), two units at least; got {values.shape}")
        n = values.shape[0]
        self.num_treated = inputs.static_count("num_treated", num_treated)
        if self.num_treated >= n:
            raise ValueError(f"num_treated has to be less than the {n} units; got {num_treated}")
        self.threshold = inputs.real_parameter("threshold", threshold, above=0.0)
        self.max_trials = inputs.static_count("max_trials", max_trials)
        centred = values - values.mean(axis=0)
        left, spread, _ = np.linalg.svd(centred, full_matrices=False)
        if spread.size < values.shape[1] or spread[-1] <= 1e-10 * spread[0]:
            raise ValueError(
                "the covariates have a singular covariance matrix, for which no Mahalanobis distance exists; leave out "
                f"those that follow from others (constants too). Singular values: {spread}"
            )
        # M = (n - 1) |L'(w_1 - w_0)|^2 n_1 n_0 / n, where L holds the left singular vectors.
        share = self.num_treated * (n - self.num_treated) / n
        self.whitened = jnp.asarray(left * np.sqrt((n - 1) * share), float)

    @property
    def claim(self) -> Claim:
        """Exact and independent."""
        return Claim(
            Exactness.EXACT,
            "draws assignments independently and uniformly among those of small imbalance",
            source="Morgan and Rubin 2012, arXiv:1207.5625",
            reversible=True,
            spaces=frozenset({Space.FINITE}),
            independent=True,
        )

    def imbalance(self, assignment: Int[Array, "... n"]) -> Float[Array, "..."]:
        """Return the Mahalanobis imbalance of assignments."""
        treated = jnp.asarray(assignment).astype(self.whitened.dtype)
        weights = treated / self.num_treated - (1 - treated) / (self.whitened.shape[0] - self.num_treated)
        return jnp.sum((weights @ self.whitened) ** 2, axis=-1)

    def accepts(self, assignment: Int[Array, "... n"]) -> Bool[Array, "..."]:
        """Whether assignments are balanced enough; ties with the threshold are, whatever their rounding."""
        slack = 1 + 256 * jnp.finfo(self.whitened.dtype).eps
        return self.imbalance(assignment) <= self.threshold.astype(self.whitened.dtype) * slack

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DrawState:
        """Return the state at an accepted assignment."""
        del key
        position = inputs.integer_position(position, "Rerandomisation")
        if jnp.shape(position) != self.whitened.shape[:1]:
            raise ValueError(
                f"Rerandomisation needs an assignment of {self.whitened.shape[0]} units; got shape {jnp.shape(position)}"
            )
        if inputs.is_concrete((position, self)):
            values = np.asarray(position)
            if not np.isin(values, (0, 1)).all() or values.sum() != self.num_treated:
                raise ValueError(f"an assignment has {self.num_treated} ones and zeros elsewhere; got {values}")
            if not bool(self.accepts(position)):
                raise ValueError(
                    f"the imbalance of this assignment is {float(self.imbalance(position)):g}, above the threshold "
                    f"{float(self.threshold):g}; start from draw(key)"
                )
        return DrawState(position)

    def trial(self, key: PRNGKeyArray, dtype: Any = jnp.int32) -> Trial:
        """Draw one assignment and decide."""
        base = (jnp.arange(self.whitened.shape[0]) < self.num_treated).astype(dtype)
        assignment = random.permutation(key, base)
        none = jnp.zeros((), jnp.int32)
        return Trial(assignment, self.accepts(assignment), none, none, none)

    def step(self, key: PRNGKeyArray, state: DrawState) -> tuple[DrawState, RejectionInfo]:
        """Draw an assignment."""
        position, info = until_accepted(
            lambda one: self.trial(one, state.position.dtype), key, state.position, self.max_trials
        )
        return DrawState(position), info

    def draw(self, key: PRNGKeyArray) -> Int[Array, " n"]:
        """Draw an assignment; -1 everywhere if none was accepted."""
        nowhere = jnp.full(self.whitened.shape[:1], -1, jnp.int32)
        return until_accepted(self.trial, key, nowhere, self.max_trials)[0]

    def assignments(self, *, max_assignments: int = 1_000_000) -> Int[np.ndarray, "m n"]:
        """Return all accepted assignments, for few units.

        Raises
        ------
        ValueError
            If there are more than ``max_assignments`` to look at, or none is accepted.
        """
        n = self.whitened.shape[0]
        total = int(special.comb(n, self.num_treated, exact=True))
        if total > max_assignments:
            raise ValueError(
                f"there are {total} assignments, more than max_assignments={max_assignments}; draw instead"
            )
        table = np.zeros((total, n), np.int32)
        for row, treated in enumerate(itertools.combinations(range(n), self.num_treated)):
            table[row, list(treated)] = 1
        accepted = table[np.asarray(self.accepts(jnp.asarray(table)))]
        if not accepted.size:
            raise ValueError(f"none of the {total} assignments has an imbalance of at most {float(self.threshold):g}")
        return accepted

    def randomisation_test(
        self,
        statistic: Statistic,
        assignment: Int[np.ndarray, " n"],
        *,
        key: PRNGKeyArray | None = None,
        num_draws: int = 9999,
    ) -> float:
        """Return the p-value of Fisher's test that the treatment changed no outcome.

        Under that hypothesis the statistic is known for every assignment, and the one made is uniform among the accepted.

        Parameters
        ----------
        statistic
            Function of an assignment, large where the groups differ.
        assignment
            The one that was made.
        key
            Typed key for ``(1 + #{T >= t}) / (1 + num_draws)`` over fresh accepted assignments, a valid p-value for any
            number of them. Without, all accepted assignments are enumerated, and the p-value is exact.
        num_draws
            Draws, if there is a key.

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If the assignment is not accepted, a statistic is NaN, or no assignment can be found.
        """
        observed_at = np.asarray(self.init(assignment).position)
        if key is None:
            others = self.assignments()
        else:
            keys = random.split(key, inputs.static_count("num_draws", num_draws))
            others = np.asarray(jax.jit(jax.vmap(self.draw))(keys))
            if np.any(others < 0):
                raise ValueError(
                    f"no assignment was accepted in max_trials={self.max_trials} trials; raise the threshold"
                )
        observed = float(statistic(observed_at))
        values = np.array([float(statistic(row)) for row in others])
        if np.isnan(observed) or np.any(np.isnan(values)):
            raise ValueError("the statistic is NaN for an assignment; expected a number for each")
        # Equal statistics count as equal whatever their rounding: the assignment that was made has to count itself.
        slack = 1e-12 * max(1.0, float(np.max(np.abs(np.append(values, observed)))))
        extreme = int(np.sum(values >= observed - slack))
        return extreme / values.size if key is None else (1 + extreme) / (1 + values.size)
