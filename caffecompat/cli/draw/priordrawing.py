"""Prior boxes as a drawing and as a page: a panel for each layer, a colour for each box of its cell."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

import caffecompat
from caffecompat.cli.draw import svg
from caffecompat.cli.draw.canvas import PRIOR_COLOURS, Box, Drawing, Group, Item, Line, Picture, Text, shortened
from caffecompat.cli.draw.netdrawing import MARGIN, heading, moved
from caffecompat.cli.draw.priors import CellPriors, Priors
from caffecompat.cli.report.markup import Column, Content, Markup, element, join, number, table
from caffecompat.cli.report.page import whole
from caffecompat.errors import printable, shown

_COLUMNS = 3
# The side of a panel; the picture's longer side takes this share of it, boxes may reach beyond.
_SIDE, _SHARE = 330.0, 0.72
_GAP = 26.0
# Of a layer with more boxes at a place the first are named.
_NAMED = 12
_LEGEND_COLUMNS = 3
# The lines between cells are drawn if there are no more.
_MOST_LINES = 80


def draw_priors(priors: Priors) -> Drawing:
    """A panel for each layer: the picture, the cell, its boxes."""
    on = "the picture" if priors.picture is not None else "the net's input"
    count = len(priors.layers)
    facts = [
        f"{number(priors.count)} prior boxes in {count} {'layer' if count == 1 else 'layers'}",
        f"those of one cell each, in pixels of {on}, {priors.width}x{priors.height}",
    ]
    columns = min(count, _COLUMNS)
    width = max(columns * (_SIDE + _GAP) - _GAP, 560.0)
    head, top = heading(f"{shown(priors.name) or 'a net'}: prior boxes", facts, [], width)
    groups, y = [moved(head, MARGIN, MARGIN)], top + MARGIN
    for begin in range(0, count, columns):
        row = priors.layers[begin : begin + columns]
        for index, cell in enumerate(row):
            groups.append(moved(_panel(priors, cell), MARGIN + index * (_SIDE + _GAP), y))
        y += _SIDE + 44 + 16 * max(_legend_rows(cell) for cell in row) + _GAP
    title = f"{shown(priors.name) or 'a net'}: {number(priors.count)} prior boxes"
    return Drawing(width + 2 * MARGIN, y - _GAP + MARGIN, groups, title)


def told(cell: CellPriors) -> str:
    """How many boxes a layer has."""
    return f"{cell.rows}x{cell.columns} cells x {len(cell.sizes)} = {number(cell.count)} priors"


def _legend_rows(cell: CellPriors) -> int:
    return -(-min(len(cell.sizes), _NAMED) // _LEGEND_COLUMNS)


def _panel(priors: Priors, cell: CellPriors) -> Group:
    """A layer's part of the drawing."""
    items: list[Item] = [
        Text(0, 12, shortened(printable(cell.spec.name), "name", _SIDE), "name", width=_SIDE),
        Text(0, 28, told(cell), "note", width=_SIDE),
        *(moved(Group(tuple(_picture(priors, cell))), 0, 36).items),
    ]
    for index, (width, height) in enumerate(cell.drawn[:_NAMED]):
        x, y = index % _LEGEND_COLUMNS * _SIDE / _LEGEND_COLUMNS, 44 + _SIDE + index // _LEGEND_COLUMNS * 16
        items.append(Line(((x, y + 5), (x + 14, y + 5)), f"prior{index % len(PRIOR_COLOURS)}"))
        items.append(Text(x + 20, y + 9, f"{width:.4g} x {height:.4g}", "note"))
    return Group(tuple(items), f"{shown(cell.spec.name)}: {told(cell)}", "panel")


def _picture(priors: Priors, cell: CellPriors) -> Iterator[Item]:
    """The picture with the cells' grid and the boxes of one, within a square of _SIDE."""
    scale = _SIDE * _SHARE / max(priors.width, priors.height)
    left, top = (_SIDE - priors.width * scale) / 2, (_SIDE - priors.height * scale) / 2
    width, height = priors.width * scale, priors.height * scale
    yield Box(0, 0, _SIDE, _SIDE, "outside")
    if priors.picture is not None:
        yield Picture(left, top, width, height, priors.picture)
    else:
        yield Box(left, top, width, height, "frame")
    yield from _grid(cell, left, top, width, height, scale)
    yield Box(left, top, width, height, "edge")
    x, y = left + cell.middle[0] * scale, top + cell.middle[1] * scale
    half = min(max(cell.step[0] * scale / 2, 2.0), 6.0)
    yield Box(x - half, y - half, 2 * half, 2 * half, "cell")
    shift = np.array([left, top] * 2)
    for index, box in enumerate(np.clip(np.nan_to_num(cell.boxes) * scale + shift, 1.0, _SIDE - 1.0).tolist()):
        kind = f"prior{index % len(PRIOR_COLOURS)}"
        yield Box(box[0], box[1], box[2] - box[0], box[3] - box[1], kind)


def _grid(cell: CellPriors, left: float, top: float, width: float, height: float, scale: float) -> Iterator[Item]:
    """Lines between the cells, within the picture."""
    if max(cell.rows, cell.columns) > _MOST_LINES:
        return
    row, column = cell.cell
    for index in range(cell.columns + 1):
        x = (cell.middle[0] + (index - column - 0.5) * cell.step[0]) * scale
        if 0 < x < width:
            yield Line(((left + x, top), (left + x, top + height)), "grid")
    for index in range(cell.rows + 1):
        y = (cell.middle[1] + (index - row - 0.5) * cell.step[1]) * scale
        if 0 < y < height:
            yield Line(((left, top + y), (left + width, top + y)), "grid")


def priors_page(priors: Priors, drawing: Drawing) -> bytes:
    """The drawing with tables of the boxes, as one page."""
    title = f"Prior boxes of {shown(priors.name) or 'a net'}"
    parts: list[Content] = [
        element("h1", title),
        element("p", f"{number(priors.count)} prior boxes in {len(priors.layers)} layers."),
        element("div", svg.inline(drawing), id="drawing"),
        *(part for cell in priors.layers for part in _section(cell)),
        element("footer", f"caffecompat {caffecompat.__version__}"),
    ]
    style = f"{svg.style('#drawing ')}\n#drawing {{ background: #fff; overflow: auto; border: 1px solid var(--line) }}"
    return whole(title, join(parts), style=style)


def _section(cell: CellPriors) -> Iterator[Content]:
    """The boxes of a layer's cell as a table."""
    yield element("h2", shown(cell.spec.name))
    variances = ", ".join(f"{value:g}" for value in cell.variances)
    yield element(
        "p",
        f"{told(cell)}. Those of row {cell.cell[0]}, column {cell.cell[1]}, whose middle is at x {cell.middle[0]:.5g}, "
        f"y {cell.middle[1]:.5g}. Variances: {variances}.",
    )
    columns = [Column("")]
    columns += [Column(name, True) for name in ("in the input", "width", "height", "aspect ratio")]
    columns += [Column(name, True) for name in ("xmin", "ymin", "xmax", "ymax")]
    rows = [
        (
            Markup(f'<span class="swatch" style="background:{PRIOR_COLOURS[index % len(PRIOR_COLOURS)]}"></span>'),
            f"{size[0]:.4g} x {size[1]:.4g}",
            *(f"{value:.4g}" for value in (*drawn, size[0] / size[1] if size[1] else 0.0)),
            *(f"{value:.2f}" for value in box),
        )
        for index, (size, drawn, box) in enumerate(
            zip(cell.sizes.tolist(), cell.drawn.tolist(), cell.boxes.tolist(), strict=True)
        )
    ]
    yield table(columns, rows)
