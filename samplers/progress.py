"""Progress of a run: a live bar in terminals and notebooks, plain lines elsewhere."""

import sys
import time
from typing import Any, Protocol

import jax
import numpy as np
from jaxtyping import PyTree

__all__ = ["LiveRhat", "Reporter", "make_reporter"]

LINE_EVERY = 10.0
"""Seconds between two plain lines."""

MAX_SUMS = 64
"""How many chunks the live R-hat remembers apart."""


class Reporter(Protocol):
    """Shows how a run goes."""

    def start(self, phase: str, total: int) -> None:
        """Begin a phase of ``total`` steps."""
        ...

    def update(self, done: int, note: str) -> None:
        """Show that ``done`` steps of the phase are done."""
        ...

    def close(self) -> None:
        """Take the display down, whatever has happened."""
        ...


class Silent:
    """Shows nothing."""

    def start(self, phase: str, total: int) -> None:
        """Show nothing."""

    def update(self, done: int, note: str) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


class Lines:
    """Writes a line now and then, and one at the end of each phase."""

    def __init__(self, stream: Any = None) -> None:
        self._stream = sys.stderr if stream is None else stream

    def start(self, phase: str, total: int) -> None:
        """Begin a phase."""
        self._phase, self._total = phase, total
        self._began = self._written = time.monotonic()

    def update(self, done: int, note: str) -> None:
        """Write a line if the last one is long ago, or the phase is over."""
        now = time.monotonic()
        if done < self._total and now - self._written < LINE_EVERY:
            return
        self._written = now
        elapsed = now - self._began
        rate = done / max(elapsed, 1e-9)
        left = f", {_clock((self._total - done) / rate)} left" if done < self._total and done else ""
        text = f"{self._phase} {done}/{self._total} in {_clock(elapsed)}, {rate:.4g} it/s{left}"
        print(f"{text}  {note}".rstrip(), file=self._stream, flush=True)

    def close(self) -> None:
        """Nothing is open."""


class Bar:
    """A live bar, by Rich."""

    def __init__(self, console: Any) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("<"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._progress.start()

    def start(self, phase: str, total: int) -> None:
        """Add a bar for the phase."""
        self._began = time.monotonic()
        self._task = self._progress.add_task(phase, total=total, note="", rate="")

    def update(self, done: int, note: str) -> None:
        """Move the bar."""
        rate = done / max(time.monotonic() - self._began, 1e-9)
        self._progress.update(self._task, completed=done, note=note, rate=f"{rate:.4g} it/s", refresh=True)

    def close(self) -> None:
        """Stop refreshing; the last state stays on the screen."""
        self._progress.stop()


def make_reporter(progress: bool) -> Reporter:
    """Return a bar in terminals and notebooks, plain lines on standard error elsewhere, or nothing."""
    if not progress:
        return Silent()
    from rich.console import Console

    console = Console(stderr=True)
    return Bar(console) if console.is_terminal or console.is_jupyter else Lines()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{seconds:.1f} s"


class LiveRhat:
    """Largest split R-hat of the coordinates, from the sums of each chunk: cheap enough to show while a run goes.

    Parameters
    ----------
    max_coordinates
        Coordinates beyond this number are left out.

    Notes
    -----
    This is the classical statistic on the two halves of each chain, cut at the chunk next to the middle; summaries use
    the rank-normalised one.
    """

    def __init__(self, max_coordinates: int = 1000) -> None:
        self._max = max_coordinates
        self._sums: list[tuple[int, np.ndarray, np.ndarray]] = []

    def add(self, positions: PyTree) -> None:
        """Add a chunk of positions, leaves of shape ``(chains, draws, ...)``."""
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(positions)]
        chains, count = leaves[0].shape[:2]
        flat = np.concatenate([leaf.reshape(chains, count, -1) for leaf in leaves], axis=2, dtype=float)
        flat = flat[:, :, : self._max]
        mean = flat.mean(axis=1)
        self._sums.append((count, mean, ((flat - mean[:, None]) ** 2).sum(axis=1)))
        if len(self._sums) > MAX_SUMS:
            pairs = zip(self._sums[::2], self._sums[1::2], strict=False)
            self._sums = [_merge([one, other]) for one, other in pairs] + self._sums[len(self._sums) // 2 * 2 :]

    def worst(self) -> float:
        """Return the largest value, NaN if there are too few draws."""
        counts = np.cumsum([count for count, _, _ in self._sums])
        if len(counts) < 2:
            return float("nan")
        cut = int(np.argmin(np.abs(counts[:-1] - counts[-1] / 2))) + 1
        halves = [_merge(part) for part in (self._sums[:cut], self._sums[cut:])]
        length = min(count for count, _, _ in halves)
        if length < 4:
            return float("nan")
        means = np.concatenate([mean for _, mean, _ in halves])
        within = np.mean(np.concatenate([squares / (count - 1) for count, _, squares in halves]), axis=0)
        between = np.var(means, axis=0, ddof=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.sqrt((length - 1) / length + between / within)
        values = values[np.isfinite(values)]
        return float(values.max()) if values.size else float("nan")


def _merge(parts: list[tuple[int, np.ndarray, np.ndarray]]) -> tuple[int, np.ndarray, np.ndarray]:
    total, mean, squares = parts[0]
    for count, other, more in parts[1:]:
        shift = other - mean
        squares = squares + more + shift**2 * (total * count / (total + count))
        mean = mean + shift * (count / (total + count))
        total += count
    return total, mean, squares
