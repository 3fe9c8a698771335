"""Run chains: starts, warm-up, draws, progress; and go on with a run that is on disk.

Step ``i`` of chain ``c`` is made with the key ``fold_in(fold_in(key, c), i)``, warm-up included. So the draws depend on
nothing but the kernel, the starts, the seed and the lengths of warm-up and thinning: not on how often the host looks at
the clock, nor on whether it shows progress, nor on where the chains run.
"""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ergodica.samplers import inputs, naming
from ergodica.samplers.chain_groups import Advance, advance, in_groups
from ergodica.samplers.chain_methods import CHAIN_METHODS, ChainMethod
from ergodica.samplers.chunks import begin_tuning, init_all, one_step, strong
from ergodica.samplers.draws import Draws, describe, package_versions
from ergodica.samplers.executors import Distributor, Workers, as_workers
from ergodica.samplers.fingerprint import MEANING, fingerprint
from ergodica.samplers.interleaving import check_interleaving
from ergodica.samplers.kernel import Kernel
from ergodica.samplers.progress import make_reporter
from ergodica.samplers.run import Ending, Host, Run, buffer_capacity, with_changed_leaves
from ergodica.samplers.run_store import RunStore
from ergodica.samplers.stopping import Until, Watch
from ergodica.samplers.stored_array import StoreError
from ergodica.samplers.tuning.choice import choose_tuner, made_tunable, tuned_leaves
from ergodica.samplers.tuning.tuner import Tuner

__all__ = ["resume", "sample"]

MAX_STEPS = 2**31 - 1
EAGER_STARTS = 32
HOSTS = ("auto", "jax", "numba")
MAX_SHOWN_AGAIN = 2**14

# Steps count up from 0, so these never meet a step's number.
START_KEY, INIT_KEY = 2**32 - 1, 2**32 - 2


def sample(
    kernel: Kernel[Any, Any],
    position: PyTree | Callable[[PRNGKeyArray], PyTree] | None = None,
    *,
    draws: int,
    tune: int | None = None,
    chains: int = 4,
    seed: int | PRNGKeyArray = 0,
    thin: int = 1,
    positions: PyTree | None = None,
    tuner: Tuner | Literal["auto"] | None = "auto",
    keep_warmup: bool = True,
    progress: bool = True,
    chunk: int | None = None,
    until: Until | None = None,
    store: str | os.PathLike[str] | None = None,
    host: Host | Literal["auto"] = "jax",
    chain_method: ChainMethod = "vectorized",
    interleave: bool = False,
    executor: Executor | Callable[[], Executor] | Workers | None = None,
) -> Draws:
    """Run several chains of a kernel and collect their draws.

    Parameters
    ----------
    kernel
        A kernel with its target.
    position
        One start, for all chains; or a function from a key to a start, called once for each chain. For a kernel of
        populations a start is a population: its leaves have a leading axis of walkers.
    draws
        Draws that are kept of each chain; with ``until``, the most.
    tune
        Steps before the first draw, in which the tuner sets the parameters of the kernel. Default: 1000, and 0 for a
        kernel of independent draws.
    chains
        Number of chains, run together.
    seed
        An integer or a typed key.
    thin
        Steps for each draw.
    positions
        Instead of ``position``: the starts of the chains, stacked on a leading axis of length ``chains``.
    tuner
        ``"auto"`` for the one that suits the kernel (:func:`ergodica.samplers.tuning.choice.choose_tuner`), which learns from
        all chains together; ``None`` to leave the parameters as they are.
    keep_warmup
        Keep the warm-up's draws too.
    progress
        Show a bar in terminals and notebooks, and lines on standard error elsewhere.
    chunk
        Most draws between two looks at the clock; no effect on the draws. Default: about half a second's worth.
    until
        Stop as soon as this holds, an :class:`~ergodica.samplers.stopping.Until`; ``draws.ending`` says whether it did.
    store
        A folder that does not exist yet. Draws go there, every few seconds, instead of into memory, and a run that has
        been killed is gone on with by :func:`resume`. Xarray opens the folder ``draws.zarr`` in it, also while the run
        goes on.

    host
        ``"jax"``: XLA runs the steps, on whatever device JAX uses. ``"numba"``: they are compiled to one loop for the
        processor, chains on threads, which is many times faster for cheap densities in up to some hundred dimensions;
        the draws are the same up to rounding. Steps with a tuner are on one thread. ``"auto"``: the one that is likely to
        be faster; ``draws.host`` and ``draws.host_reason`` say which and why.
    chain_method
        ``"vectorized"``: all chains at once, by ``vmap``. ``"sequential"``: one after another, in the memory of one.
        ``"parallel"``: the chains are spread over the devices that JAX has in this process; a CPU counts as several with
        ``jax.config.update("jax_num_cpu_devices", n)`` before JAX is first used. On ``host="numba"`` the first and the
        last are the same, threads, and ``"sequential"`` is one thread.
    interleave
        For kernels whose steps take a varying number of turns of a loop, such as slice samplers: let the chains go through
        that loop by themselves, instead of waiting at each step for the slowest. The draws are the same. Pays off where
        the numbers of turns differ much and the log density is not cheap; see :mod:`ergodica.samplers.interleaving`.
        Chains are together in warm-up, as the tuner learns from all of them at each step.
    executor
        Any :class:`concurrent.futures.Executor` (processes, Dask's ``client.get_executor()``,
        ``mpi4py.futures.MPIPoolExecutor``), a function that makes one, or
        :class:`~ergodica.samplers.executors.Workers` for more than one chain a task. Its workers make the draws, a chunk at
        a time; steps with a tuner are made here, since it learns from all chains. What is lost with a worker is made
        again. The kernel has to be picklable; functions within functions are with cloudpickle installed.

    Returns
    -------
    Draws
        Ctrl-C while draws are made ends the run early and keeps what there is. With a store, arrays are read from disk
        when they are used.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; or the kernel has no target, or a start is not fit to sample from.
    StoreError
        If the store exists already, or cannot be written to.
    CannotLower
        If the kernel or its density uses what ``host="numba"`` does not have; with the place in the code.
    NoLoopError
        If a step has no loop to interleave.
    WorkersLostError
        If an executor is broken for good.

    Notes
    -----
    A kernel that has its own compiled ``run`` makes the ``thin`` steps of a draw with it, from the key of the first of
    them.

    Whatever the chain method, ``interleave``, and executor, each step gets the same random numbers. With ``host="numba"``
    the draws are then the same bit for bit, as they are for kernels on integers whose arithmetic is exact. Under XLA the
    compiler may add up the same numbers in another order when it compiles for another number of chains at a time: draws
    agree to rounding, and for most kernels and densities bit for bit. Where they do not, rounding errors grow as the chain
    lets them, and a decision that hangs on the last bit may go either way.
    """
    _check_kernel(kernel)
    draws = inputs.static_count("draws", draws)
    chains = inputs.static_count("chains", chains)
    thin = inputs.static_count("thin", thin)
    default = 0 if kernel.claim.independent else 1000
    tune = default if tune is None else inputs.static_count("tune", tune, at_least=0)
    chunk = None if chunk is None else inputs.static_count("chunk", chunk)
    workers = as_workers(executor)
    if chain_method not in CHAIN_METHODS:
        raise ValueError(f"chain_method is one of {', '.join(map(repr, CHAIN_METHODS))}; got {chain_method!r}")
    if tune + draws * thin > MAX_STEPS:
        raise ValueError(
            f"a chain has at most {MAX_STEPS} steps; got tune + draws * thin = {tune + draws * thin}. "
            "Put steps together with repeat(kernel, n)."
        )
    if not (tuner is None or isinstance(tuner, Tuner) or (isinstance(tuner, str) and tuner == "auto")):
        raise TypeError(f'tuner is "auto", None or a Tuner; got {tuner!r}')
    key = _as_key(seed)
    kernel = _with_strong_leaves(kernel)
    began = time.monotonic()
    states = _start(kernel, key, _positions(position, positions, chains, key))
    one = jax.tree.map(lambda leaf: leaf[0], states)
    # Traced once for each kind of kernel: JAX remembers the shapes that a compiled function returns.
    _, info = one_step.eval_shape(kernel, key, one)
    if kernel.claim.weighted and not hasattr(info, "log_weight"):
        raise TypeError(
            f"{type(kernel).__name__} claims weighted draws, so its info has to have a field log_weight; it has "
            f"{', '.join(getattr(info, '_fields', ()))}"
        )
    if isinstance(tuner, str) and tune > 0:
        kernel = _with_strong_leaves(made_tunable(kernel, one))
    chosen = choose_tuner(kernel, one, info) if isinstance(tuner, str) else tuner

    _check_until(until, kernel)
    if not (store is None or isinstance(store, str | os.PathLike)) or store == "":
        raise TypeError(f"store is the name of a folder; got {store!r}")
    host, why = _host(host, kernel, one, key)
    if interleave and host == "jax":
        check_interleaving(kernel, key, one, thin)
    capacity = buffer_capacity(states, max(draws, tune), host)
    if host == "numba" and chosen is not None and tune > 0:
        why += _reason_for_xla(chosen, kernel, states, key, capacity)
    group = chains if workers is None else min(chains, workers.chains_per_task)
    plan = _Plan(
        draws, tune, chains, thin, keep_warmup, capacity, _seed_record(seed), host, why, chain_method, interleave, group
    )
    disk = None if store is None else _new_store(store, kernel, chosen, key, states, plan)
    reporter = make_reporter(progress)
    with _movement(workers, plan) as move:
        run = Run(
            kernel, states, key, capacity=capacity, chunk=chunk, reporter=reporter, store=disk, host=host,
            method=chain_method, interleave=interleave, move=move,
        )  # fmt: skip
        return _finished(run, plan, chosen, until, began)


def resume(
    store: str | os.PathLike[str],
    kernel: Kernel[Any, Any],
    *,
    draws: int | None = None,
    tuner: Tuner | Literal["auto"] | None = "auto",
    until: Until | None = None,
    progress: bool = True,
    chunk: int | None = None,
    executor: Executor | Callable[[], Executor] | Workers | None = None,
) -> Draws:
    """Go on with a run on disk, after a kill, a full disk, Ctrl-C, or for more draws.

    Parameters
    ----------
    store
        The folder that :func:`sample` was given.
    kernel
        The kernel that :func:`sample` was given, with its target: code is not in the store. Parameters that warm-up has
        tuned are.
    draws
        Draws of each chain in all, if more are wanted than were asked for.
    tuner
        As it was given to :func:`sample`.
    until, progress, chunk
        As in :func:`sample`.
    executor
        As in :func:`sample`; it need not be the one that the run began with, nor be there at all.

    Returns
    -------
    Draws
        The same, bit for bit, as those of a run that was left alone; for which an executor has to take as many chains a
        task as the one before.

    Raises
    ------
    StoreError
        If there is no run, it is damaged, or it belongs to another kernel, density, precision or version; with the
        reason.
    """
    _check_kernel(kernel)
    _check_until(until, kernel)
    if not isinstance(store, str | os.PathLike) or store == "":
        raise TypeError(f"store is the name of a folder; got {store!r}")
    workers = as_workers(executor)
    began = time.monotonic()
    disk = RunStore.open(store)
    header = disk.header
    _same_versions(disk.path, header["versions"])
    if header["x64"] != jax.config.read("jax_enable_x64"):
        raise StoreError(
            f"{disk.path} was made with jax_enable_x64 {'on' if header['x64'] else 'off'}; set it so before resuming, for "
            "draws in another precision are others"
        )
    disk.verify()
    plan = _Plan(**header["plan"])
    if draws is not None:
        draws = inputs.static_count("draws", draws)
        if draws < disk.progress["draws"]:
            raise ValueError(f"the store has {disk.progress['draws']} draws already; got draws={draws}")
        plan = dataclasses.replace(plan, draws=draws)
        header["plan"] = dataclasses.asdict(plan)
    if workers is not None:
        plan = dataclasses.replace(plan, group=min(plan.chains, workers.chains_per_task))
    kernel = _with_strong_leaves(kernel)
    key = jax.random.wrap_key_data(jnp.asarray(header["key"], jnp.uint32), impl=header["key_impl"])
    arrays = disk.checkpoint()
    one = _state_like(kernel, header, key)
    _, info = one_step.eval_shape(kernel, key, one)
    if isinstance(tuner, str) and plan.tune > 0:
        kernel = _with_strong_leaves(made_tunable(kernel, one))
    chosen = choose_tuner(kernel, one, info) if isinstance(tuner, str) else tuner
    found = _identity(kernel, chosen, key, one)
    for name, meaning in _MEANING.items():
        if found[name] != header["fingerprint"][name]:
            raise StoreError(
                f"{disk.path} belongs to another run: {meaning} is not what it was when the run began. "
                "Give resume the kernel that sample was given, or begin a new run."
            )
    stacked = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((plan.chains, *leaf.shape), leaf.dtype), one)  # type: ignore[no-untyped-call]
    states = disk.restored("states", stacked, arrays)
    changes = {name.rpartition("/")[2]: value for name, value in arrays.items() if name.startswith("kernel/")}
    with _movement(workers, plan) as move:
        run = Run(
            with_changed_leaves(kernel, changes),
            states,
            key,
            capacity=plan.capacity,
            chunk=None if chunk is None else inputs.static_count("chunk", chunk),
            reporter=make_reporter(progress),
            store=disk,
            given=kernel,
            host=plan.host,
            method=plan.chain_method,
            interleave=plan.interleave,
            move=move,
        )
        run.warmup_counts = dict(disk.progress.get("warmup_counts", {}))
        return _finished(run, plan, chosen, until, began)


# --- the course of a run ----------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What was asked for."""

    draws: int
    tune: int
    chains: int
    thin: int
    keep_warmup: bool
    capacity: int
    seed: int | list[int]
    host: Host
    host_reason: str
    chain_method: ChainMethod = "vectorized"
    interleave: bool = False
    group: int | None = None  # chains that are run together: the draws of one run are made alike


@contextlib.contextmanager
def _movement(workers: Workers | None, plan: _Plan) -> Iterator[Advance]:
    """Give what makes the draws, and shut down what it has started."""
    if workers is None:
        yield advance if plan.group in (None, plan.chains) else in_groups(plan.group or plan.chains)
        return
    distributor = Distributor(workers)
    try:
        yield distributor.advance
    finally:
        distributor.close()


def _finished(run: Run, plan: _Plan, tuner: Tuner | None, until: Until | None, began: float) -> Draws:
    """Make the steps that are missing, and return the draws."""
    disk = run.store
    phase, done = ("warmup", 0) if disk is None else (disk.progress["phase"], disk.progress.get("steps", 0))
    watch = None if until is None else Watch(until)
    ending: Ending = "complete"
    warmup, kept = None, None
    try:
        if phase == "warmup":
            adaptation = None
            if done and tuner is not None and disk is not None:
                like = jax.eval_shape(begin_tuning, tuner, run.kernel, run.states, jnp.asarray(plan.tune, jnp.int32))
                adaptation = disk.restored("adaptation", like.adaptation, disk.checkpoint())
            warmup = run.warm_up(
                plan.tune, tuner, keep=plan.keep_warmup, thin=plan.thin, done=done, adaptation=adaptation
            )
            done = 0
        elif watch is not None and disk is not None:
            _watch_again(watch, disk, done)
        if watch is not None and watch.holds:
            ending = "precise"
        else:
            kept, ending = run.draw(plan.tune, plan.draws, plan.thin, done=done, watch=watch)
    finally:
        run.reporter.close()
    facts: dict[str, Any] = {
        "claim": run.kernel.claim,
        "sampler": type(run.kernel).__name__,
        "description": describe(run.kernel.unbound()),
        "tuned": tuned_leaves(run.given.unbound(), run.kernel.unbound()),
        "seed": plan.seed,
        "tune": plan.tune,
        "thin": plan.thin,
        "warmup_counts": run.warmup_counts,
        "seconds": time.monotonic() - began,
        "ending": ending,
        "host": plan.host,
        "host_reason": plan.host_reason,
        "kernel": run.kernel,
        "state": run.states,
    }
    if disk is not None:
        disk.describe(facts["tuned"], description=facts["description"], ending=ending, seconds=facts["seconds"])
        out = dataclasses.replace(Draws.load(disk.path), kernel=run.kernel, state=run.states)
        disk.annotate(out.attributes())
        return out
    if kept is None:
        raise RuntimeError("a run without a store has lost its draws")
    return Draws(
        raw_position=kept.position,
        stats=kept.stats,
        raw_warmup=None if warmup is None else warmup.position,
        warmup_stats=None if warmup is None else warmup.stats,
        **facts,
    )


# --- arguments --------------------------------------------------------------------------------------------------------


def _check_kernel(kernel: Any) -> None:
    if isinstance(kernel, Kernel):
        return
    if isinstance(kernel, type) and issubclass(kernel, Kernel):
        raise TypeError(f"sample needs a kernel, not its class: write {kernel.__name__}(...) with its parameters")
    raise TypeError(
        f"sample needs a kernel, that is an ergodica.Kernel with init and step; got {type(kernel).__name__}. "
        "To sample a log density, give it to a kernel, as in RandomWalk(1.0, logdensity=f)."
    )


def _with_strong_leaves(kernel: Any) -> Any:
    for path, leaf in jax.tree_util.tree_leaves_with_path(kernel):
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic | bool | int | float | complex):
            raise TypeError(
                f"the leaves of a kernel have to be arrays; {type(kernel).__name__}"
                f"{jax.tree_util.keystr(path)} is a {type(leaf).__name__}. Make the field static, "
                "eqx.field(static=True), or hold it with ergodica.samplers.held.hold."
            )
    return jax.tree.map(strong, kernel)


def _as_key(seed: Any) -> PRNGKeyArray:
    if isinstance(seed, int | np.integer) and not isinstance(seed, bool):
        return jax.random.key(int(seed))
    if isinstance(seed, jax.Array) and jnp.issubdtype(seed.dtype, jax.dtypes.prng_key) and seed.shape == ():
        return seed
    raise TypeError(
        f"seed has to be an integer or a key as made by jax.random.key(seed); got {seed!r}. "
        "Wrap a legacy uint32 key with jax.random.wrap_key_data."
    )


def _check_until(until: Any, kernel: Any) -> None:
    if not (until is None or isinstance(until, Until)):
        raise TypeError(f"until has to be an Until, as in Until(relative=0.05); got {until!r}")
    if until is not None and kernel.claim.weighted:
        raise ValueError(
            f"until goes by draws of equal weight, and those of {type(kernel).__name__} are weighted: give draws=, and look "
            "at the effective number in draws.summary()"
        )


def _host(host: Any, kernel: Any, one: Any, key: PRNGKeyArray) -> tuple[Host, str]:
    if host not in HOSTS:
        raise ValueError(f"host is one of {', '.join(map(repr, HOSTS))}; got {host!r}")
    if host != "auto":
        return host, "as asked for"
    from ergodica.samplers.lowering.choice import choose_host

    chosen: Any = choose_host(kernel, one, key)
    return chosen.host, chosen.reason


def _reason_for_xla(tuner: Tuner, kernel: Any, states: Any, key: PRNGKeyArray, capacity: int) -> str:
    """Return why steps with a tuner are left to XLA, to be put after why others are not; empty if they are not."""
    from ergodica.samplers.lowering.tuning import can_tune

    tuned = jax.eval_shape(begin_tuning, tuner, kernel, states, jax.ShapeDtypeStruct((), jnp.int32))  # type: ignore[no-untyped-call]
    reason = can_tune(tuner, tuned, key, capacity)
    return f"; XLA makes the steps of warm-up: {reason}" if reason else ""


def _seed_record(seed: Any) -> int | list[int]:
    if isinstance(seed, int | np.integer):
        return int(seed)
    return [int(word) for word in np.ravel(jax.random.key_data(seed))]


def _positions(position: Any, positions: Any, chains: int, key: PRNGKeyArray) -> list[PyTree]:
    """Return the start of each chain."""
    if (position is None) == (positions is None):
        raise ValueError(
            "give either position, one start for all chains or a function from a key to a start; or positions, a start "
            f"for each chain stacked on a leading axis; got {'neither' if position is None else 'both'}"
        )
    if positions is not None:
        for name, leaf in inputs.leaf_names(positions):
            if np.ndim(leaf) < 1 or np.shape(leaf)[0] != chains:
                raise ValueError(
                    f"positions stacks the starts of the {chains} chains on a leading axis; "
                    f"{name.replace('position', 'positions', 1)} has shape {np.shape(leaf)}"
                )
        return [jax.tree.map(lambda leaf, c=c: leaf[c], positions) for c in range(chains)]
    if not callable(position):
        return [position] * chains
    starts = [position(jax.random.fold_in(jax.random.fold_in(key, c), START_KEY)) for c in range(chains)]
    kinds = [jax.tree.map(lambda leaf: (jnp.shape(leaf), jnp.result_type(leaf)), start) for start in starts]
    if any(kind != kinds[0] for kind in kinds):
        raise ValueError(f"the starts of the chains have to have the same shapes and dtypes; got {kinds}")
    return starts


def _start(kernel: Any, key: PRNGKeyArray, positions: list[PyTree]) -> Any:
    """Return the states of the chains, each checked."""
    keys = [jax.random.fold_in(jax.random.fold_in(key, c), INIT_KEY) for c in range(len(positions))]
    one_by_one = positions if len(positions) <= EAGER_STARTS else positions[:1]
    states = []
    for chain, position in enumerate(one_by_one):
        try:
            states.append(kernel.init(position, key=keys[chain]))
        except (TypeError, ValueError) as error:
            error.add_note(f"The error is about the start of chain {chain}.")
            raise
    if len(states) == len(positions):
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    else:
        # With many chains the first start is checked in full, of the others what is most likely to be wrong.
        starts = jax.tree.map(lambda *leaves: jnp.stack(leaves), *positions)
        inputs.finite_start(_all_finite(starts), starts, type(kernel).__name__)
        stacked = init_all(kernel, starts, jnp.stack(keys))
        if hasattr(stacked, "logdensity"):
            inputs.finite_start(np.asarray(stacked.logdensity), starts, type(kernel).__name__)
    return jax.tree.map(strong, stacked)


def _all_finite(starts: PyTree) -> np.ndarray:
    """Return a number per chain, NaN if an entry of its start is not finite."""
    rows = [np.asarray(leaf) for leaf in jax.tree.leaves(starts)]
    return np.asarray(
        sum(np.sum(np.where(np.isfinite(row), 0.0, np.nan).reshape(len(row), -1), axis=1) for row in rows)
    )


# --- runs on disk -----------------------------------------------------------------------------------------------------

_MEANING = {**MEANING, "tuner": "the tuner, or one of its parameters,"}


def _identity(kernel: Any, tuner: Tuner | None, key: PRNGKeyArray, one: Any) -> dict[str, str]:
    return {**fingerprint(kernel, key, one), "tuner": "none" if tuner is None else describe(tuner)}


def _new_store(
    path: str | os.PathLike[str],
    kernel: Any,
    tuner: Tuner | None,
    key: PRNGKeyArray,
    states: Any,
    plan: _Plan,
) -> RunStore:
    """Make a store, and commit the start."""
    one = jax.tree.map(lambda leaf: leaf[0], states)
    skeleton, positions = naming.encode(one.position)
    disk = RunStore.create(
        path,
        {
            "plan": dataclasses.asdict(plan),
            "key": [int(word) for word in np.ravel(jax.random.key_data(key))],
            "key_impl": str(jax.random.key_impl(key)),
            "versions": package_versions(),
            "sampler": type(kernel).__name__,
            "claim": kernel.claim.to_record(),
            "prefix": "weighted_" if kernel.claim.weighted else "",
            "position": skeleton,
            "like": [[name, leaf.dtype.str, list(leaf.shape)] for name, leaf in positions.items()],
            "x64": bool(jax.config.read("jax_enable_x64")),
            "fingerprint": _identity(kernel, tuner, key, one),
        },
    )
    disk.commit({"states": states}, phase="warmup" if plan.tune else "draws", steps=0, warmup_counts={})
    return disk


def _same_versions(path: Path, then: Mapping[str, str]) -> None:
    now = package_versions()
    changed = [f"{name} {then[name]}, now {now.get(name)}" for name in then if then[name] != now.get(name)]
    if changed:
        raise StoreError(
            f"{path} was made with other versions ({'; '.join(changed)}), which may round differently, so that the draws "
            "would not be those of one run. Go on in the old environment, or begin a new run."
        )


def _state_like(kernel: Any, header: Mapping[str, Any], key: PRNGKeyArray) -> Any:
    """Return shapes and dtypes of the state of one chain of this kernel."""
    leaves = {name: jax.ShapeDtypeStruct(tuple(shape), dtype) for name, dtype, shape in header["like"]}  # type: ignore[no-untyped-call]
    position = naming.decode(header["position"], leaves)
    return jax.eval_shape(lambda position, key: kernel.init(position, key=key), position, key)


def _watch_again(watch: Watch, disk: RunStore, count: int) -> None:
    """Show a watch the draws that are on disk, in the pieces in which it would have seen them."""
    arrays = disk.stored("draws")["position"]
    first = 0
    while first < count and not watch.is_satisfied():
        last = min(count, watch.next if watch.next > first else count, first + MAX_SHOWN_AGAIN)
        watch.add({name: array[:, first:last] for name, array in arrays.items()})
        first = last
    watch.is_satisfied()
