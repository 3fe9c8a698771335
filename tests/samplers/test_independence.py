"""Independence Metropolis: certificate, proposals of all kinds, reports on weights, protocol, bad input, traps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.tree_util import Partial

from ergodica.samplers import random
from ergodica.samplers.acceptance.metropolis import Barker
from ergodica.samplers.acceptance.weights import HeavyWeightsWarning, report_weights
from ergodica.samplers.held import Held, hold
from ergodica.samplers.metropolis.independence import CategoricalProposal, IndependenceMetropolis, NormalProposal
from ergodica.theory.independence import (
    gaussian_acceptance,
    gaussian_ess_fraction,
    gaussian_weight_bound,
    independence_matrix,
)
from ergodica.validation.cases.metropolis import CASES, IMH4, imh4
from ergodica.validation.certify import certify
from ergodica.validation.exact import check_exact
from tests.traps.metropolis import INDEPENDENCE_TRAPS

ROW = next(case for case in CASES if case.name == "independence-metropolis")


def normal(scale, x):
    return -0.5 * jnp.sum((x / scale) ** 2)


STANDARD = Partial(normal, jnp.asarray(1.0))


@pytest.mark.slow
@pytest.mark.catalogue
def test_the_catalogue_certifies_it():
    report = certify("independence-metropolis")
    assert report.passed, str(report)


@pytest.mark.parametrize("trap", INDEPENDENCE_TRAPS)
def test_the_checks_catch_a_wrong_kernel(trap):
    exact = [check for check in ROW.checks if check.name.startswith(("exact", "spectrum"))]
    assert not all(check.run(trap(CategoricalProposal(IMH4[1])), jax.random.key(0)).passed for check in exact)


@pytest.mark.parametrize("rule", [None, Barker()])
def test_the_law_on_four_states(rule):
    report = check_exact(IndependenceMetropolis(CategoricalProposal(IMH4[1]), rule), imh4())
    assert report.passed, str(report)
    if rule is None:
        np.testing.assert_allclose(report.matrix, independence_matrix(*IMH4), atol=1e-15)
        eigenvalues = np.sort(np.linalg.eigvals(report.matrix).real)[::-1]
        np.testing.assert_allclose(eigenvalues, [1, 0.75, 0.15, 0.35 / 3], atol=1e-12)


class Pair(eqx.Module):
    """A proposal for a position of two leaves."""

    scale: jax.Array

    def sample(self, key):
        first, second = random.split(key)
        return {"a": self.scale * random.normal(first, (2,)), "b": self.scale * random.normal(second)}

    def log_prob(self, at):
        return sum(jnp.sum(-0.5 * (leaf / self.scale) ** 2 - jnp.log(self.scale)) for leaf in jax.tree.leaves(at))


@pytest.mark.slow
def test_proposals_of_all_kinds(getkey):
    for proposal, position in (
        (NormalProposal(np.zeros(2), np.array([[1.0, 0], [0.5, 1.2]])), jnp.zeros(2)),
        (NormalProposal(np.zeros(2), np.array([1.0, 2.0])), jnp.zeros(2)),
        (dist.Normal(jnp.zeros(2), 1.5).to_event(1), jnp.zeros(2)),
        (dist.Normal(0.0, 1.5), jnp.zeros(())),
        (dist.StudentT(5.0).expand([2]).to_event(1), jnp.zeros(2)),
        (Pair(jnp.asarray(1.5)), {"a": jnp.zeros(2), "b": jnp.zeros(())}),
    ):
        kernel = IndependenceMetropolis(
            proposal, logdensity=lambda at: -0.5 * sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(at))
        )
        state = kernel.init(position)
        state, info = jax.jit(lambda k, key, s: k.run(key, s, 20))(kernel, getkey(), state)
        assert info.is_accepted > 0
        np.testing.assert_allclose(state.log_proposal, proposal.log_prob(state.position), rtol=1e-12)
        np.testing.assert_allclose(state.log_proposal, kernel.refresh(state).log_proposal, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.7, np.array([0.7, 2.0]), np.array([[0.7, 0.0], [-0.4, 2.0]])])
def test_the_density_of_a_normal_proposal(scale):
    proposal, at = NormalProposal(np.array([0.3, -1.0]), scale), jnp.array([1.0, 2.0])
    factor = scale if np.ndim(scale) == 2 else np.diag(np.broadcast_to(scale, 2))
    expected = jax.scipy.stats.multivariate_normal.logpdf(at, proposal.mean, factor @ factor.T)
    np.testing.assert_allclose(proposal.log_prob(at), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_protocol(dtype, getkey):
    kernel = IndependenceMetropolis(NormalProposal(np.zeros(3), 1.3), logdensity=STANDARD)
    state = kernel.init(jnp.ones(3, dtype))
    key = getkey()
    after, info = jax.jit(lambda k, key, s: k.run(key, s, 20))(kernel, key, state)
    again, _ = kernel.run(key, state, 20)
    np.testing.assert_allclose(after.position, again.position, rtol=1e-5)
    assert {leaf.dtype for leaf in (*after, info.acceptance_rate)} == {jnp.dtype(dtype)}
    # The density is that of the rounded point.
    expected = kernel.proposal.get().log_prob(after.position)
    np.testing.assert_allclose(after.log_proposal, expected, rtol=2 * jnp.finfo(dtype).eps)
    keys = random.split(key, 4)
    together, _ = jax.vmap(kernel.step)(keys, jax.vmap(kernel.init)(jnp.ones((4, 3), dtype)))
    np.testing.assert_allclose(together.position[1], kernel.step(keys[1], state)[0].position, rtol=1e-6)
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(kernel.unbound()))
    wider = kernel.bind(Partial(normal, jnp.asarray(2.0)))
    np.testing.assert_allclose(wider.refresh(state).logdensity, state.logdensity / 4, rtol=1e-6)
    assert kernel.claim.reversible
    assert not kernel.claim.independent


def test_refresh_follows_a_position_that_was_changed_from_outside():
    kernel = IndependenceMetropolis(NormalProposal(np.zeros(2), 1.3), logdensity=STANDARD)
    moved = kernel.refresh(kernel.init(jnp.zeros(2))._replace(position=jnp.ones(2)))
    for ours, fresh in zip(moved, kernel.init(jnp.ones(2)), strict=True):
        np.testing.assert_array_equal(ours, fresh)


def test_nothing_recompiles_for_new_parameters_or_data(getkey):
    traces = []

    @jax.jit
    def run(kernel, key, state):
        traces.append(1)
        return kernel.run(key, state, 3)

    for scale in (1.0, 2.0):
        kernel = IndependenceMetropolis(
            dist.Normal(jnp.zeros(2), scale * jnp.ones(2)).to_event(1), logdensity=Partial(normal, jnp.asarray(scale))
        )
        run(kernel, getkey(), kernel.init(jnp.zeros(2)))
    assert len(traces) == 1


def test_kernels_can_be_mapped_over(getkey):
    means = jnp.array([[0.0, 0.0], [50.0, 50.0]])
    kernels = jax.vmap(lambda mean: IndependenceMetropolis(NormalProposal(mean), logdensity=STANDARD))(means)
    states = jax.vmap(lambda k, x: k.init(x))(kernels, jnp.zeros((2, 2)))
    after, info = jax.vmap(lambda k, key, s: k.run(key, s, 10))(kernels, random.split(getkey(), 2), states)
    assert info.is_accepted[0] > 0
    np.testing.assert_array_equal(after.position[1], 0)


class Broken(eqx.Module):
    """A proposal whose density is not finite at its own draws."""

    value: jax.Array

    def sample(self, key):
        return jnp.ones(1)

    def log_prob(self, position):
        return jnp.where(position[0] == 0, 0.0, self.value)


@pytest.mark.parametrize("value", [jnp.nan, jnp.inf, -jnp.inf])
def test_a_draw_without_a_density_is_rejected_and_counted(value, getkey):
    kernel = IndependenceMetropolis(Broken(jnp.asarray(value)), logdensity=lambda x: 0.0 * jnp.sum(x))
    state, info = kernel.step(getkey(), kernel.init(jnp.zeros(1)))
    assert state.position[0] == 0
    assert info.num_invalid == 1
    assert info.acceptance_rate == 0


def test_heavy_tails_are_noticed(getkey):
    """The weights of N(0, 0.4^2) for N(0, 1) have tail index 0.84; those of N(0, 1.5^2) are bounded.

    The index of 20000 draws is estimated with a standard deviation of about 0.05, from simulation; keys are fixed.
    """
    position = jnp.zeros(1)
    with pytest.warns(HeavyWeightsWarning, match="heavy tail"):
        report = IndependenceMetropolis(NormalProposal(np.zeros(1), 0.4), logdensity=STANDARD).report(
            getkey(), position, num_draws=20_000
        )
    assert 0.7 < report.pareto_k < 1.0
    report = IndependenceMetropolis(NormalProposal(np.zeros(1), 1.5), logdensity=STANDARD).report(getkey(), position)
    assert report.pareto_k < 0.5
    report = IndependenceMetropolis(NormalProposal(np.zeros(1), 1.0), logdensity=STANDARD).report(getkey(), position)
    assert report.pareto_k == -np.inf
    assert report.acceptance_rate == pytest.approx(1, abs=1e-12)


def test_the_report_against_closed_forms(getkey):
    """Weights lie in [0, L] with L = 1.5^2: Hoeffding's bound at 1e-7 for the mean weight, twice it elsewhere.

    Acceptance rate and effective sample size are smooth functions of means of bounded quantities.
    """
    n, dim, sigma = 40_000, 2, 1.5
    kernel = IndependenceMetropolis(NormalProposal(np.zeros(dim), sigma), logdensity=STANDARD)
    report = kernel.report(getkey(), jnp.zeros(dim), num_draws=n)
    bound = np.sqrt(np.log(2e7) / (2 * n)) * gaussian_weight_bound(dim, sigma)
    assert abs(np.exp(report.log_normalizer) / (2 * np.pi) - 1) < bound
    assert abs(report.acceptance_rate - gaussian_acceptance(dim, sigma)) < 2 * bound
    assert abs(report.ess_fraction - gaussian_ess_fraction(0.0, 1.0, sigma) ** dim) < 2 * bound


def test_the_acceptance_rate_of_a_report_is_that_of_all_pairs():
    log_weights = np.array([0.3, -1.0, 2.0, -np.inf, 0.3])
    w = np.exp(log_weights)
    pairs = [min(w[i], w[j]) for i in range(5) for j in range(5) if i != j]
    report = report_weights(log_weights)
    assert report.acceptance_rate == pytest.approx(np.mean(pairs) / w.mean(), rel=1e-13)
    assert report.ess_fraction == pytest.approx(w.sum() ** 2 / (5 * (w**2).sum()), rel=1e-13)
    assert report.log_normalizer == pytest.approx(np.log(w.mean()), rel=1e-13)
    assert np.isnan(report.pareto_k)


def test_holding_a_pytree():
    tree = {"array": np.arange(3.0), "function": jnp.tanh, "flag": True, "none": None}
    held = hold(tree)
    assert [leaf.shape for leaf in jax.tree.leaves(held)] == [(3,)]
    back = held.get()
    assert back["function"] is jnp.tanh
    assert back["flag"] is True
    assert hold(held) is held
    assert jax.tree.structure(hold(tree)) == jax.tree.structure(held)
    assert jax.tree.structure(hold({**tree, "flag": False})) != jax.tree.structure(held)
    assert held.rest != 3
    assert isinstance(jax.jit(lambda h: h)(held), Held)
    with pytest.raises(TypeError, match="hashable constants"):
        hold({"leaf": bytearray(3)})


@pytest.mark.parametrize(
    ("make", "position", "error", "message"),
    [
        (lambda: CategoricalProposal(np.array([0.5, -0.5])), None, ValueError, "negative"),
        (lambda: CategoricalProposal(np.ones((2, 2))), None, ValueError, "vector"),
        (lambda: NormalProposal(np.zeros((2, 2))), None, ValueError, "1 axes"),
        (lambda: NormalProposal(np.zeros(2), np.ones(3)), None, ValueError, "shape"),
        (lambda: NormalProposal(np.zeros(2), -1.0), None, ValueError, "greater than 0"),
        (lambda: NormalProposal(np.zeros(2), np.ones((2, 2))), None, ValueError, "cholesky"),
        (lambda: IndependenceMetropolis(jnp.zeros(2)), None, TypeError, "sample"),
        (lambda: IndependenceMetropolis(dist.Normal(), "Barker"), None, TypeError, "decides by the ratio"),
        (lambda: IndependenceMetropolis(NormalProposal(np.zeros(2))), np.zeros(2), ValueError, "no target"),
        (
            lambda: IndependenceMetropolis(dist.Uniform(0.0, 1.0), logdensity=STANDARD),
            2.0,
            ValueError,
            "would never leave",
        ),
        (
            lambda: IndependenceMetropolis(dist.Normal(jnp.zeros(2)), logdensity=STANDARD),
            np.zeros(2),
            TypeError,
            "to_event",
        ),
    ],
)
def test_bad_input(make, position, error, message):
    with pytest.raises(error, match=message):
        make().init(jnp.asarray(position))


def test_a_proposal_of_another_shape_is_refused(getkey):
    kernel = IndependenceMetropolis(dist.Normal(0.0, 1.0).expand([3]).to_event(1), logdensity=STANDARD)
    state = kernel.init(jnp.zeros(3))
    with pytest.raises(TypeError, match="shapes"):
        kernel.step(getkey(), state._replace(position=jnp.zeros(2)))


@pytest.mark.parametrize(
    ("values", "message"),
    [([], "at least one"), ([0.0, np.nan], "finite"), ([np.inf], "finite"), ([-np.inf, -np.inf], "disjoint")],
)
def test_bad_weights(values, message):
    with pytest.raises(ValueError, match=message):
        report_weights(np.array(values))
