"""A net as a drawing: boxes in the colours of their families, joined by their blobs, with the blobs' shapes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from caffecompat.cli.draw.canvas import Arrow, Box, Drawing, Group, Item, Line, Text, shortened, text_width
from caffecompat.cli.draw.families import FAMILIES, family_of
from caffecompat.cli.draw.layering import layering
from caffecompat.cli.draw.nodes import Node, Wire, build_nodes, described
from caffecompat.cli.draw.placing import place
from caffecompat.errors import UnsupportedError, printable, shown
from caffecompat.graph.spec import BlobKey, Graph, LayerSpec, Shape

# More layers make no drawing that anyone could read.
MOST_LAYERS = 5000
MARGIN = 20.0
# How high a layer is in its box, and one that works in place.
_FIRST, _ROW = 36.0, 17.0
_LEAST, _MOST = 110.0, 264.0
_PAD = 9.0
# For each blob of a box so much width, that their shapes stand beside each other.
_OUTPUT = 96.0
_MOST_OUTPUTS = 8
_LABEL = 120.0
_LEGEND = 560.0


def draw_net(graph: Graph, shapes: Mapping[BlobKey, Shape], facts: Sequence[str] = ()) -> Drawing:
    """A net as a drawing.

    Args:
        graph: the net.
        shapes: the shapes of its blobs, as far as they are known.
        facts: what stands under its name, word by word.

    Raises:
        UnsupportedError: it has too many layers, or blobs that pass too many layers.
    """
    if len(graph.layers) > MOST_LAYERS:
        raise UnsupportedError(
            f"the net has {len(graph.layers):,} layers; at most {MOST_LAYERS:,} are drawn",
            hint="`caffecompat inspect` shows it as a table",
        )
    nodes, wires = build_nodes(graph)
    outputs: list[list[int]] = [[] for _ in nodes]
    for index, wire in enumerate(wires):
        outputs[wire.source].append(index)
    made = layering(nodes, wires)
    placed = place(made, [_size(node) for node in nodes], outputs)
    lines: list[list[Item]] = [[] for _ in wires]
    for (_, end, index), points in zip(made.ways, placed.ways, strict=True):
        lines[index].append(Line(points, "wire"))
        if end < len(nodes):
            lines[index].append(Arrow(*points[-1]))
    groups = [_wire(wire, nodes, items, shapes) for wire, items in zip(wires, lines, strict=True) if items]
    for node, box, own in zip(nodes, placed.boxes, outputs, strict=True):
        groups += _layers(node, *box[:3])
        groups.append(Group(tuple(_labels([wires[index] for index in own], node, box, shapes))))
    width = max(placed.width, _LEGEND)
    used = {family_of(spec) for spec in graph.layers}
    head, height = heading(shown(graph.name) or "a net", facts, [key for key in FAMILIES if key in used], width)
    title = f"{shown(graph.name) or 'a net'}: {len(graph.layers)} layers"
    drawing = Drawing(width + 2 * MARGIN, height + placed.height + 2 * MARGIN, [moved(head, MARGIN, MARGIN)], title)
    beside = MARGIN + (width - placed.width) / 2
    drawing.groups += [moved(group, beside, height + MARGIN) for group in groups]
    return drawing


def _size(node: Node) -> tuple[float, float]:
    """The width and height of a box."""
    first, *rest = node.layers
    widest = max(
        text_width(printable(first.name), "name"),
        text_width(described(first), "note"),
        *(text_width(_row(spec), "note") for spec in rest),
        0.0,
    )
    outputs = min(len(node.tops), _MOST_OUTPUTS)
    width = max(_LEAST, min(widest + 2 * _PAD, _MOST), outputs * _OUTPUT if outputs > 1 else 0.0)
    return width, _FIRST + _ROW * len(rest)


def _row(spec: LayerSpec) -> str:
    """What stands in the box of a layer that works in place."""
    return f"{described(spec)}  {printable(spec.name)}"


def _layers(node: Node, x: float, y: float, width: float) -> Iterator[Group]:
    """The layers of a box, each a group, one below the other."""
    inner, middle = width - 2 * _PAD, x + width / 2
    for number, spec in enumerate(node.layers):
        title = f"{shown(spec.name)} ({described(spec)})"
        if number == 0:
            name = shortened(printable(spec.name), "name", inner)
            about = shortened(described(spec), "note", inner)
            items: tuple[Item, ...] = (
                Box(x, y, width, _FIRST, family_of(spec), round=True),
                Text(middle, y + 15, name, "name", "middle", inner),
                Text(middle, y + 29, about, "note", "middle", inner),
            )
        else:
            top = y + _FIRST + (number - 1) * _ROW
            text = shortened(_row(spec), "note", inner)
            items = (
                Box(x, top, width, _ROW, family_of(spec), round=True),
                Text(middle, top + 12, text, "note", "middle", inner),
            )
        yield Group(items, title, "layer", (spec.index,))


def _wire(wire: Wire, nodes: Sequence[Node], items: Sequence[Item], shapes: Mapping[BlobKey, Shape]) -> Group:
    """A blob on its way; it belongs to the layers that make and read it."""
    joined = [spec.index for spec in nodes[wire.source].layers]
    joined += [spec.index for target in wire.targets for spec in nodes[target].layers if wire.key in spec.bottoms]
    shape = shapes.get(wire.key)
    title = shown(wire.key.name) + ("" if shape is None else f" {by(shape)}")
    return Group(tuple(items), title, "wire", tuple(joined))


def _labels(
    own: Sequence[Wire], node: Node, box: tuple[float, float, float, float], shapes: Mapping[BlobKey, Shape]
) -> Iterator[Text]:
    """The shapes of a box's blobs below it, with their names where these are not the layer's."""
    x, y, width, height = box
    names = {spec.name for spec in node.layers}
    room = width / len(own) if own else width
    for number, wire in enumerate(own):
        shape = shapes.get(wire.key)
        named = wire.key.name not in names
        text = " ".join(([printable(wire.key.name)] if named else []) + ([] if shape is None else [by(shape)]))
        if text and room >= _OUTPUT / 2:
            at = x + (number + 0.5) * room
            free = room - 8 if len(own) > 1 else max(width / 2 + 8, _LABEL)
            yield Text(at + 4, y + height + 11, shortened(text, "label", free), "label")


def by(shape: Sequence[int]) -> str:
    """A shape as 1x3x300x300."""
    return "x".join(map(str, shape)) or "scalar"


def heading(title: str, facts: Iterable[str], families: Iterable[str], width: float) -> tuple[Group, float]:
    """What stands above a drawing: its title, facts and the families' colours; and how high it is."""
    items: list[Item] = [Text(0, 16, shortened(title, "title", width), "title", width=width)]
    y = 36.0
    for line in _lines(facts, width):
        items.append(Text(0, y, line, "fact", width=width))
        y += 18
    x = 0.0
    for key in families:
        name = FAMILIES[key].title
        step = 18 + text_width(name, "note") + 10
        if x and x + step > width:
            x, y = 0.0, y + 18
        items += [Box(x, y - 10, 12, 12, key, round=True), Text(x + 18, y, name, "note")]
        x += step
    return Group(tuple(items)), y + 26


def _lines(facts: Iterable[str], width: float) -> list[str]:
    """Facts one after the other, in lines that fit a width."""
    lines: list[str] = []
    for fact in facts:
        longer = f"{lines[-1]}, {fact}" if lines else ""
        if longer and text_width(longer, "fact") <= width:
            lines[-1] = longer
        else:
            lines.append(shortened(fact, "fact", width))
    return lines


def moved(group: Group, right: float, down: float) -> Group:
    """A group at another place."""
    items: list[Item] = []
    for item in group.items:
        if isinstance(item, Line):
            items.append(replace(item, points=tuple((x + right, y + down) for x, y in item.points)))
        else:
            items.append(replace(item, x=item.x + right, y=item.y + down))
    return replace(group, items=tuple(items))
