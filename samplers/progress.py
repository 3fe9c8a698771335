"""Displays of a run: a live bar in terminals, a table in notebooks, plain lines elsewhere."""

import html
import sys
import time
from typing import Any, Protocol

from ergodica.samplers.live_summary import Standing

__all__ = ["Bar", "Lines", "NotebookTable", "Reporter", "Silent", "make_reporter"]

LINE_EVERY = 10.0
"""Seconds between two plain lines."""


class Reporter(Protocol):
    """Shows how a run goes."""

    def show(self, standing: Standing) -> None:
        """Show how a phase stands; the first time, it has just begun."""
        ...

    def close(self) -> None:
        """Take the display down, whatever has happened."""
        ...


class Silent:
    """Shows nothing."""

    def show(self, standing: Standing) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Show nothing."""


class Lines:
    """Writes a line now and then, and one at the end of each phase."""

    def __init__(self, stream: Any = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._phase = ""
        self._written = 0.0

    def show(self, standing: Standing) -> None:
        """Write a line if the last one is long ago, or the phase is over."""
        now = time.monotonic()
        if standing.phase != self._phase:
            self._phase, self._written = standing.phase, now
        over = standing.done >= standing.total
        if not over and now - self._written < LINE_EVERY:
            return
        self._written = now
        words = [f"{standing.phase} {standing.done}/{standing.total} in {clock(standing.seconds)}"]
        words.append(f"{standing.rate:.4g} it/s")
        if not over and standing.left is not None:
            words.append(f"{clock(standing.left)} left")
        print(f"{', '.join(words)}  {_note(standing)}".rstrip(), file=self._stream, flush=True)

    def close(self) -> None:
        """Do nothing: nothing is open."""


class Bar:
    """A live bar, by Rich.

    Parameters
    ----------
    console
        Rich's, where to draw it.
    """

    def __init__(self, console: Any) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self._progress.start()
        self._tasks: dict[str, Any] = {}

    def show(self, standing: Standing) -> None:
        """Move the bar of the phase."""
        if standing.phase not in self._tasks:
            self._tasks[standing.phase] = self._progress.add_task(standing.phase, total=standing.total, note="")
        note = ""
        if standing.made:
            left = "" if not standing.left else f" < {clock(standing.left)}"
            note = f"{standing.rate:.4g} it/s  {clock(standing.seconds)}{left}  {_note(standing)}"
        self._progress.update(self._tasks[standing.phase], completed=standing.done, note=note, refresh=True)

    def close(self) -> None:
        """Stop refreshing; the last state stays on the screen."""
        self._progress.stop()


class NotebookTable:
    """A table in a notebook's output, a row for each phase."""

    def __init__(self) -> None:
        from IPython.display import HTML, display

        self._html = HTML
        self._rows: dict[str, str] = {}
        self._handle = display(HTML(""), display_id=True)

    def show(self, standing: Standing) -> None:
        """Write the row of the phase anew."""
        cells = [
            html.escape(standing.phase),
            f'<progress max="{standing.total}" value="{standing.done}" style="width: 12em"></progress>',
            f"{standing.done} of {standing.total}",
            f"{standing.rate:.4g} it/s" if standing.made else "",
            clock(standing.seconds) + (f", {clock(standing.left)} left" if standing.left else ""),
            "&emsp;".join(f"{html.escape(name)} {html.escape(value)}" for name, value in standing.facts().items()),
        ]
        align = ' style="text-align: left; padding: 0 0.7em"'
        self._rows[standing.phase] = "<tr>" + "".join(f"<td{align}>{cell}</td>" for cell in cells) + "</tr>"
        self._handle.update(self._html(f"<table>{''.join(self._rows.values())}</table>"))

    def close(self) -> None:
        """Leave the last state in the output."""


def make_reporter(progress: bool) -> Reporter:
    """Return a table in notebooks, a bar in terminals, plain lines on standard error elsewhere, or nothing."""
    if not progress:
        return Silent()
    if _in_notebook():
        return NotebookTable()
    from rich.console import Console

    console = Console(stderr=True)
    return Bar(console) if console.is_terminal else Lines()


def _in_notebook() -> bool:
    """Tell whether cells of a notebook are being run: whoever runs them has imported IPython, and gave it a kernel."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    return getattr(shell, "kernel", None) is not None


def _note(standing: Standing) -> str:
    return ", ".join(f"{name} {value}" for name, value in standing.facts().items())


def clock(seconds: float) -> str:
    """Return a time in words: ``8.1 s``, ``2:05``, ``3:00:41``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}:{minutes:02d}:{rest:02d}"
    return f"{minutes}:{rest:02d}" if minutes else f"{seconds:.1f} s"
