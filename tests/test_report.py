"""Pages of reports: what they show is what the draws say, and nothing in them is executed or fetched."""

import re

import numpy as np
import pytest

from ergodica.samplers.claim import Claim, Exactness
from ergodica.validation.audit import audit
from ergodica.validation.report import plots
from ergodica.validation.report.facts import Facts, scalars
from ergodica.validation.report.page import report_page, write_page
from ergodica.validation.report.svg import Axes, ticks


def normal(chains=4, count=400, seed=0):
    return np.random.default_rng(seed).normal(size=(chains, count))


@pytest.mark.parametrize("span", [(0, 1), (-3.2, 7.9), (1e-9, 3e-9), (99.5, 100.5), (-1e12, 1e12)])
def test_ticks_are_round_and_inside(span):
    found = ticks(*span)
    assert 2 <= len(found) <= 7
    assert all(span[0] - 1e-9 * abs(span[0]) <= value <= span[1] * (1 + 1e-9) for value in found)
    steps = np.diff(found)
    np.testing.assert_allclose(steps, steps[0], rtol=1e-6)
    assert round(steps[0] / 10.0 ** np.floor(np.log10(steps[0] * 1.0000001))) in (1, 2, 5, 10)


def test_axes_map_the_corners():
    axes = Axes(300, 100, (0, 10), (-1, 1), title="corners")
    assert axes.x(0) == axes.left
    assert axes.x(10) == axes.right
    assert axes.y(-1) == axes.bottom
    assert axes.y(1) == axes.top
    axes.line(np.array([0.0, np.nan, 10.0]), np.array([0.0, 0.0, 1.0]), "s")
    last = re.findall(r'class="s" d="([^"]*)"', axes.svg())
    assert last == [f"M{axes.left:.1f} {axes.y(0):.1f}M{axes.right:.1f} {axes.top:.1f}"]  # broken at the NaN
    assert "nan" not in axes.svg()


def test_long_traces_keep_their_extremes():
    values = normal(1, 5000)
    values[0, 1234], values[0, 4321] = 9.0, -9.0
    x, y = plots._envelope(values[0])
    assert len(x) <= plots.POINTS
    assert (y.max(), y.min()) == (9.0, -9.0)
    assert np.all(np.diff(x) >= 0)


def test_density_integrates_to_one_and_finds_the_peak():
    values = np.random.default_rng(1).normal(3.0, 2.0, 20_000)
    x, curve = plots._smooth(values, float(values.min()), float(values.max()))
    assert np.sum(curve) * (x[1] - x[0]) == pytest.approx(1.0, abs=1e-9)
    # The height of the normal law at its mean, smoothed a little.
    assert curve.max() == pytest.approx(1 / (2 * np.sqrt(2 * np.pi)), rel=0.1)
    assert x[np.argmax(curve)] == pytest.approx(3.0, abs=0.5)


def test_density_of_a_half_line_does_not_sink_at_its_end():
    values = np.random.default_rng(1).exponential(1.0, 20_000)
    _, curve = plots._smooth(values, float(values.min()), float(values.max()))
    assert curve[0] > 0.8 * curve.max()


def test_growth_ends_at_the_numbers_of_the_summary():
    values = {"a": normal(), "b": np.cumsum(normal(seed=1), axis=1)}
    _, last = plots.growth(values, 400)
    table = audit(values).table
    for name in values:
        assert last[name] == pytest.approx((table.loc[name, "ess_bulk"], table.loc[name, "ess_tail"]), rel=1e-9)


def test_rank_bars_show_a_chain_that_is_off():
    values = normal(12)
    values[7] += 3
    text = plots.ranks(values, "x")
    assert text.count('class="b ') == plots.MOST_RANKED
    assert f'class="b c{7 % plots.COLOURS}"' in text


def test_scalars_are_named_as_in_the_summary():
    draws = {"a": normal(), "b": np.stack([normal()] * 6, -1).reshape(4, 400, 2, 3)}
    assert list(scalars(draws)) == list(audit(draws).table.index)


def test_page_tells_what_is_wrong():
    draws = {"good": normal(), "bad": normal(seed=1) + 5 * np.arange(4)[:, None]}
    text = report_page(Facts(title="model", draws=draws))
    assert "alarms" in text
    assert "chains sit in different modes" in text
    assert '<span class="off">' in text
    assert text.index("<h3>bad</h3>") < text.index("<h3>good</h3>")  # the worst first
    assert "Nothing alarming" not in text
    assert "Nothing alarming" in report_page(Facts(title="model", draws={"good": normal()}))


def test_page_shows_what_is_known():
    claim = Claim(Exactness.BIASED, "is off by a little", source="A. Author 1999", order="O(h)")
    facts = Facts(
        title="model",
        draws={"x": normal(), "y": normal(seed=1)},
        stats={"acceptance_rate": np.full((4, 400), 0.75), "diverging": normal() > 2, "num_invalid": normal() > 1},
        sampler="Walk",
        claim=claim,
        tuned={"step_size": np.array(0.25), "scale": np.ones(3)},
        counts={"num_evals": 4000},
        seconds=3.5,
        provenance={"seed": "0", "versions": "ergodica 1.2.3, jax 4"},
    )
    text = report_page(facts)
    for words in ("Walk: biased, O(h)", "Is off by a little.", "A. Author 1999", "Mean 0.75", "step_size", "0.25"):
        assert words in text
    assert "divergent draws stand out" in text
    assert "Made by ergodica 1.2.3." in text
    assert "evaluations an effective draw" in text


def test_names_cannot_put_code_into_the_page():
    evil = "<script>alert('x')</script>\"'"
    facts = Facts(
        title=evil,
        draws={evil.replace("/", "|"): normal(), "b": normal(seed=1)},
        stats={"lp": normal()},
        sampler=evil,
        evidence_note=evil,
        tuned={evil: np.array(1.0)},
        provenance={evil: evil},
    )
    text = report_page(facts)
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert not re.search(r"(src|href)=", text)


@pytest.mark.parametrize("shape", [(1, 50), (4, 4), (30, 40)])
def test_pages_of_unusual_shapes(shape):
    text = report_page(Facts(title="model", draws={"x": normal(*shape), "y": normal(*shape, seed=1)}))
    assert "nan" not in re.sub(r"<style>.*</style>", "", text)


def test_constant_and_invalid_draws_are_told():
    values = normal()
    values[0, 0] = np.nan
    text = report_page(Facts(title="model", draws={"constant": np.ones((4, 400)), "invalid": values}))
    assert "constant: constant" in text
    assert "invalid has 1 values that are not finite" in text
    assert "Densities" not in text


def test_many_numbers_stay_a_page():
    draws = {"x": np.random.default_rng(0).normal(size=(2, 60, 250))}
    text = report_page(Facts(title="model", draws=draws))
    assert "and 50 more" in text
    assert "The 9 of 250 that have mixed worst" in text
    assert len(text) < 1_500_000


def test_page_is_replaced_whole(tmp_path, monkeypatch):
    place = tmp_path / "page.html"
    write_page(place, "old")
    real = type(place).replace

    def fail(self, target):
        raise OSError("no space")

    monkeypatch.setattr(type(place), "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_page(place, "new")
    monkeypatch.setattr(type(place), "replace", real)
    assert place.read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]
