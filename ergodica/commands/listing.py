"""``ergodica list``: the kernels and rules of the catalogue."""

import sys

from rich.markup import escape
from rich.table import Table

from ergodica.commands.console import console_for, errors_in_one_line


def list_catalogue() -> None:
    """Print the kernels and rules of the catalogue, what each claims, and how many checks stand behind it."""
    from ergodica.validation import catalogue

    with errors_in_one_line():
        table = Table(box=None, pad_edge=False, header_style="bold")
        for column in ("name", "claim", "checks", "source"):
            table.add_column(column, justify="right" if column == "checks" else "left", overflow="fold")
        for case in catalogue.catalogue().values():
            claim = case.example().claim
            table.add_row(case.name, str(claim), str(len(case.checks)), escape(claim.source))
        console_for(sys.stdout).print(table)
