"""Axes of a small picture in Scalable Vector Graphics, drawn as text; colours come from the style of the page."""

import html
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

__all__ = ["Axes", "ticks"]

CHAR = 5.6
"""About the width of a digit of a tick's label."""


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers in an interval, at steps of 1, 2 or 5 times a power of ten.

    Parameters
    ----------
    low, high
        The interval, ``low < high``, both finite.
    most
        Most of them.
    """
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    # Adding 0 turns -0.0 into 0.0.
    return [index * step + 0.0 for index in range(first, math.floor(high / step + 1e-9) + 1)]


class Axes:
    """A rectangle with scales, to which lines, points and bars are added.

    Parameters
    ----------
    width, height
        Of the picture, in pixels of a narrow screen; it grows with the column that it stands in.
    x, y
        Ranges of the data. One that is empty is widened.
    title
        What the picture shows: read aloud by screen readers.
    xlabel
        Under the axis.
    x_ticks, y_ticks
        Whether numbers stand along the axes.
    """

    def __init__(
        self,
        width: float,
        height: float,
        x: tuple[float, float],
        y: tuple[float, float],
        *,
        title: str,
        xlabel: str = "",
        x_ticks: bool = True,
        y_ticks: bool = True,
    ) -> None:
        self.width, self.height, self.title = width, height, title
        self._x, self._y = _widened(*x), _widened(*y)
        y_values = ticks(*self._y, most=4) if y_ticks else []
        labels = [_number(value) for value in y_values]
        self.left = 6 + (CHAR * max(map(len, labels)) + 4 if labels else 0)
        self.right, self.top = width - 6, 6
        self.bottom = height - 4 - (14 if x_ticks else 0) - (13 if xlabel else 0)
        self._parts: list[str] = []
        if x_ticks:
            for value in ticks(*self._x, most=5):
                self._parts.append(
                    f'<text class="t" x="{self.x(value):.1f}" y="{self.bottom + 13:.1f}" text-anchor="middle">'
                    f"{_number(value)}</text>"
                )
        for value, label in zip(y_values, labels, strict=True):
            at = self.y(value)
            self._parts.append(f'<path class="g" d="M{self.left:.1f} {at:.1f}H{self.right:.1f}"/>')
            self._parts.append(
                f'<text class="t" x="{self.left - 4:.1f}" y="{at + 3:.1f}" text-anchor="end">{label}</text>'
            )
        self._parts.append(f'<path class="a" d="M{self.left:.1f} {self.bottom:.1f}H{self.right:.1f}"/>')
        if xlabel:
            middle = (self.left + self.right) / 2
            self._parts.append(
                f'<text class="l" x="{middle:.1f}" y="{height - 4:.1f}" text-anchor="middle">{html.escape(xlabel)}</text>'
            )

    def x(self, value: float) -> float:
        """Return where a value lies from the left."""
        low, high = self._x
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return where a value lies from the top."""
        low, high = self._y
        return self.bottom - (value - low) / (high - low) * (self.bottom - self.top)

    def line(self, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], css: str) -> None:
        """Add a line; it is broken where a value is not finite."""
        pieces, pen = [], "M"
        for one, other in zip(np.asarray(x, float), np.asarray(y, float), strict=True):
            if not (math.isfinite(one) and math.isfinite(other)):
                pen = "M"
                continue
            pieces.append(f"{pen}{self.x(one):.1f} {self.y(other):.1f}")
            pen = "L"
        self._parts.append(f'<path class="{css}" d="{"".join(pieces)}"/>')

    def area(self, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], css: str) -> None:
        """Fill what lies between a line and the axis."""
        middle = "".join(f"L{self.x(one):.1f} {self.y(other):.1f}" for one, other in zip(x, y, strict=True))
        self._parts.append(
            f'<path class="{css}" d="M{self.x(x[0]):.1f} {self.bottom:.1f}{middle}L{self.x(x[-1]):.1f} {self.bottom:.1f}Z"/>'
        )

    def points(self, x: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], css: str, size: float = 1.4) -> None:
        """Add points: lines of length zero with round ends, which take a third of the text of circles."""
        places = "".join(f"M{self.x(one):.1f} {self.y(other):.1f}h0" for one, other in zip(x, y, strict=True))
        self._parts.append(f'<path class="{css}" stroke-width="{2 * size:g}" d="{places}"/>')

    def bars(self, edges: Sequence[float], heights: Sequence[float], css: str, base: float = 0.0) -> None:
        """Add bars between edges."""
        low = self.y(base)
        shapes = []
        for left, right, height in zip(edges[:-1], edges[1:], heights, strict=True):
            a, b, top = self.x(left), self.x(right), self.y(base + height)
            shapes.append(f"M{a + 0.4:.1f} {low:.1f}V{top:.1f}H{b - 0.4:.1f}V{low:.1f}Z")
        self._parts.append(f'<path class="{css}" d="{"".join(shapes)}"/>')

    def level(self, y: float, css: str = "d") -> None:
        """Add a horizontal line."""
        self._parts.append(f'<path class="{css}" d="M{self.left:.1f} {self.y(y):.1f}H{self.right:.1f}"/>')

    def text(self, x: float, y: float, words: str, css: str = "l", anchor: str = "start") -> None:
        """Add words, at pixels."""
        self._parts.append(
            f'<text class="{css}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(words)}</text>'
        )

    def content(self) -> str:
        """Return what has been added, without a frame of its own."""
        return "".join(self._parts)

    def svg(self) -> str:
        """Return the picture."""
        return framed(self.content(), self.width, self.height, self.title)


def framed(content: str, width: float, height: float, title: str) -> str:
    """Return a picture of its parts.

    Parameters
    ----------
    content
        Elements of SVG.
    width, height
        In pixels of a narrow screen.
    title
        What it shows.
    """
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{html.escape(title, quote=True)}">{content}</svg>'


def _widened(low: float, high: float) -> tuple[float, float]:
    if not (math.isfinite(low) and math.isfinite(high)):
        return 0.0, 1.0
    # As wide as rounding leaves it distinguishable at least.
    least = 1e-9 * max(abs(low), abs(high), 1e-290)
    return (low, high) if high - low > least else (low - max(abs(low), 1.0) / 2, high + max(abs(high), 1.0) / 2)


def _number(value: float) -> str:
    text = f"{value:.10g}" if 1e-4 <= abs(value) < 1e6 or value == 0 else f"{value:.3g}"
    return text.replace("-", "−")
