"""Drafts from laws with densities: exact laws, identities, edges, chains, bad input, and the traps."""

import functools

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from hypothesis import given, settings
from scipy import stats

from ergodica.samplers import random
from ergodica.samplers.acceptance.continuous.density_draft import DensityDraft
from ergodica.samplers.acceptance.continuous.gaussian_drafts import (
    RecursiveGaussianDrafts,
    SequentialGaussianDrafts,
    hockey_stick,
    residual_draw,
)
from ergodica.samplers.acceptance.continuous.latent_autoregressive import (
    DenoisingChain,
    DenoisingChainDraft,
    LastTransitionDraft,
)
from ergodica.samplers.acceptance.continuous.reflection import GaussianReflection
from ergodica.samplers.claim import Exactness
from ergodica.theory import gaussian_drafts
from ergodica.validation.cases.speculation import CASES
from tests.traps.speculation import CHAIN_TRAPS, DENSITY_TRAPS, GAUSSIAN_TRAPS, REFLECTION_TRAPS, NormalisesFirst

KEY = jax.random.key(4)
ROWS = {case.name: case for case in CASES}
KINDS = (
    "density-draft",
    "gaussian-reflection",
    "recursive-gaussian-drafts",
    "sequential-gaussian-drafts",
    "denoising-chain-draft",
    "last-transition-draft",
)
TRAPS = (*DENSITY_TRAPS, *REFLECTION_TRAPS, *GAUSSIAN_TRAPS, *CHAIN_TRAPS)
EXACT = (*DENSITY_TRAPS, *(trap for trap in REFLECTION_TRAPS if trap is not NormalisesFirst))


def row_of(trap):
    return next(case for case in CASES if case.subject in trap.__mro__)


@pytest.mark.parametrize("name", KINDS[:2])
def test_enumeration_accepts_the_rule(name):
    outcome = ROWS[name].checks[0].run(ROWS[name].example(), KEY)
    assert outcome.passed, outcome.details
    assert outcome.false_alarm == 0


@pytest.mark.parametrize("trap", EXACT, ids=lambda trap: trap.__name__)
def test_enumeration_rejects_the_trap(trap):
    assert not row_of(trap).checks[0].run(trap(), KEY).passed


@pytest.mark.slow
@pytest.mark.parametrize("trap", [trap for trap in TRAPS if trap not in EXACT], ids=lambda trap: trap.__name__)
def test_statistics_reject_the_trap(trap):
    assert not row_of(trap).checks[-1].run(trap(), KEY).passed


# --- reflection ------------------------------------------------------------------------------------------------------

REFLECT = jax.jit(GaussianReflection().draw)
NUMBERS = st.floats(-4, 4).map(lambda number: round(number, 3))


@settings(max_examples=40)
@given(st.tuples(*[NUMBERS] * 6), st.integers(0, 2**32 - 1))
def test_reflection_keeps_the_distance_across(numbers, seed):
    """Emitted values mirror the draft at the plane between the means; equal means accept surely."""
    draft, target_mean, draft_mean = np.array(numbers).reshape(3, 2)
    decision = REFLECT(jax.random.key(seed), draft, target_mean, draft_mean, 0.5)
    assert decision.is_valid
    if decision.is_accepted:
        assert decision.draft_index == 0
        np.testing.assert_array_equal(decision.value, draft)
    else:
        assert not np.array_equal(target_mean, draft_mean)
        z = draft_mean - target_mean
        unit = z / np.linalg.norm(z)
        e = (draft - draft_mean) / 0.5
        np.testing.assert_allclose(decision.value, target_mean + 0.5 * (e - 2 * (unit @ e) * unit), atol=1e-9)


@pytest.mark.slow
def test_factors_of_all_kinds_agree():
    rule, arguments = GaussianReflection(), (jnp.array([1.0, 2.0]), jnp.array([-1.0, 0.5]), jnp.array([0.3, 1.1]))
    values = [REFLECT(KEY, *arguments, factor).value for factor in (0.7, 0.7 * jnp.eye(2))]
    np.testing.assert_allclose(values[1], values[0], atol=1e-14)
    single = REFLECT(KEY, *(part.astype(jnp.float32) for part in arguments), jnp.float32(0.7))
    assert single.value.dtype == jnp.float32
    rate = rule.acceptance(arguments[1], arguments[2], 0.7)
    assert float(rate) == pytest.approx(2 * stats.norm.cdf(-np.hypot(1.3, 0.6) / 1.4), abs=1e-12)


def test_means_beyond_reach_and_numbers_that_are_none():
    far = REFLECT(KEY, jnp.zeros(2), jnp.full(2, 1e6), jnp.zeros(2), 0.5)
    assert not far.is_accepted
    assert np.all(np.isfinite(far.value))
    nan = REFLECT(KEY, jnp.full(2, jnp.nan), jnp.zeros(2), jnp.zeros(2), 0.5)
    assert not nan.is_valid
    assert np.all(np.isnan(nan.value))


def test_a_path_ends_with_the_first_rejection():
    rule, near, far = GaussianReflection(), jnp.zeros((3, 1)), jnp.array([[0.0], [60.0], [0.0]])
    verify = jax.jit(rule.verify)
    path, tau, made = verify(KEY, near, far, near, jnp.ones(3))
    assert (int(tau), int(made)) == (1, 2)
    assert path[0, 0] == 0
    assert path[1, 0] == 60
    assert np.isnan(path[2, 0])
    assert tuple(map(int, verify(KEY, near, near, near, jnp.ones(3))[1:])) == (3, 3)


# --- several drafts --------------------------------------------------------------------------------------------------


RESIDUAL = jax.jit(residual_draw)


@pytest.mark.parametrize(("factor", "distance"), [(1.0, 0.4), (1.7, 1.0), (1.0, 3.0)])
def test_residual_inverts_the_upper_tail(factor, distance):
    for u in (0.0, 0.3, 0.999):
        s = float(RESIDUAL(u, factor, distance))
        tail = stats.norm.sf(s - distance) - factor * stats.norm.sf(s)
        assert tail == pytest.approx((1 - u) * float(gaussian_drafts.hockey_stick(factor, distance)), abs=1e-12)


def test_masses_and_factors_are_those_of_theory():
    solve = jax.jit(lambda distance: SequentialGaussianDrafts().factor(distance, 4))
    for distance in (0.05, 0.75, 4.0):
        for factor in (0.0, 0.5, 2.0):
            value = float(hockey_stick(jnp.asarray(factor), jnp.asarray(distance)))
            assert value == pytest.approx(float(gaussian_drafts.hockey_stick(factor, distance)), abs=1e-14)
        rho = float(solve(distance))
        assert rho == pytest.approx(gaussian_drafts.sequential_factor(distance, 4), abs=1e-9)


@pytest.mark.slow
def test_recursive_tests_accept_as_theory_says():
    """Two drafts on a grid of quantiles: the average of the tests' outcome is the closed form up to the grid."""
    quantiles = stats.norm.ppf((np.arange(40) + 0.5) / 40)
    first, second = (jnp.asarray(grid.ravel()) for grid in np.meshgrid(quantiles, quantiles))
    keys = random.split(KEY, first.size)
    examine = jax.jit(jax.vmap(RecursiveGaussianDrafts().examine, (0, 0, None)))
    verdict = examine(keys, jnp.stack([first, second], axis=1), jnp.asarray(0.75))
    rate = float(jnp.mean(jnp.any(verdict.is_accepted, axis=1)))
    # 1600 independent tests, conditionally on the grid: Hoeffding's bound at 1e-6 is 0.067.
    assert abs(rate - gaussian_drafts.recursive_acceptance(0.75, 2)) < 0.067 + 0.01
    np.testing.assert_allclose(verdict.factor, 1 + gaussian_drafts.hockey_stick(1.0, 0.75), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("rule", [SequentialGaussianDrafts()])
def test_equal_means_take_the_first_draft(rule):
    drafts = jnp.array([[3.0, 1.0], [0.0, 0.0]])
    decision = jax.jit(rule.draw)(KEY, drafts, jnp.ones(2), jnp.ones(2), 1.0)
    assert decision.is_accepted
    assert decision.draft_index == 0
    np.testing.assert_array_equal(decision.value, drafts[0])


# --- densities and chains --------------------------------------------------------------------------------------------


def test_distributions_of_numpyro_are_laws():
    rule, law = DensityDraft(), dist.Normal(0.0, 1.0)
    same = jax.jit(lambda x: rule.draw(KEY, x, law, law))(0.3)
    assert same.is_accepted
    assert int(same.num_draws) == 0
    disjoint = jax.jit(lambda x: rule.draw(KEY, x, dist.Uniform(0.0, 1.0), dist.Uniform(2.0, 3.0)))(2.5)
    assert not disjoint.is_accepted
    assert int(disjoint.num_draws) == 1
    assert 0 <= disjoint.value <= 1
    assert rule.cost(0.25).mean == 1
    assert rule.cost(0.25).variance == pytest.approx(6)


def test_an_empty_residual_runs_out_of_draws_and_says_so():
    """The draft's density is twice too large everywhere: half of the drafts are rejected, and nothing is missing."""

    class Doubled(dist.Normal):
        def log_prob(self, value):
            return super().log_prob(value) + jnp.log(2.0)

    rule = DensityDraft(max_draws=5)
    draw = jax.jit(lambda key: rule.draw(key, jnp.asarray(0.1), dist.Normal(), Doubled()))
    outcomes = [draw(key) for key in random.split(KEY, 20)]
    lost = [outcome for outcome in outcomes if not outcome.is_accepted]
    assert lost
    assert all(np.isnan(outcome.value) and not outcome.is_valid and outcome.num_draws == 5 for outcome in lost)


@pytest.mark.slow
def test_the_last_transition_alone_is_not_exact():
    """Chains that differ before the last step: the mean is 0.3 instead of 1.3, by ten standard errors and more."""
    mean = functools.partial(lambda shift, step, x: x + shift * (step == 0))
    target, draft = (DenoisingChain(functools.partial(mean, shift), [1.0, 0.5]) for shift in (1.3, 0.3))
    draw = jax.jit(jax.vmap(lambda key: LastTransitionDraft().draw(key, target, draft, jnp.zeros(1)).value))
    average = float(jnp.mean(draw(random.split(KEY, 4000))))
    assert abs(average - 0.3) < 0.15
    assert LastTransitionDraft().claim.exactness is Exactness.HEURISTIC


# --- bad input -------------------------------------------------------------------------------------------------------

TWO, ONE = jnp.zeros(2), jnp.ones(())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: DensityDraft(0.0), ValueError, "greater than 0"),
        (lambda: DensityDraft(1.5), ValueError, "probability"),
        (lambda: DensityDraft(max_draws=0), ValueError, "at least 1"),
        (lambda: DensityDraft().draw(KEY, TWO, dist.Normal(), dist.Normal()), TypeError, "scalar"),
        (lambda: GaussianReflection().draw(KEY, TWO, TWO, jnp.zeros(3), ONE), ValueError, "means of shape"),
        (lambda: GaussianReflection().draw(KEY, TWO, TWO, TWO, -ONE), ValueError, "greater than 0"),
        (lambda: GaussianReflection().draw(KEY, TWO, TWO, TWO, jnp.ones(3)), ValueError, "standard deviations"),
        (lambda: GaussianReflection().draw(KEY, TWO, TWO, TWO, jnp.ones((2, 2))), ValueError, "cholesky"),
        (lambda: GaussianReflection().verify(KEY, TWO, TWO, TWO, ONE), ValueError, r"shape \(g, d\)"),
        (lambda: RecursiveGaussianDrafts().draw(KEY, TWO, TWO, TWO, ONE), ValueError, r"shape \(k, d\)"),
        (lambda: DenoisingChain(1.0, [1.0]), TypeError, "function of the step"),
        (lambda: DenoisingChain(lambda t, x: x, [1.0, 0.0]), ValueError, "greater than 0"),
        (lambda: DenoisingChainDraft(0), ValueError, "at least 1"),
        (
            lambda: DenoisingChainDraft().draw(
                KEY, DenoisingChain(lambda t, x: x, [1.0]), DenoisingChain(lambda t, x: x, [2.0]), TWO
            ),
            ValueError,
            "same scales",
        ),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
