"""Making the page: reading logs, testing the net, and writing what both come to."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from caffecompat.cli.reading import check_read, device_of, open_reading_net, tell_skipped
from caffecompat.cli.report.class_section import class_section
from caffecompat.cli.report.classes import Classes
from caffecompat.cli.report.curves import training_section
from caffecompat.cli.report.detection_section import detection_section
from caffecompat.cli.report.detections import Detections, Settings
from caffecompat.cli.report.label_maps import MAX_CLASSES, LabelMaps, label_map_section
from caffecompat.cli.report.markup import Column, Content, element, number, table
from caffecompat.cli.report.names import Names, read_names
from caffecompat.cli.report.page import Section, render, write
from caffecompat.cli.report.passes import Passed, pass_batches
from caffecompat.cli.report.pictures import Pictures
from caffecompat.cli.report.scores import find_scores
from caffecompat.cli.scoring import Scoring
from caffecompat.errors import shown
from caffecompat.net import Net
from caffecompat.solver.log_reader import read_log

MAX_OUTPUTS = 60
# An output of more values is told by its number of values.
MAX_VALUES = 8

Fact = tuple[str, Content]


@dataclass(frozen=True)
class Tested:
    """The net that is to be tested, and the command's options."""

    model: Path
    weights: Path
    options: dict[str, Any]


def make_page(logs: Sequence[Path], tested: Tested | None, target: Path) -> int:
    """Write the page; its size in bytes.

    Raises:
        CaffeCompatError: a file cannot be read or written, or the net does not run.
    """
    read = [read_log(log) for log in logs]
    facts: list[Fact] = [("log", str(log)) for log in logs]
    sections = [training_section(read)] if read else []
    title = ", ".join(log.name for log in logs)
    if tested is not None:
        name, more, found = _test(tested)
        facts += more
        sections += found
        title = name or title or tested.weights.name
    page = render(shown(title), facts, sections)
    write(target, page)
    return len(page)


def _test(tested: Tested) -> tuple[str, list[Fact], list[Section]]:
    """The net's name, what was tested, and what came of it."""
    options = dict(tested.options)
    labels, version = options.pop("labels"), options.pop("ap_version")
    settings = Settings(version, options.pop("threshold"), options.pop("examples"))
    iterations, gpu = options.pop("iterations"), options.pop("gpu")
    net = open_reading_net(tested.model, tested.weights, device=device_of(gpu), **options)
    with closing(net):
        check_read(net)
        gatherers = _gatherers(net, options["root"], read_names(net.graph, labels), settings)
        scoring = Scoring(net, version)
        passed = pass_batches(net, scoring, [one for one, _ in gatherers], iterations)
        tell_skipped(net)
    facts: list[Fact] = [
        ("net", str(tested.model)),
        ("weights", str(tested.weights)),
        ("tested on", _amount(passed)),
    ]
    sections = [show(one) for one, show in gatherers]
    return net.graph.name, facts, [*sections, _outputs(scoring)]


def _amount(passed: Passed) -> str:
    text = _counted(passed.batches, "batch", "batches")
    if passed.items:
        text += f", {_counted(passed.items, 'item', 'items')}"
    again = f"; {passed.repeated} more of the last batch had come before, and count only in the outputs of the net"
    return text + (again if passed.repeated else "")


def _counted(count: int, one: str, many: str) -> str:
    return f"{number(count)} {one if count == 1 else many}"


def _gatherers(net: Net, root: Path | None, names: Names, settings: Settings) -> list[tuple[Any, Any]]:
    """What looks at the passes, each with what makes a section of it."""
    found: list[tuple[Any, Any]] = []
    for spec in net.graph.layers:
        if spec.type == "DetectionEvaluate":
            own = names.of_boxes(spec.message.detection_evaluate_param.background_label_id)
            detections = Detections(spec, Pictures(net, spec.bottoms[0], spec.bottoms[1], root), own, settings)
            found.append((detections, detection_section))
    scored = find_scores(net.graph, net.blob_shapes)
    if scored is None:
        return found
    pictures = Pictures(net, scored.scores, scored.labels, root)
    if scored.maps and scored.shape[1] <= MAX_CLASSES:
        found.append((LabelMaps(scored, pictures, names, settings.examples), label_map_section))
    elif scored.items:
        found.append((Classes(scored, pictures, names, settings.examples), class_section))
    return found


def _outputs(scoring: Scoring) -> Section:
    """The means of the outputs, as `caffecompat test` tells them."""
    rows: list[tuple[str, str, str]] = []
    for name, mean in list(scoring.means().items())[:MAX_OUTPUTS]:
        weight = scoring.weights.get(name, 0.0)
        values = ", ".join(number(value) for value in mean[:MAX_VALUES])
        more = f", ... ({len(mean)} values)" if len(mean) > MAX_VALUES else ""
        rows.append((shown(name), values + more, number(weight) if weight else ""))
    rows += [(shown(name), "its size changes from batch to batch", "") for name in scoring.uneven[:MAX_OUTPUTS]]
    columns = [Column("output"), Column("mean over the batches", True), Column("weight in the loss", True)]
    parts: list[Content] = []
    if rows:
        parts.append(table(columns, rows))
    if scoring.weights:
        parts.append(element("p", f"Loss: {number(scoring.loss)}"))
    if not parts:
        parts.append(element("p", "The net has no outputs but detections.", class_="note"))
    return Section("Outputs of the net", parts)
