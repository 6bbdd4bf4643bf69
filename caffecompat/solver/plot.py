"""The logs of runs as a picture: losses, scores and the learning rate over iterations."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from caffecompat.errors import UnsupportedError, UsageError, quoted, shown
from caffecompat.formats import atomic_write
from caffecompat.solver.log_curves import Floats, arrays, output_name, train_losses
from caffecompat.solver.log_reader import RunLog

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMATS = (".png", ".svg", ".pdf")
MAX_TESTS = 12
# Values that lie further apart than this are drawn on a logarithmic axis.
WIDE = 100.0
COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#bcbd22", "#7f7f7f")
GREY = "#555555"
THIN: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.45}
THICK: dict[str, Any] = {"linewidth": 1.8}


@dataclass(frozen=True)
class _Line:
    """What is drawn: a name, its values, on which axis ("loss", "score" or "rate"), and how."""

    name: str
    x: Floats
    y: Floats
    axis: str
    style: dict[str, Any]


def plot_logs(logs: Sequence[RunLog], path: str | os.PathLike[str]) -> list[str]:
    """Draw logs into one picture: losses on the left axis, other test outputs and the learning rate on the right.

    Args:
        logs: what `read_log` gave.
        path: the file to write; its suffix (.png, .svg, .pdf) is the format.

    Returns:
        What was left out, in sentences.

    Raises:
        UsageError: the suffix is not known.
        UnsupportedError: matplotlib is not installed.
        CaffeCompatError: the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise UsageError(f"expected a name that ends in {', '.join(FORMATS)}, got {quoted(os.fspath(path))}")
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        hint = "pip install 'caffecompat[plot]'"
        raise UnsupportedError("plots need the package matplotlib", hint=hint) from error
    notes: list[str] = []
    lines = [line for index, log in enumerate(logs) for line in _lines_of(log, index, len(logs), notes)]
    figure = Figure(figsize=(11, 6.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        # Characters that the font lacks become boxes: no more is to be said.
        warnings.filterwarnings("ignore", message="Glyph")
        _draw(figure.subplots(), lines, ", ".join(log.file.name for log in logs))
        with atomic_write(path) as file:
            figure.savefig(file, format=suffix[1:])
    return notes


def _draw(left: Axes, lines: Sequence[_Line], title: str) -> None:
    left.set_title(shown(title), parse_math=False)
    left.set_xlabel("iteration")
    left.grid(alpha=0.25)
    axes: dict[str, Axes] = {"loss": left}
    drawn = []
    for line in lines:
        if line.axis not in axes:
            axes[line.axis] = left.twinx()
        drawn += axes[line.axis].plot(line.x, line.y, label=f" {line.name}", **line.style)
    for name, label in (("loss", "loss"), ("score", "test outputs"), ("rate", "learning rate")):
        values = [line.y for line in lines if line.axis == name]
        if values:
            axes[name].set_ylabel(label)
            _scale(axes[name], np.concatenate(values))
    if "score" in axes and "rate" in axes:
        axes["rate"].spines["right"].set_position(("outward", 55))
    legend = left.figure.legend(handles=drawn, loc="outside lower center", ncols=3, fontsize="small", frameon=False)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _scale(axis: Axes, values: Floats) -> None:
    values = values[np.isfinite(values)]
    if values.size and values.min() > 0 and values.max() > WIDE * values.min():
        axis.set_yscale("log")


def _lines_of(log: RunLog, index: int, count: int, notes: list[str]) -> list[_Line]:
    """The lines of one log. One log alone has a colour for each curve, several have one each."""
    of = f" ({shown(log.file.name)})" if count > 1 else ""
    own = COLOURS[index % len(COLOURS)] if count > 1 else None
    lines = []
    for loss in train_losses(log):
        style = {"color": own or COLOURS[0], **(THIN if loss.faint else THICK)}
        lines.append(_Line(loss.name + of, loss.x, loss.y, "loss", style))
    tests = [(output_name(output.net, output.name), output.curve, output.is_loss) for output in log.tests]
    tests += [(output_name(net, "total loss"), curve, True) for net, curve in sorted(log.test_loss.items())]
    for number, (name, curve, is_loss) in enumerate(tests[:MAX_TESTS], 1):
        style = {"linestyle": "--" if is_loss else "-.", "marker": "o" if is_loss else "^", "markersize": 3.5}
        style["color"] = own or COLOURS[number % len(COLOURS)]
        lines.append(_Line(name + of, *arrays(curve), "loss" if is_loss else "score", style))
    if len(tests) > MAX_TESTS:
        notes.append(f"{log.file}: {len(tests)} test outputs, of which the first {MAX_TESTS} are drawn")
    if log.rate:
        style = {"color": own or GREY, "linewidth": 0.7, "alpha": 0.7, "drawstyle": "steps-post"}
        lines.append(_Line("learning rate" + of, *arrays(log.rate), "rate", style))
    return lines
