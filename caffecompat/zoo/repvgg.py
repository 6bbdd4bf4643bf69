"""RepVGG, in the form that trains: each block sums a 3x3 convolution, a 1x1 convolution and its input.

`caffecompat convert --fuse` makes one 3x3 convolution of each block.
Source: Ding et al.: RepVGG: Making VGG-style ConvNets Great Again, CVPR 2021, section 3 and tables 2 and 3.
"""

from __future__ import annotations

from functools import partial

from caffecompat.netspec import NetSpec
from caffecompat.zoo.model import Asked, Model, Nets
from caffecompat.zoo.normalized import batch_norm, conv_bn, nets_of, scored, summed

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


def _body(variant: str, net: NetSpec, classes: int) -> str:
    size, groups = _VARIANTS[variant]
    first, last = _WIDTHS[size]
    widths = (min(64, int(64 * first)), *(int(width * first) for width in (64, 128, 256)), int(512 * last))
    top, channels, layer = "data", 3, 0
    for stage, (width, depth) in enumerate(zip(widths, _DEPTHS[size[0]], strict=True)):
        for index in range(1, depth + 1):
            group = groups if layer % 2 == 0 and layer > 0 else 1
            top = _block(net, top, f"stage{stage}_{index}", channels, width, 2 if index == 1 else 1, group)
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


def _build(variant: str, asked: Asked) -> Nets:
    return nets_of(
        f"RepVGG_{variant.capitalize()}",
        partial(_body, variant),
        asked,
        (
            "`caffecompat convert deploy.prototxt --weights TRAINED --fuse -o plain.prototxt` makes one convolution of "
            "each block, and with -o plain.caffemodel its weights",
            "the rate falls linearly (poly): Caffe has no cosine, which the paper takes",
        ),
        scale=0.017,
        lr_policy="poly",
        power=1,
    )


MODELS = tuple(
    Model(
        f"repvgg-{variant}",
        f"RepVGG-{variant.capitalize()}",
        "Ding et al. 2021",
        partial(_build, variant),
        {"imagenet": 1000},
    )
    for variant in _VARIANTS
)
