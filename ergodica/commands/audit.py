"""``ergodica audit``: look for what is wrong with draws from anywhere."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from ergodica.commands.console import ALARM, console_for, errors_in_one_line, plain, print_summary, write_json
from ergodica.commands.run_folder import store_in

EXAMPLES = """\b
Examples:
  ergodica audit draws.csv
  ergodica audit run --max-rhat 1.05 --json audit.json
"""


def audit(
    path: Annotated[
        Path, typer.Argument(metavar="DRAWS", help="A file .nc, .csv, .npz, .json or .zip, or the folder of a run.")
    ],
    max_rhat: Annotated[float, typer.Option(min=1.0, help="Largest R-hat without an alarm.")] = 1.01,
    min_ess: Annotated[float, typer.Option(min=0.0, help="Smallest effective number of draws of each chain.")] = 100.0,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the record as JSON; - is standard output.")
    ] = None,
) -> None:
    """Look for what is wrong with draws from anywhere; leave with status 1 if something is."""
    from ergodica.validation.audit import audit as audit_draws
    from ergodica.validation.draws_file import read_draws

    with errors_in_one_line():
        found = audit_draws(read_draws(store_in(path)), max_rhat=max_rhat, min_ess=min_ess)
        print_summary(found.table, found.alarms, console_for(sys.stderr if json_file == "-" else sys.stdout))
        if json_file is not None:
            values = found.table.astype(float).to_dict(orient="index")
            rows = {name: {key: plain(value) for key, value in row.items()} for name, row in values.items()}
            write_json(json_file, {"alarms": list(found.alarms), "summary": rows})
    if found.alarms:
        raise typer.Exit(ALARM)
