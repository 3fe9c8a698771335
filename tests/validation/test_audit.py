"""Audits of draws: what is alarming, what is not, and files of every kind."""

import json

import arviz_base
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
from typer.testing import CliRunner

import ergodica
from ergodica import cli
from ergodica.validation.audit import audit
from ergodica.validation.draws_file import read_draws


def good(chains=4, count=1000):
    return np.random.default_rng(0).normal(size=(chains, count))


def test_good_draws_raise_no_alarm():
    found = audit({"a": good(), "b": good(4, 1000)[..., None] * np.array([1.0, -2.0])})
    assert found.alarms == ()
    assert list(found.table.index) == ["a", "b[0]", "b[1]"]
    assert list(found.table.columns) == ["mean", "sd", "mcse_mean", "ess_bulk", "ess_tail", "r_hat"]


def broken(change, count=1000):
    values = good(4, count)
    change(values)
    return {"a": values, "b": good(4, count)}


def assign(index, value):
    def change(values):
        values[index] = value

    return change


@pytest.mark.parametrize(
    ("draws", "words"),
    [
        (broken(assign((0, 3), np.nan)), "a has 1 values that are not finite"),
        (broken(assign(slice(None), 2.0)), "constant: a"),
        ({"a": np.concatenate([good(3), np.full((1, 1000), 0.3)])}, "chain 3 repeats the draw before in 100 %"),
        ({"a": good(3)[[0, 1, 0]]}, "chains 0 and 2 are equal"),
        ({"a": good() + 0.5 * np.arange(4)[:, None]}, "R-hat is above 1.01"),
        ({"a": np.cumsum(good(), axis=1)}, "fewer than 100 effective draws a chain in the bulk"),
        (
            {"x": good()[..., None] + np.array([[0.0], [9.0], [0.0], [9.0]])[:, None]},
            "in x[0], chains [0, 2] are near",
        ),
        ({"a": good(1)}, "there is one chain"),
        ({"a": good(4, 40)}, "in the tails"),
    ],
)
def test_alarms(draws, words):
    alarms = audit(draws).alarms
    assert any(words in alarm for alarm in alarms), alarms


def test_all_values_wrong_is_an_alarm_and_no_crash():
    found = audit({"a": np.full((2, 10), np.inf)})
    assert found.alarms == ("a has 20 values that are not finite",)
    assert len(found.table) == 0
    with pytest.raises(ValueError, match="at least four draws of each chain; got 3"):
        audit({"a": good(2, 3)})


# --- files ------------------------------------------------------------------------------------------------------------


def write_csv(path, values, *, names=("chain", "draw"), extra=True):
    chain, draw = np.indices(values.shape)
    columns = {names[0]: chain.ravel(), names[1]: draw.ravel(), "a": values.ravel()}
    if extra:
        columns["lp__"] = np.zeros(values.size)
    path.write_text("# made elsewhere\n" + pandas.DataFrame(columns).sample(frac=1, random_state=0).to_csv(index=False))


@pytest.mark.parametrize("names", [("chain", "draw"), (".chain", ".iteration")])
def test_csv(tmp_path, names):
    write_csv(tmp_path / "d.csv", good(3, 20), names=names)
    draws = read_draws(tmp_path / "d.csv")
    assert list(draws) == ["a"]
    np.testing.assert_allclose(draws["a"], good(3, 20))


def test_one_chain_of_csv_without_columns_for_it(tmp_path):
    (tmp_path / "d.csv").write_text("a,b\n1,2\n3,4\n")
    assert {name: values.shape for name, values in read_draws(tmp_path / "d.csv").items()} == {"a": (1, 2), "b": (1, 2)}


def test_netcdf_npz_and_folders(tmp_path):
    values = {"a": good(2, 30), "b": good(2, 60).reshape(2, 30, 2)}
    arviz_base.from_dict({"posterior": values}).to_netcdf(tmp_path / "d.nc", engine="h5netcdf")
    np.savez(tmp_path / "d.npz", **values)
    for file in ("d.nc", "d.npz"):
        found = read_draws(tmp_path / file)
        assert set(found) == {"a", "b"}
        for name in found:
            np.testing.assert_array_equal(found[name], values[name])
    kernel = ergodica.RandomWalk(1.0, logdensity=lambda x: -0.5 * jnp.sum(x**2))
    options = {"draws": 8, "tune": 0, "chains": 2, "progress": False}
    draws = ergodica.sample(kernel, jnp.ones(2), store=tmp_path / "run", **options)
    np.testing.assert_array_equal(read_draws(tmp_path / "run")["x"], np.asarray(draws.position))
    draws.save(tmp_path / "saved.nc")
    np.testing.assert_array_equal(read_draws(tmp_path / "saved.nc")["x"], np.asarray(draws.position))


@pytest.mark.parametrize(
    ("name", "content", "error", "message"),
    [
        ("d.txt", "1", ValueError, "draws are read from files .nc, .csv, .npz, .json, .zip and folders"),
        ("d.csv", "chain,a\n0,1\n0,2\n1,3\n", ValueError, r"the chains have \[2, 1\] draws"),
        ("d.csv", "a\nx\ny\n", ValueError, "expected numbers"),
        ("d.csv", "lp__\n1\n", ValueError, "holds no draws"),
    ],
)
def test_unreadable_files(tmp_path, name, content, error, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(error, match=message):
        read_draws(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        read_draws(tmp_path / "missing.nc")


def test_shapes_have_to_agree_and_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "d.npz", a=np.zeros((2, 3)), b=np.zeros((2, 4)))
    with pytest.raises(ValueError, match="b has shape"):
        read_draws(tmp_path / "d.npz")
    np.savez(tmp_path / "e.npz", a=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(ValueError, match="never loaded"):
        read_draws(tmp_path / "e.npz")


def test_command_line(tmp_path):
    np.savez(tmp_path / "good.npz", a=good())
    np.savez(tmp_path / "bad.npz", a=good() + np.arange(4)[:, None] * 9)
    run = CliRunner()
    result = run.invoke(cli.app, ["audit", str(tmp_path / "good.npz"), "--json", str(tmp_path / "out.json")])
    assert result.exit_code == 0, result.output
    assert "Nothing alarming" in result.output
    record = json.loads((tmp_path / "out.json").read_text())
    assert record["alarms"] == []
    assert record["summary"]["a"]["r_hat"] < 1.01
    result = run.invoke(cli.app, ["audit", str(tmp_path / "bad.npz")])
    assert result.exit_code == 1
    assert "chains sit in different modes" in " ".join(result.output.split())
    result = run.invoke(cli.app, ["audit", str(tmp_path / "none.npz")])
    assert result.exit_code == 2
    assert "there is no file" in " ".join(result.stderr.split())
