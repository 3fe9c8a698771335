"""The chains of a run make the same draws side by side, one after another, and on several devices."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

import ergodica
from ergodica.samplers.sample import resume, sample
from ergodica.samplers.stored_array import StoreError


def normal(scale, x):
    return -0.5 * jnp.sum((x / scale) ** 2)


TARGET = Partial(normal, jnp.array([1.0, 3.0]))
WALK = ergodica.RandomWalk(jnp.ones(2), logdensity=TARGET)
ISING = ergodica.IsingHeatBath(ergodica.SquareLattice(4, 4), 0.4)
OPTIONS = {"draws": 30, "tune": 20, "chains": 5, "seed": 4, "progress": False}


def run(kernel, **options):
    start = jnp.ones((4, 4), jnp.int8) if isinstance(kernel, ergodica.IsingHeatBath) else jnp.ones(2)
    return sample(kernel, start, **{**OPTIONS, **options})


def same(one, other, rtol=1e-9):
    """The same up to rounding: XLA may add up in another order where it compiles for another number of chains."""
    assert set(one.stats) == set(other.stats)
    parts = [(draws.raw_position, draws.raw_warmup, dict(draws.stats), draws.state) for draws in (one, other)]
    for left, right in zip(*map(jax.tree.leaves, parts), strict=True):
        assert left.shape == right.shape
        assert left.dtype == right.dtype
        np.testing.assert_allclose(np.asarray(left), np.asarray(right), rtol=rtol, atol=rtol * 1e-3)


@pytest.mark.parametrize("method", ["sequential", "parallel"])
@pytest.mark.parametrize("options", [{}, {"thin": 3, "chunk": 7}], ids=["plain", "thinned"])
def test_methods_agree(method, options):
    same(run(WALK, **options), run(WALK, chain_method=method, **options))


@pytest.mark.slow
def test_a_compiled_core_makes_the_same_draws_bit_for_bit():
    same(run(ISING), run(ISING, chain_method="sequential"), rtol=0.0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sequential", "parallel"])
def test_slice_samplers_agree(method):
    kernel = ergodica.CoordinateSlice(2.0, logdensity=TARGET)
    same(run(kernel), run(kernel, chain_method=method))


def test_the_compiled_host_makes_the_same_draws_bit_for_bit():
    threads, alone = run(WALK, host="numba", tuner=None), run(WALK, host="numba", tuner=None, chain_method="sequential")
    same(threads, alone, rtol=0.0)


DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from jax.tree_util import Partial
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_disable_most_optimizations", True)
import ergodica
from ergodica.samplers.chain_methods import device_mesh

def normal(scale, x):
    return -0.5 * jnp.sum((x / scale) ** 2)

assert device_mesh(5).size == 2 and device_mesh(1).size == 1
walk = ergodica.RandomWalk(jnp.ones(2), logdensity=Partial(normal, jnp.array([1.0, 3.0])))
options = {"draws": 30, "tune": 20, "chains": 5, "seed": 4, "progress": False}
one, two = (ergodica.sample(walk, jnp.ones(2), chain_method=m, **options) for m in ("vectorized", "parallel"))
for left, right in zip(jax.tree.leaves((one.raw_position, one.raw_warmup, one.state)),
                       jax.tree.leaves((two.raw_position, two.raw_warmup, two.state)), strict=True):
    np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12)
two.kernel.step(jax.random.key(0), jax.tree.map(lambda leaf: leaf[0], one.state))  # nothing is bound to two devices
print("agree")
"""


@pytest.mark.slow
def test_two_devices_share_an_odd_number_of_chains():
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", DEVICES], capture_output=True, text=True, env=environment, check=False)
    assert done.stdout == "agree\n", done.stderr


def test_a_run_on_disk_goes_on_by_its_method(tmp_path):
    whole = run(WALK, chain_method="sequential")
    run(WALK, chain_method="sequential", store=tmp_path / "run", draws=12)
    rest = resume(tmp_path / "run", WALK, draws=30, progress=False)
    np.testing.assert_array_equal(np.asarray(rest.position), whole.position)
    with pytest.raises(StoreError, match="exists already"):
        run(WALK, chain_method="parallel", store=tmp_path / "run")


def test_methods_are_named():
    with pytest.raises(ValueError, match="chain_method is one of 'vectorized', 'sequential', 'parallel'; got 'pmap'"):
        run(WALK, chain_method="pmap")
