"""Rows of the catalogue for compositions, and for the heat bath as their simplest block."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.compose import On, cycle, mixture, on, repeat, tempered
from ergodica.samplers.corrected import Corrected, Proposal
from ergodica.samplers.gibbs.conditional_draw import ConditionalDraw
from ergodica.samplers.gibbs.heat_bath import HeatBath
from ergodica.theory.gaussian_gibbs import systematic_scan
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.exact import check_exact, exact_check
from ergodica.validation.regression import regression_check
from ergodica.validation.stationary_start import stationary_start_check
from ergodica.validation.targets.continuous import gaussian
from ergodica.validation.targets.finite import spin3
from ergodica.validation.targets.target import FiniteTarget


class Flip(Proposal):
    """Propose the opposite sign of every entry of a block."""

    def propose(self, key: PRNGKeyArray, position: Int[Array, "..."]) -> tuple[Int[Array, "..."], Float[Array, ""]]:
        """Return the flipped block; symmetric."""
        del key
        return -position, jnp.zeros(())


class FlipOne(Proposal):
    """Propose the opposite sign of one entry, drawn uniformly."""

    def propose(self, key: PRNGKeyArray, position: Int[Array, " n"]) -> tuple[Int[Array, " n"], Float[Array, ""]]:
        """Return the spins with one flipped; symmetric."""
        which = random.randint(key, (), 0, position.shape[0])
        return position.at[which].multiply(-1), jnp.zeros(())


def spin_blocks() -> tuple[On, ...]:
    """Return blocks for three spins: Metropolis flips of the outer two, a heat bath for the middle one."""
    return on(0, Corrected(Flip())), on(1, HeatBath([-1, 1])), on(2, Corrected(Flip()))


def _tempered_spin3(power: float) -> FiniteTarget:
    target = spin3()
    raised = target.probabilities**power
    return FiniteTarget(f"spin3 to the power {power:g}", target.states, raised / raised.sum(), target.logdensity)


def _second_modulus(name: str, expected: float) -> Check:
    """Hold the second largest modulus of the eigenvalues on spin3 against its known value."""

    def run(subject: Any, key: PRNGKeyArray) -> Outcome:
        del key
        moduli = np.sort(np.abs(np.linalg.eigvals(check_exact(subject, spin3()).matrix)))
        error = abs(moduli[-2] - expected)
        return Outcome(error, 1e-9, bool(error <= 1e-9), 0.0, f"the modulus is {moduli[-2]:.10f}, not {expected:.10f}")

    return Check(name, run, 1.0)


def _spins(block: tuple[int, ...]) -> HeatBath:
    return HeatBath(list(itertools.product([-1, 1], repeat=len(block))))


def _gaussian_draw(index: int) -> ConditionalDraw:
    """Draw one coordinate of a Gaussian with mean zero and precision ``PRECISION`` given the others."""
    row = jnp.asarray(np.delete(PRECISION[index], index) / PRECISION[index, index])
    others = tuple(int(other) for other in np.delete(np.arange(len(PRECISION)), index))

    def draw(key: PRNGKeyArray, position: Float[Array, " d"]) -> Float[Array, ""]:
        noise = random.normal(key, (), position.dtype) / np.sqrt(PRECISION[index, index])
        return noise - row.astype(position.dtype) @ position[jnp.array(others)]

    return ConditionalDraw(index, draw)


def _as_it_is(subject: Any, target: Any) -> Any:
    """Return the kernel: one that draws from its conditionals has its target already."""
    del target
    return subject


def _row(name: str, example: Any, *checks: Check) -> Case:
    return Case(name, type(example()), example, checks, only_example=True)


PRECISION = np.array([[2.0, -0.5, 0.3], [-0.5, 1.5, 0.2], [0.3, 0.2, 1.0]])
_COVARIANCE = np.linalg.inv(PRECISION)
_GAUSSIAN = gaussian([0.0, 0.0, 0.0], _COVARIANCE.tolist())
_SWEEP = systematic_scan(PRECISION)[0]


def _sweep_check(index: int) -> Check:
    """Hold the conditional mean of a coordinate after a scan against the Gauss-Seidel sweep."""

    def coordinate(x: Float[Array, " d"]) -> Float[Array, ""]:
        return x[index]

    def swept(x: Float[Array, " d"]) -> Float[Array, ""]:
        return _SWEEP[index] @ x

    return regression_check(
        f"Gauss-Seidel sweep, coordinate {index}",
        _GAUSSIAN,
        coordinate,
        swept,
        variance=float(_COVARIANCE[index, index]),
        bind=_as_it_is,
    )


CASES: tuple[Case, ...] = (
    _row("heat-bath", lambda: _spins((0, 1, 2)), exact_check("spin3 as one block", spin3())),
    _row("cycle", lambda: cycle(*spin_blocks()), exact_check("spin3, three blocks", spin3())),
    _row(
        "random-order-cycle",
        lambda: cycle(*spin_blocks(), order="random"),
        exact_check("spin3, three blocks in random order", spin3()),
    ),
    _row(
        "gibbs-systematic",
        lambda: cycle(*(on(index, HeatBath([-1, 1])) for index in range(3))),
        exact_check("spin3", spin3()),
        _second_modulus("spectrum: spin3, systematic scan", 0.6038755456),
    ),
    _row(
        "gibbs-random-scan",
        lambda: mixture(*(on(index, HeatBath([-1, 1])) for index in range(3))),
        exact_check("spin3", spin3()),
        _second_modulus("spectrum: spin3, random scan", 0.9255083371),
    ),
    _row(
        "gibbs-gaussian",
        lambda: cycle(*(_gaussian_draw(index) for index in range(3))),
        stationary_start_check("Gaussian in three dimensions", _GAUSSIAN, bind=_as_it_is),
        *(_sweep_check(index) for index in range(3)),
    ),
    _row("repeat", lambda: repeat(mixture(*spin_blocks()), 3), exact_check("spin3, three steps", spin3())),
    _row(
        "on-block", lambda: on((0, 1, 2), Corrected(FlipOne())), exact_check("spin3, one block of all spins", spin3())
    ),
    _row(
        "tempered",
        lambda: tempered(cycle(*spin_blocks()), 0.5),
        exact_check("the square root of spin3", _tempered_spin3(0.5)),
    ),
)
