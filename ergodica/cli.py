"""The command line: sample, look at draws, and run the checks behind the claims."""

from typing import Annotated

import typer

import ergodica
from ergodica.commands import audit, certify, compare, listing, report, resume, sample
from ergodica.commands.certify import as_json, print_reports
from ergodica.commands.console import console_for, show_tracebacks

__all__ = ["app", "as_json", "console_for", "main", "print_reports"]

app = typer.Typer(
    help="Samplers, and the evidence that they are right.",
    no_args_is_help=True,
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
    traceback: Annotated[bool, typer.Option("--traceback", help="Show where an error comes from.")] = False,
) -> None:
    """Samplers, and the evidence that they are right."""
    del version
    show_tracebacks(traceback)
    import jax

    # The exact laws are computed to 1e-12. This is the process of the command line, so nobody else is affected.
    jax.config.update("jax_enable_x64", True)


app.command("sample", epilog=sample.EXAMPLES)(sample.sample)
app.command("resume", epilog=resume.EXAMPLES)(resume.resume)
app.command("compare", epilog=compare.EXAMPLES)(compare.compare)
app.command("audit", epilog=audit.EXAMPLES)(audit.audit)
app.command("report", epilog=report.EXAMPLES)(report.report)
app.command("list")(listing.list_catalogue)
app.command("certify", epilog=certify.EXAMPLES)(certify.certify)


def main() -> None:
    """Run the command line."""
    app()
