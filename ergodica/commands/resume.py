"""``ergodica resume``: go on with a run after a kill, Ctrl-C or a full disk, or for more draws."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from ergodica.commands.console import BadInputError, errors_in_one_line, note
from ergodica.commands.run import (
    adapted,
    begin,
    finish,
    in_precision,
    interrupted_by_termination,
    load_target,
    pages,
    prepare,
)
from ergodica.commands.run_folder import STORE, RunRecord, digest
from ergodica.commands.settings import parse_until, until_of
from ergodica.commands.user_code import split_name

EXAMPLES = """\b
Examples:
  ergodica resume run
  ergodica resume run --draws 5000
  ergodica resume run --model moved/eight_schools.py --data moved/schools.json
\b
The model file that the run was made with is executed, after its digest was found unchanged.
Status: 0 fine, 1 an alarm about the draws, 2 bad input, 130 interrupted.
"""


def resume(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder that `ergodica sample` has made.")],
    draws: Annotated[int | None, typer.Option(min=1, help="Draws of each chain in all, for more of them.")] = None,
    until: Annotated[
        list[str] | None, typer.Option(metavar="NAME=BOUND", help="Another stopping rule, as for `ergodica sample`.")
    ] = None,
    model: Annotated[Path | None, typer.Option(metavar="MODEL.py", help="Where the model file is now.")] = None,
    data: Annotated[Path | None, typer.Option(metavar="FILE", help="Where the data file is now.")] = None,
    kernel_file: Annotated[
        Path | None, typer.Option("--kernel", metavar="FILE.py", help="Where the file of your kernel is now.")
    ] = None,
    live: Annotated[bool, typer.Option("--live", help="Rewrite the report every few seconds.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on standard error.")] = False,
) -> None:
    """Go on with a run: the draws are those of a run that was left alone, bit for bit.

    Model and data are found again by what run.json says, and refused if they have changed since. Everything on disk is
    verified first.
    """
    from ergodica.samplers.sample import resume as go_on

    with errors_in_one_line():
        record = RunRecord.read(folder)
        asked = dataclasses.replace(
            record,
            draws=record.draws if draws is None else draws,
            until=record.until if until is None else parse_until(until),
        )
        rule = until_of(asked.until)
        model_path = folder / record.model if model is None else model
        own = None
        if record.kernel_sha256:
            own = folder / split_name(record.kernel)[0] if kernel_file is None else kernel_file
        data_path = data if data is not None else folder / record.data if record.data else None
        with in_precision(record.x64):
            for path, then, what in (
                (model_path, record.model_sha256, "model"),
                (data_path, record.data_sha256, "data"),
                (own, record.kernel_sha256, "kernel"),
            ):
                if path is not None:
                    _same(path, then, what)
            target, _, _ = load_target(
                model_path,
                record.function,
                data_path,
                record.data_key,
                density=record.density,
                start=record.start,
            )
            kernel = record.kernel if own is None else f"{own}:{split_name(record.kernel)[1]}"
            prepared = prepare(target, kernel, record.settings, record.adapted)
            if not (folder / STORE / "manifest.json").exists():
                if record.adapted:
                    plan = {"tune": record.tune, "chains": record.chains, "seed": record.seed}
                    prepared, _ = adapted(prepared, record.kernel, record.settings, **plan)
                begin(asked, prepared, folder, live=live, quiet=quiet, again=True)
                return
            try:
                with interrupted_by_termination(), pages(asked, prepared, folder, live=live):
                    kept = go_on(
                        folder / STORE,
                        prepared.kernel,
                        draws=draws,
                        tuner=None if record.adapted else "auto",
                        until=rule,
                        progress=not quiet,
                    )
            except KeyboardInterrupt:
                note(f"go on: ergodica resume {folder}")
                raise
            if asked != record:
                asked.write(folder)
            finish(kept, prepared, folder, asked, page=live)


def _same(path: Path, then: str, what: str) -> None:
    """Refuse a file that is not what it was, before anything of it is executed."""
    if not path.exists():
        raise BadInputError(f"the {what} file is no longer at {path}; say where it is: --{what} FILE")
    _, now = digest(path, f"the {what} file")
    if now != then:
        raise BadInputError(
            f"{path} is not what it was when the run began (sha256 {then[:12]} then, {now[:12]} now); restore it, or begin a "
            "new run"
        )
