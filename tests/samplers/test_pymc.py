"""PyMC models as densities."""

import builtins

import jax
import numpy as np
import pytest

import ergodica
from ergodica.samplers.interop.pymc import from_pymc

Y = np.array([28.0, 8, -3, 7, -1, 1, 18, 12])
SIGMA = np.array([15.0, 10, 16, 11, 9, 11, 10, 18])


@pytest.fixture(scope="module")
def pm():
    return pytest.importorskip("pymc")


@pytest.fixture(scope="module")
def schools(pm):
    with pm.Model() as model:
        mu = pm.Normal("mu", 0, 5)
        tau = pm.HalfCauchy("tau", 5)
        z = pm.Normal("z", 0, 1, shape=8)
        theta = pm.Deterministic("theta", mu + tau * z)
        pm.Normal("y", theta, SIGMA, observed=Y)
    return model


def test_the_density_is_that_of_pymc(schools):
    target = from_pymc(schools)
    logp = schools.compile_logp()
    for seed in range(3):
        position = target.start(jax.random.key(seed))
        assert set(position) == {"mu", "tau_log__", "z"}
        expected = logp({name: np.asarray(value) for name, value in position.items()})
        np.testing.assert_allclose(target.logdensity(position), expected, rtol=1e-12)
        values = target.constrain(position)
        np.testing.assert_allclose(values["tau"], np.exp(position["tau_log__"]))
        np.testing.assert_allclose(values["theta"], values["mu"] + values["tau"] * values["z"])


def test_it_is_sampled_on_both_hosts(schools):
    target = from_pymc(schools)
    kernel = ergodica.HitAndRunSlice(1.0, logdensity=target.logdensity)
    options = {"draws": 30, "tune": 0, "chains": 2, "progress": False}
    one, other = (ergodica.sample(kernel, target.start, host=host, **options) for host in ("jax", "numba"))
    for name in one.position:
        np.testing.assert_allclose(one.position[name], other.position[name], rtol=1e-8)
    assert (one.transform(target.constrain).position["tau"] > 0).all()


def test_bad_input(pm):
    with pytest.raises(TypeError, match=r"expected a pymc.Model; got function"):
        from_pymc(lambda: None)
    with pm.Model() as empty:
        pass
    with pytest.raises(ValueError, match="no free variables"):
        from_pymc(empty)
    with pm.Model() as discrete:
        pm.Poisson("counts", 3.0)
    with pytest.raises(TypeError, match="counts are discrete"):
        from_pymc(discrete)


def test_without_pymc(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pymc"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"pip install 'ergodica\[pymc\]'"):
        from_pymc(None)
