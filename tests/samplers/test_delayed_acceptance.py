"""Delayed acceptance: exact matrices, counts, protocol, NumPyro, bad input, and the traps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from numpyro.infer import MCMC

from ergodica.samplers import random
from ergodica.samplers.acceptance.metropolis import Barker, Metropolis
from ergodica.samplers.acceptance.staged import Staged
from ergodica.samplers.interop.numpyro import NumPyroKernel
from ergodica.samplers.metropolis.delayed_acceptance import DelayedAcceptance
from ergodica.samplers.metropolis.finite import MatrixWalk
from ergodica.samplers.metropolis.random_walk import GaussianStep
from ergodica.theory.delayed_acceptance import delayed_acceptance_matrix
from ergodica.theory.metropolis import metropolis_matrix, peskun_dominates
from ergodica.validation.cases.speculation import CASES, THREE_STATES, on_states, three_states
from ergodica.validation.exact import check_exact
from tests.traps.speculation import DELAYED_TRAPS, STAGED_TRAPS, AlwaysEvaluates

ROWS = {case.name: case for case in CASES}
KEY = jax.random.key(8)


def normal(precision, x):
    return -0.5 * sum(jnp.sum(precision * leaf**2) for leaf in jax.tree.leaves(x))


TARGET, CHEAP = Partial(normal, jnp.asarray(1.0)), Partial(normal, jnp.asarray(0.7))


@pytest.mark.parametrize(
    "check",
    [*ROWS["staged-rule"].checks, *ROWS["delayed-acceptance"].checks[:4]],
    ids=lambda check: check.name,
)
def test_exact_checks_accept(check):
    row = ROWS["staged-rule" if check in ROWS["staged-rule"].checks else "delayed-acceptance"]
    outcome = check.run(row.example(), KEY)
    assert outcome.passed, outcome.details
    assert outcome.false_alarm == 0


@pytest.mark.parametrize("trap", DELAYED_TRAPS, ids=lambda trap: trap.__name__)
def test_exact_checks_reject_the_trap(trap):
    check = ROWS["delayed-acceptance"].checks[3 if trap is AlwaysEvaluates else 2]
    assert not check.run(trap(GaussianStep(1.0), CHEAP), KEY).passed


@pytest.mark.parametrize("trap", STAGED_TRAPS, ids=lambda trap: trap.__name__)
def test_balance_rejects_the_trap(trap):
    assert not ROWS["staged-rule"].checks[0].run(trap(), KEY).passed


def test_published_matrix():
    """The published table, which the code that runs has by enumeration."""
    expected = [
        [0.9071428571428571, 0.017857142857142856, 0.075],
        [0.125, 0.8161764705882353, 0.058823529411764705],
        [0.058333333333333334, 0.006535947712418301, 0.9351307189542484],
    ]
    weights, cheap, proposal = THREE_STATES
    kernel = DelayedAcceptance(MatrixWalk(proposal), on_states(cheap))
    matrix = check_exact(kernel, three_states()).matrix
    np.testing.assert_allclose(matrix, expected, atol=1e-12)
    plain = metropolis_matrix(weights, proposal)
    np.testing.assert_allclose(plain[0], [0.6748949579831933, 0.08403361344537816, 0.24107142857142858], atol=1e-12)
    assert peskun_dominates(plain, matrix)


@pytest.mark.parametrize("seed", range(2))
def test_random_chains_with_holes_in_the_proposal(seed):
    rng = np.random.default_rng(seed)
    proposal = rng.random((3, 3)) * (rng.random((3, 3)) < 0.8) + 0.05 * np.eye(3) + 0.02
    proposal[0, 2] = 0
    proposal /= proposal.sum(axis=1, keepdims=True)
    weights, cheap = rng.random((2, 3)) + 0.05
    kernel = DelayedAcceptance(MatrixWalk(proposal), on_states(cheap), second=Barker())
    target = three_states()
    target = type(target)("random", target.states, weights / weights.sum(), on_states(weights))
    report = check_exact(kernel, target)
    assert report.outcomes["invariance"].passed
    assert report.outcomes["detailed balance"].passed
    expected = delayed_acceptance_matrix(weights, cheap, proposal, second=lambda r: r / (1 + r))
    np.testing.assert_allclose(report.matrix, expected, atol=1e-12)


@pytest.mark.slow
def test_protocol():
    dtype = jnp.float32
    kernel = DelayedAcceptance(GaussianStep(1.5), CHEAP, logdensity=TARGET)
    position = {"a": jnp.ones(2, dtype), "b": jnp.zeros((2, 1), dtype)}
    state = kernel.init(position)
    after, info = jax.jit(lambda k, key, s: k.run(key, s, 40))(kernel, KEY, state)
    assert {leaf.dtype for leaf in jax.tree.leaves((after, info.acceptance_rate))} == {jnp.dtype(dtype)}
    assert int(info.num_surrogate_evals) == 40
    assert int(info.is_accepted) <= int(info.num_evals) < 40
    np.testing.assert_allclose(after.logdensity, TARGET(after.position), rtol=1e-5)
    np.testing.assert_allclose(after.log_surrogate, CHEAP(after.position), rtol=1e-5)
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(kernel.unbound()))
    doubled = kernel.bind(Partial(normal, jnp.asarray(2.0)))
    np.testing.assert_allclose(doubled.refresh(state).logdensity, 2 * state.logdensity, rtol=1e-6)
    many = jax.tree.map(lambda leaf: jnp.stack([leaf] * 3), state)
    keys = random.split(KEY, 3)
    together, _ = jax.jit(jax.vmap(kernel.step))(keys, many)
    alone, _ = jax.jit(kernel.step)(keys[2], state)
    np.testing.assert_allclose(together.position["a"][2], alone.position["a"], rtol=1e-5)


def test_the_target_is_not_called_for_candidates_that_fail():
    """Counts calls on the host; the start's evaluation is one of them."""
    calls = []

    def counted(x):
        jax.debug.callback(lambda _: calls.append(1), x[0])
        return -0.5 * jnp.sum(x**2)

    kernel = DelayedAcceptance(GaussianStep(4.0), lambda x: -0.4 * jnp.sum(x**2), logdensity=counted)
    state = kernel.init(jnp.zeros(2))
    jax.effects_barrier()
    calls.clear()
    after, info = jax.jit(lambda k, key, s: k.run(key, s, 100))(kernel, KEY, state)
    jax.effects_barrier()
    assert len(calls) == int(info.num_evals) < 70
    assert int(info.num_surrogate_evals) == 100
    assert int(info.is_accepted) <= int(info.num_evals)
    np.testing.assert_allclose(after.logdensity, -0.5 * np.sum(after.position**2), rtol=1e-12)


@pytest.mark.slow
def test_values_that_are_none_reject():
    hole = DelayedAcceptance(
        GaussianStep(1.0), lambda x: jnp.where(x[0] > 0, jnp.nan, 0.0), logdensity=lambda x: -jnp.sum(x**2)
    )
    state, info = hole.run(KEY, hole.init(-jnp.ones(1)), 50)
    assert int(info.num_invalid) > 0
    assert state.position[0] <= 0
    assert float(Staged().probability(jnp.asarray(jnp.nan), jnp.asarray(0.0))) == 0
    accepted, rate = Staged(Metropolis(), Barker()).decide(KEY, jnp.asarray(5.0), jnp.asarray(-jnp.inf))
    assert not accepted
    assert rate == 0


@pytest.mark.slow
def test_under_numpyro():
    kernel = DelayedAcceptance(GaussianStep(1.5), CHEAP)
    mcmc = MCMC(
        NumPyroKernel(kernel, potential_fn=lambda z: 0.5 * jnp.sum(z["x"] ** 2)),
        num_warmup=50,
        num_samples=3000,
        progress_bar=False,
    )
    mcmc.run(KEY, init_params={"x": jnp.zeros(2)}, extra_fields=("info.num_evals", "accept_prob"))
    assert np.all(np.abs(mcmc.get_samples()["x"].var(axis=0) - 1) < 0.4)
    assert 0.2 < float(mcmc.get_extra_fields()["info.num_evals"].mean()) < 0.9


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DelayedAcceptance(1.0, CHEAP), TypeError, "needs a Proposal"),
        (lambda: DelayedAcceptance(GaussianStep(1.0), 3.0), TypeError, "callable"),
        (lambda: DelayedAcceptance(GaussianStep(1.0), CHEAP, "Barker"), TypeError, "decides by the ratio"),
        (lambda: DelayedAcceptance(GaussianStep(1.0), CHEAP).init(jnp.zeros(2)), ValueError, "no target"),
        (
            lambda: DelayedAcceptance(GaussianStep(1.0), lambda x: -jnp.inf, logdensity=TARGET).init(jnp.zeros(2)),
            ValueError,
            "surrogate",
        ),
        (
            lambda: DelayedAcceptance(GaussianStep(jnp.ones(3)), CHEAP, logdensity=TARGET).init(jnp.zeros(2)),
            ValueError,
            "as many entries",
        ),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()
