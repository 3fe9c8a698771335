"""Gibbs samplers made from NumPyro models: blankets, classes of independent elements, exact laws, refusals."""

import itertools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from jax.tree_util import Partial
from numpyro.contrib.control_flow import scan
from numpyro.infer import MCMC, NUTS
from numpyro.infer.util import potential_energy

from ergodica.samplers import random
from ergodica.samplers.compose import tempered
from ergodica.samplers.gibbs.heat_bath import HeatBath
from ergodica.samplers.interop.markov_blanket import independent_classes, model_graph
from ergodica.samplers.interop.numpyro import NumPyroKernel
from ergodica.samplers.interop.numpyro_gibbs import Gibbs
from ergodica.samplers.interop.over_plate import over_plate
from ergodica.samplers.interop.site_terms import model_terms
from ergodica.samplers.kernel import replace
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.samplers.sample import sample
from ergodica.samplers.slicing.coordinate import CoordinateSlice
from ergodica.validation.enumeration import transition_matrix
from ergodica.validation.exact import check_matrix
from ergodica.validation.rank import two_sample_check
from ergodica.validation.targets.model import Model
from tests.helpers.kernels import Stretch

TRANSITION = jnp.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.3, 0.5]])


def mixture_model(y):
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(3)))
    scale = numpyro.sample("scale", dist.HalfNormal(1.0))
    with numpyro.plate("component", 3):
        mean = numpyro.sample("mean", dist.Normal(0.0, 5.0))
    with numpyro.plate("row", len(y)):
        z = numpyro.sample("z", dist.Categorical(weights))
        numpyro.sample("y", dist.Normal(mean[z], scale), obs=y)
    numpyro.deterministic("spread", scale * jnp.sum(weights**2))


def groups_model(group, y, num_groups=5):
    mu = numpyro.sample("mu", dist.Normal(0.0, 5.0))
    tau = numpyro.sample("tau", dist.HalfCauchy(5.0))
    with numpyro.plate("group", num_groups):
        theta = numpyro.sample("theta", dist.Normal(mu, tau))
    with numpyro.plate("row", len(y)):
        numpyro.sample("y", dist.Normal(theta[group], 1.0), obs=y)


def hidden_markov_model(y):
    def step(before, now):
        z = numpyro.sample("z", dist.Categorical(TRANSITION[before]))
        numpyro.sample("y", dist.Normal(1.0 * z, 1.0), obs=now)
        return z, None

    scan(step, 0, y)


def spins_model(rows, columns):
    with numpyro.plate("rows", rows, dim=-2), numpyro.plate("columns", columns, dim=-1):
        z = numpyro.sample("z", dist.Bernoulli(0.4))
    spins = 2.0 * z - 1
    numpyro.factor("down", 0.4 * spins[1:] * spins[:-1])
    numpyro.factor("right", 0.7 * spins[:, 1:] * spins[:, :-1])


def coupled_model():
    """A small discrete model: a binary root, a plate of three below it, and an observation of all."""
    root = numpyro.sample("root", dist.Bernoulli(0.3))
    with numpyro.plate("leaves", 3):
        leaf = numpyro.sample("leaf", dist.Categorical(jnp.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])[root]))
        numpyro.sample("seen", dist.Normal(leaf + root, 1.0), obs=jnp.array([0.3, 1.9, 1.2]))
    numpyro.sample("total", dist.Normal(1.0 * root, 0.7), obs=jnp.array(0.4))


def summed_model():
    with numpyro.plate("n", 20):
        z = numpyro.sample("z", dist.Bernoulli(0.5))
    w = numpyro.sample("w", dist.Bernoulli(0.5))
    numpyro.factor("all", -0.1 * (jnp.sum(z) + w) ** 2)


# --- terms ------------------------------------------------------------------------------------------------------------


DATA = jnp.array([-2.0, -1.5, 3.0, 0.2])


def test_terms_add_up_to_numpyros_density():
    for model, args in ((mixture_model, (DATA,)), (hidden_markov_model, (DATA,)), (spins_model, (2, 3))):
        terms = model_terms(model, *args)
        position = terms.start(jax.random.key(1))
        discrete = {name: value for name, value in position.items() if terms.sites[name].discrete}
        rest = {name: value for name, value in position.items() if name not in discrete}

        def density(rest, model=model, args=args, discrete=discrete):
            return -potential_energy(numpyro.handlers.condition(model, data=discrete), args, {}, rest)

        expected = jax.jit(density)(rest)
        assert float(jax.jit(terms.total(terms.names))(position)) == pytest.approx(float(expected), rel=1e-12)


def test_starts_and_the_way_back():
    terms = model_terms(mixture_model, DATA)
    values = terms.constrain(terms.start(jax.random.key(0)))
    assert set(values) == {"weights", "scale", "mean", "z", "spread"}
    assert float(values["weights"].sum()) == pytest.approx(1)
    assert float(values["scale"]) > 0
    assert set(np.unique(values["z"])) <= {0, 1, 2}


# --- blankets ---------------------------------------------------------------------------------------------------------


def test_blankets_of_known_graphs():
    graph = model_graph(mixture_model, DATA)
    assert graph.touched("z") == ("y", "z")
    assert graph.blanket("z") == {"weights", "mean", "scale"}
    assert graph.touched("weights") == ("_weights_log_det", "weights", "z")
    assert graph.blanket("weights") == {"z"}
    assert graph.children("mean") == {"y"}
    assert graph.parents("z") == {"weights"}
    assert graph.touched("mean", "scale") == ("_scale_log_det", "mean", "scale", "y")
    groups = model_graph(groups_model, jnp.array([0, 1, 2, 3, 4, 0]), jnp.arange(6.0))
    assert groups.touched("mu") == ("mu", "theta")
    assert groups.blanket("theta") == {"mu", "tau"}
    with pytest.raises(ValueError, match="no latent site 'y'"):
        graph.touched("y")


def test_a_dependence_through_bounds_counts():
    def model():
        top = numpyro.sample("top", dist.HalfNormal(1.0))
        numpyro.sample("x", dist.Uniform(0.0, top + 1.0))
        numpyro.sample("apart", dist.Normal(0.0, 1.0))

    graph = model_graph(model)
    assert graph.blanket("top") == {"x"}
    assert graph.blanket("apart") == frozenset()


@pytest.mark.parametrize(
    ("model", "args", "site", "classes"),
    [
        (mixture_model, (DATA,), "z", 1),
        (mixture_model, (DATA,), "mean", 3),  # each row may be any component's
        (groups_model, (jnp.array([0, 1, 2, 3, 4, 0]), jnp.arange(6.0)), "theta", 1),
        (hidden_markov_model, (DATA,), "z", 2),
        (spins_model, (3, 4), "z", 2),
    ],
)
def test_classes_of_independent_elements(model, args, site, classes):
    graph = model_graph(model, *args)
    found = independent_classes(graph, (site,))
    assert found.count == classes
    if model is spins_model:
        board = found.of.reshape(3, 4)
        assert np.all(board[1:] != board[:-1])
        assert np.all(board[:, 1:] != board[:, :-1])
    if model is groups_model:
        np.testing.assert_array_equal(found.owners["y"][0], args[0])


def test_sums_and_unknown_places_hide_independence():
    assert independent_classes(model_graph(summed_model), ("z",)) is None

    def tied():
        with numpyro.plate("n", 4):
            z = numpyro.sample("z", dist.Normal(0.0, 1.0))
        numpyro.factor("all", -0.1 * z[:2] * z[jnp.argsort(z)[2:]])

    found = independent_classes(model_graph(tied), ("z",))
    assert found is None or found.count == 4


# --- exact laws -------------------------------------------------------------------------------------------------------


def all_states(supports):
    """All points of a product of finite sets, as a dictionary of stacked arrays, one entry for each site."""
    columns = [list(itertools.product(range(size), repeat=count)) for size, count in supports.values()]
    rows = list(itertools.product(*columns))
    return {
        name: np.array([row[place] for row in rows]).reshape(len(rows), *((count,) if count > 1 else ()))
        for place, (name, (_, count)) in enumerate(supports.items())
    }


def finite_target(model, args, supports, shapes=None):
    """The states of a discrete model and their posterior probabilities by enumeration, from NumPyro's density."""
    states = all_states(supports)
    states = {name: value.reshape(-1, *(shapes or {}).get(name, value.shape[1:])) for name, value in states.items()}

    def logdensity(state):
        return -potential_energy(numpyro.handlers.condition(model, data=state), args, {}, {})

    logs = np.asarray(jax.vmap(logdensity)(states))
    probabilities = np.exp(logs - logs.max())
    return states, probabilities / probabilities.sum()


def exact(kernel, target):
    """Check the transition matrix of the code that runs against the enumerated posterior."""
    states, probabilities = target
    matrix = transition_matrix(kernel, states)
    return check_matrix(matrix, probabilities, states, reversible=bool(kernel.claim.reversible))


@pytest.fixture(scope="module")
def coupled():
    return finite_target(coupled_model, (), {"leaf": (3, 3), "root": (2, 1)})


@pytest.mark.parametrize("scan", ["systematic", "permutation", "random"])
def test_small_discrete_model_exactly(coupled, scan):
    kernel = Gibbs({"root": "exact", "leaf": "exact"}, scan=scan).for_model(coupled_model).kernel
    assert kernel.claim.reversible is (scan != "systematic")
    report = exact(kernel, coupled)
    assert report.passed, report


def test_a_blanket_that_misses_a_child_is_caught(coupled):
    gibbs = Gibbs({"root": "exact", "leaf": "exact"}).for_model(coupled_model)
    terms, (root, leaf) = gibbs.graph.terms, gibbs.kernel.parts
    assert gibbs.graph.touched("root") == ("leaf", "root", "seen", "total")
    for missing in ("leaf", "seen", "total"):
        names = tuple(name for name in gibbs.graph.touched("root") if name != missing)
        wrong = replace(gibbs.kernel, parts=(replace(root, terms=terms.terms(names)), leaf))
        assert not exact(wrong, coupled).outcomes["invariance"].passed


def test_elements_that_depend_on_each_other_are_not_redrawn_at_once():
    """Spins on a small board: two classes are exact; one class, as if all spins were independent, is caught."""
    target = finite_target(spins_model, (2, 3), {"z": (2, 6)}, {"z": (2, 3)})
    kernel = Gibbs({"z": "exact"}).for_model(spins_model, 2, 3).kernel
    assert kernel.parts[0].classes == 2
    assert exact(kernel, target).passed
    part = kernel.parts[0]
    merged = {name: owner.min(axis=0, keepdims=True) for name, owner in part.owners.items()}
    wrong = replace(kernel, parts=(type(part)(part.values, part.of * 0, merged, part.terms, part.batch, 1),))
    assert not exact(wrong, target).outcomes["invariance"].passed


def test_hidden_markov_model_exactly():
    y = jnp.array([0.2, 1.7, 0.9])
    target = finite_target(hidden_markov_model, (y,), {"z": (3, 3)})
    kernel = Gibbs({"z": "exact"}).for_model(hidden_markov_model, y).kernel
    assert exact(kernel, target).passed


@pytest.mark.slow
def test_one_by_one_and_several_sites_at_once_exactly():
    def model():
        with numpyro.plate("n", 2):
            a = numpyro.sample("a", dist.Bernoulli(0.3))
            b = numpyro.sample("b", dist.Categorical(jnp.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])[a]))
        numpyro.factor("tie", jnp.log1p(jnp.sum(a) * jnp.sum(b)))

    target = finite_target(model, (), {"a": (2, 2), "b": (3, 2)})
    kernel = Gibbs({("a", "b"): "exact"}).for_model(model).kernel
    part = kernel.parts[0]
    assert part.classes == 2
    one_by_one = replace(kernel, parts=(type(part)(part.values, None, {}, part.terms, part.batch, 0),))
    for each in (kernel, one_by_one):
        assert exact(each, target).passed


def test_kernels_and_draws_of_discrete_sites_exactly(coupled):
    def draw(key, values):
        logits = jnp.log(jnp.array([0.7, 0.3])) + jnp.stack([log_root(0, values["leaf"]), log_root(1, values["leaf"])])
        return random.categorical(key, logits)

    def log_root(root, leaf):
        table = jnp.array([[0.2, 0.5, 0.3], [0.6, 0.1, 0.3]])[root]
        seen = dist.Normal(leaf + root, 1.0).log_prob(jnp.array([0.3, 1.9, 1.2]))
        return jnp.sum(jnp.log(table[leaf]) + seen) + dist.Normal(1.0 * root, 0.7).log_prob(0.4)

    walk = HeatBath(list(itertools.product(range(3), repeat=3)))
    kernel = Gibbs({"root": draw, "leaf": walk}).for_model(coupled_model).kernel
    assert exact(kernel, coupled).passed


def test_a_kernel_over_a_plate_exactly(coupled):
    kernel = Gibbs({"root": "exact", "leaf": over_plate(HeatBath([0, 1, 2]))}).for_model(coupled_model).kernel
    assert exact(kernel, coupled).passed


# --- continuous sites -------------------------------------------------------------------------------------------------


def chain_model():
    """Neighbours in a line, and a second site in the same plate."""
    with numpyro.plate("time", 5):
        x = numpyro.sample("x", dist.Normal(0.0, 1.0))
        s = numpyro.sample("s", dist.HalfNormal(1.0))
        numpyro.sample("y", dist.Normal(x, s), obs=jnp.arange(5.0))
    numpyro.factor("near", -0.8 * (x[1:] - x[:-1]) ** 2)


@pytest.mark.parametrize(
    ("model", "args", "block", "classes"),
    [
        (groups_model, (jnp.array([0, 1, 2, 3, 4, 0]), jnp.arange(6.0)), "theta", 1),
        (chain_model, (), ("x", "s"), 2),
    ],
)
def test_densities_of_elements_that_move_together(model, args, block, classes):
    """Each element's density and slope are those of the joint density in this element alone."""
    part = Gibbs({block: over_plate(RandomWalk(1.0)), ...: RandomWalk(1.0)}).for_model(model, *args).kernel.parts[0]
    assert len(part.index) == classes
    terms = model_terms(model, *args)
    position = {
        name: jax.random.normal(jax.random.key(i), shape.shape)
        for i, (name, shape) in enumerate(terms.prototype.items())
    }
    names = part.names

    def joint(entries, element):
        moved = {name: position[name].at[element].set(value) for name, value in entries.items()}
        return terms.total(terms.names)({**position, **moved})

    for number, index in enumerate(part.index):
        parts = {name: position[name][index] + 0.3 for name in names}
        given = parts[names[0]] if part.single else parts

        def slope(kernel, at):
            return jax.value_and_grad(kernel.logdensity)(at)

        @jax.jit
        def values(given, parts, number=number, index=index):
            alone = [part._over_lanes(number, position, slope, at) for at in (given, part._parts(number, position))]
            return alone, jax.vmap(jax.value_and_grad(joint))(parts, index), terms.total(terms.names)(position)

        ((value, gradient), (before, _)), (expected, slopes), total = values(given, parts)
        np.testing.assert_allclose(value - before, expected - total, rtol=1e-9)
        gradient = {names[0]: gradient} if part.single else gradient
        for name in names:
            np.testing.assert_allclose(gradient[name], slopes[name], rtol=1e-9)


def ranked_model(y=None):
    mu = numpyro.sample("mu", dist.Normal(0.0, 1.0))
    tau = numpyro.sample("tau", dist.HalfNormal(1.0))
    with numpyro.plate("row", 4):
        z = numpyro.sample("z", dist.Bernoulli(0.4))
        theta = numpyro.sample("theta", dist.Normal(mu, tau + 0.2))
        numpyro.sample("y", dist.Normal(theta + z, 0.5), obs=y)


def draw_mu(key, values):
    """The conjugate conditional law of mu in `ranked_model`."""
    precision = 1.0 + 4 / (values["tau"] + 0.2) ** 2
    mean = jnp.sum(values["theta"]) / (values["tau"] + 0.2) ** 2 / precision
    return mean + random.normal(key) / jnp.sqrt(precision)


def ranked_blocks():
    return {"z": "exact", "mu": draw_mu, "theta": over_plate(CoordinateSlice(1.5)), "tau": RandomWalk(0.7)}


def as_joint_model():
    def sample_prior(key):
        drawn = numpyro.handlers.trace(numpyro.handlers.seed(ranked_model, key)).get_trace()
        values = {name: drawn[name]["value"] for name in ("mu", "tau", "z", "theta")}
        return {**values, "tau": jnp.log(values["tau"])}

    return Model(
        name="groups with switches",
        sample_prior=sample_prior,
        sample_data=lambda key, at: at["theta"] + at["z"] + 0.5 * random.normal(key, (4,)),
        logjoint=lambda at, y: jnp.zeros(()),
        statistics={
            "mu y": lambda at, y: at["mu"] * jnp.sum(y),
            "tau": lambda at, y: at["tau"],
            "spread": lambda at, y: at["tau"] - jnp.log(jnp.var(y)),
            "z y": lambda at, y: jnp.sum(at["z"] * y),
            "theta y": lambda at, y: jnp.sum(at["theta"] * y),
        },
    )


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [None, "mu", "theta"])
def test_the_joint_law_is_kept(wrong):
    """Exact two-sample tests, false alarm at most 1e-6; a blanket that misses a child has to be caught."""
    gibbs = Gibbs(ranked_blocks()).for_model(ranked_model, jnp.zeros(4))

    def bind(kernel, model, y):
        bound = gibbs.placed(kernel, (y,), {})
        terms, (z, mu, theta, tau) = gibbs.graph.terms, bound.parts
        held = terms.with_arguments((y,), {})
        if wrong == "theta":  # the rate at which observations are forgotten
            theta = replace(theta, terms=Partial(terms.terms(("theta",)).func, held))
        if wrong == "mu":
            tau = tau.bind(Partial(terms.total(("tau", "_tau_log_det")).func, held))
        return replace(bound, parts=(z, mu, theta, tau))

    check = two_sample_check("gibbs", as_joint_model(), steps=2, rounds=3, n=1000, bind=bind)
    outcome = check.run(gibbs.stripped(), jax.random.key(4))
    assert outcome.passed is (wrong is None), outcome


# --- running ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_under_our_driver():
    gibbs = Gibbs({"z": "exact", "theta": over_plate(CoordinateSlice(1.0)), ...: RandomWalk(0.5)})
    made = gibbs.for_model(ranked_model, DATA)
    assert made.blocks == (("z",), ("theta",), ("mu", "tau"))
    draws = sample(made.kernel, made.start, draws=20, tune=20, chains=2, progress=False).transform(made.constrain)
    assert draws.position["z"].shape == (2, 20, 4)
    assert np.all(draws.position["tau"] > 0)
    plate, walk = (draws.kernel.parts[place].inner for place in (1, 2))
    assert float(plate.width) != 1
    assert float(walk.scale) != 0.5


@pytest.mark.slow
def test_under_numpyro():
    numpyro_kernel = NumPyroKernel(Gibbs({"z": "exact", "mu": draw_mu, ...: RandomWalk(0.5)}), ranked_model)
    run = MCMC(
        numpyro_kernel, num_warmup=15, num_samples=10, num_chains=2, chain_method="vectorized", progress_bar=False
    )
    run.run(jax.random.key(0), DATA, extra_fields=("info.num_evals", "params.parts.2.inner.scale"))
    samples = run.get_samples(group_by_chain=True)
    assert {name: value.shape for name, value in samples.items()} == {
        "z": (2, 10, 4), "mu": (2, 10), "tau": (2, 10), "theta": (2, 10, 4)
    }  # fmt: skip
    assert np.all(samples["tau"] > 0)
    again = pickle.loads(pickle.dumps(run))
    np.testing.assert_array_equal(again.get_samples()["theta"], run.get_samples()["theta"])


def test_new_data_compile_nothing():
    gibbs = Gibbs({"z": "exact", "theta": over_plate(RandomWalk(1.0)), ...: RandomWalk(0.5)})
    first, second = (gibbs.for_model(ranked_model, y).kernel for y in (DATA, 2 * DATA))
    assert jax.tree.structure(first) == jax.tree.structure(second)


# --- refusals ---------------------------------------------------------------------------------------------------------


def counts_model():
    rate = numpyro.sample("rate", dist.Gamma(1.0, 1.0))
    number = numpyro.sample("number", dist.Poisson(3.0))
    numpyro.sample("hits", dist.Binomial(number, 0.5))
    numpyro.sample("y", dist.Normal(rate, 1.0), obs=jnp.array(0.3))


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ({"speed": "exact", ...: RandomWalk(1.0)}, "no latent site 'speed'; it has rate, number, hits"),
        ({"y": RandomWalk(1.0), ...: RandomWalk(1.0)}, "the site y is observed"),
        ({"rate": RandomWalk(1.0)}, "no block updates number, hits"),
        ({("rate", "number"): RandomWalk(1.0), "hits": lambda key, values: 0}, "number is discrete, and RandomWalk"),
        ({"number": "exact", ...: RandomWalk(1.0)}, "Poisson has no finite list of values"),
        (
            {"hits": "exact", "number": draw_mu, ...: RandomWalk(1.0)},
            "differ between elements or depend on other sites",
        ),
        ({"rate": "exact", ...: RandomWalk(1.0)}, "rate cannot be redrawn exactly .* it is continuous"),
        ({"rate": HeatBath([0, 1]), "number": draw_mu, "hits": draw_mu}, "moves integers, and rate is continuous"),
    ],
)
def test_what_a_model_does_not_allow(blocks, message):
    with pytest.raises(ValueError, match=message):
        Gibbs(blocks).for_model(counts_model)


@pytest.mark.parametrize(
    ("blocks", "error", "message"),
    [
        ({}, TypeError, "takes a dictionary"),
        ({3: "exact"}, TypeError, "name of a site, a tuple of names"),
        ({"a": "exact", ("b", "a"): RandomWalk(1.0)}, ValueError, "the site a is in two blocks"),
        ({"a": "slice"}, TypeError, "a block is updated by"),
        ({"a": NUTS}, TypeError, "For NUTS pass blackjax.nuts"),
        ({"a": RandomWalk(1.0, logdensity=jnp.sum)}, ValueError, "has a target of its own"),
        ({"a": Stretch()}, ValueError, "moves a population"),
    ],
)
def test_what_is_no_block(blocks, error, message):
    with pytest.raises(error, match=message):
        Gibbs(blocks)


def test_what_hangs_together():
    with pytest.raises(ValueError, match="depend on each other"):
        Gibbs({"z": over_plate(HeatBath([0, 1])), "w": "exact"}).for_model(summed_model)
    with pytest.raises(ValueError, match="need one batch shape"):
        Gibbs({("z", "w"): "exact"}).for_model(summed_model)
    kernel = Gibbs({"z": "exact", "w": "exact"}).for_model(summed_model).kernel
    with pytest.raises(TypeError, match="cannot be given a log density as a whole"):
        tempered(kernel, 0.5).bind(lambda position: 0.0)
    with pytest.raises(ValueError, match="needs a model"):
        NumPyroKernel(Gibbs({"z": "exact"}), potential_fn=lambda z: 0.0)
    with pytest.raises(ValueError, match="cannot be a block of another Gibbs"):
        NumPyroKernel(Gibbs({"z": "exact"}), summed_model).wrap_model(lambda model: model)
    with pytest.raises(TypeError, match="over_plate takes a kernel"):
        over_plate("exact")


def test_models_without_one_density():
    def subsampled():
        with numpyro.plate("n", 10, subsample_size=3):
            numpyro.sample("x", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match="takes 3 of 10 rows at random"):
        model_graph(subsampled)
    with pytest.raises(ValueError, match="no latent site"):
        model_graph(lambda: None)
    with pytest.raises(ValueError, match="delta distribution"):
        model_graph(lambda: numpyro.sample("x", dist.Delta(1.0)))
