"""Run chains: starts, warm-up, draws, progress.

Step ``i`` of chain ``c`` is made with the key ``fold_in(fold_in(key, c), i)``, warm-up included. So the draws depend on
nothing but the kernel, the starts, the seed and the lengths of warm-up and thinning: not on how often the host looks at
the clock, nor on whether it shows progress.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from ergodica.samplers import inputs
from ergodica.samplers.chunks import (
    Record,
    begin_tuning,
    draw_chunk,
    finish_tuning,
    init_all,
    one_step,
    strong,
    tune_chunk,
)
from ergodica.samplers.draws import COUNTS, Draws, describe
from ergodica.samplers.kernel import Kernel
from ergodica.samplers.progress import LiveRhat, Reporter, make_reporter
from ergodica.samplers.tuning import Tuner, choose_tuner, tuned_leaves

__all__ = ["sample"]

MAX_STEPS = 2**31 - 1
CHUNK_SECONDS = 0.5
MIN_CAPACITY, MAX_CAPACITY = 64, 4096
BUFFER_BYTES = 2**24
EAGER_STARTS = 32

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
        Draws that are kept of each chain.
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
        ``"auto"`` for the one that suits the kernel (:func:`ergodica.samplers.tuning.choose_tuner`), which learns from
        all chains together; ``None`` to leave the parameters as they are.
    keep_warmup
        Keep the warm-up's draws too.
    progress
        Show a bar in terminals and notebooks, and lines on standard error elsewhere.
    chunk
        Most draws between two looks at the clock; no effect on the draws. Default: about half a second's worth.

    Returns
    -------
    Draws
        Ctrl-C while draws are made ends the run early and keeps what there is.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong; or the kernel has no target, or a start is not fit to sample from.

    Notes
    -----
    A kernel that has its own compiled ``run`` makes the ``thin`` steps of a draw with it, from the key of the first of
    them.
    """
    _check_kernel(kernel)
    draws = inputs.static_count("draws", draws)
    chains = inputs.static_count("chains", chains)
    thin = inputs.static_count("thin", thin)
    default = 0 if kernel.claim.independent else 1000
    tune = default if tune is None else inputs.static_count("tune", tune, at_least=0)
    chunk = None if chunk is None else inputs.static_count("chunk", chunk)
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
    chosen = choose_tuner(kernel, one, info) if isinstance(tuner, str) else tuner

    reporter = make_reporter(progress)
    run = _Run(kernel, states, key, _capacity(states, max(draws, tune)), chunk, reporter)
    try:
        warmup = run.warm_up(tune, chosen, keep=keep_warmup)
        kept, interrupted = run.draw(tune, draws, thin)
    finally:
        reporter.close()
    if warmup is not None:
        warmup = jax.tree.map(lambda leaf: leaf[:, thin - 1 :: thin], warmup)
    return Draws(
        raw_position=kept.position,
        stats=kept.stats,
        raw_warmup=None if warmup is None else warmup.position,
        warmup_stats=None if warmup is None else warmup.stats,
        claim=kernel.claim,
        sampler=type(kernel).__name__,
        description=describe(run.kernel.unbound()),
        tuned=tuned_leaves(kernel.unbound(), run.kernel.unbound()),
        seed=_seed_record(seed),
        tune=tune,
        thin=thin,
        warmup_counts=run.warmup_counts,
        seconds=time.monotonic() - began,
        interrupted=interrupted,
        kernel=run.kernel,
        state=run.states,
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


def _capacity(states: Any, longest: int) -> int:
    """Return the length of the buffers: a power of two, so that runs of similar lengths share a program."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(states.position)) + 128
    fitting = max(1, BUFFER_BYTES // size)
    wanted = max(MIN_CAPACITY, 2 ** (longest - 1).bit_length())
    return int(min(wanted, MAX_CAPACITY, 2 ** (fitting.bit_length() - 1)))


# --- the host's loop --------------------------------------------------------------------------------------------------


class _Run:
    """Where a run stands, and how it goes on."""

    def __init__(
        self, kernel: Any, states: Any, key: PRNGKeyArray, capacity: int, chunk: int | None, reporter: Reporter
    ) -> None:
        self.kernel, self.states, self.key = kernel, states, key
        self.capacity, self.chunk, self.reporter = capacity, chunk, reporter
        self.warmup_counts: dict[str, int] = {}

    def _sizes(self, total: int) -> Iterator[tuple[int, int]]:
        """Yield how many steps are done and how many to make next."""
        done, size = 0, self.chunk or 32
        while done < total:
            size = min(size, self.capacity, total - done)
            began = time.monotonic()
            yield done, size
            done += size
            if self.chunk is None:
                fitting = int(size * CHUNK_SECONDS / max(time.monotonic() - began, 1e-9))
                size = max(1, size // 8, min(size * 8, fitting))

    def warm_up(self, total: int, tuner: Tuner | None, *, keep: bool) -> Record | None:
        """Make the steps before the first draw."""
        if total == 0:
            return None
        self.reporter.start("warm-up", total)
        chunks, note = [], _Note(None)
        if tuner is not None:
            tuned = begin_tuning(tuner, self.kernel, self.states, jnp.asarray(total, jnp.int32))
        for done, size in self._sizes(total):
            first, count = jnp.asarray(done, jnp.int32), jnp.asarray(size, jnp.int32)
            if tuner is None:
                self.states, record = draw_chunk(
                    self.kernel, self.states, self.key, first, count, capacity=self.capacity, thin=1
                )
            else:
                tuned, record = tune_chunk(tuner, tuned, self.key, first, count, capacity=self.capacity)
            host = _on_host(record, size)
            for name in COUNTS:
                if name in host.stats:
                    self.warmup_counts[name] = self.warmup_counts.get(name, 0) + int(host.stats[name].sum())
            if keep:
                chunks.append(host)
            self.reporter.update(done + size, note.after(host))
        if tuner is not None:
            self.kernel, self.states = finish_tuning(tuner, tuned)
        return _joined(chunks) if keep else None

    def draw(self, first: int, total: int, thin: int) -> tuple[Record, bool]:
        """Make the draws; step numbers go on from ``first``. The flag says whether Ctrl-C ended them early."""
        self.reporter.start("draws", total)
        chunks: list[tuple[Record, Any]] = []
        states, note, interrupted = self.states, _Note(LiveRhat()), False
        try:
            for done, size in self._sizes(total):
                start, count = jnp.asarray(first + done * thin, jnp.int32), jnp.asarray(size, jnp.int32)
                states, record = draw_chunk(
                    self.kernel, states, self.key, start, count, capacity=self.capacity, thin=thin
                )
                # Draws and states in one statement: an interrupt leaves both or neither.
                chunks.append((_on_host(record, size), states))
                self.reporter.update(done + size, note.after(chunks[-1][0]))
        except KeyboardInterrupt:
            if not chunks:
                raise
            interrupted = sum(_length(record) for record, _ in chunks) < total
        self.states = chunks[-1][1]
        return _joined([record for record, _ in chunks]), interrupted


def _on_host(record: Record, count: int) -> Record:
    """Copy what was made to NumPy arrays of shape ``(chains, count, ...)``."""
    out: Record = jax.tree.map(lambda leaf: np.array(np.swapaxes(np.asarray(leaf)[:count], 0, 1)), record)
    return out


def _length(record: Record) -> int:
    return int(jax.tree.leaves(record.position)[0].shape[1])


def _joined(records: list[Record]) -> Record:
    out: Record = jax.tree.map(lambda *leaves: np.concatenate(leaves, axis=1), *records)
    return out


class _Note:
    """What the display says beside the rate: acceptance, what went wrong, and R-hat."""

    def __init__(self, rhat: LiveRhat | None) -> None:
        self._rhat = rhat
        self._totals: dict[str, float] = {}
        self._draws = 0

    def after(self, record: Record) -> str:
        """Add a chunk, and return the text."""
        words = []
        self._draws += _length(record)
        rates = record.stats.get("acceptance_rate")
        if rates is not None:
            self._totals["rate"] = self._totals.get("rate", 0.0) + float(np.mean(rates)) * _length(record)
            words.append(f"accepted {self._totals['rate'] / self._draws:.2f}")
        for name, label in (("diverging", "divergences"), ("cap_hit", "caps hit"), ("num_invalid", "invalid")):
            self._totals[name] = self._totals.get(name, 0.0) + _sum_of(record.stats, name)
            if self._totals[name]:
                words.append(f"{label} {self._totals[name]:.0f}")
        if self._rhat is not None:
            self._rhat.add(record.position)
            worst = self._rhat.worst()
            if np.isfinite(worst):
                words.append(f"R-hat {worst:.3f}")
        return ", ".join(words)


def _sum_of(stats: dict[str, Any], name: str) -> float:
    """Add up a count: the total that the kernel reports, or else those of its parts."""
    if name in stats:
        return float(np.sum(stats[name]))
    return float(sum(np.sum(values) for key, values in stats.items() if key.rsplit(".", 1)[-1] == name))
