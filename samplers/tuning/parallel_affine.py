"""Parallel affine transformation tuning: centre and scale that chains learn from each other, ever more rarely."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int

from ergodica.samplers.inputs import static_count
from ergodica.samplers.moments import Moments
from ergodica.samplers.tuning.leaves import first_of, flat_positions
from ergodica.samplers.tuning.tuner import KernelT, Tuner
from ergodica.samplers.tuning.whitening import Whitening

__all__ = ["ParallelAffine", "ParallelAffineAdaptation"]


class ParallelAffineAdaptation(NamedTuple):
    """What :class:`ParallelAffine` carries: moments of all draws since the burn-in."""

    moments: Moments
    burn_in: Int[Array, ""]


class ParallelAffine(Tuner):
    """Centre and scale of a kernel that works in coordinates ``x = centre + L y``, from all draws since a burn-in.

    After the burn-in, mean and standard deviations are set anew after every 25 steps, a Cholesky factor of the covariance
    after every ``max(d, 25)``; each time from all draws of all chains so far, so that they move less and less. At the end
    of the warm-up they are frozen, and the kernel is exact. What the kernel leaves ``None`` stays so: give it
    ``center=jnp.zeros(d)``, ``scale=jnp.ones(d)`` or ``scale=jnp.eye(d)`` to have them tuned.

    Parameters
    ----------
    burn_in
        Share of the warm-up in which nothing is learnt, in [0, 1).
    interval
        Steps between two estimates, but for that of a covariance in more dimensions.
    whitening
        Names of the kernel's fields.

    Raises
    ------
    ValueError
        If ``burn_in`` or ``interval`` is out of range.

    Notes
    -----
    The centre is the mean; the authors' option of a median needs all draws at once.

    References
    ----------
    P. Schär, M. Habeck, D. Rudolf, Parallel affine transformation tuning of Markov chain Monte Carlo, ICML 2024,
    arXiv:2401.16567.
    """

    burn_in: float = eqx.field(static=True, default=0.1)
    interval: int = eqx.field(static=True, default=25)
    whitening: Whitening = eqx.field(default_factory=Whitening)

    def __check_init__(self) -> None:
        if not 0 <= self.burn_in < 1:
            raise ValueError(f"burn_in is a share of the warm-up in [0, 1); got {self.burn_in}")
        static_count("interval", self.interval)

    @property
    def invalidates(self) -> bool:
        """``True``: states may hold whitened coordinates."""
        return True

    def init(self, kernel: Any, states: Any, num_steps: Int[Array, ""]) -> ParallelAffineAdaptation:
        """Start with no draws."""
        empty = self.whitening.init(kernel, states, num_steps).moments
        return ParallelAffineAdaptation(empty, jnp.floor(self.burn_in * num_steps).astype(jnp.int32))

    def update(
        self, adaptation: ParallelAffineAdaptation, kernel: KernelT, states: Any, infos: Any, step: Int[Array, ""]
    ) -> tuple[ParallelAffineAdaptation, KernelT]:
        """Learn from the positions of a step."""
        del infos
        begun: Bool[Array, ""] = step >= adaptation.burn_in
        more = adaptation.moments.add(flat_positions(states.position))
        moments = jax.tree.map(lambda new, old: jnp.where(begun, new, old), more, adaptation.moments)
        dense = moments.products.ndim == 2
        every = max(self.interval, moments.mean.size) if dense else self.interval
        done = step + 1 - adaptation.burn_in
        due = begun & (done % every == 0) & (moments.total >= 10)
        fields = self.whitening.fields(kernel)
        position = first_of(states.position)
        # Only what is tuned goes through the branches, lest the data of the target be copied.
        tuned = lax.cond(due, lambda: self.whitening.estimate(moments, fields, position), lambda: fields)
        return adaptation._replace(moments=moments), self.whitening.put(kernel, tuned)
