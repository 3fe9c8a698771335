"""Reverse diffusion of a population that is resampled along the path."""

from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.density import LogDensity, evaluate
from ergodica.samplers.diffusion.resampling import effective_size, systematic_ancestors
from ergodica.samplers.diffusion.reverse_diffusion import PathTally, ReverseDiffusion
from ergodica.samplers.kernel import Claim, Exactness, Kernel, Space, replace

__all__ = ["ReverseDiffusionSMC", "ReverseDiffusionSMCInfo", "ReverseDiffusionSMCState"]


class ReverseDiffusionSMCState(NamedTuple):
    """A population and its log densities.

    Parameters
    ----------
    position
        Pytree of arrays with the particles on axis 0.
    logdensity
        Log density of each particle, shape ``(N,)``.
    """

    position: PyTree
    logdensity: Float[Array, " N"]


class ReverseDiffusionSMCInfo(NamedTuple):
    """What a population that was drawn by reverse diffusion reports.

    Parameters
    ----------
    log_weight
        Log of an unbiased estimate of the target's normaliser: the weight of the whole population. With ``W`` the weight
        and ``X_1, ..., X_N`` the particles, ``E[W mean f(X_i)]`` is the integral of ``f`` against the unnormalised target.
    ess
        Effective number of particles at the end, before the last resampling.
    num_resampled
        Resamplings along the path; the last, which always takes place, is not counted.
    inner_acceptance_rate, inner_step_size, score_ess
        As in :class:`~ergodica.samplers.diffusion.reverse_diffusion.ReverseDiffusionInfo`, averaged over the particles,
        and the smallest.
    num_evals, num_grad_evals, num_invalid, num_degenerate
        As there, in all.
    """

    log_weight: Float[Array, ""]
    ess: Float[Array, ""]
    num_resampled: Int[Array, ""]
    inner_acceptance_rate: Float[Array, ""]
    inner_step_size: Float[Array, ""]
    score_ess: Float[Array, ""]
    num_evals: Int[Array, ""]
    num_grad_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]
    num_degenerate: Int[Array, ""]


class _Particles(NamedTuple):
    """Where a population stands; every leaf has the particles on axis 0.

    Parameters
    ----------
    y, logdensity
        The points and their log densities.
    step_size
        Step of the inner chains.
    log_weight
        Log weights since the last resampling.
    log_target
        Log of the intermediate target that the weights refer to, at the points.
    held
        Log of the density over the reference, where it was last finite on the particle's path; 0 before it was.
    """

    y: Float[Array, "N d"]
    logdensity: Float[Array, " N"]
    step_size: Float[Array, " N"]
    log_weight: Float[Array, " N"]
    log_target: Float[Array, " N"]
    held: Float[Array, " N"]


class ReverseDiffusionSMC(Kernel[ReverseDiffusionSMCState, ReverseDiffusionSMCInfo]):
    """Biased sampler of populations by reverse diffusion, resampled along the path; exact with its weight.

    All particles run one noising diffusion backwards. Whenever their effective number has halved, those that fit the next
    targets are copied and the others die, so that the weights of long paths do not degenerate. The population ends with
    equal weights and is itself weighted by an unbiased estimate of the normaliser.

    Parameters
    ----------
    diffusion
        How a particle moves: its scores, times, start, and target.
    threshold
        Resample when the effective number of particles is below this times their number; 0 for never, 1 for always.

    Raises
    ------
    ValueError, TypeError
        If the diffusion is none, or the threshold is negative.

    Notes
    -----
    Claim: ``E[W mean f(X_i)] = Z E_pi[f]`` for the weight ``W = exp(log_weight)``, whatever the times, the scores, the
    threshold and the number of particles: systematic resampling gives each particle as many copies on average as its
    weight says, and when to resample depends on the past alone. Populations are independent of each other, the particles
    of one are not. Without its weight a population has a bias that falls like the inverse of its size.

    Positions have the particles on axis 0 in every leaf; ``draws.mean(f)`` takes ``f`` of a whole population, such as
    ``lambda x: x.mean(0)``. On the way the weights refer to ``mu^(1-b) gamma^b`` with the normal law ``mu`` of the start and
    ``b`` growing from 0 to 1 like ``exp(-2 t)``; this decides who is copied and never what is estimated. A particle outside
    the support keeps the ratio ``gamma / mu`` that it had last, until the end of the path. A draw costs one evaluation for
    each particle and step, beside those for the scores.

    With good scores and few steps, the weights are even enough without resampling, which then adds variance: compare
    ``ess`` at threshold 0.

    References
    ----------
    P. Del Moral, A. Doucet, A. Jasra, Sequential Monte Carlo samplers, J. R. Stat. Soc. B 68, 2006,
    doi:10.1111/j.1467-9868.2006.00553.x. N. Whiteley, A. Lee, K. Heine, On the role of interaction in sequential Monte
    Carlo algorithms, Bernoulli 22, 2016, arXiv:1309.2918, for resampling at times that depend on the weights. The moves:
    see :class:`~ergodica.samplers.diffusion.reverse_diffusion.ReverseDiffusion`.
    """

    diffusion: ReverseDiffusion
    threshold: Float[Array, ""]

    def __init__(self, diffusion: ReverseDiffusion, *, threshold: ArrayLike = 0.5) -> None:
        self.diffusion = diffusion
        self.threshold = inputs.real_parameter("threshold", threshold, at_least=0.0)

    def __check_init__(self) -> None:
        if not isinstance(self.diffusion, ReverseDiffusion):
            raise TypeError(
                "ReverseDiffusionSMC resamples a ReverseDiffusion, as in ReverseDiffusionSMC(ReverseDiffusion('mala')); "
                f"got {type(self.diffusion).__name__}"
            )

    @property
    def claim(self) -> Claim:
        """Biased; exact expectations with the weight."""
        inner = self.diffusion.claim
        return Claim(
            Exactness.BIASED,
            "populations are independent and biased; weighted by exp(log_weight), their averages are unbiased for "
            "integrals against the unnormalised target, whatever the times, the scores and the resampling",
            source=f"Del Moral, Doucet, Jasra 2006, doi:10.1111/j.1467-9868.2006.00553.x; {inner.source}",
            order="O(1 / number of particles) without the weights",
            spaces=frozenset({Space.REAL}),
            gradient=inner.gradient,
            population=True,
            independent=True,
            weighted=inner.weighted,
            bias=("number of particles",),
        )

    @property
    def logdensity(self) -> Partial | None:
        """The target."""
        return self.diffusion.logdensity

    @property
    def takes_logdensity(self) -> bool:
        """True."""
        return True

    def bind(self, logdensity: LogDensity) -> Self:
        """Return the same kernel with another target."""
        return replace(self, diffusion=self.diffusion.bind(logdensity))

    def unbound(self) -> Self:
        """Return the kernel without its target."""
        return replace(self, diffusion=self.diffusion.unbound())

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> ReverseDiffusionSMCState:
        """Return a state at a population; only its number, its structure and its dtypes matter to the draws.

        Parameters
        ----------
        position
            Pytree of floating-point arrays with the particles on axis 0.
        key
            Not used.

        Raises
        ------
        TypeError, ValueError
            If the axes do not fit, or the target is not finite at a particle.
        """
        del key
        position = inputs.real_position(position, "ReverseDiffusionSMC")
        sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(position)}
        if len(sizes) != 1 or sizes == {()}:
            raise ValueError(
                "ReverseDiffusionSMC needs positions with the particles on axis 0 of every leaf; got leading axes "
                f"{sorted(sizes)}. Repeat a common start with jnp.broadcast_to."
            )
        inputs.start_density(self._target(), jax.tree.map(lambda leaf: leaf[0], position), "ReverseDiffusionSMC")
        values, invalid = jax.vmap(lambda at: evaluate(self._target(), at))(position)
        if inputs.is_concrete(values):
            inputs.finite_start(np.where(invalid, np.nan, values), position, "ReverseDiffusionSMC")
        return ReverseDiffusionSMCState(position, values)

    def refresh(self, state: ReverseDiffusionSMCState) -> ReverseDiffusionSMCState:
        """Recompute the log densities."""
        values, _ = jax.vmap(lambda at: evaluate(self._target(), at))(state.position)
        return state._replace(logdensity=values)

    def step(
        self, key: PRNGKeyArray, state: ReverseDiffusionSMCState
    ) -> tuple[ReverseDiffusionSMCState, ReverseDiffusionSMCInfo]:
        """Draw a fresh population; of the state, only number, structure and dtypes are used."""
        like, unravel = ravel_pytree(jax.tree.map(lambda leaf: leaf[0], state.position))
        count, dtype = state.logdensity.shape[0], like.dtype
        times = self.diffusion.times.astype(dtype)
        key_start, key_path, key_end = random.split(key, 3)

        def log_reference(y: Array) -> Array:
            variance = -jnp.expm1(-2 * times[0])
            return -0.5 * jnp.sum(y**2, axis=1) / variance - 0.5 * like.size * jnp.log(2 * jnp.pi * variance)

        def begin(key: PRNGKeyArray) -> tuple[Array, Array, PathTally]:
            return self.diffusion.begin_path(key, times[0], like, unravel)

        def body(carry: Any, now: tuple[Array, Array, Array, PRNGKeyArray]) -> Any:
            at, tally, log_z, num_resampled, num_invalid = carry
            t, t_next, power, key = now
            key_resample, key_move = random.split(key)
            at, factor, resampled = self._resample(key_resample, at)

            def move(key: PRNGKeyArray, y: Array, step_size: Array) -> Any:
                key_score, key_noise = random.split(key)
                estimate = self.diffusion.estimate_score(key_score, y, t, unravel, step_size)
                y, increment = self.diffusion.reverse_step(key_noise, y, estimate.score, t - t_next)
                value, invalid = evaluate(self._target(), unravel(y), dtype)
                return y, increment, value, invalid, estimate

            keys = random.split(key_move, count)
            y, increment, values, invalid, estimate = jax.vmap(move)(keys, at.y, at.step_size)
            at = at._replace(y=y, logdensity=values, step_size=estimate.step_size, log_weight=at.log_weight + increment)
            at = self._retarget(at, power, log_reference(y))
            tally = jax.vmap(PathTally.add)(tally, estimate)
            num_invalid = num_invalid + jnp.sum(invalid, dtype=jnp.int32)
            return (at, tally, log_z + factor, num_resampled + resampled, num_invalid), None

        y, log_weight, tally = jax.vmap(begin)(random.split(key_start, count))
        zeros = jnp.zeros((count,), dtype)
        # The density at the starts is not needed: none is known yet.
        at = _Particles(y, jnp.full_like(zeros, -jnp.inf), tally.step_size, log_weight, zeros, zeros)
        at = self._retarget(at, jnp.zeros((), dtype), log_reference(y))
        none = jnp.zeros((), jnp.int32)
        (at, tally, log_z, num_resampled, num_invalid), _ = lax.scan(
            body,
            (at, tally, jnp.zeros((), dtype), none, none),
            (times[:-1], times[1:], _powers(times)[1:], random.split(key_path, times.size - 1)),
        )
        # The last target is the density itself, with its zeros.
        log_weight = at.log_weight + at.logdensity - at.log_target
        ancestors = systematic_ancestors(key_end, log_weight)
        info = ReverseDiffusionSMCInfo(
            log_weight=log_z + _log_mean(log_weight),
            ess=effective_size(log_weight),
            num_resampled=num_resampled,
            inner_acceptance_rate=jnp.sum(tally.acceptance) / jnp.sum(tally.num_scores).astype(dtype),
            inner_step_size=jnp.mean(at.step_size),
            score_ess=jnp.min(tally.ess),
            num_evals=jnp.sum(tally.num_evals) + count * (times.size - 1),
            num_grad_evals=jnp.sum(tally.num_grad_evals),
            num_invalid=jnp.sum(tally.num_invalid) + num_invalid,
            num_degenerate=jnp.sum(tally.num_degenerate),
        )
        position = jax.vmap(unravel)(at.y[ancestors])
        return ReverseDiffusionSMCState(position, at.logdensity[ancestors].astype(state.logdensity.dtype)), info

    def _retarget(self, at: _Particles, power: Array, log_reference: Float[Array, " N"]) -> _Particles:
        """Move the weights to the target ``reference (gamma / reference)^power``.

        A target that vanishes where the path may come from would bias the weights, so that zeros are passed over.
        """
        held = jnp.where(jnp.isfinite(at.logdensity), at.logdensity - log_reference, at.held)
        target = log_reference + power * held
        return at._replace(log_weight=at.log_weight + target - at.log_target, log_target=target, held=held)

    def _resample(self, key: PRNGKeyArray, at: _Particles) -> tuple[_Particles, Array, Array]:
        """Resample if the effective number is low; return the log of the mean weight, or 0 if not, and whether."""
        weights = at.log_weight
        count = weights.shape[0]
        resampled = effective_size(weights) < self.threshold.astype(weights.dtype) * count
        ancestors = jnp.where(resampled, systematic_ancestors(key, weights), jnp.arange(count))
        at = jax.tree.map(lambda leaf: leaf[ancestors], at)
        at = at._replace(log_weight=jnp.where(resampled, 0, at.log_weight))
        return at, jnp.where(resampled, _log_mean(weights), 0), resampled.astype(jnp.int32)


def _powers(times: Float[Array, " K+1"]) -> Float[Array, " K+1"]:
    """Return the powers of the density in the geometric targets, from 0 to 1 as ``exp(-2 t)``."""
    grown = -jnp.expm1(-2 * (times[0] - times)) * jnp.exp(-2 * times)
    return grown / grown[-1]


def _log_mean(logs: Float[Array, " n"]) -> Float[Array, ""]:
    return jax.nn.logsumexp(logs) - jnp.log(jnp.asarray(logs.shape[0], logs.dtype))
