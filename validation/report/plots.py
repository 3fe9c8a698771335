"""The pictures of a report: traces, densities, ranks, pairs, the growth of effective draws, energies."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from ergodica.validation.report.svg import Axes, framed

__all__ = ["COLOURS", "density", "energy", "growth", "histogram", "pairs", "ranks", "trace"]

COLOURS = 6
"""Colours of the style, ``c0`` and so on; further chains begin anew."""

WIDTH, HEIGHT = 340.0, 130.0
POINTS = 350
MOST_SCATTERED = 400
MOST_RANKED = 8


def _css(chain: int) -> str:
    return f"s c{chain % COLOURS}"


def trace(values: Float[np.ndarray, "chains draws"], name: str) -> str:
    """Return the draws of each chain in order; of long chains the least and the largest of each stretch.

    Parameters
    ----------
    values
        Draws of one number.
    name
        Its name.
    """
    chains, count = values.shape
    axes = Axes(WIDTH, HEIGHT, (0, max(count - 1, 1)), _span(values), title=f"trace of {name}", xlabel="draw")
    for chain in range(chains):
        axes.line(*_envelope(values[chain]), _css(chain))
    return axes.svg()


def _envelope(values: Float[np.ndarray, " draws"]) -> tuple[np.ndarray, np.ndarray]:
    count = len(values)
    if count <= POINTS:
        return np.arange(count), values
    edges = np.linspace(0, count, POINTS // 2 + 1).astype(int)
    places, heights = [], []
    for first, last in itertools.pairwise(edges):
        part = values[first:last]
        finite = np.where(np.isfinite(part), part, np.nanmin(part) if np.any(np.isfinite(part)) else 0.0)
        for at in sorted((int(np.argmin(finite)), int(np.argmax(finite)))):
            places.append(first + at)
            heights.append(part[at])
    return np.asarray(places, float), np.asarray(heights)


def _span(values: np.ndarray) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def _smooth(values: Float[np.ndarray, " n"], low: float, high: float, bins: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """Return a kernel estimate of the density: a histogram convolved with a normal curve of Silverman's width."""
    values = values[np.isfinite(values)]
    counts, edges = np.histogram(values, bins=bins, range=(low, high))
    step = edges[1] - edges[0]
    quartiles = np.quantile(values, [0.25, 0.75]) if values.size else np.zeros(2)
    spread = min(float(values.std()), float(quartiles[1] - quartiles[0]) / 1.34) if values.size else 0.0
    width = max(0.9 * (spread or float(values.std()) if values.size else 1.0) * max(values.size, 1) ** -0.2, step)
    reach = int(np.ceil(4 * width / step))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / width) ** 2)
    padded = np.convolve(counts, weights / weights.sum())
    # What would lie beyond an end is reflected, so that a density that ends with a step shows it.
    out = padded[reach : reach + bins].copy()
    fold = min(reach, bins)
    out[:fold] += padded[reach - fold : reach][::-1]
    out[bins - fold :] += padded[reach + bins : reach + bins + fold][::-1]
    total = max(out.sum() * step, 1e-300)
    return (edges[:-1] + edges[1:]) / 2, out / total


def density(values: Float[np.ndarray, "chains draws"], name: str) -> str:
    """Return smoothed densities: of all draws, filled, and of each chain.

    Parameters
    ----------
    values
        Draws of one number.
    name
        Its name.
    """
    low, high = _span(values)
    low, high = (low, high) if high > low else (low - 0.5, high + 0.5)
    curves = [_smooth(chain, low, high) for chain in values]
    x, whole = _smooth(values.ravel(), low, high)
    top = max(float(whole.max()), *(float(curve.max()) for _, curve in curves))
    axes = Axes(WIDTH, HEIGHT, (low, high), (0, 1.05 * top), title=f"density of {name}", xlabel=name, y_ticks=False)
    axes.area(x, whole, "fill")
    for chain, (at, curve) in enumerate(curves):
        axes.line(at, curve, _css(chain))
    return axes.svg()


def ranks(values: Float[np.ndarray, "chains draws"], name: str, bins: int = 20) -> str:
    """Return for each chain how its draws rank among those of all chains: flat if the chains agree.

    Parameters
    ----------
    values
        Draws of one number.
    name
        Its name.
    bins
        Bars of each chain.

    Notes
    -----
    The line is the expected height. Of more than eight chains, those that are furthest from flat are shown. Rank plots:
    Vehtari et al. 2021, arXiv:1903.08008.
    """
    chains, count = values.shape
    order = np.argsort(np.argsort(values.ravel(), kind="stable"), kind="stable").reshape(chains, count)
    edges = np.linspace(0, values.size, bins + 1)
    counts = np.stack([np.histogram(row, bins=edges)[0] for row in order]) / (count / bins)
    shown = np.arange(chains)
    if chains > MOST_RANKED:
        far = np.sum((counts - 1) ** 2, axis=1)
        shown = np.sort(np.argsort(far)[::-1][:MOST_RANKED])
    title = f"ranks of {name}, a row for each chain"
    axes = Axes(
        WIDTH, HEIGHT, (0, values.size), (0, len(shown)), title=title, xlabel="rank among all draws", y_ticks=False
    )
    top = max(2.0, float(counts[shown].max()))
    for row, chain in enumerate(shown):
        base = len(shown) - 1 - row
        axes.bars(edges.tolist(), (counts[chain] / top * 0.92).tolist(), f"b c{chain % COLOURS}", base)
        axes.level(base + 0.92 / top)
    return axes.svg()


def pairs(
    values: Mapping[str, Float[np.ndarray, "chains draws"]], diverging: Bool[np.ndarray, "chains draws"] | None = None
) -> str:
    """Return scatter plots of each two numbers, densities on the diagonal, correlations above it.

    Parameters
    ----------
    values
        Draws by name; about four.
    diverging
        Draws whose trajectories have diverged: they stand out.
    """
    names = list(values)
    side, gap = 340.0 / len(names), 3.0
    flat = {name: draws.ravel() for name, draws in values.items()}
    marked = None if diverging is None else diverging.ravel()
    size = len(next(iter(flat.values())))
    picked = np.linspace(0, size - 1, min(size, MOST_SCATTERED)).astype(int)
    out = []
    for row, one in enumerate(names):
        for column, other in enumerate(names):
            place = f'<g transform="translate({column * side + gap:.1f} {row * side + gap:.1f})">'
            box = side - 2 * gap
            frame = f'<rect class="box" width="{box:.1f}" height="{box:.1f}" rx="3"/>'
            if row == column:
                low, high = _span(flat[one])
                x, curve = _smooth(flat[one], low, high if high > low else low + 1)
                axes = Axes(
                    box, box, (low, high), (0, 1.25 * float(curve.max())), title="", x_ticks=False, y_ticks=False
                )
                axes.area(x, curve, "fill")
                axes.text(5, 12, one if len(one) < box / 6 else f"{one[: int(box / 6) - 1]}…", "n")
            elif row > column:
                axes = Axes(box, box, _span(flat[other]), _span(flat[one]), title="", x_ticks=False, y_ticks=False)
                axes.points(flat[other][picked], flat[one][picked], "p c0")
                if marked is not None and np.any(marked):
                    wrong = np.flatnonzero(marked)[:MOST_SCATTERED]
                    axes.points(flat[other][wrong], flat[one][wrong], "p c1", 2.0)
            else:
                with np.errstate(invalid="ignore", divide="ignore"):
                    number = float(np.corrcoef(flat[one], flat[other])[0, 1]) if size > 1 else float("nan")
                words = f"{number:.2f}".replace("-", "−") if np.isfinite(number) else "undefined"
                out.append(
                    f'{place}<text class="r" x="{box / 2:.1f}" y="{box / 2 + 4:.1f}" text-anchor="middle">{words}</text></g>'
                )
                continue
            out.append(f"{place}{frame}{axes.content()}</g>")
    return framed("".join(out), 340, 340, f"pairs of {', '.join(names)}")


def growth(
    values: Mapping[str, Float[np.ndarray, "chains draws"]], wanted: float, steps: int = 12
) -> tuple[str, dict[str, tuple[float, float]]]:
    """Return how the effective numbers of draws grow with the draws: straight lines if all is well.

    Parameters
    ----------
    values
        Draws by name; about three.
    wanted
        The number that is enough.
    steps
        Points of each line.

    Returns
    -------
    picture, last
        The picture, and the effective numbers of all draws by name, in the bulk and in the tails.
    """
    import arviz_base
    import arviz_stats.base

    count = next(iter(values.values())).shape[1]
    lengths = np.unique(np.linspace(count / steps, count, steps).astype(int))
    lengths = lengths[lengths >= 8]
    ess = arviz_stats.base.array_stats.ess
    # The tails of the summary: those beyond the interval that it shows.
    tails = {"method": "tail", "prob": arviz_base.rcParams["stats.ci_prob"]}
    methods: tuple[dict[str, Any], ...] = ({"method": "bulk"}, tails)
    lines: dict[str, np.ndarray] = {}
    for name, draws in values.items():
        rows = [[float(ess(draws[:, :length], **method)) for length in lengths] for method in methods]
        lines[name] = np.array(rows).reshape(2, len(lengths))
    finite = np.concatenate([line[np.isfinite(line)] for line in lines.values()])
    top = max(1.1 * wanted, 1.05 * float(finite.max()) if finite.size else wanted)
    axes = Axes(
        WIDTH,
        170,
        (0, max(count, 1)),
        (0, top),
        title="growth of the effective numbers of draws",
        xlabel="draws of each chain",
    )
    axes.level(wanted)
    for number, (bulk, tail) in enumerate(lines.values()):
        axes.line(lengths, bulk, f"s2 c{number % COLOURS}")
        axes.line(lengths, tail, f"s2 dash c{number % COLOURS}")
    last = {name: (float(b[-1]), float(t[-1])) for name, (b, t) in lines.items() if len(lengths)}
    return axes.svg(), last


def histogram(values: Float[np.ndarray, "chains draws"], name: str) -> str:
    """Return a histogram of all draws; a bar for each integer if they are few.

    Parameters
    ----------
    values
        What each step reported.
    name
        Its name.
    """
    flat = values[np.isfinite(values)]
    low, high = _span(flat)
    if np.all(flat == np.round(flat)) and high - low <= 40:
        edges = np.arange(low - 0.5, high + 1)
    else:
        edges = np.linspace(low, high if high > low else low + 1, 31)
    counts, edges = np.histogram(flat, bins=edges)
    shares = counts / max(flat.size, 1)
    axes = Axes(
        WIDTH, HEIGHT, (edges[0], edges[-1]), (0, 1.05 * max(float(shares.max()), 1e-9)), title=name, xlabel=name
    )
    axes.bars(edges.tolist(), shares.tolist(), "b c0")
    return axes.svg()


def energy(values: Float[np.ndarray, "chains draws"]) -> str:
    """Return the density of the energy and, in the second colour, that of its changes from draw to draw.

    Parameters
    ----------
    values
        Energies.

    Notes
    -----
    Where the changes are much narrower, a momentum resampled at random moves the chain too little (Betancourt 2016,
    arXiv:1604.00695).
    """
    centred = (values - np.nanmean(values)).ravel()
    changes = np.diff(values, axis=1).ravel()
    low, high = _span(np.concatenate([centred, changes]))
    high = high if high > low else low + 1
    x, one = _smooth(centred, low, high)
    _, other = _smooth(changes, low, high)
    top = 1.05 * max(float(one.max()), float(other.max()))
    axes = Axes(WIDTH, HEIGHT, (low, high), (0, top), title="energy and its changes", xlabel="energy", y_ticks=False)
    axes.area(x, one, "fill")
    axes.line(x, one, "s2 c0")
    axes.line(x, other, "s2 c1")
    return axes.svg()


def legend(names: Sequence[str]) -> str:
    """Return the names of lines beside their colours."""
    import html

    return "".join(
        f'<span class="key"><i class="c{index % COLOURS}"></i>{html.escape(name)}</span>'
        for index, name in enumerate(names)
    )
