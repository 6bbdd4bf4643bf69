"""Old nets to today's form: V0 and V1 layers, inputs stated as fields, learning rates of BatchNorm.

Source of the rules: Caffe's `upgrade_proto.cpp`. Nothing is changed in place; places and unknown fields
move along with the layers they belong to.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import compress

from caffecompat.errors import GraphError, SchemaError, located
from caffecompat.formats.messages import copy_fields, put
from caffecompat.formats.parsed import Node, ParsedNet, Path, UnknownField
from caffecompat.formats.unknown import warn
from caffecompat.formats.upgrade_v0 import PADDING, is_v0, v0_node, v0_to_v1
from caffecompat.schema import caffe_pb2
from caffecompat.schema.types import V1_NAMES

# The fields that moved from the parameters of these V1 data layers into transform_param.
TRANSFORM_FIELDS = ("scale", "mean_file", "crop_size", "mirror")
TRANSFORM_LAYERS = {"Data": "data_param", "ImageData": "image_data_param", "WindowData": "window_data_param"}
# Fields of V1 layers that are not in today's layers under the same name and with the same meaning.
_V1_ONLY = frozenset(("type", "layer", "param", "blob_share_mode", "blobs_lr", "weight_decay"))
_INPUT_FIELDS = ("input", "input_shape", "input_dim")


def upgrade_net(parsed: ParsedNet) -> ParsedNet:
    """The same net in today's form (V2); `parsed` itself if it is of that form already.

    Raises:
        SchemaError: both `layer` and `layers`, V0 and V1 layers mixed, an unknown V0 layer type.
        GraphError: a V0 padding layer where Caffe allows none; fewer input sizes than inputs.
    """
    if parsed.message.layers:
        parsed = _upgrade_layers(parsed)
    if parsed.message.input:
        parsed = _upgrade_inputs(parsed)
    return _upgrade_batch_norm(parsed)


def _upgrade_layers(parsed: ParsedNet) -> ParsedNet:
    old = parsed.message
    if old.layer:
        error = SchemaError(
            "the net has both `layer` and `layers`",
            hint='write all layers in today\'s form: layer { type: "Convolution" ... }',
        )
        raise located(error, parsed.position("layer", 0))
    nodes: Sequence[Node] = parsed.root.fields.get("layers", ())
    layers: Iterable[caffe_pb2.V1LayerParameter] = old.layers
    moved: Sequence[int | None] = range(len(old.layers))
    if is_v0(old):
        layers, moved = v0_to_v1(parsed)
        kept = [layer.layer.type != PADDING for layer in old.layers]
        nodes = [v0_node(node) for node in compress(nodes, kept)]
    message = caffe_pb2.NetParameter()
    copy_fields(old, message, skip=("layers",))
    for layer in layers:
        _upgrade_layer(layer, message.layer.add())
    fields = {name: found for name, found in parsed.root.fields.items() if name != "layers"}
    root = Node(parsed.root.line, parsed.root.column, {**fields, "layer": list(nodes)})
    unknown = tuple(_moved_layer(field, moved) for field in parsed.unknown)
    return replace(parsed, message=message, root=root, unknown=unknown)


def _moved_layer(field: UnknownField, moved: Sequence[int | None]) -> UnknownField:
    if field.path[:1] != ("layers",):
        return field
    index, rest = moved[int(field.path[1])], field.path[2:]
    if rest[:1] == ("layer",):
        # The inner message of a V0 layer is the layer itself now; what it held moved into several messages.
        rest = ()
    path: Path = () if index is None else ("layer", index, *rest)
    return replace(field, path=path)


def _upgrade_layer(old: caffe_pb2.V1LayerParameter, new: caffe_pb2.LayerParameter) -> None:
    copy_fields(old, new, skip=_V1_ONLY)
    if old.HasField("type"):
        new.type = V1_NAMES.get(caffe_pb2.V1LayerParameter.LayerType.Name(old.type), "")
    for name, values in (
        ("name", old.param),
        ("share_mode", old.blob_share_mode),
        ("lr_mult", old.blobs_lr),
        ("decay_mult", old.weight_decay),
    ):
        while len(new.param) < len(values):
            new.param.add()
        for spec, value in zip(new.param, values, strict=False):
            put(spec, name, value)
    if new.type in TRANSFORM_LAYERS and new.HasField(TRANSFORM_LAYERS[new.type]):
        params = getattr(new, TRANSFORM_LAYERS[new.type])
        for name in TRANSFORM_FIELDS:
            if params.HasField(name):
                put(new.transform_param, name, getattr(params, name))
                params.ClearField(name)


def _upgrade_inputs(parsed: ParsedNet) -> ParsedNet:
    """`input`, with `input_shape` or `input_dim`, becomes an Input layer before all others.

    Caffe strips inputs of which no size is stated, for they come from weight files; here they become an Input
    layer without a shape.
    """
    old = parsed.message
    message = caffe_pb2.NetParameter()
    layer = message.layer.add(name="input", type="Input", top=old.input)
    layer.input_param.shape.extend(_input_shapes(parsed))
    message.MergeFrom(old)
    for name in _INPUT_FIELDS:
        message.ClearField(name)
    fields = dict(parsed.root.fields)
    tops, shapes, _ = (fields.pop(name, []) for name in _INPUT_FIELDS)
    place = tops[0] if tops else parsed.root
    node = Node(
        place.line,
        place.column,
        {"top": tops, "input_param": [Node(place.line, place.column, {"shape": shapes})]},
    )
    root = Node(parsed.root.line, parsed.root.column, {**fields, "layer": [node, *fields.get("layer", [])]})
    unknown = tuple(replace(field, path=_moved_input(field.path)) for field in parsed.unknown)
    return replace(parsed, message=message, root=root, unknown=unknown)


def _moved_input(path: Path) -> Path:
    if path[:1] == ("layer",):
        return ("layer", int(path[1]) + 1, *path[2:])
    if path[:1] == ("input_shape",):
        return ("layer", 0, "input_param", 0, "shape", *path[1:])
    return path


def _input_shapes(parsed: ParsedNet) -> list[caffe_pb2.BlobShape]:
    old = parsed.message
    count, dims = len(old.input), list(old.input_dim)
    if old.input_shape:
        if len(old.input_shape) < count:
            raise _input_error(parsed, f"{count} inputs need {count} input_shape, got {len(old.input_shape)}")
        if dims:
            warn("input_dim is ignored, for input_shape is given", parsed.position("input_dim", 0))
        if len(old.input_shape) > count:
            warn(f"only the first {count} input_shape are used", parsed.position("input_shape", count))
        return list(old.input_shape[:count])
    if dims and len(dims) < 4 * count:
        raise _input_error(parsed, f"{count} inputs need {4 * count} input_dim, four for each, got {len(dims)}")
    if len(dims) > 4 * count:
        warn(f"only the first {4 * count} input_dim are used", parsed.position("input_dim", 4 * count))
    return [caffe_pb2.BlobShape(dim=dims[4 * i : 4 * i + 4]) for i in range(count if dims else 0)]


def _input_error(parsed: ParsedNet, message: str) -> GraphError:
    return located(GraphError(message), parsed.position("input", 0))


def old_batch_norms(message: caffe_pb2.NetParameter) -> list[int]:
    """Indices of the BatchNorm layers whose three `param` do not yet say that nothing is learned."""
    return [
        index
        for index, layer in enumerate(message.layer)
        if layer.type == "BatchNorm"
        and len(layer.param) == 3
        and any(spec.lr_mult or spec.decay_mult for spec in layer.param)
    ]


def _upgrade_batch_norm(parsed: ParsedNet) -> ParsedNet:
    """BatchNorm's statistics are not learned: lr_mult and decay_mult become 0, as BVLC has it.

    The SSD branch drops the three `param` instead, and with them the names by which they could be shared; that
    is left to the graph, which knows the dialect.
    """
    found = old_batch_norms(parsed.message)
    if not found:
        return parsed
    message = caffe_pb2.NetParameter()
    message.CopyFrom(parsed.message)
    for index in found:
        for spec in message.layer[index].param:
            spec.lr_mult = spec.decay_mult = 0.0
    return replace(parsed, message=message)
