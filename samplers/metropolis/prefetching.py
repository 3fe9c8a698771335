"""Prefetching: a Metropolis chain whose future candidates are evaluated ahead of the decisions, many at once."""

import abc
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.tree_util import Partial
from jaxtyping import Array, ArrayLike, Float, Int, PRNGKeyArray, PyTree

from ergodica.samplers import inputs
from ergodica.samplers.acceptance.metropolis import as_ratio_rule
from ergodica.samplers.acceptance.rule import RatioRule
from ergodica.samplers.corrected import Corrected, Proposal
from ergodica.samplers.density import LogDensity, evaluate, optional_logdensity
from ergodica.samplers.kernel import Claim, DensityState, Exactness, Kernel
from ergodica.samplers.metropolis.futures import Futures, Walked, grow, grow_by_surrogate, walk
from ergodica.theory.prefetching import likely_futures

__all__ = ["Prefetching", "SpeculativeInfo", "SpeculativeKernel"]


class SpeculativeInfo(NamedTuple):
    """What a block of steps in rounds of parallel evaluations reports.

    Parameters
    ----------
    acceptance_rate
        Mean over the steps of the probability with which the candidate was accepted.
    num_accepted
        Steps that moved.
    num_evals
        Evaluations of the log density, those included that no step came to.
    num_rounds
        Rounds: evaluations one after the other.
    predicted_steps
        Steps a round, as the predicted probabilities of acceptance have them, on average over the rounds.
    num_invalid
        Candidates that were rejected because the log density or the proposal's ratio was NaN or ``+inf``.
    """

    acceptance_rate: Float[Array, ""]
    num_accepted: Int[Array, ""]
    num_evals: Int[Array, ""]
    num_rounds: Int[Array, ""]
    predicted_steps: Float[Array, ""]
    num_invalid: Int[Array, ""]


class SpeculativeKernel(Kernel[DensityState, SpeculativeInfo]):
    """A kernel that makes a block of Metropolis steps in rounds; a subclass names the proposal and grows the tree."""

    num_steps: eqx.AbstractVar[int]
    evaluations: eqx.AbstractVar[int]
    rule: eqx.AbstractVar[RatioRule]
    logdensity: eqx.AbstractVar[Partial | None]

    @abc.abstractmethod
    def moves(self) -> Proposal:
        """Return what draws the candidates."""

    @abc.abstractmethod
    def look_ahead(self, key: PRNGKeyArray, index: Int[Array, ""], position: PyTree) -> Futures:
        """Return the candidates of a round, ``evaluations`` of them."""

    def serial(self) -> Corrected:
        """Return the kernel whose ``run(key, state, num_steps)`` makes the same steps, one evaluation after the other."""
        return Corrected(self.moves(), self.rule, self._target())

    def init(self, position: PyTree, *, key: PRNGKeyArray | None = None) -> DensityState:
        """Return the state of a chain that starts at ``position``."""
        return self.serial().init(position, key=key)

    def step(self, key: PRNGKeyArray, state: DensityState) -> tuple[DensityState, SpeculativeInfo]:
        """Make the block of steps."""
        state, _, info = self.trajectory(key, state, self.num_steps)
        return state, info

    def trajectory(
        self, key: PRNGKeyArray, state: DensityState, num_steps: int
    ) -> tuple[DensityState, PyTree, SpeculativeInfo]:
        """Make steps and return all positions.

        Parameters
        ----------
        key
            Typed key; step ``i`` uses ``fold_in(key, i)``, whatever was decided before it.
        state
            The current state.
        num_steps
            Static number of steps, at least 1.

        Returns
        -------
        state
            After the last step.
        path
            Positions after each step, on a leading axis.
        info
            Of all steps together.
        """
        num_steps = inputs.static_count("num_steps", num_steps)
        target, dtype = self._target(), state.logdensity.dtype

        def one_round(carry: tuple[Walked, Array, Array]) -> tuple[Walked, Array, Array]:
            walked, rounds, predicted = carry
            futures = self.look_ahead(key, walked.steps_made, walked.state.position)
            values, invalid = jax.vmap(lambda candidate: evaluate(target, candidate, dtype))(futures.candidate)
            walked = walk(key, walked, futures, values, invalid, self.rule, num_steps)
            return walked, rounds + 1, predicted + jnp.sum(futures.probability).astype(dtype)

        none, zero = jnp.zeros((), jnp.int32), jnp.zeros((), dtype)
        path = jax.tree.map(lambda leaf: jnp.zeros((num_steps, *leaf.shape), leaf.dtype), state.position)
        start = Walked(state, none, path, zero, none, none)
        walked, rounds, predicted = lax.while_loop(
            lambda carry: carry[0].steps_made < num_steps, one_round, (start, none, zero)
        )
        info = SpeculativeInfo(
            walked.rate / num_steps,
            walked.num_accepted,
            rounds * self.evaluations,
            rounds,
            predicted / rounds.astype(dtype),
            walked.num_invalid,
        )
        return walked.state, walked.path, info


def exact_block(statement: str, source: str, spaces: Any, *, gradient: bool = False) -> Claim:
    """Return the claim of a block of reversible steps."""
    return Claim(Exactness.EXACT, statement, source, reversible=True, spaces=spaces, gradient=gradient)


class Prefetching(SpeculativeKernel):
    """Exact, reversible block of Metropolis-Hastings steps that evaluates several candidates of the future at once.

    The decisions of a chain form a binary tree. With the noise of each step drawn in advance, every node of it has its
    candidate, whatever happens; the likeliest ``evaluations`` nodes are evaluated in one batch, and then the decisions are
    taken in their order. A step of this kernel makes ``num_steps`` steps of ``Corrected(proposal, rule)``, those that its
    ``run`` makes with the same key.

    Parameters
    ----------
    proposal
        Draws candidates and knows the ratio of its densities; cheap, since candidates of a path are drawn in turn.
    num_steps
        Steps of a block. Only the state after the last one is returned; :meth:`trajectory` returns all.
    evaluations
        Candidates evaluated in a round: as many as the machine takes at the price of one.
    acceptance
        Rate by which nodes are chosen, in [0, 1]. With 1/2, and 3, 7, 15 ... evaluations, the tree is full; a chain that
        accepts a quarter goes further with 0.25.
    surrogate
        A cheap log density that predicts each decision by itself, in place of the rate.
    rule
        Decides by the ratio; default: Metropolis's.
    logdensity
        The target: a callable from a position to a scalar. It is evaluated under ``vmap``.

    Raises
    ------
    TypeError, ValueError
        If an argument is no such thing.

    Notes
    -----
    Claim: exact and reversible, as the serial chain is. Positions are equal to the serial chain's bit for bit if the
    log density gives the same bits in a batch as alone, and the compiler rounds a candidate alike in both programs;
    otherwise up to rounding. Expected steps of a round: :func:`ergodica.theory.prefetching.expected_steps`.

    References
    ----------
    A. E. Brockwell, 2006, Parallel Markov chain Monte Carlo simulation by pre-fetching, JCGS 15,
    doi:10.1198/106186006X100579; E. Angelino et al., 2014, Accelerating MCMC via parallel predictive prefetching,
    arXiv:1403.7265.
    """

    proposal: Proposal
    num_steps: int = eqx.field(static=True)
    evaluations: int = eqx.field(static=True)
    acceptance: float = eqx.field(static=True)
    surrogate: Partial | None
    rule: RatioRule
    logdensity: Partial | None

    def __init__(
        self,
        proposal: Proposal,
        num_steps: int = 16,
        evaluations: int = 7,
        acceptance: ArrayLike = 0.5,
        surrogate: LogDensity | None = None,
        rule: RatioRule | None = None,
        logdensity: LogDensity | None = None,
    ) -> None:
        if not isinstance(proposal, Proposal):
            raise TypeError(f"Prefetching needs a Proposal, such as GaussianStep(scale); got {proposal!r}")
        self.proposal = proposal
        self.num_steps = inputs.static_count("num_steps", num_steps)
        self.evaluations = inputs.static_count("evaluations", evaluations)
        self.acceptance = static_rate("acceptance", acceptance)
        self.surrogate = optional_logdensity(surrogate)
        self.rule = as_ratio_rule(rule, "Prefetching")
        self.logdensity = optional_logdensity(logdensity)

    @property
    def claim(self) -> Claim:
        """Exact and reversible."""
        return exact_block(
            "makes the steps of the serial chain, which leave the target invariant",
            "Brockwell 2006, doi:10.1198/106186006X100579; Angelino et al. 2014, arXiv:1403.7265",
            self.proposal.spaces,
        )

    def moves(self) -> Proposal:
        """Return the proposal."""
        return self.proposal

    def look_ahead(self, key: PRNGKeyArray, index: Int[Array, ""], position: PyTree) -> Futures:
        """Return the candidates of the likeliest steps that may come."""
        if self.surrogate is None:
            return grow(key, index, position, self.proposal, likely_futures(self.evaluations, self.acceptance))
        return grow_by_surrogate(key, index, position, self.proposal, self.rule, self.surrogate, self.evaluations)


def static_rate(name: str, value: ArrayLike) -> float:
    """Check a rate that shapes the program, and return it as ``float``."""
    if not inputs.is_concrete(value):
        raise TypeError(f"{name} decides which steps are evaluated and has to be a number, not traced")
    rate = float(np.asarray(value))
    if not 0 <= rate <= 1:
        raise ValueError(f"{name} is a probability; got {rate:g}")
    return rate
