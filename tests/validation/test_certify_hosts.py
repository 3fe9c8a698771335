"""The evidence of the catalogue for compiled steps."""

import jax
import numpy as np
import pytest

from ergodica import certify
from ergodica.samplers.gibbs.heat_bath import HeatBath
from ergodica.samplers.lowering import kernel as kernel_module
from ergodica.samplers.lowering.kernel import OnCompiledHost
from ergodica.validation import host


@pytest.mark.slow
def test_moves_on_finite_spaces_are_compared_key_by_key():
    report = certify("heat-bath", host="numba")
    assert report.passed
    assert all(record.check.startswith("exact law") for record in report.evidence)
    assert "compiled steps" in report.evidence[0].details


def test_a_host_that_makes_other_moves_is_caught(monkeypatch):
    class Off(OnCompiledHost):
        def step(self, key, state):
            return super().step(jax.random.fold_in(key, 1), state)

    monkeypatch.setattr(kernel_module, "OnCompiledHost", Off)
    report = certify("heat-bath", host="numba")
    assert not report.passed
    assert "lead elsewhere" in report.failures[0].details


@pytest.mark.slow
def test_a_host_with_another_law_is_caught(monkeypatch):
    class Shifted(OnCompiledHost):
        def step(self, key, state):
            moved, info = super().step(key, state)
            return moved._replace(position=moved.position + 0.2), info

    monkeypatch.setattr(kernel_module, "OnCompiledHost", Shifted)
    report = certify("gibbs-gaussian", host="numba")
    assert not report.passed


@pytest.mark.slow
def test_what_makes_no_steps_is_left_out():
    report = certify("spechub", host="numba")
    assert report.evidence == ()
    assert not report.passed
    assert "not about the host" in str(report)
    with pytest.raises(ValueError, match="host is one of 'jax', 'numba'; got 'gpu'"):
        certify("heat-bath", host="gpu")


def test_steps_are_xlas_unless_asked_otherwise():
    kernel = HeatBath([0, 1])
    assert host.on_chosen_host(kernel) is kernel
    with host.steps_on("jax") as use:
        assert host.on_chosen_host(kernel) is kernel
    assert use.happened
    with host.steps_on("numba"):
        assert isinstance(host.on_chosen_host(kernel), OnCompiledHost)
        assert host.on_chosen_host(np.ones(2)).shape == (2,)


@pytest.mark.slow
@pytest.mark.catalogue
@pytest.mark.parametrize(
    "name",
    ["hit-and-run-slice", "corrected", "independence-metropolis", "ising-random", "self-repellent", "admm", "tempered"],
)
def test_kernels_pass_on_compiled_steps(name):
    """The chance that any fails is stated by each report, 1e-6 a check."""
    report = certify(name, host="numba", seed=3)
    assert report.passed, str(report)
