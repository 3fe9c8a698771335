"""Evidence cards: what they show is what the record says, and nothing in them is executed or fetched."""

import html.parser
import json
import re

import jax
import numpy as np
import pytest

from ergodica.samplers.claim import Claim, Exactness
from ergodica.validation.certify import Report
from ergodica.validation.evidence import Evidence
from ergodica.validation.pictures import Flows, picture_record, rank_counts, uniform_counts
from ergodica.validation.report.card import card_record, evidence_page
from ergodica.validation.report.card_plots import picture_of

CLAIM = Claim(Exactness.EXACT, "leaves <the target> invariant", source="A. Author & B. Author 1999", reversible=True)
RING_MATRIX = np.array([[0.1, 0.6, 0, 0.3], [0.3, 0.25, 0.45, 0], [0, 0.3, 0.3, 0.4], [0.075, 0, 0.3, 0.625]])
FLOWS = np.array([0.1, 0.2, 0.3, 0.4])[:, None] * RING_MATRIX


def flows(matrix=FLOWS):
    return Flows("ring", tuple("0123"), matrix)


def evidence(name, check, passed=True, false_alarm=0.0, details="", pictures=()):
    return Evidence(
        name, "exact", check, 1e-16 if passed else np.inf, 1e-12, passed, false_alarm, 0.5, details, pictures
    )


REPORTS = {
    "right": Report((evidence("right", "exact law: ring", pictures=(flows(),)),), claim=CLAIM),
    "wrong one": Report(
        (
            evidence("wrong one", "exact law: ring", False, details="from state 0 to 1 flows <too> much"),
            evidence("wrong one", "rank: normal", false_alarm=1e-6),
        ),
        skipped=("slow check",),
        picked={"exact law: ring": "the space is finite"},
        left_out={"cache": "the state holds none"},
        claim=CLAIM,
    ),
    "unchecked": Report((), skipped=("slow check",), claim=CLAIM),
}


class Reader(html.parser.HTMLParser):
    """Collects tags, and sees that they close in order."""

    def __init__(self):
        super().__init__()
        self.tags, self.open = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "path", "rect", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(page):
    reader = Reader()
    reader.feed(page)
    assert reader.open == []
    return reader.tags


def test_page_holds_a_card_for_each_report_and_a_link_to_it():
    page = evidence_page(REPORTS, made_by={"seed": 7})
    tags = read(page)
    sections = [attrs["id"] for tag, attrs in tags if tag == "section"]
    links = [attrs["href"].removeprefix("#") for tag, attrs in tags if tag == "a"]
    assert sections == links == ["card-right", "card-wrong-one", "card-unchecked"]
    assert "1 fails." in page
    assert "No evidence in this run of unchecked" in page
    assert "from state 0 to 1 flows &lt;too&gt; much" in page
    assert "picked, because the space is finite" in page
    assert "left out, because the state holds none" in page
    assert "2 of 3" in page  # checks passed
    assert "seed 7" in page
    assert "Every claim has passed" in evidence_page({"right": REPORTS["right"]})


def test_page_executes_and_fetches_nothing():
    tags = read(evidence_page(REPORTS))
    names = {tag for tag, _ in tags}
    assert not names & {"script", "link", "img", "iframe", "object", "embed"}
    assert not [attrs for _, attrs in tags if any(key.startswith("on") or key == "src" for key in attrs)]
    policy = next(attrs["content"] for tag, attrs in tags if attrs.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_record_is_json_and_says_the_same():
    record = card_record("wrong one", REPORTS["wrong one"])
    again = json.loads(json.dumps(record, allow_nan=False))
    assert again == record
    assert again["passed"] is False
    assert [check["kind"] for check in again["checks"]] == ["exact", "statistical"]
    assert again["checks"][0]["statistic"] is None
    assert Claim.from_record(again["claim"]) == CLAIM
    np.testing.assert_allclose(card_record("right", REPORTS["right"])["pictures"][0]["flows"], FLOWS)


def drawn(svg, css):
    return sum(path.count("M") for path in re.findall(rf'class="{css}"[^>]* d="([^"]*)"', svg))


def test_flow_matrix_has_a_square_for_each_flow_and_shows_what_is_out_of_balance():
    _, words, svg = picture_of(flows())
    assert "rounding" in words
    assert drawn(svg, "b c0") == np.count_nonzero(FLOWS)
    assert drawn(svg, "b c1") == 0
    rotation = np.roll(np.eye(4), 1, axis=1) / 4
    _, words, svg = picture_of(flows(rotation))
    assert "0.25" in words
    assert (drawn(svg, "b c0"), drawn(svg, "b c1")) == (4, 4)


def test_distribution_and_ranks_tell_uniform_values_from_others():
    rng = np.random.default_rng(5)
    uniforms = rng.uniform(size=1000)
    assert "Inside the band everywhere" in picture_of(uniform_counts("x", uniforms, 20))[1]
    assert "Outside the band" in picture_of(uniform_counts("x", uniforms**1.3, 20))[1]
    ranks = rng.integers(0, 10, size=2000)
    assert "All bars end between" in picture_of(rank_counts("x", ranks, 10))[1]
    assert "Bars that do not end between the lines" in picture_of(rank_counts("x", np.minimum(ranks, 8), 10))[1]
    assert picture_record(rank_counts("x", ranks, 10))["kind"] == "rank counts"


def test_counts_are_those_of_the_distribution_function():
    counts = uniform_counts("x", np.array([0.0, 0.1, 0.25, 0.26, 0.5, 1.0]), 4)
    assert counts.counts.tolist() == [3, 5, 5]
    assert counts.size == 6


@pytest.mark.slow
def test_command_writes_page_and_record_of_one_run(tmp_path):
    from typer.testing import CliRunner

    from ergodica import cli

    page, record = tmp_path / "cards.html", tmp_path / "cards.json"
    run = ["certify", "lattice-slice", "heat-bath", "--html", str(page), "--json", str(record)]
    result = CliRunner().invoke(cli.app, run)
    assert result.exit_code == 0, result.output
    cards = json.loads(record.read_text(encoding="utf-8"))["cards"]
    assert [card["name"] for card in cards] == ["lattice-slice", "heat-bath"]
    assert cards[0]["pictures"][0]["kind"] == "flows"
    text = page.read_text(encoding="utf-8")
    read(text)
    assert "Flows on slice6" in text
    assert jax.__version__ in text


def test_a_card_with_skipped_checks_is_certified_in_part_only():
    part = Report(REPORTS["right"].evidence, skipped=("slow check",), claim=CLAIM)
    page = evidence_page({"part": part})
    assert ">certified in part<" in page
    assert ">certified<" in evidence_page({"right": REPORTS["right"]})
