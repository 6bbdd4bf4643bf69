"""ACNet: nets of the zoo with an asymmetric convolution block in the place of each convolution of a square kernel.

Source: Ding et al.: ACNet: Strengthening the Kernel Skeletons for Powerful CNN via Asymmetric Convolution Blocks, ICCV
2019, section 3: beside a KxK kernel stand one of Kx1 and one of 1xK, each with BatchNorm, and their outputs are summed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from caffecompat.schema import caffe_pb2
from caffecompat.zoo import alexnet, resnet, small, vgg
from caffecompat.zoo.builders.blocks import rates
from caffecompat.zoo.model import Asked, Model, Nets
from caffecompat.zoo.normalized import STATISTICS

_NOTE = "`caffecompat convert --fuse` makes one convolution of each block of three: {} with biases"
# How often the rate of residual nets falls: every 30 epochs.
_STEP = 150_000


def asymmetric(net: caffe_pb2.NetParameter) -> caffe_pb2.NetParameter:
    """A net with blocks in the place of its square convolutions.

    A sum takes the convolution's name, so that all behind it stays; BatchNorm and Scale that work in place on it go, as
    each branch has its own. Kernels of 1x1 stay, as do those whose padding is less than half of them: the narrow kernel
    beside them would have to leave out the edge of what it reads.

    Args:
        net: the plain net, which stays as it is.
    """
    made = caffe_pb2.NetParameter()
    made.CopyFrom(net)
    del made.layer[:]
    summed = ""
    for layer in net.layer:
        if _is_square(layer):
            made.layer.extend(_block(layer))
            summed = layer.top[0]
        elif not (layer.type in ("BatchNorm", "Scale") and list(layer.bottom) == list(layer.top) == [summed]):
            made.layer.append(layer)
    return made


def _is_square(layer: caffe_pb2.LayerParameter) -> bool:
    if layer.type != "Convolution":
        return False
    param = layer.convolution_param
    (size,), pad = param.kernel_size, sum(param.pad)
    return bool(size > 1 and pad >= size // 2)


def _block(layer: caffe_pb2.LayerParameter) -> Iterator[caffe_pb2.LayerParameter]:
    """The branches of a block, and their sum."""
    name, half = layer.name, layer.convolution_param.kernel_size[0] // 2
    filled = layer.convolution_param.HasField("weight_filler")
    tops = []
    for branch, thin in (("square", ""), ("vertical", "w"), ("horizontal", "h")):
        top = f"{name}_{branch}"
        tops.append(top)
        conv = caffe_pb2.LayerParameter(name=top, type="Convolution", bottom=layer.bottom, top=[top])
        conv.convolution_param.CopyFrom(layer.convolution_param)
        conv.param.add(lr_mult=1, decay_mult=1)
        param = conv.convolution_param
        param.ClearField("bias_filler")
        param.bias_term = False
        if filled:
            param.weight_filler.CopyFrom(caffe_pb2.FillerParameter(type="msra"))
        if thin:
            _make_thin(param, thin, half)
        yield conv
        yield from _normalized(top, filled)
    sum_ = caffe_pb2.LayerParameter(name=name, type="Eltwise", bottom=tops, top=layer.top)
    sum_.eltwise_param.operation = caffe_pb2.EltwiseParameter.SUM
    yield sum_


def _make_thin(param: caffe_pb2.ConvolutionParameter, axis: str, half: int) -> None:
    """Make the kernel 1 along an axis, "h" or "w", so that it stands over the middle of the square one."""
    size, pad, stride = param.kernel_size[0], sum(param.pad), param.stride[0] if param.stride else 1
    for field in ("kernel_size", "pad", "stride"):
        param.ClearField(field)
    for own in "hw":
        thin = own == axis
        setattr(param, f"kernel_{own}", 1 if thin else size)
        setattr(param, f"pad_{own}", pad - half if thin else pad)
        setattr(param, f"stride_{own}", stride)


def _normalized(top: str, filled: bool) -> Iterator[caffe_pb2.LayerParameter]:
    """BatchNorm and Scale in place."""
    fixed = [caffe_pb2.ParamSpec(**rate) for rate in rates((0, 0), (0, 0), (0, 0))]
    norm = caffe_pb2.LayerParameter(name=f"{top}_bn", type="BatchNorm", bottom=[top], top=[top], param=fixed)
    norm.batch_norm_param.CopyFrom(caffe_pb2.BatchNormParameter(**STATISTICS))
    yield norm
    learning = [caffe_pb2.ParamSpec(**rate) for rate in rates((1, 0), (1, 0))]
    scale = caffe_pb2.LayerParameter(name=f"{top}_scale", type="Scale", bottom=[top], top=[top], param=learning)
    scale.scale_param.bias_term = True
    if filled:
        scale.scale_param.filler.CopyFrom(caffe_pb2.FillerParameter(type="constant", value=1))
        scale.scale_param.bias_filler.CopyFrom(caffe_pb2.FillerParameter(type="constant", value=0))
    yield scale


def _build(plain: Model, asked: Asked) -> Nets:
    nets = plain.build(asked)
    made = {name: asymmetric(net) for name, net in nets.nets.items()}
    for net in made.values():
        net.name = f"ACNet_{net.name}"
    solver = caffe_pb2.SolverParameter()
    solver.CopyFrom(nets.solver)
    if plain.name.startswith("resnet-"):
        solver.stepsize = _STEP
    return Nets(made, solver, f"ACNet_{nets.prefix}", None, (_NOTE.format(plain.name),))


_PLAIN = {
    "cifar-quick": ("cifar10-quick", small.MODELS),
    "vgg-16": ("vgg-d", vgg.MODELS),
    "alexnet": ("alexnet", alexnet.MODELS),
    "resnet-18": ("resnet-18", resnet.MODELS),
    "resnet-50": ("resnet-50", resnet.MODELS),
}
MODELS = tuple(
    replace(
        plain,
        name=f"acnet-{name}",
        summary=f"{plain.summary}; with asymmetric convolution blocks",
        source="Ding et al. 2019",
        build=partial(_build, plain),
    )
    for name, (of, models) in _PLAIN.items()
    for plain in models
    if plain.name == of
)
