"""ShuffleNet v2, with the four widths of its paper. The channels are shuffled by Reshape and the SSD branch's Permute.

Source: Ma et al.: ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design, ECCV 2018, table 5 and
figure 3; training is that of Zhang et al.: ShuffleNet, CVPR 2018.
"""

from __future__ import annotations

from functools import partial

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.zoo.model import Asked, Model, Nets
from caffecompat.zoo.normalized import conv_bn, nets_of, scored

# Channels of the stages, and of the last convolution.
_WIDTHS = {
    "1.0": ((116, 232, 464), 1024),
    "0.5": ((48, 96, 192), 1024),
    "1.5": ((176, 352, 704), 1024),
    "2.0": ((244, 488, 976), 2048),
}
_UNITS = (4, 8, 4)


def _body(variant: str, net: NetSpec, classes: int) -> str:
    widths, last_width = _WIDTHS[variant]
    conv_bn(net, "data", "conv1", 24, 3, stride=2)
    net.pool1 = L.Pooling(net.conv1, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    last, channels = "pool1", 24
    for stage, (width, units) in enumerate(zip(widths, _UNITS, strict=True), start=2):
        last = _halving(net, last, f"stage{stage}_1", channels, width)
        for unit in range(2, units + 1):
            last = _keeping(net, last, f"stage{stage}_{unit}", width)
        channels = width
    return scored(net, conv_bn(net, last, "conv5", last_width, 1), "fc", classes, pool="pool")


def _keeping(net: NetSpec, bottom: str, name: str, width: int) -> str:
    """One half of the channels stays as it is."""
    left, right = f"{name}_left", f"{name}_right"
    net[left], net[right] = L.Slice(net[bottom], ntop=2, name=f"{name}_split", axis=1, slice_point=[width // 2])
    return _shuffled(net, name, width, left, _branch(net, right, f"{name}_b2", width // 2, width // 2, 1))


def _halving(net: NetSpec, bottom: str, name: str, channels: int, width: int) -> str:
    """Both branches take all channels, and a stride of 2."""
    left = conv_bn(net, bottom, f"{name}_b1_dw", channels, 3, stride=2, group=channels, relu=False)
    left = conv_bn(net, left, f"{name}_b1_conv", width // 2, 1)
    return _shuffled(net, name, width, left, _branch(net, bottom, f"{name}_b2", channels, width // 2, 2))


def _branch(net: NetSpec, bottom: str, name: str, channels: int, width: int, stride: int) -> str:
    last = conv_bn(net, bottom, f"{name}_conv1", width, 1)
    last = conv_bn(net, last, f"{name}_dw", width, 3, stride=stride, group=width, relu=False)
    return conv_bn(net, last, f"{name}_conv2", width, 1)


def _shuffled(net: NetSpec, name: str, width: int, left: str, right: str) -> str:
    """Both branches' channels in turn, at any size of image."""
    net[f"{name}_concat"] = L.Concat(net[left], net[right], axis=1)
    halves = {"shape": {"dim": [2, width // 2]}, "axis": 1, "num_axes": 1}
    net[f"{name}_halves"] = L.Reshape(net[f"{name}_concat"], **halves)
    net[f"{name}_turned"] = L.Permute(net[f"{name}_halves"], order=[0, 2, 1, 3, 4])
    net[name] = L.Reshape(net[f"{name}_turned"], shape={"dim": [width]}, axis=1, num_axes=2)
    return name


def _build(asked: Asked) -> Nets:
    return nets_of(
        f"ShuffleNet_v2_{asked.variant}",
        partial(_body, asked.variant),
        asked,
        (
            "the paper's batches are of 1024: 128 in each of eight passes",
            "BVLC's Caffe has no Permute: the SSD branch has",
        ),
        scale=0.017,
        batch=128,
        lr_policy="poly",
        power=1,
        base_lr=0.5,
        max_iter=300_000,
        weight_decay=0.00004,
    )


MODELS = (
    Model(
        "shufflenet-v2",
        "ShuffleNet v2, with so many times the channels",
        "Ma et al. 2018",
        _build,
        {"imagenet": 1000},
        variants=tuple(_WIDTHS),
    ),
)
