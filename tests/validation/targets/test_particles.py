"""Interacting particles: symmetries, goldens, normalisers against importance sampling and plain quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.validation.targets.lennard_jones import lennard_jones_particles
from ergodica.validation.targets.particles import (
    centred_basis,
    configuration,
    double_well_particles,
    pair_distances,
    reduced,
)


@pytest.fixture(scope="module")
def wells():
    return double_well_particles()


def energy_of_bonds(places, quadratic=-4.0, quartic=0.9):
    """The energy from places ``(..., 4, 2)``, written down once more."""
    first, second = np.triu_indices(4, 1)
    excess = np.linalg.norm(places[..., first, :] - places[..., second, :], axis=-1) - 4
    return np.sum(quartic * excess**4 + quadratic * excess**2, axis=-1)


def test_coordinates():
    basis = centred_basis(5)
    np.testing.assert_allclose(basis.T @ basis, np.eye(4), atol=1e-15)
    np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-15)
    places = np.random.default_rng(0).normal(size=(5, 3))
    back, distances = jax.jit(lambda p: (configuration(reduced(p), 5), pair_distances(reduced(p), 5)))(places)
    np.testing.assert_allclose(back, places - places.mean(axis=0), atol=1e-14)
    first, second = np.triu_indices(5, 1)
    np.testing.assert_allclose(distances, np.linalg.norm(places[first] - places[second], axis=1))


def test_symmetries(wells):
    rng = np.random.default_rng(1)
    for target, shape in ((wells, (4, 2)), (lennard_jones_particles(5, 1.0), (5, 3))):
        places = 1.5 * rng.normal(size=shape)
        turn = np.linalg.qr(rng.normal(size=(shape[1], shape[1])))[0]
        moved = [places, places + 3.0, places @ turn, -places, rng.permutation(places), (places - 1.0) @ turn.T]
        moved.append(1.1 * places)  # no symmetry
        values = np.asarray(jax.jit(jax.vmap(lambda p: target.logdensity(reduced(p))))(jnp.asarray(moved)))  # noqa: B023
        np.testing.assert_allclose(values[:-1], values[0], rtol=1e-9)
        assert abs(values[-1] - values[0]) > 1e-3


def test_golden_energies(wells):
    square = np.array([[0.0, 0], [0, 4], [4, 0], [4, 4]])
    assert jax.jit(lambda p: wells.logdensity(reduced(p)))(square) == pytest.approx(8.396642531, abs=1e-8)
    line = np.arange(13.0)[:, None] * np.eye(3)[0]
    value_at = jax.jit(lambda target, p: target(reduced(p)))
    for strength in (1.0, 2.0):
        value = value_at(lennard_jones_particles(13, strength).logdensity, line)
        assert value == pytest.approx(12.374362632 * strength - 91, abs=1e-8)


def test_four_particles_by_importance_sampling():
    # A softer energy, and places relative to the first particle uniform where they can be: exact weights.
    soft = double_well_particles(-0.1, 0.1, step=0.2)
    rng = np.random.default_rng(2)
    n, half = 100_000, 8.5
    angle, radius = 2 * np.pi * rng.random((n, 3)), np.sqrt(rng.random((n, 3))) * half
    places = np.zeros((n, 4, 2))
    places[:, 1:] = radius[..., None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    energy = energy_of_bonds(places, -0.1, 0.1)
    # Such places are, per axis, sqrt(4) times as voluminous as orthonormal coordinates.
    weights = np.exp(-energy) * (np.pi * half**2) ** 3 / 4
    error = weights.std() / np.sqrt(n)
    assert error < 0.05 * weights.mean()
    # Six standard errors of a nearly normal mean: false alarm near 2e-9, as for the means below.
    assert abs(np.exp(soft.log_normalizer) - weights.mean()) < 6 * error
    first, second = np.triu_indices(4, 1)
    distances = np.linalg.norm(places[:, first] - places[:, second], axis=-1)
    checked = {
        "energy": energy,
        "mean distance": distances.mean(axis=1),
        "squared norm": np.sum((places - places.mean(axis=1, keepdims=True)) ** 2, axis=(1, 2)),
    }
    share = weights / weights.sum()
    for name, values in checked.items():
        mean = share @ values
        spread = np.sqrt(np.sum(share**2 * (values - mean) ** 2))
        assert abs(mean - soft.expectation(name).value) < 6 * spread, name
        assert spread < 0.05 * abs(mean)
    below = float(share @ np.mean(distances < 4, axis=1))
    assert soft.marginals[0].cdf(np.array(4.0)) == pytest.approx(below, abs=0.03)


def test_mean_of_the_virial_by_the_law_of_a_pair(wells):
    # x . grad U is a sum over pairs of r u'(r): its mean under the law of one distance has to be the dimension over six.
    ends = np.linspace(1.0, 7.5, 2001)
    mass, r = np.diff(wells.marginals[0].cdf(ends)), (ends[:-1] + ends[1:]) / 2
    assert mass.sum() == pytest.approx(1, abs=1e-9)
    assert mass @ (r * (4 * 0.9 * (r - 4) ** 3 - 8 * (r - 4))) == pytest.approx(1, abs=1e-4)
    assert 6 * mass @ (0.9 * (r - 4) ** 4 - 4 * (r - 4) ** 2) == pytest.approx(-22.5415096, abs=1e-4)


def test_functions_at_a_point(wells):
    places = np.random.default_rng(3).normal(size=(4, 2)) * 3
    x = reduced(jnp.asarray(places))
    known = [*wells.expectations, *wells.marginals]
    values = jax.jit(lambda x: {one.name: one.function(x) for one in known})(x)
    assert values["energy"] == pytest.approx(energy_of_bonds(places))
    assert values["squared norm"] == pytest.approx(np.sum((places - places.mean(0)) ** 2))
    assert values["distance of the first two"] == pytest.approx(np.linalg.norm(places[0] - places[1]))
    step = 1e-6
    virial = (energy_of_bonds((1 + step) * places) - energy_of_bonds((1 - step) * places)) / (2 * step)
    assert values["x . grad U"] == pytest.approx(virial, rel=1e-6)


def test_two_and_three_lennard_jones_particles():
    r = np.linspace(0.3, 15.0, 4001)

    def factor(r, particles):
        return np.exp(-1.5 * (r**-12 - 2 * r**-6) - r**2 / (2 * particles))

    two = lennard_jones_particles(2, 1.5)
    mass = r**2 * factor(r, 2)
    total = mass.sum() * (r[1] - r[0])
    # Orthonormal coordinates are the separation over sqrt(2).
    assert two.log_normalizer == pytest.approx(np.log(4 * np.pi * total / 2**1.5), abs=1e-9)
    assert two.expectation("squared norm").value == pytest.approx(mass @ r**2 / mass.sum() / 2, abs=1e-9)

    three = lennard_jones_particles(3, 1.5)
    r = np.linspace(0.5, 10.0, 191)
    cosine, weight = np.polynomial.legendre.leggauss(150)
    a, b, c = r[:, None, None], r[None, :, None], cosine
    third = np.sqrt(np.maximum(a**2 + b**2 - 2 * a * b * c, 0.09))
    mass = 8 * np.pi**2 * a**2 * b**2 * factor(a, 3) * factor(b, 3) * factor(third, 3) * weight
    total = mass.sum() * (r[1] - r[0]) ** 2
    assert three.log_normalizer == pytest.approx(np.log(total / 3**1.5), abs=2e-4)
    well = np.sum(mass * (a**-12 - 2 * a**-6)) / mass.sum()
    squared = np.sum(mass * a**2) / mass.sum()
    assert three.expectation("squared norm").value == pytest.approx(squared, abs=2e-3)
    assert three.expectation("energy").value == pytest.approx(1.5 * 3 * well + squared / 2, abs=2e-3)
    near = np.sum(mass * (a < 1.525)) / mass.sum()
    assert three.marginals[0].cdf(np.array(1.525)) == pytest.approx(near, abs=2e-3)
    # x . grad U again, as a mean over one pair.
    virial = 3 * 18 * np.sum(mass * (a**-6 - a**-12)) / mass.sum() + three.expectation("squared norm").value
    assert virial == pytest.approx(6, abs=1e-2)


def test_reference_of_thirteen_particles():
    # Long runs, twelve and sixty million Hamiltonian trajectories; their virial met its exact value, 36.
    for strength, energy in ((1.0, 0.57), (2.0, -43.0)):
        target = lennard_jones_particles(13, strength)
        known = target.expectation("energy")
        assert 0 < known.standard_error < 0.02
        assert known.value == pytest.approx(energy, abs=0.1)
        assert target.expectation("squared norm").value > 0
    assert target.log_normalizer is None
    with pytest.raises(KeyError, match="energy"):
        lennard_jones_particles(13, 1.7).expectation("energy")


def test_both_precisions(wells):
    for target in (wells, lennard_jones_particles()):
        for dtype in (jnp.float32, jnp.float64):
            value = jax.eval_shape(target.logdensity, jax.ShapeDtypeStruct((target.dim,), dtype))
            assert (value.shape, value.dtype) == ((), dtype)


def test_bad_input():
    for call, message in [
        (lambda: double_well_particles(quartic=0.0), "quartic"),
        (lambda: double_well_particles(length=0.5), "one place"),
        (lambda: lennard_jones_particles(1), "at least 2"),
        (lambda: lennard_jones_particles(3, -1.0), "strength"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
