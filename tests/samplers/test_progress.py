"""What is shown of a run while it goes on, and how."""

import io
import sys
import types

import numpy as np
import pytest
from rich.console import Console

from ergodica.samplers import progress
from ergodica.samplers.live_summary import LiveSummary, Standing
from ergodica.samplers.stopping import Until, Watch

HALFWAY = Standing("draws", 50, 100, 40, 8.0, 0.3, {"divergences": 2}, 1.0123, 81.6, needed=80)


def noise(chains=4, count=800, shift=0.0):
    draws = np.random.default_rng(0).normal(size=(chains, count, 2))
    draws[1, :, 1] += shift
    return draws


def test_a_standing_knows_how_long_it_will_take():
    assert HALFWAY.rate == 5
    assert HALFWAY.left == 6  # to the precision, which comes before the end
    assert Standing("draws", 50, 100, 40, 8.0, needed=1000).left == 10
    assert Standing("draws", 50, 100, 40, 8.0).left == 10
    assert Standing("draws", 50, 100, 0, 0.0).left is None
    assert HALFWAY.facts() == {
        "accepted": "0.30",
        "divergences": "2",
        "R-hat": "1.012",
        "ESS": "82",
        "precise after": "80",
    }
    assert Standing("draws", 1, 100, 1, 1.0, needed=101).facts() == {"precise after": "101, too late"}


def test_rates_and_troubles_add_up():
    live = LiveSummary("draws", 100, done=10)
    x = noise(2, 20)
    stats = {"acceptance_rate": np.full((2, 20), 0.2), "diverging": np.arange(40).reshape(2, 20) % 2 == 0}
    live.add(x, stats, 20)
    parts = {"acceptance_rate": np.full((2, 10), 0.5), "0.cap_hit": np.ones((2, 10)), "1.cap_hit": np.ones((2, 10))}
    live.add(x[:, :10], parts, 10)
    found = live.standing()
    assert (found.done, found.made, found.total) == (40, 30, 100)
    assert found.acceptance == pytest.approx((0.2 * 20 + 0.5 * 10) / 30)
    assert found.trouble == {"divergences": 20, "caps hit": 40}


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_live_rhat_and_ess(shift):
    """Independent draws: the effective number is known to 40 per cent, by 400 degrees of freedom; chance below 1e-7."""
    live = LiveSummary("draws", 800)
    for chunk in np.split(noise(shift=shift), 200, axis=1):
        live.add({"x": chunk}, {}, 4)
    found = live.standing()
    x = noise(shift=shift)
    halves = np.concatenate([x[:, :400], x[:, 400:]])
    within, between = halves.var(axis=1, ddof=1).mean(axis=0), halves.mean(axis=1).var(axis=0, ddof=1)
    assert found.rhat == pytest.approx(np.sqrt(1 + between / within).max(), rel=0.02)
    if shift == 0:
        assert 0.6 * 3200 < found.ess < 1.4 * 3200


def test_what_is_not_known_is_not_shown():
    assert LiveSummary("draws", 10).standing().facts() == {}
    weighted = LiveSummary("draws", 10, estimate=False)
    weighted.add(noise(2, 10), {}, 10)
    assert weighted.standing().facts() == {}
    constant = LiveSummary("draws", 500)
    constant.add(np.zeros((2, 500, 1)), {}, 500)
    assert "ESS" not in constant.standing().facts()
    keys = LiveSummary("draws", 500)
    keys.add({"name": np.full((2, 500), "a"), "nan": np.full((2, 500), np.nan)}, {}, 500)
    assert keys.standing().facts() == {}
    unseen = LiveSummary("draws", 10, follow=False)
    unseen.add(None, {}, 10)
    assert unseen.standing().done == 10


def test_memory_is_bounded():
    live = LiveSummary("draws", 3)
    live.add({"a": np.zeros((64, 3, 50)), "b": np.zeros((64, 3, 1000))}, {}, 3)
    assert live._means.means().shape[1:] == (64, 64)


def test_time_to_the_precision_that_was_asked_for():
    """Independent draws: 1000 effective ones of 4 chains take 250; the estimate is within a factor of 1.5."""
    watch = Watch(Until(ess=10_000, rhat=None, min_draws=10))
    assert watch.needed() is None
    watch.add(noise())
    assert 2500 / 1.5 < watch.needed() < 2500 * 1.5
    exact = Watch(Until(relative=0.01, rhat=None, min_draws=10))
    exact.add(noise())
    assert exact.needed() == pytest.approx(watch.needed(), rel=1e-3)
    stuck = Watch(Until(ess=10, min_draws=10))
    stuck.add(noise(shift=5.0))
    assert stuck.needed() > 10_000  # R-hat stays where it is; what is missing grows with the run


def test_lines_are_few():
    stream = io.StringIO()
    lines = progress.Lines(stream)
    lines.show(Standing("draws", 0, 100, 0, 0.0))
    lines.show(HALFWAY)
    assert stream.getvalue() == ""
    lines._written -= progress.LINE_EVERY
    lines.show(HALFWAY)
    lines.show(Standing("draws", 100, 100, 90, 3605.0))
    lines.close()
    assert stream.getvalue().splitlines() == [
        "draws 50/100 in 8.0 s, 5 it/s, 6.0 s left  accepted 0.30, divergences 2, R-hat 1.012, ESS 82, precise after 80",
        "draws 100/100 in 1:00:05, 0.02497 it/s",
    ]


def test_the_bar_runs_in_a_terminal():
    stream = io.StringIO()
    bar = progress.Bar(Console(file=stream, force_terminal=True, width=160))
    bar.show(Standing("draws", 0, 100, 0, 0.0))
    bar.show(HALFWAY)
    bar.close()
    assert "50/100" in stream.getvalue()
    assert "5 it/s  8.0 s < 6.0 s  accepted 0.30" in stream.getvalue()


def test_a_table_in_notebooks(monkeypatch):
    shown = []
    handle = types.SimpleNamespace(update=shown.append)
    display = types.SimpleNamespace(HTML=str, display=lambda value, display_id: handle)
    shell = types.SimpleNamespace(kernel=object())
    ipython = types.SimpleNamespace(get_ipython=lambda: shell, display=display)
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    table = progress.make_reporter(True)
    assert isinstance(table, progress.NotebookTable)
    table.show(Standing("warm-up", 9, 9, 9, 1.0))
    table.show(HALFWAY)
    table.close()
    assert shown[-1].count("<tr>") == 2
    for text in ("50 of 100", 'max="100" value="50"', "8.0 s, 6.0 s left", "R-hat 1.012"):
        assert text in shown[-1]
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: None))
    assert isinstance(progress.make_reporter(True), progress.Lines)
    assert isinstance(progress.make_reporter(False), progress.Silent)
