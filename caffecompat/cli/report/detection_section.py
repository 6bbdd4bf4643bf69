"""The part of the page on detections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from caffecompat.cli.report.chart import Line, drawn
from caffecompat.cli.report.detections import Detections, Example, class_colour
from caffecompat.cli.report.markup import Column, Content, Markup, bar, decimals, element, number, table
from caffecompat.cli.report.matrix import confusion
from caffecompat.cli.report.names import Names
from caffecompat.cli.report.page import Section, Tile
from caffecompat.cli.report.pictures import called, figure, gallery
from caffecompat.cli.report.scale import Scale
from caffecompat.detection.average_precision import Detected, mean_of, precision_recall
from caffecompat.errors import shown

# Of more classes than these, so many have a curve, those of the lowest average precision.
MAX_CURVES = 100
MAX_CLASSES = 1000
_SIDE = 230
_VERSIONS = {
    "11point": "the mean of the precisions at 11 recalls (VOC 2007)",
    "MaxIntegral": "the area under the curve made falling (VOC 2012, ILSVRC)",
    "Integral": "the area under the curve",
}


def detection_section(found: Detections) -> Section:
    """What was gathered, as a part of the page."""
    by_label, of_labels = found.precisions.by_label(), found.precisions.of_labels()
    ordered = sorted(by_label, key=lambda label: -by_label[label])
    names, threshold = found.names, found.settings.threshold
    mean = mean_of(by_label)
    empty = any(not own.positives for own in of_labels.values())
    boxes = sum(own.positives for own in of_labels.values())
    tiles = [
        Tile(decimals(mean), "mean average precision", f"{found.settings.version}, {len(by_label)} classes"),
        Tile(number(found.images), "images tested", f"{number(boxes)} boxes to find"),
    ]
    parts: list[Content] = [
        element(
            "p",
            f"Average precision here is {_VERSIONS[found.settings.version]}; a detection is right if it ",
            f"overlaps a box of its class by {found.param.overlap_threshold:g} at least that none of a higher score ",
            f"has taken. Precision and recall are those of the detections with a score of {threshold:g} or more.",
        ),
        element("h3", "Average precision"),
        _classes(ordered[:MAX_CLASSES], by_label, of_labels, names, threshold),
        _none("Classes without boxes count as 0 in the mean, as in Caffe.") if empty else None,
        element("h3", "Precision over recall"),
        *_curves(ordered, by_label, of_labels, names),
        element("h3", "Confusion"),
        element(
            "p",
            f"Detections with a score of {threshold:g} or more against the boxes they lie on, whatever the ",
            "class. In the row of the background are detections where nothing is, in its column missed boxes.",
        ),
        *(
            confusion(found.confusion, names, "background")
            if found.confusion
            else [_none("There is nothing to count.")]
        ),
        *_examples(found),
    ]
    return Section(f"Detections ({shown(found.spec.name)})", parts, tiles)


def _none(text: str) -> Markup:
    return element("p", text, class_="note")


def _classes(
    labels: Sequence[int], by_label: Mapping[int, float], of_labels: Mapping[int, Detected], names: Names, least: float
) -> Markup:
    """A row for each class, the best first."""
    columns = [Column("class"), Column("average precision")]
    columns += [Column(title, True) for title in ("boxes", "detections", "right", "precision", "recall")]
    rows = []
    for label in labels:
        own = of_labels[label]
        sure = own.scores >= least
        count, right = int(sure.sum()), int((sure & own.true).sum())
        precision = decimals(right / count) if count else ""
        recall = decimals(right / own.positives) if own.positives else ""
        counts = (number(own.positives), number(count), number(right))
        rows.append((names(label), bar(by_label[label], class_colour(label)), *counts, precision, recall))
    return table(columns, rows)


def _curves(
    ordered: Sequence[int], by_label: Mapping[int, float], of_labels: Mapping[int, Detected], names: Names
) -> list[Content]:
    """A small chart for each class."""
    drawn_labels = [label for label in ordered if len(of_labels[label].scores) and of_labels[label].positives]
    parts: list[Content] = []
    if len(drawn_labels) > MAX_CURVES:
        drawn_labels = drawn_labels[-MAX_CURVES:]
        parts.append(_none(f"Those of the {MAX_CURVES} classes of the lowest average precision."))
    if not drawn_labels:
        return [_none("No class has both boxes and detections.")]
    return [*parts, gallery(_curve(label, by_label[label], of_labels[label], names) for label in drawn_labels)]


def _curve(label: int, value: float, own: Detected, names: Names) -> Markup:
    precision, recall = precision_recall(own.scores, own.true, own.positives)
    x, y = Scale(0, 1, 30, _SIDE - 8), Scale(0, 1, _SIDE - 56, 8)
    parts = []
    for tick in (0.0, 0.5, 1.0):
        place = float(y(np.array(tick)))
        parts.append(element("line", class_="grid", x1=x.start, x2=x.end, y1=place, y2=place))
        parts.append(element("text", f"{tick:g}", class_="small", x=x.start - 5, y=place + 4, text_anchor="end"))
        place = float(x(np.array(tick)))
        parts.append(element("text", f"{tick:g}", class_="small", x=place, y=y.start + 15, text_anchor="middle"))
    # The first point stands at its own precision, so that a curve of a single detection is seen.
    line = Line(
        names(label),
        np.concatenate(([0.0], recall.astype(np.float64))),
        np.concatenate((precision[:1], precision)).astype(np.float64),
        class_colour(label),
    )
    # A chart so small has no marks on points.
    parts.append(next(drawn(line, x, y)))
    told = f"precision over recall of {names(label)}"
    picture = element("svg", *parts, viewBox=f"0 0 {_SIDE} {_SIDE - 34}", width=_SIDE, role="img", aria_label=told)
    return figure([picture], f"{names(label)}  {decimals(value)}")


def _examples(found: Detections) -> list[Content]:
    """Pictures: the worst and the best."""
    names, pictures = found.names, found.pictures
    least = f"{found.settings.threshold:g}"
    kinds: list[tuple[str, Iterable[Markup], str]] = [
        (
            "Wrong detections of the highest scores",
            [_figure(one, names, _wrong(one, names)) for one in found.wrong],
            "No detection was wrong.",
        ),
        (
            "Missed boxes",
            [_figure(one, names, _missed(one)) for one in found.missed],
            f"Every box was found with a score of {least} or more.",
        ),
        (
            "Right detections of the highest scores",
            [
                _figure(one, names, f"score {decimals(one.score or 0)}, overlap {one.overlap:.2f}")
                for one in found.right
            ],
            "No detection was right.",
        ),
    ]
    parts: list[Content] = [
        element("h3", "Pictures"),
        element(
            "p",
            "As the net sees them. Green: the boxes to find. In colour: the detection, with its score; thin: others ",
            f"with a score of {least} or more.",
        ),
    ]
    if pictures.fault:
        parts.append(_none(pictures.fault))
    for title, figures, none in kinds:
        shown_figures = list(figures)
        parts.append(element("h3", title))
        parts.append(gallery(shown_figures) if shown_figures else _none(none))
    return parts


def _figure(one: Example, names: Names, said: str) -> Markup:
    title = names(one.label)
    told = f"{title}: {said}, on picture {shown(one.key)}"
    pictures = [one.picture.svg(told, one.marks)] if one.picture is not None else []
    return figure(pictures, title, said, called(one.key))


def _wrong(one: Example, names: Names) -> str:
    if one.over is None:
        where = f"overlap {one.overlap:.2f} only" if one.overlap > 0 else "nothing there"
    elif one.over == one.label:
        where = "a box that is found already"
    else:
        where = f"it is {names(one.over)}"
    return f"score {decimals(one.score or 0)}: {where}"


def _missed(one: Example) -> str:
    return "not found" if one.score is None else f"found with {decimals(one.score)} only"
