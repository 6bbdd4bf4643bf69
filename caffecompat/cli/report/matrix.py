"""Confusion matrices: what classes are taken for, as a table or, of many classes, as a list."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from caffecompat.cli.report.markup import Column, Content, Markup, element, number, table
from caffecompat.cli.report.names import Names

# Matrices of more classes than these are lists.
MAX_CLASSES = 40
# Of more classes than these the titles of columns are turned, unless all are short.
TURNED = 8
SHORT = 4
MAX_PAIRS = 25
# A full cell is no darker than this, for the number in it is to be read.
DARKEST = 0.55

Class = int | None
Counts = Mapping[tuple[Class, Class], int]


def matrix(counts: Counts, names: Names, nothing: str | None = None) -> Markup:
    """A table with a row for each true class and a column for each answer, shaded by the row's shares.

    Args:
        counts: how often a true class (first) got an answer (second); None stands for nothing.
        names: what classes are called.
        nothing: what None is called, in the last row and column; None if it does not occur.
    """
    classes = sorted({label for pair in counts for label in pair if label is not None})
    labels: list[Class] = [*classes, *([None] if nothing is not None else [])]

    def name(label: Class) -> str:
        return names(label) if label is not None else nothing or ""

    titles = (element("th", name(label)) for label in labels)
    many = "many" if len(labels) > TURNED and max(len(name(label)) for label in labels) > SHORT else None
    head = element("tr", element("th", "true \\ answer", class_="corner"), *titles, class_=many)
    rows = [element("tr", element("th", name(true)), *_cells(counts, true, labels)) for true in labels]
    whole = element("table", element("thead", head), element("tbody", *rows), class_="matrix")
    return element("div", whole, class_="wide")


def _cells(counts: Counts, true: Class, answers: Sequence[Class]) -> list[Markup]:
    total = sum(counts.get((true, answer), 0) for answer in answers) or 1
    cells = []
    for answer in answers:
        count = counts.get((true, answer), 0)
        kind = "right" if true == answer else "wrong"
        shade = f"background: rgba(var(--{kind}), {DARKEST * count / total:.2f})" if count else None
        cells.append(element("td", number(count) if count else None, style=shade))
    return cells


def pairs(counts: Counts, names: Names, most: int = MAX_PAIRS) -> Markup | None:
    """The classes that are taken for each other most, as a list; None if none is."""
    totals: Counter[Class] = Counter()
    wrong: Counter[tuple[int, int]] = Counter()
    for (true, answer), count in counts.items():
        totals[true] += count
        if true is not None and answer is not None and true != answer:
            wrong[true, answer] += count
    rows = [
        (names(true), names(answer), number(count), f"{count / totals[true]:.1%}")
        for (true, answer), count in wrong.most_common(most)
    ]
    columns = [Column("true"), Column("taken for"), Column("times", True), Column("of the class", True)]
    return table(columns, rows) if rows else None


def confusion(counts: Counts, names: Names, nothing: str | None = None) -> list[Content]:
    """A matrix, or of many classes a list of which are taken for which, and how often nothing was taken for one."""
    classes = {label for pair in counts for label in pair if label is not None}
    if len(classes) <= MAX_CLASSES:
        return [matrix(counts, names, nothing)]
    listed = pairs(counts, names)
    note = f"Of {len(classes)} classes, those taken for each other most:" if listed else "None is taken for another."
    parts: list[Content] = [element("p", note, class_="note"), listed]
    if nothing is not None:
        missed = sum(count for (_, answer), count in counts.items() if answer is None)
        extra = sum(count for (true, _), count in counts.items() if true is None)
        said = f"Besides, {number(missed)} were missed, and {number(extra)} found where there is only {nothing}."
        parts.append(element("p", said))
    return parts
