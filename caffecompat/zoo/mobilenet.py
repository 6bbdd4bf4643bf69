"""MobileNet v1, with the four widths of its paper.

Source: Howard et al.: MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications, 2017, tables
1 and 6; names are those of the nets that Caffe's users share (conv2_1/dw, conv2_1/sep).
"""

from __future__ import annotations

from functools import partial

from caffecompat.netspec import NetSpec
from caffecompat.zoo.builders.blocks import Params
from caffecompat.zoo.classifying import ILSVRC_IMAGES
from caffecompat.zoo.model import Asked, Model, Nets
from caffecompat.zoo.normalized import conv_bn, nets_of, scored

# Name, channels and stride of each pair of a depthwise and a 1x1 convolution.
_PAIRS = (
    ("conv2_1", 64, 1),
    ("conv2_2", 128, 2),
    ("conv3_1", 128, 1),
    ("conv3_2", 256, 2),
    ("conv4_1", 256, 1),
    ("conv4_2", 512, 2),
    *((f"conv5_{index}", 512, 1) for index in range(1, 6)),
    ("conv5_6", 1024, 2),
    ("conv6", 1024, 1),
)
_BATCH = 32


def _body(width: float, net: NetSpec, classes: int) -> str:
    names: Params = {"bn_postfix": "/bn", "scale_postfix": "/scale"}
    channels = int(32 * width)
    last = conv_bn(net, "data", "conv1", channels, 3, stride=2, **names)
    for name, outputs, stride in _PAIRS:
        last = conv_bn(net, last, f"{name}/dw", channels, 3, stride=stride, group=channels, **names)
        # Depthwise kernels are small: their weights do not decay.
        net.update(last, {"param": [{"lr_mult": 1, "decay_mult": 0}]})
        channels = int(outputs * width)
        last = conv_bn(net, last, f"{name}/sep", channels, 1, **names)
    return scored(net, last, "fc7", classes, pool="pool6")


def _build(asked: Asked) -> Nets:
    return nets_of(
        f"MobileNet_{asked.variant}",
        partial(_body, float(asked.variant)),
        asked,
        ("the paper says that training is like Inception v3's: RMSProp, and a rate that falls by 6% every two epochs",),
        scale=0.017,
        type="RMSProp",
        rms_decay=0.9,
        delta=1,
        momentum=0,
        base_lr=0.045,
        weight_decay=0.00004,
        iter_size=1,
        lr_policy="step",
        gamma=0.94,
        stepsize=2 * ILSVRC_IMAGES // _BATCH,
        max_iter=100 * ILSVRC_IMAGES // _BATCH,
    )


MODELS = (
    Model(
        "mobilenet-v1",
        "MobileNet v1, with so many times the channels",
        "Howard et al. 2017",
        _build,
        {"imagenet": 1000},
        variants=("1.0", "0.75", "0.5", "0.25"),
    ),
)
