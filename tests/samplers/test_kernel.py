"""The base class: what a kernel gets for writing init and step."""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial
from jaxtyping import Array

from ergodica.samplers import random
from ergodica.samplers.claim import Claim, Exactness
from ergodica.samplers.density import as_logdensity, evaluate, evaluate_with_gradient
from ergodica.samplers.inputs import real_position, start_density
from ergodica.samplers.kernel import DensityState, Info, Kernel, State, replace, summarise_info, zeros_of_info


class DriftInfo(NamedTuple):
    num_evals: Array
    acceptance_rate: Array
    is_accepted: Array


class Drift(Kernel[DensityState, DriftInfo]):
    """Adds noise; enough of a kernel to try the protocol on."""

    scale: Array = eqx.field(converter=lambda s: jnp.asarray(s, float))
    logdensity: Partial | None = eqx.field(converter=lambda f: None if f is None else as_logdensity(f), default=None)

    @property
    def claim(self):
        return Claim(Exactness.HEURISTIC, "adds noise")

    def init(self, position, *, key=None):
        position = real_position(position, "Drift")
        return DensityState(position, start_density(self._target(), position, "Drift"))

    def step(self, key, state):
        position = state.position + self.scale.astype(state.position.dtype) * random.normal(
            key, state.position.shape, state.position.dtype
        )
        value, _ = evaluate(self._target(), position)
        info = DriftInfo(jnp.asarray(1), jnp.asarray(0.5, position.dtype), value > state.logdensity)
        return DensityState(position, value), info


def square(x):
    return -jnp.sum(x**2)


def test_states_and_infos_are_recognised():
    kernel = Drift(1.0, square)
    state = kernel.init(jnp.ones(2))
    _, info = kernel.step(jax.random.key(0), state)
    assert isinstance(state, State)
    assert isinstance(info, Info)
    assert isinstance(kernel, Kernel)


def test_run_is_a_scan_of_step_with_folded_keys():
    kernel = Drift(0.1, square)
    state = kernel.init(jnp.ones(2))
    key = jax.random.key(5)
    ran, info = kernel.run(key, state, 4)
    accepted = 0
    for index in range(4):
        state, one = kernel.step(jax.random.fold_in(key, index), state)
        accepted += int(one.is_accepted)
    np.testing.assert_allclose(ran.position, state.position, rtol=1e-15)
    assert info.num_evals == 4
    assert info.is_accepted == accepted
    assert info.acceptance_rate == 0.5
    with pytest.raises(ValueError, match="num_steps has to be at least 1"):
        kernel.run(key, state, 0)


def test_bind_unbound_refresh():
    kernel = Drift(0.5, square)
    other = kernel.bind(lambda x: 3.0 * square(x))
    assert other.scale == kernel.scale
    state = kernel.init(jnp.ones(2))
    assert other.refresh(state).logdensity == 3 * state.logdensity
    bare = kernel.unbound()
    assert bare.logdensity is None
    assert all(eqx.is_array(leaf) for leaf in jax.tree.leaves(bare))
    with pytest.raises(ValueError, match=r"no target; give it one by kernel.bind"):
        bare.init(jnp.ones(2))
    with pytest.raises(TypeError, match="callable from a position"):
        kernel.bind(3.0)


def test_jit_of_a_bound_method_and_identity():
    kernel = Drift(0.5, square)
    state = kernel.init(jnp.ones(2))
    step = jax.jit(kernel.step)
    first, _ = step(jax.random.key(0), state)
    again, _ = jax.jit(kernel.step)(jax.random.key(0), state)
    np.testing.assert_array_equal(first.position, again.position)
    assert kernel == kernel
    assert kernel != Drift(0.5, square)
    assert eqx.tree_equal(kernel, Drift(0.5, square))


def test_new_parameters_and_new_data_do_not_retrace():
    traces = []

    def density(data, x):
        traces.append(1)
        return -jnp.sum((x - data) ** 2)

    @jax.jit
    def step(kernel, key, state):
        return kernel.step(key, state)

    counts = set()
    for value in (0.5, 0.25, 1.5):
        kernel = replace(Drift(1.0), scale=jnp.asarray(value)).bind(Partial(density, jnp.full(2, value)))
        state = DensityState(jnp.ones(2), jnp.zeros(()))
        step(kernel, jax.random.key(0), state)
        counts.add(len(traces))
    assert counts == {1}


def test_kernels_batch_and_unbound_ones_fit_a_scan():
    kernels = jax.vmap(lambda s: replace(Drift(1.0), scale=s))(jnp.array([0.1, 1.0, 2.0]))
    states = jax.vmap(Drift(1.0, square).init)(jnp.zeros((3, 2)))
    keys = jax.random.split(jax.random.key(0), 3)
    moved, _ = jax.vmap(lambda k, key, s: k.bind(square).step(key, s))(kernels, keys, states)
    assert moved.position.shape == (3, 2)

    def body(carry, key):
        bare, state = carry
        state, _ = bare.bind(square).step(key, state)
        return (bare, state), state.position

    _, positions = jax.lax.scan(body, (Drift(1.0).unbound(), DensityState(jnp.zeros(2), jnp.zeros(()))), keys)
    assert positions.shape == (3, 2)


def test_a_module_is_a_log_density_whose_arrays_are_leaves():
    class Normal(eqx.Module):
        mean: Array

        def __call__(self, x):
            return -jnp.sum((x - self.mean) ** 2)

    partial = as_logdensity(Normal(jnp.ones(2)))
    assert len(jax.tree.leaves(partial)) == 1
    assert partial(jnp.ones(2)) == 0
    assert as_logdensity(partial) is partial


@pytest.mark.parametrize("bad", [jnp.nan, jnp.inf])
def test_in_a_run_what_is_no_density_is_a_counted_rejection(bad):
    value, invalid = evaluate(lambda x: bad * jnp.ones(()), jnp.ones(2))
    assert value == -jnp.inf
    assert invalid
    value, gradient, invalid = evaluate_with_gradient(lambda x: bad * jnp.sum(x), jnp.ones(2))
    assert value == -jnp.inf
    assert invalid
    assert jnp.all(jnp.isfinite(gradient))


def test_outside_the_support_is_valid():
    value, invalid = evaluate(lambda x: jnp.where(x[0] > 0, 0.0, -jnp.inf), -jnp.ones(2))
    assert value == -jnp.inf
    assert not invalid


def test_gradient_kernels_have_to_refresh_themselves():
    class GradientState(NamedTuple):
        position: Array
        logdensity: Array
        logdensity_grad: Array

    kernel = Drift(1.0, square)
    with pytest.raises(TypeError, match="has to define refresh"):
        kernel.refresh(GradientState(jnp.ones(2), jnp.zeros(()), jnp.zeros(2)))


def test_helpers():
    kernel = Drift(1.0, square)
    info = zeros_of_info(kernel, jax.random.key(0), kernel.init(jnp.ones(2)))
    assert info == DriftInfo(0, 0.0, False)
    total = summarise_info(DriftInfo(jnp.arange(3), jnp.array([0.0, 0.5, 1.0]), jnp.array([True, False, True])))
    assert (int(total.num_evals), float(total.acceptance_rate), int(total.is_accepted)) == (3, 0.5, 2)
    with pytest.raises(ValueError, match="no field width"):
        replace(kernel, width=1.0)


def test_a_target_that_is_no_log_density_cannot_be_bound():
    class Fixed(Drift):
        @property
        def takes_logdensity(self):
            return False

    with pytest.raises(TypeError, match="nothing to bind"):
        Fixed(1.0).bind(square)
