"""Chains on workers: the same draws, whatever the workers do."""

import collections
import importlib.util
import multiprocessing
import os
import pickle
import signal
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.stats import norm
from jax.tree_util import Partial

import ergodica
from ergodica.samplers import executors
from ergodica.samplers.executors import Workers, WorkersLostError
from ergodica.samplers.sample import resume, sample

# A density that a worker finds by its name, whatever the tests are called there.
TARGET = Partial(norm.logpdf, scale=jnp.asarray(2.0))
WALK = ergodica.RandomWalk(1.0, logdensity=TARGET)
OPTIONS = {"draws": 24, "tune": 10, "chains": 4, "seed": 4, "progress": False, "chunk": 8}


def run(kernel=WALK, **options):
    return sample(kernel, jnp.ones(()), **{**OPTIONS, **options})


def same(one, other, rtol=0.0):
    parts = [(draws.raw_position, draws.raw_warmup, dict(draws.stats), draws.state) for draws in (one, other)]
    for left, right in zip(*map(jax.tree.leaves, parts), strict=True):
        np.testing.assert_allclose(np.asarray(left), np.asarray(right), rtol=rtol, atol=rtol * 1e-3)


class Wire(Executor):
    """Works in this process on what has been pickled and unpickled, and fails when it is told to."""

    def __init__(self, failures=()):
        self.failures, self.submitted, self.received = dict(failures), 0, []
        self.is_broken = self.is_shut = False

    def submit(self, function, /, *args, **kwargs):
        if self.is_broken:
            raise BrokenProcessPool("a process was terminated abruptly")
        future = Future()
        error = self.failures.get(self.submitted)
        self.submitted += 1
        if error is not None:
            self.is_broken = isinstance(error, BrokenProcessPool)
            future.set_exception(error)
            return future
        function, args = pickle.loads(pickle.dumps((function, args)))
        self.received.append(args[0])
        future.set_result(pickle.loads(pickle.dumps(function(*args, **kwargs))))
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        del wait, cancel_futures
        self.is_shut = True


@pytest.fixture(scope="module")
def plain():
    return run(executor=Workers(ThreadPoolExecutor(1), chains_per_task=2))


def two_by_two(executor):
    return Workers(executor, chains_per_task=2)


def test_draws_do_not_depend_on_workers(plain):
    """Groups of the same size make the same draws bit for bit; others may round otherwise."""
    wire = Wire()
    same(plain, run(executor=two_by_two(wire)))
    # Two tasks for each of three chunks; the kernel goes with the first two only.
    assert [task.parcel is None for task in wire.received] == [False] * 2 + [True] * 4
    alone, together = run(executor=ThreadPoolExecutor(2)), run()
    np.testing.assert_allclose(alone.position, plain.position, rtol=1e-12)
    np.testing.assert_allclose(together.position, plain.position, rtol=1e-12)


def test_workers_that_have_forgotten_the_kernel_ask_for_it(plain, monkeypatch):
    monkeypatch.setattr(executors, "_kernels", collections.OrderedDict())
    monkeypatch.setattr(executors, "_MOST_KEPT", 0)
    wire = Wire()
    same(plain, run(executor=two_by_two(wire)))
    assert [task.parcel is None for task in wire.received].count(False) == 6


def test_what_is_lost_is_made_again(plain):
    same(plain, run(executor=two_by_two(Wire({1: ConnectionError("worker gone"), 4: OSError("again")}))))


def test_a_broken_pool_is_replaced_if_it_can_be(plain):
    made = []

    def pool():
        made.append(Wire({} if made else {3: BrokenProcessPool("a process was terminated abruptly")}))
        return made[-1]

    same(plain, run(executor=two_by_two(pool)))
    assert len(made) == 2
    assert all(wire.is_shut for wire in made)


def test_draws_outlast_a_pool_that_is_broken_for_good(plain, tmp_path):
    broken = Wire({4: BrokenProcessPool("a process was terminated abruptly")})
    with pytest.raises(WorkersLostError, match=r"broken for good: BrokenProcessPool.*function that makes the pool"):
        run(executor=two_by_two(broken), store=tmp_path / "run")
    assert ergodica.Draws.load(tmp_path / "run").position.shape == (4, 16)
    same(plain, resume(tmp_path / "run", WALK, executor=two_by_two(Wire()), progress=False))


def test_resuming_without_the_executor_makes_the_same_draws(plain, tmp_path):
    run(executor=two_by_two(Wire()), store=tmp_path / "run", draws=8)
    same(plain, resume(tmp_path / "run", WALK, draws=24, progress=False))


def test_tasks_that_are_lost_for_ever_are_given_up():
    wire = Wire({number: ConnectionError("worker gone") for number in range(100)})
    message = r"chains \d to \d were given to the executor 2 times, and each time lost: ConnectionError: worker gone"
    with pytest.raises(WorkersLostError, match=message):
        run(executor=Workers(wire, chains_per_task=2, retries=1))


def test_errors_in_a_worker_are_those_of_the_kernel(monkeypatch):
    def failing(*_):
        raise ZeroDivisionError("in the density")

    monkeypatch.setattr(executors, "advance", failing)
    with pytest.raises(ZeroDivisionError, match="in the density") as caught:
        run(executor=Wire())
    assert "Raised in a worker" in caught.value.__notes__[0]


def test_what_cannot_be_sent_is_said():
    kernel = ergodica.RandomWalk(1.0, logdensity=lambda x: -(x**2))
    if importlib.util.find_spec("cloudpickle"):
        assert run(kernel, executor=Wire(), tune=0).position.shape == (4, 24)
    else:
        with pytest.raises(TypeError, match=r"RandomWalk cannot be sent to a worker.*install cloudpickle"):
            run(kernel, executor=Wire(), tune=0)
    # Threads share what they have.
    assert run(kernel, executor=ThreadPoolExecutor(1), tune=0).position.shape == (4, 24)


@pytest.mark.parametrize(
    ("executor", "error", "message"),
    [
        (3, TypeError, "executor is a concurrent.futures.Executor"),
        (lambda: 3, TypeError, "has to make one; it returned 3"),
        (
            lambda: ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork")),
            ValueError,
            "forks its processes",
        ),
    ],
    ids=["number", "makes a number", "fork"],
)
def test_what_is_no_executor_is_refused(executor, error, message):
    with pytest.raises(error, match=message):
        run(executor=executor, tune=0)


class Fragile(ProcessPoolExecutor):
    """Loses a process by a signal in the middle of the run."""

    submitted = 0

    def submit(self, *args, **kwargs):
        future = super().submit(*args, **kwargs)
        type(self).submitted += 1
        if type(self).submitted == 3:
            os.kill(next(iter(self._processes)), signal.SIGKILL)
        return future


@pytest.mark.slow
def test_a_process_is_killed(plain):
    context = multiprocessing.get_context("spawn")
    Fragile.submitted = 0
    # The tests tell XLA how much to optimise, and a new process does not know.
    same(plain, run(executor=two_by_two(lambda: Fragile(2, mp_context=context))), rtol=1e-9)
    assert Fragile.submitted > 6  # what was under way was made again
    with Fragile(1, mp_context=context) as pool:
        Fragile.submitted = 0
        with pytest.raises(WorkersLostError, match="broken for good"):
            run(executor=two_by_two(pool))


class Cluster(Executor):
    """Dask's executor; it loses a worker by a signal at the third task."""

    def __init__(self, client):
        self.executor, self.client = client.get_executor(), client
        self.submitted = self.killed = 0

    def submit(self, *args, **kwargs):
        future = self.executor.submit(*args, **kwargs)
        self.submitted += 1
        if self.submitted == 3:
            os.kill(next(iter(self.client.run(os.getpid).values())), signal.SIGKILL)
            self.killed += 1
        return future


@pytest.mark.slow
def test_a_worker_of_a_dask_cluster_is_killed(plain):
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        executor = Cluster(client)
        same(plain, run(executor=two_by_two(executor)), rtol=1e-9)
        assert executor.killed == 1
