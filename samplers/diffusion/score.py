"""The score of a noised target as a posterior mean, and estimators of it.

With ``X_t = a X_0 + sqrt(s) Z``, ``a = exp(-t)``, ``s = 1 - exp(-2 t)``, the score of the law of ``X_t`` is a mean over the
law ``q_t(y | x)`` of ``X_0`` given ``X_t = x``, whose density is proportional to
``gamma(y) exp(-|x - a y|^2 / (2 s))``::

    grad log p_t(x) = E_q[(a y - x) / s]            denoising form
                    = E_q[grad log gamma(y)] / a    gradient form

All estimators work with ``z = (a y - x) / sqrt(s)``: standard normal times ``gamma(y(z))`` under ``q_t``, and free of
cancellation as ``t`` tends to 0.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.density import evaluate, evaluate_with_gradient

__all__ = ["GivenScore", "ImportanceScore", "LangevinScore", "Posterior", "ScoreEstimate", "ScoreEstimator"]

Form = Literal["denoising", "gradient", "combined"]
FORMS = ("denoising", "gradient", "combined")


@dataclasses.dataclass(frozen=True)
class Posterior:
    """The law of ``X_0`` given ``X_t = x``, in the coordinate ``z = (a y - x) / sqrt(s)``.

    Parameters
    ----------
    logdensity
        Log of ``gamma``, from a pytree to a scalar.
    x
        Shape ``(d,)``.
    t
        Positive time.
    unravel
        From shape ``(d,)`` to the pytree.
    """

    logdensity: Callable[[PyTree], Array]
    x: Float[Array, " d"]
    t: Float[Array, ""]
    unravel: Callable[[Array], PyTree]

    @property
    def a(self) -> Float[Array, ""]:
        """``exp(-t)``."""
        return jnp.exp(-self.t)

    @property
    def sigma(self) -> Float[Array, ""]:
        """``sqrt(1 - exp(-2 t))``."""
        return jnp.sqrt(-jnp.expm1(-2 * self.t))

    def point(self, z: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return ``y = (x + sqrt(s) z) / a``."""
        return (self.x + self.sigma * z) / self.a

    def evaluate(self, z: Float[Array, " d"]) -> tuple[Float[Array, ""], Bool[Array, ""]]:
        """Return ``log gamma(y)``, and whether it was NaN or ``+inf`` and counts as ``-inf``."""
        return evaluate(self._flat, self.point(z))

    def evaluate_with_gradient(
        self, z: Float[Array, " d"]
    ) -> tuple[Float[Array, ""], Float[Array, " d"], Bool[Array, ""]]:
        """Return ``log gamma(y)``, its gradient in ``y``, and whether either was replaced."""
        return evaluate_with_gradient(self._flat, self.point(z))

    def _flat(self, y: Array) -> Array:
        return self.logdensity(self.unravel(y))


class ScoreEstimate(NamedTuple):
    """An estimate of a score, and what it cost.

    Parameters
    ----------
    score
        Shape ``(d,)``; always finite.
    log_density
        Log of an unbiased estimate of the density of ``X_t`` at ``x``, times the integral of ``gamma``: the average of
        ``gamma`` over the importance draws (over the first batch of proposals, by rejection), times ``exp(d t)``. NaN for
        a score that is given.
    ess
        Effective number of importance draws, or number of accepted ones.
    acceptance_rate
        Mean over the inner chains or over the proposals; 1 without an accept test.
    step_size
        Step of the inner chains, to be handed to the next estimate.
    num_evals, num_grad_evals
        Evaluations of ``log gamma`` and of its gradient.
    num_invalid
        Evaluations that gave NaN, ``+inf``, or a gradient that is not finite; and proposals above a bound that was given.
    is_degenerate
        Whether nothing was learnt (``gamma`` vanished at every draw, no proposal was accepted, or the estimate was not
        finite), so that the score is that of the standard normal law, ``-x``; or zero, by rejection.
    """

    score: Float[Array, " d"]
    log_density: Float[Array, ""]
    ess: Float[Array, ""]
    acceptance_rate: Float[Array, ""]
    step_size: Float[Array, ""]
    num_evals: Int[Array, ""]
    num_grad_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]
    is_degenerate: Bool[Array, ""]


class ScoreEstimator(eqx.Module):
    """Estimates the score of the noised target at a point."""

    @property
    @abc.abstractmethod
    def gradient(self) -> bool:
        """Whether the log density is differentiated."""

    @abc.abstractmethod
    def estimate(self, key: PRNGKeyArray, posterior: Posterior, step_size: Float[Array, ""]) -> ScoreEstimate:
        """Estimate the score.

        Parameters
        ----------
        key
            Typed key.
        posterior
            The law of ``X_0`` given ``X_t = x``.
        step_size
            Where the step of the inner chains starts; ignored without inner chains.
        """


def _form(value: str) -> str:
    if value not in FORMS:
        raise ValueError(f"the forms of the score are {', '.join(map(repr, FORMS))}; got {value!r}")
    return value


def combine(
    form: str,
    posterior: Posterior,
    z: Float[Array, "n d"],
    gradients: Float[Array, "n d"] | None,
    weights: Float[Array, " n"],
) -> Float[Array, " d"]:
    """Return the weighted mean of the score over points of the posterior.

    Parameters
    ----------
    form
        ``"denoising"``, ``"gradient"``, or ``"combined"``: the first minus the multiple of the difference of the two,
        whose mean is zero, that regression on these points finds best, coordinate by coordinate.
    posterior
        The law of ``X_0`` given ``X_t = x``.
    z
        The points, in the coordinate of :class:`Posterior`.
    gradients
        Gradients of ``log gamma`` there; not needed by the denoising form.
    weights
        Non-negative, summing to one.
    """
    # An infinite or zero-weighted point must not enter as 0 * inf.
    denoising = jnp.where(weights[:, None] > 0, z, 0) / posterior.sigma
    first = weights @ denoising
    if form == "denoising":
        return first
    assert gradients is not None
    other = jnp.where(weights[:, None] > 0, gradients, 0) / posterior.a
    second = weights @ other
    if form == "gradient":
        return second
    control = denoising - other
    centred = control - (first - second)
    variance = weights @ centred**2
    covariance = weights @ (centred * (denoising - first))
    slope = jnp.where(variance > 0, covariance / jnp.where(variance > 0, variance, 1), 0)
    return first - slope * (first - second)


def _settle(
    posterior: Posterior, score: Float[Array, " d"], degenerate: Bool[Array, ""]
) -> tuple[Float[Array, " d"], Bool[Array, ""]]:
    degenerate = degenerate | ~jnp.all(jnp.isfinite(score))
    return jnp.where(degenerate, -posterior.x, score), degenerate


class _Draws(NamedTuple):
    """Importance draws: standard normal ``z`` with weights ``gamma(y(z))``."""

    z: Float[Array, "n d"]
    logdensity: Float[Array, " n"]
    gradients: Float[Array, "n d"] | None
    weights: Float[Array, " n"]
    log_density: Float[Array, ""]
    ess: Float[Array, ""]
    num_invalid: Int[Array, ""]
    is_degenerate: Bool[Array, ""]


def _importance(key: PRNGKeyArray, posterior: Posterior, num_draws: int, *, gradient: bool) -> _Draws:
    x = posterior.x
    z = random.normal(key, (num_draws, x.size), x.dtype)
    gradients = None
    if gradient:
        logs, gradients, invalid = jax.vmap(posterior.evaluate_with_gradient)(z)
    else:
        logs, invalid = jax.vmap(posterior.evaluate)(z)
    peak = jnp.max(logs)
    degenerate = jnp.isneginf(peak)
    unnormalised = jnp.where(degenerate, 1.0, jnp.exp(logs - jnp.where(degenerate, 0.0, peak))).astype(x.dtype)
    total = jnp.sum(unnormalised)
    weights = unnormalised / total
    log_density = jnp.where(degenerate, -jnp.inf, peak + jnp.log(total / num_draws) + x.size * posterior.t)
    ess = jnp.where(degenerate, 0.0, 1 / jnp.sum(weights**2)).astype(x.dtype)
    return _Draws(z, logs, gradients, weights, log_density, ess, jnp.sum(invalid, dtype=jnp.int32), degenerate)


class ImportanceScore(ScoreEstimator):
    """Estimates the score by self-normalised importance sampling; biased ``O(1 / num_draws)``.

    Draws ``y ~ N(x / a, (s / a^2) I)`` and weights them by ``gamma(y)``. Good for small times or low dimension.

    Parameters
    ----------
    num_draws
        Draws for each score.
    form
        ``"denoising"`` needs values only, ``"gradient"`` gradients, ``"combined"`` both; see :func:`combine`. The last
        two need a log density that is differentiable on the whole space: not one with bounded support.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.
    """

    num_draws: int = eqx.field(static=True)
    form: str = eqx.field(static=True)

    def __init__(self, num_draws: int = 64, form: str = "denoising") -> None:
        self.num_draws = inputs.static_count("num_draws", num_draws)
        self.form = _form(form)

    @property
    def gradient(self) -> bool:
        """True but for the denoising form."""
        return self.form != "denoising"

    def estimate(self, key: PRNGKeyArray, posterior: Posterior, step_size: Float[Array, ""]) -> ScoreEstimate:
        """Estimate the score."""
        draws = _importance(key, posterior, self.num_draws, gradient=self.gradient)
        score = combine(self.form, posterior, draws.z, draws.gradients, draws.weights)
        score, degenerate = _settle(posterior, score, draws.is_degenerate)
        count = jnp.asarray(self.num_draws, jnp.int32)
        return ScoreEstimate(
            score,
            draws.log_density,
            draws.ess,
            jnp.ones((), posterior.x.dtype),
            step_size,
            count,
            count if self.gradient else jnp.zeros_like(count),
            draws.num_invalid,
            degenerate,
        )


class _Particle(NamedTuple):
    """A point of an inner chain."""

    z: Float[Array, " d"]
    logdensity: Float[Array, ""]
    gradient: Float[Array, " d"]

    def log_target(self) -> Float[Array, ""]:
        return self.logdensity - 0.5 * jnp.sum(self.z**2)

    def drift(self, posterior: Posterior) -> Float[Array, " d"]:
        return posterior.sigma / posterior.a * self.gradient - self.z


def _choose(accepted: Bool[Array, ""], new: _Particle, old: _Particle) -> _Particle:
    return _Particle(*(jnp.where(accepted, there, here) for there, here in zip(new, old, strict=True)))


class LangevinScore(ScoreEstimator):
    """Estimates the score by short Langevin chains on the posterior; biased by their length, and by the step if unadjusted.

    The chains start at points resampled from importance draws; the last half of each is averaged.

    Parameters
    ----------
    adjusted
        Metropolis-adjusted (MALA), with the step adapted to the target acceptance and handed on to the next time; or
        unadjusted (ULA), with the step ``0.5 / (L + a^2 / s)``, whose bias is ``O(step)`` in the posterior's variance.
    num_draws
        Importance draws for the starts.
    num_chains, num_steps
        Number and length of the chains.
    form
        See :class:`ImportanceScore`.
    smoothness
        ``L``, a bound of the Hessian of ``-log gamma``. It bounds the step by ``1 / (L + a^2 / s)``. For MALA a guess
        will do; an unadjusted chain with too small a value is unstable. One is right for a standardised target.
    target_acceptance
        What the adjusted chains adapt their step to.
    adaptation_rate
        The log of the step moves by this times the excess of acceptance after each step; 0 keeps the step.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.
    """

    adjusted: bool = eqx.field(static=True)
    num_draws: int = eqx.field(static=True)
    num_chains: int = eqx.field(static=True)
    num_steps: int = eqx.field(static=True)
    form: str = eqx.field(static=True)
    smoothness: Float[Array, ""]
    target_acceptance: Float[Array, ""]
    adaptation_rate: Float[Array, ""]

    def __init__(
        self,
        adjusted: bool = True,
        num_draws: int = 128,
        num_chains: int = 10,
        num_steps: int = 20,
        form: str = "denoising",
        smoothness: ArrayLike = 1.0,
        target_acceptance: ArrayLike = 0.57,
        adaptation_rate: ArrayLike = 0.5,
    ) -> None:
        self.adjusted = adjusted
        self.num_draws = inputs.static_count("num_draws", num_draws)
        self.num_chains = inputs.static_count("num_chains", num_chains)
        self.num_steps = inputs.static_count("num_steps", num_steps)
        self.form = _form(form)
        self.smoothness = inputs.real_parameter("smoothness", smoothness, at_least=0.0)
        self.target_acceptance = inputs.real_parameter("target_acceptance", target_acceptance, above=0.0)
        self.adaptation_rate = inputs.real_parameter("adaptation_rate", adaptation_rate, at_least=0.0)

    @property
    def gradient(self) -> bool:
        """True."""
        return True

    def largest_step(self, posterior: Posterior) -> Float[Array, ""]:
        """Return ``1 / (L + a^2 / s)``, the inverse of the bound of the posterior's curvature."""
        smoothness = self.smoothness.astype(posterior.x.dtype)
        return 1 / (smoothness + (posterior.a / posterior.sigma) ** 2)

    def estimate(self, key: PRNGKeyArray, posterior: Posterior, step_size: Float[Array, ""]) -> ScoreEstimate:
        """Estimate the score."""
        key_draws, key_starts, key_chains = random.split(key, 3)
        draws = _importance(key_draws, posterior, self.num_draws, gradient=False)
        logits = jnp.where(draws.is_degenerate, 0.0, draws.logdensity)
        starts = draws.z[random.categorical(key_starts, logits, shape=(self.num_chains,))]
        z, gradients, step_size, acceptance, num_invalid = self.chains(key_chains, posterior, starts, step_size)
        half = self.num_steps // 2
        z, gradients = (values[half:].reshape(-1, posterior.x.size) for values in (z, gradients))
        score = combine(self.form, posterior, z, gradients, jnp.full((len(z),), 1 / len(z), z.dtype))
        score, degenerate = _settle(posterior, score, draws.is_degenerate)
        moves = self.num_chains * (1 + self.num_steps)
        return ScoreEstimate(
            score,
            draws.log_density,
            draws.ess,
            acceptance,
            step_size,
            jnp.asarray(self.num_draws + moves, jnp.int32),
            jnp.asarray(moves, jnp.int32),
            draws.num_invalid + num_invalid,
            degenerate,
        )

    def chains(
        self, key: PRNGKeyArray, posterior: Posterior, starts: Float[Array, "c d"], step_size: Float[Array, ""]
    ) -> tuple[Float[Array, "n c d"], Float[Array, "n c d"], Float[Array, ""], Float[Array, ""], Int[Array, ""]]:
        """Run the chains from given starts.

        Parameters
        ----------
        key
            Typed key.
        posterior
            Their target.
        starts
            In the coordinate ``z``.
        step_size
            First step of adjusted chains, for ``y``; taken as it is up to the bound.

        Returns
        -------
        z, gradients, step_size, acceptance_rate, num_invalid
            Points and gradients of ``log gamma`` after each step; the last step, the mean acceptance probability, and
            the number of evaluations that failed.
        """
        dtype = posterior.x.dtype
        largest = self.largest_step(posterior)
        # A step for y is a step for z after division by s / a^2.
        to_z = (posterior.a / posterior.sigma) ** 2
        target_acceptance, rate = self.target_acceptance.astype(dtype), self.adaptation_rate.astype(dtype)

        def propose(at: _Particle, noise: Array, step: Array) -> tuple[_Particle, Array, Array]:
            step = step * to_z
            z = at.z + step * at.drift(posterior) + jnp.sqrt(2 * step) * noise
            value, gradient, invalid = posterior.evaluate_with_gradient(z)
            new = _Particle(z, value, gradient)
            if not self.adjusted:
                return new, jnp.ones((), dtype), invalid
            back = at.z - z - step * new.drift(posterior)
            log_ratio = new.log_target() - at.log_target() + 0.5 * jnp.sum(noise**2) - jnp.sum(back**2) / (4 * step)
            probability = jnp.where(invalid | jnp.isnan(log_ratio), 0.0, jnp.exp(jnp.minimum(log_ratio, 0.0)))
            return new, probability.astype(dtype), invalid

        def body(carry: tuple[_Particle, Array, Array], key: PRNGKeyArray) -> Any:
            particles, step, failures = carry
            key_noise, key_accept = random.split(key)
            noise = random.normal(key_noise, starts.shape, dtype)
            new, probability, invalid = jax.vmap(propose, in_axes=(0, 0, None))(particles, noise, step)
            mean = jnp.mean(probability)
            if self.adjusted:
                accepted = random.bernoulli(key_accept, probability)
                particles = jax.vmap(_choose)(accepted, new, particles)
                step = jnp.minimum(step * jnp.exp(rate * (mean - target_acceptance)), largest)
            else:
                particles = new
            failures = failures + jnp.sum(invalid, dtype=jnp.int32)
            return (particles, step, failures), (particles.z, particles.gradient, mean)

        values, gradients, invalid = jax.vmap(posterior.evaluate_with_gradient)(starts)
        step = jnp.minimum(step_size.astype(dtype), largest) if self.adjusted else 0.5 * largest
        begin = (_Particle(starts, values, gradients), step, jnp.sum(invalid, dtype=jnp.int32))
        (_, step, failures), (z, gradients, rates) = lax.scan(body, begin, random.split(key, self.num_steps))
        return z, gradients, step, jnp.mean(rates), failures


class GivenScore(ScoreEstimator):
    """Uses a score that is known in closed form, or was learnt.

    Parameters
    ----------
    function
        ``function(position, t)`` returns the score of the law of ``X_t`` at a position, as a pytree like it.

    Raises
    ------
    TypeError
        If it is not callable.
    """

    function: Partial

    def __init__(self, function: Callable[[PyTree, Array], PyTree]) -> None:
        self.function = _as_partial(function)

    @property
    def gradient(self) -> bool:
        """False."""
        return False

    def estimate(self, key: PRNGKeyArray, posterior: Posterior, step_size: Float[Array, ""]) -> ScoreEstimate:
        """Evaluate the score."""
        del key
        x = posterior.x
        score = ravel_pytree(self.function(posterior.unravel(x), posterior.t))[0].astype(x.dtype)
        if score.shape != x.shape:
            raise ValueError(f"expected a score with {x.size} entries, as many as the position; got {score.size}")
        score, degenerate = _settle(posterior, score, jnp.zeros((), bool))
        none = jnp.zeros((), jnp.int32)
        unknown = jnp.full((), jnp.nan, x.dtype)
        return ScoreEstimate(
            score,
            unknown,
            unknown,
            jnp.ones((), x.dtype),
            step_size,
            none,
            none,
            degenerate.astype(jnp.int32),
            degenerate,
        )


def _as_partial(function: Any) -> Partial:
    if isinstance(function, Partial):
        return function
    if not callable(function):
        raise TypeError(f"expected a callable (position, t) -> score; got {type(function).__name__}")
    if isinstance(function, eqx.Module):
        return Partial(_call, function)
    return Partial(function)


def _call(module: Any, position: PyTree, t: Array) -> PyTree:
    return module(position, t)
