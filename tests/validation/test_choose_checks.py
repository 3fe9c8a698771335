"""Checks chosen for kernels that the library has never seen: wrong ones are caught, right ones pass, reasons are given.

Statistical checks fail a right kernel with probability at most 1e-6 each; all seeds are fixed.
"""

import json
import sys
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from ergodica import certify
from ergodica.samplers import random
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.kernel import DensityState, Kernel
from ergodica.validation.choose_checks import choose_checks
from ergodica.validation.fresh_cache import fresh_cache_check
from ergodica.validation.movement import movement_check
from ergodica.validation.offer import with_target
from ergodica.validation.proper_weights import mean_weight_diagnostic, proper_weights_check
from ergodica.validation.step_function import FunctionKernel
from ergodica.validation.targets.continuous import standard_normal
from ergodica.validation.targets.finite import ring4
from ergodica.validation.targets.model import normal_model

RING, NORMAL = ring4(), standard_normal(1)
KEY = jax.random.key(11)


class RingWalk(Kernel):
    """A Metropolis walk on the ring of four states, with mistakes as switches."""

    mistake: str = ""
    reversible: bool | None = True
    logdensity: Partial | None = None

    @property
    def claim(self):
        return Claim(Exactness.EXACT, "leaves the target invariant", reversible=self.reversible)

    def init(self, position, *, key=None):
        return DensityState(jnp.asarray(position), self.logdensity(position))

    def step(self, key, state):
        key_move, key_accept, key_again = random.split(key, 3)
        asymmetric = self.mistake in ("", "asymmetric proposal")

        def propose(key):
            return (state.position + jnp.where(random.bernoulli(key, 0.7 if asymmetric else 0.5), 1, -1)) % 4

        candidate = propose(key_move)
        forward = candidate == (state.position + 1) % 4
        correction = jnp.where(self.mistake == "" and forward, 3 / 7, jnp.where(self.mistake == "", 7 / 3, 1.0))
        ratio = jnp.exp(self.logdensity(candidate) - state.logdensity) * correction
        accepted = random.bernoulli(key_accept, jnp.minimum(1.0, ratio))
        stay = state.position if self.mistake != "rejection repeated" else propose(key_again)
        position = jnp.where(accepted, candidate, stay)
        kept = state.logdensity if self.mistake == "stale cache" else self.logdensity(position)
        return DensityState(position, kept), None


def failing(report):
    return {record.check.split(":")[0] for record in report.failures}


@pytest.fixture
def exact_only(monkeypatch):
    """Certify by the exact checks, which compile nothing: all that fit a budget while the clock stands still."""
    clock = types.SimpleNamespace(perf_counter=lambda: 0.0)
    monkeypatch.setattr(sys.modules["ergodica.validation.certify"], "time", clock)
    return lambda kernel: certify(kernel, RING, budget=0.9)


@pytest.mark.slow
def test_a_right_kernel_passes_and_is_told_which_checks_and_why():
    report = certify(RingWalk(), RING)
    assert report.passed, str(report)
    checks = {record.check.split(":")[0] for record in report.evidence}
    assert checks == {"exact law", "exact law, 2 steps", "rows", "stationary start", "cache"}
    assert set(report.picked) == {record.check for record in report.evidence}
    assert "12 paths of a step can be walked" in report.picked["exact law: ring4"]
    assert set(report.left_out) == {"flow balance", "movement"}
    assert "because exact draws have to stay exact draws" in str(report)
    record = json.loads(report.to_json())
    assert record["left_out"] == report.left_out
    assert "pictures" not in record["evidence"][0]


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("asymmetric proposal", "detailed balance: from state"),
        ("rejection repeated", "the law that the code leaves invariant gives state"),
    ],
)
def test_exact_checks_find_wrong_moves(exact_only, mistake, words):
    report = exact_only(RingWalk(mistake))
    assert "exact law" in failing(report)
    assert words in report.failures[0].details


def test_a_stale_cache_shows_at_the_second_step_only(exact_only):
    report = exact_only(RingWalk("stale cache"))
    assert failing(report) == {"exact law, 2 steps"}
    outcome = fresh_cache_check("ring4", RING, n=50).run(RingWalk("stale cache"), KEY)
    assert not outcome.passed
    assert outcome.false_alarm == 0
    assert "Keep the value that belongs to the position" in outcome.details


def test_a_step_out_of_the_space_and_a_key_used_twice_are_failures_in_words(exact_only):
    def outwards(key, x):
        return x + random.bernoulli(key).astype(x.dtype)

    def same_key(key, x):
        y = (x + jnp.where(random.bernoulli(key), 1, -1)) % 4
        return jnp.where(random.bernoulli(key, 0.3), y, x)

    for function, words in ((outwards, "which is not among the given states"), (same_key, "a key is consumed twice")):
        report = exact_only(function)
        assert report.failures[0].subject == function.__name__
        assert words in report.failures[0].details


def test_a_claim_of_independence_is_held_against_every_row(exact_only):
    class Forgetful(RingWalk):
        @property
        def claim(self):
            return Claim(Exactness.EXACT, "draws from the target", independent=True)

    report = exact_only(Forgetful())
    assert "claimed to forget the state, but from" in report.failures[0].details


def test_python_that_decides_on_values_is_replayed():
    def walk(key, x):
        key_move, key_accept = random.split(key)
        y = (x + 1) % 4 if random.bernoulli(key_move) else (x - 1) % 4
        ratio = jnp.exp(RING.logdensity(y) - RING.logdensity(x))
        return y if random.bernoulli(key_accept, jnp.minimum(1.0, ratio)) else x

    report = certify(FunctionKernel(walk, reversible=True), RING)
    assert report.passed, str(report)
    assert {record.check for record in report.evidence} == {"exact law: ring4", "exact law, 2 steps: ring4"}
    assert "JAX cannot trace the step" in report.left_out["stationary start"]


def test_choices_follow_what_is_offered():
    def raw(key, x):
        return (x + jnp.where(jax.random.bernoulli(key), 1, -1)) % 4

    choice = choose_checks(FunctionKernel(raw, reversible=True), RING)
    assert {check.name.split(":")[0] for check in choice.checks} == {"stationary start", "flow balance", "movement"}
    assert "jax.random was called directly" in choice.left_out["exact law"]
    real = choose_checks(RealWalk(), NORMAL)
    assert {check.name.split(":")[0] for check in real.checks} == {
        "stationary start", "flow balance", "movement", "rank", "cache",
    }  # fmt: skip
    seconds = [check.seconds for check in real.checks]
    assert seconds == sorted(seconds)
    silent = choose_checks(RealWalk(reversible=None), NORMAL)
    assert silent.left_out["rank"] == "it does not claim to be reversible"
    joint = choose_checks(RealWalk(), normal_model(1))
    assert {check.name.split(":")[0] for check in joint.checks} == {"rank", "joint distribution"}


def test_a_budget_runs_the_cheap_checks_and_lists_the_others(exact_only):
    report = exact_only(RingWalk())
    assert [record.kind for record in report.evidence] == ["exact", "exact"]
    assert set(report.skipped) == {"rows: ring4", "stationary start: ring4", "cache: ring4"}


class RealWalk(Kernel):
    """A walk on the line that multiplies or steps, with mistakes as switches."""

    mistake: str = ""
    reversible: bool | None = True
    logdensity: Partial | None = None

    @property
    def claim(self):
        return Claim(Exactness.EXACT, "leaves the target invariant", reversible=self.reversible)

    def init(self, position, *, key=None):
        return DensityState(jnp.asarray(position), self.logdensity(position))

    def step(self, key, state):
        key_move, key_accept = random.split(key)
        log_factor = random.normal(key_move, state.position.shape)
        candidate = state.position * jnp.exp(log_factor)
        jacobian = 0.0 if self.mistake == "wrong Jacobian" else jnp.sum(log_factor)
        logdensity = self.logdensity(candidate)
        accepted = random.bernoulli(key_accept, jnp.exp(jnp.minimum(0.0, logdensity - state.logdensity + jacobian)))
        if self.mistake == "still":
            accepted = False
        position = jnp.where(accepted, candidate, state.position)
        kept = jnp.where(accepted, logdensity, state.logdensity)
        return DensityState(position, state.logdensity if self.mistake == "stale cache" else kept), None


def test_a_kernel_that_stays_put_fails_the_diagnostic():
    outcome = movement_check("normal", NORMAL, bind=with_target).run(RealWalk("still"), KEY)
    assert not outcome.passed
    assert outcome.false_alarm is None


def found_by(kind, kernel, target):
    """Run the chosen check of one kind."""
    (check,) = (check for check in choose_checks(kernel, target).checks if check.name.startswith(kind))
    return check.run(kernel, KEY)


@pytest.mark.slow
def test_a_right_kernel_on_the_line_is_certified():
    report = certify(RealWalk(), NORMAL, seed=2)
    assert report.passed, str(report)
    assert len(report.evidence) == 5
    assert any(record.pictures for record in report.evidence)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mistake", "kind", "words"),
    [
        ("wrong Jacobian", "flow balance", "which should be equally likely"),
        ("stale cache", "cache", "Keep the value that belongs to the position"),
        ("stale cache", "stationary start", "smallest adjusted p-value"),
    ],
)
def test_mistakes_on_the_line_are_found(mistake, kind, words):
    outcome = found_by(kind, RealWalk(mistake), NORMAL)
    assert not outcome.passed
    assert words in outcome.details


@pytest.mark.slow
def test_the_joint_law_of_a_model_is_not_kept():
    assert not found_by("joint distribution", RealWalk("wrong Jacobian"), normal_model(1)).passed


class Info(NamedTuple):
    log_weight: jax.Array


class Weighted(Kernel):
    """Importance sampling of the standard normal law from a wider one, weights off by a factor."""

    log_error: float = 0.0
    tilt: float = 0.0
    logdensity: Partial | None = None

    @property
    def claim(self):
        return Claim(
            Exactness.BIASED,
            "weighted draws are unbiased",
            order="any",
            independent=True,
            weighted=True,
            reversible=None,
        )

    def init(self, position, *, key=None):
        return DensityState(jnp.asarray(position), self.logdensity(position))

    def step(self, key, state):
        x = 1.5 * random.normal(key, state.position.shape)
        proposal = jnp.sum(-0.5 * (x / 1.5) ** 2 - np.log(1.5 * np.sqrt(2 * np.pi)))
        log_weight = self.logdensity(x) - proposal + self.log_error + self.tilt * jnp.sum(x)
        return DensityState(x, self.logdensity(x)), Info(log_weight)


@pytest.mark.slow
def test_weights_are_held_against_the_normaliser():
    check = proper_weights_check("normal", NORMAL, n=4000, bind=with_target)
    other = mean_weight_diagnostic("normal", NORMAL, n=4000, bind=with_target)
    choice = choose_checks(Weighted(), NORMAL)
    assert {check.name.split(":")[0] for check in choice.checks} == {"weights", "mean weight"}
    assert "weighted" in choice.left_out["stationary start"]
    found = {
        kernel: (check.run(kernel, KEY).passed, other.run(kernel, KEY).passed)
        for kernel in (Weighted(), Weighted(0.2), Weighted(-0.2), Weighted(-0.02, 0.3))
    }
    assert list(found.values()) == [(True, True), (False, False), (True, False), (False, False)]


def test_refusals_say_what_to_do():
    class Remembers(RingWalk):
        @property
        def claim(self):
            return Claim(Exactness.EXACT, "remembers", memory=True)

    with pytest.raises(ValueError, match="frozen history"):
        certify(Remembers(), RING)
    with pytest.raises(ValueError, match="does not start at a position of gaussian"):
        certify(OnlyScalars(), NORMAL)
    with pytest.raises(TypeError, match=r"a function step\(key, position\) -> position; got int"):
        certify(3, RING)


class OnlyScalars(RingWalk):
    """Refuses vectors."""

    def init(self, position, *, key=None):
        raise ValueError("expected an integer")
