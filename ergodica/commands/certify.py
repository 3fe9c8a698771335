"""``ergodica certify``: run the checks behind the claims."""

import math
import platform
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

import ergodica
from ergodica.commands.console import (
    ALARM,
    console_for,
    did_you_mean,
    errors_in_one_line,
    plain,
    write_atomically,
    write_json,
)

if TYPE_CHECKING:
    from ergodica.validation.certify import Report
    from ergodica.validation.evidence import Evidence

EXAMPLES = """\b
Examples:
  ergodica certify
  ergodica certify random-walk coordinate-slice --json evidence.json
  ergodica certify random-walk --html evidence.html --json evidence.json
  ergodica certify random-walk --host numba
"""


def certify(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Names from `ergodica list`; all if none is given.")
    ] = None,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the record as JSON; - is standard output.")
    ] = None,
    html_file: Annotated[
        str | None, typer.Option("--html", metavar="FILE", help="Write an evidence card of each name on one page.")
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0.0, metavar="SECONDS", help="Skip the checks that do not fit, for each name.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the statistical checks.")] = 0,
    host: Annotated[
        str, typer.Option(help="What makes the steps: jax, or numba (compiled for the processor; rules have none).")
    ] = "jax",
) -> None:
    """Run the checks of the catalogue; leave with status 1 if one of them fails."""
    from ergodica.validation.certify import certify as certify_subject

    chosen = _select(names or [])
    reports: dict[str, Report] = {}
    with errors_in_one_line():
        with console_for(sys.stderr).status("") as status:
            for number, name in enumerate(chosen, 1):
                status.update(f"{name} ({number} of {len(chosen)})")
                report = certify_subject(name, budget=budget, seed=seed, host=host)  # type: ignore[arg-type]
                if report.evidence or report.skipped or not report.elsewhere:
                    reports[name] = report
        print_reports(list(reports.values()), console_for(sys.stderr if json_file == "-" else sys.stdout))
        if json_file is not None:
            write_json(json_file, as_json(reports, seed=seed, budget=budget))
        if html_file is not None:
            from ergodica.validation.report.card import evidence_page

            page = evidence_page(reports, made_by={**_versions(), "seed": seed})
            write_atomically(Path(html_file), page.encode("utf-8"))
    if not all(report.passed for report in reports.values()):
        raise typer.Exit(ALARM)


def print_reports(reports: "Sequence[Report]", console: Console) -> None:
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


def as_json(reports: "Mapping[str, Report]", *, seed: int, budget: float | None) -> dict[str, Any]:
    """Return reports by name, and what is needed to repeat them, as JSON-ready values.

    Numbers that are not finite, which JSON does not have, become null.
    """
    from ergodica.validation.report.card import card_record

    return {
        **_versions(),
        "seed": seed,
        "budget": budget,
        "passed": all(report.passed for report in reports.values()),
        "skipped": {name: list(report.skipped) for name, report in reports.items() if report.skipped},
        "evidence": [
            {field: plain(value) for field, value in record.to_record().items()}
            for report in reports.values()
            for record in report.evidence
        ],
        "cards": [card_record(name, report) for name, report in reports.items()],
    }


def _versions() -> dict[str, str]:
    import jax

    return {"ergodica": ergodica.__version__, "jax": jax.__version__, "python": platform.python_version()}


def _select(names: Sequence[str]) -> list[str]:
    from ergodica.validation import catalogue

    known = list(catalogue.catalogue())
    for name in names:
        if name not in known:
            hint = did_you_mean(name, known, "`ergodica list` prints the names.")
            raise typer.BadParameter(f"the catalogue has no {name!r}. {hint}")
    return list(dict.fromkeys(names)) or known


def _table(records: "Sequence[Evidence]") -> Table:
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


def _verdict(record: "Evidence") -> str:
    if not record.passed:
        return "[bold red]FAIL[/]"
    return "[dim]diagnostic[/]" if record.false_alarm is None else "[green]pass[/]"


def _probability(value: float | None) -> str:
    if value is None:
        return "unknown"
    return "0 (exact)" if value == 0 else f"{value:.0e}"
