"""The host's half of a run: chunk after chunk, with what is shown, kept, stored, and asked in between."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ergodica.samplers.chain_groups import Advance, How, advance, on_host, on_one_device
from ergodica.samplers.chain_methods import ChainMethod
from ergodica.samplers.chunks import Record, Tuned, begin_tuning, chain_keys, finish_tuning, tune_chunk
from ergodica.samplers.draws import COUNTS
from ergodica.samplers.executors import WorkersLostError
from ergodica.samplers.live_summary import LiveSummary
from ergodica.samplers.progress import Reporter, Silent
from ergodica.samplers.run_store import RunStore
from ergodica.samplers.stopping import Watch
from ergodica.samplers.tuning.tuner import Tuner

__all__ = ["Ending", "Host", "Run", "buffer_capacity", "changed_leaves", "with_changed_leaves"]

CHUNK_SECONDS = 0.5
WAITING_SECONDS = 2.0
MIN_CAPACITY, MAX_CAPACITY = 64, 4096
BUFFER_BYTES = 2**24
PIECES = 8
"""Buffers that a chunk may fill: XLA fills one while the one before is copied."""

Ending = Literal["complete", "precise", "interrupted"]
Host = Literal["jax", "numba"]


def buffer_capacity(states: Any, longest: int, host: Host = "jax") -> int:
    """Return the length of the buffers: a power of two, so that runs of similar lengths share a program."""
    fitting = _fitting(states)
    wanted = max(MIN_CAPACITY, 2 ** (longest - 1).bit_length())
    most = MAX_CAPACITY if host == "jax" else fitting
    return int(min(wanted, most, 2 ** (fitting.bit_length() - 1)))


def _fitting(states: Any) -> int:
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(states.position)) + 128
    return int(max(1, BUFFER_BYTES // size))


class Run:
    """Where a run stands, and how it goes on.

    Parameters
    ----------
    kernel
        The kernel, as it is tuned so far.
    states
        The states of the chains, stacked.
    key
        The key of the run.
    capacity
        Length of the buffers.
    chunk
        Most draws between two looks at the clock; ``None`` for half a second's worth.
    reporter
        The display.
    store
        Where draws go, if not into memory.
    given
        The kernel as the user gave it: what a store's checkpoints are compared with.
    host
        What runs the steps: XLA, or the loop that :mod:`ergodica.samplers.lowering` compiles.
    method, interleave
        See :class:`~ergodica.samplers.chain_groups.How`.
    move
        What makes the draws outside of tuning.
    """

    def __init__(
        self,
        kernel: Any,
        states: Any,
        key: PRNGKeyArray,
        *,
        capacity: int,
        chunk: int | None,
        reporter: Reporter,
        store: RunStore | None = None,
        given: Any = None,
        host: Host = "jax",
        method: ChainMethod = "vectorized",
        interleave: bool = False,
        move: Advance = advance,
    ) -> None:
        self.kernel, self.states, self.key = kernel, states, key
        self.capacity, self.chunk, self.reporter = capacity, chunk, reporter
        self.store, self.given = store, kernel if given is None else given
        self.how = How(capacity, method, interleave, host)
        self._move = move
        # Where chains are waited for at the end of a chunk, chunks are longer, and so are the draws that they may hold.
        waits = interleave or move is not advance
        self._seconds = WAITING_SECONDS if waits else CHUNK_SECONDS
        fitting = max(capacity, _fitting(states))
        self._longest = fitting if move is not advance else min(fitting, PIECES * capacity)
        self.warmup_counts: dict[str, int] = {}

    @property
    def _is_watched(self) -> bool:
        return not isinstance(self.reporter, Silent)

    def _advance(self, first: int, count: int, thin: int) -> tuple[Any, Record]:
        """Make draws from the states as they are; return the states after them, and the draws."""
        return self._move(self.kernel, self.states, chain_keys(self.key, self.states), first, count, thin, self.how)

    def _sizes(self, done: int, total: int, longest: int, watch: Watch | None = None) -> Iterator[tuple[int, int]]:
        """Yield how many steps are done and how many to make next."""
        size = self.chunk or 32
        while done < total:
            size = min(size, longest, total - done)
            if watch is not None and watch.next > done:
                size = min(size, watch.next - done)
            began = time.monotonic()
            yield done, size
            done += size
            if self.chunk is None:
                fitting = int(size * self._seconds / max(time.monotonic() - began, 1e-9))
                size = max(1, size // 8, min(size * 8, fitting))

    def _commit(self, phase: str, steps: int, *, complete: bool = False, **trees: PyTree) -> None:
        if self.store is not None:
            counts = dict(self.warmup_counts)
            self.store.commit(trees, phase=phase, steps=steps, complete=complete, warmup_counts=counts)

    def warm_up(
        self,
        total: int,
        tuner: Tuner | None,
        *,
        keep: bool,
        thin: int = 1,
        done: int = 0,
        adaptation: Any = None,
    ) -> Record | None:
        """Make the steps before the first draw.

        Parameters
        ----------
        total
            How many.
        tuner
            What learns from them.
        keep
            Whether to keep them; every ``thin``-th.
        thin
            See ``keep``.
        done, adaptation
            Of a run that goes on: how many steps are made, and what the tuner carries.
        """
        if total == 0:
            return None
        live = LiveSummary("warm-up", total, done=done, follow=self._is_watched, estimate=False)
        self.reporter.show(live.standing())
        kept: list[Record] = []
        tuned = None
        if tuner is not None:
            if adaptation is None:
                tuned = begin_tuning(tuner, self.kernel, self.states, jnp.asarray(total, jnp.int32))
            else:
                tuned = Tuned(self.kernel, adaptation, self.states)
        tune = self._tuning(tuner, tuned)
        steps = done
        try:
            for start, size in self._sizes(done, total, self._longest if tuner is None else self.capacity):
                if tuner is None:
                    after = None
                    states, host = self._advance(start, size, 1)
                else:
                    first, count = jnp.asarray(start, jnp.int32), jnp.asarray(size, jnp.int32)
                    after, record = tune(tuner, tuned, self.key, first, count, capacity=self.capacity)
                    states, host = after.states, on_host(record, size)
                thinned = _every(host, (thin - 1 - start) % thin, thin)
                self._take(kept, "warmup", thinned if keep else None)
                self.states, tuned, steps = states, after, start + size
                for name in COUNTS:
                    if name in host.stats:
                        self.warmup_counts[name] = self.warmup_counts.get(name, 0) + int(host.stats[name].sum())
                if self.store is not None and self.store.is_due:
                    self._commit("warmup", steps, **self._warmup_trees(tuned))
                live.add(host.position, host.stats, size)
                self.reporter.show(live.standing())
        except (KeyboardInterrupt, WorkersLostError):
            self._settle(kept, "warmup", steps // thin if keep else 0)
            self._commit("warmup", steps, **self._warmup_trees(tuned))
            raise
        if tuner is not None:
            kernel, states = finish_tuning(tuner, tuned)
            if self.how.method == "parallel":  # off the devices of warm-up, on which draws need not be made
                kernel = with_changed_leaves(self.kernel, changed_leaves(self.kernel, kernel))
                states = jax.tree.map(on_one_device, states)
            self.kernel, self.states = kernel, states
        self._commit("draws", 0, **self._draw_trees())
        return _joined(kept) if kept else None

    def _tuning(self, tuner: Tuner | None, tuned: Tuned | None) -> Callable[..., tuple[Tuned, Record]]:
        """Return what makes a chunk of warm-up on this host."""
        if self.how.host == "numba" and tuner is not None and tuned is not None:
            from ergodica.samplers.lowering.tuning import can_tune, tune_compiled

            if not can_tune(tuner, tuned, self.key, self.capacity):
                return tune_compiled
        return partial(tune_chunk, method=self.how.method)

    def _take(self, kept: list[Record], phase: Literal["warmup", "draws"], record: Record | None) -> None:
        if record is None or _length(record) == 0:
            return
        if self.store is None:
            kept.append(record)
        else:
            self.store.append(phase, record)

    def _settle(self, kept: list[Record], phase: Literal["warmup", "draws"], count: int, *, before: int = 0) -> None:
        """Drop draws beyond ``count``: after an interrupt, those that the states do not account for."""
        if self.store is not None:
            self.store.drop_after(phase, count)
        while sum(map(_length, kept)) > count - before:
            kept.pop()

    def _warmup_trees(self, tuned: Tuned | None) -> dict[str, PyTree]:
        if tuned is None:
            return {"states": self.states}
        return {
            "states": tuned.states,
            "adaptation": tuned.adaptation,
            "kernel": changed_leaves(self.given, tuned.kernel),
        }

    def _draw_trees(self) -> dict[str, PyTree]:
        return {"states": self.states, "kernel": changed_leaves(self.given, self.kernel)}

    def draw(
        self, first: int, total: int, thin: int, *, done: int = 0, watch: Watch | None = None
    ) -> tuple[Record | None, Ending]:
        """Make the draws; step numbers go on from ``first``.

        Parameters
        ----------
        first
            Steps made in warm-up.
        total
            Most draws of each chain.
        thin
            Steps for each.
        done
            Of a run that goes on: draws that are made.
        watch
            Says when they are enough.

        Returns
        -------
        record, ending
            The draws, ``None`` if they are in the store; and why the run has ended.
        """
        weighted = self.kernel.claim.weighted
        live = LiveSummary("draws", total, done=done, follow=self._is_watched, estimate=not weighted, watch=watch)
        self.reporter.show(live.standing())
        kept: list[Record] = []
        made = done
        ending: Ending = "complete"
        try:
            for start, size in self._sizes(done, total, self._longest, watch):
                states, host = self._advance(first + start * thin, size, thin)
                self._take(kept, "draws", host)
                self.states, made = states, start + size
                if self.store is not None and self.store.is_due:
                    self._commit("draws", made, **self._draw_trees())
                if watch is not None:
                    watch.add(host.position)
                live.add(host.position, host.stats, size)
                self.reporter.show(live.standing())
                if watch is not None and watch.is_satisfied():
                    ending = "precise"
                    break
        except (KeyboardInterrupt, WorkersLostError) as stop:
            self._settle(kept, "draws", made, before=done)
            self._commit("draws", made, **self._draw_trees())
            if not made or isinstance(stop, WorkersLostError):
                raise
            ending = "interrupted" if made < total else "complete"
        else:
            self._commit("draws", made, **self._draw_trees(), complete=True)
        return (_joined(kept) if kept else None), ending


def changed_leaves(before: Any, after: Any) -> dict[str, Any]:
    """Return the leaves of a kernel that differ from those of another of the same kind, by number."""
    pairs = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    return {
        f"{number:06d}": new
        for number, (old, new) in enumerate(pairs)
        if not np.array_equal(np.asarray(old), np.asarray(new), equal_nan=np.issubdtype(new.dtype, np.inexact))
    }


def with_changed_leaves(kernel: Any, changes: dict[str, Any]) -> Any:
    """Undo :func:`changed_leaves`: return the kernel with other leaves."""
    leaves, structure = jax.tree.flatten(kernel)
    for number, value in changes.items():
        leaves[int(number)] = jnp.asarray(value)
    return jax.tree.unflatten(structure, leaves)


def _every(record: Record, first: int, step: int) -> Record:
    out: Record = jax.tree.map(lambda leaf: leaf[:, first::step], record)
    return out


def _length(record: Record) -> int:
    return int(jax.tree.leaves(record.position)[0].shape[1])


def _joined(records: list[Record]) -> Record:
    out: Record = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *records)
    return out
