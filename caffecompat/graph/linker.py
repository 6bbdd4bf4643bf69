"""Joins layers by their blobs: which version of a name each reads and makes, and what is left as output.

Source of the rules: `Net::Init`, `Layer::CheckBlobCounts` and `InsertSplits` of Caffe. Caffe gives every
reader of a blob a copy by a Split layer; a graph needs none, but what Split layers forbid is forbidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from caffecompat.errors import CaffeCompatError, GraphError, Position, SchemaError, did_you_mean, located, quoted
from caffecompat.formats.parsed import UnknownField
from caffecompat.graph.rules import conditions
from caffecompat.graph.sharing import Sharing
from caffecompat.graph.spec import BlobKey, Dialect, Graph, LayerSpec, Phase
from caffecompat.schema import LAYER_TYPES, LayerType, caffe_pb2, layer_type
from caffecompat.schema.types import MANY, V0_NAMES, V1_NAMES

# Caffe's name for the top that a loss layer gets if the net names none; no layer can read it.
AUTOMATIC = "(automatic)"
MAX_SUGGESTED = 500


class Source(NamedTuple):
    """A layer that is to be joined, with its place and its unknown fields."""

    message: caffe_pb2.LayerParameter
    position: Position | None = None
    unknown: tuple[UnknownField, ...] = ()


def link(
    sources: Sequence[Source],
    message: caffe_pb2.NetParameter,
    *,
    phase: Phase,
    dialect: Dialect,
    file: str | None = None,
    left_out: Sequence[Source] = (),
    root: str | None = None,
) -> Graph:
    """Join layers into a graph.

    Args:
        sources: the layers, in the order they run.
        message: the net they are of, filtered as they are.
        phase: the phase of the net.
        dialect: whose rules count where two Caffes differ.
        file: the net's path.
        left_out: layers of the file that are not in this net; errors mention them.
        root: the folder that relative paths in it start from; None is the working directory.

    Raises:
        SchemaError: an unknown layer type.
        GraphError: the layers do not make a net.
    """
    linker = _Linker(sources, left_out, phase, dialect, root)
    layers: list[LayerSpec] = []
    try:
        for index, source in enumerate(sources):
            layers.append(linker.add(index, source))
    except CaffeCompatError as error:
        failed = sources[len(layers)]
        located(error, failed.position, failed.message.name)
        raise
    if linker.sharing.any:
        layers = [_settled(spec, linker.sharing) for spec in layers]
    return Graph(
        name=message.name,
        layers=tuple(layers),
        inputs=tuple(linker.inputs),
        outputs=linker.outputs(),
        phase=phase,
        dialect=dialect,
        message=message,
        force_backward=message.force_backward,
        file=file,
        last=linker.last,
        root=root,
    )


def _settled(spec: LayerSpec, sharing: Sharing) -> LayerSpec:
    params = sharing.settle(spec.params)
    return spec if params == spec.params else replace(spec, params=params)


class _Linker:
    """The blobs made so far, as layers are added in order."""

    def __init__(
        self, sources: Sequence[Source], left_out: Sequence[Source], phase: Phase, dialect: Dialect, root: str | None
    ) -> None:
        self.last: dict[str, BlobKey] = {}
        self.inputs: list[BlobKey] = []
        self.sharing = Sharing(dialect)
        self._sources = sources
        self._left_out = left_out
        self._phase = phase
        self._dialect = dialect
        self._root = root
        self._readers: dict[BlobKey, int] = {}
        self._automatics = 0
        # Tops of stated loss weight, with the name of their layer and their place among its tops.
        self._losses: dict[BlobKey, tuple[str, int]] = {}

    def add(self, index: int, source: Source) -> LayerSpec:
        layer = source.message
        row = _row(layer.type)
        names = list(layer.bottom)
        bottoms = tuple([self._read(index, name) for name in names])
        tops = [
            self._make(index, name, in_place=position < len(names) and names[position] == name)
            for position, name in enumerate(layer.top)
        ]
        if row.loss:
            tops += [self._automatic() for _ in range(row.tops[0] - len(tops))]
        _check_counts(row, len(bottoms), len(tops))
        weights = _loss_weights(layer, row, len(tops))
        if layer.loss_weight:
            self._losses.update((key, (layer.name, i)) for i, key in enumerate(tops) if weights[i])
        if layer.propagate_down and len(layer.propagate_down) != len(bottoms):
            raise GraphError(
                f"propagate_down must be stated for no bottom or for each: {len(bottoms)} bottoms, "
                f"{len(layer.propagate_down)} values"
            )
        if row.data:
            self.inputs += tops
        return LayerSpec(
            index=index,
            name=layer.name,
            type=row.name,
            bottoms=bottoms,
            tops=tuple(tops),
            message=layer,
            phase=_phase(layer, self._phase),
            dialect=self._dialect,
            position=source.position,
            loss_weights=weights,
            params=self.sharing.add(index, layer),
            unknown=source.unknown,
            root=self._root,
        )

    def outputs(self) -> tuple[BlobKey, ...]:
        """The blobs that nobody reads, and the stated losses, in the order in which Caffe numbers its outputs."""
        found = {name: key for name, key in self.last.items() if not self._readers[key]}
        for key, (layer, position) in self._losses.items():
            if self._readers[key]:
                # Caffe's Split layer keeps one copy, under this name, for the loss.
                found[f"{key.name}_{layer}_{position}_split_0"] = key
        return tuple(key for _, key in sorted(found.items()))

    def _read(self, index: int, name: str) -> BlobKey:
        key = self.last.get(name)
        if key is None:
            raise GraphError(f"unknown bottom {quoted(name)}", hint=self._whereabouts(index, name))
        self._readers[key] += 1
        return key

    def _make(self, index: int, name: str, *, in_place: bool) -> BlobKey:
        before = self.last.get(name)
        if before is None:
            key = self._fresh(name, 0)
        elif not in_place:
            raise GraphError(
                f"top {quoted(name)} is made twice: {self._maker(index, name)}",
                hint="give the blob another name; only a layer that reads it in the same place may make it again",
            )
        elif self._readers[before] > 1 or before in self._losses:
            raise GraphError(
                f"works in place on {quoted(name)}, which {self._other_use(index, before)} as well",
                hint="give the top a name of its own",
            )
        else:
            key = self._fresh(name, before.version + 1)
        self.last[name] = key
        return key

    def _fresh(self, name: str, version: int) -> BlobKey:
        key = BlobKey(name, version)
        while key in self._readers:
            key = BlobKey(name, key.version + 1)
        self._readers[key] = 0
        return key

    def _automatic(self) -> BlobKey:
        self._automatics += 1
        return self._fresh(AUTOMATIC, self._automatics - 1)

    def _maker(self, index: int, name: str) -> str:
        makers = (source.message.name for source in reversed(self._sources[:index]) if name in source.message.top)
        maker = next(makers, None)
        return "by this layer" if maker is None else f"by layer {quoted(maker)} and by this one"

    def _other_use(self, index: int, key: BlobKey) -> str:
        if key in self._losses:
            return "is a loss"
        readers = (source.message.name for source in self._sources[:index] if key.name in source.message.bottom)
        reader = next(readers, None)
        return "it reads twice" if reader is None else f"layer {quoted(reader)} reads"

    def _whereabouts(self, index: int, name: str) -> str | None:
        """Where a bottom that no layer before has made may come from."""
        for source in self._left_out:
            if name in source.message.top:
                name = quoted(source.message.name)
                return f"layer {name} makes it, but is left out of this net: it belongs {conditions(source.message)}"
        for source in islice(self._sources, index, None):
            if name in source.message.top:
                return f"layer {quoted(source.message.name)} makes it, but comes later; layers run in the file's order"
        return did_you_mean(name, list(islice(reversed(self.last), MAX_SUGGESTED)))


def _row(name: str) -> LayerType:
    try:
        return layer_type(name)
    except SchemaError as error:
        from caffecompat.formats.known_forks import unknown_layer_hint

        known = {row.lower(): row for row in LAYER_TYPES}
        today = V1_NAMES.get(name.upper()) or V0_NAMES.get(name) or known.get(name.lower())
        error.hint = f'today it is written "{today}"' if today else unknown_layer_hint(name) or error.hint
        raise


def _phase(layer: caffe_pb2.LayerParameter, phase: Phase) -> Phase:
    if not layer.HasField("phase"):
        return phase
    return "TRAIN" if layer.phase == caffe_pb2.TRAIN else "TEST"


def _check_counts(row: LayerType, bottoms: int, tops: int) -> None:
    for what, count, (least, most) in (("bottom", bottoms, row.bottoms), ("top", tops, row.tops)):
        if not least <= count <= most:
            expected = f"{least}" if least == most else f"at least {least}" if most == MANY else f"{least} to {most}"
            plural = "" if least == most == 1 or (most == MANY and least == 1) else "s"
            raise GraphError(f"{row.name} expects {expected} {what}{plural}, got {count}")
    if row.same_number and bottoms != tops:
        raise GraphError(f"{row.name} expects as many tops as bottoms, got {bottoms} bottoms and {tops} tops")


def _loss_weights(layer: caffe_pb2.LayerParameter, row: LayerType, tops: int) -> tuple[float, ...]:
    stated = layer.loss_weight
    if not stated:
        return (1.0,) + (0.0,) * (tops - 1) if row.loss else (0.0,) * tops
    if len(stated) != tops:
        raise GraphError(f"loss_weight must be stated for no top or for each: {tops} tops, {len(stated)} values")
    return tuple(stated)
