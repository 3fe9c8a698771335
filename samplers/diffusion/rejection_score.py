"""The score of a noised target from exact draws of the posterior, by rejection: no gradient, no chain."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray

from ergodica.samplers import inputs, random
from ergodica.samplers.diffusion.score import Posterior, ScoreEstimate, ScoreEstimator

__all__ = ["RejectionScore"]


class _Accepted(NamedTuple):
    """What was accepted against one bound.

    Parameters
    ----------
    total
        Sum of the accepted ``z``.
    num_accepted, num_held
        Proposals accepted, and proposals held against the bound.
    """

    total: Float[Array, " d"]
    num_accepted: Int[Array, ""]
    num_held: Int[Array, ""]

    def or_else(self, other: "_Accepted") -> "_Accepted":
        """Return the other one if nothing was accepted."""
        return jax.tree.map(lambda here, there: jnp.where(self.num_accepted > 0, here, there), self, other)


class _Tried(NamedTuple):
    """Where the search for draws stands.

    Parameters
    ----------
    upper
        Bound of ``log gamma`` that proposals are held against.
    now, before
        What was accepted against this bound, and against the last one against which something was.
    num_batches
        Batches of proposals in all.
    num_invalid
        Evaluations that failed, and proposals above a bound that was given.
    log_density
        Log of the mean of ``gamma`` over the first batch.
    """

    upper: Float[Array, ""]
    now: _Accepted
    before: _Accepted
    num_batches: Int[Array, ""]
    num_invalid: Int[Array, ""]
    log_density: Float[Array, ""]


class RejectionScore(ScoreEstimator):
    """Estimates the score by exact draws of the posterior; unbiased if a bound of the log density is known.

    Proposals ``y ~ N(x / a, (s / a^2) I)`` are accepted with probability ``gamma(y) / exp(upper)``; the score is the mean
    of its denoising form over those accepted. Discontinuous targets and bounded supports are as good as others.

    Parameters
    ----------
    num_draws
        Accepted draws that end an estimate; those of the same batch are used too.
    upper
        Bound of the log density as the kernel evaluates it, from above; it belongs to the target, and :meth:`bind` of the
        kernel does not change it. Default: the largest value seen so far. A batch with a larger value raises the bound
        and starts the estimate anew, without that batch.
    max_proposals
        Proposals at most, in whole batches. The chance that one is accepted is ``a^d p_t(x) / max gamma`` and falls like
        ``exp(-d t)``: keep the horizon short.
    batch_size
        Proposals that are evaluated together.

    Raises
    ------
    ValueError, TypeError
        If a parameter is out of range.

    Notes
    -----
    With a true bound the accepted draws are independent draws of the posterior, so that the estimate is unbiased given
    that there is one. A bound that was found leaves out the posterior's mass above it, which is ``O(1 / num_evals)``. A
    bound that was given and is too low is raised too, and ``num_invalid`` counts the proposals above it.

    If the proposals are used up before one is accepted against a raised bound, the draws accepted against the last one
    serve. If nothing was accepted at all, the mean of the posterior is taken to be ``x / a``, so that the score is zero,
    and the estimate is marked as degenerate.

    References
    ----------
    Y. He, K. Rojas, M. Tao, Zeroth-order sampling methods for non-log-concave distributions: alleviating metastability by
    denoising diffusion, NeurIPS 2024, arXiv:2402.17886.
    """

    num_draws: int = eqx.field(static=True)
    max_proposals: int = eqx.field(static=True)
    batch_size: int = eqx.field(static=True)
    upper: Float[Array, ""] | None

    def __init__(
        self,
        num_draws: int = 64,
        *,
        upper: ArrayLike | None = None,
        max_proposals: int = 10_000,
        batch_size: int = 128,
    ) -> None:
        self.num_draws = inputs.static_count("num_draws", num_draws)
        self.batch_size = inputs.static_count("batch_size", batch_size)
        # A bound that is found takes the first batch.
        batches = 2 if upper is None else 1
        self.max_proposals = inputs.static_count("max_proposals", max_proposals, at_least=batches * self.batch_size)
        self.upper = None if upper is None else inputs.real_parameter("upper", upper)

    @property
    def gradient(self) -> bool:
        """False."""
        return False

    def estimate(self, key: PRNGKeyArray, posterior: Posterior, step_size: Float[Array, ""]) -> ScoreEstimate:
        """Estimate the score."""
        x = posterior.x
        dtype = x.dtype
        given = self.upper is not None
        upper = jnp.asarray(-jnp.inf if self.upper is None else self.upper, dtype)
        none = jnp.zeros((), jnp.int32)
        nothing = _Accepted(jnp.zeros_like(x), none, none)
        start = _Tried(upper, nothing, nothing, none, none, jnp.asarray(-jnp.inf, dtype))

        def unfinished(tried: _Tried) -> Array:
            return (tried.now.num_accepted < self.num_draws) & (
                tried.num_batches < self.max_proposals // self.batch_size
            )

        def body(tried: _Tried) -> _Tried:
            key_draw, key_accept = random.split(random.fold_in(key, tried.num_batches))
            z = random.normal(key_draw, (self.batch_size, x.size), dtype)
            logs, invalid = jax.vmap(posterior.evaluate)(z)
            logs = logs.astype(dtype)
            raised = jnp.max(logs) > tried.upper
            bound = jnp.maximum(tried.upper, jnp.max(logs))
            probability = jnp.where(jnp.isneginf(logs), 0.0, jnp.exp(logs - bound))
            accepted = random.bernoulli(key_accept, probability) & ~raised
            failures = jnp.sum(invalid, dtype=jnp.int32)
            if given:
                failures = failures + jnp.sum(logs > upper, dtype=jnp.int32)
            log_mean = jax.nn.logsumexp(logs) - jnp.log(jnp.asarray(self.batch_size, dtype))

            more = _Accepted(
                tried.now.total + jnp.sum(jnp.where(accepted[:, None], z, 0), axis=0),
                tried.now.num_accepted + jnp.sum(accepted, dtype=jnp.int32),
                tried.now.num_held + self.batch_size,
            )
            # The batch that raises the bound has the draw that did it, and must not be used.
            now = jax.tree.map(lambda fresh, new: jnp.where(raised, fresh, new), nothing, more)
            before = jax.tree.map(
                lambda old, older: jnp.where(raised, old, older), tried.now.or_else(tried.before), tried.before
            )
            return _Tried(
                bound,
                now,
                before,
                tried.num_batches + 1,
                tried.num_invalid + failures,
                jnp.where(tried.num_batches == 0, log_mean, tried.log_density),
            )

        tried = lax.while_loop(unfinished, body, start)
        found = tried.now.or_else(tried.before)
        num_accepted = found.num_accepted.astype(dtype)
        score = found.total / jnp.maximum(num_accepted, 1) / posterior.sigma
        degenerate = (found.num_accepted == 0) | ~jnp.all(jnp.isfinite(score))
        num_evals = tried.num_batches * self.batch_size
        return ScoreEstimate(
            jnp.where(degenerate, jnp.zeros_like(score), score),
            tried.log_density + x.size * posterior.t,
            num_accepted,
            num_accepted / jnp.maximum(found.num_held, 1).astype(dtype),
            step_size,
            num_evals,
            none,
            tried.num_invalid,
            degenerate,
        )
