"""The demonstration: its models are those of the reference, and it writes what it says."""

import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from numpyro.infer.util import log_density
from rich.console import Console

from ergodica import demo

pytest.importorskip("matplotlib")

SCHOOLS, WELLS = demo.posteriors()


def logjoint(posterior, parameters):
    return log_density(posterior.model, (), posterior.data, parameters)[0]


def test_wells_has_the_exact_moments_of_the_reference():
    """Integrates the model's density over a grid that covers eight standard deviations; no randomness."""
    mean, sd = np.asarray(WELLS.exact["mean"]), np.asarray(WELLS.exact["sd"])
    side = np.linspace(-8, 8, 65)
    grid = mean + sd * np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    values = jax.lax.map(lambda at: logjoint(WELLS, {"alpha": at[0], "beta": at[1]}), jnp.asarray(grid), batch_size=64)
    weights = np.asarray(jax.nn.softmax(values))
    assert weights @ grid == pytest.approx(mean, abs=1e-8)
    assert np.sqrt(weights @ (grid - mean) ** 2) == pytest.approx(sd, abs=1e-8)


def test_eight_schools_is_the_model_of_the_reference():
    """Compares with the density written by hand, in differences, as constants do not matter."""

    def by_hand(mu, tau, z):
        theta, sigma, y = mu + tau * z, SCHOOLS.data["sigma"], SCHOOLS.data["y"]
        prior = -(mu**2) / 50 - np.log1p(tau**2 / 25) - 0.5 * np.sum(z**2)
        return prior - 0.5 * np.sum(((y - theta) / sigma) ** 2)

    rng = np.random.default_rng(0)
    points = [(rng.normal(), rng.gamma(2.0), rng.normal(size=8)) for _ in range(5)]
    model = [float(logjoint(SCHOOLS, {"mu": mu, "tau": tau, "z": z})) for mu, tau, z in points]
    hand = [by_hand(*point) for point in points]
    assert np.diff(model) == pytest.approx(np.diff(hand), rel=1e-10)


def test_every_reported_parameter_has_exact_moments():
    for posterior in (SCHOOLS, WELLS):
        named = [name for names in posterior.variables.values() for name in names]
        assert sorted(named) == sorted(posterior.moments)


@pytest.mark.slow
def test_run_writes_draws_and_pictures(tmp_path):
    """`run` is true if 12 means are within 5 standard errors and the kernel passes; the seed is fixed."""
    console = Console(record=True, width=120, file=io.StringIO())
    assert demo.run(tmp_path, num_samples=500, seed=0, console=console)
    text = console.export_text()
    assert "exact mean" in text
    assert "checks passed" in text
    for name in ("eight_schools", "wells"):
        draws = xarray.open_datatree(tmp_path / f"{name}.nc")
        assert draws["posterior"].sizes["chain"] == demo.CHAINS
        assert draws["posterior"].sizes["draw"] == 500
        assert draws["posterior"].attrs["claim"].startswith("exact")
        draws.close()
    for name in ("eight_schools", "wells", "accuracy"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_shifted_draws_are_noticed():
    """Negative control: the comparison sees a mean that is off by half a standard deviation."""
    rng = np.random.default_rng(0)
    mean, sd = np.asarray(WELLS.exact["mean"]), np.asarray(WELLS.exact["sd"])
    right = rng.normal(mean, sd, size=(4, 500, 2))
    for shift in (0.0, 0.5):
        moved = right + shift * sd
        tree = xarray.DataTree.from_dict(
            {
                "posterior": xarray.Dataset(
                    {n: (("chain", "draw"), moved[..., i]) for i, n in enumerate(WELLS.variables)}
                )
            }
        )
        worst = max(abs(row.z) for row in demo.compare(WELLS, tree))
        assert (worst < 5) == (shift == 0), worst
