"""Compiled programs on disk, so that a second process does not compile again.

A file is named by the digest of all that the machine code depends on: the equations of the program with their constants,
the versions of what compiles them, and the processor. It is loaded into an execution engine of its own, so that no symbol
of one program can be taken for one of another.

The folder is ``$ERGODICA_CACHE_DIR``, or ``ergodica`` in the user's cache folder; an empty variable turns it off. What is
loaded from it is run, so it has to belong to the user, and to be writable by nobody else.
"""

import contextlib
import ctypes
import functools
import hashlib
import json
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite.binding as llvm
import numba
import numpy as np
from numba.core.registry import cpu_target

from ergodica.samplers.lowering.program import Constant, Equation, Program

__all__ = ["Entry", "cache_folder", "constants_of", "externals_of", "find", "identity", "keep"]

MOST_BYTES = 2**28
"""Size of the folder from which on the programs that have not been used for longest are deleted."""
_MAGIC = b"ergodica program 1\n"


class Entry(NamedTuple):
    """A compiled program.

    Parameters
    ----------
    symbol
        Name of its function.
    workspace_bytes
        Memory that it needs.
    large
        Which constants of the program it expects the addresses of, as numbers in :func:`constants_of`.
    code
        The object file.
    externals
        Symbols that the process has to provide.
    """

    symbol: str
    workspace_bytes: int
    large: tuple[int, ...]
    code: bytes
    externals: tuple[str, ...]

    def load(self) -> tuple[Callable[[int], None], Any]:
        """Return the function of a table's address, which lets other threads run, and the same for Numba's code.

        Raises
        ------
        LookupError
            If a symbol is missing in this process.
        """
        from numba.np.linalg import ensure_lapack

        cpu_target.target_context.refresh()  # what Numba's code calls
        with contextlib.suppress(ImportError):
            ensure_lapack()
        missing = [name for name in self.externals if llvm.address_of_symbol(name) is None]
        if missing:
            raise LookupError(f"the process has no {', '.join(missing)}")
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(opt=3, jit=True)
        engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
        engine.add_object_file(llvm.ObjectFileRef.from_data(self.code))
        engine.finalize_object()
        # Numba's convention: places for a result and for an error, neither of which is used.
        native = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64)(
            engine.get_function_address(self.symbol)
        )
        native.engine = engine  # type: ignore[attr-defined]  # lives as long as the function

        def call(address: int) -> None:
            unused = (ctypes.c_int64 * 2)()
            native(ctypes.addressof(unused), ctypes.addressof(unused) + 8, address)

        return call, native


# --- what a program depends on ----------------------------------------------------------------------------------------


class _NotCachedError(Exception):
    """The program has a parameter that says nothing of what it does."""


def identity(program: Program, layout: str) -> str | None:
    """Return the digest of a program and of what compiles it; ``None`` if it cannot be told from others.

    Parameters
    ----------
    program
        The program.
    layout
        What else the instructions depend on: how the program is put into a loop, and its arguments into memory.
    """
    digest = hashlib.sha256(f"{_toolchain()}|{layout}|".encode())
    try:
        for part in _parts(program, {}):
            digest.update(part)
    except _NotCachedError:
        return None
    return digest.hexdigest()


@functools.cache
def _toolchain() -> str:
    sources = hashlib.sha256()
    for file in sorted(Path(__file__).resolve().parent.glob("*.py")):
        sources.update(file.read_bytes())
    packages = [f"{name} {version(name)}" for name in ("numba", "llvmlite", "numpy")]
    processor = [platform.machine(), llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()]
    settings = [str(numba.config.CPU_NAME), str(numba.config.CPU_FEATURES), str(numba.config.OPT)]
    return "|".join([sys.version, *packages, *processor, *settings, sources.hexdigest()])


def _parts(program: Program, names: dict[Any, int]) -> Iterator[bytes]:
    def name(atom: Any) -> bytes:
        if isinstance(atom, Constant):
            value = np.ascontiguousarray(atom.value)
            return f"const {value.dtype}{value.shape} ".encode() + hashlib.sha256(value.tobytes()).digest()
        number = names.setdefault(atom, len(names))
        return f"v{number}:{atom.dtype}{atom.shape}".encode()

    yield b"(" + b",".join(name(variable) for variable in program.inputs) + b")"
    for equation in program.equations:
        yield b"".join([equation.name.encode(), b"[", *_params(equation, names), b"]"])
        yield b",".join(name(atom) for atom in equation.inputs) + b"->"
        yield b",".join(name(variable) for variable in equation.outputs) + b";"
    yield b"=>" + b",".join(name(atom) for atom in program.outputs)


def _params(equation: Equation, names: dict[Any, int]) -> Iterator[bytes]:
    if equation.name == "ffi_call":  # its core is compiled code, which has no name of its own
        raise _NotCachedError
    for key, value in sorted(equation.params.items()):
        yield f"{key}=".encode()
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Program):
                yield from _parts(one, names)
            elif isinstance(one, np.ndarray):
                yield f"{one.dtype}{one.shape}".encode() + one.tobytes()
            elif type(one).__name__ == "PRNGImpl":  # of which the host has one
                yield str(one.name).encode()
            else:
                text = repr(one)
                if re.search(r"\bat 0x|\.\.\.", text):
                    raise _NotCachedError
                yield text.encode()


def constants_of(program: Program) -> list[Constant]:
    """Return the constants of a program and of those inside it, in the order in which they stand there."""
    found: dict[int, Constant] = {}

    def walk(one: Program) -> None:
        for equation in one.equations:
            for atom in equation.inputs:
                if isinstance(atom, Constant):
                    found.setdefault(id(atom), atom)
            for value in equation.params.values():
                for inner in value if isinstance(value, list) else [value]:
                    if isinstance(inner, Program):
                        walk(inner)
        for atom in one.outputs:
            if isinstance(atom, Constant):
                found.setdefault(id(atom), atom)

    walk(program)
    return list(found.values())


# --- the folder -------------------------------------------------------------------------------------------------------


def cache_folder() -> Path | None:
    """Return the folder; ``None`` if there is to be none, or what there is may be written by others."""
    given = os.environ.get("ERGODICA_CACHE_DIR")
    if given == "":
        return None
    if given is None:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        given = os.path.join(home, "ergodica")
    folder = Path(given) / "programs"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError:
        return None
    foreign = hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022)
    return None if foreign else folder


def find(key: str) -> Entry | None:
    """Return the program with this identity; ``None`` if there is none, or it is damaged."""
    folder = cache_folder()
    if folder is None:
        return None
    file = folder / key
    try:
        content = file.read_bytes()
        magic, header, code = content.split(b"\n", 2)
        facts = json.loads(header)
        if magic + b"\n" != _MAGIC or facts["sha256"] != hashlib.sha256(code).hexdigest():
            return None
        os.utime(file)
        return Entry(facts["symbol"], facts["workspace_bytes"], tuple(facts["large"]), code, tuple(facts["externals"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def keep(key: str, entry: Entry) -> None:
    """Put a program into the folder; if that fails it is compiled again next time."""
    folder = cache_folder()
    if folder is None:
        return
    facts = {
        "symbol": entry.symbol,
        "workspace_bytes": entry.workspace_bytes,
        "large": entry.large,
        "externals": entry.externals,
        "sha256": hashlib.sha256(entry.code).hexdigest(),
    }
    content = _MAGIC + json.dumps(facts).encode() + b"\n" + entry.code
    with contextlib.suppress(OSError):
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".", delete=False) as file:
            file.write(content)
        os.replace(file.name, folder / key)
        _make_room(folder)


def _make_room(folder: Path) -> None:
    files = sorted(folder.iterdir(), key=lambda file: file.stat().st_mtime, reverse=True)
    total = 0
    for file in files:
        total += file.stat().st_size
        if total > MOST_BYTES:
            file.unlink(missing_ok=True)


def externals_of(module: Any) -> tuple[str, ...]:
    """Return the functions that a module expects of the process."""
    names = [function.name for function in module.functions if function.is_declaration]
    # Python's own are those of the wrapper that calls from Python, which is not used.
    return tuple(sorted(name for name in names if not name.startswith(("llvm.", "Py", "_Py"))))
