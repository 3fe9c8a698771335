"""The phi^4 chain and lattice: goldens of transfer operators, plain quadrature, exact draws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.validation.targets.lattice_field import phi4_chain, phi4_lattice
from ergodica.validation.targets.target import MomentTarget


def _plain(target: MomentTarget, axis: np.ndarray) -> tuple[float, dict[str, float]]:
    """Return log Z and the expectations by the trapezoidal rule on a grid in all dimensions."""
    grid = np.stack(np.meshgrid(*[axis] * target.dim, indexing="ij"), axis=-1).reshape(-1, target.dim)
    logs = np.asarray(jax.jit(jax.vmap(target.logdensity))(jnp.asarray(grid)))
    weights = np.exp(logs - logs.max())
    total = weights.sum()
    means = {
        known.name: float(weights @ np.asarray(jax.jit(jax.vmap(known.function))(jnp.asarray(grid))) / total)
        for known in target.expectations
    }
    return float(np.log(total) + logs.max() + target.dim * np.log(axis[1] - axis[0])), means


def test_golden_chains():
    golden = {10: (-24.17318112, 0.962489), 32: (-59.49545768, 0.955872), 100: (-196.91222081, 0.954210)}
    for sites, (log_normalizer, square) in golden.items():
        chain = phi4_chain(sites)
        assert chain.log_normalizer == pytest.approx(log_normalizer, abs=1e-8)
        assert chain.expectation("middle site squared").value == pytest.approx(square, abs=1e-6)
        assert chain.expectation("middle site").value == pytest.approx(0, abs=1e-10)
        assert chain.expectation("middle site positive").value == pytest.approx(0.5, abs=1e-10)
    for tilt, golden_tilt in {
        0.01: (-195.99619724, -0.89100969, 0.04239364),
        0.02: (-194.4578401, -0.97490707, 0.00195769),
    }.items():
        chain = phi4_chain(100, tilt)
        values = [chain.expectation(name).value for name in ("middle site", "middle site positive")]
        assert (chain.log_normalizer, *values) == pytest.approx(golden_tilt, abs=2e-8)


@pytest.mark.parametrize("sites", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_short_chains_by_plain_quadrature(sites):
    chain = phi4_chain(sites, 0.02, beta=3.0)
    log_normalizer, means = _plain(chain, np.linspace(-2.4, 2.4, 121))
    assert chain.log_normalizer == pytest.approx(log_normalizer, abs=1e-9)
    for known in chain.expectations:
        tolerance = 2e-2 if "positive" in known.name else 1e-9
        assert known.value == pytest.approx(means[known.name], abs=tolerance), known.name


def test_golden_lattice():
    lattice = phi4_lattice()
    assert lattice.logdensity(jnp.array([0.1, 0.2, 0.3, 0.4])) == pytest.approx(1.04446, abs=1e-9)
    assert lattice.log_normalizer == pytest.approx(2.814291995, abs=1e-8)
    values = [lattice.expectation(n).value for n in ("mean square", "square of the mean field", "neighbours")]
    assert values == pytest.approx([0.346661968, 0.293273017, 0.281484212], abs=1e-8)


def test_lattice_by_plain_quadrature():
    lattice = phi4_lattice(2, -2.0, 3.0)
    log_normalizer, means = _plain(lattice, np.linspace(-2.1, 2.1, 29))
    assert lattice.log_normalizer == pytest.approx(log_normalizer, abs=1e-6)
    for known in lattice.expectations:
        assert known.value == pytest.approx(means[known.name], abs=1e-6), known.name


def test_action_as_a_sum_over_neighbours():
    field = np.random.default_rng(4).normal(size=(3, 3))
    around = sum(np.roll(field, shift, axis) for shift in (-1, 1) for axis in (0, 1))
    action = np.sum(field * (4 * field - around) - 4.75 * field**2 + 5.1 * field**4)
    assert phi4_lattice(3).logdensity(jnp.asarray(field.reshape(-1))) == pytest.approx(-action)
    assert phi4_lattice(3).sample is None
    for dtype in (jnp.float32, jnp.float64):
        assert phi4_lattice(3).logdensity(jnp.asarray(field.reshape(-1), dtype)).dtype == dtype
        assert phi4_chain(9).logdensity(jnp.asarray(field.reshape(-1), dtype)).dtype == dtype


@pytest.mark.slow
def test_exact_draws_of_the_lattice(getkey):
    # Six means, each within six standard errors of a nearly normal mean: false alarm < 6 * 2e-9.
    lattice = phi4_lattice(2)
    draws = lattice.sample(getkey(), 3000)
    for known in lattice.expectations:
        values = np.asarray(jax.vmap(known.function)(draws))
        assert abs(values.mean() - known.value) < 6 * values.std() / np.sqrt(len(values)), known.name


def test_bad_input():
    for call, message in [
        (lambda: phi4_chain(1), "at least 2"),
        (lambda: phi4_chain(4, np.nan), "tilt finite"),
        (lambda: phi4_lattice(1), "at least 2"),
        (lambda: phi4_lattice(2, 1.0, 0.0), "quartic positive"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(KeyError, match="middle site"):
        phi4_chain(4).expectation("magnetisation")
    assert phi4_lattice(2, 1.0, 1.0).sample is None
