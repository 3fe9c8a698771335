"""Rows of the catalogue for compositions, and for the heat bath as their simplest block."""

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ergodica.samplers import random
from ergodica.samplers.compose import Cycle, Mixture, On, Repeat, Tempered, cycle, mixture, on, repeat, tempered
from ergodica.samplers.corrected import Corrected, Proposal
from ergodica.samplers.gibbs.heat_bath import HeatBath
from ergodica.validation.evidence import Case, Check, Outcome
from ergodica.validation.exact import check_exact, exact_check
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


CASES: tuple[Case, ...] = (
    Case(
        "heat-bath",
        HeatBath,
        lambda: _spins((0, 1, 2)),
        (exact_check("spin3 as one block", spin3()),),
    ),
    Case("cycle", Cycle, lambda: cycle(*spin_blocks()), (exact_check("spin3, three blocks", spin3()),)),
    Case(
        "random-order-cycle",
        Cycle,
        lambda: cycle(*spin_blocks(), order="random"),
        (exact_check("spin3, three blocks in random order", spin3()),),
    ),
    Case(
        "gibbs-systematic",
        Cycle,
        lambda: cycle(*(on(index, HeatBath([-1, 1])) for index in range(3))),
        (exact_check("spin3", spin3()), _second_modulus("spectrum: spin3, systematic scan", 0.6038755456)),
    ),
    Case(
        "gibbs-random-scan",
        Mixture,
        lambda: mixture(*(on(index, HeatBath([-1, 1])) for index in range(3))),
        (exact_check("spin3", spin3()), _second_modulus("spectrum: spin3, random scan", 0.9255083371)),
    ),
    Case("repeat", Repeat, lambda: repeat(mixture(*spin_blocks()), 3), (exact_check("spin3, three steps", spin3()),)),
    Case(
        "on-block",
        On,
        lambda: on((0, 1, 2), Corrected(FlipOne())),
        (exact_check("spin3, one block of all spins", spin3()),),
    ),
    Case(
        "tempered",
        Tempered,
        lambda: tempered(cycle(*spin_blocks()), 0.5),
        (exact_check("the square root of spin3", _tempered_spin3(0.5)),),
    ),
)
