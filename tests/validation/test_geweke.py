"""Geweke's joint distribution test: golden scores of the diagnostic, controls of the evidence."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from ergodica.validation.evidence import run_check
from ergodica.validation.geweke import geweke_check, geweke_scores
from ergodica.validation.targets.model import bind_data, heavy_tail_model, normal_model, square_model
from tests.traps.evidence import Broken, Metropolis

NORMAL = normal_model(1)
HALVED = dataclasses.replace(
    NORMAL, logjoint=lambda theta, y: -0.5 * jnp.sum((y - theta) ** 2) - 0.25 * jnp.sum(theta**2)
)
STATISTICS = {
    "theta": lambda theta, y: theta[0],
    "theta^2": lambda theta, y: theta[0] ** 2,
    "theta * mean y": lambda theta, y: theta[0] * jnp.mean(y),
    "mean y ^2": lambda theta, y: jnp.mean(y) ** 2,
}


def halved_precision(kernel, model, y):
    return kernel.bind(HALVED.logposterior(y))


@pytest.mark.slow
def test_golden_scores():
    # Golden, three data, 20000 draws, a kernel that mixes in a step: |z| < 2 if right, about (0.3, -18, -17, -15) with
    # half the prior precision. A score is near normal: |z| < 5.5 has a false alarm of about 4e-8 each.
    right = geweke_scores(NORMAL, Metropolis(), jax.random.key(3), statistics=STATISTICS, steps=6)
    assert max(abs(z) for z in right.values()) < 5.5
    wrong = geweke_scores(
        NORMAL, Metropolis(), jax.random.key(3), statistics=STATISTICS, steps=6, bind=halved_precision
    )
    assert abs(wrong["theta"]) < 5.5
    assert list(wrong.values())[1:] == pytest.approx([-18, -17, -15], abs=6)


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        pytest.param(NORMAL, id="normal"),
        pytest.param(square_model(2), id="square", marks=pytest.mark.slow),
        pytest.param(heavy_tail_model(2), id="heavy tail", marks=pytest.mark.slow),
    ],
)
def test_right_kernel_passes(model):
    # False alarm 1e-6 a model, proven.
    outcome = run_check(geweke_check(model.name, model), Metropolis(), name="right", key=jax.random.key(1))
    assert outcome.passed
    assert outcome.false_alarm == 1e-6
    assert outcome.bound == pytest.approx(13.8155, rel=1e-5)


@pytest.mark.slow
def test_wrong_kernels_fail():
    halved = geweke_check("halved prior precision", NORMAL, bind=halved_precision)
    outcome = run_check(halved, Metropolis(), name="halved", key=jax.random.key(1))
    assert not outcome.passed
    assert "theta^2" in outcome.details


@pytest.mark.slow
def test_repeat_until_accepted_fails():
    square = geweke_check("square", square_model(2), length=50)
    assert not run_check(square, Metropolis(tries=20), name="repeats", key=jax.random.key(1)).passed


def test_nan_is_a_hard_failure():
    check = geweke_check("n", NORMAL, chains=10, length=2)
    assert not run_check(check, Broken(), name="broken", key=jax.random.key(1)).passed


@pytest.mark.slow
def test_not_reversible_is_fine():
    check = geweke_check("n", NORMAL, chains=200, bind=bind_data)
    assert run_check(check, Metropolis(reversible=False), name="right", key=jax.random.key(1)).passed


def test_bad_input():
    with pytest.raises(ValueError, match="chains"):
        geweke_check("n", NORMAL, chains=1)
    with pytest.raises(ValueError, match="length"):
        geweke_check("n", NORMAL, length=0)
