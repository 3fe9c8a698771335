"""How commands speak: tables and lines, one line for an error, and the status they leave with."""

import contextlib
import difflib
import json
import math
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    import pandas

ALARM, BAD_INPUT, INTERRUPTED = 1, 2, 130
"""Statuses: something is wrong with what was found; with what was given; Ctrl-C."""

MOST_ROWS = 40

_shows_traceback = False


class BadInputError(Exception):
    """What was given cannot be worked with; the message is one line that says why."""


def show_tracebacks(wanted: bool) -> None:
    """Set whether errors come with their traceback."""
    global _shows_traceback
    _shows_traceback = wanted


def console_for(stream: Any) -> Console:
    """Return a console on a stream; a pipe or a file gets lines of 120 characters instead of 80."""
    return Console(file=stream, width=None if stream.isatty() else 120, highlight=False)


def note(words: str) -> None:
    """Say something beside the result, on standard error."""
    console_for(sys.stderr).print(f"[dim]{escape(words)}[/]", soft_wrap=True)


@contextlib.contextmanager
def errors_in_one_line() -> Iterator[None]:
    """Turn errors into one line on standard error and a status.

    Raises
    ------
    typer.Exit
        With status 2, or 130 after an interrupt.
    """
    try:
        yield
    except (typer.Exit, typer.BadParameter):
        raise
    except KeyboardInterrupt:
        console_for(sys.stderr).print("interrupted")
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        if _shows_traceback:
            raise
        console_for(sys.stderr).print(f"[bold red]error[/] {escape(in_one_line(error))}", soft_wrap=True)
        raise typer.Exit(BAD_INPUT) from None


def in_one_line(error: BaseException) -> str:
    """Return the message of an error, notes included, without line breaks; and its kind where that is not plain."""
    notes = [words for words in getattr(error, "__notes__", ()) if not words.startswith("-----")]  # JAX on its frames
    words = str(error) if not isinstance(error, KeyError) else " ".join(map(str, error.args))
    if isinstance(error, OSError) and error.strerror:
        words = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = " ".join(" ".join([words, *notes]).split())
    plain = isinstance(error, BadInputError | OSError | ValueError | TypeError) or type(error).__name__ == "StoreError"
    if not plain or not text:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) < 600 else f"{text[:600]}…"


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return a sentence with the names that are close to one that is unknown."""
    close = difflib.get_close_matches(name, list(known), n=3)
    if not close:
        folded = {other.lower().replace("_", "-"): other for other in known}
        close = [folded[other] for other in difflib.get_close_matches(name.lower().replace("_", "-"), folded, n=3)]
    return f"Did you mean {' or '.join(close)}?" if close else otherwise


def plain(value: Any) -> Any:
    """Return a value fit for JSON: numbers that are not finite, which it does not have, become null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(where: str, content: Any) -> None:
    """Write JSON to a file, or to standard output for ``-``."""
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    if where == "-":
        sys.stdout.write(text)
    else:
        Path(where).write_text(text, encoding="utf-8")


def write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that it has the old content or the new, whatever happens."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def print_summary(table: "pandas.DataFrame", alarms: Sequence[str], console: Console, rest: str = "") -> None:
    """Print the summary of draws, and what is wrong with them.

    Parameters
    ----------
    table
        A row for each number.
    alarms
        What is wrong, in words.
    console
        Where to print.
    rest
        Where the rows are that do not fit; default: print all.
    """
    grid = Table(box=None, pad_edge=False, header_style="dim")
    grid.add_column("")
    for column in table.columns:
        grid.add_column(column, justify="right")
    shown = len(table) if not rest else min(len(table), MOST_ROWS)
    for name, row in zip(table.index[:shown], table.to_numpy()[:shown], strict=True):
        grid.add_row(escape(str(name)), *(f"{value:.4g}" for value in row))
    console.print(grid)
    if shown < len(table):
        console.print(f"[dim]and {len(table) - shown} more rows {escape(rest)}[/]")
    console.print()
    for alarm in alarms:
        console.print(f"[bold red]alarm[/] {escape(alarm)}")
    if not alarms:
        console.print("Nothing alarming. That chains agree is no proof that they have seen all there is.")
