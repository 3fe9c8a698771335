"""The command line: run the checks behind the claims, audit draws, and print or store what was found."""

import dataclasses
import difflib
import json
import math
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import ergodica
from ergodica.validation.catalogue import catalogue
from ergodica.validation.certify import Report
from ergodica.validation.certify import certify as certify_subject
from ergodica.validation.evidence import Evidence

app = typer.Typer(
    help="Samplers, and the evidence that they are right.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ergodica {ergodica.__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Samplers, and the evidence that they are right."""
    del version
    # The exact laws are computed to 1e-12. This is the process of the command line, so nobody else is affected.
    jax.config.update("jax_enable_x64", True)


@app.command("list")
def list_catalogue() -> None:
    """Print the kernels and rules of the catalogue, what each claims, and how many checks stand behind it."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "claim", "checks", "source"):
        table.add_column(column, justify="right" if column == "checks" else "left", overflow="fold")
    for case in catalogue().values():
        claim = case.example().claim
        table.add_row(case.name, str(claim), str(len(case.checks)), escape(claim.source))
    console_for(sys.stdout).print(table)


@app.command()
def certify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names from `ergodica list`; all if none is given.")
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the record as JSON; - is standard output.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0.0, metavar="SECONDS", help="Skip the checks that do not fit, for each name.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the statistical checks.")] = 0,
) -> None:
    """Run the checks of the catalogue; leave with status 1 if one of them fails."""
    chosen = _select(names or [])
    reports: dict[str, Report] = {}
    with console_for(sys.stderr).status("") as status:
        for number, name in enumerate(chosen, 1):
            status.update(f"{name} ({number} of {len(chosen)})")
            reports[name] = certify_subject(name, budget=budget, seed=seed)
    print_reports(list(reports.values()), console_for(sys.stderr if json_file == "-" else sys.stdout))
    if json_file is not None:
        text = json.dumps(as_json(reports, seed=seed, budget=budget), indent=2, allow_nan=False) + "\n"
        if json_file == "-":
            sys.stdout.write(text)
        else:
            Path(json_file).write_text(text, encoding="utf-8")
    if not all(report.passed for report in reports.values()):
        raise typer.Exit(1)


@app.command("audit")
def audit_file(
    path: Annotated[
        Path, typer.Argument(metavar="DRAWS", help="A file .nc, .csv or .npz, or the folder of a run on disk.")
    ],
    max_rhat: Annotated[float, typer.Option(min=1.0, help="Largest R-hat without an alarm.")] = 1.01,
    min_ess: Annotated[float, typer.Option(min=0.0, help="Smallest effective number of draws of each chain.")] = 100.0,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the record as JSON; - is standard output.")
    ] = None,
) -> None:
    """Look for what is wrong with draws from anywhere; leave with status 1 if something is."""
    from ergodica.samplers.stored_array import StoreError
    from ergodica.validation.audit import audit
    from ergodica.validation.draws_file import read_draws

    try:
        found = audit(read_draws(path), max_rhat=max_rhat, min_ess=min_ess)
    except (OSError, ValueError, StoreError) as error:
        console_for(sys.stderr).print(f"[bold red]error[/] {escape(str(error))}")
        raise typer.Exit(2) from None
    console = console_for(sys.stderr if json_file == "-" else sys.stdout)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    for column in found.table.columns:
        table.add_column(column, justify="right")
    for name, row in zip(found.table.index, found.table.to_numpy(), strict=True):
        table.add_row(escape(str(name)), *(f"{value:.4g}" for value in row))
    console.print(table)
    console.print()
    for alarm in found.alarms:
        console.print(f"[bold red]alarm[/] {escape(alarm)}")
    if not found.alarms:
        console.print("Nothing alarming. That chains agree is no proof that they have seen all there is.")
    if json_file is not None:
        values = found.table.astype(float).to_dict(orient="index")
        rows = {name: {key: _plain(value) for key, value in row.items()} for name, row in values.items()}
        text = json.dumps({"alarms": list(found.alarms), "summary": rows}, indent=2, allow_nan=False) + "\n"
        if json_file == "-":
            sys.stdout.write(text)
        else:
            Path(json_file).write_text(text, encoding="utf-8")
    if found.alarms:
        raise typer.Exit(1)


def print_reports(reports: Sequence[Report], console: Console) -> None:
    """Print what was found as a table, failures in words, and the chance that right samplers show a failure.

    Parameters
    ----------
    reports
        What ``certify`` returned, one report for each kernel or rule.
    console
        Where to print.
    """
    records = [record for report in reports for record in report.evidence]
    for report in reports:
        if report.evidence:
            first = report.evidence[0]
            console.print(f"[bold]{escape(first.subject)}[/]  [dim]{escape(first.claim)}[/]")
            console.print(_table(report.evidence))
            console.print()
    for report in reports:
        for record in report.failures:
            console.print(
                f"[bold red]FAIL[/] {escape(record.subject)}, {escape(record.check)}: {escape(record.details)}"
            )
    skipped = sum(len(report.skipped) for report in reports)
    if skipped:
        console.print(f"[yellow]Skipped, because they do not fit the budget: {skipped}[/]")
    tested = [record for record in records if record.false_alarm is not None]
    alarm = math.fsum(report.false_alarm for report in reports)
    chance = (
        "All are exact: none can fail by chance."
        if alarm == 0
        else (f"If every claim is true, the chance of any failure is at most {alarm:.0e}.")
    )
    console.print(
        f"{sum(record.passed for record in tested)} of {len(tested)} checks passed. {chance if tested else ''}"
    )


def as_json(reports: Mapping[str, Report], *, seed: int, budget: float | None) -> dict[str, Any]:
    """Return reports by name, and what is needed to repeat them, as JSON-ready values.

    Numbers that are not finite, which JSON does not have, become null.
    """
    return {
        "ergodica": ergodica.__version__,
        "jax": jax.__version__,
        "python": platform.python_version(),
        "seed": seed,
        "budget": budget,
        "passed": all(report.passed for report in reports.values()),
        "skipped": {name: list(report.skipped) for name, report in reports.items() if report.skipped},
        "evidence": [
            {field: _plain(value) for field, value in dataclasses.asdict(record).items()}
            for report in reports.values()
            for record in report.evidence
        ],
    }


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _select(names: Sequence[str]) -> list[str]:
    known = list(catalogue())
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=3)
            hint = f"Did you mean {' or '.join(close)}?" if close else "`ergodica list` prints the names."
            raise typer.BadParameter(f"the catalogue has no {name!r}. {hint}")
    return list(dict.fromkeys(names)) or known


def _table(records: Sequence[Evidence]) -> Table:
    # All columns but the first have a fixed width, so that the tables of several reports stand in line.
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    table.add_column("  check", ratio=1, overflow="fold")
    for column, width in (("statistic", 9), ("bound", 9), ("verdict", 10), ("false alarm", 11), ("seconds", 7)):
        table.add_column(column, justify="left" if column == "verdict" else "right", width=width)
    for record in records:
        table.add_row(
            "  " + escape(record.check),
            f"{record.statistic:.3g}",
            f"{record.bound:.3g}",
            _verdict(record),
            _probability(record.false_alarm),
            f"{record.seconds:.1f}",
        )
    return table


def _verdict(record: Evidence) -> str:
    if not record.passed:
        return "[bold red]FAIL[/]"
    return "[dim]diagnostic[/]" if record.false_alarm is None else "[green]pass[/]"


def _probability(value: float | None) -> str:
    if value is None:
        return "unknown"
    return "0 (exact)" if value == 0 else f"{value:.0e}"


def console_for(stream: Any) -> Console:
    """Return a console on a stream; a pipe or a file gets lines of 120 characters instead of 80."""
    return Console(file=stream, width=None if stream.isatty() else 120, highlight=False)


def main() -> None:
    """Run the command line."""
    app()
