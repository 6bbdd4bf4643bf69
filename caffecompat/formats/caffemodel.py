"""Binary weight files (`.caffemodel`): V0, V1 and V2 nets read over a map without a copy, V2 nets written."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from caffecompat.errors import FormatError, context
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.blob_proto import read_blob
from caffecompat.formats.blob_writer import Parts, encode_blob, size_of, warn_of_size, write_parts
from caffecompat.formats.weights import LayerWeights, RealArray, WeightBlob, Weights, real_blobs, real_diffs
from caffecompat.formats.wire import BYTES, VARINT, Buffer, Wire, encode_varint, tag
from caffecompat.schema import caffe_pb2
from caffecompat.schema.types import V0_NAMES, V1_NAMES

_V1_LAYER, _V2_LAYER = tag(2, BYTES), tag(100, BYTES)


class _Tags(NamedTuple):
    """By which tags a layer message starts what we look for; `nested` is the V0 layer in a V1 layer."""

    name: int
    type: int
    blobs: int
    nested: int = 0


_V2 = _Tags(name=tag(1, BYTES), type=tag(2, BYTES), blobs=tag(7, BYTES))
_V1 = _Tags(name=tag(4, BYTES), type=tag(5, VARINT), blobs=tag(6, BYTES), nested=tag(1, BYTES))
_V0 = _Tags(name=tag(1, BYTES), type=tag(2, BYTES), blobs=tag(50, BYTES))

_V1_TYPES = {number: V1_NAMES.get(name, "") for name, number in caffe_pb2.V1LayerParameter.LayerType.items()}


@dataclass(slots=True)
class _Found:
    """What a layer message holds: its name, its type by number or by name, where its blobs start and end."""

    name: str = ""
    number: int = 0
    type: str = ""
    blobs: list[tuple[int, int]] = field(default_factory=list)
    nested: _Found | None = None


def parse_caffemodel(data: Buffer, file: str | None = None) -> Weights:
    """The weights in the bytes of a binary NetParameter.

    Names that are not UTF-8 come with the offending bytes as backslash escapes.

    Args:
        data: bytes, or a map of a file; the arrays are views of it.
        file: where it comes from, for errors.

    Raises:
        FormatError: the data is broken or holds no layer; the error names the layer and the place in bytes.
    """
    with context(file=file, hint="the file is damaged or incomplete, or it is no .caffemodel"):
        return Weights(tuple(_layers(Wire(data))), file)


def _layers(wire: Wire) -> Iterator[LayerWeights]:
    kinds = set()
    for key, _, start, end in wire.fields(0, wire.size):
        if key == _V2_LAYER:
            found = _Found()
            _walk(wire, start, end, _V2, found)
            yield LayerWeights(found.name, found.type, _blobs(wire, found))
        elif key == _V1_LAYER:
            yield _old_layer(wire, start, end)
        else:
            continue
        kinds.add(key)
        if len(kinds) > 1:
            # Caffe: UpgradeV1Net.
            raise FormatError(f'both "layer" and "layers" in one file, at byte {start}', hint="Caffe refuses it too")
    if not kinds:
        raise FormatError("expected the layers of a net, found none")


def _old_layer(wire: Wire, start: int, end: int) -> LayerWeights:
    """A layer of V1; where it holds a layer of V0, that counts alone (Caffe: UpgradeV0LayerParameter)."""
    found = _Found()
    _walk(wire, start, end, _V1, found)
    if found.nested:
        return LayerWeights(found.nested.name, V0_NAMES.get(found.nested.type, ""), _blobs(wire, found.nested))
    return LayerWeights(found.name, _V1_TYPES.get(found.number, ""), _blobs(wire, found))


def _walk(wire: Wire, start: int, end: int, tags: _Tags, found: _Found) -> None:
    """Fill `found` from a layer message: single fields are replaced by later ones, repeated ones grow."""
    name_tag, type_tag, blobs_tag, nested_tag = tags
    try:
        for key, value, first, last in wire.fields(start, end):
            if key == blobs_tag:
                found.blobs.append((first, last))
            elif key == name_tag:
                found.name = _text(wire, first, last)
            elif key == type_tag:
                if key & 7 == VARINT:
                    found.number = value
                else:
                    found.type = _text(wire, first, last)
            elif key == nested_tag:
                found.nested = found.nested or _Found()
                _walk(wire, first, last, _V0, found.nested)
    except FormatError as error:
        error.add_context(layer=found.name or None)
        raise


def _blobs(wire: Wire, found: _Found) -> tuple[WeightBlob, ...]:
    try:
        return tuple([read_blob(wire, first, last) for first, last in found.blobs])
    except FormatError as error:
        error.add_context(layer=found.name)
        raise


def _text(wire: Wire, first: int, last: int) -> str:
    return wire.buffer[first:last].decode("utf-8", "backslashreplace")


def write_caffemodel(
    path: str | os.PathLike[str],
    net: caffe_pb2.NetParameter,
    blobs: Sequence[Sequence[RealArray]],
    diffs: Sequence[Sequence[RealArray]] | None = None,
) -> None:
    """Write a net with its weights, the bytes that protobuf would write for it; the original Caffe loads them.

    The weights are written from where they lie: no second copy of them is made. Blobs that `net` itself holds are
    left out in favour of `blobs`.

    Args:
        path: the file; it is replaced as a whole.
        net: the net in V2.
        blobs: the blobs of each layer in the order of `net.layer`, of any shape; stored as float32.
        diffs: their gradients (`snapshot_diff`), each of its blob's shape; None stores none.

    Raises:
        UsageError: the net is not V2, `blobs` has not one entry for each layer, a blob is not of real numbers, or
            the diffs are not as the blobs.
        CaffeCompatError: the file cannot be written.
    """
    arrays = real_blobs(net, blobs)
    gradients = real_diffs(net, arrays, diffs)
    head = caffe_pb2.NetParameter()
    head.CopyFrom(net)
    head.ClearField("layer")
    layers = [_encode_layer(*given) for given in zip(net.layer, arrays, gradients, strict=True)]
    start, rest = _split(head, _V2_LAYER)
    warn_of_size(path, len(start) + len(rest) + sum(map(size_of, layers)))
    with atomic_write(path) as file:
        file.write(start)
        for layer in layers:
            write_parts(file, layer)
        file.write(rest)


def _encode_layer(
    layer: caffe_pb2.LayerParameter, blobs: Sequence[RealArray], diffs: Sequence[RealArray | None]
) -> Parts:
    bare = caffe_pb2.LayerParameter()
    bare.CopyFrom(layer)
    bare.ClearField("blobs")
    start, rest = _split(bare, _V2.blobs)
    fields = [encode_blob(_V2.blobs, blob, diff) for blob, diff in zip(blobs, diffs, strict=True)]
    body: Parts = [start, *(part for field in fields for part in field), rest]
    return [encode_varint(_V2_LAYER) + encode_varint(size_of(body)), *body]


def _split(message: caffe_pb2.NetParameter | caffe_pb2.LayerParameter, key: int) -> tuple[bytes, bytes]:
    """The bytes of a message, cut where the field of this tag belongs: protobuf writes fields by their numbers."""
    data = message.SerializeToString(deterministic=True)
    position = 0
    for other, _, _, end in Wire(data).fields(0, len(data)):
        if other >> 3 > key >> 3:
            break
        position = end
    return data[:position], data[position:]
