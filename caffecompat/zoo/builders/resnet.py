"""ResNet-101 and ResNet-152."""

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
    return _body(net, from_layer, (4, 23), use_pool5, use_dilation_conv5, bn_param)


def ResNet152Body(  # noqa: N802
    net: NetSpec, from_layer: str, use_pool5: bool = True, use_dilation_conv5: bool = False, **bn_param: Any
) -> NetSpec:
    """ResNet-152, from conv1 on; the arguments are those of `ResNet101Body`."""
    return _body(net, from_layer, (8, 36), use_pool5, use_dilation_conv5, bn_param)


def _body(
    net: NetSpec, from_layer: str, counts: tuple[int, int], use_pool5: bool, dilated: bool, bn_param: dict[str, Any]
) -> NetSpec:
    """The net, its third and fourth stage of so many blocks."""
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
    names = {
        2: ["a", "b", "c"],
        3: ["a", *(f"b{index}" for index in range(1, counts[0]))],
        4: ["a", *(f"b{index}" for index in range(1, counts[1]))],
        5: ["a", "b", "c"],
    }
    last, width = "pool1", 64
    for stage, blocks in names.items():
        halves = stage in (3, 4) or (stage == 5 and not dilated)
        for block in blocks:
            first = block == "a"
            ResBody(
                net,
                last,
                f"{stage}{block}",
                out2a=width,
                out2b=width,
                out2c=4 * width,
                stride=2 if first and halves else 1,
                use_branch1=first,
                dilation=2 if stage == 5 and dilated else 1,
                **bn_param,
            )
            last = f"res{stage}{block}"
        width *= 2
    if use_pool5:
        net.pool5 = L.Pooling(net[last], pool=P.Pooling.AVE, global_pooling=True)
    return net
