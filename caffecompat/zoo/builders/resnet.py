"""ResNets of bottleneck blocks: ResNet-50, ResNet-101, ResNet-152."""

from __future__ import annotations

from typing import Any

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.zoo.builders.blocks import ConvBNLayer, ResBody


def ResNet101Body(  # noqa: N802
    net: NetSpec, from_layer: str, use_pool5: bool = True, use_dilation_conv5: bool = False, **bn_param: Any
) -> NetSpec:
    """ResNet-101, from conv1 on.

    Args:
        net: the net, which gets the layers.
        from_layer: the name of the bottom.
        use_pool5: with the mean over all places at the end.
        use_dilation_conv5: the last stage keeps the size and is dilated.
        bn_param: as `ConvBNLayer` takes.

    Returns:
        The net.
    """
    return bottlenecks(net, from_layer, (4, 23), use_pool5, use_dilation_conv5, **bn_param)


def ResNet152Body(  # noqa: N802
    net: NetSpec, from_layer: str, use_pool5: bool = True, use_dilation_conv5: bool = False, **bn_param: Any
) -> NetSpec:
    """ResNet-152, from conv1 on; the arguments are those of `ResNet101Body`."""
    return bottlenecks(net, from_layer, (8, 36), use_pool5, use_dilation_conv5, **bn_param)


def stem(net: NetSpec, from_layer: str, **bn_param: Any) -> str:
    """What all ResNets begin with: a 7x7 convolution and a pooling; the name of the top."""
    ConvBNLayer(
        net,
        from_layer,
        "conv1",
        use_bn=True,
        use_relu=True,
        num_output=64,
        kernel_size=7,
        pad=3,
        stride=2,
        bn_prefix="bn_",
        bn_postfix="",
        scale_prefix="scale_",
        scale_postfix="",
        **bn_param,
    )
    net.pool1 = L.Pooling(net.conv1, pool=P.Pooling.MAX, kernel_size=3, stride=2)
    return "pool1"


def bottlenecks(
    net: NetSpec,
    from_layer: str,
    counts: tuple[int, int],
    use_pool5: bool = True,
    use_dilation_conv5: bool = False,
    lettered: bool = False,
    **bn_param: Any,
) -> NetSpec:
    """A ResNet of bottleneck blocks.

    Args:
        net: the net, which gets the layers.
        from_layer: the name of the bottom.
        counts: how many blocks its third and its fourth stage have; the others have three.
        use_pool5: with the mean over all places at the end.
        use_dilation_conv5: the last stage keeps the size and is dilated.
        lettered: the blocks are named a, b, c, ... throughout, else a, b1, b2, ... in the third and fourth stage.
        bn_param: as `ConvBNLayer` takes.

    Returns:
        The net.
    """
    last, width = stem(net, from_layer, **bn_param), 64
    for stage, count in zip((2, 3, 4, 5), (3, *counts, 3), strict=True):
        halves = stage in (3, 4) or (stage == 5 and not use_dilation_conv5)
        numbered = stage in (3, 4) and not lettered
        for index in range(count):
            block = f"b{index}" if numbered and index else "abcdef"[index]
            ResBody(
                net,
                last,
                f"{stage}{block}",
                out2a=width,
                out2b=width,
                out2c=4 * width,
                stride=2 if halves and not index else 1,
                use_branch1=not index,
                dilation=2 if stage == 5 and use_dilation_conv5 else 1,
                **bn_param,
            )
            last = f"res{stage}{block}"
        width *= 2
    if use_pool5:
        net.pool5 = L.Pooling(net[last], pool=P.Pooling.AVE, global_pooling=True)
    return net
