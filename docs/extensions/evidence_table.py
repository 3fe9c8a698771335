"""Runs the catalogue of claims and writes what it found as the table of the page `evidence`.

The record is kept in ``docs/_build/evidence.json`` and made again when the library's code changes.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[2]
RECORD = ROOT / "docs" / "_build" / "evidence.json"
TABLE = ROOT / "docs" / "evidence_table.inc"


def digest_of_code() -> str:
    """Return a digest of every Python file of the library."""
    digest = hashlib.sha256()
    for part in ("samplers", "theory", "validation"):
        for file in sorted((ROOT / part).rglob("*.py")):
            digest.update(file.relative_to(ROOT).as_posix().encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()


def record() -> dict:
    """Return the record of a run of the catalogue on the code as it is."""
    code = digest_of_code()
    if RECORD.is_file():
        kept = json.loads(RECORD.read_text(encoding="utf-8"))
        if kept.get("code") == code:
            return kept
    LOGGER.info("running the catalogue of claims ...")
    command = [sys.executable, "-m", "ergodica", "certify", "--json", "-"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise ExtensionError(f"`ergodica certify` failed, so there is no evidence to print:\n{run.stderr}")
    fresh = {**json.loads(run.stdout), "code": code}
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(fresh, indent=1), encoding="utf-8")
    return fresh


def number(value: float | None) -> str:
    """Return a number for the table."""
    return "not finite" if value is None else f"{value:.2g}"


def table(found: dict) -> str:
    """Return the record as Markdown: for each subject its claim and its checks."""
    checks = [row for row in found["evidence"] if row["false_alarm"] is not None]
    total = sum(row["false_alarm"] for row in checks)
    subjects = {row["subject"] for row in found["evidence"]}
    passed = sum(row["passed"] for row in checks)
    lines = [
        f"{len(subjects)} kernels and rules, {len(checks)} checks, {passed} passed. If every claim is true, the chance "
        f"that a run shows any failure is at most {total:.0e}. Run on Python {found['python']} with JAX "
        f"{found['jax']}, seed {found['seed']}.",
        "",
    ]
    subject = None
    for row in found["evidence"]:
        if row["subject"] != subject:
            subject = row["subject"]
            lines += ["", f"## {subject}", "", f"Claim: {row['claim']}.", ""]
            lines += ["| check | statistic | bound | verdict | false alarm |", "|---|--:|--:|---|--:|"]
        verdict = "diagnostic" if row["false_alarm"] is None else "pass" if row["passed"] else "**fail**"
        alarm = {None: "–", 0.0: "0 (exact)"}.get(row["false_alarm"]) or f"{row['false_alarm']:.0e}"
        check = row["check"].replace("|", "\\|")
        lines.append(f"| {check} | {number(row['statistic'])} | {number(row['bound'])} | {verdict} | {alarm} |")
    return "\n".join(lines) + "\n"


def write(app: Sphinx) -> None:
    """Write the table before the pages are read."""
    del app
    text = table(record())
    if not TABLE.is_file() or TABLE.read_text(encoding="utf-8") != text:
        TABLE.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
