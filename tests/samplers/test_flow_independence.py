"""Flow proposals: certificate, protocol, training while sampling, bad input, and the traps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flowjax.distributions import Normal, StandardNormal
from flowjax.flows import coupling_flow
from jax.tree_util import Partial

from ergodica.samplers import random
from ergodica.samplers.acceptance.metropolis import Barker
from ergodica.samplers.acceptance.weights import HeavyWeightsWarning
from ergodica.samplers.claim import Exactness
from ergodica.samplers.flows.independence import FlowIndependence
from ergodica.samplers.flows.training import train_while_sampling
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.theory.independence import gaussian_acceptance
from ergodica.validation.cases.flows import CASES, affine_flow, perturbed_flow
from ergodica.validation.certify import certify
from tests.traps.flows import TRAPS, StaleFlowDensity, WithoutLogDeterminant

ROW = CASES[0]
FLOW = perturbed_flow()


def normal(scale, x):
    return -0.5 * sum(jnp.sum((leaf / scale) ** 2) for leaf in jax.tree.leaves(x))


STANDARD = Partial(normal, jnp.asarray(1.0))


@pytest.mark.slow
@pytest.mark.catalogue
def test_the_catalogue_certifies_it():
    report = certify("flow-independence")
    assert report.passed, str(report)


@pytest.mark.slow
def test_another_rule_and_dimension_pass_too():
    kernel = FlowIndependence(perturbed_flow(3, seed=5), Barker())
    for check in (*ROW.checks[:2], ROW.checks[3]):
        outcome = check.run(kernel, jax.random.key(1))
        assert outcome.passed, outcome.details


@pytest.mark.slow
@pytest.mark.parametrize("trap", TRAPS)
def test_the_checks_catch_a_wrong_kernel(trap):
    assert not all(check.run(trap(FLOW), jax.random.key(0)).passed for check in ROW.checks)


@pytest.mark.slow
def test_a_missing_log_determinant_is_seen_exactly():
    jacobian = ROW.checks[3]
    assert jacobian.run(FlowIndependence(FLOW), jax.random.key(0)).passed
    assert not jacobian.run(WithoutLogDeterminant(FLOW), jax.random.key(0)).passed


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.slow
def test_protocol(dtype, getkey):
    kernel = FlowIndependence(FLOW, logdensity=STANDARD)
    state = kernel.init(jnp.ones(2, dtype))
    key = getkey()
    run = jax.jit(lambda k, key, s: k.run(key, s, 100))
    after, info = run(kernel, key, state)
    again, _ = run(kernel, key, state)
    np.testing.assert_array_equal(after.position, again.position)
    assert {leaf.dtype for leaf in (*after, info.acceptance_rate)} == {jnp.dtype(dtype)}
    assert info.is_accepted > 0
    # Each cached density is that of the position as it is, after rounding.
    for ours, fresh in zip(after, kernel.refresh(after), strict=True):
        np.testing.assert_allclose(ours, fresh, rtol=20 * jnp.finfo(dtype).eps)
    keys = random.split(key, 3)
    together, _ = jax.vmap(kernel.step)(keys, jax.vmap(kernel.init)(jnp.ones((3, 2), dtype)))
    np.testing.assert_allclose(together.position[1], kernel.step(keys[1], state)[0].position, rtol=1e-5)
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(kernel.unbound()))
    wider = kernel.bind(Partial(normal, jnp.asarray(2.0)))
    np.testing.assert_allclose(wider.refresh(state).logdensity, state.logdensity / 4, rtol=1e-6)
    with pytest.raises(ValueError, match="no target"):
        kernel.unbound().step(key, state)


def test_a_stale_density_shows_in_the_state(getkey):
    kernel = StaleFlowDensity(FLOW, logdensity=STANDARD)
    state, info = kernel.run(getkey(), kernel.init(jnp.ones(2)), 10)
    assert info.is_accepted > 0
    assert abs(state.log_proposal - kernel.refresh(state).log_proposal) > 1e-3


def test_positions_of_several_leaves(getkey):
    kernel = FlowIndependence(affine_flow(3, 1.2), logdensity=STANDARD)
    state, info = kernel.run(getkey(), kernel.init({"a": jnp.zeros(2), "b": jnp.zeros((1, 1))}), 20)
    assert info.is_accepted > 0
    assert state.position["b"].shape == (1, 1)


def test_a_single_precision_flow_serves_double_precision_positions(getkey):
    single = jax.tree.map(lambda leaf: leaf.astype(jnp.float32) if eqx.is_inexact_array(leaf) else leaf, FLOW)
    kernel = FlowIndependence(single, logdensity=STANDARD)
    state, info = kernel.run(getkey(), kernel.init(jnp.ones(2)), 10)
    assert state.position.dtype == state.log_proposal.dtype == jnp.float64
    assert info.is_accepted > 0
    np.testing.assert_allclose(state.log_proposal, kernel.refresh(state).log_proposal, rtol=1e-5)


def test_nothing_recompiles_for_retrained_parameters_or_new_data(getkey):
    traces = []

    @jax.jit
    def run(kernel, key, state):
        traces.append(1)
        return kernel.run(key, state, 3)

    for factor in (1.0, 1.1):
        flow = jax.tree.map(lambda leaf, c=factor: c * leaf if eqx.is_inexact_array(leaf) else leaf, FLOW)
        kernel = FlowIndependence(flow, logdensity=Partial(normal, jnp.asarray(factor)))
        run(kernel, getkey(), kernel.init(jnp.zeros(2)))
    assert len(traces) == 1


def test_claim():
    claim = FlowIndependence(FLOW).claim
    assert claim.exactness is Exactness.EXACT
    assert claim.reversible
    assert not claim.independent
    assert not claim.gradient


def test_a_thin_flow_is_reported(getkey):
    """The weights of N(0, 0.4^2) for N(0, 1) have tail index 0.84 in every dimension; keys are fixed."""
    with pytest.warns(HeavyWeightsWarning, match="heavy tail"):
        FlowIndependence(affine_flow(1, 0.4), logdensity=STANDARD).report(getkey(), jnp.zeros(1), num_draws=20_000)
    report = FlowIndependence(affine_flow(2, 1.5), logdensity=STANDARD).report(getkey(), jnp.zeros(2), num_draws=4000)
    assert report.pareto_k < 0.5
    # A U-statistic of 4000 draws; ten times its standard error of 0.006, so below 1e-20.
    assert abs(report.acceptance_rate - gaussian_acceptance(2, 1.5)) < 0.06


@pytest.mark.parametrize(
    ("make", "position", "error", "message"),
    [
        (lambda: FlowIndependence(3.0), None, TypeError, "distribution of FlowJAX"),
        (
            lambda: FlowIndependence(coupling_flow(jax.random.key(0), base_dist=StandardNormal((2,)), cond_dim=1)),
            None,
            ValueError,
            "cond_dim=None",
        ),
        (lambda: FlowIndependence(FLOW, "Barker"), None, TypeError, "decides by the ratio"),
        (lambda: FlowIndependence(FLOW), np.zeros(2), ValueError, "no target"),
        (
            lambda: FlowIndependence(FLOW, logdensity=STANDARD),
            np.zeros(3),
            ValueError,
            "2 coordinates; the position has 3",
        ),
        (lambda: FlowIndependence(FLOW, logdensity=STANDARD), np.zeros(2, int), TypeError, "floating-point"),
        (lambda: FlowIndependence(FLOW, logdensity=lambda x: 0.0 * x[0]), np.full(2, 1e200), ValueError, "never leave"),
    ],
)
def test_bad_input(make, position, error, message):
    with pytest.raises(error, match=message):
        make().init(jnp.asarray(position))


# --- training --------------------------------------------------------------------------------------------------------


def two_modes(x):
    return jnp.logaddexp(jnp.log(0.7) - 0.5 * jnp.sum((x - 2) ** 2), jnp.log(0.3) - 0.5 * jnp.sum((x + 2) ** 2))


LOCAL = RandomWalk(1.0, logdensity=two_modes)


def starts(count=64, dtype=float):
    centres = jnp.where(jnp.arange(count)[:, None] % 2 == 0, 2.0, -2.0)
    return (centres + jax.random.normal(jax.random.key(7), (count, 2))).astype(dtype)


def small_flow():
    base = Normal(jnp.zeros(2), 2.0 * jnp.ones(2))
    return coupling_flow(jax.random.key(1), base_dist=base, flow_layers=2, nn_width=8)


@pytest.mark.slow
def test_training_while_sampling():
    flow = small_flow()
    before = [np.asarray(leaf) for leaf in jax.tree.leaves(flow) if eqx.is_array(leaf)]
    options = {"num_cycles": 40, "num_local_cycles": 10, "local_steps": 3, "learning_rate": 1e-2}
    trained = train_while_sampling(jax.random.key(0), LOCAL, flow, starts(), **options)
    log = trained.log
    assert log.loss.shape == (40,)
    assert log.loss[-10:].mean() < log.loss[:5].mean()
    assert np.all(np.isnan(log.flow_acceptance_rate[:10]))
    assert np.all(log.flow_acceptance_rate[10:] > 0)
    assert np.all((log.local_acceptance_rate > 0) & (log.local_acceptance_rate < 1))
    assert int(log.num_skipped.sum()) == 0
    assert trained.positions.shape == (64, 2)
    assert trained.report.num_draws == 1000
    # The flow that was given is as it was, and the kernel is bound and frozen.
    for leaf, old in zip([leaf for leaf in jax.tree.leaves(flow) if eqx.is_array(leaf)], before, strict=True):
        np.testing.assert_array_equal(leaf, old)
    _, info = trained.kernel.run(jax.random.key(1), trained.kernel.init(trained.positions[0]), 20)
    assert info.is_accepted > 0


@pytest.mark.slow
def test_the_same_key_trains_the_same_flow():
    runs = [train_while_sampling(jax.random.key(0), LOCAL, small_flow(), starts(), num_cycles=4) for _ in range(2)]
    np.testing.assert_array_equal(runs[0].positions, runs[1].positions)
    np.testing.assert_array_equal(runs[0].log.loss, runs[1].log.loss)


@pytest.mark.slow
def test_the_flow_of_two_modes_learns_their_weights():
    """The acceptance rate grows, and the normaliser of the frozen flow's weights is that of the target, 2 pi.

    The weights of 1000 draws have a standard deviation below 1 (effective sample size above one half), so that 0.25 is
    above 7 standard errors; keys are fixed.
    """
    trained = train_while_sampling(
        jax.random.key(0), LOCAL, small_flow(), starts(128, jnp.float32), num_cycles=200, learning_rate=1e-2
    )
    assert trained.positions.dtype == jnp.float32
    assert trained.report.ess_fraction > 0.5
    assert abs(np.exp(trained.report.log_normalizer) / (2 * np.pi) - 1) < 0.25
    assert trained.log.flow_acceptance_rate[-20:].mean() > 0.6


@pytest.mark.slow
def test_steps_with_a_loss_that_is_not_finite_are_skipped():
    with pytest.raises(FloatingPointError, match="nothing was learnt"):
        train_while_sampling(
            jax.random.key(0),
            RandomWalk(1.0, logdensity=lambda x: 0.0 * jnp.sum(x)),
            small_flow(),
            starts(4).at[0].set(1e200),
            num_cycles=2,
            num_local_cycles=2,
            local_steps=1,
            gradient_steps=1,
        )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"flow": 3.0}, TypeError, "distribution of FlowJAX"),
        ({"positions": jnp.zeros((4, 3))}, ValueError, "2 coordinates; the position has 3"),
        ({"positions": {"a": jnp.zeros((4, 1)), "b": jnp.zeros((3, 1))}}, ValueError, "chains on axis 0"),
        ({"positions": jnp.zeros(())}, ValueError, "chains on axis 0"),
        ({"positions": jnp.zeros((4, 2), int)}, TypeError, "floating-point"),
        ({"local": RandomWalk(1.0)}, ValueError, "needs a target"),
        ({"num_cycles": 0}, ValueError, "at least 1"),
        ({"rule": "Barker"}, TypeError, "decides by the ratio"),
        (
            {"logdensity": lambda x: jnp.where(x[0] > 1.5, -jnp.inf, 0.0), "positions": jnp.array([[0.0, 0], [2, 0]])},
            ValueError,
            "chain 1",
        ),
    ],
)
def test_bad_training(change, error, message):
    arguments = {"local": LOCAL, "flow": FLOW, "positions": jnp.zeros((4, 2)), "num_cycles": 1} | change
    with pytest.raises(error, match=message):
        train_while_sampling(
            jax.random.key(0),
            arguments.pop("local"),
            arguments.pop("flow"),
            arguments.pop("positions"),
            **arguments,
        )
