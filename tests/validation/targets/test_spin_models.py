"""Ising and Potts models: enumeration, transfer matrices and Kaufman's formula against one another and the goldens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from ergodica.validation.stationary_start import binomial_pvalue
from ergodica.validation.targets.spin_models import (
    ising,
    ising_torus,
    kaufman_log_partition,
    potts,
    potts_torus,
    torus_bonds,
)
from ergodica.validation.targets.target import FiniteTarget

CRITICAL = 0.4406867935


def _logs(target: FiniteTarget) -> np.ndarray:
    return np.asarray(jax.jit(jax.vmap(target.logdensity))(jnp.asarray(target.states)))


def test_golden_enumerations():
    golden = {
        0.2: (6.6697446043, -0.5380991112, 0.4599774002, 0.2941340231, 0.1787137663),
        0.3: (7.3469159029, -0.9876831556, 0.6365022700, 0.5020845402, 0.3900820165),
        CRITICAL: (9.0202134009, -1.6112463816, 0.8710719355, 0.8094299893, 0.7466136052),
    }
    for beta, values in golden.items():
        target = ising(torus_bonds(3, 3), 9, beta)
        p, m = target.probabilities, target.states.mean(axis=1)
        logs = _logs(target)
        moments = [special.logsumexp(logs), -(p @ logs) / beta / 9, p @ np.abs(m), p @ m**2, p @ m**4]
        assert moments == pytest.approx(values, abs=1e-9)
    chain = ising([(0, 1), (1, 2), (2, 3)], 4, 0.7)
    assert special.logsumexp(_logs(chain)) == pytest.approx(3.4543994103, abs=1e-9)
    assert chain.probabilities @ (chain.states[:, 0] * chain.states[:, 3]) == pytest.approx(np.tanh(0.7) ** 3)
    cycle = ising([(0, 1), (1, 2), (2, 3), (3, 0)], 4, 0.7, [0.3, -0.1, 0.2, 0.0])
    assert special.logsumexp(_logs(cycle)) == pytest.approx(3.8777053370, abs=1e-9)
    means = [0.3412510645, 0.2519967846, 0.3079126149, 0.2873690668]
    assert cycle.probabilities @ cycle.states == pytest.approx(means, abs=1e-9)
    kite = potts([(0, 1), (1, 2), (0, 2), (2, 3)], 4, 3, 0.8)
    assert kite.probabilities[0] == pytest.approx(0.0733707390, abs=1e-9)
    assert np.exp(_logs(kite)[0] - special.logsumexp(_logs(kite))) == pytest.approx(0.0733707390, abs=1e-9)


@pytest.mark.parametrize(
    ("side", "coupling", "field"), [(2, 0.3, 0.1), (3, 0.28, 0.028), (4, CRITICAL, 0.0), (3, -0.4, 0.2)]
)
def test_ising_transfer_matrix_against_enumeration(side, coupling, field):
    torus, small = ising_torus(side, coupling, field), ising(torus_bonds(side, side), side**2, coupling, field)
    p = small.probabilities
    assert torus.log_normalizer == pytest.approx(special.logsumexp(_logs(small)), abs=1e-10)
    bonds = np.array(torus_bonds(side, side))
    bond_sum = np.sum(small.states[:, bonds[:, 0]] * small.states[:, bonds[:, 1]], axis=1)
    m = small.states.mean(axis=1)
    assert [e.value for e in torus.expectations] == pytest.approx([p @ bond_sum, p @ m, p @ m**2], abs=1e-10)
    few = small.states[:: max(1, len(p) // 7)]
    assert [float(torus.logdensity(jnp.asarray(s))) for s in few] == pytest.approx(
        [float(small.logdensity(jnp.asarray(s))) for s in few]
    )
    x = jnp.asarray(few[-1])
    values = [float(e.function(x)) for e in torus.expectations]
    assert values == pytest.approx([bond_sum[:: max(1, len(p) // 7)][-1], few[-1].mean(), few[-1].mean() ** 2])


@pytest.mark.parametrize(("side", "colours"), [(2, 3), (3, 3), (2, 2)])
def test_potts_transfer_matrix_against_enumeration(side, colours):
    torus, small = potts_torus(side, colours, 0.9), potts(torus_bonds(side, side), side**2, colours, 0.9)
    logs = _logs(small)
    assert torus.log_normalizer == pytest.approx(special.logsumexp(logs), abs=1e-10)
    assert torus.expectation("bond sum").value == pytest.approx(small.probabilities @ logs / 0.9, abs=1e-10)
    assert small.probabilities @ np.mean(small.states == 0, axis=1) == pytest.approx(1 / colours)
    if colours == 2:  # Ising at half the coupling, shifted by half the coupling a bond
        shifted = ising_torus(side, 0.45).log_normalizer + 0.45 * 2 * side**2
        assert torus.log_normalizer == pytest.approx(shifted, abs=1e-10)


def test_golden_tori():
    assert ising_torus(4, CRITICAL).log_normalizer == pytest.approx(15.5219154588, abs=1e-9)
    assert ising_torus(4, CRITICAL).expectation("bond sum").value / 16 == pytest.approx(1.5656237876, abs=1e-9)
    assert ising_torus(4, 0.28, 0.028).log_normalizer == pytest.approx(12.56151505, abs=1e-7)
    golden = {0.28: 49.74010462, 0.4407: 60.14304154, 0.6: 78.14164886}
    for coupling, value in golden.items():
        assert kaufman_log_partition(8, coupling) == pytest.approx(value, abs=1e-7)
    for side in (2, 3, 5):
        assert kaufman_log_partition(side, 0.5) == pytest.approx(ising_torus(side, 0.5).log_normalizer, abs=1e-10)
    assert [kaufman_log_partition(24, b) for b in golden] == pytest.approx(
        [447.60464299, 536.15555897, 697.72940283], abs=1e-7
    )
    four = potts_torus(4, 3, 1.005)
    assert four.log_normalizer == pytest.approx(34.1711707, abs=1e-6)
    assert four.expectation("bond sum").value == pytest.approx(27.3597, abs=1e-4)


@pytest.mark.slow
def test_golden_larger_tori():
    assert ising_torus(8, 0.4407).log_normalizer == pytest.approx(60.14304154, abs=1e-7)
    assert potts_torus(5, 3, 1.2).log_normalizer == pytest.approx(61.6390579, abs=1e-6)


def test_exact_draws_of_a_torus(getkey):
    # 16 binomials, each compared with 5e-8: false alarm < 1e-6.
    torus, small = ising_torus(2, 0.2, 0.1), ising(torus_bonds(2, 2), 4, 0.2, 0.1)
    index = np.asarray(small.index(torus.sample(getkey(), 4000)))
    for count, p in zip(np.bincount(index, minlength=16), small.probabilities, strict=True):
        assert binomial_pvalue(int(count), 4000, float(p)) > 5e-8


@pytest.mark.slow
@pytest.mark.parametrize("make", [lambda: ising_torus(6, CRITICAL), lambda: potts_torus(4, 3, 1.005)])
def test_exact_draws_have_the_exact_means(make, getkey):
    # At most 5 means, each within six standard errors of a nearly normal mean: false alarm < 1e-8.
    torus = make()
    draws = torus.sample(getkey(), 4000)
    assert draws.shape == (4000, torus.dim)
    for known in torus.expectations:
        values = np.asarray(jax.vmap(known.function)(draws))
        assert abs(values.mean() - known.value) < 6 * values.std() / np.sqrt(len(values)), known.name


def test_bad_input():
    for call, message in [
        (lambda: ising([(0, 0)], 2), "two different sites"),
        (lambda: ising([(0, 5)], 2), "two different sites"),
        (lambda: ising([(0, 1)], 2, field=[1.0]), "field"),
        (lambda: ising([], 19), "too many"),
        (lambda: potts([(0, 1)], 2, 3, np.nan), "coupling"),
        (lambda: ising_torus(11, 0.1), "narrower"),
        (lambda: ising_torus(3, np.inf), "finite"),
        (lambda: potts_torus(7, 3, 0.1), "narrower"),
        (lambda: kaufman_log_partition(4, 0.0), "positive"),
        (lambda: torus_bonds(1, 3), "at least 2"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    assert len(torus_bonds(2, 3)) == 12
