"""Where boxes and ways lie: straight where they can be, and folded into columns where a net is long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt

from caffecompat.cli.draw.canvas import Point
from caffecompat.cli.draw.layering import Layering

SWEEPS = 12
# Between neighbours in a rank: two boxes, and what passes.
_APART, _PASSING = 22.0, 16.0
# Below a box stands the shape of its blob, then ways may bend.
LABEL = 15.0
_BEND = 26.0
_LANE = 7.0
_GUTTER = 30.0
# What a folded drawing's width is to its height, about.
_ASPECT = 1.5
# A drawing that is no higher stays in one column.
_SHORT = 640.0
# How far from an even share a column may end, to cut few ways.
_SLACK = 0.25
# A way from one passing place to another is to be straight rather than one to a box.
_STRAIGHT = 8.0


@dataclass(frozen=True)
class Placed:
    """Where everything is.

    Attributes:
        boxes: of each box its left, top, width and height.
        ways: of each way between neighbouring ranks its points.
        width: of all.
        height: of all.
    """

    boxes: list[tuple[float, float, float, float]]
    ways: list[tuple[Point, ...]]
    width: float
    height: float


def place(made: Layering, sizes: Sequence[tuple[float, float]], outputs: Sequence[Sequence[int]]) -> Placed:
    """Places for a layering.

    Args:
        made: the layering.
        sizes: the width and height of each box.
        outputs: the indices of the wires that begin at each box, from the left.
    """
    widths = [size[0] for size in sizes] + [0.0] * len(made.wire)
    x = _across(made, widths)
    tall = [max((sizes[p][1] for p in rank if p < len(sizes)), default=0.0) for rank in made.ranks]
    bands = _bands(made, tall, max(x, default=0.0) - min(x, default=0.0))
    return _Folded(made, sizes, outputs, widths, x, tall, bands).placed()


def _across(made: Layering, widths: Sequence[float]) -> list[float]:
    """The middle of each place: near those of its neighbours, ranks in turn."""
    boxes = len(made.rank) - len(made.wire)
    x = [0.0] * len(made.rank)
    above: list[list[int]] = [[] for _ in x]
    below: list[list[int]] = [[] for _ in x]
    for start, end, _ in made.ways:
        above[end].append(start)
        below[start].append(end)
    gaps = []
    for rank in made.ranks:
        apart = [
            (widths[a] + widths[b]) / 2 + (_PASSING if a >= boxes or b >= boxes else _APART) for a, b in pairwise(rank)
        ]
        gaps.append([0.0, *apart])
        _settle(rank, gaps[-1], [0.0] * len(rank), [1.0] * len(rank), x)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        levels = range(len(made.ranks)) if down else range(len(made.ranks) - 1, -1, -1)
        for level in levels:
            wanted, weights = [], []
            for p in made.ranks[level]:
                near = above[p] if down else below[p]
                if SWEEPS - 4 <= sweep < SWEEPS - 2 and len(above[p]) + len(below[p]) > 2:
                    near = above[p] + below[p]
                pulls = [_STRAIGHT if p >= boxes and other >= boxes else 1.0 for other in near]
                total = sum(pulls)
                middle = sum(x[o] * pull for o, pull in zip(near, pulls, strict=True)) / total if near else x[p]
                wanted.append(middle)
                weights.append(total if near else 0.1)
            _settle(made.ranks[level], gaps[level], wanted, weights, x)
    return x


def _settle(
    rank: Sequence[int], gaps: Sequence[float], wanted: Sequence[float], weights: Sequence[float], x: list[float]
) -> None:
    """Set the places of a rank as near as can be to those wanted, in their order and apart by the gaps.

    The least sum of weighted squares: with the gaps taken off an isotonic regression, which pooling solves.
    """
    pools: list[tuple[float, float, int]] = []
    begin, begins = 0.0, []
    for gap, middle, weight in zip(gaps, wanted, weights, strict=True):
        begin += gap
        begins.append(begin)
        pool = (middle - begin, weight, 1)
        while pools and pools[-1][0] >= pool[0]:
            value, other, count = pools.pop()
            heavy = other + pool[1]
            pool = ((value * other + pool[0] * pool[1]) / heavy, heavy, count + pool[2])
        pools.append(pool)
    index = 0
    for value, _, count in pools:
        for _ in range(count):
            x[rank[index]] = value + begins[index]
            index += 1


def _bands(made: Layering, tall: Sequence[float], width: float) -> list[range]:
    """The ranks of each column: cut where few ways are cut, about evenly."""
    steps = [height + LABEL + _BEND for height in tall]
    whole = sum(steps)
    if whole <= _SHORT:
        return [range(len(tall))]
    count = max(round(sqrt(_ASPECT * whole / (width + 200 + 2 * _GUTTER))), 1)
    cut = [len(wires) for wires in _leaving(made)]
    bands, first, done = [], 0, 0.0
    for number in range(1, count):
        share, reached = whole * number / count, done
        best, fewest = None, 0.0
        for level in range(first, len(tall) - 1):
            reached += steps[level]
            off = abs(reached - share) / (whole / count)
            cost = cut[level] + 2 * off
            if off <= _SLACK and (best is None or cost < fewest):
                best, fewest = level, cost
        if best is not None:
            done += sum(steps[first : best + 1])
            bands.append(range(first, best + 1))
            first = best + 1
    return [*bands, range(first, len(tall))]


def _leaving(made: Layering) -> list[list[int]]:
    """Of each rank the wires that go on to the next, each once."""
    wires: list[dict[int, None]] = [{} for _ in made.ranks]
    for start, _, wire in made.ways:
        wires[made.rank[start]][wire] = None
    return [list(own) for own in wires]


class _Folded:
    """The columns side by side."""

    def __init__(
        self,
        made: Layering,
        sizes: Sequence[tuple[float, float]],
        outputs: Sequence[Sequence[int]],
        widths: Sequence[float],
        x: Sequence[float],
        tall: Sequence[float],
        bands: Sequence[range],
    ) -> None:
        self._made, self._sizes, self._outputs, self._tall = made, sizes, outputs, tall
        self._band = [number for number, band in enumerate(bands) for _ in band]
        # The wires from each column to the next, those from the left first.
        leaving = _leaving(made)
        starts = {(made.rank[start], wire): x[start] for start, _, wire in made.ways}
        ends: dict[tuple[int, int], list[float]] = defaultdict(list)
        for _, end, wire in made.ways:
            ends[made.rank[end], wire].append(x[end])
        self._between = [
            sorted(leaving[level], key=lambda wire: (starts[level, wire], sum(ends[level + 1, wire])))
            for level in (band[-1] for band in bands if len(band))
        ]
        self._lane = {(band, wire): n for band, own in enumerate(self._between) for n, wire in enumerate(own)}
        lanes = max(map(len, self._between), default=0) * _LANE
        self._top = lanes + _LANE if len(bands) > 1 else 0.0
        self._gutters: list[float] = []
        self._x = list(x)
        left = 0.0
        for band, ways in zip(bands, self._between, strict=True):
            places = [p for level in band for p in made.ranks[level]]
            first = min((x[p] - widths[p] / 2 for p in places), default=0.0)
            last = max((x[p] + widths[p] / 2 for p in places), default=0.0)
            for p in places:
                self._x[p] = x[p] - first + left
            left += last - first
            self._gutters.append(left + _GUTTER / 2)
            left += _GUTTER + len(ways) * _LANE
        self._width = left - _GUTTER
        self._tops = [0.0] * len(tall)
        self._bottom = 0.0
        for band in bands:
            y = self._top
            for level in band:
                self._tops[level] = y
                y += tall[level] + LABEL + _BEND
            self._bottom = max(self._bottom, y - _BEND)
        self._lanes = lanes

    def placed(self) -> Placed:
        """All of it."""
        boxes = [
            (self._x[p] - width / 2, self._tops[self._made.rank[p]], width, height)
            for p, (width, height) in enumerate(self._sizes)
        ]
        starts, ends = self._ports()
        ways = []
        for index, (start, end, wire) in enumerate(self._made.ways):
            top, below = self._tops[self._made.rank[start]], self._tops[self._made.rank[end]]
            bottom = top + self._tall[self._made.rank[start]] + LABEL
            begin = (starts[index], top + self._sizes[start][1] if start < len(self._sizes) else top)
            target = (ends[index], below)
            band = self._band[self._made.rank[start]]
            if band < self._band[self._made.rank[end]]:
                points = self._around(begin, target, band, self._lane[band, wire])
            else:
                points = (begin, *_curve((starts[index], bottom), target))
            ways.append(points)
        height = self._bottom + (self._lanes + 2 * _LANE if self._lanes else 0.0)
        return Placed(boxes, ways, self._width, height)

    def _ports(self) -> tuple[list[float], list[float]]:
        """Where each way leaves its box, and where it comes to the next one."""
        starts, ends = [0.0] * len(self._made.ways), [0.0] * len(self._made.ways)
        shares = {wire: (number + 0.5) / len(own) - 0.5 for own in self._outputs for number, wire in enumerate(own)}
        arriving = defaultdict(list)
        for index, (start, end, wire) in enumerate(self._made.ways):
            starts[index] = self._x[start]
            if start < len(self._sizes):
                starts[index] += shares[wire] * self._sizes[start][0]
            arriving[end].append(index)
        for end, ways in arriving.items():
            ways.sort(key=lambda index: starts[index])
            width = self._sizes[end][0] if end < len(self._sizes) else 0.0
            for number, index in enumerate(ways):
                ends[index] = self._x[end] + ((number + 0.5) / len(ways) - 0.5) * width * 0.8
        return starts, ends

    def _around(self, begin: Point, target: Point, band: int, number: int) -> tuple[Point, ...]:
        """From the foot of a column through the gap beside it to the head of the next: none crosses another."""
        inner = (len(self._between[band]) - number) * _LANE
        low, beside = self._bottom + inner, self._gutters[band] + inner
        high = self._top - (number + 1) * _LANE
        return (begin, (begin[0], low), (beside, low), (beside, high), (target[0], high), target)


def _curve(start: Point, end: Point) -> tuple[Point, ...]:
    """From one point down to another, upright at both."""
    if abs(start[0] - end[0]) < 0.5:
        return start, end
    points = []
    for step in range(11):
        t = step / 10
        # A cubic whose control points lie upright between the ends.
        across = 3 * t * t - 2 * t * t * t
        down = 1.5 * t * (1 - t) * (1 - t) + 1.5 * t * t * (1 - t) + t * t * t
        points.append((start[0] + (end[0] - start[0]) * across, start[1] + (end[1] - start[1]) * down))
    return tuple(points)
