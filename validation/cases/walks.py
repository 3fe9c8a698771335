"""Rows of the catalogue for random walks on graphs."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.walks.self_repellent import SelfRepellentWalk
from ergodica.theory.self_repellent import (
    frozen_law,
    limit_covariance,
    metropolis_hastings_walk,
    self_repellent_matrix,
)
from ergodica.validation.choice import EnumerationError
from ergodica.validation.enumeration import enumerate_law
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.host import on_chosen_host
from ergodica.validation.targets.finite import GRAPH5_EDGES, graph5

MU = graph5().probabilities
_ADJACENCY = np.zeros((5, 5))
for _i, _j in GRAPH5_EDGES:
    _ADJACENCY[_i, _j] = _ADJACENCY[_j, _i] = 1.0
BASE = metropolis_hastings_walk(_ADJACENCY, MU)
"""The base chain of the example, made apart from the sampler."""

_HISTORIES = np.array([[0, 0, 0, 0, 0], [3, 1, 0, 2, 7], [40, 1, 25, 2, 9]])


def _state(walk: Any, node: int, visits: np.ndarray) -> Any:
    state = walk.init(jnp.asarray(node))
    counts = jnp.asarray(visits, state.visits.dtype)
    return state._replace(visits=counts, mass=walk.fake + counts, num_steps=jnp.sum(counts))


def rows_check(tolerance: float = 1e-12) -> Check:
    """Make a check of the step's exact law, enumerated and as ``transition_row``, against the closed form.

    Parameters
    ----------
    tolerance
        Largest error that counts as rounding.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        reference = subject.reference()
        worst, where = 0.0, ""
        for visits in _HISTORIES:
            expected = self_repellent_matrix(BASE, MU, np.asarray(subject.fake) + visits, float(subject.alpha))
            for node in range(len(MU)):
                state = _state(subject, node, visits)
                try:
                    law = enumerate_law(lambda key, at: reference.step(key, at)[0].position, key, state)
                except EnumerationError as refusal:
                    return Outcome(math.inf, tolerance, False, 0.0, str(refusal))
                for row in (law.vector(len(MU)), np.asarray(subject.transition_row(state))):
                    error = float(np.abs(row - expected[node]).max())
                    if not error <= worst:
                        worst, where = error, f"from node {node} after visits {visits.tolist()}: {row.tolist()}"
        return Outcome(worst, tolerance, worst <= tolerance, 0.0, where)

    return Check("exact law: rows of the step given the history", run, 3.0)


def balance_check(tolerance: float = 1e-14) -> Check:
    """Make a check that the step at a fixed history is reversible with respect to its frozen law.

    Parameters
    ----------
    tolerance
        Largest imbalance of flow that counts as rounding.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        generator = np.random.default_rng(int(random.randint(key, (), 0, 2**31 - 1)))
        worst = 0.0
        for _ in range(20):
            x = generator.dirichlet(np.ones(len(MU))) + 1e-6
            states = jax.vmap(subject.init)(jnp.arange(len(MU)))
            matrix = np.asarray(jax.vmap(subject.transition_row)(states._replace(mass=jnp.tile(x, (len(MU), 1)))))
            flows = frozen_law(BASE, MU, x, float(subject.alpha))[:, None] * matrix
            error = float(np.abs(flows - flows.T).max())
            worst = worst if error <= worst else error
        return Outcome(worst, tolerance, worst <= tolerance, 0.0, "the flows at a frozen history are out of balance")

    return Check("exact law: detailed balance at a frozen history", run, 1.0)


def tied_walk_check(steps: int = 3000) -> Check:
    """Make a check that the compiled core and the reference walk the same way on the same uniforms.

    Parameters
    ----------
    steps
        Length of the walk.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        state = subject.init(jnp.asarray(0))
        uniforms = random.uniform(key, (steps,))
        compiled = subject.step_from_uniforms(uniforms, state)
        reference = subject.reference().step_from_uniforms(uniforms, state)
        error = float(jnp.max(jnp.abs(compiled.measure - reference.measure)))
        wrong = int(jnp.sum(jnp.abs(compiled.visits - reference.visits)))
        passed = wrong == 0 and error < 1e-12 and bool(compiled.position == reference.position)
        return Outcome(error, 1e-12, passed, 0.0, f"{wrong} visits differ, the measures by {error:.3g}")

    return Check("tied: compiled core and reference on the same uniforms", run, 1.0)


def covariance_check(runs: int = 4000, steps: int = 3000, alpha: float = 1e-6, allowance: float = 0.03) -> Check:
    """Make a check of the covariance of the measure, over independent runs, against the limit theorem.

    With normal limits the trace of the sample covariance is a weighted sum of chi-square variables, whose deviations
    Laurent and Massart bound: with ``t = log(2 / level)``, by ``2 |a| sqrt(t) + 2 max(a) t`` for weights ``a``. The
    level is that of the limit; ``allowance`` is for the ``O(1 / steps)`` by which finite runs differ.

    Parameters
    ----------
    runs, steps
        Number and length of the runs, from exact draws of the target.
    alpha
        False-alarm probability under the normal limit.
    allowance
        Relative difference of the traces beyond chance.

    References
    ----------
    B. Laurent and P. Massart, Ann. Statist. 28 (2000), doi:10.1214/aos/1015957395.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        start_key, run_key = random.split(key)
        starts = random.categorical(start_key, jnp.log(jnp.asarray(MU)), shape=(runs,))

        def one(key: PRNGKeyArray, start: Any) -> Any:
            return on_chosen_host(subject).run(key, subject.init(start), steps)[0].measure

        x = np.asarray(jax.jit(jax.vmap(one))(random.split(run_key, runs), starts), np.float64)
        decay, fake = float(subject.decay), float(np.sum(subject.fake))
        made = steps + fake
        limit = limit_covariance(BASE, MU, float(subject.alpha), decay=decay, num_steps=made) * made**-decay
        moments = np.mean((x - MU) ** 2, axis=0)
        weights = np.linalg.eigvalsh(limit) / np.trace(limit) / runs
        t = math.log(2 / alpha)
        slack = 2 * math.sqrt(runs * np.sum(weights**2) * t) + 2 * weights.max() * t
        ratio = float(np.sum(moments) / np.trace(limit))
        return Outcome(
            abs(ratio - 1), slack + allowance, abs(ratio - 1) <= slack + allowance, alpha,
            f"the mean squared error of the measure is {ratio:.4f} times that of the limit theorem",
        )  # fmt: skip

    return Check("limit theorem: covariance of the measure", run, 2.0)


def law_of_large_numbers_check(steps: int = 2_000_000, alpha: float = 1e-6) -> Check:
    """Make a check that the measure of one long run is as near to the target as the limit theorem says.

    Parameters
    ----------
    steps
        Length of the run.
    alpha
        False-alarm probability under the normal limit, shared among the nodes; a tenth is added to the bound for the
        difference from the limit.
    """

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        from scipy import special

        state, _ = on_chosen_host(subject).run(key, subject.init(jnp.asarray(0)), steps)
        limit = limit_covariance(BASE, MU, float(subject.alpha), decay=float(subject.decay))
        scale = np.sqrt(np.diag(limit) * steps ** -float(subject.decay))
        worst = float(np.max(np.abs(np.asarray(state.measure) - MU) / scale))
        bound = float(1.1 * -special.ndtri(alpha / (2 * len(MU))))
        return Outcome(worst, bound, worst <= bound, alpha, f"some node is {worst:.3g} standard deviations off")

    return Check("law of large numbers: one long run", run, 1.0)


def _row(name: str, example: Any) -> Case:
    checks = (rows_check(), balance_check(), tied_walk_check(), covariance_check(), law_of_large_numbers_check())
    return Case(name, SelfRepellentWalk, example, checks, only_example=True)


CASES: tuple[Case, ...] = (
    _row("self-repellent", lambda: SelfRepellentWalk(np.array(GRAPH5_EDGES), MU, alpha=2.0)),
    _row("self-repellent-slow-steps", lambda: SelfRepellentWalk(np.array(GRAPH5_EDGES), MU, alpha=1.0, decay=0.7)),
    _row("self-repellent-base", lambda: SelfRepellentWalk(np.array(GRAPH5_EDGES), MU, alpha=0.0)),
)
