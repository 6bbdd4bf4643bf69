"""What bodies are built of: convolution with its normalization, residual blocks, the towers of Inception.

Source of names and parameters: model_libs.py of the SSD branch; trained weights are found by these names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from caffecompat.errors import UsageError, did_you_mean, quoted
from caffecompat.netspec import NetSpec, Top
from caffecompat.netspec import layers as L  # noqa: N812

Number = int | float
Params = dict[str, Any]


class BuilderError(UsageError, AssertionError):
    """Arguments of a builder that do not go together."""


def expect(condition: object, message: str, hint: str | None = None) -> None:
    """Raise a BuilderError unless the condition holds."""
    if not condition:
        raise BuilderError(message, hint=hint)


def expect_layer(net: NetSpec, name: str) -> None:
    """Raise a BuilderError if the net has no blob of this name yet."""
    expect(name in net, f"the net has no layer {quoted(name)} to build on", did_you_mean(name, net))


def rates(*pairs: tuple[Number, Number]) -> list[Params]:
    """The `param` of a layer: learning rate and weight decay of each of its blobs, as multipliers."""
    return [{"lr_mult": rate, "decay_mult": decay} for rate, decay in pairs]


def constant(value: Number) -> Params:
    """A filler."""
    return {"type": "constant", "value": value}


def UnpackVariable(var: Any, num: int) -> list[Any]:  # noqa: N802
    """A value for each of `num` dimensions: a list of that length as it is, a single value repeated.

    Raises:
        BuilderError: a list of another length than 1 and `num`.
    """
    expect(num > 0, f"expected at least one dimension, got {num}")
    values = list(var) if isinstance(var, (list, tuple)) else [var]
    expect(len(values) in (1, num), f"expected 1 or {num} values, got {quoted(var)}")
    return values if len(values) == num else values * num


def ConvBNLayer(  # noqa: N802
    net: NetSpec,
    from_layer: str,
    out_layer: str,
    use_bn: bool,
    use_relu: bool,
    num_output: int,
    kernel_size: Any,
    pad: Any,
    stride: Any,
    dilation: int = 1,
    use_scale: bool = True,
    lr_mult: Number = 1,
    conv_prefix: str = "",
    conv_postfix: str = "",
    bn_prefix: str = "",
    bn_postfix: str = "_bn",
    scale_prefix: str = "",
    scale_postfix: str = "_scale",
    bias_prefix: str = "",
    bias_postfix: str = "_bias",
    **bn_params: Any,
) -> None:
    """A convolution on `from_layer`; after it BatchNorm with Scale or Bias, and ReLU, as wanted, all in place.

    Args:
        net: the net, which gets the layers.
        from_layer: the name of the bottom.
        out_layer: the name of the layers, between prefix and postfix of each kind.
        use_bn: with BatchNorm; the convolution has no bias then.
        use_relu: with ReLU.
        num_output: number of channels.
        kernel_size: a number, or [height, width]; so are pad and stride.
        pad: zeros at each side.
        stride: step of the kernel.
        dilation: distance of the kernel's cells.
        use_scale: after BatchNorm a Scale with bias, else a Bias.
        lr_mult: the multiplier of the learning rates.
        conv_prefix: stands before the convolution's name; the further ones likewise.
        conv_postfix: stands behind it.
        bn_prefix: for BatchNorm.
        bn_postfix: for BatchNorm.
        scale_prefix: for Scale.
        scale_postfix: for Scale.
        bias_prefix: for Bias.
        bias_postfix: for Bias.
        bn_params: eps (0.001), moving_average_fraction (0.999), use_global_stats (BatchNorm is frozen, with what
            follows it); others are ignored.
    """
    conv = f"{conv_prefix}{out_layer}{conv_postfix}"
    if use_bn:
        filling = {
            "param": rates((lr_mult, 1)),
            "weight_filler": {"type": "gaussian", "std": 0.01},
            "bias_term": False,
        }
    else:
        filling = trained(lr_mult)
    net[conv] = L.Convolution(net[from_layer], num_output=num_output, **_window(kernel_size, pad, stride), **filling)
    if dilation > 1:
        net.update(conv, {"dilation": dilation})
    if use_bn:
        frozen = bn_params.get("use_global_stats", False)
        rate = 0 if frozen else lr_mult
        bn = f"{bn_prefix}{out_layer}{bn_postfix}"
        net[bn] = L.BatchNorm(net[conv], in_place=True, **_batch_norm(bn_params))
        if use_scale:
            net[f"{scale_prefix}{out_layer}{scale_postfix}"] = L.Scale(
                net[bn],
                in_place=True,
                bias_term=True,
                param=rates((rate, 0), (rate, 0)),
                filler=constant(1),
                bias_filler=constant(0),
            )
        else:
            net[f"{bias_prefix}{out_layer}{bias_postfix}"] = L.Bias(
                net[bn], in_place=True, param=rates((rate, 0)), filler=constant(0)
            )
    if use_relu:
        net[f"{conv}_relu"] = L.ReLU(net[conv], in_place=True)


def trained(lr_mult: Number = 1) -> Params:
    """Rates and fillers of a layer with weights and biases; biases learn twice as fast and do not decay."""
    return {
        "param": rates((lr_mult, 1), (2 * lr_mult, 0)),
        "weight_filler": {"type": "xavier"},
        "bias_filler": constant(0),
    }


def _window(kernel_size: Any, pad: Any, stride: Any) -> Params:
    kernel, pads, strides = (UnpackVariable(value, 2) for value in (kernel_size, pad, stride))
    if kernel[0] == kernel[1]:
        return {"kernel_size": kernel[0], "pad": pads[0], "stride": strides[0]}
    named = {"kernel": kernel, "pad": pads, "stride": strides}
    return {f"{name}_{side}": value for name, pair in named.items() for side, value in zip("hw", pair, strict=True)}


def _batch_norm(params: Mapping[str, Any]) -> Params:
    stated = {"param": rates((0, 0), (0, 0), (0, 0)), "eps": params.get("eps", 0.001)}
    if params.get("use_global_stats", False):
        return {**stated, "use_global_stats": params["use_global_stats"]}
    # Left out, use_global_stats follows the phase.
    return {**stated, "moving_average_fraction": params.get("moving_average_fraction", 0.999)}


def ResBody(  # noqa: N802
    net: NetSpec,
    from_layer: str,
    block_name: str,
    out2a: int,
    out2b: int,
    out2c: int,
    stride: int,
    use_branch1: bool,
    dilation: int = 1,
    **bn_param: Any,
) -> None:
    """A bottleneck block of ResNet, such as "2a": 1x1, 3x3 and 1x1 convolutions beside a shortcut, summed.

    Args:
        net: the net, which gets the layers.
        from_layer: the name of the bottom.
        block_name: names the layers: res2a_branch2a, bn2a_branch2a, scale2a_branch2a, ..., res2a.
        out2a: channels of the first convolution.
        out2b: channels of the second.
        out2c: channels of the third, and of the block.
        stride: step of the first.
        use_branch1: the shortcut has a 1x1 convolution, else it is `from_layer` itself.
        dilation: that of the second.
        bn_param: as `ConvBNLayer` takes.
    """

    def conv(bottom: str, branch: str, use_relu: bool, num_output: int, **window: int) -> str:
        ConvBNLayer(
            net,
            bottom,
            branch,
            use_bn=True,
            use_relu=use_relu,
            num_output=num_output,
            use_scale=True,
            conv_prefix=f"res{block_name}_",
            bn_prefix=f"bn{block_name}_",
            bn_postfix="",
            scale_prefix=f"scale{block_name}_",
            scale_postfix="",
            **{**bn_param, **window},
        )
        return f"res{block_name}_{branch}"

    shortcut = from_layer
    if use_branch1:
        shortcut = conv(from_layer, "branch1", False, out2c, kernel_size=1, pad=0, stride=stride)
    last = conv(from_layer, "branch2a", True, out2a, kernel_size=1, pad=0, stride=stride)
    last = conv(last, "branch2b", True, out2b, kernel_size=3, pad=dilation, stride=1, dilation=dilation)
    last = conv(last, "branch2c", False, out2c, kernel_size=1, pad=0, stride=1)
    block = f"res{block_name}"
    net[block] = L.Eltwise(net[shortcut], net[last])
    net[f"{block}_relu"] = L.ReLU(net[block], in_place=True)


def InceptionTower(  # noqa: N802
    net: NetSpec, from_layer: str, tower_name: str, layer_params: Iterable[Mapping[str, Any]], **bn_param: Any
) -> Top:
    """A chain of convolutions (with BatchNorm and Bias) and poolings.

    Args:
        net: the net, which gets the layers.
        from_layer: the name of the bottom.
        tower_name: stands before the layers' names.
        layer_params: for each layer its `name` and its parameters; one with "pool" in its name is a Pooling.
        bn_param: as `ConvBNLayer` takes.

    Returns:
        The top of the chain.
    """
    for params in layer_params:
        own = dict(params)
        name = f"{tower_name}/{own.pop('name')}"
        if "pool" in name:
            net[name] = L.Pooling(net[from_layer], **own)
        else:
            ConvBNLayer(net, from_layer, name, use_bn=True, use_relu=True, use_scale=False, **{**own, **bn_param})
        from_layer = name
    top: Top = net[from_layer]
    return top
