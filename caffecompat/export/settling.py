"""A net that was changed in PyTorch, as a net whose layers say what its modules do."""

from __future__ import annotations

import copy

import torch

from caffecompat.errors import UsageError, WeightsError, context, quoted
from caffecompat.export.rebuild import blobs_by_name, rebuild
from caffecompat.formats.parsed import Parsed
from caffecompat.graph import build_graph
from caffecompat.graph.passes.sketch import Sketch
from caffecompat.layers.base import Layer
from caffecompat.layers.convolution import Convolution, Convolving, DepthwiseConvolution
from caffecompat.layers.inner_product import Embed, InnerProduct
from caffecompat.net import Net
from caffecompat.net.saving import net_message
from caffecompat.schema import caffe_pb2

_BIASED = {
    "Convolution": "convolution_param",
    "Deconvolution": "convolution_param",
    "DepthwiseConvolution": "convolution_param",
    "ConvolutionDepthwise": "convolution_param",
    "InnerProduct": "inner_product_param",
    "Scale": "scale_param",
    "Embed": "embed_param",
}


def settled(net: Net) -> Net:
    """The net, or if layers were replaced or parameters have other shapes, a new one of the same parameters.

    The new net's `num_output`, `group`, `kernel_size` and `bias_term` are those of its parameters, and layers that were
    replaced by `nn.Identity` are gone where nothing asks for their tops.

    Raises:
        UsageError: a module was put where nothing runs it, or a layer has a parameter that Caffe's has not.
        CaffeCompatError: a layer does not fit what the layers before it now make.
    """
    for name, layer in zip(net.module_names, net.layers, strict=True):
        module = getattr(net, name)
        if module is not layer:
            raise layer.error(
                f"its module is another, {type(module).__name__}, which nothing runs",
                hint=f"put it there by net.{name} = ...",
                kind=UsageError,
            )
        _take_biases(layer)
    extra = [name for name, _ in net.named_children() if name not in set(net.module_names)]
    if extra:
        raise UsageError(
            f"the net has a module {quoted(extra[0])} beside its layers, which nothing runs",
            hint=f"del net.{extra[0]}, or put it in the place of a layer; from_torch converts whole modules",
        )
    if not net.replaced and all(map(_as_declared, net.layers)):
        return net
    message = net_message(net)
    for stated, own in zip(message.layer, net.layers, strict=True):
        if not _as_declared(own):
            _state(stated, own)
    blobs = blobs_by_name(net)
    with context(hint="change it to fit the layers before it, whose tops have other sizes now"):
        try:
            made = rebuild(net, _without_identities(net, message), blobs)
        except WeightsError as error:
            error.hint = None
            raise
    made.preprocessing = net.preprocessing
    return made


def place_of(net: Net) -> torch.device:
    """The device that the net's parameters are on; the CPU if it has none."""
    return next((blob.device for layer in net.layers for blob in layer.blobs), torch.device("cpu"))


def on_cpu(net: Net) -> Net:
    """The net, or if it is on another device, a copy on the CPU, which reads no data."""
    if place_of(net).type == "cpu":
        return net
    # Readers hold threads and open databases, which cannot be copied.
    memo: dict[int, None] = {id(reader): None for reader in net.readers}
    return copy.deepcopy(net, memo).cpu()


def _take_biases(layer: Layer) -> None:
    """Let a bias that was added or taken away (`layer.bias = None`) be one of its blobs, or not."""
    biased = layer.spec.type in _BIASED
    layer.blob_names = [name for name in layer.blob_names if getattr(layer, name) is not None]
    for name in layer._parameters:
        known = any(name == blob or name.startswith(f"{blob}_") for blob in layer.blob_names)
        if known or layer._parameters[name] is None:
            continue
        if name != "bias" or not biased:
            raise layer.error(f"Caffe's {layer.spec.type} has no parameter {quoted(name)}", kind=UsageError)
        layer.blob_names = [*layer.blob_names, name]


def _as_declared(layer: Layer) -> bool:
    return [tuple(blob.shape) for blob in layer.blobs] == layer.declared_shapes


def _state(message: caffe_pb2.LayerParameter, layer: Layer) -> None:
    """Put the sizes of a layer's parameters into its message."""
    names = layer.blob_names
    del message.param[len(names) :]
    if message.type in _BIASED:
        getattr(message, _BIASED[message.type]).bias_term = "bias" in names
    shape = tuple(layer.blobs[0].shape) if names else ()
    if isinstance(layer, Convolving):
        _state_convolution(message.convolution_param, layer, shape)
    elif isinstance(layer, InnerProduct):
        message.inner_product_param.num_output = shape[1 if layer.transpose else 0]
    elif isinstance(layer, Embed):
        message.embed_param.input_dim, message.embed_param.num_output = shape


def _state_convolution(param: caffe_pb2.ConvolutionParameter, layer: Convolving, shape: tuple[int, ...]) -> None:
    if shape[2:] != layer.window.kernel:
        for name in ("kernel_size", "kernel_h", "kernel_w"):
            param.ClearField(name)
        param.kernel_size.extend(shape[2:])
    if isinstance(layer, DepthwiseConvolution):
        param.num_output = shape[0]
        param.ClearField("group")
        return
    if param.group > 1 and param.group == layer.channels:
        # Each channel by itself: there are as many groups as channels are left.
        param.group = shape[0] * layer.channels // layer.outputs if isinstance(layer, Convolution) else shape[0]
    param.num_output = shape[0] if isinstance(layer, Convolution) else shape[1] * param.group


def _without_identities(net: Net, message: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """The net without what `nn.Identity` stands for, unless it makes an output or a name means two blobs."""
    specs = {index: net.layers[index].spec for index in net.replaced}
    gone = [index for index, spec in specs.items() if spec.type == "Power" and not spec.message.HasField("power_param")]
    if not gone:
        return message
    old = net.graph
    sketch = Sketch(build_graph(Parsed(message, file=old.file), old.phase, dialect=old.dialect, root=old.root), {})
    for node in sketch:
        if node.spec.index not in gone:
            continue
        bottom, top = node.bottoms[0], node.tops[0]
        alone = all(old.last[key.name] == key for key in (bottom, top))
        if bottom.name == top.name or (alone and not sketch.kept(top)):
            sketch.bypass(node)
    return sketch.finish()[0].message
