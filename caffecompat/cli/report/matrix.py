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


def pairs(counts: Counts, names: Names, nothing: str = "", most: int = MAX_PAIRS) -> Markup | None:
    """The most frequent mistakes as a list; None if there are none."""
    wrong: Counter[tuple[Class, Class]] = Counter({pair: n for pair, n in counts.items() if pair[0] != pair[1]})
    totals: Counter[Class] = Counter()
    for (true, _), count in counts.items():
        totals[true] += count

    def name(label: Class) -> str:
        return names(label) if label is not None else nothing

    rows = [
        (name(true), name(answer), number(count), f"{count / totals[true]:.1%}")
        for (true, answer), count in wrong.most_common(most)
    ]
    columns = [Column("true"), Column("taken for"), Column("times", True), Column("of the class", True)]
    return table(columns, rows) if rows else None


def confusion(counts: Counts, names: Names, nothing: str | None = None) -> list[Content]:
    """A matrix, or of many classes a list."""
    classes = {label for pair in counts for label in pair if label is not None}
    if len(classes) <= MAX_CLASSES:
        return [matrix(counts, names, nothing)]
    note = f"Of {len(classes)} classes, the {MAX_PAIRS} most frequent mistakes:"
    return [element("p", note, class_="note"), pairs(counts, names, nothing or "")]
