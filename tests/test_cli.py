"""The command line, on a catalogue of three rows: one that passes, one that fails, one with a diagnostic."""

import dataclasses
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import ergodica
import ergodica.validation.certify  # the module: the name below is the function
from ergodica import cli
from ergodica.samplers.claim import Claim, Exactness
from ergodica.validation import catalogue as catalogue_module
from ergodica.validation.evidence import Case, Check, Outcome

ROOT = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Subject:
    """Stands for a rule: it has a claim and nothing else."""

    claim = Claim(Exactness.EXACT, "Leaves everything as it is.", source="A. Author [1999]", reversible=True)


def case(name, *outcomes, seconds=0.1):
    checks = tuple(
        Check(f"check {index} [of {name}]", lambda subject, key, outcome=outcome: outcome, seconds)
        for index, outcome in enumerate(outcomes)
    )
    return Case(name, type(name, (Subject,), {}), Subject, checks)


ROWS = {
    row.name: row
    for row in (
        case("right", Outcome(1e-16, 1e-12, True, 0.0), Outcome(0.2, 1e-6, True, 1e-6)),
        case("wrong", Outcome(math.nan, 1e-12, False, 0.0, "flow from [0] to [1] is off")),
        case("slow", Outcome(0.5, 1.0, True, 1e-6), seconds=1000.0),
    )
}


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    for module in (catalogue_module, sys.modules["ergodica.validation.certify"]):
        monkeypatch.setattr(module, "catalogue", lambda: ROWS)


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


def test_version():
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.stdout == f"ergodica {ergodica.__version__}\n"


def test_list_prints_names_claims_and_sources():
    result = invoke("list")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[1:]] == ["right", "wrong", "slow"]
    assert "exact, reversible" in result.stdout
    assert "A. Author [1999]" in result.stdout


def test_certify_prints_what_was_found():
    result = invoke("certify", "right")
    assert result.exit_code == 0, result.output
    exact, statistical = [line for line in result.stdout.splitlines() if "[of right]" in line]
    assert re.search(r"1e-16 +1e-12 +pass +0 \(exact\) +0\.0$", exact)
    assert re.search(r"0\.2 +1e-06 +pass +1e-06 +0\.0$", statistical)
    assert "2 of 2 checks passed. If every claim is true, the chance of any failure is at most 1e-06." in result.stdout


def test_failure_sets_the_status_and_is_told_in_words():
    result = invoke("certify", "right", "wrong")
    assert result.exit_code == 1
    assert "FAIL wrong, check 0 [of wrong]: flow from [0] to [1] is off" in result.stdout
    assert "2 of 3 checks passed" in result.stdout


def test_all_rows_run_without_a_name():
    assert "[of wrong]" in invoke("certify").stdout


def test_check_beyond_the_budget_is_skipped_and_is_no_evidence():
    result = invoke("certify", "slow", "--budget", "5")
    assert result.exit_code == 1
    assert "Skipped, because they do not fit the budget: 1" in result.stdout


def test_unknown_name_gets_suggestions():
    result = invoke("certify", "rihgt")
    assert result.exit_code == 2
    assert "Did you mean right?" in " ".join(result.stderr.split())


def test_json_goes_to_a_file(tmp_path):
    file = tmp_path / "evidence.json"
    result = invoke("certify", "right", "wrong", "--json", file, "--seed", 7)
    assert result.exit_code == 1
    record = json.loads(
        file.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(f"{name} is not JSON")
    )
    assert record["seed"] == 7
    assert record["passed"] is False
    assert [row["subject"] for row in record["evidence"]] == ["right", "right", "wrong"]
    assert record["evidence"][2]["statistic"] is None
    assert record["evidence"][1]["false_alarm"] == 1e-6


def test_json_on_standard_output_stands_alone():
    result = invoke("certify", "right", "--json", "-")
    assert json.loads(result.stdout)["passed"] is True
    assert "2 of 2 checks passed" in result.stderr


def test_module_is_the_command():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "ergodica", "--version"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout == f"ergodica {ergodica.__version__}\n"
