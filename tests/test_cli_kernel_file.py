"""Kernels of the user's own on the command line."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import ergodica
from ergodica import cli

TARGET = """
import jax.numpy as jnp

start = jnp.ones(2)


def logdensity(x):
    return -0.5 * jnp.sum(x**2)
"""
KERNEL = """
import ergodica

LENGTH = 3


def walk(scale=1.0, *, logdensity):
    return ergodica.RandomWalk(scale, logdensity=logdensity)


def targetless(scale=1.0):
    return ergodica.RandomWalk(scale)


def density_itself(*, logdensity):
    return logdensity


def broken(*, logdensity):
    return 1 / 0
"""
PLAN = ["--density", "--draws", "50", "--tune", "20", "--chains", "2", "--quiet"]


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "target.py").write_text(TARGET)
    (folder / "mine.py").write_text(KERNEL)
    return folder


def test_own_kernel_samples_resumes_and_is_guarded(folder):
    out = folder / "run"
    result = invoke(
        "sample", folder / "target.py:logdensity", *PLAN, "--kernel", f"{folder}/mine.py:walk", "--set", "scale=0.7", "--out", out
    )  # fmt: skip
    assert result.exit_code in (0, 1), result.output  # so few draws may raise an alarm
    before = ergodica.Draws.load(out / "posterior.nc").position
    record = json.loads((out / "run.json").read_text())["run"]
    assert record["kernel"] == "../mine.py:walk"
    assert len(record["kernel_sha256"]) == 64
    assert invoke("resume", out, "--draws", 80, "--quiet").exit_code in (0, 1)
    after = ergodica.Draws.load(out / "posterior.nc").position
    np.testing.assert_array_equal(np.asarray(after)[:, :50], before)

    (folder / "moved.py").write_text(KERNEL)
    assert invoke("resume", out, "--kernel", folder / "moved.py", "--draws", 81, "--quiet").exit_code in (0, 1)
    (folder / "moved.py").write_text(KERNEL.replace("scale=1.0", "scale=2.0"))
    result = invoke("resume", out, "--kernel", folder / "moved.py", "--draws", 90, "--quiet")
    assert result.exit_code == 2
    assert "is not what it was when the run began" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("kernel", "words"),
    [
        ("mine.py", "name the kernel in mine.py"),
        ("mine.py:wark", "did you mean walk"),
        ("mine.py:LENGTH", "is a int; expected a function or a class"),
        ("mine.py:targetless", "has to take the target as logdensity="),
        ("mine.py:density_itself", "expected a subclass of ergodica.Kernel"),
        ("mine.py:broken", "ZeroDivisionError"),
        ("missing.py:walk", "cannot read the Python file"),
    ],
)
def test_what_is_no_kernel_is_one_line(folder, tmp_path, kernel, words):
    result = invoke(
        "sample", folder / "target.py:logdensity", *PLAN, "--kernel", f"{folder}/{kernel}", "--out", tmp_path / "run"
    )
    assert result.exit_code == 2
    assert words.lower() in " ".join(result.output.split()).lower()
    assert not (tmp_path / "run").exists()


def test_settings_of_an_own_kernel_are_checked(folder, tmp_path):
    kernel = f"{folder}/mine.py:walk"
    options = ["sample", folder / "target.py:logdensity", *PLAN, "--kernel", kernel]
    result = invoke(*options, "--set", "scal=1", "--out", tmp_path / "run")
    assert result.exit_code == 2
    assert "has no setting 'scal'" in " ".join(result.output.split())


def test_compare_takes_own_kernels(folder):
    kernel = f"{folder}/mine.py:walk"
    result = invoke(
        "compare", folder / "target.py:logdensity", "--density", "--kernels", kernel, "--set", f"{kernel}.scale=0.5",
        "--draws", 64, "--tune", 8, "--json", "-",
    )  # fmt: skip
    assert result.exit_code in (0, 1), result.output
    assert kernel in result.output
