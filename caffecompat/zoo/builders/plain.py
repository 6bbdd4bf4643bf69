"""ZFNet and VGG16, with the variants of their last layers that detection uses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.zoo.builders.blocks import Params, expect_layer, rates, trained

# The number of convolutions and of channels of VGG's blocks.
_VGG_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
# By dilated and reduced.
_ZF_FC6: dict[tuple[bool, bool], Params] = {
    (True, True): {"num_output": 1024, "pad": 5, "kernel_size": 3, "dilation": 5},
    (True, False): {"num_output": 4096, "pad": 5, "kernel_size": 6, "dilation": 2},
    (False, True): {"num_output": 1024, "pad": 2, "kernel_size": 3, "dilation": 2},
    (False, False): {"num_output": 4096, "pad": 2, "kernel_size": 6},
}


def ZFNetBody(  # noqa: N802
    net: NetSpec,
    from_layer: str,
    need_fc: bool = True,
    fully_conv: bool = False,
    reduced: bool = False,
    dilated: bool = False,
    dropout: bool = True,
    need_fc8: bool = False,
    freeze_layers: Iterable[str] = (),
) -> NetSpec:
    """ZFNet, from conv1 on.

    Args:
        net: the net, which gets the layers.
        from_layer: the name of the bottom.
        need_fc: with pool5, fc6 and fc7.
        fully_conv: these and fc8 are convolutions.
        reduced: fc6 and fc7 have 1024 channels, and fc6 a smaller kernel with dilation.
        dilated: pool5 keeps the size.
        dropout: with Dropout after fc6 and fc7.
        need_fc8: with fc8 for 1000 classes and prob.
        freeze_layers: layers that do not learn.

    Returns:
        The net.

    Raises:
        BuilderError: there is no `from_layer`.
    """
    expect_layer(net, from_layer)
    last = from_layer
    for block, channels, kernel, pad in ((1, 96, 7, 3), (2, 256, 5, 2)):
        last = _conv(net, last, str(block), num_output=channels, pad=pad, kernel_size=kernel, stride=2)
        net[f"norm{block}"] = L.LRN(
            net[last],
            local_size=3,
            alpha=0.00005,
            beta=0.75,
            norm_region=P.LRN.WITHIN_CHANNEL,
            engine=P.LRN.CAFFE,
        )
        last = _max_pool(net, f"norm{block}", f"pool{block}", pad=1, kernel_size=3, stride=2)
    for block, channels in ((3, 384), (4, 384), (5, 256)):
        last = _conv(net, last, str(block), num_output=channels, pad=1, kernel_size=3)
    if need_fc:
        last = _max_pool(net, last, "pool5", pad=1, kernel_size=3, stride=1 if dilated else 2)
        _fc6_and_fc7(net, last, _ZF_FC6[bool(dilated), bool(reduced)] if fully_conv else None, dropout)
    if need_fc8:
        bottom = net[net.keys()[-1]]
        if fully_conv:
            net.fc8 = L.Convolution(bottom, num_output=1000, kernel_size=1, **trained())
        else:
            net.fc8 = L.InnerProduct(bottom, num_output=1000)
        net.prob = L.Softmax(net.fc8)
    return _frozen(net, freeze_layers)


def VGGNetBody(  # noqa: N802
    net: NetSpec,
    from_layer: str,
    need_fc: bool = True,
    fully_conv: bool = False,
    reduced: bool = False,
    dilated: bool = False,
    nopool: bool = False,
    dropout: bool = True,
    freeze_layers: Iterable[str] = (),
    dilate_pool4: bool = False,
) -> NetSpec:
    """VGG16, from conv1_1 on.

    Args:
        net: the net, which gets the layers.
        from_layer: the name of the bottom.
        need_fc: with pool5, fc6 and fc7.
        fully_conv: fc6 and fc7 are convolutions.
        reduced: they have 1024 channels, and fc6 a smaller kernel with dilation.
        dilated: pool5 keeps the size.
        nopool: convolutions of stride 2 stand for the poolings.
        dropout: with Dropout after fc6 and fc7.
        freeze_layers: layers that do not learn.
        dilate_pool4: pool4 keeps the size (not with nopool), and the convolutions behind it are dilated.

    Returns:
        The net.

    Raises:
        BuilderError: there is no `from_layer`.
    """
    expect_layer(net, from_layer)
    last, dilation = from_layer, 1
    for block, (count, channels) in enumerate(_VGG_BLOCKS, start=1):
        window: Params = _same_size(3, dilation) if block == 5 else {"pad": 1, "kernel_size": 3}
        for index in range(1, count + 1):
            last = _conv(net, last, f"{block}_{index}", num_output=channels, **window)
        if block == 5 and not need_fc:
            break
        keeps_size = dilated if block == 5 else dilate_pool4 and block == 4
        if nopool:
            name = f"conv{block}_{count + 1}"
            stride = 1 if block == 5 and dilated else 2
            net[name] = L.Convolution(net[last], num_output=channels, pad=1, kernel_size=3, stride=stride, **trained())
            last = name
        elif keeps_size:
            last = _max_pool(net, last, f"pool{block}", pad=1, kernel_size=3, stride=1)
            dilation = 2 if block == 4 else dilation
        else:
            last = _max_pool(net, last, f"pool{block}", kernel_size=2, stride=2)
    if need_fc:
        fc6 = None
        if fully_conv:
            if reduced:
                fc6 = {"num_output": 1024, **_same_size(3, dilation * (6 if dilated else 3))}
            else:
                fc6 = {"num_output": 4096, **_same_size(7, dilation * (2 if dilated else 1))}
        _fc6_and_fc7(net, last, fc6, dropout)
    return _frozen(net, freeze_layers)


def _same_size(kernel_size: int, dilation: int) -> Params:
    """A window of stride 1 that keeps the size."""
    return {"pad": dilation * (kernel_size - 1) // 2, "kernel_size": kernel_size, "dilation": dilation}


def _conv(net: NetSpec, bottom: str, suffix: str, **params: Any) -> str:
    """A convolution and its ReLU, in place; the name of the latter."""
    conv, relu = f"conv{suffix}", f"relu{suffix}"
    net[conv] = L.Convolution(net[bottom], **params, **trained())
    net[relu] = L.ReLU(net[conv], in_place=True)
    return relu


def _max_pool(net: NetSpec, bottom: str, name: str, **window: int) -> str:
    net[name] = L.Pooling(net[bottom], pool=P.Pooling.MAX, **window)
    return name


def _fc6_and_fc7(net: NetSpec, bottom: str, fc6: Params | None, dropout: bool) -> None:
    """fc6 and fc7 as convolutions, the first with these parameters; or as inner products."""
    for index in (6, 7):
        fc, relu = f"fc{index}", f"relu{index}"
        if fc6 is None:
            net[fc] = L.InnerProduct(net[bottom], num_output=4096)
        elif index == 6:
            net[fc] = L.Convolution(net[bottom], **fc6, **trained())
        else:
            net[fc] = L.Convolution(net[bottom], num_output=fc6["num_output"], kernel_size=1, **trained())
        net[relu] = L.ReLU(net[fc], in_place=True)
        if dropout:
            net[f"drop{index}"] = L.Dropout(net[relu], dropout_ratio=0.5, in_place=True)
        bottom = relu


def _frozen(net: NetSpec, names: Iterable[str]) -> NetSpec:
    for name in names:
        if name in net:
            net.update(name, {**trained(), "param": rates((0, 0), (0, 0))})
    return net
