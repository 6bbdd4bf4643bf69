"""SSD's bodies: a base net, further layers behind it, and the head on the source layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from caffecompat.netspec import NetSpec, Top
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.zoo.builders.blocks import ConvBNLayer
from caffecompat.zoo.builders.multibox_head import CreateMultiBoxHead
from caffecompat.zoo.builders.plain import VGGNetBody, ZFNetBody
from caffecompat.zoo.builders.resnet import ResNet101Body
from caffecompat.zoo.ssd_settings import Setting

# Behind fc7: channels, kernel, pad and stride of the layers conv6_1, conv6_2, conv7_1, ...
_EXTRA = {
    300: (
        *((256, 1, 0, 1), (512, 3, 1, 2), (128, 1, 0, 1), (256, 3, 1, 2)),
        *((128, 1, 0, 1), (256, 3, 0, 1), (128, 1, 0, 1), (256, 3, 0, 1)),
    ),
    512: (
        *((256, 1, 0, 1), (512, 3, 1, 2)),
        *((128, 1, 0, 1), (256, 3, 1, 2)) * 3,
        *((128, 1, 0, 1), (256, 4, 1, 1)),
    ),
}
# Pixels between two prior boxes of each source layer.
_STEPS = {300: (8, 16, 32, 64, 100, 300), 512: (8, 16, 32, 64, 128, 256, 512)}
_VARIANCE = [0.1, 0.1, 0.2, 0.2]


@dataclass(frozen=True)
class Body:
    """A base net.

    Attributes:
        make: adds the layers from "data" to the predictions and prior boxes, of so many classes.
        weights: what its training starts from.
        note: where these come from.
    """

    make: Callable[[NetSpec, Setting, int], list[Top]]
    weights: str
    note: str


def body_and_head(net: NetSpec, setting: Setting, classes: int) -> list[Top]:
    """The layers from "data" to the places, classes and prior boxes, as MultiBoxLoss takes them.

    Args:
        net: the net, which gets the layers.
        setting: which of SSD's nets.
        classes: with the background.
    """
    return BODIES[setting.base].make(net, setting, classes)


def _on_vgg(net: NetSpec, setting: Setting, classes: int) -> list[Top]:
    VGGNetBody(net, from_layer="data", fully_conv=True, reduced=True, dilated=True, dropout=False)
    return _on_fc7(net, setting, classes, "conv4_3")


def _on_zf(net: NetSpec, setting: Setting, classes: int) -> list[Top]:
    ZFNetBody(net, from_layer="data", fully_conv=True, reduced=True, dilated=True, dropout=False)
    return _on_fc7(net, setting, classes, "conv2")


def _on_fc7(net: NetSpec, setting: Setting, classes: int, first: str) -> list[Top]:
    """The further layers, and the head; the first source layer is normalized."""
    last = net.keys()[-1]
    extra = _EXTRA[setting.size]
    for index, window in enumerate(extra):
        name = f"conv{6 + index // 2}_{1 + index % 2}"
        ConvBNLayer(net, last, name, False, True, *window)
        last = name
    sources = [first, "fc7", *(f"conv{number}_2" for number in range(6, 6 + len(extra) // 2))]
    least, second = setting.dataset.smallest[setting.size]
    edges = [least, *range(second, 91, (90 - second) // (len(sources) - 2))]
    sides = [setting.size * edge / 100 for edge in edges]
    beyond = 2 * edges[-1] - edges[-2]
    return CreateMultiBoxHead(
        net,
        data_layer="data",
        from_layers=sources,
        use_batchnorm=False,
        min_sizes=sides,
        max_sizes=[*sides[1:], setting.size * beyond / 100],
        aspect_ratios=[[2], *[[2, 3]] * (len(sources) - 3), [2], [2]],
        steps=_STEPS[setting.size],
        normalizations=[20, *[-1] * (len(sources) - 1)],
        num_classes=classes,
        clip=False,
        prior_variance=_VARIANCE,
        kernel_size=3,
        pad=1,
    )


def _on_resnet(net: NetSpec, setting: Setting, classes: int) -> list[Top]:
    ResNet101Body(net, from_layer="data", use_pool5=False, use_dilation_conv5=True)
    base = last = net.keys()[-1]
    for index in (1, 2, 3):
        for part, window in enumerate(((256, 1, 0, 1), (512, 3, 1, 2)), start=1):
            name = f"{base}/conv{index}_{part}"
            ConvBNLayer(net, last, name, True, True, *window)
            last = name
    net.pool6 = L.Pooling(net[net.keys()[-1]], pool=P.Pooling.AVE, global_pooling=True)
    edges = (20, 38, 56, 74, 92, 110)
    sides = [setting.size * edge / 100 for edge in edges]
    return CreateMultiBoxHead(
        net,
        data_layer="data",
        from_layers=["res3b3_relu", base, *(f"{base}/conv{index}_2" for index in (1, 2, 3)), "pool6"],
        use_batchnorm=False,
        min_sizes=[setting.size * 10 / 100, *sides[:-1]],
        max_sizes=[[], *sides[1:]],
        aspect_ratios=[[2], *[[2, 3]] * 5],
        num_classes=classes,
        clip=True,
        prior_variance=_VARIANCE,
        kernel_size=3,
        pad=1,
    )


BODIES = {
    "vgg": Body(
        _on_vgg,
        "models/VGGNet/VGG_ILSVRC_16_layers_fc_reduced.caffemodel",
        "`caffecompat convert --recipe vgg_reduced` makes these weights of VGG_ILSVRC_16_layers.caffemodel",
    ),
    "zf": Body(
        _on_zf,
        "models/ZFNet/ZF_conv_reduced.caffemodel",
        "ZF_conv_reduced.caffemodel is ZFNet for ILSVRC, fc6 and fc7 reduced to 1024 channels, from the authors of SSD",
    ),
    "resnet-101": Body(
        _on_resnet,
        "models/ResNet/ResNet-101-model.caffemodel",
        "ResNet-101-model.caffemodel is the one that the authors of ResNet published",
    ),
}
