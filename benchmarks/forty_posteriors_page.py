"""The page of the guide on the forty posteriors, from the records of the benchmark."""

import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

HEAD = """# Forty real posteriors

The files of `examples/posteriors` write forty posteriors of [posteriordb](https://github.com/stan-dev/posteriordb) as
NumPyro models. Each has reference moments: of 37 they are exact, by quadrature or in closed form; of the other three they
come from ten long chains of Stan's NUTS. This page compares draws with them, and asks what an effective draw costs. It is
written by `benchmarks/forty_posteriors.py` from its records.

{missing}{summary}

## The table

Speeds are effective draws (the smallest bulk effective sample size over the parameters) for each second of the processor
during sampling, warm-up and compilation left out, as multiples of those of NumPyro's NUTS. The column *NUTS* has its own
effective draws a second, on the machine of the run. Errors are in standard errors, those of the draws and of the reference
combined: the largest over the parameters, and over the two ways in which our kernel ran.

| posterior | dim | our kernel | error of a mean | of all | NUTS, ESS/s | plug-in | compiled | NUTS, compiled | remark |
|---|--:|---|--:|--:|--:|--:|--:|--:|---|
"""

FOOT = """
- *plug-in*: the kernel inside `numpyro.infer.MCMC`, through {py:obj}`~ergodica.samplers.interop.numpyro.NumPyroKernel`;
  4 chains of 1000 draws.
- *compiled*: the same kernel by `ergodica.sample(..., host="numba")`; 4 chains of 10 000 draws, or of 80 000 where
  those had fewer than 1000 effective draws.
- *NUTS*: `numpyro.infer.NUTS(dense_mass=True)`; 4 chains of 1000 draws after 2000 steps of warm-up.
- *NUTS, compiled*: `blackjax.nuts` with the step size and mass matrix that NumPyro's warm-up has found, by
  `ergodica.sample(..., host="numba")`; 4 chains of 10 000 draws.
- *of all*: besides means also standard deviations and quantiles, where the reference has them. About {compared} numbers
  were compared for each way; the largest of so many standard normal errors is about {expected:.1f}.

Short names are those of the kernels: `Polar` is
{py:obj}`~ergodica.samplers.slicing.gibbsian_polar.GibbsianPolarSlice` with a centre and a Cholesky factor that 4000 steps of
warm-up learn from all chains, `Coordinate` is {py:obj}`~ergodica.samplers.slicing.coordinate.CoordinateSlice`.

## How to read it

**Why slices do well here.** Nearly all of these posteriors are close to normal once a linear map has made them round, and
have at most 13 dimensions. A polar slice then makes five or six evaluations of the density for a draw that is nearly
independent of the one before, and no gradient. NUTS makes as many evaluations with gradients, each two to three times as
dear. In a hundred dimensions the order is reversed; take NUTS there.

**Why the host matters more than the algorithm.** A density of a few hundred multiplications takes well below a microsecond
once compiled to a plain loop. Under XLA's CPU client each step of a chain is many small programs, whose dispatch costs more
than the arithmetic, for NUTS as for slices.

**Where slices are a poor choice.**
{poor}

**What was done for a fair comparison.** NUTS has a dense mass matrix, which NumPyro does not give by default: with the
default, regressions on raw predictors are far slower. The warm-up of both is left out. That of our kernels is cheap in
steps but learns a covariance from draws, and 1000 steps of it were too few for regressions with nearly collinear
predictors. Inside `numpyro.infer.MCMC` each chain tunes by itself, so a kernel that works with a covariance is better
tuned by `ergodica.sample`, which learns from all chains, and then handed to NumPyro; so it was done here. NUTS learns from
each chain alone, in fewer steps: where it takes many leapfrogs a draw, its warm-up has not made the posterior round.

**What speeds mean.** Seconds of the processor on a machine that others used too. Ratios between columns are good to some
twenty per cent; where a run took a few hundredths of a second, the cost of the call itself is a part of it.
"""

ALL = 40

STUCK = 1.1
"""R-hat beyond which effective draws mean nothing."""

SHORT = {"GibbsianPolarSlice": "Polar", "CoordinateSlice": "Coordinate"}


def load(folder: Path) -> list[dict[str, Any]]:
    """Return all records, in the order of the alphabet."""
    records = [json.loads(file.read_text(encoding="utf-8")) for file in folder.glob("*.json")]
    return sorted(records, key=lambda record: record["name"].lower())


def ratio(record: dict[str, Any], way: str, to: str = "nuts") -> float:
    """Return effective draws a second of a way to sample, relative to another; nothing where that is stuck."""
    runs = record["runs"]
    if runs[to]["rhat"] > STUCK:
        return float("nan")
    return runs[way]["ess_per_second"] / runs[to]["ess_per_second"]


def error(record: dict[str, Any], which: str) -> float:
    """Return the largest absolute error of our two runs, in standard errors."""
    return max(abs(record["runs"][way][which]["z"]) for way in ("plug-in", "compiled"))


def row(record: dict[str, Any]) -> str:
    runs = record["runs"]
    remarks = [record["remark"]] if record["remark"] else []
    if runs["compiled"]["ess"] < 0.02 * runs["compiled"]["draws"]:
        share = runs["compiled"]["draws"] / runs["compiled"]["ess"]
        remarks.append(f"slow mixing: {share:.0f} draws for an effective one")
    if runs["nuts"]["leapfrogs_per_draw"] > 20 and runs["nuts"]["rhat"] <= STUCK:
        remarks.append(f"NUTS takes {runs['nuts']['leapfrogs_per_draw']:.0f} leapfrogs a draw")
    if runs["nuts"]["divergences"]:
        remarks.append(f"NUTS diverges {runs['nuts']['divergences']} times")
    for way, words in (("nuts", "NUTS"), ("nuts-compiled", "compiled NUTS")):
        if abs(runs[way]["worst"]["z"]) > 5:
            remarks.append(f"{words} is off by {abs(runs[way]['worst']['z']):.0f} standard errors")
        if runs[way]["rhat"] > STUCK:
            remarks.append(f"{words} is stuck, R-hat {runs[way]['rhat']:.1f}")
    if not record["exact_reference"]:
        remarks.append("reference by Stan")
    cells = [record["name"].replace("_", r"\_"), str(record["dimension"]), SHORT[record["kernel"]]]
    cells += [f"{error(record, which):.1f}" for which in ("worst_mean", "worst")]
    cells.append("–" if runs["nuts"]["rhat"] > STUCK else _short(runs["nuts"]["ess_per_second"]))
    cells += [_short(ratio(record, way)) for way in ("plug-in", "compiled", "nuts-compiled")]
    return f"| {' | '.join([*cells, '; '.join(remarks)])} |"


def _wrapped(text: str) -> str:
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _short(value: float) -> str:
    if np.isnan(value):
        return "–"
    return f"{float(f'{value:.2g}'):g}" if value < 100 else f"{float(f'{value:.2g}'):.0f}"


def summary(records: list[dict[str, Any]]) -> str:
    """Return the main numbers in a paragraph."""
    middle = {way: float(np.nanmedian([ratio(record, way) for record in records])) for way in ("plug-in", "compiled")}
    like = float(np.nanmedian([ratio(record, "compiled", "nuts-compiled") for record in records]))
    means = max(error(record, "worst_mean") for record in records)
    sound = sum(record["runs"]["nuts"]["rhat"] <= STUCK for record in records)
    ahead = sum(ratio(record, "plug-in") > 1 for record in records)
    both = sum(ratio(record, "compiled", "nuts-compiled") > 1 for record in records)
    return _wrapped(
        f"**In short.** The largest error of a mean is {means:.1f} standard errors. On the same host, our kernel makes "
        f"more effective draws a second than NUTS on {ahead} of {sound} posteriors under XLA (in the median "
        f"{_short(middle['plug-in'])} times as many) and on {both} on the compiled host ({_short(like)} times as many). "
        f"On the compiled host it makes {_short(middle['compiled'])} times as many as NumPyro's NUTS under XLA."
    )


def poor(records: list[dict[str, Any]]) -> str:
    """Name the posteriors on which NUTS is faster on the same host."""
    found = sorted(
        (min(ratio(record, "plug-in"), ratio(record, "compiled", "nuts-compiled")), record["name"])
        for record in records
    )
    names = [f"`{name}` ({_short(value)})" for value, name in found if value < 1]
    if not names:
        return "On none of these is NUTS faster on the same host."
    return _wrapped(
        "NUTS is faster on the same host, of the two the one that favours it more, on "
        + ", ".join(names)
        + ": the number is our speed relative to it."
    )


def write(folder: Path, page: Path) -> None:
    """Write the page; with records missing, of those that there are."""
    records = load(folder)
    compared = sum(record["runs"]["compiled"]["compared"] for record in records)
    missing = ""
    if len(records) < ALL:
        missing = (
            f"**This page is incomplete:** {len(records)} of {ALL} posteriors have been run. The models of all are there "
            "and are tested; run the benchmark again to fill the table.\n\n"
        )
    text = (
        HEAD.format(missing=_wrapped(missing) + "\n\n" if missing else "", summary=summary(records))
        + "\n".join(map(row, records))
        + "\n"
    )
    # The median of the largest of n absolute normal errors.
    from scipy.stats import norm

    expected = float(norm.isf((1 - 0.5 ** (1 / compared)) / 2))
    foot = FOOT.replace("{compared}", str(compared)).replace("{expected:.1f}", f"{expected:.1f}")
    page.write_text(text + foot.replace("{poor}", poor(records)), encoding="utf-8")
