"""The package is found, and is the same, from a wheel, an editable install and a plain checkout."""

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import ergodica

ROOT = Path(__file__).resolve().parents[1]
HEAVY = (
    "arviz_base",
    "arviz_stats",
    "flowjax",
    "matplotlib",
    "numba",
    "numpyro",
    "optax",
    "pandas",
    "scipy.stats",
    "xarray",
)
PARTS = ("samplers", "theory", "validation")
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


FORGET_EDITABLE = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "Editable" not in getattr(finder, "__name__", "")]
"""


def python(code: str, *, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run code in a new interpreter, which sees no editable install if `path` is given but only that folder."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_"))}
    command = [sys.executable, "-c", code]
    if path is not None:
        environment["PYTHONPATH"] = str(path)
        command[2] = FORGET_EDITABLE + code
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def packages_in(folder: Path, name: str) -> set[str]:
    found = {name}
    for init in folder.rglob("__init__.py"):
        parts = init.parent.relative_to(folder).parts
        if parts and not (set(parts) & {"__pycache__"}):
            found.add(".".join((name, *parts)))
    return found


def test_listed_packages_are_the_folders():
    folders = {"ergodica", "ergodica.commands", "ergodica.data"}
    for part in PARTS:
        folders |= packages_in(ROOT / part, f"ergodica.{part}")
    assert set(SETTINGS["tool"]["setuptools"]["packages"]) == folders


def test_every_folder_with_code_is_a_package():
    for part in PARTS:
        for file in (ROOT / part).rglob("*.py"):
            assert (file.parent / "__init__.py").is_file(), f"{file.parent} has code but no __init__.py"


def test_every_family_is_in_the_import_rules():
    contract = next(c for c in SETTINGS["tool"]["importlinter"]["contracts"] if c["type"] == "independence")
    listed = {name.removeprefix("ergodica.samplers.") for name in contract["modules"]}
    shared = {"acceptance", "interop", "lowering", "tuning"}
    folders = {init.parent.name for init in (ROOT / "samplers").glob("*/__init__.py")}
    assert listed == folders - shared


def test_version_is_the_same_everywhere():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", citation, re.MULTILINE).group(1) == ergodica.__version__


def test_type_checkers_see_the_lazy_names():
    """The names under TYPE_CHECKING, which type checkers see, are those that __getattr__ finds at run time."""
    tree = ast.parse(Path(ergodica.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    seen = {}
    for statement in block.body:
        assert isinstance(statement, ast.ImportFrom)
        for name in statement.names:
            assert name.asname == name.name, f"write `{name.name} as {name.name}`: it marks a re-export"
            seen[name.name] = statement.module
    parts = {name for name, module in seen.items() if module == "ergodica"}
    assert parts == set(PARTS)
    assert {name: module for name, module in seen.items() if name not in parts} == ergodica._HOME


@pytest.mark.parametrize("name", ergodica.__all__)
def test_public_name_resolves(name):
    value = getattr(ergodica, name)
    assert value is getattr(importlib.import_module(ergodica._HOME[name]), name)
    assert name in dir(ergodica)


def test_every_catalogued_kernel_and_rule_is_at_the_front_door():
    """Compositions are made by functions, which are there themselves."""
    from ergodica.validation.catalogue import catalogue

    subjects = {case.subject for case in catalogue().values()}
    missing = {s.__name__ for s in subjects if s.__module__ != "ergodica.samplers.compose"} - {"Corrected"}
    assert missing <= set(ergodica.__all__), missing - set(ergodica.__all__)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = ergodica.no_such_name


def test_import_is_light():
    """Heavy dependencies wait until a module that needs them is imported; so does JAX."""
    names = (*HEAVY, "blackjax", "equinox", "h5netcdf", "jax", "networkx", "rich", "scipy", "typer")
    code = f"import sys, ergodica; print([name for name in {names!r} if name in sys.modules])"
    result = python(code, cwd=ROOT)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


def test_kernels_of_the_protocol_do_not_need_heavy_dependencies():
    code = f"import sys, ergodica; ergodica.Kernel; print([name for name in {HEAVY!r} if name in sys.modules])"
    result = python(code, cwd=ROOT)
    assert result.stdout.strip() == "[]", result.stdout + result.stderr


@pytest.mark.parametrize("part", PARTS)
def test_folder_imported_by_its_own_name_explains_itself(part):
    """The root is on the path whenever Python runs there; a second copy of every module would break isinstance."""
    for module in (part, f"{part}.__init__"):
        result = python(f"import {module}", cwd=ROOT)
        assert result.returncode == 1
        assert f"write `import ergodica.{part}`" in result.stderr


CHECKOUT = """
import ergodica, ergodica.samplers.kernel, ergodica.theory, ergodica.validation.evidence
from pathlib import Path
print(Path(ergodica.__file__).resolve().parents[1])
print(Path(ergodica.samplers.kernel.__file__).resolve())
assert ergodica.Kernel is ergodica.samplers.kernel.Kernel
"""


def test_plain_checkout_works_from_another_folder(tmp_path):
    result = python(CHECKOUT, cwd=tmp_path, path=ROOT)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [str(ROOT), str(ROOT / "samplers" / "kernel.py")]


@pytest.fixture(scope="module")
def checkout_without_links(tmp_path_factory):
    copy = tmp_path_factory.mktemp("without_links")
    shutil.copy(ROOT / "pyproject.toml", copy)
    (copy / "ergodica").mkdir()
    for file in (ROOT / "ergodica").glob("*.py"):
        shutil.copy(file, copy / "ergodica")
    for part in PARTS:
        shutil.copytree(ROOT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


@pytest.mark.parametrize("links", ["absent", "files"])
def test_checkout_without_symbolic_links_works(checkout_without_links, tmp_path, links):
    """Git writes a link as a small text file where links are switched off, which is the default on Windows."""
    for part in PARTS:
        stand_in = checkout_without_links / "ergodica" / part
        stand_in.unlink(missing_ok=True)
        if links == "files":
            stand_in.write_text(f"../{part}", encoding="utf-8")
    result = python(CHECKOUT, cwd=tmp_path, path=checkout_without_links)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[1] == str(checkout_without_links / "samplers" / "kernel.py")


def test_links_point_at_the_folders():
    if not (ROOT / "ergodica" / "samplers").is_symlink():
        pytest.skip("this checkout has no symbolic links")
    for part in PARTS:
        assert os.readlink(ROOT / "ergodica" / part) == f"../{part}"


def test_data_travels_with_its_licence():
    from importlib.resources import files

    folder = files("ergodica.data")
    assert "Stan Developers" in folder.joinpath("LICENSE").read_text(encoding="utf-8")
    assert "Stan Developers" in (ROOT / "NOTICE").read_text(encoding="utf-8")
    patterns = SETTINGS["tool"]["setuptools"]["package-data"]["ergodica.data"]
    assert {"*.json", "LICENSE", "README.md"} <= set(patterns)
