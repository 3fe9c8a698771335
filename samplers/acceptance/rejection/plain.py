"""Plain rejection: candidates from a law whose multiple lies above the target."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.independence import SamplerWithDensity, proposal_density
from ergodica.samplers.acceptance.rejection.trials import (
    DrawState,
    RejectionInfo,
    Trial,
    exceeds,
    start_of_draws,
    until_accepted,
)
from ergodica.samplers.density import LogDensity, density_dtype, evaluate, optional_logdensity
from ergodica.samplers.held import Held, hold
from ergodica.samplers.kernel import Claim, Exactness, Kernel

__all__ = ["Rejection", "hold_envelope", "proposed"]


def hold_envelope(proposal: Any, kernel: str) -> Held:
    """Hold a proposal as a field of a kernel.

    Raises
    ------
    TypeError
        If it cannot be sampled, or has no density.
    """
    if isinstance(proposal, Held):
        return proposal
    if not (callable(getattr(proposal, "sample", None)) and callable(getattr(proposal, "log_prob", None))):
        raise TypeError(
            f"{kernel} needs a proposal with sample(key) and log_prob(position), such as a distribution of NumPyro; got "
            f"{type(proposal).__name__}"
        )
    return hold(proposal)


def proposed(proposal: Held, key: PRNGKeyArray, like: PyTree) -> tuple[PyTree, Float[Array, ""]]:
    """Draw a candidate with the dtypes of a position, and the proposal's log density there.

    Raises
    ------
    TypeError
        If the proposal draws arrays of other shapes.
    """
    law: SamplerWithDensity = proposal.get()
    drawn = law.sample(key)
    shapes, wanted = (jax.tree.map(jnp.shape, tree) for tree in (drawn, like))
    if shapes != wanted:
        raise TypeError(f"the proposal draws arrays of shapes {shapes}, but the position has {wanted}")
    position = jax.tree.map(lambda new, old: new.astype(old.dtype), drawn, like)
    return position, proposal_density(law, position, density_dtype(position))


class Rejection(Kernel[DrawState, RejectionInfo]):
    """Exact independent draws: a candidate of ``g`` is kept with probability ``f / (M g)``, where ``f <= M g``.

    Parameters
    ----------
    proposal
        The law ``g``: anything with ``sample(key)`` and ``log_prob(position)``, which has to be normalised.
    log_bound
        ``log M``, an upper bound of ``logdensity - proposal.log_prob``, additive constants of the density included.
        :meth:`bind` does not change it. A draw takes ``M / Z`` trials on average, ``Z`` the integral of the density.
    max_trials
        After this many trials the chain stays where it is, which keeps the target and is counted in ``cap_hit``.
    logdensity
        The target: a callable from a position to a scalar.

    Raises
    ------
    TypeError, ValueError
        If the proposal is none, or a parameter is out of range.

    Notes
    -----
    If the bound is too low the draws follow ``min(f, M g)``, normalised. ``num_violations`` counts the candidates that
    show it. A proposal without density where the target has some drops that part, and no draw can show that.

    References
    ----------
    J. von Neumann, Various techniques used in connection with random digits, 1951, NBS Applied Mathematics Series 12.
    """

    proposal: Held
    log_bound: Float[Array, ""]
    max_trials: int = eqx.field(static=True)
    logdensity: Partial | None

    def __init__(
        self,
        proposal: Any,
        log_bound: inputs.Numbers,
        *,
        max_trials: int = 100_000,
        logdensity: LogDensity | None = None,
    ) -> None:
        self.proposal = hold_envelope(proposal, "Rejection")
        self.log_bound = inputs.real_parameter("log_bound", log_bound)
        self.max_trials = inputs.static_count("max_trials", max_trials)
        self.logdensity = optional_logdensity(logdensity)

    @property
    def claim(self) -> Claim:
        """Exact and independent."""
        return Claim(
            Exactness.EXACT,
            "draws independently from the target for every proposal whose multiple by the bound lies above it",
            source="von Neumann 1951",
            reversible=True,
            independent=True,
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DrawState:
        """Return the state at a position of the target's support, which the draws then forget."""
        del key
        return start_of_draws(self._target(), position, "Rejection")

    def trial(self, key: PRNGKeyArray, like: PyTree) -> Trial:
        """Draw one candidate and decide.

        Parameters
        ----------
        key
            Typed key.
        like
            Any position, for structure, shapes and dtypes.
        """
        key_propose, key_decide = random.split(key)
        position, log_proposal = proposed(self.proposal, key_propose, like)
        value, invalid = evaluate(self._target(), position)
        invalid = invalid | ~jnp.isfinite(log_proposal)
        ceiling = self.log_bound.astype(value.dtype) + log_proposal
        log_ratio = jnp.where(invalid, -jnp.inf, value - ceiling)
        accepted = random.bernoulli(key_decide, jnp.exp(jnp.minimum(log_ratio, 0)))
        violated = exceeds(log_ratio, value, ceiling)
        return Trial(
            position, accepted, jnp.asarray(1, jnp.int32), invalid.astype(jnp.int32), violated.astype(jnp.int32)
        )

    def step(self, key: PRNGKeyArray, state: DrawState) -> tuple[DrawState, RejectionInfo]:
        """Draw from the target."""
        position, info = until_accepted(
            lambda trial_key: self.trial(trial_key, state.position), key, state.position, self.max_trials
        )
        return DrawState(position), info

    def log_normalizer(self, key: PRNGKeyArray, like: PyTree, num_trials: int) -> Float[Array, ""]:
        """Estimate the log of the integral of the density; the estimate of the integral itself is unbiased.

        Parameters
        ----------
        key
            Typed key.
        like
            Any position, for structure, shapes and dtypes.
        num_trials
            A number of trials that is fixed in advance; the share accepted by a loop that stops at a success is biased.
        """
        keys = random.split(key, inputs.static_count("num_trials", num_trials))
        like = jax.tree.map(jnp.asarray, like)
        accepted = jax.vmap(lambda one: self.trial(one, like).accepted)(keys)
        return self.log_bound + jnp.log(jnp.mean(accepted.astype(self.log_bound.dtype)))
