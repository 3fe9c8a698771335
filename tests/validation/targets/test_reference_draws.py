"""Reference draws: every format gives the same draws; what is no data is refused, and nothing is executed."""

import json
import pickle
import zipfile

import arviz_base
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr

from ergodica.validation.targets.reference_draws import ReferenceDraws, load_reference_draws

DRAWS = np.random.default_rng(11).normal(size=(2, 50, 3))
NAMES = ("mu", "theta[1]", "theta[2]")


@pytest.fixture
def files(tmp_path):
    mu, theta = DRAWS[:, :, 0], DRAWS[:, :, 1:]
    np.savez(tmp_path / "draws.npz", mu=mu, theta=theta)
    chains = [{name: DRAWS[c, :, i].tolist() for i, name in enumerate(NAMES)} for c in range(2)]
    (tmp_path / "draws.json").write_text(json.dumps(chains))
    with zipfile.ZipFile(tmp_path / "draws.json.zip", "w") as archive:
        archive.writestr("draws.json", json.dumps(chains))
    rows = ["# made by hand", "lp__,chain,mu,theta[1],theta[2]"]
    rows += [f"0,{c},{','.join(map(repr, map(float, DRAWS[c, k])))}" for c in range(2) for k in range(50)]
    (tmp_path / "draws.csv").write_text("\n".join(rows))
    xr.Dataset({"mu": (("chain", "draw"), mu), "theta": (("draw", "chain", "j"), theta.swapaxes(0, 1))}).to_netcdf(
        tmp_path / "plain.nc", engine="h5netcdf"
    )
    arviz_base.from_dict({"posterior": {"mu": mu, "theta": theta}}).to_netcdf(tmp_path / "arviz.nc", engine="h5netcdf")
    return tmp_path


def test_all_formats_agree(files):
    for name in ("draws.npz", "draws.json", "draws.json.zip", "draws.csv", "plain.nc", "arviz.nc"):
        loaded = load_reference_draws(files / name)
        assert loaded.names == NAMES, name
        assert np.array_equal(loaded.draws, DRAWS), name
        assert loaded.source == name
    chosen = load_reference_draws(str(files / "draws.csv"), ["theta[2]", "mu"])
    assert np.array_equal(chosen.draws, DRAWS[:, :, [2, 0]])


def test_summaries(files):
    loaded = load_reference_draws(files / "draws.npz")
    flat = DRAWS.reshape(-1, 3)
    assert loaded.mean() == pytest.approx(flat.mean(axis=0))
    assert loaded.variance() == pytest.approx(flat.var(axis=0, ddof=1))
    assert loaded.quantile([0.1, 0.5]) == pytest.approx(np.quantile(flat, [0.1, 0.5], axis=0))
    error = np.sqrt(flat.var(axis=0) / 100)
    assert np.all((0.5 * error < loaded.standard_error()) & (loaded.standard_error() < 2 * error))
    assert np.all(loaded.r_hat() < 1.2)
    stuck = ReferenceDraws(("x",), DRAWS[:, :, :1] + np.array([0.0, 9.0])[:, None, None])
    assert stuck.r_hat()[0] > 1.5
    target = loaded.target("toy", lambda x: -jnp.sum(x**2) / 2)
    assert target.logdensity(jnp.ones(3)) == -1.5
    assert target.expectation("theta[1]").value == pytest.approx(flat[:, 1].mean())
    assert target.expectation("theta[1]").function(jnp.arange(3.0)) == 1
    assert target.expectation("mu").standard_error > 0


class _Evil:
    def __reduce__(self):
        return (exec, ("raise SystemExit('executed')",))


def test_what_is_no_data_is_refused(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_reference_draws(tmp_path / "missing.csv")
    np.savez(tmp_path / "evil.npz", x=np.array([_Evil()], dtype=object))
    np.savez(tmp_path / "flat.npz", x=np.zeros(9))
    np.savez(tmp_path / "short.npz", x=np.zeros((1, 3)))
    np.savez(tmp_path / "uneven.npz", x=np.zeros((2, 5)), y=np.zeros((2, 6)))
    np.savez(tmp_path / "words.npz", x=np.full((2, 5), "a"))
    np.savez(tmp_path / "nan.npz", x=np.full((2, 5), np.nan))
    xr.Dataset({"x": (("time",), np.zeros(5))}).to_netcdf(tmp_path / "time.nc", engine="h5netcdf")
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.json", "[]")
        archive.writestr("b.json", "[]")
    cases = [
        (write("evil.pkl", pickle.dumps(_Evil())), "draws are read from"),
        (tmp_path / "evil.npz", "never loaded"),
        (write("evil2.npz", pickle.dumps(_Evil())), "never loaded|no NPZ"),
        (tmp_path / "flat.npz", "shape"),
        (tmp_path / "short.npz", "at least four"),
        (tmp_path / "uneven.npz", "alike for all"),
        (tmp_path / "words.npz", "expected numbers"),
        (tmp_path / "nan.npz", "NaN or inf"),
        (tmp_path / "time.nc", "dimensions chain and draw"),
        (tmp_path / "two.zip", "one JSON file"),
        (write("broken.zip", "PK nothing"), "no ZIP"),
        (write("broken.nc", "CDF nothing at all"), "no NetCDF"),
        (write("broken.json", "[{"), "no JSON"),
        (write("object.json", '{"a": [1, 2]}'), "list of chains"),
        (write("other.json", '[{"a": [1, 2]}, {"b": [1, 2]}]'), "other parameters"),
        (write("ragged.json", '[{"a": [1, 2, 3, 4]}, {"a": [1]}]'), "ragged"),
        (write("empty.csv", ""), "no table"),
        (write("header.csv", "a,b\n"), "expected numbers"),
        (write("words.csv", "a\n1\n2\nx\n4\n"), "expected numbers"),
        (write("hole.csv", "a,b\n1,2\n3,4\n5,\n6,7\n"), "NaN or inf"),
        (write("only.csv", "lp__\n1\n2\n3\n4\n"), "holds no draws"),
        (write("uneven.csv", "chain,a\n1,1\n1,2\n2,1\n"), r"have \[2, 1\] draws"),
    ]
    for path, message in cases:
        with pytest.raises(ValueError, match=message):
            load_reference_draws(path)
    write("good.csv", "a\n1\n2\n3\n4\n")
    with pytest.raises(ValueError, match=r"no reference draws of \['b'\]"):
        load_reference_draws(tmp_path / "good.csv", ["b"])
    with pytest.raises(ValueError, match="distinct"):
        ReferenceDraws(("a", "a"), np.zeros((1, 5, 2)))
