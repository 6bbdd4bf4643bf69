"""RepVGG, in the form that trains: each block sums a 3x3 convolution, a 1x1 convolution and its input.

`caffecompat convert --fuse` makes one 3x3 convolution of each block.
Source: Ding et al.: RepVGG: Making VGG-style ConvNets Great Again, CVPR 2021, section 3 and tables 2 and 3; for the
variants "search" and "plain" Ding et al.: Re-parameterizing Your Optimizers rather than Architectures, ICLR 2023.
"""

from __future__ import annotations

from functools import partial
from math import sqrt

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.zoo.builders.blocks import Params, constant, rates
from caffecompat.zoo.classifying import widened
from caffecompat.zoo.model import Asked, Model, Nets
from caffecompat.zoo.normalized import MSRA, batch_norm, conv_bn, nets_of, normalized, scored, summed

_DEPTHS = {"a": (1, 2, 4, 14, 1), "b": (1, 4, 6, 16, 1)}
# By how much the widths of the first stages, and that of the last one, are multiplied.
_WIDTHS = {
    "a0": (0.75, 2.5),
    "a1": (1, 2.5),
    "a2": (1.5, 2.75),
    "b0": (1, 2.5),
    "b1": (2, 4),
    "b2": (2.5, 5),
    "b3": (3, 5),
}
# The size, and how many groups every second layer has.
_VARIANTS = {
    f"{size}{suffix}": (size, groups)
    for size in _WIDTHS
    for suffix, groups in (("", 1), ("g2", 2), ("g4", 4))
    if groups == 1 or size in ("b1", "b2", "b3")
}
# How a block trains: in branches, also with the decay on the kernel that they make up; in branches that learn how much
# each counts; or as the one convolution that it is in the end, by those.
_FORMS = ("branches", "kernel-decay", "search", "plain")
# Pictures of at most so many pixels are not halved by the first layer.
_SMALL = 64


def _body(asked: Asked, variant: str, net: NetSpec, classes: int) -> str:
    size, groups = _VARIANTS[variant]
    first, last = _WIDTHS[size]
    full = (min(64, int(64 * first)), *(int(width * first) for width in (64, 128, 256)), int(512 * last))
    widths = [widened(width, asked.width) for width in full]
    small = asked.size is not None and asked.size <= _SMALL
    top, channels, layer = "data", 3, 0
    for stage, (width, depth) in enumerate(zip(widths, _DEPTHS[size[0]], strict=True)):
        for index in range(1, depth + 1):
            group = groups if layer % 2 == 0 and layer > 0 else 1
            stride = 2 if index == 1 and not (small and stage == 0) else 1
            name = f"stage{stage}_{index}"
            if asked.variant == "plain":
                top = conv_bn(net, top, name, width, 3, stride=stride, group=group)
            elif asked.variant == "search":
                scale = sqrt(2 / (index - 1)) if index > 1 else 1.0
                top = _scaled_block(net, top, name, channels, width, stride, group, scale)
            else:
                top = _block(net, top, name, channels, width, stride, group)
            channels, layer = width, layer + 1
    return scored(net, top, "fc", classes, pool="pool")


def _block(net: NetSpec, bottom: str, name: str, channels: int, width: int, stride: int, group: int) -> str:
    branches = [
        conv_bn(net, bottom, f"{name}_{size}x{size}", width, size, stride=stride, group=group, relu=False)
        for size in (3, 1)
    ]
    if stride == 1 and channels == width:
        branches.append(batch_norm(net, bottom, f"{name}_identity"))
    return summed(net, name, *branches)


def _scaled_block(
    net: NetSpec, bottom: str, name: str, channels: int, width: int, stride: int, group: int, scale: float
) -> str:
    """Branches without BatchNorm, each times a factor for each channel that is learned; BatchNorm after the sum."""
    branches = []
    for size in (3, 1):
        conv = f"{name}_{size}x{size}"
        net[conv] = L.Convolution(
            net[bottom],
            num_output=width,
            kernel_size=size,
            pad=size // 2,
            stride=stride,
            bias_term=False,
            weight_filler=MSRA,
            param=rates((1, 1)),
            **({"group": group} if group > 1 else {}),
        )
        branches.append(_factor(net, conv, conv, scale))
    if stride == 1 and channels == width:
        branches.append(_factor(net, bottom, f"{name}_identity", 1))
    return normalized(net, summed(net, f"{name}_sum", *branches, relu=False), name)


def _factor(net: NetSpec, bottom: str, name: str, value: float) -> str:
    net[f"{name}_scale"] = L.Scale(net[bottom], filler=constant(value), param=rates((1, 0)))
    return f"{name}_scale"


_NOTES = {
    "search": "the trained factors of the branches are what --variant plain trains by: `rep_optimizer_scales`",
    "plain": "search.caffemodel stands for the weights of a net trained with --variant search, of the same width",
}


def _build(variant: str, asked: Asked) -> Nets:
    notes = ["the rate falls linearly (poly): Caffe has no cosine, which the paper takes"]
    if asked.variant in _NOTES:
        notes.insert(0, _NOTES[asked.variant])
    else:
        notes.insert(
            0,
            "`caffecompat convert deploy.prototxt --weights TRAINED --fuse -o plain.prototxt` makes one convolution of "
            "each block, and with -o plain.caffemodel its weights",
        )
    return nets_of(
        f"Rep{'Opt' if asked.variant in _NOTES else ''}VGG_{variant.capitalize()}",
        partial(_body, asked, variant),
        asked,
        tuple(notes),
        scale=0.017,
        size=asked.size or 224,
        lr_policy="poly",
        power=1,
        **_training(asked.variant),
    )


def _training(form: str) -> Params:
    """What the solver of a form has besides, as the authors train it."""
    if form == "kernel-decay":
        return {"equivalent_kernel_decay": True}
    if form == "search":
        return {"type": "Nesterov", "weight_decay": 0.00004}
    if form == "plain":
        return {"type": "Nesterov", "weight_decay": 0.00004, "rep_optimizer_scales": "search.caffemodel"}
    return {}


MODELS = tuple(
    Model(
        f"repvgg-{variant}",
        f"RepVGG-{variant.capitalize()}",
        "Ding et al. 2021",
        partial(_build, variant),
        {"imagenet": 1000},
        variants=_FORMS,
        scales=("width", "size"),
    )
    for variant in _VARIANTS
)
