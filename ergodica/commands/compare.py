"""``ergodica compare``: several kernels on one model, by effective draws a second and by evaluation."""

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ergodica.commands.console import ALARM, BadInputError, console_for, errors_in_one_line, note, plain, write_json
from ergodica.commands.kernels import choose
from ergodica.commands.reference import Reference, read_reference, worst_error
from ergodica.commands.run import adapted, in_precision, load_target, prepare
from ergodica.commands.sample import Data, Density, Model, Precision, Start
from ergodica.commands.settings import parse_settings
from ergodica.commands.target import UserTarget
from ergodica.commands.user_code import split_name

if TYPE_CHECKING:
    from ergodica.samplers.draws import Draws

EXAMPLES = """\b
Examples:
  ergodica compare eight_schools.py:model --data schools.json:data --kernels gibbsian-polar-slice,nuts
  ergodica compare wells.py --data wells.csv --kernels nuts,random-walk,coordinate-slice
      --reference moments.json --json compared.json --picture compared.png
\b
Seconds are those of warm-up and draws, without compilation. MODEL.py is executed. Status: 0 fine, 1 a kernel with R-hat
above 1.01 or a mean more than 5 standard errors off the reference, 2 bad input, 130 interrupted.
"""

MAX_RHAT, MAX_ERROR = 1.01, 5.0


class Result(NamedTuple):
    """What a kernel has achieved.

    Parameters
    ----------
    kernel
        Its name.
    ess
        Effective draws, in the bulk, of the slowest number.
    slowest
        Its name.
    ess_per_second
        The same a second.
    rhat
        Largest R-hat.
    evaluations, gradients
        For an effective draw, warm-up included; ``None`` if the kernel does not report them.
    seconds
        Of warm-up and draws.
    error, where
        Largest error of a mean in standard errors, and of which; ``None`` without a reference.
    """

    kernel: str
    ess: float
    slowest: str
    ess_per_second: float
    rhat: float
    evaluations: float | None
    gradients: float | None
    seconds: float
    error: float | None = None
    where: str = ""

    @property
    def alarming(self) -> bool:
        """Whether the numbers beside are not to be trusted."""
        return not self.rhat <= MAX_RHAT or (self.error is not None and not self.error <= MAX_ERROR)


def compare(
    model: Model,
    kernels: Annotated[
        str, typer.Option(metavar="A,B,...", help="Names as for `ergodica sample`, with commas between.")
    ],
    data: Data = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KERNEL.NAME=VALUE", help="A setting of one of the kernels; may be repeated."),
    ] = None,
    draws: Annotated[int, typer.Option(min=4, help="Draws of each chain.")] = 1000,
    tune: Annotated[int, typer.Option(min=0, help="Steps of warm-up.")] = 1000,
    chains: Annotated[int, typer.Option(min=1, help="Number of chains.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the draws.")] = 0,
    host: Annotated[str, typer.Option(help="What runs the steps: jax, numba or auto.")] = "jax",
    reference: Annotated[
        Path | None, typer.Option(metavar="FILE", help="True means: JSON of moments, or draws of a long run.")
    ] = None,
    density: Density = False,
    start: Start = "start",
    x64: Precision = True,
    json_file: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the record as JSON; - is standard output.")
    ] = None,
    picture: Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw the table.")] = None,
) -> None:
    """Sample a model by several kernels, and say what an effective draw costs with each."""
    with errors_in_one_line():
        names = [name.strip() for name in kernels.split(",") if name.strip()]
        if not names:
            raise BadInputError("--kernels needs names, as in --kernels nuts,random-walk")
        for name in names:
            choose(name)
        chosen = _settings(settings or [], names)
        truth = None if reference is None else read_reference(reference)
        model_path, function = split_name(model)
        data_path, key = (None, "") if data is None else split_name(data)
        results = []
        with in_precision(x64):
            target, _, _ = load_target(model_path, function, data_path, key, density=density, start=start)
            for words in target.notes:
                note(words)
            with console_for(sys.stderr).status("") as status:
                for number, name in enumerate(names, 1):
                    status.update(f"{escape(name)} ({number} of {len(names)})")
                    plan = {"draws": draws, "tune": tune, "chains": chains, "seed": seed, "host": host}
                    results.append(measure(target, name, chosen[name], truth, plan))
        console = console_for(sys.stderr if json_file == "-" else sys.stdout)
        print_results(results, truth, console)
        if json_file is not None:
            rows = [{field: plain(value) for field, value in result._asdict().items()} for result in results]
            write_json(json_file, {"model": target.name, **plan, "reference": truth and truth.source, "kernels": rows})
        if picture is not None:
            draw_picture(results, f"{model_path.name}:{target.name}", picture)
            console.print(f"The picture is {escape(str(picture))}.", soft_wrap=True)
    if any(result.alarming for result in results):
        raise typer.Exit(ALARM)


def _settings(words: list[str], names: list[str]) -> dict[str, dict[str, Any]]:
    out: dict[str, dict[str, Any]] = {name: {} for name in names}
    for word in words:
        fitting = [name for name in names if word.startswith(f"{name}.")]
        if not fitting:
            raise BadInputError(f"--set takes KERNEL.NAME=VALUE with one of {', '.join(names)}; got {word!r}")
        name = max(fitting, key=len)
        out[name].update(parse_settings([word.removeprefix(f"{name}.")]))
    return out


def measure(
    target: UserTarget, name: str, settings: dict[str, Any], truth: Reference | None, plan: dict[str, Any]
) -> Result:
    """Sample with one kernel, and say what came of it.

    Parameters
    ----------
    target
        What is sampled.
    name, settings
        Of the kernel.
    truth
        The means as they should be.
    plan
        Arguments of :func:`ergodica.sample`.
    """
    from ergodica.samplers import naming
    from ergodica.samplers.sample import sample as draw
    from ergodica.samplers.stopping import Until
    from ergodica.validation.audit import audit

    prepared = prepare(target, name, settings, {})
    seconds, gradients = 0.0, 0
    tuner: Literal["auto"] | None = "auto"
    if prepared.kernel is None:
        budget = {key: plan[key] for key in ("tune", "chains", "seed")}
        prepared, found = adapted(prepared, name, settings, **budget)
        plan, tuner = {**plan, "tune": 0}, None
        seconds, gradients = found.seconds, found.num_grad_evals
    # A short run of the same shapes first, so that compilation is not in the times.
    short = {**plan, "draws": max(plan["draws"], plan["tune"]), "tune": min(plan["tune"], 2)}
    start = {"position": target.start} if prepared.positions is None else {"positions": prepared.positions}
    soon = Until(ess=1e-9, rhat=None, min_draws=64)
    draw(prepared.kernel, **start, **short, tuner=tuner, until=soon, progress=False)
    draws: Draws = draw(prepared.kernel, **start, **plan, tuner=tuner, progress=False)
    seconds += draws.seconds
    posterior = (
        draws
        if prepared.constrainer is None
        else prepared.constrainer.draws(dataclasses.replace(draws, raw_warmup=None))
    )
    arrays = naming.encode(posterior.position)[1]
    table = audit(arrays).table
    moving = table[table["ess_bulk"].notna()]
    if not len(moving):
        raise BadInputError(f"{name} has not moved at all")
    slowest = str(moving["ess_bulk"].idxmin())
    ess = float(moving["ess_bulk"].min())
    gradients += draws.num_grad_evals
    error, where = (None, "") if truth is None else worst_error(truth, arrays)
    return Result(
        name,
        ess,
        slowest,
        ess / seconds,
        float(moving["r_hat"].max()),
        draws.num_evals / ess if draws.num_evals else None,
        gradients / ess if gradients else None,
        seconds,
        error,
        where,
    )


def print_results(results: list[Result], truth: Reference | None, console: Console) -> None:
    """Print a row for each kernel.

    Parameters
    ----------
    results
        Of the kernels.
    truth
        The reference, if there is one.
    console
        Where to print.
    """
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("kernel")
    heads = ["ESS", "ESS/s", "evals/ESS", "grads/ESS", "R-hat", "seconds"]
    for head in (*heads, *(["error/MCSE"] if truth else [])):
        table.add_column(head, justify="right")
    table.add_column("slowest")
    best = max(result.ess_per_second for result in results)
    for result in results:
        speed = f"{result.ess_per_second:.4g}"
        row = [
            escape(result.kernel),
            f"{result.ess:.4g}",
            f"[bold green]{speed}[/]" if result.ess_per_second == best and len(results) > 1 else speed,
            *("–" if number is None else f"{number:.4g}" for number in (result.evaluations, result.gradients)),
            f"{result.rhat:.3f}" if result.rhat <= MAX_RHAT else f"[bold red]{result.rhat:.3f}[/]",
            f"{result.seconds:.3g}",
        ]
        if result.error is not None:
            words = f"{result.error:.1f} ({escape(result.where)})"
            row.append(words if result.error <= MAX_ERROR else f"[bold red]{words}[/]")
        table.add_row(*row, escape(result.slowest))
    console.print(table)
    if truth:
        console.print(f"[dim]errors against {escape(truth.source)}[/]")
    for result in results:
        if not result.rhat <= MAX_RHAT:
            console.print(
                f"[bold red]alarm[/] {escape(result.kernel)}: R-hat {result.rhat:.3f}, so its effective draws mean nothing yet"
            )
        if result.error is not None and not result.error <= MAX_ERROR:
            console.print(
                f"[bold red]alarm[/] {escape(result.kernel)}: the mean of {escape(result.where)} is {result.error:.1f} "
                "standard errors off"
            )


def draw_picture(results: list[Result], title: str, path: Path) -> None:
    """Draw the effective draws a second and the cost of one as bars.

    Parameters
    ----------
    results
        Of the kernels.
    title
        Name of the model.
    path
        The file.

    Raises
    ------
    BadInputError
        If Matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise BadInputError("--picture needs Matplotlib: pip install 'ergodica[plot]'") from None
    figure = Figure(figsize=(8.2, 1.3 + 0.42 * len(results)), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    places = list(range(len(results)))[::-1]
    speeds = [result.ess_per_second for result in results]
    costs = [sum(number or 0.0 for number in (result.evaluations, result.gradients)) for result in results]
    for axes, values, label in (
        (left, speeds, "effective draws a second"),
        (right, costs, "evaluations and gradients an effective draw"),
    ):
        colours = ["#d1603d" if result.alarming else "#1b5e7d" for result in results]
        axes.barh(places, values, color=colours, height=0.6)
        for place, value in zip(places, values, strict=True):
            axes.annotate(
                f"{value:.0f}" if value >= 100 else f"{value:.3g}",
                (value, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=9,
            )
        axes.set_xlabel(label, fontsize=9, color="#333333")
        axes.set_xlim(0, 1.18 * max([*values, 1e-9]))
        axes.tick_params(axis="both", labelsize=9, length=0, colors="#555555")
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    left.set_yticks(places, [result.kernel for result in results])
    red = "; red: not to be trusted" if any(result.alarming for result in results) else ""
    figure.suptitle(f"{title}{red}", fontsize=10, x=0.01, ha="left")
    try:
        figure.savefig(path)
    except (OSError, ValueError) as error:
        raise BadInputError(f"cannot write the picture {path}: {error}") from None
