"""Rows of the catalogue for speculation: drafts with densities, shared clocks, ranks, and decisions taken ahead of time."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from jaxtyping import Array, PRNGKeyArray
from scipy import stats

from ergodica.samplers import random
from ergodica.samplers.acceptance.continuous.density_draft import DensityDraft
from ergodica.samplers.acceptance.continuous.gaussian_drafts import (
    GaussianDrafts,
    RecursiveGaussianDrafts,
    SequentialGaussianDrafts,
)
from ergodica.samplers.acceptance.continuous.latent_autoregressive import (
    DenoisingChain,
    DenoisingChainDraft,
    LastTransitionDraft,
)
from ergodica.samplers.acceptance.continuous.reflection import GaussianReflection
from ergodica.samplers.acceptance.metropolis import Barker, Lazy, Metropolis
from ergodica.samplers.acceptance.rank_aware_selection import RankAwareSelection
from ergodica.samplers.acceptance.shared_clocks import SharedClocks
from ergodica.samplers.acceptance.staged import Staged
from ergodica.samplers.corrected import Proposal
from ergodica.samplers.metropolis.delayed_acceptance import DelayedAcceptance
from ergodica.samplers.metropolis.finite import MatrixWalk, RingWalk
from ergodica.samplers.metropolis.prefetching import Prefetching
from ergodica.samplers.metropolis.random_walk import GaussianStep
from ergodica.samplers.metropolis.speculative_hamiltonian import SpeculativeHamiltonian
from ergodica.theory import gaussian_drafts, shared_clocks
from ergodica.theory.delayed_acceptance import delayed_acceptance_matrix
from ergodica.theory.hamiltonian_acceptance import hamiltonian_acceptance
from ergodica.theory.metropolis import metropolis_matrix, peskun_dominates
from ergodica.validation.cases import acceptance as tokens
from ergodica.validation.cases.metropolis import Adapt, acceptance_check, adapted, in_double
from ergodica.validation.enumeration import enumerate_law
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.exact import check_exact, exact_check
from ergodica.validation.normal_draws import normal_pvalues
from ergodica.validation.replicates import Replicates
from ergodica.validation.sequential import sequential
from ergodica.validation.stationary_start import binomial_pvalue, stationary_start_check
from ergodica.validation.targets.continuous import standard_normal
from ergodica.validation.targets.finite import ring4, ring6
from ergodica.validation.targets.target import FiniteTarget

# --- delayed acceptance ---------------------------------------------------------------------------------------------


def _at(table: np.ndarray, position: Array) -> Array:
    return jnp.log(jnp.asarray(table))[position]


def on_states(weights: Any) -> Partial:
    """Return the log density on the states ``0, 1, ...`` with given weights."""
    return Partial(_at, np.asarray(weights, np.float64))


SURROGATE4, SURROGATE6 = (2.0, 1.0, 4.0, 2.0), (0.1, 0.15, 0.12, 0.25, 0.2, 0.18)

THREE_STATES = (
    np.array([7.0, 1.0, 9.0]) / 17,
    np.array([5.0, 4.0, 2.0]) / 11,
    np.array([[7 / 20, 1 / 10, 11 / 20], [10 / 17, 6 / 17, 1 / 17], [3 / 16, 1 / 4, 9 / 16]]),
)
"""Target, surrogate and proposal whose matrix is known."""


def three_states() -> FiniteTarget:
    """Return the target of :data:`THREE_STATES`."""
    return FiniteTarget("three states", np.arange(3), THREE_STATES[0], on_states(THREE_STATES[0]))


def _staged(proposal: Callable[[], Any], surrogate: Any) -> Adapt:
    """Put a check's proposal and surrogate into the subject, or the subject's stages into a kernel."""

    def adapt(subject: Any) -> Any:
        kind = DelayedAcceptance if isinstance(subject, Staged) else type(subject)
        rule = subject if isinstance(subject, Staged) else subject.rule
        kernel = kind(proposal(), on_states(surrogate), rule.first, rule.second)
        # A subclass of the rule decides by itself.
        return eqx.tree_at(lambda tree: tree.rule, kernel, rule) if isinstance(subject, Staged) else kernel

    return adapt


def _matrix_check() -> Check:
    """Hold the enumerated matrix against theory, and below Metropolis's off the diagonal."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        del key
        weights, cheap, proposal = THREE_STATES
        kernel = type(subject)(MatrixWalk(proposal), on_states(cheap))
        matrix = check_exact(kernel, three_states()).matrix
        error = float(np.abs(matrix - delayed_acceptance_matrix(weights, cheap, proposal)).max())
        below = peskun_dominates(metropolis_matrix(weights, proposal), matrix)
        details = "the transition matrix is not the known one" if below else "a move is likelier than Metropolis's"
        return Outcome(error, 1e-12, error <= 1e-12 and below, 0.0, details)

    return in_double(Check("exact matrix: three states, below Metropolis's", run, 1.0))


def _evaluations_check() -> Check:
    """Count evaluations of the target: as many as candidates that passed the surrogate, by enumeration."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        weights, cheap, proposal = THREE_STATES
        kernel = type(subject)(MatrixWalk(proposal), on_states(cheap)).bind(on_states(weights))
        worst = 0.0
        for state in range(3):
            begin = kernel.init(jnp.asarray(state))
            law = enumerate_law(lambda key, begin=begin: kernel.step(key, begin)[1].num_evals, key)
            with np.errstate(divide="ignore"):
                ratio = cheap * proposal[:, state] / (cheap[state] * proposal[state])
            wanted = float(proposal[state] @ np.minimum(1, ratio))
            worst = max(worst, abs(float(law.vector(2)[1]) - wanted))
        return Outcome(
            worst, 1e-12, worst <= 1e-12, 0.0, "the target is evaluated for other candidates than those passed"
        )

    return in_double(Check("exact: evaluations of the target", run, 1.0))


def _product_balance() -> Check:
    """Hold ``a(r1, r2) = r1 r2 a(1/r1, 1/r2)`` on a grid of ratios, and the edges."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        del key
        with jax.enable_x64(True):
            line = jnp.concatenate([jnp.linspace(-8.0, 8.0, 33), jnp.array([1e-12, -700.0, 700.0])])
            first, second = (grid.reshape(-1) for grid in jnp.meshgrid(line, line))
            up, down = (np.asarray(subject.probability(sign * first, sign * second)) for sign in (1, -1))
            with np.errstate(over="ignore"):
                flow = np.exp(np.minimum(np.asarray(first + second), 0.0)) * down
                back = np.exp(np.minimum(-np.asarray(first + second), 0.0)) * up
            bad = jnp.array([jnp.nan, -jnp.inf])
            edges = np.abs([subject.probability(bad, bad[::-1]), subject.probability(jnp.zeros(2), bad)])
        error = float(np.max(np.concatenate([np.abs(flow - back), up - 1, -up, edges.reshape(-1)])))
        return Outcome(
            error, 1e-14, bool(error <= 1e-14), 0.0, "a(r1, r2) = r1 r2 a(1/r1, 1/r2) fails, or a(0) is not 0"
        )

    return Check("balance: a(r1, r2) = r1 r2 a(1/r1, 1/r2)", run, 0.3)


RING4 = _staged(lambda: RingWalk(4, 0.7), SURROGATE4)
RING6 = _staged(lambda: RingWalk(6, 0.4), SURROGATE6)


def _wide_normal(position: Array) -> Array:
    return -0.4 * jnp.sum((position - 0.2) ** 2)


CASES: tuple[Case, ...] = (
    Case(
        "staged-rule",
        Staged,
        lambda: Staged(Metropolis(), Barker()),
        (_product_balance(), adapted(exact_check("ring4, asymmetric walk", ring4()), RING4)),
    ),
    Case(
        "delayed-acceptance",
        DelayedAcceptance,
        lambda: DelayedAcceptance(GaussianStep(1.5), _wide_normal),
        (
            adapted(exact_check("ring4, asymmetric walk", ring4()), RING4),
            adapted(exact_check("ring6", ring6()), RING6),
            _matrix_check(),
            _evaluations_check(),
            adapted(
                stationary_start_check("standard normal law in dimension 2", standard_normal(2)),
                lambda subject: type(subject)(GaussianStep(1.5), _wide_normal, Lazy(), Barker()),
            ),
        ),
    ),
)

# --- decisions ahead of time ----------------------------------------------------------------------------------------


class UniformStep(Proposal):
    """Propose ``x + 4 (u - 1/2)`` with uniforms ``u``: exact but for one addition, which every compiler rounds alike."""

    def propose(self, key: PRNGKeyArray, position: Array) -> tuple[Array, Array]:
        """Draw a candidate; the log ratio is 0."""
        u = random.uniform(key, position.shape, position.dtype)
        return position + 4 * (u - 0.5), jnp.zeros((), position.dtype)


def _tent(position: Array) -> Array:
    # Sums, and products by powers of two: no compiler can round it in two ways.
    return -jnp.abs(position[0]) - 2 * jnp.abs(position[1] - 1)


def _wide_tent(position: Array) -> Array:
    return -0.5 * jnp.abs(position[0]) - 2 * jnp.abs(position[1] - 0.5)


def _hill(position: Array) -> Array:
    return -jnp.sum(jnp.log(jnp.cosh(position)))


def same_trajectory(name: str, adapt: Adapt, target: Callable[[Array], Array], num_steps: int = 200) -> Check:
    """Make a check that the positions of a trajectory are the serial chain's, bit for bit.

    Parameters
    ----------
    name
        What is run.
    adapt
        Puts proposal and tree into the subject.
    target
        A log density in the plane whose arithmetic has no rounding that depends on the compiler.
    num_steps
        Length.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        kernel = adapt(subject).bind(target)
        start = kernel.init(jnp.array([0.5, -1.0]))
        _, path, _ = jax.jit(lambda key: kernel.trajectory(key, start, num_steps))(key)
        serial = kernel.serial()

        def body(state: Any, index: Array) -> Any:
            state, _ = serial.step(random.fold_in(key, index), state)
            return state, state.position

        expected = jax.jit(lambda: jax.lax.scan(body, start, jnp.arange(num_steps))[1])()
        other = int(np.count_nonzero(np.any(np.asarray(path) != np.asarray(expected), axis=1)))
        return Outcome(
            float(other), 0.0, other == 0, 0.0, f"{other} of {num_steps} positions are not the serial chain's"
        )

    return Check(f"exact: serial trajectory, {name}", run, 1.5)


def _prefetched(evaluations: int, acceptance: float, surrogate: Any = None) -> Adapt:
    return lambda subject: type(subject)(UniformStep(), 16, evaluations, acceptance, surrogate, subject.rule)


def _trajectories(evaluations: int, acceptance: float, guide: Any = None) -> Adapt:
    return lambda subject: type(subject)(0.5, 3, 8, evaluations, acceptance, 1.0, guide, subject.rule)


CASES += (
    Case(
        "prefetching",
        Prefetching,
        lambda: Prefetching(GaussianStep(1.0)),
        (
            same_trajectory("full tree of 7", _prefetched(7, 0.5), _tent),
            same_trajectory("6 likely nodes, Barker", lambda s: _prefetched(6, 0.3)(_with_barker(s)), _tent),
            same_trajectory("5 nodes predicted by a surrogate", _prefetched(5, 0.5, _wide_tent), _tent),
        ),
    ),
    Case(
        "speculative-hamiltonian",
        SpeculativeHamiltonian,
        lambda: SpeculativeHamiltonian(0.5, 3),
        (
            same_trajectory("trajectories side by side", _trajectories(4, 0.0), _hill),
            same_trajectory("3 trajectories with a guide", _trajectories(3, 0.8, _wide_normal), _hill),
            adapted(
                stationary_start_check("standard normal law in dimension 2", standard_normal(2), steps=2),
                lambda subject: type(subject)(1.2, 2, 4, 3),
            ),
            acceptance_check(
                "standard normal law in dimension 1",
                standard_normal(1),
                hamiltonian_acceptance(1.6, 3),
                adapt=lambda subject: type(subject)(1.6, 3, 1, 1),
            ),
        ),
    ),
)


def _with_barker(subject: Any) -> Any:
    return eqx.tree_at(lambda kernel: kernel.rule, subject, Barker())


# --- drafts with densities ------------------------------------------------------------------------------------------


class NormalLaw(eqx.Module):
    """``N(mean, scale^2 I)``."""

    mean: Array
    scale: Array

    def sample(self, key: PRNGKeyArray) -> Array:
        """Draw."""
        return self.mean + self.scale * random.normal(key, self.mean.shape)

    def log_prob(self, value: Array) -> Array:
        """Return the log density."""
        z = (value - self.mean) / self.scale
        return -0.5 * jnp.sum(z**2) - self.mean.size * (jnp.log(self.scale) + 0.5 * math.log(2 * math.pi))


class TokenLaw(eqx.Module):
    """A law on ``0, 1, ...`` with given probabilities."""

    weights: Array

    def sample(self, key: PRNGKeyArray) -> Array:
        """Draw."""
        return random.categorical(key, jnp.log(self.weights))

    def log_prob(self, value: Array) -> Array:
        """Return the log probability."""
        return jnp.log(self.weights)[value]


def _capped_law() -> Check:
    """Enumerate the rule on three tokens with a cap of ``m`` draws, whose law is known: what is missing is refused."""
    p, q, cap = np.array([0.5, 0.3, 0.2, 0.0]), np.array([0.2, 0.3, 0.4, 0.1]), 4

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        errors = []
        for eta in (1.0, 0.75):
            rule = type(subject)(eta, max_draws=cap)

            def program(key: PRNGKeyArray, rule: Any = rule) -> Any:
                draft_key, rule_key = random.split(key)
                target, draft_law = TokenLaw(jnp.asarray(p)), TokenLaw(jnp.asarray(q))
                decision = rule.draw(rule_key, draft_law.sample(draft_key), target, draft_law)
                return decision.value + 1, decision.is_accepted

            law = np.zeros((5, 2))
            for (value, accepted), probability in enumerate_law(program, key):
                law[int(value), int(accepted)] += probability
            kept = eta * np.minimum(p, q)
            missing = 1 - kept.sum()
            found = 1 - (1 - missing) ** cap
            wanted = np.zeros((5, 2))
            wanted[1:, 1], wanted[1:, 0], wanted[0, 0] = kept, found * (p - kept), missing * (1 - found)
            errors.append(float(np.abs(law - wanted).max()))
        return Outcome(max(errors), 1e-12, max(errors) <= 1e-12, 0.0, "the enumerated law is not that of the rule")

    return in_double(Check("exact: enumerated law with few draws", run, 2.0))


def _all_draws(experiment: Callable[[Any, PRNGKeyArray], Any], pvalues: Callable[[Any], dict[str, float]]) -> Any:
    """Return a check's function: independent replicates of an experiment with the subject, and exact p-values of them."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        replicates = Replicates(lambda key: experiment(subject, key))

        def pvalue(key: PRNGKeyArray, n: int) -> dict[str, float]:
            return pvalues(replicates(key, n))

        return sequential(pvalue, key, n=4000)

    return run


def overlap_of_normals(mean: float, scale: float) -> float:
    """Return ``int min(p, q)`` of ``p = N(0, 1)`` and ``q = N(mean, scale^2)``, ``scale > 1``, from where they cross."""
    a, b, c = 1 - scale**-2, 2 * mean / scale**2, -(mean**2) / scale**2 - 2 * math.log(scale)
    root = math.sqrt(b * b - 4 * a * c)
    low, high = (-b - root) / (2 * a), (-b + root) / (2 * a)
    p, q = stats.norm(), stats.norm(mean, scale)
    return float(q.cdf(high) - q.cdf(low) + p.cdf(low) + p.sf(high))


def _density_drafts(subject: Any, key: PRNGKeyArray) -> Any:
    draft_key, rule_key = random.split(key)
    target, draft_law = NormalLaw(jnp.zeros(1), jnp.ones(())), NormalLaw(jnp.full(1, 0.7), jnp.asarray(1.6))
    return subject.draw(rule_key, draft_law.sample(draft_key), target, draft_law)


def _density_pvalues(decision: Any) -> dict[str, float]:
    n, kept = decision.is_accepted.size, overlap_of_normals(0.7, 1.6)
    many = int(np.count_nonzero(decision.num_draws > 2))
    return {
        **normal_pvalues(decision.value),
        "accepted": binomial_pvalue(int(decision.is_accepted.sum()), n, kept),
        "more than two draws": binomial_pvalue(many, n, (1 - kept) * kept**2),
    }


class Normals(NamedTuple):
    """Two normal laws in the plane with one covariance."""

    target: np.ndarray
    draft: np.ndarray
    factor: np.ndarray

    @property
    def distance(self) -> float:
        """Distance of the means in standard deviations."""
        return float(np.linalg.norm(np.linalg.solve(self.factor, self.target - self.draft)))


NORMALS = Normals(np.array([0.3, -0.5]), np.array([1.2, 0.1]), np.array([[1.0, 0.0], [0.6, 0.8]]))


def _density_identity() -> Check:
    """Hold what flows to a point, by acceptance there and by reflection from its mirror image, against the target."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        covariance = NORMALS.factor @ NORMALS.factor.T
        p, q = (stats.multivariate_normal(mean, covariance).pdf for mean in (NORMALS.target, NORMALS.draft))
        points = np.random.default_rng(5).normal(size=(12, 2)) * 1.5 + 0.5

        def outcome(draft: np.ndarray) -> tuple[float, np.ndarray]:
            """Return the probability of keeping a draft, and what is emitted instead."""

            def program(key: PRNGKeyArray, at: Array) -> Any:
                decision = subject.draw(key, at, *(jnp.asarray(part) for part in NORMALS))
                return decision.is_accepted, decision.value

            kept, mirrored = 0.0, draft
            for (accepted, value), probability in enumerate_law(program, key, jnp.asarray(draft)):
                kept += probability if accepted else 0.0
                mirrored = mirrored if accepted else np.asarray(value)
            return kept, mirrored

        errors = []
        for point in points:
            kept, mirrored = outcome(point)
            if kept == 1:
                # Nothing is reflected from here; the mirror image is found from the other side, where something is.
                mirrored = _mirror(point)
            back_kept, back = outcome(mirrored)
            arrived = q(point) * kept + (q(mirrored) * (1 - back_kept) if np.allclose(back, point) else 0.0)
            errors.append(abs(arrived - p(point)))
        return Outcome(max(errors), 1e-13, max(errors) <= 1e-13, 0.0, "the density that arrives is not the target's")

    return in_double(Check("exact: density of the output", run, 2.0))


def _mirror(point: np.ndarray) -> np.ndarray:
    z = np.linalg.solve(NORMALS.factor, NORMALS.draft - NORMALS.target)
    e = np.linalg.solve(NORMALS.factor, point - NORMALS.draft)
    return NORMALS.target + NORMALS.factor @ (e - 2 * (z @ e) / (z @ z) * z)


def _reflections(subject: Any, key: PRNGKeyArray) -> Any:
    draft_key, rule_key = random.split(key)
    target, draft, factor = (jnp.asarray(part) for part in NORMALS)
    return subject.draw(rule_key, draft + factor @ random.normal(draft_key, (2,)), target, draft, factor)


def _several_drafts(subject: Any, key: PRNGKeyArray) -> Any:
    draft_key, rule_key = random.split(key)
    target, draft, factor = (jnp.asarray(part) for part in NORMALS)
    drafts = draft + random.normal(draft_key, (3, 2)) @ factor.T
    return subject.draw(rule_key, drafts, target, draft, factor)


def _normal_pvalues(kept: float) -> Callable[[Any], dict[str, float]]:
    def pvalues(decision: Any) -> dict[str, float]:
        n = decision.is_accepted.size
        whitened = np.linalg.solve(NORMALS.factor, (decision.value - NORMALS.target).T).T
        return {
            **normal_pvalues(whitened),
            "accepted": binomial_pvalue(int(decision.is_accepted.sum()), n, kept),
        }

    return pvalues


def _normal_drafts(name: str, kind: type[GaussianDrafts], rate: Callable[[float, int], float]) -> Case:
    check = Check(
        "law and acceptance: three drafts of a normal law",
        _all_draws(_several_drafts, _normal_pvalues(rate(NORMALS.distance, 3))),
        2.0,
    )
    return Case(name, kind, kind, (check,))


# --- denoising chains -----------------------------------------------------------------------------------------------

_SLOPES = np.array([0.9, 0.5, -0.7, 0.4])
_SCALES = np.array([0.8, 1.0, 0.6, 0.7])


def _linear_mean(slopes: Any, shift: Any, step: Any, state: Array) -> Array:
    return jnp.asarray(slopes)[step] * state + shift


def linear_chain(shift: float) -> DenoisingChain:
    """Return a chain with linear means, of four steps."""
    return DenoisingChain(Partial(_linear_mean, _SLOPES, jnp.asarray(shift)), _SCALES)


def linear_chain_law(shift: float, start: float) -> tuple[float, float]:
    """Return mean and standard deviation of the last state of :func:`linear_chain`."""
    mean, variance = start, 0.0
    for slope, scale in zip(_SLOPES, _SCALES, strict=True):
        mean, variance = slope * mean + shift, slope**2 * variance + scale**2
    return mean, math.sqrt(variance)


def _chain_pvalues(decision: Any) -> dict[str, float]:
    mean, scale = linear_chain_law(0.5, 0.3)
    return normal_pvalues((decision.value - mean) / scale)


def _drafted_chains(subject: Any, key: PRNGKeyArray) -> Any:
    return subject.draw(key, linear_chain(0.5), linear_chain(0.2), jnp.full(2, 0.3))


def _windows_agree(subject: Any, key: PRNGKeyArray) -> Outcome:
    keys = random.split(key, 50)

    target, draft = linear_chain(0.5), linear_chain(0.2)

    def decisions(window: int) -> Any:
        rule = type(subject)(window)
        return jax.jit(jax.vmap(lambda key: rule.draw(key, target, draft, jnp.full(2, 0.3))))(keys)

    one, all_at_once = decisions(1), decisions(4)
    error = float(np.max(np.abs(one.value - all_at_once.value)))
    waits = bool(np.all(one.num_rounds == 4)) and float(np.mean(all_at_once.num_rounds)) < 4
    return Outcome(error, 1e-5, error <= 1e-5 and waits, 0.0, "the value depends on the window, or the rounds do not")


def _late_mean(shift: Any, step: Any, state: Array) -> Array:
    return 0.5 * state + jnp.where(step == 1, shift, 0.0)


def _last_transitions(subject: Any, key: PRNGKeyArray) -> Any:
    target, draft = (DenoisingChain(Partial(_late_mean, jnp.asarray(shift)), (1.0, 0.5)) for shift in (1.0, 0.6))
    return subject.draw(key, target, draft, jnp.zeros(2))


def _last_pvalues(decision: Any) -> dict[str, float]:
    return normal_pvalues((decision.value - 1.0) / math.sqrt(0.5))


# --- shared clocks --------------------------------------------------------------------------------------------------

CLOCKS = (np.array([5.0, 12.0, 5.0, 0.0]) / 22, np.array([2.0, 3.0, 0.0, 1.0]) / 6)


def _races(k: int) -> Callable[[Any, PRNGKeyArray], Any]:
    def experiment(subject: Any, key: PRNGKeyArray) -> Any:
        clocks = subject.clocks(key, 4, k)
        return subject.draw(key, CLOCKS[0], CLOCKS[1], k), subject.drafts(clocks, CLOCKS[1])

    return experiment


def _race_pvalues(k: int) -> Callable[[Any], dict[str, float]]:
    p, q = CLOCKS
    match = float(shared_clocks.match_probability(p, q, k))

    def pvalues(seen: Any) -> dict[str, float]:
        decision, drafts = seen
        n = decision.token.size
        out = {"match": binomial_pvalue(int(decision.is_accepted.sum()), n, match)}
        for token in range(4):
            out[f"token {token}"] = binomial_pvalue(int(np.sum(decision.token == token)), n, float(p[token]))
            out[f"draft {token}"] = binomial_pvalue(int(np.sum(drafts[:, -1] == token)), n, float(q[token]))
        return out

    return pvalues


def _ignores_drafts(subject: Any, key: PRNGKeyArray) -> Outcome:
    """Run with the same keys and two draft laws: the tokens are the same."""
    keys = random.split(key, 500)

    emitted = jax.jit(jax.vmap(lambda key, q: subject.draw(key, CLOCKS[0], q, 2).token, (0, None)))
    other = int(np.count_nonzero(emitted(keys, CLOCKS[1]) != emitted(keys, np.array([0.1, 0.1, 0.7, 0.1]))))
    return Outcome(float(other), 0.0, other == 0, 0.0, f"{other} of 500 tokens depend on the draft's law")


RANK_CHECKS = (
    *(tokens.rational_law(k) for k in (1, 2, 3)),
    *(tokens.acceptance_rate(k, optimal=False) for k in (2, 3)),
    tokens.enumerated_law(2, traced=False),
    tokens.decided_law(2),
    tokens.impossible_tokens(2),
    tokens.robustness(2),
)

CASES += (
    Case(
        "density-draft",
        DensityDraft,
        DensityDraft,
        (
            _capped_law(),
            Check("law, acceptance and draws: normal laws", _all_draws(_density_drafts, _density_pvalues), 2.0),
        ),
    ),
    Case(
        "gaussian-reflection",
        GaussianReflection,
        GaussianReflection,
        (
            _density_identity(),
            Check(
                "law and acceptance: normal laws in the plane",
                _all_draws(_reflections, _normal_pvalues(gaussian_drafts.single_acceptance(NORMALS.distance))),
                1.0,
            ),
        ),
    ),
    _normal_drafts("recursive-gaussian-drafts", RecursiveGaussianDrafts, gaussian_drafts.recursive_acceptance),
    _normal_drafts("sequential-gaussian-drafts", SequentialGaussianDrafts, gaussian_drafts.sequential_acceptance),
    Case(
        "denoising-chain-draft",
        DenoisingChainDraft,
        DenoisingChainDraft,
        (
            Check("exact: the value does not depend on the window", _windows_agree, 1.5),
            Check("law: a chain with linear means", _all_draws(_drafted_chains, _chain_pvalues), 1.5),
        ),
    ),
    Case(
        "last-transition-draft",
        LastTransitionDraft,
        LastTransitionDraft,
        (Check("law: chains that agree before the last step", _all_draws(_last_transitions, _last_pvalues), 1.0),),
    ),
    Case(
        "shared-clocks",
        SharedClocks,
        SharedClocks,
        (
            Check("exact: tokens do not depend on the draft's law", _ignores_drafts, 0.5),
            *(Check(f"law and matches: {k} lists", _all_draws(_races(k), _race_pvalues(k)), 1.0) for k in (1, 3)),
        ),
    ),
    Case("rank-aware-selection", RankAwareSelection, RankAwareSelection, RANK_CHECKS),
)
