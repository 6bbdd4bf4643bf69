"""A net as one page that needs no other file: the drawing, a search, and what is known of each layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import caffecompat
from caffecompat.cli.draw.canvas import Drawing
from caffecompat.cli.draw.details import Details, axes
from caffecompat.cli.draw.netdrawing import by
from caffecompat.cli.draw.script import SCRIPT
from caffecompat.cli.draw.style import STYLE
from caffecompat.cli.draw.subject import THRESHOLD, Passed, Subject
from caffecompat.cli.draw.svg import inline
from caffecompat.cli.report.markup import Column, Content, Markup, decimals, element, join, number, table
from caffecompat.cli.report.page import whole
from caffecompat.cli.report.pictures import Mark, Thumbnail
from caffecompat.cli.report.style import COLOURS
from caffecompat.errors import printable, shown
from caffecompat.graph.spec import LayerSpec

_COLUMNS = ("layer", "type", "output", "parameters", "multiply-adds", "sees", "stride")
_NUMBERS = 3
# Of the names of a layer's blobs so many letters are searched.
_SEARCHED = 2000
MOST_BOXES = 30


def net_page(subject: Subject, drawing: Drawing, facts: Sequence[tuple[str, str]]) -> bytes:
    """The page of a net.

    Args:
        subject: the net, and what is known of it.
        drawing: it drawn.
        facts: what it was made from, as names and values.
    """
    details = Details(subject)
    title = shown(subject.graph.name) or "A net"
    rows = (element("tr", element("td", name), element("td", value)) for name, value in facts)
    parts: list[Content] = [
        element("h1", title),
        element("div", element("table", element("tbody", *rows), class_="facts"), class_="wide"),
        *(_passed(subject.passed) if subject.passed else ()),
        _tools(len(subject.graph.layers)),
        element(
            "main",
            element("div", inline(drawing), id="drawing"),
            element(
                "aside",
                element("p", "Choose a layer, in the drawing or in the table below.", id="hint"),
                *(details.article(spec) for spec in subject.graph.layers),
                id="details",
            ),
        ),
        element("h2", "Layers"),
        _table(subject),
        element("footer", f"caffecompat {caffecompat.__version__}"),
    ]
    return whole(title, join(parts), style=STYLE, script=SCRIPT)


def _tools(layers: int) -> Markup:
    """The search, and the buttons that make the drawing larger and smaller."""
    told = "Search: words of names, types and blobs"
    return element(
        "div",
        element("input", id="search", type="search", placeholder=told, aria_label=told, autocomplete="off"),
        element("span", f"{layers} layers", id="count", role="status"),
        *(element("button", text, id=name, type="button") for name, text in _BUTTONS),
        id="tools",
    )


_BUTTONS = (("smaller", "smaller"), ("larger", "larger"), ("fit", "fit to width"))


def _table(subject: Subject) -> Markup:
    head = (element("th", name, class_="number" if at >= _NUMBERS else None) for at, name in enumerate(_COLUMNS))
    rows = []
    for spec in subject.graph.layers:
        cells = (
            element("td", cell, class_="number" if at >= _NUMBERS else None)
            for at, cell in enumerate(_cells(subject, spec))
        )
        rows.append(element("tr", *cells, data_layer=spec.index, data_search=_searched(spec)))
    whole_table = element("table", element("thead", element("tr", *head)), element("tbody", *rows))
    return element("div", whole_table, class_="wide")


def _cells(subject: Subject, spec: LayerSpec) -> Iterator[str]:
    yield shown(spec.name)
    yield spec.type
    yield " ".join(by(subject.shapes[key]) for key in spec.tops[:4] if key in subject.shapes)
    if not subject.costs:
        yield from ("",) * 4
        return
    cost = subject.costs[spec.index]
    yield number(cost.parameters) if cost.parameters else ""
    yield number(cost.multiply_adds) if cost.multiply_adds else ""
    yield axes(cost.receptive_field) if cost.receptive_field else ""
    yield axes(cost.stride) if cost.stride else ""


def _searched(spec: LayerSpec) -> str:
    """What a search looks through, in small letters."""
    names = dict.fromkeys([spec.name, spec.type, *(key.name for key in (*spec.bottoms, *spec.tops))])
    return printable(" ".join(names).lower())[:_SEARCHED]


def _passed(passed: Passed) -> Iterator[Content]:
    """What a picture gave."""
    yield element("h2", "The picture")
    marks = [
        Mark(_fractions(box.box, passed), f"{shown(box.name or str(box.label))} {box.score:.2f}", box.label % COLOURS)
        for box in sorted(passed.boxes, key=lambda box: -box.score)[:MOST_BOXES]
    ]
    parts: list[Content] = [Thumbnail(passed.picture).svg(f"the picture {shown(passed.name)}", marks)]
    if passed.best:
        rows = [(row["rank"], row["class"], shown(row["name"]), decimals(row["score"])) for row in passed.best]
        parts.append(table([Column("rank", True), Column("class", True), Column("name"), Column("score", True)], rows))
    if passed.boxes:
        more = f" The {MOST_BOXES} best are drawn." if len(passed.boxes) > MOST_BOXES else ""
        count = f"{len(passed.boxes)} {'box' if len(passed.boxes) == 1 else 'boxes'}"
        parts.append(element("p", f"{count} with a score of {THRESHOLD:g} or more.{more}"))
    yield element("div", *parts, class_="passed")


def _fractions(box: Sequence[float], passed: Passed) -> list[float]:
    """A box in pixels as parts of the picture's sides."""
    height, width = passed.picture.shape[:2]
    return [edge / side for edge, side in zip(box, (width, height, width, height), strict=True)]
