"""Chains on the workers of an executor: processes, threads, the machines of a cluster.

A task is a pure function of a kernel, states, keys and step numbers. What it needs travels with it, what it has made
comes back, and the caller holds the states, so that a worker that is lost costs a second try and changes no draw.

The kernel is sent once to each worker that asks for it: a worker remembers the last few, and keeps their functions, so
that it compiles a kernel once for each run, whatever the number of chunks.
"""

import collections
import contextlib
import dataclasses
import hashlib
import pickle
import traceback
from collections.abc import Callable
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray

from ergodica.samplers import inputs
from ergodica.samplers.chain_groups import How, advance, joined_chains, part_of
from ergodica.samplers.chunks import Record, one_draw
from ergodica.samplers.draws import package_versions

__all__ = ["Distributor", "Workers", "WorkersLostError", "as_workers"]

_MOST_KEPT = 8
_SETTINGS = ("enable_x64", "threefry_partitionable", "default_matmul_precision")
"""Settings of JAX on which draws depend; a worker takes those of the caller."""


class WorkersLostError(RuntimeError):
    """An executor is broken for good, or the same task has been lost again and again."""


@dataclasses.dataclass(frozen=True)
class Workers:
    """An executor, and how it is used.

    Parameters
    ----------
    executor
        A :class:`concurrent.futures.Executor`, or a function without arguments that makes one. A pool of processes is
        broken for good when one of its processes dies: with a function a new one takes its place, and it is shut down at
        the end. Pools of processes have to start them by ``"spawn"`` or ``"forkserver"``, since a fork of a process in
        which JAX has threads may hang.
    chains_per_task
        Chains that travel together, vectorised by the worker.
    retries
        How often a lost task is tried again.

    Raises
    ------
    TypeError, ValueError
        If an argument is none of these.
    """

    executor: Executor | Callable[[], Executor]
    chains_per_task: int = 1
    retries: int = 3

    def __post_init__(self) -> None:
        if not (callable(getattr(self.executor, "submit", None)) or callable(self.executor)):
            raise TypeError(
                "executor is a concurrent.futures.Executor, as ThreadPoolExecutor(4), or a function that makes one; got "
                f"{self.executor!r}"
            )
        inputs.static_count("chains_per_task", self.chains_per_task)
        inputs.static_count("retries", self.retries, at_least=0)
        _refuse_fork(self.executor)


def as_workers(executor: Any) -> Workers | None:
    """Return what was given as ``executor=`` as :class:`Workers`."""
    return executor if executor is None or isinstance(executor, Workers) else Workers(executor)


def _refuse_fork(executor: Any) -> None:
    context = getattr(executor, "_mp_context", None) if isinstance(executor, ProcessPoolExecutor) else None
    if context is not None and context.get_start_method() == "fork":
        raise ValueError(
            "this pool forks its processes, which hang where JAX has threads; write "
            'ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("spawn"))'
        )


# --- what travels -----------------------------------------------------------------------------------------------------


class _Package(NamedTuple):
    """A kernel on its way: its form without arrays as bytes, and its arrays."""

    form: bytes
    leaves: list[Any]
    versions: dict[str, str]


class _Here(NamedTuple):
    """A kernel that stays in its process, for threads."""

    kernel: Any
    structure: Any


class _Task(NamedTuple):
    """A group of chains on its way; ``states`` and ``keys`` are flat lists of arrays."""

    digest: str
    parcel: _Package | _Here | None
    states: list[Any]
    keys: Any
    first: int
    draws: int
    thin: int
    how: How
    settings: dict[str, Any]


class _Words(NamedTuple):
    """Keys as arrays."""

    words: np.ndarray
    implementation: str


class _Unknown(NamedTuple):
    """A worker's answer: it does not have the kernel."""


class _Failed(NamedTuple):
    """A worker's answer: an error, and where it was raised."""

    error: BaseException | None
    text: str


class _Done(NamedTuple):
    """A worker's answer: states and draws as flat lists of arrays."""

    states: list[Any]
    record: list[np.ndarray]


def _out(leaf: Any) -> Any:
    if jnp.issubdtype(jnp.result_type(leaf), jax.dtypes.prng_key):
        return _Words(np.asarray(jax.random.key_data(leaf)), str(jax.random.key_impl(leaf)))
    return np.asarray(leaf)


def _in(leaf: Any) -> Any:
    if isinstance(leaf, _Words):
        return jax.random.wrap_key_data(jnp.asarray(leaf.words), impl=leaf.implementation)
    return jnp.asarray(leaf)


class _Place:
    """Stands for an array in the form of a kernel."""

    def __init__(self, number: int) -> None:
        self.number = number


def _packed(kernel: Any, state: Any) -> _Package:
    """Take the arrays out of a kernel, and pickle the rest with the form of its states."""
    leaves, structure = jax.tree.flatten(kernel)
    places = jax.tree.unflatten(structure, [_Place(number) for number in range(len(leaves))])
    form = places, jax.tree.map(lambda _: _Place(0), state)
    try:
        content = pickle.dumps(form)
    except Exception as error:
        try:
            import cloudpickle  # type: ignore[import-not-found, import-untyped, unused-ignore]
        except ImportError:
            raise TypeError(
                f"{type(kernel).__name__} cannot be sent to a worker: {error}. Define its log density at the top level of "
                "a module, with data in jax.tree_util.Partial(f, data); or install cloudpickle, which sends functions "
                "within functions too"
            ) from error
        content = cloudpickle.dumps(form)
    return _Package(content, [_out(leaf) for leaf in leaves], package_versions())


def _digest(package: _Package) -> str:
    digest = hashlib.sha256(package.form)
    for leaf in package.leaves:
        array = leaf.words if isinstance(leaf, _Words) else leaf
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


# --- in the worker ----------------------------------------------------------------------------------------------------

_forms: collections.OrderedDict[bytes, tuple[Any, Any]] = collections.OrderedDict()
_kernels: collections.OrderedDict[str, tuple[Any, Any]] = collections.OrderedDict()


def _remember(cache: collections.OrderedDict[Any, Any], key: Any, value: Any) -> None:
    cache[key] = value
    while len(cache) > _MOST_KEPT:
        cache.popitem(last=False)


def _unpacked(digest: str, package: _Package) -> tuple[Any, Any]:
    """Return a kernel and the structure of its states."""
    here = package_versions()
    changed = [f"{name} {package.versions.get(name)}, here {here[name]}" for name in here]
    if package.versions != here:
        raise RuntimeError(
            f"the worker has other versions than the process that sends it chains ({'; '.join(changed)}), which may round "
            "differently; give both one environment"
        )
    known = hashlib.sha256(package.form).digest()
    form = _forms.get(known)
    if form is None:
        # Kept, since compiled programs go by the functions that are in it.
        form = pickle.loads(package.form)
        _remember(_forms, known, form)
    places, state = form
    kernel = jax.tree.map(lambda place: _in(package.leaves[place.number]), places)
    found = kernel, jax.tree.structure(state)
    _remember(_kernels, digest, found)
    return found


def _work(task: _Task) -> Any:
    """Make the draws of a group of chains; runs in the worker."""
    try:
        with contextlib.ExitStack() as stack:
            for name, value in task.settings.items():
                stack.enter_context(getattr(jax, name)(value))
            if isinstance(task.parcel, _Here):
                kernel, structure = task.parcel
            elif task.digest in _kernels:
                kernel, structure = _kernels[task.digest]
            elif task.parcel is None:
                return _Unknown()
            else:
                kernel, structure = _unpacked(task.digest, task.parcel)
            states = jax.tree.unflatten(structure, [_in(leaf) for leaf in task.states])
            keys = _in(task.keys)
            states, record = advance(kernel, states, keys, task.first, task.draws, task.thin, task.how)
            return _Done([_out(leaf) for leaf in jax.tree.leaves(states)], jax.tree.leaves(record))
    except Exception as error:
        text = traceback.format_exc()
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            return _Failed(None, text)
        return _Failed(error, text)


# --- in the caller ----------------------------------------------------------------------------------------------------


class Distributor:
    """Makes the draws of a run on workers; :meth:`advance` is an :data:`~ergodica.samplers.chain_groups.Advance`.

    Parameters
    ----------
    workers
        The executor.
    """

    def __init__(self, workers: Workers) -> None:
        self._workers = workers
        given: Any = workers.executor
        self._make: Callable[[], Executor] | None = None if hasattr(given, "submit") else given
        self._pool: Executor | None = None if self._make else given
        self._sent: _Sent | None = None

    def close(self) -> None:
        """Shut an executor down that was made here."""
        if self._make is not None and self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _executor(self) -> Executor:
        if self._pool is None:
            if self._make is None:
                raise RuntimeError("there is no executor")
            made = self._make()
            if not hasattr(made, "submit"):
                raise TypeError(f"the function given as executor has to make one; it returned {made!r}")
            _refuse_fork(made)
            self._pool = made
        return self._pool

    def advance(
        self, kernel: Any, states: Any, keys: PRNGKeyArray, first: int, count: int, thin: int, how: How
    ) -> tuple[Any, Record]:
        """Make draws of all chains."""
        one = part_of(states, 0)
        if self._sent is None or self._sent.kernel is not kernel:
            self._sent = _Sent(kernel, *self._parcel(kernel, one))
        size = self._workers.chains_per_task
        settings = {name: getattr(jax.config, f"jax_{name}") for name in _SETTINGS}
        leaves, structure = jax.tree.flatten(states)
        tasks = []
        for begin in range(0, keys.shape[0], size):
            own = slice(begin, begin + size)
            rows, some = [_out(leaf[own]) for leaf in leaves], _out(keys[own])
            tasks.append(_Task(self._sent.digest, self._sent.parcel, rows, some, first, count, thin, how, settings))
        answers = self._answers(tasks)
        # From now on, workers that do not know the kernel ask for it.
        self._sent = self._sent._replace(is_known=True)
        index = jnp.zeros((), jnp.int32)
        shapes = jax.eval_shape(lambda k, s: one_draw(kernel, k, index, s, thin)[1], keys[0], one)
        form: Any = jax.tree.structure(shapes)
        return joined_chains(
            [
                (jax.tree.unflatten(structure, list(map(_in, done.states))), jax.tree.unflatten(form, done.record))
                for done in answers
            ]
        )

    def _parcel(self, kernel: Any, state: Any) -> tuple[str, Any]:
        if type(self._executor()) is ThreadPoolExecutor:
            return "", _Here(kernel, jax.tree.structure(state))
        package = _packed(kernel, state)
        return _digest(package), package

    def _answers(self, tasks: list[_Task]) -> list[_Done]:
        """Return the answers to tasks, in order; those that are lost are tried again."""
        assert self._sent is not None
        done: dict[int, _Done] = {}
        tries = [0] * len(tasks)
        pending: dict[Future[Any], tuple[int, Executor]] = {}

        def submit(number: int, *, whole: bool) -> None:
            assert self._sent is not None
            known = self._sent.is_known and not whole and not isinstance(self._sent.parcel, _Here)
            task = tasks[number]._replace(parcel=None) if known else tasks[number]
            try:
                future = self._executor().submit(_work, task)
            except RuntimeError as error:  # broken, or shut down
                self._renew(self._executor(), error)
                future = self._executor().submit(_work, task)
            pending[future] = number, self._executor()

        try:
            for number in range(len(tasks)):
                submit(number, whole=False)
            while pending:
                for future in wait(pending, return_when=FIRST_COMPLETED).done:
                    number, pool = pending.pop(future)
                    try:
                        answer = future.result()
                    except KeyboardInterrupt:
                        raise
                    # Errors of the kernel come as answers. What is raised here is the executor's trouble.
                    except BaseException as error:
                        tries[number] += 1
                        if tries[number] > self._workers.retries:
                            raise WorkersLostError(
                                f"chains {self._chains(number, tasks)} were given to the executor {tries[number]} times, and "
                                f"each time lost: {_words(error)}. {_ADVICE}"
                            ) from error
                        if isinstance(error, BrokenExecutor):
                            self._renew(pool, error)
                        submit(number, whole=True)
                        continue
                    if isinstance(answer, _Unknown):
                        submit(number, whole=True)
                    elif isinstance(answer, _Failed):
                        failure = answer.error or RuntimeError("a worker has failed")
                        failure.add_note(f"Raised in a worker:\n{answer.text}")
                        raise failure
                    else:
                        done[number] = answer
        finally:
            for future in pending:
                future.cancel()
        return [done[number] for number in range(len(tasks))]

    def _chains(self, number: int, tasks: list[_Task]) -> str:
        size = self._workers.chains_per_task
        first, count = number * size, len(tasks[number].states[0])
        return str(first) if count == 1 else f"{first} to {first + count - 1}"

    def _renew(self, pool: Executor, error: BaseException) -> None:
        """Put a new executor in the place of a broken one."""
        if self._make is None:
            raise WorkersLostError(
                f"the executor is broken for good: {_words(error)}. A pool of processes does not outlive the loss of one; give "
                f"executor= a function that makes the pool, and a new one takes its place. {_ADVICE}"
            ) from error
        if self._pool is pool:
            pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None


_ADVICE = (
    "With store=, the draws made so far are on disk, and ergodica.resume goes on from there. A worker that dies is most "
    "often out of memory, or was ended from outside."
)


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class _Sent(NamedTuple):
    """The kernel that workers were sent last."""

    kernel: Any
    digest: str
    parcel: Any
    is_known: bool = False
