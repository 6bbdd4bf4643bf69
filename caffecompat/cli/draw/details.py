"""What the page says of each layer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from math import prod

from caffecompat.cli.draw.families import FAMILIES, family_of
from caffecompat.cli.draw.netdrawing import by
from caffecompat.cli.draw.subject import Subject
from caffecompat.cli.report.markup import Column, Content, Markup, element, join, number, table, text
from caffecompat.errors import shown
from caffecompat.formats import write_text
from caffecompat.graph.analysis import LayerCost
from caffecompat.graph.spec import BlobKey, LayerSpec

# Of a layer's blobs so many are listed, and of a blob's readers.
MOST_BLOBS, MOST_READERS = 60, 20
# Longer messages are not shown, and of others so many letters.
MOST_BYTES, MOST_TEXT = 40_000, 6_000


class Details:
    """Writes the parts of the page that belong to single layers."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._maker: dict[BlobKey, LayerSpec] = {}
        self._readers: dict[BlobKey, list[LayerSpec]] = defaultdict(list)
        for spec in subject.graph.layers:
            self._maker.update(dict.fromkeys(spec.tops, spec))
            for key in dict.fromkeys(spec.bottoms):
                self._readers[key].append(spec)

    def article(self, spec: LayerSpec) -> Markup:
        """All that is known of a layer."""
        parts: list[Content] = [
            element("h2", shown(spec.name) or "a layer without a name"),
            element("p", f"{spec.type} ({FAMILIES[family_of(spec)].title}), layer {spec.index + 1}, in {spec.phase}"),
            *self._blobs("Bottoms", "from", spec.bottoms),
            *self._blobs("Tops", "read by", spec.tops),
            *self._parameters(spec),
            *self._numbers(spec),
        ]
        for key in spec.tops[:MOST_BLOBS]:
            parts += self._picture(key)
        parts += [element("h3", "In the prototxt"), element("pre", _text(spec))]
        return element("article", *parts, id=f"layer-{spec.index}", data_layer=spec.index)

    def _blobs(self, title: str, beside: str, keys: Sequence[BlobKey]) -> Iterator[Content]:
        if not keys:
            return
        yield element("h3", title)
        rows = []
        for key in keys[:MOST_BLOBS]:
            shape = self._subject.shapes.get(key)
            others = [self._maker[key]] if title == "Bottoms" else self._readers[key]
            links = [link(spec) for spec in others[:MOST_READERS]]
            if len(others) > MOST_READERS:
                links.append(Markup(f"and {len(others) - MOST_READERS} more"))
            rows.append((shown(key.name), "" if shape is None else by(shape), _listed(links)))
        yield table([Column("blob"), Column("shape"), Column(beside)], rows)
        if len(keys) > MOST_BLOBS:
            yield element("p", f"The first {MOST_BLOBS} of {len(keys)}.", class_="note")

    def _parameters(self, spec: LayerSpec) -> Iterator[Content]:
        own = self._subject.parameters[spec.index] if self._subject.parameters else ()
        if not own:
            return
        yield element("h3", "Parameters")
        columns = [Column("parameter"), Column("shape"), Column("values", True), Column("lr_mult", True)]
        rows = [
            (
                shown(one.name) + (f", of {shown(one.owner)}" if one.owner else ""),
                by(one.shape),
                number(prod(one.shape)),
                f"{one.lr_mult:g}",
            )
            for one in own
        ]
        yield table(columns, rows)

    def _numbers(self, spec: LayerSpec) -> Iterator[Content]:
        if not self._subject.costs:
            return
        rows = [(name, value) for name, value in _told(self._subject.costs[spec.index]) if value]
        if rows:
            yield element("h3", "For one image")
            yield table([Column("what"), Column("how much")], rows)

    def _picture(self, key: BlobKey) -> Iterator[Content]:
        held = self._subject.passed.blobs.get(key) if self._subject.passed else None
        if held is None:
            return
        yield element("h3", f"{shown(key.name)} of the picture")
        yield element("p", f"{by(held.shape)}: {held.told}", class_="note")
        if held.picture:
            width, height = held.size
            image = element("img", src=held.picture, alt=held.caption, width=width, height=height)
            yield element("figure", image, element("figcaption", held.caption), class_="blob")


def _told(cost: LayerCost) -> Iterator[tuple[str, str]]:
    """The numbers of a layer, those that say nothing as ""."""
    yield "multiply-adds", number(cost.multiply_adds) if cost.multiply_adds else ""
    yield "memory access", f"{number(cost.memory_access)} values" if cost.memory_access else ""
    if cost.receptive_field and cost.stride and cost.offset:
        yield "receptive field", f"{axes(cost.receptive_field)} pixels of the input"
        yield "stride", f"{axes(cost.stride)} pixels"
        ends = [
            f"{middle - (size - 1) / 2:g} to {middle + (size - 1) / 2:g}"
            for size, middle in zip(cost.receptive_field, cost.offset, strict=True)
        ]
        sees = " x ".join(ends[:1] if len(set(ends)) == 1 else ends)
        yield "offset", f"{axes(cost.offset)}: the first value sees the pixels from {sees}"


def axes(sizes: Iterable[float]) -> str:
    """Sizes by axis; one where they are equal."""
    words = [f"{size:g}" for size in sizes]
    return words[0] if len(set(words)) == 1 else "x".join(words)


def link(spec: LayerSpec) -> Markup:
    """A link to what is said of a layer."""
    return element("a", shown(spec.name) or "?", href=f"#layer-{spec.index}")


def _listed(parts: Sequence[Markup]) -> Markup:
    return join(part for index, own in enumerate(parts) for part in ((Markup(", "), own) if index else (own,)))


def _text(spec: LayerSpec) -> Markup:
    """A layer's message as prototxt, without its weights."""
    message = type(spec.message)()
    message.CopyFrom(spec.message)
    message.ClearField("blobs")
    if message.ByteSize() > MOST_BYTES:
        return Markup("(too long to be shown)")
    whole = write_text(message)
    more = "\n..." if len(whole) > MOST_TEXT else ""
    return Markup("\n".join(text(line) for line in (whole[:MOST_TEXT] + more).split("\n")))
