"""Charts as SVG in the page: lines over a common axis, with a legend below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from caffecompat.cli.report.markup import Markup, element, join, number
from caffecompat.cli.report.scale import WIDE, Floats, Scale, fit, tick_text
from caffecompat.cli.report.style import COLOURS

WIDTH = 1030
HEIGHT = 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 30, 12, 40
# So many points have a mark each, which tells its values to whoever points at it.
MAX_MARKS = 60


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: what it is.
        x: rising.
        y: a value for each; where it is not finite the line has a gap.
        colour: the number of its colour.
        faint: it is the background of another line.
        dashed: it is dashed.
        steps: a value counts up to the next one.
    """

    name: str
    x: Floats
    y: Floats
    colour: int = 0
    faint: bool = False
    dashed: bool = False
    steps: bool = False


def chart(
    lines: Sequence[Line],
    *,
    label: str,
    x_label: str = "iteration",
    limits: tuple[float, float] | None = None,
    height: int = HEIGHT,
    wide: float = WIDE,
) -> Markup:
    """A chart of lines, with its legend.

    Args:
        lines: what is drawn.
        label: what the values are.
        x_label: what they are over.
        limits: the ends of the vertical axis; None as the values need it.
        height: in pixels.
        wide: values that lie so far apart, if all are positive, have a logarithmic axis.
    """
    low = height - _BOTTOM
    y = fit(np.concatenate([line.y for line in lines]), low, _TOP, wide)
    if limits is not None:
        y = Scale(*limits, low, _TOP)
    xs = np.concatenate([line.x for line in lines])
    first, last = (float(xs.min()), float(xs.max())) if xs.size else (0.0, 1.0)
    x = Scale(first, last if last > first else first + 1, _LEFT, WIDTH - _RIGHT)
    parts = [*_grid(x, y, x_label, label), *(part for line in lines for part in drawn(line, x, y))]
    picture = element("svg", *parts, viewBox=f"0 0 {WIDTH} {height}", width=WIDTH, role="img", aria_label=label)
    return element(
        "div",
        element("div", picture, class_="wide"),
        element("div", *map(_key, lines), class_="legend"),
        class_="chart",
    )


def drawn(line: Line, x: Scale, y: Scale) -> Iterator[Markup]:
    """A line on these axes, and marks on its points if it has few."""
    kinds = f"line line{line.colour % COLOURS}" + " faint" * line.faint + " dashed" * line.dashed
    with np.errstate(invalid="ignore"):
        shown = np.isfinite(line.y) & (line.y > 0 if y.log else True)
    places = np.stack([x(line.x), y(np.where(shown, line.y, 1.0))], 1)
    columns = int(abs(x.end - x.start))
    yield element("path", class_=kinds, d=" ".join(_paths(places, shown, columns, line.steps)))
    few = int(shown.sum()) <= MAX_MARKS and not line.faint and not line.steps
    for index in np.flatnonzero(shown) if few else ():
        told = f"{line.name}: {number(float(line.y[index]))} at {number(float(line.x[index]))}"
        left, top = places[index]
        yield element(
            "circle", element("title", told), class_=f"fill{line.colour % COLOURS}", cx=_at(left), cy=_at(top), r=3
        )


def _grid(x: Scale, y: Scale, x_label: str, label: str) -> Iterator[Markup]:
    """Ticks, their lines and values, and what the axes are."""
    for value, place in _ticks(y, 6):
        yield element("line", class_="grid", x1=x.start, x2=x.end, y1=_at(place), y2=_at(place))
        yield element("text", tick_text(value), x=x.start - 8, y=_at(place + 4), text_anchor="end")
    for value, place in _ticks(x, 8):
        yield element("line", class_="grid", x1=_at(place), x2=_at(place), y1=y.start, y2=y.start + 5)
        yield element("text", tick_text(value), x=_at(place), y=y.start + 19, text_anchor="middle")
    yield element("line", class_="grid", x1=x.start, x2=x.end, y1=y.start, y2=y.start)
    middle = (y.start + y.end) / 2
    yield element("text", x_label, x=(x.start + x.end) / 2, y=y.start + 36, text_anchor="middle")
    turned = f"rotate(-90 14 {_at(middle)})"
    scale = " (logarithmic)" if y.log else ""
    yield element("text", label + scale, x=14, y=_at(middle), text_anchor="middle", transform=turned)


def _ticks(scale: Scale, most: int) -> list[tuple[float, float]]:
    values = scale.ticks(most)
    return list(zip(values, scale(np.array(values, np.float64)).tolist(), strict=True))


def _paths(places: Floats, shown: np.ndarray[tuple[int], np.dtype[np.bool_]], columns: int, steps: bool) -> list[str]:
    """The path of each stretch without a gap."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], shown, [False])).astype(np.int8)))
    paths = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        part = thinned(places[start:end], columns)
        if steps and len(part) > 1:
            part = np.insert(part[1:], np.arange(len(part) - 1), np.stack([part[1:, 0], part[:-1, 1]], 1), axis=0)
            part = np.concatenate([places[start : start + 1], part])
        points = [f"{_at(left)} {_at(top)}" for left, top in part]
        # A point alone becomes a dash.
        paths.append(f"M{points[0]}" + ("h1" if len(points) == 1 else "L" + " ".join(points[1:])))
    return paths


def thinned(places: Floats, columns: int) -> Floats:
    """Points that look like all of them: of each column of pixels the first, lowest, highest and last.

    Args:
        places: (N, 2) in pixels, from left to right.
        columns: how many columns there are.
    """
    if len(places) <= 4 * columns:
        return places
    column = np.floor(places[:, 0] - places[0, 0]).astype(np.int64)
    starts = np.flatnonzero(np.diff(column, prepend=column[0] - 1))
    keep = set()
    for start, end in zip(starts.tolist(), [*starts[1:].tolist(), len(places)], strict=True):
        heights = places[start:end, 1]
        keep |= {start, end - 1, start + int(heights.argmin()), start + int(heights.argmax())}
    return places[sorted(keep)]


def _key(line: Line) -> Markup:
    kinds = f"line line{line.colour % COLOURS}" + " faint" * line.faint + " dashed" * line.dashed
    sample = element("svg", element("path", class_=kinds, d="M0 6L26 6"), width=26, height=12, aria_hidden="true")
    return element("span", join((sample, line.name)))


def _at(place: float) -> str:
    """A place in pixels."""
    return f"{place:.1f}"
