"""The part of the page on logs: losses, what the test nets gave, the learning rate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from caffecompat.cli.report.chart import Line, chart
from caffecompat.cli.report.markup import Column, Content, element, number, table
from caffecompat.cli.report.page import Section, Tile
from caffecompat.cli.report.scale import WIDE
from caffecompat.errors import shown
from caffecompat.solver.log_curves import arrays, output_name, train_losses
from caffecompat.solver.log_reader import Curve, RunLog

# Of the test nets' outputs so many are drawn.
MAX_TESTS = 14
MAX_LISTED = 100
RATE_HEIGHT = 170
# The first losses are far above all others, which lie on one line without a logarithmic axis.
LOSS_WIDE = 20.0
# Rates fall by steps of ten.
RATE_WIDE = 9.0


def training_section(logs: Sequence[RunLog]) -> Section:
    """What logs show; several are drawn over each other, a colour each."""
    losses = [line for index, log in enumerate(logs) for line in _losses(log, index, _of(log, logs))]
    scores = [line for index, log in enumerate(logs) for line in _scores(log, index, _of(log, logs))]
    rates = [
        Line(f"learning rate{_of(log, logs)}", *arrays(log.rate), colour=_colour(index, logs, 6), steps=True)
        for index, log in enumerate(logs)
        if log.rate
    ]
    parts: list[Content] = []
    for title, lines, label in (("Loss", losses, "loss"), ("Test outputs", scores, "test outputs")):
        if lines:
            limits, wide = (_limits(lines), WIDE) if lines is scores else (None, LOSS_WIDE)
            parts += [element("h3", title), chart(lines[: 2 * MAX_TESTS], label=label, limits=limits, wide=wide)]
        if len(lines) > 2 * MAX_TESTS:
            parts.append(element("p", f"{len(lines)} curves, of which {2 * MAX_TESTS} are drawn.", class_="note"))
    if rates:
        parts += [element("h3", "Learning rate"), chart(rates, label="rate", height=RATE_HEIGHT, wide=RATE_WIDE)]
    tests = [row for log in logs for row in _rows(log, _of(log, logs))]
    if tests:
        parts += [element("h3", "Tests"), _table(tests)]
    else:
        parts.append(element("p", "The log shows no test.", class_="note"))
    return Section("Training", parts, _tiles(logs))


def _of(log: RunLog, logs: Sequence[RunLog]) -> str:
    """What tells the curves of a log from those of others."""
    return f" ({shown(log.file.name)})" if len(logs) > 1 else ""


def _colour(index: int, logs: Sequence[RunLog], alone: int) -> int:
    return index if len(logs) > 1 else alone


def _losses(log: RunLog, index: int, of: str) -> Iterator[Line]:
    """The losses of training and of tests."""
    for loss in train_losses(log):
        yield Line(loss.name + of, loss.x, loss.y, index, faint=loss.faint)
    outputs = [(output_name(one.net, one.name), one.curve) for one in log.tests if one.is_loss]
    outputs += [(output_name(net, "total loss"), curve) for net, curve in sorted(log.test_loss.items())]
    for place, (name, curve) in enumerate(outputs, 1):
        yield Line(name + of, *arrays(curve), index if of else place, dashed=True)


def _scores(log: RunLog, index: int, of: str) -> Iterator[Line]:
    """The other outputs of tests."""
    outputs = [one for one in log.tests if not one.is_loss]
    for place, one in enumerate(outputs):
        colour = index if of else place
        yield Line(output_name(one.net, one.name) + of, *arrays(one.curve), colour, dashed=bool(of) and place % 2 == 1)


def _limits(lines: Sequence[Line]) -> tuple[float, float] | None:
    """The axis of shares, such as accuracies, from 0 to 1."""
    values = np.concatenate([line.y for line in lines])
    values = values[np.isfinite(values)]
    return (0.0, 1.0) if values.size and values.min() >= 0 and values.max() <= 1 else None


Row = tuple[str, bool, Curve]


def _rows(log: RunLog, of: str) -> Iterator[Row]:
    for one in log.tests:
        yield output_name(one.net, one.name) + of, one.is_loss, one.curve
    for net, curve in sorted(log.test_loss.items()):
        yield output_name(net, "total loss") + of, True, curve


def _table(rows: Sequence[Row]) -> Content:
    """Of each output its first, best and last value; the best of a loss is the lowest."""
    columns = [Column("output"), Column("first", True), Column("best", True), Column("at iteration", True)]
    lines = []
    for name, is_loss, curve in rows[:MAX_LISTED]:
        best = _best(curve, is_loss)
        top = (number(best[0]), number(best[1])) if best else ("", "")
        lines.append((name, number(curve.values[0]), *top, number(curve.values[-1])))
    return table([*columns, Column("last", True)], lines)


def _best(curve: Curve, is_loss: bool) -> tuple[float, int] | None:
    """The best value, and its iteration."""
    _, found = arrays(curve)
    places = np.flatnonzero(np.isfinite(found))
    if not places.size:
        return None
    place = int(places[found[places].argmin() if is_loss else found[places].argmax()])
    return curve.values[place], curve.iterations[place]


def _tiles(logs: Sequence[RunLog]) -> Sequence[Tile]:
    """Of one log: how long it was, its last loss, and the last of its first scores."""
    if len(logs) != 1:
        return ()
    log = logs[0]
    tiles = []
    ends = [curve.iterations[-1] for curve in (log.smoothed, *(one.curve for one in log.tests)) if curve]
    if ends:
        tiles.append(Tile(number(max(ends)), "iterations"))
    if log.smoothed:
        tiles.append(Tile(number(log.smoothed.values[-1]), "last loss", f"first {number(log.smoothed.values[0])}"))
    for one in [one for one in log.tests if not one.is_loss][:2]:
        best = _best(one.curve, False)
        note = f"best {number(best[0])} at {number(best[1])}" if best else ""
        tiles.append(Tile(number(one.curve.values[-1]), f"last {output_name(one.net, one.name)}", note))
    return tiles
