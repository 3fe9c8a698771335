"""The Metropolis-Hastings correction around any proposal with a density."""

import abc
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.tree_util import Partial
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs, random
from ergodica.samplers.acceptance.metropolis import as_ratio_rule
from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.density import LogDensity, evaluate, optional_logdensity
from ergodica.samplers.kernel import Claim, DensityState, Exactness, Kernel, Space

__all__ = ["Corrected", "MetropolisInfo", "Proposal", "choose"]


class Proposal(eqx.Module):
    """A random move ``x -> y`` that knows the ratio of its densities.

    To write one, subclass and define :meth:`propose`; draw through ``ergodica.samplers.random``, so that the law of a
    discrete proposal can be enumerated.
    """

    @property
    def spaces(self) -> frozenset[Space]:
        """The spaces that the proposal moves in; empty means any."""
        return frozenset()

    def check(self, position: PyTree) -> None:
        """Raise an error if the proposal cannot move from positions such as this one."""
        del position

    @abc.abstractmethod
    def propose(self, key: PRNGKeyArray, position: PyTree) -> tuple[PyTree, Float[Array, ""]]:
        """Draw a candidate.

        Parameters
        ----------
        key
            Typed key.
        position
            The current point ``x``.

        Returns
        -------
        candidate
            The point ``y``, with the structure, shapes and dtypes of ``position``.
        log_ratio
            ``log q(y, x) - log q(x, y)``: the density of the way back over that of the way there. Zero for a symmetric
            proposal; ``-inf`` where there is no way back.
        """


class MetropolisInfo(NamedTuple):
    """What a step with an acceptance rule reports.

    Parameters
    ----------
    acceptance_rate
        Probability with which the candidate was accepted.
    is_accepted
        Whether it was.
    num_evals
        Evaluations of the log density.
    num_invalid
        Candidates that were rejected because the log density or the proposal's ratio there was NaN or ``+inf``.
    """

    acceptance_rate: Float[Array, ""]
    is_accepted: Bool[Array, ""]
    num_evals: Int[Array, ""]
    num_invalid: Int[Array, ""]


def choose(accepted: Bool[Array, ""], candidate: PyTree, position: PyTree) -> PyTree:
    """Return the candidate where it was accepted, and the position elsewhere; works on whole states."""
    return jax.tree.map(lambda new, old: jnp.where(accepted, new, old), candidate, position)


def _check_candidate(candidate: PyTree, position: PyTree, proposal: str) -> None:
    given, expected = (
        jax.tree.map(lambda leaf: f"{jnp.result_type(leaf)}{list(jnp.shape(leaf))}", tree)
        for tree in (candidate, position)
    )
    if given != expected:
        raise TypeError(
            f"{proposal} has to return candidates with the structure, shapes and dtypes of the position, {expected}; "
            f"got {given}. Draw in the dtype of the position, and cast hyperparameters to it."
        )


class Corrected(Kernel[DensityState, MetropolisInfo]):
    """Exact, reversible Metropolis-Hastings correction of any proposal with a density.

    Parameters
    ----------
    proposal
        Draws candidates and knows the ratio of its densities.
    rule
        Decides by the ratio ``r = pi(y) q(y, x) / (pi(x) q(x, y))``; default: Metropolis's.
    logdensity
        The target: a callable from a position to a scalar.

    Raises
    ------
    TypeError
        If the proposal or the rule is none.

    Notes
    -----
    Claim: exact and reversible for every proposal whose ratio is right, and every balanced rule. A ratio that is NaN,
    as from ``inf - inf``, rejects. A start of probability zero is refused; from one that got in under ``jit``, every
    candidate of positive probability is accepted by Metropolis's rule.

    References
    ----------
    N. Metropolis, A. Rosenbluth, M. Rosenbluth, A. Teller and E. Teller, 1953, J. Chem. Phys. 21,
    doi:10.1063/1.1699114; W. K. Hastings, 1970, Biometrika 57, doi:10.1093/biomet/57.1.97.
    """

    proposal: Proposal
    rule: RatioRule
    logdensity: Partial | None

    def __init__(self, proposal: Proposal, rule: RatioRule | None = None, logdensity: LogDensity | None = None) -> None:
        if not isinstance(proposal, Proposal):
            raise TypeError(
                f"Corrected needs a Proposal: propose(key, position) -> (candidate, log_ratio); got {proposal!r}"
            )
        self.proposal = proposal
        self.rule = as_ratio_rule(rule, "Corrected")
        self.logdensity = optional_logdensity(logdensity)

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return Claim(
            Exactness.EXACT,
            "leaves the target invariant for every proposal with a density",
            source="Metropolis et al. 1953, doi:10.1063/1.1699114; Hastings 1970, doi:10.1093/biomet/57.1.97",
            reversible=True,
            spaces=self.proposal.spaces,
        )

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DensityState:
        """Return the state of a chain that starts at ``position``, a pytree of arrays that the proposal can move."""
        del key
        leaves = jax.tree.leaves(position)
        if self.proposal.spaces == frozenset({Space.REAL}):
            position = inputs.real_position(position, "Corrected")
        elif leaves and all(jnp.issubdtype(jnp.result_type(leaf), jnp.integer) for leaf in leaves):
            position = inputs.integer_position(position, "Corrected")
        else:
            position = jax.tree.map(jnp.asarray, position)
        self.proposal.check(position)
        value = inputs.start_density(self._target(), position, "Corrected")
        return DensityState(position, value)

    def step(self, key: PRNGKeyArray, state: DensityState) -> tuple[DensityState, MetropolisInfo]:
        """Propose, and accept or stay."""
        key_propose, key_decide = random.split(key)
        candidate, log_back = self.proposal.propose(key_propose, state.position)
        _check_candidate(candidate, state.position, type(self.proposal).__name__)
        dtype = state.logdensity.dtype
        value, invalid = evaluate(self._target(), candidate, dtype)
        log_back = jnp.asarray(log_back, dtype)
        invalid = invalid | jnp.isnan(log_back) | jnp.isposinf(log_back)
        log_ratio = jnp.where(invalid, -jnp.inf, value - state.logdensity + log_back)
        accepted, probability = self.rule.decide(key_decide, log_ratio)
        info = MetropolisInfo(probability, accepted, jnp.asarray(1, jnp.int32), invalid.astype(jnp.int32))
        return choose(accepted, DensityState(candidate, value), state), info
