"""V0 layers, `layers { layer { type: "conv" ... } bottom: ... }` of 2013, to V1 layers.

Padding was a layer of its own then; it becomes the `pad` of the convolution or pooling that reads it.
Source of the rules: Caffe's `upgrade_proto.cpp`. Where Caffe logs that a field means nothing and goes on,
we warn.
"""

from __future__ import annotations

from caffecompat.errors import GraphError, SchemaError, did_you_mean, located, quoted
from caffecompat.formats.messages import copy_fields, put
from caffecompat.formats.parsed import Node, ParsedNet
from caffecompat.formats.unknown import warn
from caffecompat.schema import LAYER_TYPES, caffe_pb2
from caffecompat.schema.types import V0_NAMES

PADDING = "padding"

# V0 type -> the V1 message its parameters went to, and the fields that they are there.
_PARAMETERS: dict[str, tuple[str, dict[str, str]]] = {
    "concat": ("concat_param", {"concat_dim": "concat_dim"}),
    "conv": (
        "convolution_param",
        {
            "num_output": "num_output",
            "biasterm": "bias_term",
            "weight_filler": "weight_filler",
            "bias_filler": "bias_filler",
            "pad": "pad",
            "kernelsize": "kernel_size",
            "group": "group",
            "stride": "stride",
        },
    ),
    "data": ("data_param", {"source": "source", "batchsize": "batch_size", "rand_skip": "rand_skip"}),
    "dropout": ("dropout_param", {"dropout_ratio": "dropout_ratio"}),
    "hdf5_data": ("hdf5_data_param", {"source": "source", "batchsize": "batch_size"}),
    "images": (
        "image_data_param",
        {
            "source": "source",
            "batchsize": "batch_size",
            "rand_skip": "rand_skip",
            "shuffle_images": "shuffle",
            "new_height": "new_height",
            "new_width": "new_width",
        },
    ),
    "infogain_loss": ("infogain_loss_param", {"source": "source"}),
    "innerproduct": (
        "inner_product_param",
        {
            "num_output": "num_output",
            "biasterm": "bias_term",
            "weight_filler": "weight_filler",
            "bias_filler": "bias_filler",
        },
    ),
    "lrn": ("lrn_param", {"local_size": "local_size", "alpha": "alpha", "beta": "beta", "k": "k"}),
    "pool": ("pooling_param", {"pad": "pad", "kernelsize": "kernel_size", "stride": "stride", "pool": "pool"}),
    "window_data": (
        "window_data_param",
        {
            "source": "source",
            "batchsize": "batch_size",
            "det_fg_threshold": "fg_threshold",
            "det_bg_threshold": "bg_threshold",
            "det_fg_fraction": "fg_fraction",
            "det_context_pad": "context_pad",
            "det_crop_mode": "crop_mode",
        },
    ),
}
# What any type had, and where it went.
_TRANSFORM = {"scale": "scale", "meanfile": "mean_file", "cropsize": "crop_size", "mirror": "mirror"}
_SAME = frozenset(("name", "blobs", "blobs_lr", "weight_decay"))


def is_v0(message: caffe_pb2.NetParameter) -> bool:
    """Whether any layer is a V0 layer."""
    return any(layer.HasField("layer") for layer in message.layers)


def v0_node(node: Node) -> Node:
    """The places of a V0 layer as one layer: those of the inner message beside those of bottom and top."""
    inner = node.fields.get("layer", [])
    return Node(node.line, node.column, {**node.fields, **(inner[-1].fields if inner else {})})


def v0_to_v1(parsed: ParsedNet) -> tuple[list[caffe_pb2.V1LayerParameter], list[int | None]]:
    """The layers as V1 layers.

    Returns:
        The layers, and for each old layer the index of the new one: for a padding layer that of the layer it
        went into, or None if nothing reads it.

    Raises:
        SchemaError: an unknown type, or a V1 layer among them.
        GraphError: a padding layer that is not between one blob and one convolution or pooling.
    """
    old = parsed.message.layers
    layers: list[caffe_pb2.V1LayerParameter] = []
    moved: list[int | None] = []
    makers: dict[str, int] = {}
    for index, connection in enumerate(old):
        if not connection.HasField("layer"):
            error = SchemaError("a V1 layer in a net of V0 layers", hint="write all layers in one form")
            raise located(error, parsed.position("layers", index), connection.name)
        found = [makers[name] for name in connection.bottom if name in makers]
        padding = next((maker for maker in found if old[maker].layer.type == PADDING), None)
        if padding is not None:
            _check_padding(parsed, index, padding)
            moved[padding] = len(layers)
        if connection.layer.type == PADDING:
            moved.append(None)
        else:
            moved.append(len(layers))
            layers.append(_upgrade(parsed, index, padding))
        makers.update((name, index) for name in connection.top)
    return layers, moved


def _check_padding(parsed: ParsedNet, index: int, padding: int) -> None:
    reader, source = parsed.message.layers[index], parsed.message.layers[padding]
    if reader.layer.type not in ("conv", "pool"):
        message = f"reads padding layer {quoted(source.layer.name)}, which only a conv or pool layer may"
    elif len(reader.bottom) != 1:
        message = f"reads padding layer {quoted(source.layer.name)} and has {len(reader.bottom)} bottoms; expected 1"
    elif len(source.bottom) != 1 or len(source.top) != 1:
        message = (
            f"reads padding layer {quoted(source.layer.name)} of {len(source.bottom)} bottoms and "
            f"{len(source.top)} tops; expected 1 and 1"
        )
    else:
        return
    raise located(GraphError(message), parsed.position("layers", index), reader.layer.name)


def _upgrade(parsed: ParsedNet, index: int, padding: int | None) -> caffe_pb2.V1LayerParameter:
    connection = parsed.message.layers[index]
    inner = connection.layer
    new = caffe_pb2.V1LayerParameter(bottom=connection.bottom, top=connection.top)
    if padding is not None:
        source = parsed.message.layers[padding]
        new.bottom[0] = source.bottom[0]
        inner = caffe_pb2.V0LayerParameter()
        inner.CopyFrom(connection.layer)
        inner.pad = source.layer.pad
    if inner.HasField("type"):
        put(new, "type", _type(parsed, index))
    for field, _ in connection.ListFields():
        if field.name not in ("layer", "bottom", "top"):
            warn(f"{field.name} means nothing in a V0 layer and is ignored", parsed.position("layers", index))
    copy_fields(inner, new, skip=_set_params(inner, new, parsed, index))
    return new


def _type(parsed: ParsedNet, index: int) -> int:
    inner = parsed.message.layers[index].layer
    if inner.type not in V0_NAMES:
        error = SchemaError(f"unknown V0 layer type {quoted(inner.type)}", hint=did_you_mean(inner.type, V0_NAMES))
        raise located(error, parsed.position("layers", index, "layer", 0, "type", 0), inner.name)
    return caffe_pb2.V1LayerParameter.LayerType.Value(LAYER_TYPES[V0_NAMES[inner.type]].v1)


def _set_params(
    inner: caffe_pb2.V0LayerParameter, new: caffe_pb2.V1LayerParameter, parsed: ParsedNet, index: int
) -> set[str]:
    """Set the parameters that moved into messages; the names of all fields that `new` does not take as they are."""
    param, names = _PARAMETERS.get(inner.type, ("", {}))
    done = set()
    for descriptor, value in inner.ListFields():
        name = descriptor.name
        if name in names:
            put(getattr(new, param), names[name], value)
        elif name in _TRANSFORM:
            put(new.transform_param, _TRANSFORM[name], value)
        elif name == "hdf5_output_param" and inner.type == "hdf5_output":
            put(new, name, value)
        elif name in _SAME:
            continue
        elif name != "type":
            place = parsed.position("layers", index, "layer", 0, name, 0)
            warn(f"{name} means nothing to layer type {quoted(inner.type)} and is ignored", place)
        done.add(name)
    return done
