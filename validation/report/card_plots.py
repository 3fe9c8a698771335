"""The pictures of an evidence card: flows between states, distribution functions with their band, ranks."""

import html

import numpy as np
from jaxtyping import Float
from scipy import special

from ergodica.validation.calibration.ecdf_band import ecdf_band
from ergodica.validation.pictures import Flows, Picture, RankCounts, UniformCounts
from ergodica.validation.report.svg import Axes, framed

__all__ = ["COVERAGE", "picture_of"]

COVERAGE = 0.95
"""Of the bands: one right sampler in twenty leaves one, which is why no verdict is taken from the picture."""

WIDTH, HEIGHT = 340.0, 130.0
LEVELS = 8
MOST_LABELLED = 8
LONGEST_LABEL = 7
BALANCED = 1e-12


def picture_of(picture: Picture) -> tuple[str, str, str]:
    """Return the title, the words below it, and the drawing of a check's numbers.

    Parameters
    ----------
    picture
        The numbers.
    """
    if isinstance(picture, Flows):
        return _flows(picture)
    if isinstance(picture, UniformCounts):
        return _uniform(picture)
    return _ranks(picture)


def _cells(values: Float[np.ndarray, "n n"], side: float, left: float, css: str) -> str:
    """Return a square for every positive entry, in a few depths of one colour."""
    top = float(values.max(initial=0.0))
    size = side / len(values)
    parts = []
    # The square root keeps small flows visible.
    depth = (
        np.ceil(LEVELS * np.sqrt(np.maximum(values, 0.0) / top)).astype(int) if top > 0 else np.zeros_like(values, int)
    )
    for level in range(1, LEVELS + 1):
        places = np.argwhere(depth == level)
        if len(places):
            shapes = "".join(
                f"M{left + column * size:.1f} {12 + row * size:.1f}h{size:.2f}v{size:.2f}h-{size:.2f}z"
                for row, column in places
            )
            parts.append(f'<path class="{css}" style="fill-opacity:{level / LEVELS:.3g}" d="{shapes}"/>')
    return f'<rect class="box" x="{left:.1f}" y="12" width="{side:.1f}" height="{side:.1f}"/>{"".join(parts)}'


def _text(x: float, y: float, words: str, css: str = "t", anchor: str = "start") -> str:
    return f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'


def _flows(picture: Flows) -> tuple[str, str, str]:
    flows = picture.flows
    count = len(flows)
    labels = picture.labels
    labelled = count <= MOST_LABELLED and max(map(len, labels)) <= LONGEST_LABEL
    margin = 6 + 5.6 * max(map(len, labels)) if labelled else 2.0
    side = (WIDTH - margin - 14) / 2
    net = flows - flows.T
    imbalance = float(np.abs(net).max())
    balanced = imbalance <= BALANCED
    parts = [
        _text(margin, 8, "flow from row to column", "l"),
        _text(margin + side + 14, 8, "net flow", "l"),
        _cells(flows, side, margin, "b c0"),
        _cells(np.zeros_like(net) if balanced else np.maximum(net, 0.0), side, margin + side + 14, "b c1"),
    ]
    if balanced:
        parts.append(_text(margin + 1.5 * side + 14, 12 + side / 2, "none", "l", "middle"))
    if labelled:
        for index, label in enumerate(labels):
            middle = (index + 0.5) * side / count
            parts.append(_text(margin - 4, 15 + middle, label, anchor="end"))
            for left in (margin, margin + side + 14):
                parts.append(_text(left + middle, 23 + side, label, anchor="middle"))
    height = side + (28 if labelled else 16)
    words = f"{count} states. Largest difference of flow and flow back: {imbalance:.2g}"
    words += ", rounding." if balanced else f"; the largest flow is {flows.max():.2g}."
    title = f"Flows on {picture.name}"
    return title, words, framed("".join(parts), WIDTH, height, f"{title}: a square for each pair of states")


def _uniform(picture: UniformCounts) -> tuple[str, str, str]:
    cells = len(picture.counts) + 1
    band = ecdf_band(picture.size, cells, 1 - COVERAGE)
    low, high = band.differences
    seen = picture.counts / picture.size - band.points
    reach = 1.15 * max(float(np.abs(seen).max(initial=0.0)), float(high.max()), float(-low.min()))
    title = f"Distribution of {picture.name}"
    axes = Axes(WIDTH, HEIGHT, (0, 1), (-reach, reach), title=title, xlabel="probability under the target")
    ends = np.concatenate([[0.0], band.points, [1.0]])
    for limit in (low, high):
        axes.line(ends, np.concatenate([[0.0], limit, [0.0]]), "s dash c5")
    axes.level(0.0)
    axes.line(ends, np.concatenate([[0.0], seen, [0.0]]), "s2 c0")
    outside = int(np.sum(~((band.lower <= picture.counts) & (picture.counts <= band.upper))))
    words = f"Share of {picture.size} values below, minus what it should be. "
    words += "Inside the band everywhere" if outside == 0 else f"Outside the band at {outside} of {cells - 1} points"
    words += f"; {band.coverage:.1%} of right samplers are inside."
    return title, words, axes.svg()


def _ranks(picture: RankCounts) -> tuple[str, str, str]:
    counts = np.asarray(picture.counts, float)
    size, length = counts.sum(), len(counts)
    expected = size / length
    # Binomial limits for all ranks together, by a union bound.
    tail = (1 - COVERAGE) / (2 * length)
    limits = [float(special.bdtrik(level, size, 1 / length)) for level in (tail, 1 - tail)]
    top = 1.1 * max(float(counts.max()), limits[1])
    title = f"Ranks of {picture.name}"
    axes = Axes(WIDTH, HEIGHT, (0, length), (0, top), title=title, xlabel="rank", y_ticks=False)
    axes.bars(list(range(length + 1)), counts.tolist(), "b c0")
    axes.level(expected)
    for limit in limits:
        axes.line(np.array([0.0, length]), np.array([limit, limit]), "s dash c5")
    outside = int(np.sum((counts < limits[0]) | (counts > limits[1])))
    words = f"Of {size:.0f} replicates. " + (
        "All bars end between the dashed lines."
        if outside == 0
        else f"Bars that do not end between the lines: {outside}."
    )
    return title, words, axes.svg()
