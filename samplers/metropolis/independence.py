"""Independence Metropolis: candidates from one law, whatever the position."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.independence import SamplerWithDensity, proposal_density
from ergodica.samplers.acceptance.metropolis import as_ratio_rule
from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.density import LogDensity, density_dtype, optional_logdensity
from ergodica.samplers.held import Held, hold
from ergodica.samplers.independence import IndependenceKernel
from ergodica.samplers.kernel import Claim, Exactness

__all__ = ["CategoricalProposal", "IndependenceMetropolis", "NormalProposal"]


class CategoricalProposal(eqx.Module):
    """Law on the states ``0, ..., size - 1``.

    Parameters
    ----------
    probabilities
        Shape ``(size,)``, not necessarily summing to one; a state of probability zero is never proposed.

    Raises
    ------
    ValueError
        If these are no probabilities.
    """

    probabilities: Float[Array, " size"]

    def __init__(self, probabilities: inputs.Numbers) -> None:
        self.probabilities = inputs.probability_vector("probabilities", probabilities)
        if self.probabilities.ndim != 1:
            raise ValueError(f"probabilities has to be a vector; got shape {self.probabilities.shape}")

    def sample(self, key: PRNGKeyArray) -> Int[Array, ""]:
        """Draw a state."""
        return random.categorical(key, jnp.log(self.probabilities.astype(float)))

    def log_prob(self, position: Int[Array, ""]) -> Float[Array, ""]:
        """Return the log probability of a state; ``-inf`` outside."""
        size = self.probabilities.shape[0]
        probabilities = self.probabilities.astype(float)
        log = jnp.log(probabilities) - jnp.log(jnp.sum(probabilities))
        return jnp.where((position >= 0) & (position < size), log[jnp.clip(position, 0, size - 1)], -jnp.inf)


class NormalProposal(eqx.Module):
    """Normal law on vectors, such as an approximation of the target around its mode.

    Parameters
    ----------
    mean
        Shape ``(d,)``.
    scale
        Lower triangular ``d x d`` matrix, a vector of ``d`` standard deviations, or a number. Better larger than the
        target's than smaller: where the proposal's tails are lighter than the target's the chain sticks.

    Raises
    ------
    ValueError, TypeError
        If the shapes do not fit, or a standard deviation is not positive.
    """

    mean: Float[Array, " d"]
    scale: Float[Array, "..."]

    def __init__(self, mean: inputs.Numbers, scale: inputs.Numbers = 1.0) -> None:
        self.mean = inputs.real_parameter("mean", mean, ndim=1)
        self.scale = inputs.real_parameter("scale", scale, ndim=None)
        size = self.mean.shape[0]
        if self.scale.shape not in ((), (size,), (size, size)):
            raise ValueError(f"scale has to have shape (), ({size},) or ({size}, {size}); got {self.scale.shape}")
        if inputs.is_concrete(self.scale):
            values = np.asarray(self.scale)
            if values.ndim == 2 and np.any(np.triu(values, 1) != 0):
                raise ValueError("scale has to be lower triangular; pass jnp.linalg.cholesky(covariance)")
            if np.any((np.diagonal(values) if values.ndim == 2 else values) <= 0):
                raise ValueError(f"scale has to be greater than 0, on its diagonal if it is a matrix; got {values}")

    def sample(self, key: PRNGKeyArray) -> Float[Array, " d"]:
        """Draw a vector."""
        noise = random.normal(key, self.mean.shape, self.mean.dtype)
        return self.mean + (self.scale @ noise if self.scale.ndim == 2 else self.scale * noise)

    def log_prob(self, position: Float[Array, " d"]) -> Float[Array, ""]:
        """Return the log density at a vector."""
        gap = position - self.mean
        if self.scale.ndim == 2:
            noise = jax.scipy.linalg.solve_triangular(self.scale, gap, lower=True)
            spread = jnp.diagonal(self.scale)
        else:
            noise = gap / self.scale
            spread = jnp.broadcast_to(self.scale, gap.shape)
        return -0.5 * jnp.sum(noise**2) - jnp.sum(jnp.log(spread)) - 0.5 * gap.size * jnp.log(2 * jnp.pi)


def _hold_proposal(proposal: Any) -> Held:
    if not isinstance(proposal, Held) and not all(callable(getattr(proposal, f, None)) for f in ("sample", "log_prob")):
        raise TypeError(
            "IndependenceMetropolis needs a proposal with sample(key) and log_prob(position), such as a distribution "
            f"of NumPyro or FlowJAX; got {proposal!r}"
        )
    return hold(proposal)


class IndependenceMetropolis(IndependenceKernel):
    """Exact, reversible Metropolis-Hastings whose candidates do not depend on the position.

    Parameters
    ----------
    proposal
        Anything with ``sample(key)``, which returns a position, and ``log_prob(position)``: :class:`NormalProposal`,
        :class:`CategoricalProposal`, a distribution of NumPyro or FlowJAX, a pytree class of your own. Its arrays
        become leaves of the kernel; all else is static.
    rule
        Decides by the ratio ``w(y) / w(x)`` of weights ``w = pi / q``; default: Metropolis's.
    logdensity
        The target: a callable from a position to a scalar.

    Raises
    ------
    TypeError
        If the proposal or the rule is none.

    Notes
    -----
    Claim: exact and reversible for every proposal whose support contains the target's. The next state depends on the
    last, through rejection, although the candidate does not: draws are not independent. The distance to the target
    after ``n`` steps is at most ``(1 - 1/L)^n`` with ``L`` the largest weight over the normaliser; if the weights are
    not bounded the chain is not geometrically ergodic. Call :meth:`report` to be warned of that.

    References
    ----------
    L. Tierney, 1994, Ann. Statist. 22, doi:10.1214/aos/1176325750; K. L. Mengersen and R. L. Tweedie, 1996, Ann.
    Statist. 24, doi:10.1214/aos/1033066201; J. S. Liu, 1996, Stat. Comput. 6, doi:10.1007/BF00162521.
    """

    proposal: Held
    rule: RatioRule
    logdensity: Partial | None

    def __init__(self, proposal: Any, rule: RatioRule | None = None, logdensity: LogDensity | None = None) -> None:
        self.proposal = _hold_proposal(proposal)
        self.rule = as_ratio_rule(rule, "IndependenceMetropolis")
        self.logdensity = optional_logdensity(logdensity)

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return Claim(
            Exactness.EXACT,
            "leaves the target invariant for every proposal whose support contains the target's",
            source="Tierney 1994, doi:10.1214/aos/1176325750",
            reversible=True,
        )

    def check(self, position: PyTree) -> PyTree:
        """Return a position as JAX arrays; its leaves are all integers, or all real.

        Raises
        ------
        TypeError, ValueError
            If they are not.
        """
        leaves = jax.tree.leaves(position)
        discrete = bool(leaves) and all(jnp.issubdtype(jnp.result_type(leaf), jnp.integer) for leaf in leaves)
        check = inputs.integer_position if discrete else inputs.real_position
        return check(position, "IndependenceMetropolis")

    def propose(self, key: PRNGKeyArray, like: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        """Draw from the proposal; see :meth:`ergodica.samplers.independence.IndependenceKernel.propose`."""
        proposal: SamplerWithDensity = self.proposal.get()
        drawn = proposal.sample(key)
        shapes, wanted = (jax.tree.map(jnp.shape, tree) for tree in (drawn, like))
        if shapes != wanted:
            raise TypeError(f"the proposal draws arrays of shapes {shapes}, but the position has {wanted}")
        # The density is that of the point that would be moved to, after rounding to the dtype of the position.
        position = jax.tree.map(lambda new, old: new.astype(old.dtype), drawn, like)
        return position, self.log_proposal(position)

    def log_proposal(self, position: PyTree) -> Float[Array, ""]:
        """Return the proposal's log density at a position."""
        return proposal_density(self.proposal.get(), position, density_dtype(position))
