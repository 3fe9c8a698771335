"""``ergodica sample``: sample a model of a Python file, with its data, into a folder."""

from pathlib import Path
from typing import Annotated

import typer

from ergodica.commands.console import BadInputError, errors_in_one_line, note
from ergodica.commands.kernels import NAMES, user_file
from ergodica.commands.run import adapted, begin, in_precision, load_target, prepare
from ergodica.commands.run_folder import RECORD, RunRecord, digest, relative
from ergodica.commands.settings import parse_settings, parse_until, until_of
from ergodica.commands.user_code import split_name

EXAMPLES = """\b
Examples:
  ergodica sample eight_schools.py:model --data schools.json --kernel gibbsian-polar-slice --out run
  ergodica sample wells.py --data wells.csv --kernel nuts --draws 2000 --until ess=400 --out run --live
  ergodica sample banana.py:logdensity --density --kernel RandomWalk --set scale=0.5 --out run
  ergodica sample wells.py --data wells.csv --kernel mine.py:MyKernel --set width=2 --out run
\b
MODEL.py is executed, as is any Python file that you run. Status: 0 fine, 1 an alarm about the draws,
2 bad input, 130 interrupted.
"""


def complete_kernel(incomplete: str) -> list[str]:
    """Return the kernels whose names begin so, for the shell."""
    return [name for name in NAMES if name.startswith(incomplete)]


Model = Annotated[
    str,
    typer.Argument(metavar="MODEL.py[:FUNCTION]", help="A NumPyro model; its parameters are the names of the data."),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="FILE[:ENTRY]", help="JSON, CSV or NPZ; for JSON an entry of the file if not all."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A setting of the kernel; may be repeated.")
]
Density = Annotated[
    bool, typer.Option("--density", help="FUNCTION is a log density of an array or a dictionary, not a NumPyro model.")
]
Start = Annotated[
    str,
    typer.Option(
        metavar="NAME", help="With --density: what MODEL.py calls the start, or a function from a key to one."
    ),
]
Precision = Annotated[bool, typer.Option("--x64/--no-x64", help="Double precision, or single.")]


def sample(
    model: Model,
    out: Annotated[Path, typer.Option("--out", metavar="FOLDER", help="A folder that does not exist yet.")],
    data: Data = None,
    kernel: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help=f"One of {', '.join(NAMES)}; or FILE.py:NAME, a kernel of yours that takes logdensity=.",
            autocompletion=complete_kernel,
        ),
    ] = "gibbsian-polar-slice",
    settings: Settings = None,
    draws: Annotated[int, typer.Option(min=1, help="Draws of each chain; with --until, the most.")] = 1000,
    tune: Annotated[int, typer.Option(min=0, help="Steps of warm-up.")] = 1000,
    chains: Annotated[int, typer.Option(min=1, help="Number of chains.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    thin: Annotated[int, typer.Option(min=1, help="Steps for each draw.")] = 1,
    host: Annotated[
        str, typer.Option(help="What runs the steps: jax, numba (compiled for the processor) or auto.")
    ] = "jax",
    until: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=BOUND",
            help="Stop when this holds: ess, mcse (or mcse.VARIABLE), relative, rhat, confidence, min_draws; may be repeated.",
        ),
    ] = None,
    density: Density = False,
    start: Start = "start",
    x64: Precision = True,
    live: Annotated[
        bool, typer.Option("--live", help="Rewrite the report every few seconds while the run goes on.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress on standard error.")] = False,
) -> None:
    """Sample a model, keep the draws in a folder, and print their summary.

    The folder gets run.json (what was asked for), store (draws as they are made, with checkpoints), posterior.nc (draws
    of the model's parameters, for ArviZ), and with --live report.html. After a kill or Ctrl-C, `ergodica resume` goes on.
    """
    with errors_in_one_line():
        _refuse_folder(out)
        model_path, function = split_name(model)
        data_path, key = (None, "") if data is None else split_name(data)
        words = parse_settings(settings or [])
        rule = parse_until(until or [])
        until_of(rule)
        with in_precision(x64):
            target, model_digest, data_digest = load_target(
                model_path, function, data_path, key, density=density, start=start
            )
            for words_of_note in target.notes:
                note(words_of_note)
            prepared, parameters = prepare(target, kernel, words, {}), {}
            if prepared.kernel is None:
                prepared, found = adapted(prepared, kernel, words, tune=tune, chains=chains, seed=seed)
                parameters = {**found.parameters, "num_grad_evals": found.num_grad_evals}
                note(
                    f"{tune} steps of window adaptation, {found.seconds:.1f} s: step size {parameters['step_size']:.3g}"
                )
            own = user_file(kernel)
            record = RunRecord(
                model=relative(model_path, out),
                model_sha256=model_digest,
                function=function,
                density=density,
                start=start,
                data="" if data_path is None else relative(data_path, out),
                data_key=key,
                data_sha256=data_digest,
                kernel=kernel if own is None else f"{relative(own, out)}:{split_name(kernel)[1]}",
                kernel_sha256="" if own is None else digest(own, "the kernel file")[1],
                settings=words,
                adapted=parameters,
                draws=draws,
                tune=tune,
                chains=chains,
                seed=seed,
                thin=thin,
                host=host,
                x64=x64,
                until=rule,
            )
            begin(record, prepared, out, live=live, quiet=quiet)


def _refuse_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise BadInputError(f"{out} is a file; --out takes the name of a new folder")
    if out.exists() and any(out.iterdir()):
        known = (out / RECORD).exists()
        advice = f"Go on with it by `ergodica resume {out}`, or choose" if known else "Choose"
        raise BadInputError(f"{out} exists already and is not empty. {advice} another name")
