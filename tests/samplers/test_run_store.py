"""Runs on disk: the same draws, whatever happens on the way; and what is refused."""

import dataclasses
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.tree_util import Partial

from ergodica.samplers import run_store
from ergodica.samplers import sample as driver
from ergodica.samplers.draws import Draws
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.samplers.progress import Silent
from ergodica.samplers.run_store import RunStore
from ergodica.samplers.sample import resume, sample
from ergodica.samplers.stopping import Until
from ergodica.samplers.stored_array import StoredArray, StoreError
from tests.helpers.kernels import Importance, Stretch


def normal(scale, x):
    return -0.5 * jnp.sum(x["a"] ** 2) - 0.5 * (x["b"] / scale) ** 2


SCALE = jnp.array(2.0)
START = {"a": jnp.ones(2), "b": jnp.ones(())}
OPTIONS = {"draws": 50, "tune": 30, "chains": 2, "seed": 3, "progress": False}


def walk(scale=0.7, density=None):
    return RandomWalk(scale, logdensity=Partial(normal, SCALE) if density is None else density)


def same(one: Draws, other: Draws):
    parts = ("raw_position", "raw_warmup", "stats", "warmup_stats", "state", "tuned", "kernel")
    for part in parts:
        left, right = (getattr(draws, part) for draws in (one, other))
        for a, b in zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert one.counts == other.counts


@pytest.fixture
def often(monkeypatch):
    """Commit after every chunk."""
    monkeypatch.setattr(run_store, "COMMIT_SECONDS", -1.0)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"thin": 3}, {"keep_warmup": False}, {"tuner": None}, {"tune": 0}])
def test_a_store_changes_no_draw(tmp_path, often, options):
    options = {**OPTIONS, **options}
    stored = sample(walk(), START, store=tmp_path / "run", chunk=7, **options)
    same(stored, sample(walk(), START, **options))
    assert all(isinstance(leaf, StoredArray) for leaf in jax.tree.leaves(stored.position))
    loaded = Draws.load(tmp_path / "run")
    assert repr(loaded) == repr(stored)
    assert loaded.summary().equals(stored.summary())
    assert loaded.claim == walk().claim
    assert loaded.ending == "complete"


@pytest.mark.parametrize(
    ("kernel", "start"),
    [
        (Importance(2.0, logdensity=lambda x: -0.5 * jnp.sum(x**2)), jnp.ones(2)),
        (Stretch(logdensity=lambda x: -0.5 * jnp.sum(x**2)), jnp.arange(12.0).reshape(6, 2)),
    ],
    ids=["weighted", "population"],
)
def test_weighted_draws_and_populations(tmp_path, kernel, start):
    options = {**OPTIONS, "tune": 0}
    stored, kept = sample(kernel, start, store=tmp_path / "run", **options), sample(kernel, start, **options)
    same(stored, kept)
    np.testing.assert_array_equal(stored.mean(), kept.mean())
    group = "weighted_posterior" if kernel.claim.weighted else "posterior"
    with xarray.open_datatree(tmp_path / "run" / "draws.zarr", engine="zarr", consolidated=False) as tree:
        assert tree[group]["x"].dims[:2] == ("draw", "chain")
        assert tree[group].attrs["sampler"] == type(kernel).__name__


class Killed(BaseException):
    """Stands for a signal that nothing catches."""


def killed_at(monkeypatch, count):
    """Let the process die at the ``count``-th write, before or after it has happened."""
    writes = {"left": count // 2}

    def dying(work, *args):
        writes["left"] -= 1
        if writes["left"] >= 0:
            return work(*args)
        if count % 2:
            work(*args)
        raise Killed

    monkeypatch.setattr(run_store, "_replace", partial(dying, run_store._replace))
    monkeypatch.setattr(run_store, "_sync_chunks", partial(dying, run_store._sync_chunks))


@pytest.mark.slow
@pytest.mark.parametrize("first", range(4))
def test_a_run_that_dies_again_and_again_ends_with_the_same_draws(tmp_path, often, monkeypatch, first):
    """Four ways through the run; each meets every kind of write at which a process can die."""
    expected = sample(walk(), START, **OPTIONS, thin=2)
    store, deaths, count = tmp_path / "run", 0, 5 + first
    while True:
        with monkeypatch.context() as patch:
            killed_at(patch, count)
            try:
                if not store.exists():
                    got = sample(walk(), START, store=store, chunk=11, **OPTIONS, thin=2)
                else:
                    got = resume(store, walk(), progress=False, chunk=9)
                break
            except Killed:
                deaths += 1
                count += 4
    assert deaths > 3
    same(got, expected)


CHILD = """
import sys
import jax, jax.numpy as jnp
from ergodica.samplers import run_store
from ergodica.samplers.metropolis.random_walk import RandomWalk
from ergodica.samplers.sample import resume, sample
jax.config.update("jax_enable_x64", True)
run_store.COMMIT_SECONDS = 0.003
def logdensity(x):
    return -0.5 * jnp.sum(x**2)
kernel = RandomWalk(1.0, logdensity=logdensity)
store, how = sys.argv[1:]
options = dict(draws=40_000, tune=10_000, chains=2, seed=1)
if how == "memory":
    draws = sample(kernel, jnp.ones(3), progress=False, **options)
elif how == "sample":
    draws = sample(kernel, jnp.ones(3), progress=False, chunk=16, store=store, **options)
else:
    draws = resume(store, kernel, progress=False, chunk=16)
draws.save(sys.argv[1] + "." + how + ".nc")
"""


@pytest.mark.slow
def test_twenty_kills_at_random_moments(tmp_path, request):
    cache = str(request.config.cache.mkdir("xla"))
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    rng = np.random.default_rng(8)
    store = tmp_path / "run"

    def child(how):
        return subprocess.Popen([sys.executable, "-c", CHILD, str(store), how], env=environment)

    kills, done = 0, -1
    while True:
        process = child("sample" if not (store / "manifest.json").exists() else "resume")
        if kills < 20:
            while process.poll() is None and not _has_moved(store, done):
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
        process.wait()
        if process.returncode != -signal.SIGKILL:
            break
        kills += 1
        done = RunStore.open(store).progress["commits"]
    assert process.returncode == 0
    assert kills == 20
    assert child("memory").wait() == 0
    one, other = Draws.load(f"{store}.resume.nc"), Draws.load(f"{store}.memory.nc")
    np.testing.assert_array_equal(one.position, other.position)
    np.testing.assert_array_equal(one.warmup_position, other.warmup_position)


def _has_moved(store, commits):
    try:
        return json.loads((store / "manifest.json").read_text())["manifest"]["progress"]["commits"] > commits
    except FileNotFoundError:
        return False


def test_ctrl_c_commits_and_more_draws_can_be_asked_for(tmp_path, monkeypatch):
    class Impatient(Silent):
        def show(self, standing):
            if standing.done >= 35:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(driver, "make_reporter", lambda progress: Impatient())
        draws = sample(walk(), START, store=tmp_path / "run", chunk=7, **OPTIONS)
    assert draws.interrupted
    assert draws.num_draws == 35
    same(resume(tmp_path / "run", walk(), progress=False, draws=80), sample(walk(), START, **{**OPTIONS, "draws": 80}))
    again = resume(tmp_path / "run", walk(), progress=False)
    assert again.num_draws == 80
    with pytest.raises(ValueError, match="80 draws already; got draws=40"):
        resume(tmp_path / "run", walk(), draws=40)


def test_ctrl_c_in_warm_up_can_be_resumed(tmp_path, monkeypatch):
    class Impatient(Silent):
        def show(self, standing):
            if standing.done >= 14:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(driver, "make_reporter", lambda progress: Impatient())
        with pytest.raises(KeyboardInterrupt):
            sample(walk(), START, store=tmp_path / "run", chunk=7, **OPTIONS)
    with pytest.raises(StoreError, match="no draws yet; it has made 14 steps of warm-up"):
        Draws.load(tmp_path / "run")
    same(resume(tmp_path / "run", walk(), progress=False), sample(walk(), START, **OPTIONS))


@pytest.mark.slow
def test_a_run_that_stops_by_precision_stops_at_the_same_draw(tmp_path, often):
    until = Until(relative=0.1, min_draws=40)
    options = {**OPTIONS, "draws": 4000}
    whole = sample(walk(), START, until=until, **options)
    assert whole.ending == "precise"
    assert 40 < whole.num_draws < 4000
    part = sample(walk(), START, store=tmp_path / "run", chunk=13, **{**options, "draws": 45})
    assert part.ending == "complete"
    rest = resume(tmp_path / "run", walk(), until=until, draws=4000, progress=False)
    assert rest.ending == "precise"
    same(rest, whole)
    assert resume(tmp_path / "run", walk(), until=until, draws=4000, progress=False).num_draws == whole.num_draws


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    store = tmp_path_factory.mktemp("stores") / "run"
    sample(walk(), START, store=store, **OPTIONS)
    return store


@pytest.fixture
def copy(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy"


def other_normal(scale, x):
    return -0.5 * jnp.sum(x["a"] ** 2) - 0.4 * (x["b"] / scale) ** 2


SHIFT = np.array([1.0, 2.0])


def closing_over(shift):
    return lambda x: -0.5 * jnp.sum((x["a"] - shift) ** 2) - x["b"] ** 2


@pytest.mark.parametrize(
    ("kernel", "options", "message"),
    [
        (walk(0.8), {}, "the kernel's parameters or data is not what it was"),
        (walk(density=Partial(normal, jnp.array(3.0))), {}, "the kernel's parameters or data"),
        (walk(density=Partial(other_normal, SCALE)), {}, "the code of the kernel or of its log density"),
        (walk(), {"tuner": None}, "the tuner, or one of its parameters,"),
    ],
)
def test_another_kernel_is_refused(finished, kernel, options, message):
    with pytest.raises(StoreError, match=message):
        resume(finished, kernel, **options)


def test_other_data_in_a_closure_are_refused(tmp_path):
    sample(walk(density=closing_over(SHIFT)), START, store=tmp_path / "run", **OPTIONS)
    resume(tmp_path / "run", walk(density=closing_over(SHIFT.copy())), progress=False)
    with pytest.raises(StoreError, match="data that the log density closes over"):
        resume(tmp_path / "run", walk(density=closing_over(SHIFT + 1)))


def test_another_precision_is_refused(finished):
    with jax.enable_x64(False), pytest.raises(StoreError, match="jax_enable_x64 on"):
        resume(finished, walk())


def rewritten(store, change):
    whole = json.loads((store / "manifest.json").read_text())
    change(whole["manifest"])
    whole["sha256"] = run_store._digest(run_store._canonical(whole["manifest"]))
    (store / "manifest.json").write_text(json.dumps(whole))


def test_other_versions_are_refused(copy):
    rewritten(copy, lambda manifest: manifest["header"]["versions"].update(jax="0.4.1"))
    with pytest.raises(StoreError, match=r"other versions \(jax 0.4.1, now"):
        resume(copy, walk())
    rewritten(copy, lambda manifest: manifest.update(format=99))
    with pytest.raises(StoreError, match="later version"):
        Draws.load(copy)


def flipped(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda store: flipped(store / "draws.zarr/posterior/a/c/0/0/0"), "posterior/a is damaged"),
        (lambda store: (store / "draws.zarr/sample_stats/lp/c/0/0").unlink(), "chunk 0 is missing"),
        (lambda store: shutil.rmtree(store / "draws.zarr/posterior/a/c"), "chunk 0 is missing"),
        (lambda store: flipped(next((store / "checkpoints").iterdir())), "damaged: its checksum"),
        (lambda store: next((store / "checkpoints").iterdir()).unlink(), "cannot read"),
        (lambda store: (store / "manifest.json").write_text("{"), "manifest.json is damaged"),
        (lambda store: rewritten(store, lambda m: m["progress"].update(draws=9999)), "where the manifest counts 9999"),
        (
            lambda store: (store / "manifest.json").write_text(
                (store / "manifest.json").read_text().replace('"draws": 50', '"draws": 51')
            ),
            "its checksum does not fit",
        ),
        (lambda store: (store / "manifest.json").unlink(), "is no run on disk"),
    ],
)
def test_damage_is_found(copy, damage, message):
    damage(copy)
    with pytest.raises(StoreError, match=message):
        resume(copy, walk(), draws=60)


def test_what_exists_is_not_overwritten(finished, tmp_path):
    with pytest.raises(StoreError, match=r"exists already\. Go on with it by"):
        sample(walk(), START, store=finished, **OPTIONS)
    (tmp_path / "notes").write_text("mine")
    with pytest.raises(StoreError, match="exists already"):
        sample(walk(), START, store=tmp_path / "notes", **OPTIONS)
    with pytest.raises(StoreError, match="cannot make a store"):
        sample(walk(), START, store=tmp_path / "notes" / "run", **OPTIONS)
    with pytest.raises(StoreError, match="is no run on disk"):
        resume(tmp_path, walk())


def test_a_full_disk_loses_nothing(tmp_path, often, monkeypatch):
    calls = iter(range(1000))

    def full(*args):
        if next(calls) > 12:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run_store, "_sync_chunks", full)
        with pytest.raises(StoreError, match=r"No space left on device\. What was committed before is safe"):
            sample(walk(), START, store=tmp_path / "run", chunk=10, **OPTIONS)
    same(resume(tmp_path / "run", walk(), progress=False), sample(walk(), START, **OPTIONS))


@pytest.mark.parametrize("until", [3, "precise"])
def test_until_has_to_be_a_rule(until):
    with pytest.raises(TypeError, match="until has to be an Until"):
        sample(walk(), START, until=until, **OPTIONS)


# --- arrays on disk ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    import zarr

    values = np.random.default_rng(0).normal(size=(11, 3, 2))
    array = zarr.open_group(str(tmp_path_factory.mktemp("arrays")), mode="a").create_array(
        "x", shape=values.shape, chunks=(4, 3, 2), dtype=float
    )
    array[...] = values
    return StoredArray(array, 10), np.swapaxes(values[:10], 0, 1)


indices = st.one_of(st.integers(-3, 2), st.slices(3))
draws_at = st.one_of(st.integers(-10, 9), st.slices(10))


@settings(max_examples=40)
@given(chain=indices, draw=draws_at, rest=st.sampled_from([(), (0,), (slice(None, None, -1),), (Ellipsis,)]))
def test_indexing_is_that_of_an_array(pair, chain, draw, rest):
    stored, array = pair
    np.testing.assert_array_equal(stored[(chain, draw, *rest)], array[(chain, draw, *rest)])


def test_a_stored_array_reads_like_an_array(pair):
    stored, array = pair
    assert (stored.shape, stored.ndim, stored.size, len(stored)) == (array.shape, 3, array.size, 3)
    np.testing.assert_array_equal(stored[:, -1], array[:, -1])
    np.testing.assert_array_equal(stored[1], array[1])
    np.testing.assert_array_equal(stored[array[..., 0] > 0], array[array[..., 0] > 0])
    np.testing.assert_allclose([np.sum(stored), np.mean(stored)], [array.sum(), array.mean()])
    assert repr(stored) == "StoredArray(shape=(3, 10, 2), dtype=float64)"
    with pytest.raises(IndexError):
        stored[0, 10]


def test_options_of_a_run_are_those_of_its_record(finished):
    draws = Draws.load(finished)
    assert dataclasses.asdict(draws.claim) == dataclasses.asdict(walk().claim)
    assert (draws.seed, draws.tune, draws.thin, draws.sampler) == (3, 30, 1, "RandomWalk")
    assert draws.versions["jax"] == jax.__version__
