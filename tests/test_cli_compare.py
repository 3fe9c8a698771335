"""The commands compare and report, and pages that are written while a run goes on."""

import html.parser
import json
import time

import arviz_base
import numpy as np
import pytest
from typer.testing import CliRunner

import ergodica
from ergodica import cli
from ergodica.commands.live import Live
from ergodica.commands.reference import read_reference, worst_error
from ergodica.commands.report import write_live_report
from ergodica.commands.run_folder import RunRecord

MODEL = """
import jax.numpy as jnp


def logdensity(position, precision):
    return -0.5 * precision * (position["a"] - 1.0) ** 2 - 0.5 * jnp.sum(position["b"] ** 2)


start = {"a": jnp.zeros(()), "b": jnp.zeros(1)}
"""
PLAN = ["--density", "--chains", "2", "--draws", "2000", "--tune", "200"]


def invoke(*arguments):
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    (folder / "normal.py").write_text(MODEL)
    (folder / "data.json").write_text('{"precision": 4.0}')
    return folder


@pytest.fixture(scope="module")
def run(folder):
    words = ["--data", folder / "data.json", *PLAN, "--kernel", "RandomWalk", "--quiet", "--live"]
    result = invoke("sample", folder / "normal.py", *words, "--out", folder / "run")
    assert result.exit_code == 0, result.output
    return folder / "run"


# --- compare ----------------------------------------------------------------------------------------------------------


def test_compare_measures_each_kernel(folder, tmp_path):
    reference = {"exact": {"parameters": ["a", "b[1]"], "mean": [1.0, 0.0]}, "reference": {}}
    (tmp_path / "moments.json").write_text(json.dumps(reference))
    words = [
        "--data",
        folder / "data.json",
        *PLAN,
        "--kernels",
        "random-walk,RandomWalk",
        "--set",
        "RandomWalk.scale=0.3",
    ]
    words += ["--reference", tmp_path / "moments.json", "--json", tmp_path / "out.json"]
    result = invoke("compare", folder / "normal.py:logdensity", *words, "--picture", tmp_path / "out.png")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "out.json").read_text())
    assert [row["kernel"] for row in record["kernels"]] == ["random-walk", "RandomWalk"]
    assert record["reference"] == "moments.json, exact"
    for row in record["kernels"]:
        assert row["ess_per_second"] == pytest.approx(row["ess"] / row["seconds"])
        assert row["evaluations"] == pytest.approx((2 * 2200 + 2) / row["ess"], rel=0.01)
        # With probability at most 1e-6 one of four means is 5.2 standard errors off; the seed is fixed.
        assert row["error"] < 5
        assert row["slowest"] in ("a", "b[0]")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")
    assert "errors against moments.json, exact" in result.stdout


def test_wrong_means_are_an_alarm(folder, tmp_path):
    (tmp_path / "moments.json").write_text('{"parameters": ["a"], "mean": [1.5], "mcse_mean": [0.001]}')
    words = [
        "--data",
        folder / "data.json",
        *PLAN,
        "--kernels",
        "random-walk",
        "--reference",
        tmp_path / "moments.json",
    ]
    result = invoke("compare", folder / "normal.py:logdensity", *words, "--json", "-")
    assert result.exit_code == 1, result.output
    assert json.loads(result.stdout)["kernels"][0]["error"] > 5
    assert "the mean of a is" in result.stderr


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--kernels", "random-walk,nits"], "Did you mean nuts?"),
        (["--kernels", ","], "--kernels needs names"),
        (["--kernels", "random-walk", "--set", "nuts.dense=true"], "--set takes KERNEL.NAME=VALUE"),
        (["--kernels", "random-walk", "--reference", "none.json"], "cannot read the reference"),
    ],
)
def test_bad_comparisons_are_one_line(folder, more, words):
    result = invoke("compare", folder / "normal.py:logdensity", "--data", folder / "data.json", *PLAN, *more)
    assert result.exit_code == 2
    assert words in result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("error")]) == 1


def test_references_of_every_kind(tmp_path):
    draws = np.random.default_rng(0).normal(2.0, 1.0, (4, 500, 3))
    np.savez(tmp_path / "draws.npz", theta=draws)
    found = read_reference(tmp_path / "draws.npz")
    assert list(found.means) == ["theta[1]", "theta[2]", "theta[3]"]
    assert found.means["theta[2]"] == pytest.approx(draws[..., 1].mean())
    assert found.errors["theta[1]"] == pytest.approx(1 / np.sqrt(2000), rel=0.2)
    chains = [{"theta": draws[chain, :, 0].tolist()} for chain in range(4)]
    (tmp_path / "draws.json").write_text(json.dumps(chains))
    assert read_reference(tmp_path / "draws.json").means == {"theta": pytest.approx(draws[..., 0].mean())}
    error, where = worst_error(found, {"theta": draws + np.array([0.0, 0.0, 1.0])})
    assert where == "theta[3]"
    # Both have the same standard error.
    assert error == pytest.approx(1.0 / (np.sqrt(2) * found.errors["theta[3]"]), rel=1e-6)
    for content in ("{}", '{"parameters": ["a"], "mean": [1, 2]}', "{"):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(Exception, match=r"no reference moments|is no JSON"):
            read_reference(tmp_path / "bad.json")
    with pytest.raises(Exception, match="no name in common"):
        worst_error(found, {"phi": draws})


# --- report -----------------------------------------------------------------------------------------------------------


class Tags(html.parser.HTMLParser):
    """Checks that tags close in order, and collects what a page refers to."""

    VOID = ("meta", "br", "hr", "path", "rect", "img")

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.links = [], set(), []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        self.links += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def page(path):
    text = path.read_text(encoding="utf-8")
    found = Tags(text)
    assert not found.seen & {"script", "link", "iframe", "object"}
    assert found.links == []
    assert "url(" not in text
    return text


def test_live_run_leaves_its_page(run):
    text = page(run / "report.html")
    assert "Nothing alarming" in text
    assert "RandomWalk" in text
    assert "ergodica certify random-walk" in text
    assert "ergodica sample normal.py --density" in text
    assert 'http-equiv="refresh"' not in text


def test_page_of_a_run_that_goes_on_asks_for_its_successor(run):
    before = (run / "report.html").read_text()
    write_live_report(run, RunRecord.read(run), None)
    assert 'http-equiv="refresh"' in page(run / "report.html")
    (run / "report.html").write_text(before)


def test_report_reads_evidence(run, tmp_path):
    rows = [
        {"subject": name, "claim": "exact", "check": check, "statistic": value, "bound": 1e-12, "passed": passed,
         "false_alarm": alarm, "seconds": 1.0, "details": ""}
        for name, check, value, passed, alarm in (
            ("random-walk", "exact: Metropolis & <friends>", 1e-16, True, 0.0),
            ("random-walk", "rank", None, False, 1e-6),
            ("other", "not of this kernel", 1.0, True, 0.0),
        )
    ]  # fmt: skip
    (tmp_path / "evidence.json").write_text(json.dumps({"evidence": rows}))
    result = invoke("report", run, "--evidence", tmp_path / "evidence.json", "--out", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    text = page(tmp_path / "page.html")
    assert "exact: Metropolis &amp; &lt;friends&gt;" in text
    assert "1 of 2 checks of the row random-walk passed" in text
    assert "not of this kernel" not in text
    assert '<span class="off">fail</span>' in text


def test_report_runs_checks_within_its_budget(run, tmp_path, monkeypatch):
    from ergodica.validation.certify import Report
    from ergodica.validation.evidence import Evidence

    asked = []

    def certify(name, budget):
        asked.append((name, budget))
        record = Evidence(name, "exact", "exact: all", 1e-16, 1e-12, True, 0.0, 1.0)
        return Report((record,), ("a long one",))

    monkeypatch.setattr("ergodica.validation.certify.certify", certify)
    assert invoke("report", run, "--budget", "7", "--out", tmp_path / "page.html").exit_code == 0
    assert asked == [("random-walk", 7.0)]
    assert "1 more do not fit the budget of 7 seconds" in page(tmp_path / "page.html")


def test_report_of_draws_from_elsewhere(tmp_path):
    generator = np.random.default_rng(0)
    draws, stats = generator.normal(size=(4, 300)), {"energy": generator.normal(size=(4, 300))}
    tree = arviz_base.from_dict({"posterior": {"x<y": draws}, "sample_stats": stats})
    tree.to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    assert invoke("report", tmp_path / "other.nc").exit_code == 0
    text = page(tmp_path / "other.html")
    assert "x&lt;y" in text
    assert "energy and its changes" in text
    np.savez(tmp_path / "draws.npz", x=draws)
    assert invoke("report", tmp_path / "draws.npz", "--title", "A & B").exit_code == 0
    assert "<h1>A &amp; B</h1>" in page(tmp_path / "draws.html")


def test_report_of_saved_draws_knows_the_claim(run, tmp_path):
    ergodica.Draws.load(run / "store").save(tmp_path / "saved.nc")
    assert invoke("report", tmp_path / "saved.nc", "--budget", "0").exit_code == 0
    assert "RandomWalk: exact, reversible" in page(tmp_path / "saved.html")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path / "none.nc", "there is no"),
        (lambda path: path, "is no run on disk"),
        (lambda path: (path / "draws.csv", (path / "draws.csv").write_text("a,b\n1,x\n"))[0], "expected numbers"),
        (lambda path: (path / "draws.nc", (path / "draws.nc").write_text("no"))[0], "is no NetCDF 4 file"),
        (lambda path: (path / "few.csv", (path / "few.csv").write_text("a\n1\n2\n"))[0], "at least four draws"),
    ],
)
def test_bad_reports_are_one_line(tmp_path, make, words):
    result = invoke("report", make(tmp_path))
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_bad_evidence_is_one_line(run, tmp_path):
    for content, words in (("{", "is no record"), ('{"evidence": []}', "has no evidence of random-walk")):
        (tmp_path / "evidence.json").write_text(content)
        result = invoke("report", run, "--evidence", tmp_path / "evidence.json", "--out", tmp_path / "page.html")
        assert result.exit_code == 2
        assert words in result.stderr
    assert not (tmp_path / "page.html").exists()


# --- pages beside a run -----------------------------------------------------------------------------------------------


def test_live_writes_again_and_survives_failures():
    calls = []

    def write():
        calls.append(None)
        if len(calls) == 1:
            raise OSError("half a chunk")

    with Live(write, every=0.001) as live:
        deadline = time.monotonic() + 30
        while len(calls) < 3 and time.monotonic() < deadline:
            time.sleep(0.001)
    assert len(calls) >= 3
    assert live.failure is None
    after = len(calls)
    time.sleep(0.02)
    assert len(calls) == after
