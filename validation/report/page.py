"""The page of a report: what to look at first comes first."""

import html
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ergodica.validation.audit import audit
from ergodica.validation.report import plots
from ergodica.validation.report.facts import Facts, scalars
from ergodica.validation.report.style import STYLE

if TYPE_CHECKING:
    import pandas

__all__ = ["report_page", "write_page"]

MOST_SHOWN = 9
"""Numbers with pictures of their own: those that have mixed worst."""
MOST_PAIRED = 4
MOST_ROWS = 200
ESS_A_CHAIN = 100.0
MAX_RHAT = 1.01

# Nothing is fetched and nothing is executed; a browser that is told so enforces it.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def report_page(facts: Facts) -> str:
    """Return the report of a run as one page of HTML that needs nothing else.

    Parameters
    ----------
    facts
        What it is about.

    Raises
    ------
    ValueError
        If there are fewer than four draws of each chain.
    """
    found = audit(facts.draws, max_rhat=MAX_RHAT, min_ess=ESS_A_CHAIN)
    numbers = scalars(facts.draws)
    worst = [name for name in _worst_first(found.table) if name in numbers] or list(numbers)
    moving = [name for name in worst if np.ptp(numbers[name]) > 0 and np.all(np.isfinite(numbers[name]))]
    shown = moving[:MOST_SHOWN]
    chains, count = next(iter(facts.draws.values())).shape[:2]
    parts = [
        f"<h1>{_text(facts.title)}</h1>",
        f'<p class="lead">{_lead(facts, chains, count)}</p>',
        f'<p class="note">{_text(facts.progress)}</p>' if facts.progress else "",
        _verdict(found.alarms),
        _tiles(facts, found.table, chains, count),
        _evidence(facts),
        _summary(found.table, chains),
    ]
    if shown:
        parts += [_marginals(numbers, shown, len(moving), chains), _pairs(facts, numbers, shown)]
    parts += [_run(facts, numbers, shown, chains), _tuning(facts), _provenance(facts)]
    again = f'<meta http-equiv="refresh" content="{facts.refresh}">' if facts.refresh else ""
    version = facts.provenance.get("versions", "").partition(",")[0] or "ergodica"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">{again}'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(facts.title)}</title><style>{STYLE}</style></head><body><main>"
        + "\n".join(part for part in parts if part)
        + f"<footer>Made by {_text(version)}. That chains agree is no proof that they have seen all there is.</footer>"
        "</main></body></html>\n"
    )


def write_page(path: str | os.PathLike[str], page: str) -> None:
    """Write a page so that a reader sees the old one or the new one, never a part.

    Parameters
    ----------
    path
        The file.
    page
        Its text.
    """
    place = Path(path)
    partial = place.with_name(f".{place.name}.partial")
    try:
        partial.write_text(page, encoding="utf-8")
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


# --- words and numbers ------------------------------------------------------------------------------------------------


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _short(value: Any) -> str:
    number = float(value)
    if not math.isfinite(number):
        return "–"
    text = f"{number:.0f}" if abs(number) >= 1000 else f"{number:.3g}"
    return text.replace("-", "−")


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def _seconds(value: float) -> str:
    if value < 100:
        return f"{value:.3g} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def _worst_first(table: "pandas.DataFrame") -> list[str]:
    if not len(table):
        return []
    ess = np.asarray(table[["ess_bulk", "ess_tail"]].min(axis=1), float)
    order = np.argsort(np.where(np.isfinite(ess), ess, np.inf), kind="stable")
    return [str(table.index[index]) for index in order]


def _lead(facts: Facts, chains: int, count: int) -> str:
    words = [f"{chains} {'chain' if chains == 1 else 'chains'} of {count} draws"]
    if facts.sampler:
        words.append(f"by {facts.sampler}")
    ending = {
        "precise": "ended when it was precise enough",
        "interrupted": "interrupted",
        "unfinished": "not finished yet",
    }.get(facts.ending)
    return _text(" ".join(words) + (f"; {ending}" if ending else ""))


def _verdict(alarms: Sequence[str]) -> str:
    if not alarms:
        return '<div class="verdict"><strong>Nothing alarming.</strong> The chains agree with each other.</div>'
    head = "One alarm." if len(alarms) == 1 else f"{len(alarms)} alarms."
    rows = "".join(f"<li>{_text(alarm)}</li>" for alarm in alarms)
    return f'<div class="verdict bad"><strong>{head}</strong><ul>{rows}</ul></div>'


def _tiles(facts: Facts, table: "pandas.DataFrame", chains: int, count: int) -> str:
    def least(column: str) -> float:
        values = np.asarray(table[column], float) if len(table) else np.empty(0)
        return float(np.min(values[np.isfinite(values)])) if np.any(np.isfinite(values)) else float("nan")

    ess = least("ess_bulk")
    rhat = np.asarray(table["r_hat"], float) if len(table) else np.empty(0)
    rhat = rhat[np.isfinite(rhat)]
    rows = [
        (f"{chains * count}", "draws"),
        (_short(ess), "effective, of the slowest number"),
        (f"{rhat.max():.3f}" if rhat.size else "–", "largest R-hat"),
    ]
    for name, label in (("num_evals", "evaluations"), ("num_grad_evals", "gradients")):
        if facts.counts.get(name) and ess > 0:
            rows.append((_short(facts.counts[name] / ess), f"{label} an effective draw"))
    if facts.seconds:
        rows.append((_seconds(facts.seconds), "run, compilation included"))
    return '<div class="tiles">' + "".join(_tile(*row) for row in rows) + "</div>"


def _tile(number: str, label: str) -> str:
    return f'<div class="tile"><b>{_text(number)}</b><span>{_text(label)}</span></div>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = ()) -> str:
    def cells(row: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{' class=words' if index in words else ''}>{cell}</{tag}>" for index, cell in enumerate(row)
        )

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{cells(head, "th")}</tr></thead><tbody>{body}</tbody></table></div>'


# --- sections ---------------------------------------------------------------------------------------------------------


def _evidence(facts: Facts) -> str:
    if facts.claim is None:
        return (
            f'<h2>Claim and evidence</h2><p class="note">{_text(facts.evidence_note)}</p>'
            if facts.evidence_note
            else ""
        )
    claim = facts.claim
    out = [
        "<h2>Claim and evidence</h2>",
        f"<p><strong>{_text(facts.sampler)}: {_text(claim)}.</strong> {_text(_sentence(claim.statement))}</p>",
    ]
    if claim.source:
        out.append(f'<p class="note">{_text(claim.source)}</p>')
    if facts.evidence:
        rows = []
        for record in facts.evidence:
            proven = record.false_alarm is not None
            verdict = '<span class="ok">pass</span>' if proven else "diagnostic"
            verdict = verdict if record.passed else '<span class="off">fail</span>'
            alarm = "unknown" if record.false_alarm is None else "0, exact"
            alarm = f"{record.false_alarm:.0e}" if record.false_alarm else alarm
            rows.append([_text(record.check), verdict, f"{record.statistic:.2g}", f"{record.bound:.2g}", alarm])
        out.append(_table(["check", "verdict", "statistic", "bound", "false alarm"], rows, words=(0,)))
    if facts.evidence_note:
        out.append(f'<p class="note">{_text(facts.evidence_note)}</p>')
    return "\n".join(out)


def _summary(table: "pandas.DataFrame", chains: int) -> str:
    columns = ["mean", "sd", "mcse_mean", "ess_bulk", "ess_tail", "r_hat"]
    rows = []
    for name, values in zip(table.index[:MOST_ROWS], table[columns].to_numpy(float), strict=False):
        row = [_text(name)]
        for column, value in zip(columns, values, strict=True):
            few = column.startswith("ess") and not value >= ESS_A_CHAIN * chains
            off = few or (column == "r_hat" and not value <= MAX_RHAT)
            text = f"{value:.3f}" if column == "r_hat" and math.isfinite(value) else _short(value)
            row.append(f'<span class="off">{text}</span>' if off else text)
        rows.append(row)
    more = len(table) - MOST_ROWS
    rest = f'<p class="note">and {more} more</p>' if more > 0 else ""
    head = ["", "mean", "sd", "MCSE", "ESS bulk", "ESS tails", "R-hat"]
    return f"<h2>Summary</h2>{_table(head, rows)}{rest}"


def _chains(chains: int) -> str:
    shown = min(chains, plots.COLOURS)
    more = f"<span>and {chains - shown} more, colours anew</span>" if chains > shown else ""
    return f'<p class="keys">{plots.legend([f"chain {index}" for index in range(shown)])}{more}</p>'


def _marginals(numbers: Mapping[str, np.ndarray], shown: Sequence[str], total: int, chains: int) -> str:
    which = f"The {len(shown)} of {total} that have mixed worst. " if len(shown) < total else ""
    cards = []
    for name in shown:
        values = numbers[name]
        pictures = plots.density(values, name) + plots.trace(values, name) + plots.ranks(values, name)
        cards.append(f'<div class="card"><h3>{_text(name)}</h3>{pictures}</div>')
    return (
        f'<h2>Densities, traces, ranks</h2><p class="note">{which}Traces should look alike and forget where they were; '
        "the ranks of a chain, a row of bars, should be flat.</p>"
        f'{_chains(chains)}<div class="cards">{"".join(cards)}</div>'
    )


def _pairs(facts: Facts, numbers: Mapping[str, np.ndarray], shown: Sequence[str]) -> str:
    names = shown[:MOST_PAIRED]
    if len(names) < 2:
        return ""
    diverging = facts.stats.get("diverging")
    marked = None if diverging is None else np.asarray(diverging) > 0
    if marked is not None and marked.shape != numbers[names[0]].shape:
        marked = None
    words = "Correlations above the diagonal."
    if marked is not None and marked.any():
        words += f" {int(marked.sum())} divergent draws stand out."
    picture = plots.pairs({name: numbers[name] for name in names}, marked)
    return f'<h2>Pairs</h2><p class="note">{words}</p><div class="card pairs">{picture}</div>'


def _run(facts: Facts, numbers: Mapping[str, np.ndarray], shown: Sequence[str], chains: int) -> str:
    cards = []
    if shown:
        few = {name: numbers[name] for name in shown[:3]}
        picture, _ = plots.growth(few, ESS_A_CHAIN * chains)
        cards.append(
            _card(
                "Effective draws", "Bulk, and tails dashed; the level is 100 a chain.", picture, plots.legend(list(few))
            )
        )
    stats = {name: np.asarray(values, float) for name, values in facts.stats.items() if np.ndim(values) == 2}
    if "energy" in stats:
        note = "Filled: the energy. Second colour: its change from draw to draw, which should be as wide."
        cards.append(_card("Energy", note, plots.energy(stats["energy"])))
    if "acceptance_rate" in stats:
        rates = stats["acceptance_rate"]
        note = f"Mean {np.nanmean(rates):.2f}."
        cards.append(_card("Acceptance", note, plots.histogram(rates, "acceptance rate")))
    if "lp" in stats:
        cards.append(_card("Log density", "At the draws, by chain.", plots.trace(stats["lp"], "log density")))
    if "num_evals" in stats and np.ptp(stats["num_evals"]) > 0:
        evals = stats["num_evals"]
        note = f"Mean {np.mean(evals):.3g} evaluations of the log density."
        cards.append(_card("Work of a draw", note, plots.histogram(evals, "evaluations")))
    for name, label in (("num_invalid", "invalid values of the log density"), ("cap_hit", "steps that met a cap")):
        if name in stats and stats[name].sum() > 0:
            cards.append(_card(label.capitalize(), f"{stats[name].sum():.0f} in all.", plots.trace(stats[name], label)))
    return f'<h2>The run</h2><div class="cards">{"".join(cards)}</div>' if cards else ""


def _card(title: str, note: str, picture: str, keys: str = "") -> str:
    below = f'<p class="keys">{keys}</p>' if keys else ""
    return f'<div class="card"><h3>{_text(title)}</h3><p class="note">{_text(note)}</p>{picture}{below}</div>'


def _tuning(facts: Facts) -> str:
    if not facts.tuned:
        return ""
    rows = []
    for name, values in facts.tuned.items():
        text = np.array2string(np.asarray(values), precision=4, threshold=12, separator=", ", max_line_width=10_000)
        rows.append([_text(name), f"<code>{_text(' '.join(text.split()))}</code>"])
    return f"<h2>Tuning</h2>{_table(['parameter', 'set by the warm-up to'], rows, words=(1,))}"


def _provenance(facts: Facts) -> str:
    if not facts.provenance:
        return ""
    rows = "".join(
        f"<dt>{_text(name)}</dt><dd>{_text(words)}</dd>" for name, words in facts.provenance.items() if words
    )
    return f"<h2>Where it comes from</h2><dl>{rows}</dl>"
