"""Compositions: exact laws, derived claims, caches that cannot go stale, and the traps."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from ergodica.samplers.block import Block, as_block
from ergodica.samplers.claim import Exactness
from ergodica.samplers.compose import Cycle, corrected, cycle, mixture, on, repeat, tempered
from ergodica.samplers.gibbs.conditional_draw import ConditionalDraw
from ergodica.samplers.gibbs.heat_bath import HeatBath
from ergodica.samplers.kernel import Kernel
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.validation.cases.composition import CASES, Flip, FlipOne, spin_blocks
from ergodica.validation.certify import certify
from ergodica.validation.exact import check_exact
from ergodica.validation.targets.finite import spin3
from tests.traps.composition import ForgetfulOn, StaleCycle, StaleOn, StateDependentMixture

ROWS = {case.name: case for case in CASES}
ONE_BY_ONE = tuple(on(index, HeatBath([-1, 1])) for index in range(3))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=(pytest.mark.slow, pytest.mark.catalogue) if name == "gibbs-gaussian" else ())
        for name in ROWS
    ],
)
def test_the_catalogue_certifies_each_composition(name):
    report = certify(name)
    assert report.passed, str(report)
    assert report.false_alarm <= 5e-6


def test_systematic_scan_is_not_reversible_and_says_so():
    report = check_exact(cycle(*ONE_BY_ONE), spin3())
    assert report.passed
    assert report.balance_defect == pytest.approx(0.0283628501, abs=1e-10)
    assert cycle(*ONE_BY_ONE).claim.reversible is False


@pytest.mark.parametrize(
    "kernel",
    [
        cycle(*ONE_BY_ONE, *ONE_BY_ONE[::-1]),
        cycle(*ONE_BY_ONE, order="random"),
        mixture(*ONE_BY_ONE, weights=[0.5, 0.3, 0.2]),
        repeat(mixture(*ONE_BY_ONE), 2),
        cycle(ONE_BY_ONE[0], mixture(*ONE_BY_ONE[1:]), ONE_BY_ONE[0]),
    ],
    ids=["palindrome", "random order", "mixture", "repeat", "nested"],
)
def test_reversible_compositions_satisfy_detailed_balance(kernel):
    if not kernel.claim.reversible:  # the nested palindrome needs the same object at both ends
        pytest.fail(f"expected a reversible claim, got {kernel.claim}")
    assert check_exact(kernel, spin3()).passed


def test_a_palindrome_is_recognised_by_identity_only():
    twin = on(0, HeatBath([-1, 1]))
    assert cycle(ONE_BY_ONE[0], ONE_BY_ONE[1], ONE_BY_ONE[0]).claim.reversible
    assert not cycle(ONE_BY_ONE[0], ONE_BY_ONE[1], twin).claim.reversible
    bound = cycle(ONE_BY_ONE[0], ONE_BY_ONE[1], ONE_BY_ONE[0]).bind(spin3().logdensity)
    assert bound.claim.reversible  # binding makes new parts; the claim stays


TRAPS = {
    "stale cycle": lambda: StaleCycle(spin_blocks(), palindromic=False),
    "stale block": lambda: cycle(*(StaleOn(part.block, part.inner) for part in spin_blocks())),
    "forgotten rest": lambda: cycle(
        *(ForgetfulOn(p.block, p.inner, None, jnp.array([1, 1, 1])) for p in spin_blocks())
    ),
    "state-dependent weights": lambda: StateDependentMixture((ONE_BY_ONE[0], ONE_BY_ONE[2]), jnp.ones(2) / 2),
}


@pytest.mark.parametrize("name", TRAPS)
def test_certify_rejects_the_trap(name):
    report = check_exact(TRAPS[name](), spin3())
    assert not report.passed
    assert not report.outcomes["invariance"].passed


@pytest.mark.slow
def test_a_gibbs_sweep_that_reads_stale_values_is_rejected():
    """All coordinates drawn from the old position at once: the conditionals are right, the law is not."""

    class Simultaneous(Cycle):
        def step(self, key, state):
            keys = jax.random.split(key, len(self.parts))
            drawn = [
                part.step(k, inner)[0].position for part, k, inner in zip(self.parts, keys, state.parts, strict=True)
            ]
            position = jnp.stack([new[index] for index, new in enumerate(drawn)])
            info = super().step(key, state)[1]
            return self.refresh(state._replace(position=position)), info

    parts = ROWS["gibbs-gaussian"].example().parts
    failing = [
        check.run(Simultaneous(parts, palindromic=False), jax.random.key(1)) for check in ROWS["gibbs-gaussian"].checks
    ]
    assert not all(outcome.passed for outcome in failing)


def test_certify_needs_a_target_for_a_composition():
    with pytest.raises(ValueError, match="pass a target with known truth"):
        certify(cycle(*ONE_BY_ONE))


def test_the_caches_are_fresh_after_every_step():
    """The density that a state carries is that of its position, for every part, along a run."""

    def logdensity(position):
        return -0.5 * jnp.sum(position["x"] ** 2) - jnp.where(position["k"] > 0, position["x"].sum() ** 2, 0.0)

    kernel = cycle(on("x", RandomWalk(0.7)), on("k", HeatBath([0, 1]))).bind(logdensity)
    state = kernel.init({"x": jnp.array([0.3, -0.2]), "k": jnp.array(1)})
    step = jax.jit(kernel.step)
    for index in range(20):
        state, info = step(jax.random.key(index), state)
        assert state.parts[1].logdensity == pytest.approx(float(logdensity(state.position)), abs=1e-12)
    assert info.num_evals == 1 + 1 + 2 + 1  # candidate and refresh, two values and refresh


def test_a_step_needs_no_fresh_cache_from_outside():
    """Refresh makes a state that was moved from outside as good as a new one."""
    kernel = cycle(*spin_blocks()).bind(spin3().logdensity)
    moved = kernel.refresh(kernel.init(jnp.array([-1, -1, -1]))._replace(position=jnp.array([1, -1, 1])))
    fresh = kernel.init(jnp.array([1, -1, 1]))
    for left, right in zip(jax.tree.leaves(moved), jax.tree.leaves(fresh), strict=True):
        np.testing.assert_array_equal(left, right)


def test_claims_are_those_of_the_weakest_part():
    class Biased(HeatBath):
        @property
        def claim(self):
            import dataclasses

            return dataclasses.replace(super().claim, exactness=Exactness.BIASED, order="O(h)")

    both = cycle(ONE_BY_ONE[0], on(1, Biased([-1, 1])))
    assert both.claim.exactness is Exactness.BIASED
    assert tempered(repeat(both, 2), 0.5).claim.exactness is Exactness.BIASED


@pytest.mark.parametrize("name", ["cycle", "random-order-cycle", "gibbs-random-scan", "tempered"])
@pytest.mark.slow
def test_protocol_under_jit_vmap_and_scan(name):
    kernel = ROWS[name].example().bind(spin3().logdensity)
    assert isinstance(kernel, Kernel)
    starts = jnp.array([[1, 1, 1], [-1, 1, -1]])
    states = jax.vmap(kernel.init)(starts)
    keys = jax.random.split(jax.random.key(3), 2)
    batched, _ = jax.jit(jax.vmap(kernel.step))(keys, states)
    single, _ = jax.jit(kernel.step)(keys[1], jax.tree.map(lambda leaf: leaf[1], states))
    np.testing.assert_array_equal(single.position, batched.position[1])
    ran, info = jax.jit(kernel.run, static_argnums=2)(keys[0], jax.tree.map(lambda leaf: leaf[0], states), 3)
    assert ran.position.shape == (3,)
    assert info.num_evals > 0
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(kernel.unbound()))


def test_new_data_and_temperatures_do_not_recompile():
    traces = []

    def density(shift, x):
        traces.append(1)
        return -jnp.sum((x - shift) ** 2).astype(float)

    @jax.jit
    def step(kernel, key, state):
        return kernel.step(key, state)[0]

    kernel = tempered(cycle(*ONE_BY_ONE), 0.5)
    state = kernel.bind(Partial(density, jnp.array(0.1))).init(jnp.array([1, 1, 1]))
    counts = set()
    for shift in (0.1, 0.2, 0.3):
        step(kernel.bind(Partial(density, jnp.array(shift))), jax.random.key(0), state)
        counts.add(len(traces))
    assert len(counts) == 1


def test_blocks_read_and_write():
    position = {"a": jnp.array([1.0, 2.0]), "b": jnp.array(3.0)}
    block = as_block(["a", "b"])
    assert block.get(position) == position or list(block.get(position)) == ["a", "b"]
    assert as_block("b").put(position, jnp.array(4.0))["b"] == 4.0
    vector = jnp.arange(4.0)
    np.testing.assert_array_equal(as_block((0, 2)).get(vector), [0, 2])
    np.testing.assert_array_equal(as_block(slice(1, 3)).put(vector, jnp.zeros(2)), [0, 0, 0, 3])
    np.testing.assert_array_equal(as_block(-1).get(vector), 3)
    lens = Block(lambda x: x[0], lambda x, v: (v, x[1]), "first")
    assert as_block(lens) is lens


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: cycle(), ValueError, "cycle needs at least one kernel"),
        (lambda: cycle(HeatBath), TypeError, "not its class"),
        (lambda: cycle(*ONE_BY_ONE, order="sorted"), ValueError, "order has to be"),
        (lambda: mixture(*ONE_BY_ONE, weights=[1.0, 2.0]), ValueError, "one entry for each of the 3 kernels"),
        (lambda: mixture(*ONE_BY_ONE, weights=[1.0, 2.0, 0.0]), ValueError, "greater than 0"),
        (lambda: repeat(ONE_BY_ONE[0], 0), ValueError, "at least 1"),
        (lambda: on(1.5, HeatBath([0, 1])), TypeError, "selected by a name"),
        (lambda: on(True, HeatBath([0, 1])), TypeError, "boolean"),
        (lambda: tempered(ONE_BY_ONE[0], -1.0), ValueError, "at least 0"),
        (lambda: HeatBath([0, 0, 1]), ValueError, "each position once"),
        (lambda: HeatBath([0.5, 1.0]), TypeError, "integer-valued"),
        (lambda: HeatBath([0, 1]).init(jnp.array(0)), ValueError, "no target"),
        (lambda: HeatBath([0, 1], lambda x: 0.0 * x).init(jnp.array(2)), ValueError, "not among them"),
        (lambda: HeatBath([0, 1], lambda x: 0.0 * x).init(jnp.array([0, 1])), ValueError, r"shape \(\)"),
        (lambda: on("x", HeatBath([0, 1]), lambda p: 0.0 * p["x"]).init({"y": jnp.array(1)}), ValueError, "no entry x"),
        (lambda: on("x", HeatBath([0, 1]), lambda p: 0.0 * p).init(jnp.array(1)), TypeError, "names entries"),
        (lambda: ConditionalDraw(0, 1.0), TypeError, "callable"),
        (lambda: ConditionalDraw(0, lambda k, x: x).init(jnp.ones(2)), TypeError, "has to return the block 0"),
        (lambda: corrected(Flip, lambda x: 0.0), TypeError, "needs a Proposal"),
        (lambda: cycle(*ONE_BY_ONE).init(jnp.array([1, 1, 1])), ValueError, "no target"),
    ],
)
def test_bad_input(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_flip_one_covers_the_space():
    assert check_exact(corrected(FlipOne()), spin3()).passed
    states = np.array(list(itertools.product([-1, 1], repeat=3)))
    np.testing.assert_array_equal(spin3().states, states)
