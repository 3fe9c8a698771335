"""What ``sample`` and ``resume`` share: model, data and kernel of a record, and what is left when the run ends."""

import contextlib
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import typer
from rich.markup import escape

from ergodica.commands.console import ALARM, INTERRUPTED, BadInputError, console_for, note, print_summary
from ergodica.commands.constrained import Constrainer
from ergodica.commands.data_file import read_data
from ergodica.commands.kernels import choose
from ergodica.commands.live import Live
from ergodica.commands.run_folder import DRAWS, PAGE, RECORD, STORE, RunRecord, digest
from ergodica.commands.settings import until_of
from ergodica.commands.target import UserTarget, density_target, model_target
from ergodica.commands.user_code import load_user_code
from ergodica.commands.window_adaptation import Adapted, adapt, with_parameters

if TYPE_CHECKING:
    from ergodica.samplers.draws import Draws

__all__ = [
    "Prepared",
    "adapted",
    "begin",
    "finish",
    "in_precision",
    "interrupted_by_termination",
    "load_target",
    "pages",
    "prepare",
]


class Prepared(NamedTuple):
    """What a run needs beside its store.

    Parameters
    ----------
    target
        What is sampled.
    kernel
        With its target; ``None`` if it has to be adapted first.
    constrainer
        From positions to the parameters of the model.
    positions
        Where the chains start, stacked, if not where the target says.
    """

    target: UserTarget
    kernel: Any
    constrainer: Constrainer | None
    positions: Any = None


def load_target(
    model: Path, function: str, data: Path | None, key: str, *, density: bool, start: str
) -> tuple[UserTarget, str, str]:
    """Return what is sampled, and the digests of the user's file and of the data; this executes the user's file."""
    arguments: dict[str, Any] = {}
    data_digest, source = "", ""
    if data is not None:
        content, data_digest = digest(data, "the data file")
        arguments, source = read_data(content, data.name, key), data.name
    code = load_user_code(model)
    if density:
        target = density_target(code, function, start, arguments, source)
    else:
        target = model_target(code, function, arguments, source)
    return target, code.sha256, data_digest


def prepare(target: UserTarget, name: str, settings: dict[str, Any], adapted: dict[str, Any]) -> Prepared:
    """Return what a run needs.

    Parameters
    ----------
    target
        What is sampled.
    name, settings
        Of the kernel.
    adapted
        What window adaptation has found, if it has run.
    """
    chosen = choose(name)
    kernel = None
    if not isinstance(chosen, str):
        kernel = chosen.build(target.logdensity, settings)
    elif adapted:
        kernel = with_parameters(chosen, target.logdensity, adapted, settings)
    return Prepared(target, kernel, None if target.constrain is None else Constrainer(target.constrain))


def adapted(
    prepared: Prepared,
    name: str,
    settings: dict[str, Any],
    *,
    tune: int,
    chains: int,
    seed: int,
) -> tuple[Prepared, Adapted]:
    """Run window adaptation, and return what a run needs to go on from there.

    Parameters
    ----------
    prepared
        Of a kernel that has to be adapted.
    name, settings
        Of the kernel.
    tune, chains, seed
        Steps of the adaptation, number of chains, and seed.
    """
    target = prepared.target
    found = adapt(
        name.lower(), target.logdensity, target.start, steps=tune, chains=chains, seed=seed, settings=settings
    )
    return prepare(target, name, settings, found.parameters)._replace(positions=found.positions), found


@contextlib.contextmanager
def in_precision(x64: bool) -> Iterator[None]:
    """Compute in double precision, or in single."""
    import jax

    before = bool(jax.config.read("jax_enable_x64"))
    jax.config.update("jax_enable_x64", x64)
    try:
        yield
    finally:
        jax.config.update("jax_enable_x64", before)


@contextlib.contextmanager
def interrupted_by_termination() -> Iterator[None]:
    """Take a polite request to end, as cluster schedulers send it before they kill, for Ctrl-C: draws are kept."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: Any) -> None:
        del number, frame
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def begin(record: RunRecord, prepared: Prepared, out: Path, *, live: bool, quiet: bool, again: bool = False) -> None:
    """Make the folder of a run, sample into it, and finish.

    Parameters
    ----------
    record
        What was asked for.
    prepared
        Target and kernel.
    out
        The folder.
    live
        Whether to write the report while the run goes on.
    quiet
        Whether to show no progress.
    again
        Whether the folder is there, of a run that was killed before its first commit.
    """
    from ergodica.samplers.sample import sample as draw

    existed = out.exists()
    try:
        try:
            out.mkdir(parents=True, exist_ok=True)
            if again:
                shutil.rmtree(out / STORE, ignore_errors=True)
            record.write(out)
        except OSError as error:
            raise BadInputError(f"cannot write to the folder {out}: {error.strerror or error}") from None
        with interrupted_by_termination(), pages(record, prepared, out, live=live):
            draws = draw(
                prepared.kernel,
                prepared.target.start if prepared.positions is None else None,
                positions=prepared.positions,
                draws=record.draws,
                # The steps of window adaptation are not among them.
                tune=0 if record.adapted else record.tune,
                chains=record.chains,
                seed=record.seed,
                thin=record.thin,
                tuner=None if record.adapted else "auto",
                host=record.host,  # type: ignore[arg-type]
                until=until_of(record.until),
                store=out / STORE,
                progress=not quiet,
            )
    except BaseException:
        # Before its first commit there is nothing to go on with, and the name should be free again.
        if (out / STORE / "manifest.json").exists():
            note(f"go on: ergodica resume {out}")
        elif not again:
            _remove(out, existed)
        raise
    finish(draws, prepared, out, record, page=live)


def _remove(out: Path, existed: bool) -> None:
    with contextlib.suppress(OSError):
        shutil.rmtree(out / STORE, ignore_errors=True)
        for name in (RECORD, PAGE):
            (out / name).unlink(missing_ok=True)
        if not existed:
            out.rmdir()


def pages(record: RunRecord, prepared: Prepared, out: Path, *, live: bool) -> contextlib.AbstractContextManager[Any]:
    """Return what writes the report while a run goes on, or nothing."""
    if not live:
        return contextlib.nullcontext()
    from ergodica.commands.report import write_live_report

    return Live(lambda: write_live_report(out, record, prepared.constrainer))


def finish(draws: "Draws", prepared: Prepared, folder: Path, record: RunRecord, *, page: bool) -> None:
    """Write the draws of the model's parameters, and print their summary.

    Parameters
    ----------
    draws
        Of the kernel's positions.
    prepared
        Of the run.
    folder
        Of the run.
    record
        What was asked for.
    page
        Whether to write the report too.

    Raises
    ------
    typer.Exit
        With status 130 if the run was interrupted, and 1 if something about the draws is alarming.
    """
    from ergodica.samplers import naming
    from ergodica.validation.audit import audit

    posterior = draws if prepared.constrainer is None else prepared.constrainer.draws(draws)
    partial = folder / f".{DRAWS}.partial"
    try:
        try:
            posterior.save(partial)
            partial.replace(folder / DRAWS)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        words = f"cannot write {folder / DRAWS}: {error.strerror or error}"
        raise BadInputError(
            f"{words}. The draws are safe in {folder / STORE}; mend the cause, and `ergodica resume {folder}` writes it"
        ) from error
    console = console_for(sys.stdout)
    found = None
    if posterior.num_draws < 4:
        note("fewer than four draws of each chain: there is no summary")
    else:
        found = audit(naming.encode(posterior.position)[1])
        print_summary(found.table, found.alarms, console, rest=f"in {folder / DRAWS}")
    evaluations = f"{draws.num_evals or draws.num_grad_evals} {'evaluations' if draws.num_evals else 'gradients'}"
    ending = {"precise": ", precise enough", "interrupted": ", interrupted"}.get(draws.ending, "")
    console.print(
        f"{draws.num_chains} chains of {draws.num_draws} draws in {draws.seconds:.1f} s{ending}; {evaluations}. "
        f"Draws are in {escape(str(folder / DRAWS))}.",
        soft_wrap=True,
    )
    if page:
        from ergodica.commands.report import write_report

        write_report(folder, folder / PAGE, posterior, record)
        console.print(f"The report is {escape(str(folder / PAGE))}.", soft_wrap=True)
    if draws.ending == "interrupted":
        console.print(f"Go on: ergodica resume {escape(str(folder))}", soft_wrap=True)
        raise typer.Exit(INTERRUPTED)
    if draws.ending == "complete" and record.until:
        note(
            f"--until does not hold yet after {draws.num_draws} draws; `ergodica resume {folder} --draws N` makes more"
        )
    if found is not None and found.alarms:
        raise typer.Exit(ALARM)
