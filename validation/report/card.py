"""Evidence cards: for each kernel its claim, the checks behind it with their figures, and pictures, on one page."""

import datetime
import html
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ergodica.samplers.claim import Claim
from ergodica.validation.pictures import Picture, picture_record
from ergodica.validation.report.card_plots import picture_of
from ergodica.validation.report.style import STYLE

if TYPE_CHECKING:
    from ergodica.validation.certify import Report
    from ergodica.validation.evidence import Evidence

__all__ = ["card", "card_record", "evidence_page"]

MOST_PICTURES = 6
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"

CARD_STYLE = """
.index { display: flex; flex-wrap: wrap; gap: 6px 8px; margin: 16px 0 0; padding: 0; list-style: none; font-size: 13.5px; }
.index a { display: block; padding: 2px 10px; border: 1px solid var(--faint); border-radius: 999px; background: var(--paper);
  color: var(--ink); text-decoration: none; }
.index a.bad { border-color: var(--bad); color: var(--bad); font-weight: 600; }
.index a:hover { border-color: var(--c0); }
.evidence { margin-top: 34px; padding-top: 18px; border-top: 1px solid var(--faint); scroll-margin-top: 10px; }
.evidence h2 { margin: 0 0 2px; font-size: 19px; overflow-wrap: anywhere; }
.evidence .claim { color: var(--soft); margin-bottom: 6px; }
.evidence .source { overflow-wrap: anywhere; }
.badge { display: inline-block; vertical-align: 2px; margin-left: 8px; padding: 1px 9px; border-radius: 999px; font-size: 12.5px;
  font-weight: 600; background: var(--good-ground); color: var(--good); }
.badge.bad { background: var(--bad-ground); color: var(--bad); }
.verdict.some { background: var(--paper); color: var(--ink); border: 1px solid var(--faint); }
.badge.some { background: var(--faint); color: var(--soft); }
.evidence .verdict { margin: 12px 0 0; }
.evidence .wide { margin-top: 12px; }
.evidence td:first-child { white-space: normal; max-width: none; min-width: 200px; }
.why { color: var(--soft); font-size: 13px; margin: 12px 0 0; padding-left: 18px; }
.why li { margin: 2px 0; overflow-wrap: anywhere; }
@media (max-width: 480px) { .evidence td:first-child { min-width: 150px; max-width: 52vw; } }
"""


def evidence_page(
    reports: "Mapping[str, Report]", *, title: str = "Evidence", made_by: Mapping[str, Any] | None = None
) -> str:
    """Return the cards of many kernels as one page of HTML that needs nothing else.

    Parameters
    ----------
    reports
        What ``certify`` returned, by name.
    title
        Heading of the page.
    made_by
        What is needed to repeat the run: versions, seed. Shown at the foot.
    """
    records = [record for report in reports.values() for record in report.evidence]
    failed = [name for name, report in reports.items() if report.failures]
    bare = [name for name, report in reports.items() if not report.failures and not report.passed]
    links = "".join(
        f'<li><a href="#{_anchor(name)}"{" class=bad" if name in failed else ""}>{_text(name)}</a></li>'
        for name in reports
    )
    parts = [
        f"<h1>{_text(title)}</h1>",
        '<p class="lead">What each kernel and rule claims, and what the checks of the claim have found.</p>',
        _verdict(failed, bare),
        _tiles(reports, records),
        f'<ul class="index">{links}</ul>' if len(reports) > 1 else "",
        *(card(name, report) for name, report in reports.items()),
    ]
    made = {"made": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC", **(made_by or {})}
    foot = ", ".join(f"{key} {value}" for key, value in made.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_text(title)}</title><style>{STYLE}{CARD_STYLE}</style></head><body><main>"
        + "\n".join(part for part in parts if part)
        + f"<footer>{_text(foot)}. A passed check is no proof: an exact one covers the targets that it enumerates, a "
        "statistical one sees errors above the size that its sample resolves.</footer></main></body></html>\n"
    )


def card(name: str, report: "Report") -> str:
    """Return the card of one kernel as a section of HTML.

    Parameters
    ----------
    name
        Its name.
    report
        What ``certify`` returned.
    """
    claim = report.claim
    state, words = _badge(report)
    parts = [f'<h2>{_text(name)}<span class="badge{state}">{words}</span></h2>']
    if claim is not None:
        parts.append(f'<p class="claim">Claim: {_text(claim)}.</p><p>{_text(_sentence(claim.statement))}</p>')
        if claim.source:
            parts.append(f'<p class="note source">{_text(claim.source)}</p>')
    if report.failures:
        rows = "".join(f"<li>{_text(f'{record.check}: {record.details}')}</li>" for record in report.failures)
        parts.append(f'<div class="verdict bad"><strong>What is wrong</strong><ul>{rows}</ul></div>')
    if report.evidence:
        parts.append(_checks(report.evidence))
    parts.append(_reasons(report))
    parts.append(_pictures([picture for record in report.evidence for picture in record.pictures]))
    return f'<section class="evidence" id="{_anchor(name)}">{"".join(part for part in parts if part)}</section>'


def card_record(name: str, report: "Report") -> dict[str, Any]:
    """Return what a card shows as numbers and words, fit for JSON.

    Parameters
    ----------
    name
        Name of the kernel.
    report
        What ``certify`` returned.
    """
    claim: Claim | None = report.claim
    return {
        "name": name,
        "passed": report.passed,
        "false_alarm": report.false_alarm,
        "claim": None if claim is None else claim.to_record(),
        "checks": [{"kind": record.kind, **_finite(record.to_record())} for record in report.evidence],
        "pictures": [picture_record(picture) for record in report.evidence for picture in record.pictures],
        "picked": dict(report.picked),
        "left_out": dict(report.left_out),
        "skipped": list(report.skipped),
    }


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in row.items()}


def _text(value: Any) -> str:
    return html.escape(str(value), quote=True)


def _anchor(name: str) -> str:
    return "card-" + "".join(letter if letter.isalnum() else "-" for letter in name)


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:].rstrip('.')}."


def _number(value: float) -> str:
    return f"{value:.2g}".replace("-", "−") if math.isfinite(value) else "not finite"


def _chance(value: float | None) -> str:
    if value is None:
        return "unknown"
    return "0, exact" if value == 0 else f"{value:.0e}".replace("-", "−")


def _badge(report: "Report") -> tuple[str, str]:
    if report.failures:
        return " bad", "fails"
    if not report.passed:
        return " some", "no evidence"
    return (" some", "certified in part") if report.skipped else ("", "certified")


def _verdict(failed: Sequence[str], bare: Sequence[str]) -> str:
    if not failed and not bare:
        return '<div class="verdict"><strong>Every claim has passed its checks.</strong></div>'
    rows = [f"{name} fails" for name in failed]
    rows += [f"No evidence in this run of {', '.join(bare)}"] if bare else []
    head = f"{len(failed)} {'fails' if len(failed) == 1 else 'fail'}." if failed else "Not everything has been checked."
    items = "".join(f"<li>{_text(row)}</li>" for row in rows)
    return f'<div class="verdict {"bad" if failed else "some"}"><strong>{head}</strong><ul>{items}</ul></div>'


def _tiles(reports: "Mapping[str, Report]", records: "Sequence[Evidence]") -> str:
    kinds = [record.kind for record in records]
    alarm = math.fsum(report.false_alarm for report in reports.values())
    rows = [
        (str(len(reports)), "kernels and rules"),
        (f"{sum(record.passed for record in records)} of {len(records)}", "checks passed"),
        (str(kinds.count("exact")), "exact: nothing left to chance"),
        (str(kinds.count("statistical")), "statistical, with a proven level"),
        (_chance(alarm), "chance that right ones show a failure"),
        (f"{math.fsum(record.seconds for record in records):.0f} s", "of checking"),
    ]
    cells = "".join(
        f'<div class="tile"><b>{_text(number)}</b><span>{_text(label)}</span></div>' for number, label in rows
    )
    return f'<div class="tiles">{cells}</div>'


def _checks(records: "Sequence[Evidence]") -> str:
    head = "".join(f"<th>{word}</th>" for word in ("check", "verdict", "statistic", "bound", "false alarm", "time"))
    rows = []
    for record in records:
        verdict = '<span class="ok">pass</span>' if record.kind != "diagnostic" else "diagnostic"
        verdict = verdict if record.passed else '<span class="off">fail</span>'
        cells = [
            _text(record.check),
            verdict,
            _number(record.statistic),
            _number(record.bound),
            _chance(record.false_alarm),
            f"{record.seconds:.1f} s",
        ]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table></div>'


def _reasons(report: "Report") -> str:
    rows = [f"{check}: picked, because {why}" for check, why in report.picked.items()]
    rows += [f"{kind}: left out, because {why}" for kind, why in report.left_out.items()]
    rows += [f"{name}: skipped, over budget" for name in report.skipped]
    return f'<ul class="why">{"".join(f"<li>{_text(row)}</li>" for row in rows)}</ul>' if rows else ""


def _pictures(pictures: Sequence[Picture]) -> str:
    if not pictures:
        return ""
    cards = []
    for title, words, drawing in map(picture_of, pictures[:MOST_PICTURES]):
        cards.append(f'<div class="card"><h3>{_text(title)}</h3><p class="note">{_text(words)}</p>{drawing}</div>')
    more = len(pictures) - MOST_PICTURES
    rest = f'<p class="note">and {more} more in the JSON record</p>' if more > 0 else ""
    return f'<div class="cards">{"".join(cards)}</div>{rest}'
