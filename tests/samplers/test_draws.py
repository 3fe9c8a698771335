"""Draws: summaries, weights, ArviZ, files."""

import collections
import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from ergodica.samplers import naming
from ergodica.samplers.claim import Claim, Exactness, Space
from ergodica.samplers.draws import Draws, describe
from ergodica.samplers.metropolis.random_walk import RandomWalk

EXACT = Claim(Exactness.EXACT, "is right", source="someone 1999", reversible=True, spaces=frozenset({Space.REAL}))
RNG = np.random.default_rng(0)
Pair = collections.namedtuple("Pair", ["mean", "rest"])


def made(position=None, claim=EXACT, draws=40, **fields):
    if position is None:
        position = {"theta": RNG.normal(size=(4, draws, 3)), "tau": RNG.normal(size=(4, draws))}
    stats = {
        "acceptance_rate": np.full((4, draws), 0.25),
        "num_evals": np.full((4, draws), 2, np.int32),
        "diverging": np.zeros((4, draws), bool),
        "lp": RNG.normal(size=(4, draws)),
    }
    settings = {"sampler": "Tested", "warmup_counts": {"num_evals": 100}, "seed": 3, "tune": 10, "stats": stats}
    return Draws(raw_position=position, claim=claim, **{**settings, **fields})


def weighted(log_weight=None, draws=40):
    claim = dataclasses.replace(EXACT, weighted=True, independent=True, reversible=None)
    log_weight = RNG.normal(size=(4, draws)) if log_weight is None else log_weight
    stats = {"num_evals": np.ones((4, draws), np.int32), "log_weight": log_weight}
    return made(claim=claim, stats=stats, warmup_counts={})


def test_shape_and_repr():
    draws = made(tuned={"scale": np.array(0.5)}, ending="interrupted")
    assert (draws.num_chains, draws.num_draws) == (4, 40)
    text = repr(draws)
    for part in (
        "Tested (exact, reversible)",
        "4 chains x 40 draws, interrupted",
        "theta: float64, 3",
        "acceptance 0.25",
        "0 divergences",
        "420 evaluations",
        "tuned: scale = 0.5",
    ):
        assert part in text
    assert draws.last_position["theta"].shape == (4, 3)


def test_counts_and_cost():
    draws = made()
    assert draws.counts == {"warmup": {"num_evals": 100}, "draws": {"num_evals": 320}}
    assert draws.num_evals == 420
    assert draws.num_grad_evals == 0
    worst = draws.summary()["ess_bulk"].min()
    assert draws.evaluations_per_effective_draw() == pytest.approx(420 / worst)
    assert draws.evaluations_per_effective_draw(include_warmup=False) == pytest.approx(320 / worst)


def test_summary():
    draws = made()
    table = draws.summary()
    assert list(table.index) == ["theta[0]", "theta[1]", "theta[2]", "tau"]
    assert {"mean", "sd", "mcse_mean", "ess_bulk", "ess_tail", "r_hat"} <= set(table.columns)
    np.testing.assert_allclose(table.loc["tau", "mean"], draws.position["tau"].mean(), rtol=1e-12)
    np.testing.assert_allclose(table.loc["tau", "sd"], draws.position["tau"].std(), rtol=1 / 160)  # either divisor
    assert list(draws.summary(["tau"]).index) == ["tau"]


def test_means():
    draws = made()
    np.testing.assert_allclose(draws.mean()["theta"], draws.position["theta"].mean(axis=(0, 1)), rtol=1e-12)
    square = draws.mean(lambda p: p["tau"] ** 2)
    np.testing.assert_allclose(square, (draws.position["tau"] ** 2).mean(), rtol=1e-12)


# --- weights ----------------------------------------------------------------------------------------------------------


def test_weighted_draws_are_not_handed_out_without_weights():
    draws = weighted()
    for name in ("position", "warmup_position"):
        with pytest.raises(ValueError, match="mean nothing without their weights"):
            getattr(draws, name)
    groups = draws.to_arviz().groups
    assert "/weighted_posterior" in groups
    assert "/posterior" not in groups
    assert "weighted" in repr(draws)
    with pytest.raises(ValueError, match="no draw of Tested has a finite, positive weight"):
        weighted(np.full((4, 40), -np.inf)).weighted()


def test_weighted_means_and_summaries():
    draws = weighted()
    position, weight = draws.weighted()
    assert weight.sum() == pytest.approx(1)
    expected = (weight * position["tau"]).sum()
    assert draws.mean(lambda p: p["tau"]) == pytest.approx(expected)
    table = draws.summary()
    assert table.loc["tau", "mean"] == pytest.approx(expected)
    assert table.loc["tau", "ess"] == pytest.approx(1 / (weight**2).sum())
    assert "r_hat" not in table.columns
    assert draws.evaluations_per_effective_draw() == pytest.approx(160 * (weight**2).sum())
    # Equal weights give the plain mean, weights shifted by a constant the same.
    np.testing.assert_allclose(weighted(np.full((4, 40), -1e5)).weighted()[1], 1 / 160)


def test_resampling():
    log_weight = np.full((4, 40), -np.inf)
    log_weight[2, 5] = 0.0
    draws = weighted(log_weight)
    plain = draws.resample(7)
    np.testing.assert_array_equal(plain.position["tau"], np.full((1, 7), draws.raw_position["tau"][2, 5]))
    assert not plain.claim.weighted
    assert plain.claim.exactness is Exactness.LIMIT
    assert "log_weight" not in plain.stats
    with pytest.raises(ValueError, match="num has to be at least 1"):
        draws.resample(0)


# --- ArviZ ------------------------------------------------------------------------------------------------------------


def test_arviz_groups_names_and_attributes():
    draws = made(
        raw_warmup={"theta": RNG.normal(size=(4, 10, 3)), "tau": RNG.normal(size=(4, 10))},
        warmup_stats={"lp": RNG.normal(size=(4, 10))},
        tuned={"scale": np.eye(2)},
    )
    tree = draws.to_arviz(coords={"school": ["a", "b", "c"]}, dims={"theta": ["school"]})
    assert set(tree.groups) == {
        "/",
        "/posterior",
        "/sample_stats",
        "/warmup_posterior",
        "/warmup_sample_stats",
        "/kernel_data",
    }
    assert tree["posterior"]["theta"].dims == ("chain", "draw", "school")
    assert set(tree["sample_stats"].data_vars) == {"acceptance_rate", "num_evals", "diverging", "lp"}
    assert tree["sample_stats"]["diverging"].dtype == bool
    for attributes in (tree.attrs, tree["posterior"].attrs):
        assert attributes["inference_library"] == "ergodica"
        assert attributes["approximate"] == "no"
        json.dumps(dict(attributes))
        assert all(isinstance(value, str | int | float | list) for value in attributes.values())
        assert not any(isinstance(value, bool) for value in attributes.values())


def test_approximate_draws_say_so():
    claim = Claim(Exactness.BIASED, "is off", order="O(h)")
    assert made(claim=claim).to_arviz().attrs["approximate"] == "yes: biased, O(h)"


def test_flags_that_thinning_has_counted_are_flags_again():
    stats = {"diverging": np.array([[0, 2], [1, 0]]), "lp": np.zeros((2, 2))}
    tree = made(position=np.zeros((2, 2, 1)), stats=stats).to_arviz()
    np.testing.assert_array_equal(tree["sample_stats"]["diverging"], [[False, True], [True, False]])


def test_diagnostics_of_arviz_accept_the_tree():
    import arviz_stats

    assert float(arviz_stats.rhat(made().to_arviz())["tau"]) == pytest.approx(1, abs=0.2)


def population(draws=6):
    claim = dataclasses.replace(EXACT, population=True)
    stats = {"lp": RNG.normal(size=(2, draws, 5)), "num_evals": RNG.integers(9, size=(2, draws))}
    return made(position=RNG.normal(size=(2, draws, 5, 3)), claim=claim, stats=stats)


def test_walkers_are_chains_for_arviz():
    draws = population()
    tree = draws.to_arviz()
    x = tree["posterior"]["x"].values
    assert x.shape == (10, 6, 3)
    np.testing.assert_array_equal(x[7, 4], draws.position[1, 4, 2])
    np.testing.assert_array_equal(tree["sample_stats"]["lp"].values[7, 4], draws.stats["lp"][1, 4, 2])
    np.testing.assert_array_equal(tree["sample_stats"]["num_evals"].values[7, 4], draws.stats["num_evals"][1, 4])
    assert "coupled" in tree.attrs["chains"]


# --- transformations and files ----------------------------------------------------------------------------------------


def test_transform_keeps_what_was_sampled():
    warmup = {"theta": RNG.normal(size=(4, 5, 3)), "tau": RNG.normal(size=(4, 5))}
    draws = made(raw_warmup=warmup)
    mapped = draws.transform(lambda p: {"sigma": jnp.exp(p["tau"]), "both": p["theta"] + p["tau"]})
    np.testing.assert_allclose(mapped.position["sigma"], np.exp(draws.position["tau"]), rtol=1e-12)
    assert mapped.warmup_position["both"].shape == (4, 5, 3)
    assert mapped.unconstrained is draws.raw_position
    assert mapped.transform(lambda p: p["sigma"]).unconstrained is draws.raw_position
    tree = mapped.to_arviz()
    np.testing.assert_array_equal(tree["unconstrained_posterior"]["tau"].values, draws.position["tau"])


def roundtrip(draws, path):
    draws.save(path)
    return Draws.load(path)


@pytest.mark.parametrize(
    "position",
    [
        np.arange(24.0).reshape(2, 3, 4),
        np.arange(6).reshape(2, 3),
        {"a": np.ones((2, 3), np.float32), "b": {"a/c": np.zeros((2, 3, 1)), "chain": np.ones((2, 3), bool)}},
        [np.ones((2, 3)), (np.zeros((2, 3, 2)), None)],
        Pair(np.ones((2, 3)), {"x": np.zeros((2, 3))}),
    ],
    ids=["array", "integers", "dictionaries", "sequences", "named tuple"],
)
def test_positions_survive_a_file(position, tmp_path):
    stats = {"lp": RNG.normal(size=(2, 3)), "diverging": np.zeros((2, 3), bool), "num_evals": np.ones((2, 3), np.int32)}
    loaded = roundtrip(made(position=position, stats=stats), tmp_path / "draws.nc")
    assert str(jax.tree.structure(loaded.position)) == str(jax.tree.structure(position))
    for read, written in zip(jax.tree.leaves(loaded.position), jax.tree.leaves(position), strict=True):
        assert read.dtype == written.dtype
        np.testing.assert_array_equal(read, written)
    for name, values in stats.items():
        np.testing.assert_array_equal(loaded.stats[name], values)
        assert loaded.stats[name].dtype == values.dtype


def test_the_record_survives_a_file(tmp_path):
    draws = made(
        raw_warmup={"theta": np.zeros((4, 2, 3)), "tau": np.zeros((4, 2))},
        warmup_stats={"lp": np.zeros((4, 2))},
        tuned={"parts.0.scale": np.eye(2)},
        seed=[1, 2**32 - 1],
        ending="interrupted",
        claim=Claim(Exactness.BIASED, "is off", order="O(h)", bias=("step size",), spaces=frozenset({Space.REAL})),
    ).transform(lambda p: p["theta"])
    loaded = roundtrip(draws, tmp_path / "draws.nc")
    for name in (
        "claim",
        "sampler",
        "description",
        "seed",
        "tune",
        "thin",
        "seconds",
        "ending",
        "versions",
        "warmup_counts",
    ):
        assert getattr(loaded, name) == getattr(draws, name), name
    np.testing.assert_array_equal(loaded.tuned["parts.0.scale"], np.eye(2))
    np.testing.assert_array_equal(loaded.warmup_position, draws.warmup_position)
    np.testing.assert_array_equal(loaded.unconstrained["tau"], draws.unconstrained["tau"])
    assert loaded.kernel is None
    assert loaded.num_evals == draws.num_evals
    assert set(loaded.versions) == {"ergodica", "jax", "jaxlib", "numpy", "python"}


def test_populations_and_weights_survive_a_file(tmp_path):
    draws = population()
    loaded = roundtrip(draws, tmp_path / "population.nc")
    np.testing.assert_array_equal(loaded.position, draws.position)
    for name in draws.stats:
        np.testing.assert_array_equal(loaded.stats[name], draws.stats[name])
    draws = weighted()
    loaded = roundtrip(draws, tmp_path / "weighted.nc")
    np.testing.assert_array_equal(loaded.weighted()[1], draws.weighted()[1])
    np.testing.assert_array_equal(loaded.weighted()[0]["tau"], draws.weighted()[0]["tau"])


def test_foreign_files_are_refused(tmp_path):
    made().to_arviz().to_netcdf(tmp_path / "foreign.nc", engine="h5netcdf")
    with pytest.raises(ValueError, match=r"was not written by Draws\.save"):
        Draws.load(tmp_path / "foreign.nc")


def test_names_are_unique():
    skeleton, arrays = naming.encode({"a.b": np.zeros(1), "a": {"b": np.ones(1)}})
    assert list(arrays) == ["a.b", "a.b_"]
    back = naming.decode(skeleton, arrays)
    np.testing.assert_array_equal(back["a"]["b"], np.ones(1))
    with pytest.raises(TypeError, match="a is a str"):
        naming.encode({"a": "text"})


def test_description_shows_values():
    assert "0.25" in describe(RandomWalk(0.25))
    assert len(describe(RandomWalk(jnp.ones(1000)))) < 500
