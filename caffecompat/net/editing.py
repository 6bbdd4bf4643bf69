"""Layers of a net replaced by modules of plain PyTorch: `net.fc8 = torch.nn.Linear(4096, 20)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from caffecompat.errors import CaffeCompatError, UnsupportedError
from caffecompat.formats.messages import copy_fields
from caffecompat.graph.spec import Shape
from caffecompat.layers import build
from caffecompat.layers.base import Layer
from caffecompat.schema import caffe_pb2

_KEPT = ("name", "bottom", "top", "phase", "loss_weight", "propagate_down", "include", "exclude")
# What of a Convolution's or InnerProduct's parameters the module does not say.
_FILLERS = ("weight_filler", "bias_filler", "engine")
_Say = Callable[[Any, caffe_pb2.LayerParameter], None]


def replacement(layer: Layer, module: nn.Module, bottoms: Sequence[Shape]) -> Layer:
    """The layer that computes what a module computes, with the module's own parameters, in the place of a layer.

    Args:
        layer: the layer that goes.
        module: one of `MODULES`, or a layer.
        bottoms: the shapes of the layer's bottoms.

    Raises:
        UnsupportedError: the module is another, or has what Caffe's layer has not; or the layer cannot be replaced.
    """
    spec = layer.spec
    if len(spec.bottoms) != 1 or len(spec.tops) != 1:
        raise _refused(layer, f"it has {len(spec.bottoms)} bottoms and {len(spec.tops)} tops; only one of each can go")
    if layer._owners or layer._sharers:
        raise _refused(layer, "it shares parameters with another layer")
    message = caffe_pb2.LayerParameter()
    copy_fields(
        spec.message, message, skip=[name for name in spec.message.DESCRIPTOR.fields_by_name if name not in _KEPT]
    )
    if isinstance(module, Layer):
        parameters = module.blobs
        message.MergeFrom(_without_place(module.spec.message))
    else:
        say = next((say for kind, say in MODULES.items() if type(module) is kind), None)
        if say is None:
            listed = ", ".join(kind.__name__ for kind in MODULES)
            raise _refused(layer, f"{type(module).__name__} cannot be put in its place", f"what can: {listed}")
        try:
            say(module, message)
        except CaffeCompatError as error:
            raise spec.locate(error) from None
        _keep_fillers(spec.message, message)
        parameters = [value for name in ("weight", "bias") if (value := getattr(module, name, None)) is not None]
    message.param.extend(spec.message.param[: len(parameters)])
    made = build(
        replace(spec, type=message.type, message=message, params=spec.params[: len(parameters)], unknown=()), bottoms
    )
    for index, parameter in enumerate(parameters):
        made.set_blob(index, parameter)
    return made.train(layer.training)


def _without_place(message: caffe_pb2.LayerParameter) -> caffe_pb2.LayerParameter:
    own = caffe_pb2.LayerParameter()
    own.CopyFrom(message)
    for name in (*_KEPT, "param", "blobs"):
        own.ClearField(name)
    return own


def _keep_fillers(old: caffe_pb2.LayerParameter, new: caffe_pb2.LayerParameter) -> None:
    field = {"Convolution": "convolution_param", "InnerProduct": "inner_product_param"}.get(new.type)
    if field is None or old.type != new.type:
        return
    before, param = getattr(old, field), getattr(new, field)
    for name in _FILLERS:
        if name in before.DESCRIPTOR.fields_by_name and before.HasField(name):
            if name == "engine":
                param.engine = before.engine
            elif name != "bias_filler" or param.bias_term:
                getattr(param, name).CopyFrom(getattr(before, name))


def _refused(layer: Layer, why: str, hint: str | None = None) -> CaffeCompatError:
    return layer.error(f"the layer cannot be replaced: {why}", hint=hint, kind=UnsupportedError)


def _convolution(module: nn.Conv1d | nn.Conv2d | nn.Conv3d, message: caffe_pb2.LayerParameter) -> None:
    transposed = isinstance(module, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    message.type = "Deconvolution" if transposed else "Convolution"
    if module.padding_mode != "zeros" or isinstance(module.padding, str) or any(module.output_padding):
        raise UnsupportedError(
            f"Caffe's {message.type} has neither padding_mode {module.padding_mode!r} nor padding "
            f"{module.padding!r} nor output_padding {module.output_padding}",
            hint="state the padding as a number, and zeros",
        )
    param = message.convolution_param
    param.num_output, param.bias_term = module.out_channels, module.bias is not None
    param.kernel_size.extend(module.kernel_size)
    param.stride.extend(module.stride)
    param.pad.extend(module.padding)
    param.dilation.extend(module.dilation)
    if module.groups != 1:
        param.group = module.groups


def _linear(module: nn.Linear, message: caffe_pb2.LayerParameter) -> None:
    message.type = "InnerProduct"
    message.inner_product_param.num_output = module.out_features
    message.inner_product_param.bias_term = module.bias is not None


def _elu(module: nn.ELU, message: caffe_pb2.LayerParameter) -> None:
    message.type, message.elu_param.alpha = "ELU", module.alpha


def _prelu(module: nn.PReLU, message: caffe_pb2.LayerParameter) -> None:
    message.type, message.prelu_param.channel_shared = "PReLU", module.num_parameters == 1


def _leaky_relu(module: nn.LeakyReLU, message: caffe_pb2.LayerParameter) -> None:
    message.type, message.relu_param.negative_slope = "ReLU", module.negative_slope


def _dropout(module: nn.Dropout, message: caffe_pb2.LayerParameter) -> None:
    message.type, message.dropout_param.dropout_ratio = "Dropout", module.p


def _relu6(module: nn.ReLU6, message: caffe_pb2.LayerParameter) -> None:
    message.type, message.clip_param.min, message.clip_param.max = "Clip", 0, 6


def _plain(type_: str) -> _Say:
    def say(module: nn.Module, message: caffe_pb2.LayerParameter) -> None:
        message.type = type_

    return say


# What may be put in the place of a layer. Caffe's way to do nothing is a Power of 1.
MODULES: dict[type[nn.Module], _Say] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Conv3d: _convolution,
    nn.ConvTranspose1d: _convolution,
    nn.ConvTranspose2d: _convolution,
    nn.ConvTranspose3d: _convolution,
    nn.ReLU: _plain("ReLU"),
    nn.LeakyReLU: _leaky_relu,
    nn.PReLU: _prelu,
    nn.ELU: _elu,
    nn.ReLU6: _relu6,
    nn.SiLU: _plain("Swish"),
    nn.Sigmoid: _plain("Sigmoid"),
    nn.Tanh: _plain("TanH"),
    nn.Dropout: _dropout,
    nn.Identity: _plain("Power"),
}
