"""``ergodica report``: a run, or draws from anywhere, on one page of HTML."""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich.markup import escape

from ergodica.commands.console import BadInputError, console_for, errors_in_one_line
from ergodica.commands.kernels import Choice, choose
from ergodica.commands.run_folder import DRAWS, PAGE, RECORD, STORE, RunRecord, store_in

if TYPE_CHECKING:
    from ergodica.commands.constrained import Constrainer
    from ergodica.samplers.draws import Draws
    from ergodica.validation.evidence import Evidence
    from ergodica.validation.report.facts import Facts

EXAMPLES = """\b
Examples:
  ergodica report run
  ergodica report run --evidence evidence.json --out page.html
  ergodica report draws.nc --budget 0
\b
Nothing of the model is executed. Status: 0 the page is written, 2 bad input.
"""

LIVE_SECONDS = 10
LIVE_DRAWS = 2000
"""Most draws of each chain on a page that is written beside a run, so that it takes a second or two."""
UNCONSTRAINED = (
    "These are the kernel's unconstrained positions: the run has not ended yet, and `ergodica resume` ends it."
)


def report(
    path: Annotated[
        Path, typer.Argument(metavar="DRAWS", help="The folder of a run, or a file of draws as for audit.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="The page; default: report.html in the folder, or beside."),
    ] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="What `ergodica certify --json FILE` has written, instead of running checks."
        ),
    ] = None,
    budget: Annotated[
        float, typer.Option(min=0.0, metavar="SECONDS", help="For the checks of the kernel's claim; 0 for none.")
    ] = 30.0,
    title: Annotated[str | None, typer.Option(help="Name of the model; default: from run.json or the file.")] = None,
) -> None:
    """Put a run on one page of HTML: the claim and its evidence, summary, pictures, tuning, versions.

    The page needs no other file, no network and no scripts.
    """
    with errors_in_one_line():
        if not path.exists():
            raise BadInputError(f"there is no {path}")
        place = out or (path / PAGE if path.is_dir() else path.with_suffix(".html"))
        record = RunRecord.read(path) if (path / RECORD).is_file() else None
        draws = draws_at(path)
        if isinstance(draws, dict):
            facts = _of_arrays(path, draws, title or path.stem)
        else:
            facts = _facts(draws, record, title or _title(record, path), path)
            facts = _with_evidence(facts, record, evidence, budget)
        _write(place, facts)
        console_for(sys.stdout).print(f"The report is {escape(str(place))}.", soft_wrap=True)


def draws_at(path: Path) -> "Draws | dict[str, Any]":
    """Return the draws of a run or of a file; arrays by name if the file says nothing more.

    Parameters
    ----------
    path
        A folder or a file.
    """
    from ergodica.samplers.draws import Draws
    from ergodica.validation.draws_file import read_draws

    if path.is_dir():
        stored = Draws.load(store_in(path))
        if not (path / DRAWS).is_file() or store_in(path) == path:
            return stored
        kept = Draws.load(path / DRAWS)
        # After a kill, the file is that of an earlier end of the run.
        return kept if kept.num_draws == stored.num_draws else stored
    if path.suffix.lower() == ".nc":
        try:
            return Draws.load(path)
        except (ValueError, OSError, KeyError):
            return read_draws(path)
    return read_draws(path)


def write_report(folder: Path, place: Path, draws: "Draws", record: RunRecord) -> None:
    """Write the report of a run that has ended; without running checks."""
    facts = _facts(draws, record, _title(record, folder), folder)
    _write(place, _with_evidence(facts, record, None, 0.0))


def write_live_report(folder: Path, record: RunRecord, constrainer: "Constrainer | None") -> None:
    """Write the report of a run that goes on, from what is certain in its store."""
    import jax

    from ergodica.samplers.draws import Draws
    from ergodica.samplers.stored_array import StoreError

    if not (folder / STORE).exists():
        return
    try:
        draws = Draws.load(folder / STORE)
    except StoreError:
        return  # still in warm-up
    if draws.num_draws < 4:
        return
    every = -(-draws.num_draws // LIVE_DRAWS)
    made = draws.num_draws
    draws = dataclasses.replace(
        draws,
        raw_position=jax.tree.map(lambda leaf: leaf[:, ::every], draws.raw_position),
        stats={name: values[:, ::every] for name, values in draws.stats.items()},
        raw_warmup=None,
        warmup_stats=None,
    )
    if constrainer is not None:
        draws = constrainer.draws(draws)
    facts = _facts(draws, record, _title(record, folder), folder)
    note = f"So far {made} of {record.draws} draws of each chain are made"
    note += f"; this page is of one in {every}." if every > 1 else "."
    # Evaluations are those of the draws shown: what one costs is known at the end.
    _write(folder / PAGE, dataclasses.replace(facts, refresh=LIVE_SECONDS, counts={}, seconds=None, progress=note))


def _write(place: Path, facts: "Facts") -> None:
    from ergodica.validation.report.page import report_page, write_page

    try:
        write_page(place, report_page(facts))
    except OSError as error:
        raise BadInputError(f"cannot write {place}: {error.strerror or error}") from None


def _title(record: RunRecord | None, path: Path) -> str:
    if record is None:
        return path.resolve().name if path.is_dir() else path.stem
    return record.function if record.function not in ("", "model", "logdensity") else Path(record.model).stem


def _facts(draws: "Draws", record: RunRecord | None, title: str, path: Path) -> "Facts":
    from ergodica.validation.report.facts import facts_of_draws

    provenance: dict[str, str] = {}
    note = ""
    if record is not None:
        provenance["command"] = record.command()
        provenance["model"] = f"{Path(record.model).name}, sha256 {record.model_sha256}"
        if record.data:
            provenance["data"] = f"{Path(record.data).name}, sha256 {record.data_sha256}"
        if not record.density and draws.unconstrained is None:
            note = UNCONSTRAINED
    else:
        provenance["draws"] = path.name
    more: dict[str, Any] = {}
    if record is not None and record.adapted:
        steps = {name: np.asarray(value) for name, value in record.adapted.items() if name != "num_grad_evals"}
        more["sampler"] = f"{record.kernel} of BlackJAX"
        more["tuned"] = {**steps, **draws.tuned}
        more["counts"] = {
            "num_evals": draws.num_evals,
            "num_grad_evals": draws.num_grad_evals + record.adapted["num_grad_evals"],
        }
    facts = facts_of_draws(draws, title, provenance=provenance, evidence_note=note, **more)
    if record is None or not record.adapted:
        return facts
    words = {"warm-up": f"{record.tune} steps of window adaptation", "kernel": ""}
    return dataclasses.replace(facts, provenance={**facts.provenance, **words})


def _of_arrays(path: Path, draws: dict[str, Any], title: str) -> "Facts":
    from ergodica.validation.report.facts import Facts

    stats: dict[str, Any] = {}
    if path.suffix.lower() == ".nc":
        import xarray

        with xarray.open_datatree(path, engine="h5netcdf") as tree:
            if "sample_stats" in tree.children:
                found = tree["sample_stats"].data_vars.items()
                stats = {
                    str(n): v.transpose("chain", "draw").to_numpy()
                    for n, v in found
                    if set(v.dims) == {"chain", "draw"}
                }
    shape = np.shape(next(iter(draws.values())))[:2]
    stats = {
        name: values for name, values in stats.items() if np.shape(values) == shape and values.dtype.kind in "biuf"
    }
    return Facts(title=title, draws=draws, stats=stats, provenance={"draws": path.name})


def _with_evidence(facts: "Facts", record: RunRecord | None, file: Path | None, budget: float) -> "Facts":
    row = _row(facts, record)
    known = facts.evidence_note
    if not row:
        words = "The catalogue has no checks of this kernel: its claim is what its own library says of it."
        return dataclasses.replace(facts, evidence_note=f"{words} {known}".strip())
    skipped: Sequence[str] = ()
    if file is not None:
        records = _read_evidence(file, row)
        where = f"From {file.name}. "
    elif budget > 0:
        from ergodica.validation.certify import certify

        found = certify(row, budget=budget)
        records, skipped = list(found.evidence), found.skipped
        where = ""
    else:
        words = f"`ergodica certify {row}` runs the checks behind this claim, and `ergodica report` puts them here."
        return dataclasses.replace(facts, evidence_note=f"{words} {known}".strip())
    tested = [one for one in records if one.false_alarm is not None]
    alarm = sum(one.false_alarm or 0.0 for one in tested)
    chance = (
        "None can fail by chance."
        if not alarm
        else f"If the claim is true, any fails with probability at most {alarm:.0e}."
    )
    words = f"{where}{sum(one.passed for one in tested)} of {len(tested)} checks of the row {row} passed. {chance}"
    if skipped:
        words += f" {len(skipped)} more do not fit the budget of {budget:g} seconds."
    return dataclasses.replace(facts, evidence=tuple(records), evidence_note=f"{words} {known}".strip())


def _row(facts: "Facts", record: RunRecord | None) -> str:
    """Return the name of the kernel's row in the catalogue; empty if there is none."""
    if record is not None:
        chosen = choose(record.kernel)
        return chosen.row if isinstance(chosen, Choice) else ""
    from ergodica.validation import catalogue

    for name, case in catalogue.catalogue().items():
        if case.subject.__name__ == facts.sampler and not case.only_example:
            return name
    return ""


def _read_evidence(file: Path, row: str) -> "list[Evidence]":
    try:
        rows = json.loads(file.read_text(encoding="utf-8"))["evidence"]
        records = [_evidence(one) for one in rows if one["subject"] == row]
    except OSError as error:
        raise BadInputError(f"cannot read the evidence {file}: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"{file} is no record of `ergodica certify --json`: {error}") from None
    if not records:
        raise BadInputError(f"{file} has no evidence of {row}; make it by `ergodica certify {row} --json {file.name}`")
    return records


def _evidence(row: dict[str, Any]) -> "Evidence":
    from ergodica.validation.evidence import Evidence

    # JSON has no infinities and no NaN.
    numbers = {name: float("nan") for name in ("statistic", "bound", "seconds") if row[name] is None}
    return Evidence(**{**row, **numbers})
