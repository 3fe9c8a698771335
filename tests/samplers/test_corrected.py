"""The Metropolis-Hastings correction of any proposal: exactness, protocol, edges, bad input, and the traps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from ergodica.samplers import random
from ergodica.samplers.acceptance.metropolis import Barker
from ergodica.samplers.claim import Exactness
from ergodica.samplers.compose import corrected
from ergodica.samplers.corrected import Corrected, Proposal
from ergodica.samplers.metropolis.finite import RingWalk, UnitStep
from ergodica.samplers.metropolis.random_walk import GaussianStep
from ergodica.theory.finite_chain import stationary_law
from ergodica.validation.cases.metropolis import CASES, DriftStep
from ergodica.validation.certify import certify
from ergodica.validation.exact import check_exact
from ergodica.validation.targets.finite import ring4
from tests.traps.metropolis import CORRECTED_TRAPS, ForgetsHastings

ROW = next(case for case in CASES if case.name == "corrected")


def normal(data, x):
    return -0.5 * sum(jnp.sum((leaf - data) ** 2) for leaf in jax.tree.leaves(x))


STANDARD = Partial(normal, jnp.asarray(0.0))


@pytest.mark.slow
@pytest.mark.catalogue
def test_the_catalogue_certifies_it():
    report = certify("corrected")
    assert report.passed, str(report)


@pytest.mark.parametrize("trap", CORRECTED_TRAPS)
def test_the_checks_catch_a_wrong_kernel(trap):
    exact = [check for check in ROW.checks if "exact" in check.name]
    assert not all(check.run(trap(DriftStep()), jax.random.key(0)).passed for check in exact)


@pytest.mark.slow
@pytest.mark.parametrize("trap", CORRECTED_TRAPS)
def test_the_rank_check_catches_a_wrong_kernel(trap):
    rank = next(check for check in ROW.checks if "rank" in check.name)
    assert not rank.run(trap(DriftStep()), jax.random.key(0)).passed


def test_forgetting_the_ratio_on_ring4_gives_the_known_error():
    report = check_exact(ForgetsHastings(RingWalk(4, 0.7)), ring4())
    assert report.outcomes["invariance"].statistic == pytest.approx(0.08, abs=1e-12)
    wrong = stationary_law(report.matrix)
    assert 0.5 * np.abs(wrong - ring4().probabilities).sum() == pytest.approx(0.1127694859, abs=1e-10)


def test_the_matrix_on_ring4_is_rational():
    report = check_exact(corrected(RingWalk(4, 0.7)), ring4())
    expected = [[0.1, 0.6, 0, 0.3], [0.3, 0.25, 0.45, 0], [0, 0.3, 0.3, 0.4], [0.075, 0, 0.3, 0.625]]
    np.testing.assert_allclose(report.matrix, expected, atol=1e-15)
    eigenvalues = np.sort(np.linalg.eigvals(report.matrix).real)[::-1]
    np.testing.assert_allclose(eigenvalues, [1, 0.526092351, 0.1571446042, -0.4082369552], atol=1e-9)
    assert report.period == 1


class TwoLeaves(Proposal):
    """Steps in one leaf, flips the sign of the other: for positions of several leaves and dtypes."""

    def propose(self, key, position):
        step_key, flip_key = random.split(key)
        x = position["x"] + random.normal(step_key, position["x"].shape, position["x"].dtype)
        flip = jnp.where(random.bernoulli(flip_key), -1, 1).astype(position["s"].dtype)
        return {"x": x, "s": position["s"] * flip}, jnp.zeros(())


def test_positions_of_several_leaves_and_dtypes(getkey):
    kernel = Corrected(TwoLeaves(), logdensity=lambda at: -0.5 * jnp.sum((at["x"] - at["s"]) ** 2))
    state = kernel.init({"x": np.zeros(2, np.float32), "s": np.array(1)})
    state, info = jax.jit(lambda key, at: kernel.run(key, at, 20))(getkey(), state)
    assert state.position["x"].dtype == jnp.float32
    assert state.position["s"].dtype == jnp.int64
    assert int(info.num_evals) == 20
    assert 0 < int(info.is_accepted) <= 20


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_protocol(dtype, getkey):
    kernel = Corrected(DriftStep(), Barker(), STANDARD)
    state = kernel.init(jnp.ones(3, dtype))
    key = getkey()
    after, info = jax.jit(lambda k, key, s: k.step(key, s))(kernel, key, state)
    again, _ = kernel.step(key, state)
    np.testing.assert_allclose(after.position, again.position, rtol=1e-6)
    assert after.position.dtype == after.logdensity.dtype == info.acceptance_rate.dtype == dtype
    assert info.num_evals == 1
    assert info.num_invalid == 0
    np.testing.assert_allclose(after.logdensity, STANDARD(after.position), rtol=1e-6)

    keys = random.split(key, 5)
    many = jax.vmap(kernel.init)(jnp.ones((5, 3), dtype))
    together, _ = jax.vmap(kernel.step)(keys, many)
    single = jnp.stack([kernel.step(k, state)[0].position for k in keys])
    np.testing.assert_allclose(together.position, single, rtol=1e-6)

    other = kernel.bind(lambda x: -jnp.sum(jnp.abs(x)))
    assert other.refresh(state).logdensity == -3
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(kernel.unbound()))
    with pytest.raises(ValueError, match="no target"):
        kernel.unbound().step(key, state)


def test_an_unbound_kernel_can_be_carried(getkey):
    kernel = Corrected(GaussianStep(0.5), logdensity=STANDARD)

    def body(carry, key):
        params, state = carry
        state, _ = params.bind(STANDARD).step(key, state)
        return (params, state), state.position

    carry = (kernel.unbound(), kernel.init(jnp.zeros(2)))
    _, draws = jax.lax.scan(body, carry, random.split(getkey(), 10))
    assert draws.shape == (10, 2)


def test_nothing_recompiles_for_new_parameters_or_data(getkey):
    traces = []

    @jax.jit
    def run(kernel, key, state):
        traces.append(1)
        return kernel.run(key, state, 3)

    for scale, centre in ((0.5, 0.0), (1.5, 2.0)):
        kernel = Corrected(GaussianStep(scale), logdensity=Partial(normal, jnp.asarray(centre)))
        run(kernel, getkey(), kernel.init(jnp.zeros(2)))
    assert len(traces) == 1


def test_kernels_can_be_mapped_over(getkey):
    kernels = jax.vmap(lambda scale: Corrected(GaussianStep(scale), logdensity=STANDARD))(jnp.array([0.1, 1.0]))
    states = jax.vmap(lambda k, x: k.init(x))(kernels, jnp.zeros((2, 3)))
    after, _ = jax.vmap(lambda k, key, s: k.step(key, s))(kernels, random.split(getkey(), 2), states)
    assert after.position.shape == (2, 3)


class Fixed(Proposal):
    """Proposes a given point with a given ratio."""

    point: jax.Array
    log_ratio: jax.Array

    def propose(self, key, position):
        del key, position
        return self.point, self.log_ratio


@pytest.mark.parametrize(
    ("value", "log_ratio", "invalid"),
    [
        (jnp.nan, 0.0, 1),
        (jnp.inf, 0.0, 1),
        (-jnp.inf, 0.0, 0),
        (0.0, jnp.nan, 1),
        (0.0, jnp.inf, 1),
        (0.0, -jnp.inf, 0),
        (jnp.inf, -jnp.inf, 1),
    ],
)
def test_what_is_not_finite_is_rejected_and_counted(value, log_ratio, invalid, getkey):
    def logdensity(x):
        return jnp.where(x[0] > 0.5, value, 0.0)

    kernel = Corrected(Fixed(jnp.ones(1), jnp.asarray(log_ratio)), logdensity=logdensity)
    state, info = kernel.step(getkey(), kernel.init(jnp.zeros(1)))
    assert state.position[0] == 0
    assert state.logdensity == 0
    assert not info.is_accepted
    assert info.acceptance_rate == 0
    assert info.num_invalid == invalid


def test_a_start_of_probability_zero_is_left_at_the_first_chance(getkey):
    kernel = Corrected(Fixed(jnp.ones(1), jnp.zeros(())), logdensity=lambda x: jnp.where(x[0] > 0.5, 0.0, -jnp.inf))
    state = jax.jit(lambda x: kernel.init(x))(jnp.zeros(1))
    assert kernel.step(getkey(), state)[1].acceptance_rate == 1


def test_claim():
    claim = Corrected(GaussianStep(1.0)).claim
    assert claim.exactness is Exactness.EXACT
    assert claim.reversible
    assert not claim.gradient
    assert claim.spaces == GaussianStep(1.0).spaces


def test_it_works_on_all_integers(getkey):
    kernel = Corrected(UnitStep(), logdensity=lambda n: -jnp.sum(jnp.abs(n)) * 1.0)
    state, info = kernel.run(getkey(), kernel.init(np.zeros((2, 2), np.int32)), 50)
    assert state.position.dtype == jnp.int32
    assert info.is_accepted > 0


@pytest.mark.parametrize(
    ("make", "position", "error", "message"),
    [
        (lambda: Corrected(lambda key, x: x), jnp.zeros(2), TypeError, "needs a Proposal"),
        (lambda: Corrected(GaussianStep(1.0), rule=abs), jnp.zeros(2), TypeError, "decides by the ratio"),
        (lambda: Corrected(GaussianStep(1.0)), jnp.zeros(2), ValueError, "no target"),
        (
            lambda: Corrected(GaussianStep(1.0), logdensity=STANDARD),
            jnp.zeros(2, int),
            TypeError,
            "moves in a continuous space",
        ),
        (
            lambda: Corrected(GaussianStep(1.0), logdensity=lambda x: -jnp.inf * jnp.sum(x**2)),
            jnp.ones(2),
            ValueError,
            "probability zero",
        ),
        (lambda: Corrected(RingWalk(4), logdensity=lambda x: 0.0 * x), jnp.asarray(4), ValueError, "states 0, ..., 3"),
        (lambda: Corrected(RingWalk(4), logdensity=lambda x: 0.0 * x), jnp.zeros(2, int), ValueError, "an integer in"),
        (
            lambda: Corrected(GaussianStep(jnp.ones(3)), logdensity=STANDARD),
            jnp.zeros(2),
            ValueError,
            "as many entries",
        ),
    ],
)
def test_bad_input(make, position, error, message):
    with pytest.raises(error, match=message):
        make().init(position)


def test_a_proposal_of_the_wrong_dtype_or_shape_is_refused(getkey):
    for point in (jnp.zeros(2, jnp.float32), jnp.zeros(3), {"x": jnp.zeros(2)}):
        kernel = Corrected(Fixed(point, jnp.zeros(())), logdensity=STANDARD)
        with pytest.raises(TypeError, match="structure, shapes and dtypes"):
            kernel.step(getkey(), kernel.init(jnp.zeros(2)))
