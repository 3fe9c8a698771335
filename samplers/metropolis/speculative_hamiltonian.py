"""Hamiltonian Monte Carlo whose next trajectories start before the decisions on the earlier ones are known."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.metropolis import as_ratio_rule
from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.corrected import Proposal
from ergodica.samplers.density import LogDensity, as_logdensity, optional_logdensity
from ergodica.samplers.kernel import Claim, Space
from ergodica.samplers.metropolis.futures import Futures, grow_in_batches
from ergodica.samplers.metropolis.prefetching import SpeculativeKernel, exact_block, static_rate
from ergodica.theory.prefetching import likely_futures

__all__ = ["HamiltonianStep", "SpeculativeHamiltonian"]


class HamiltonianStep(Proposal):
    """Proposal that draws a momentum and follows the gradient of a log density by leapfrog steps.

    The map is reversible and keeps volume whatever log density guides it, so that the ratio of its densities is that of
    the kinetic energies, ``exp(|v|^2 / 2 - |v'|^2 / 2)``.

    Parameters
    ----------
    guide
        Log density whose gradient is followed: the target, or a cheaper one like it.
    step_size
        Of the leapfrog steps: a positive number.
    num_leapfrog
        Steps of a trajectory.
    scale
        Standard deviations of the coordinates, ``()`` or ``(d,)``, of which the masses are the inverse squares; in the
        order of ``jax.flatten_util.ravel_pytree(position)``.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such thing.

    References
    ----------
    R. M. Neal, 2011, MCMC using Hamiltonian dynamics, arXiv:1206.1901, also for trajectories by an approximation.
    """

    guide: Partial
    step_size: Float[Array, ""]
    scale: Float[Array, "..."]
    num_leapfrog: int = eqx.field(static=True)

    def __init__(self, guide: LogDensity, step_size: ArrayLike, num_leapfrog: int, scale: inputs.Numbers = 1.0) -> None:
        self.guide = as_logdensity(guide)
        self.step_size = inputs.real_parameter("step_size", step_size, above=0.0)
        self.num_leapfrog = inputs.static_count("num_leapfrog", num_leapfrog)
        self.scale = _as_scale(scale)

    @property
    def spaces(self) -> frozenset[Space]:
        """Real positions."""
        return frozenset({Space.REAL})

    def check(self, position: PyTree) -> None:
        """Raise ``ValueError`` if the scale does not have the dimension of the position."""
        _check_scale(self.scale, position)

    def propose(self, key: PRNGKeyArray, position: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        """Draw a momentum, follow the trajectory to its end, and return the ratio of the kinetic energies."""
        flat, unravel = ravel_pytree(position)
        scale = jnp.broadcast_to(self.scale.astype(flat.dtype), flat.shape)
        step = self.step_size.astype(flat.dtype)

        def slope(x: Array) -> Array:
            # In coordinates with unit masses: x = scale z.
            return scale * jax.grad(lambda at: jnp.asarray(self.guide(unravel(at)), flat.dtype))(x)

        start = random.normal(key, flat.shape, flat.dtype)

        def leap(_: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
            x, velocity = carry
            velocity = velocity + step / 2 * slope(x)
            x = x + step * scale * velocity
            return x, velocity + step / 2 * slope(x)

        end, velocity = lax.fori_loop(0, self.num_leapfrog, leap, (flat, start))
        return unravel(end), 0.5 * jnp.sum(start**2) - 0.5 * jnp.sum(velocity**2)


def _as_scale(scale: inputs.Numbers) -> Float[Array, "..."]:
    array = inputs.real_parameter("scale", scale, above=0.0, ndim=None)
    if array.ndim > 1:
        raise ValueError(f"scale is a number or a vector of standard deviations; got shape {array.shape}")
    return array


def _check_scale(scale: Float[Array, "..."], position: PyTree) -> None:
    size = ravel_pytree(position)[0].size
    if scale.ndim and scale.shape[0] != size:
        raise ValueError(f"scale has to have {size} entries, as the position has coordinates; got {scale.shape[0]}")


class SpeculativeHamiltonian(SpeculativeKernel):
    """Exact, reversible block of Hamiltonian steps; several trajectories of the future are computed at once.

    Momentum and coin of a step belong to its number and not to what was decided before, so that the trajectory of a later
    step can start from a predicted decision, and is the true one if the prediction was right. A trajectory after a
    rejection starts where the chain is, side by side with the one before it; after an acceptance, at the end of the one
    before it. A step of this kernel makes ``num_steps`` steps of ``Corrected(HamiltonianStep(...), rule)``.

    Parameters
    ----------
    step_size, num_leapfrog, scale
        Of the trajectories; see :class:`HamiltonianStep`.
    num_steps
        Steps of a block.
    evaluations
        Trajectories of a round.
    acceptance
        Rate by which trajectories are chosen, in [0, 1]. With 0, the default without a guide, all of them are computed side
        by side, and a round ends at the first acceptance. With more, a round also has trajectories that wait for others
        and goes further; it pays where a guide makes trajectories cheap, for which the default is 0.8.
    guide
        A cheap log density whose gradient is followed instead of the target's; the target decides.
    rule
        Decides by the ratio; default: Metropolis's.
    logdensity
        The target: a callable from a position to a scalar.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such thing.

    Notes
    -----
    Claim: exact and reversible, as the serial chain is, whatever the guide. Equality of the positions with the serial
    chain's is bit for bit under the conditions of :class:`~ergodica.samplers.metropolis.prefetching.Prefetching`.
    ``num_evals`` counts the decisions' evaluations of the target, not the gradients.

    References
    ----------
    R. M. Neal, 2011, arXiv:1206.1901; A. E. Brockwell, 2006, doi:10.1198/106186006X100579, for the tree of decisions.
    """

    step_size: Float[Array, ""]
    num_leapfrog: int = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)
    evaluations: int = eqx.field(static=True)
    acceptance: float = eqx.field(static=True)
    scale: Float[Array, "..."]
    guide: Partial | None
    rule: RatioRule
    logdensity: Partial | None

    def __init__(
        self,
        step_size: ArrayLike,
        num_leapfrog: int,
        num_steps: int = 8,
        evaluations: int = 4,
        acceptance: ArrayLike | None = None,
        scale: inputs.Numbers = 1.0,
        guide: LogDensity | None = None,
        rule: RatioRule | None = None,
        logdensity: LogDensity | None = None,
    ) -> None:
        self.step_size = inputs.real_parameter("step_size", step_size, above=0.0)
        self.num_leapfrog = inputs.static_count("num_leapfrog", num_leapfrog)
        self.num_steps = inputs.static_count("num_steps", num_steps)
        self.evaluations = inputs.static_count("evaluations", evaluations)
        default = 0.0 if guide is None else 0.8
        self.acceptance = default if acceptance is None else static_rate("acceptance", acceptance)
        self.scale = _as_scale(scale)
        self.guide = optional_logdensity(guide)
        self.rule = as_ratio_rule(rule, "SpeculativeHamiltonian")
        self.logdensity = optional_logdensity(logdensity)

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return exact_block(
            "makes the steps of serial Hamiltonian Monte Carlo, which leave the target invariant",
            "Neal 2011, arXiv:1206.1901; Brockwell 2006, doi:10.1198/106186006X100579",
            frozenset({Space.REAL}),
            gradient=True,
        )

    def moves(self) -> HamiltonianStep:
        """Return the proposal of the serial chain."""
        guide = self._target() if self.guide is None else self.guide
        return HamiltonianStep(guide, self.step_size, self.num_leapfrog, self.scale)

    def look_ahead(self, key: PRNGKeyArray, index: Int[Array, ""], position: PyTree) -> Futures:
        """Return the ends of the trajectories of the likeliest steps that may come."""
        return grow_in_batches(key, index, position, self.moves(), likely_futures(self.evaluations, self.acceptance))
