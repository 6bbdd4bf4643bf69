"""The part of the page on classified pictures."""

from __future__ import annotations

from collections import Counter

from caffecompat.cli.report.classes import Classes, Mistake
from caffecompat.cli.report.markup import Column, Content, Markup, bar, decimals, element, number, table
from caffecompat.cli.report.matrix import MAX_CLASSES, MAX_PAIRS, matrix, pairs
from caffecompat.cli.report.names import Names
from caffecompat.cli.report.page import Section, Tile
from caffecompat.cli.report.pictures import called, figure, gallery
from caffecompat.errors import shown

# Of more classes than these the worst have a row.
MAX_ROWS = 60
# Where a matrix shows all mistakes, so many are listed too.
BESIDE_MATRIX = 10


def class_section(found: Classes) -> Section:
    """What was gathered, as a part of the page."""
    title = f"Classes ({shown(found.scored.scores.name)})"
    if not found.items:
        return Section(title, [element("p", "No label is one of the classes.", class_="note")])
    accuracy = found.right / found.items
    classes = len({true for true, _ in found.counts})
    tiles = [Tile(decimals(accuracy), "accuracy", f"{number(found.items)} items, {classes} classes")]
    parts: list[Content] = [
        element(
            "p",
            f"{number(found.right)} of {number(found.items)} items have their highest score in the blob ",
            element("em", shown(found.scored.scores.name)),
            " for what they are.",
        ),
        *_classes(found),
        element("h3", "Confusion"),
    ]
    labels = {label for pair in found.counts for label in pair}
    few = len(labels) <= MAX_CLASSES
    if few:
        parts.append(matrix(found.counts, found.names))
    listed = pairs(found.counts, found.names, most=BESIDE_MATRIX if few else MAX_PAIRS)
    if listed is not None:
        parts += [element("h3", "Most frequent mistakes"), listed, *_mistakes(found)]
    else:
        parts.append(element("p", "There was no mistake.", class_="note"))
    return Section(title, parts, tiles)


def _classes(found: Classes) -> list[Content]:
    """A row for each class: how many items, and how many of them right."""
    totals: Counter[int] = Counter()
    for (true, _), count in found.counts.items():
        if true is not None:
            totals[true] += count
    shares = {label: found.counts[label, label] / total for label, total in totals.items()}
    labels = sorted(shares)
    parts: list[Content] = [element("h3", "Accuracy of each class")]
    if len(labels) > MAX_ROWS:
        labels = sorted(labels, key=lambda label: shares[label])[:MAX_ROWS]
        parts.append(element("p", f"The {MAX_ROWS} lowest of {len(shares)} classes.", class_="note"))
    columns = [Column("class"), Column("accuracy"), Column("items", True), Column("right", True)]
    rows = [
        (found.names(label), bar(shares[label]), number(totals[label]), number(found.counts[label, label]))
        for label in labels
    ]
    return [*parts, table(columns, rows)]


def _mistakes(found: Classes) -> list[Content]:
    parts: list[Content] = [
        element("h3", "Worst mistakes"),
        element("p", "Those whose score is the furthest above that of the true class, as the net sees them."),
    ]
    if found.pictures.fault:
        parts.append(element("p", found.pictures.fault, class_="note"))
    return [*parts, gallery(_figure(one, found.names) for one in found.mistakes)]


def _figure(one: Mistake, names: Names) -> Markup:
    said = f"taken for {names(one.answer)}: {decimals(one.score)}"
    told = f"{names(one.true)} {said}"
    pictures = [one.picture.svg(told)] if one.picture is not None else []
    return figure(pictures, f"true {names(one.true)}: {decimals(one.true_score)}", said, called(one.key))
