"""What kernels share whose candidates do not depend on the position: the state, the weight, the decision."""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.independence import IndependenceState, decide_by_weights
from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.acceptance.weights import WeightReport, report_weights
from ergodica.samplers.corrected import MetropolisInfo, choose
from ergodica.samplers.density import density_dtype, evaluate
from ergodica.samplers.kernel import Kernel

__all__ = ["IndependenceKernel"]


class IndependenceKernel(Kernel[IndependenceState, MetropolisInfo]):
    """A Metropolis kernel that draws its candidates from one law, whatever the position.

    To write one, subclass, hold the law in fields beside ``rule`` and ``logdensity``, and define :meth:`check`,
    :meth:`propose` and :meth:`log_proposal`.
    """

    rule: eqx.AbstractVar[RatioRule]
    logdensity: eqx.AbstractVar[Partial | None]

    @abc.abstractmethod
    def check(self, position: PyTree) -> PyTree:
        """Return a position as JAX arrays, after checking that the law draws positions such as this one.

        Raises
        ------
        TypeError, ValueError
            If it does not.
        """

    @abc.abstractmethod
    def propose(self, key: PRNGKeyArray, like: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        """Draw from the law.

        Parameters
        ----------
        key
            Typed key.
        like
            Any position, for structure and dtypes.

        Returns
        -------
        position
            With the structure, shapes and dtypes of ``like``.
        log_proposal
            The law's log density there, after rounding to those dtypes; in any floating-point dtype.
        """

    @abc.abstractmethod
    def log_proposal(self, position: PyTree) -> Float[Array, ""]:
        """Return the law's log density at a position, normalised or not, in the dtype of log densities there."""

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> IndependenceState:
        """Return the state of a chain that starts at ``position``, where target and proposal have to be positive."""
        del key
        name = type(self).__name__
        position = self.check(position)
        value = inputs.start_density(self._target(), position, name, density_dtype(position))
        log_proposal = self.log_proposal(position)
        if inputs.is_concrete(log_proposal) and not np.isfinite(np.asarray(log_proposal)):
            raise ValueError(
                f"{name} cannot start where its proposal has no density, for it would never leave: the log density of "
                f"the proposal at {position} is {log_proposal}. Start from a draw of the proposal, or widen it."
            )
        return IndependenceState(position, value, log_proposal)

    def draw(self, key: PRNGKeyArray, like: PyTree) -> IndependenceState:
        """Draw from the proposal.

        Parameters
        ----------
        key
            Typed key.
        like
            Any position, for structure and dtypes.

        Returns
        -------
        IndependenceState
            The draw with both log densities; their difference is the log of its importance weight.
        """
        position, log_proposal = self.propose(key, like)
        value, _ = evaluate(self._target(), position, density_dtype(position))
        return IndependenceState(position, value, log_proposal.astype(value.dtype))

    def step(self, key: PRNGKeyArray, state: IndependenceState) -> tuple[IndependenceState, MetropolisInfo]:
        """Draw a candidate, and accept or stay."""
        key_propose, key_decide = random.split(key)
        candidate = self.draw(key_propose, state.position)
        accepted, probability, invalid = decide_by_weights(key_decide, self.rule, candidate, state)
        info = MetropolisInfo(probability, accepted, jnp.asarray(1, jnp.int32), invalid.astype(jnp.int32))
        return choose(accepted, candidate, state), info

    def refresh(self, state: IndependenceState) -> IndependenceState:
        """Recompute both log densities at the state's position."""
        value, _ = evaluate(self._target(), state.position, density_dtype(state.position))
        return IndependenceState(state.position, value, self.log_proposal(state.position))

    def report(self, key: PRNGKeyArray, position: PyTree, *, num_draws: int = 1000) -> WeightReport:
        """Draw from the proposal and report the weights, with a warning if their tail is heavy.

        Parameters
        ----------
        key
            Typed key.
        position
            Any position, for structure and dtypes.
        num_draws
            Number of draws.
        """
        like = self.check(position)
        keys = random.split(key, inputs.static_count("num_draws", num_draws))
        return report_weights(_log_weights(self, keys, like))


@jax.jit
def _log_weights(kernel: Any, keys: PRNGKeyArray, like: PyTree) -> Float[Array, " n"]:
    draws = jax.vmap(lambda key: kernel.draw(key, like))(keys)
    return draws.logdensity - draws.log_proposal
