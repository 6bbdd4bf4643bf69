"""ResNet-18, 34, 50, 101 and 152.

Source: He et al.: Deep Residual Learning for Image Recognition, CVPR 2016, table 1 and section 3.4; names are those of
the nets that they published.
"""

from __future__ import annotations

from functools import partial

from caffecompat.netspec import NetSpec, Top
from caffecompat.zoo.builders.resnet import bottlenecks, stem
from caffecompat.zoo.classifying import Body
from caffecompat.zoo.model import Asked, Model, Nets
from caffecompat.zoo.normalized import MSRA, STATISTICS, conv_bn, nets_of, scored, summed


def _conv(
    net: NetSpec, bottom: str, block: str, branch: str, channels: int, stride: int, relu: bool, size: int = 3
) -> str:
    return conv_bn(
        net,
        bottom,
        branch,
        channels,
        size,
        stride=stride,
        relu=relu,
        conv_prefix=f"res{block}_",
        bn_prefix=f"bn{block}_",
        bn_postfix="",
        scale_prefix=f"scale{block}_",
        scale_postfix="",
    )


def _basic(counts: tuple[int, ...], net: NetSpec, classes: int) -> str:
    """Blocks of two 3x3 convolutions."""
    last = stem(net, "data", **STATISTICS)
    net.update("conv1", {"weight_filler": MSRA})
    for stage, count in enumerate(counts, start=2):
        width = 32 * 2 ** (stage - 1)
        for index in range(count):
            block = f"{stage}{'abcdef'[index]}"
            stride = 2 if stage > 2 and not index else 1
            shortcut = last if stride == 1 else _conv(net, last, block, "branch1", width, stride, False, size=1)
            last = _conv(net, last, block, "branch2a", width, stride, True)
            last = summed(net, f"res{block}", shortcut, _conv(net, last, block, "branch2b", width, 1, False))
    return scored(net, last, f"fc{classes}", classes)


def _deep(counts: tuple[int, int], net: NetSpec, classes: int) -> str:
    """Blocks of three convolutions, a bottleneck each."""
    bottlenecks(net, "data", counts, use_pool5=False, lettered=counts == (4, 6), **STATISTICS)
    for name, top in net.tops.items():
        if isinstance(top, Top) and top.fn.type_name == "Convolution":
            net.update(name, {"weight_filler": MSRA})
    return scored(net, "res5c", f"fc{classes}", classes)


def _build(name: str, body: Body, asked: Asked) -> Nets:
    return nets_of(name, body, asked, lr_policy="step", gamma=0.1, stepsize=200_000)


_BODIES: dict[int, Body] = {
    18: partial(_basic, (2, 2, 2, 2)),
    34: partial(_basic, (3, 4, 6, 3)),
    50: partial(_deep, (4, 6)),
    101: partial(_deep, (4, 23)),
    152: partial(_deep, (8, 36)),
}
MODELS = tuple(
    Model(
        f"resnet-{layers}",
        f"ResNet-{layers}",
        "He et al. 2015",
        partial(_build, f"ResNet_{layers}", body),
        {"imagenet": 1000},
    )
    for layers, body in _BODIES.items()
)
