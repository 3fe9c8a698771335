"""The folder of a run that a command has made: what was asked for, in words that go on with it."""

import dataclasses
import hashlib
import json
import os
import shlex
from pathlib import Path
from typing import Any

from ergodica.commands.console import BadInputError, write_atomically

__all__ = ["RunRecord", "digest", "store_in"]

RECORD, STORE, DRAWS, PAGE = "run.json", "store", "posterior.nc", "report.html"
FORMAT = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What was asked for.

    Parameters
    ----------
    model
        The user's file, relative to the folder.
    model_sha256
        Digest of the file.
    function
        Name of the model or density in it; empty for the only one.
    density
        Whether it is a log density.
    start
        For a density, the name of its start.
    data, data_key, data_sha256
        The file of the data, relative to the folder; the entry in it; its digest. Empty without data.
    kernel
        Name of the kernel; for one of the user's own FILE.py:NAME, relative to the folder.
    kernel_sha256
        Digest of its file; empty for kernels of the library.
    settings
        Its settings.
    adapted
        What window adaptation has found, and the gradients it took; empty for kernels that ``sample`` tunes.
    draws, tune, chains, seed, thin, host
        As for :func:`ergodica.sample`.
    x64
        Whether in double precision.
    until
        Arguments of :class:`ergodica.Until`; empty without one.
    """

    model: str
    model_sha256: str
    function: str
    density: bool
    start: str
    data: str
    data_key: str
    data_sha256: str
    kernel: str
    settings: dict[str, Any]
    adapted: dict[str, Any]
    draws: int
    tune: int
    chains: int
    seed: int
    thin: int
    host: str
    x64: bool
    until: dict[str, Any]
    kernel_sha256: str = ""

    def write(self, folder: Path) -> None:
        """Write the record into its folder."""
        content = {"format": FORMAT, "run": dataclasses.asdict(self)}
        write_atomically(folder / RECORD, json.dumps(content, indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """Read the record of a folder.

        Raises
        ------
        BadInputError
            If there is none, or it is damaged.
        """
        try:
            whole = json.loads((folder / RECORD).read_text(encoding="utf-8"))
            if whole["format"] > FORMAT:
                raise BadInputError(f"{folder} was made by a later version of ergodica; update to go on with it")
            return cls(**whole["run"])
        except FileNotFoundError:
            raise BadInputError(
                f"{folder} is no run of `ergodica sample`: it has no {RECORD}. Go on with a run from Python by ergodica.resume"
            ) from None
        except OSError as error:
            raise BadInputError(f"cannot read {folder / RECORD}: {error.strerror or error}") from None
        except (ValueError, KeyError, TypeError) as error:
            raise BadInputError(f"{folder / RECORD} is damaged: {error}") from None

    def command(self) -> str:
        """Return the command that makes the same run, without its folder."""
        name = Path(self.model).name
        words = ["ergodica", "sample", f"{name}:{self.function}" if self.function else name]
        if self.density:
            words += ["--density", "--start", self.start]
        if self.data:
            file = Path(self.data).name
            words += ["--data", f"{file}:{self.data_key}" if self.data_key else file]
        words += ["--kernel", Path(self.kernel).name if self.kernel_sha256 else self.kernel]
        for key, value in self.settings.items():
            words += ["--set", f"{key}={value}"]
        for option in ("draws", "tune", "chains", "seed", "thin", "host"):
            words += [f"--{option}", str(getattr(self, option))]
        for key, value in self.until.items():
            parts = (
                {f"{key}.{name}": bound for name, bound in value.items()} if isinstance(value, dict) else {key: value}
            )
            for part, bound in parts.items():
                words += ["--until", f"{part}={bound}"]
        return shlex.join(words if self.x64 else [*words, "--no-x64"])


def store_in(path: Path) -> Path:
    """Return the store of a folder that ``ergodica sample`` has made; anything else as it is."""
    return path / STORE if (path / RECORD).is_file() and (path / STORE).is_dir() else path


def digest(path: Path, what: str) -> tuple[bytes, str]:
    """Return the bytes of a file and their digest.

    Raises
    ------
    BadInputError
        If it cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInputError(f"cannot read {what} {path}: {error.strerror or error}") from None
    return content, hashlib.sha256(content).hexdigest()


def relative(path: Path, folder: Path) -> str:
    """Return a path as seen from a folder, so that both can move together."""
    return os.path.relpath(path.resolve(), folder.resolve())
