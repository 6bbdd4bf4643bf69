"""The head of an SSD: for each source layer the predictions of places and classes, and its prior boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffecompat.errors import quoted
from caffecompat.netspec import NetSpec, Top
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.zoo.builders.blocks import ConvBNLayer, Number, Params, constant, expect, expect_layer


def CreateMultiBoxHead(  # noqa: N802
    net: NetSpec,
    data_layer: str = "data",
    num_classes: int = 0,
    from_layers: Sequence[str] = (),
    use_objectness: bool = False,
    normalizations: Sequence[Number] = (),
    use_batchnorm: bool = True,
    lr_mult: Number = 1,
    use_scale: bool = True,
    min_sizes: Sequence[Any] = (),
    max_sizes: Sequence[Any] = (),
    prior_variance: Sequence[float] = (0.1,),
    aspect_ratios: Sequence[Any] = (),
    steps: Sequence[Number] = (),
    img_height: int = 0,
    img_width: int = 0,
    share_location: bool = True,
    flip: bool = True,
    clip: bool = True,
    offset: float = 0.5,
    inter_layer_depth: Sequence[int] = (),
    kernel_size: Any = 1,
    pad: Any = 0,
    conf_postfix: str = "",
    loc_postfix: str = "",
    **bn_param: Any,
) -> list[Top]:
    """The layers from the source layers to mbox_loc, mbox_conf and mbox_priorbox (and mbox_objectness).

    Args:
        net: the net, which gets the layers.
        data_layer: the name of the blob of images; its size is what prior boxes are relative to.
        num_classes: with the background.
        from_layers: the names of the source layers; the lists below have an entry for each, or none at all.
        use_objectness: predict whether there is an object, too.
        normalizations: the first scale of a Normalize layer before the predictions, -1 for none.
        use_batchnorm: the predictions have BatchNorm.
        lr_mult: the multiplier of the learning rates.
        use_scale: of no effect, as in the original.
        min_sizes: sides of the prior boxes in pixels, one or a list.
        max_sizes: of the further square of each of them, one or a list.
        prior_variance: what the coded places are divided by, one or four.
        aspect_ratios: besides 1, one or a list.
        steps: pixels between two prior boxes; 0 where the sizes of the blobs tell.
        img_height: height of the images, where it is not that of the data.
        img_width: width of the images.
        share_location: one place for all classes.
        flip: with 1/a for each aspect ratio a.
        clip: cut prior boxes at the image's edge.
        offset: where in its cell a prior box has its centre.
        inter_layer_depth: channels of a 3x3 convolution before the predictions, 0 for none.
        kernel_size: that of the predictions.
        pad: that of the predictions.
        conf_postfix: behind the names of the predictions of classes.
        loc_postfix: behind those of places.
        bn_param: as `ConvBNLayer` takes.

    Returns:
        The tops, in the order in which MultiBoxLoss takes them.

    Raises:
        BuilderError: lists of unequal lengths, no classes, or no `data_layer`.
    """
    expect(num_classes, "must provide num_classes")
    expect(num_classes > 0, "num_classes must be positive number")
    expect(len(min_sizes) == len(from_layers), _unequal("min_sizes", min_sizes, from_layers))
    given = {
        "normalizations": normalizations,
        "max_sizes": max_sizes,
        "aspect_ratios": aspect_ratios,
        "steps": steps,
        "inter_layer_depth": inter_layer_depth,
    }
    for name, values in given.items():
        expect(not values or len(values) == len(from_layers), _unequal(name, values, from_layers))
    expect_layer(net, data_layer)

    conv: Params = {"lr_mult": lr_mult, "use_bn": use_batchnorm, **bn_param}
    prediction: Params = {**conv, "use_relu": False, "kernel_size": kernel_size, "pad": pad, "stride": 1}
    made: dict[str, list[Top]] = {"loc": [], "conf": [], "priorbox": [], "objectness": []}
    for index, name in enumerate(from_layers):
        source = _source(net, name, _at(normalizations, index, -1), _at(inter_layer_depth, index, 0), conv)
        prior = _prior_box(_at(min_sizes, index), _at(max_sizes, index, []), _at(aspect_ratios, index, []), flip)
        channels = _count(prior, flip)
        places = channels * 4 * (1 if share_location else num_classes)
        made["loc"].append(_predicted(net, source, f"loc{loc_postfix}", places, prediction))
        made["conf"].append(_predicted(net, source, f"conf{conf_postfix}", channels * num_classes, prediction))
        prior.update(clip=clip, variance=prior_variance, offset=offset)
        if _at(steps, index, 0):
            prior["step"] = steps[index]
        prior.update(_image_size(img_height, img_width))
        net[f"{source}_mbox_priorbox"] = L.PriorBox(net[source], net[data_layer], **prior)
        made["priorbox"].append(net[f"{source}_mbox_priorbox"])
        if use_objectness:
            made["objectness"].append(_predicted(net, source, "objectness", channels * 2, prediction))
    for name, tops in made.items():
        if name != "objectness" or use_objectness:
            net[f"mbox_{name}"] = L.Concat(*tops, axis=2 if name == "priorbox" else 1)
    return [net[f"mbox_{name}"] for name in made if f"mbox_{name}" in net]


def _unequal(name: str, values: Sequence[Any], from_layers: Sequence[str]) -> str:
    return f"from_layers and {name} should have same length: got {len(from_layers)} and {len(values)}"


def _at(values: Sequence[Any], index: int, default: Any = None) -> Any:
    return values[index] if len(values) > index else default


def _source(net: NetSpec, name: str, scale: Number, depth: int, conv: Params) -> str:
    """What the predictions of a source layer are made from: itself, normalized, or a convolution of it."""
    if scale != -1:
        net[f"{name}_norm"] = L.Normalize(
            net[name], scale_filler=constant(scale), across_spatial=False, channel_shared=False
        )
        name = f"{name}_norm"
    if depth > 0:
        inter = f"{name}_inter"
        ConvBNLayer(net, name, inter, use_relu=True, num_output=depth, kernel_size=3, pad=1, stride=1, **conv)
        name = inter
    return name


def _predicted(net: NetSpec, source: str, what: str, num_output: int, params: Params) -> Top:
    """The predictions of one source layer, flat, those of one place side by side."""
    name = f"{source}_mbox_{what}"
    ConvBNLayer(net, source, name, num_output=num_output, **params)
    net[f"{name}_perm"] = L.Permute(net[name], order=[0, 2, 3, 1])
    net[f"{name}_flat"] = L.Flatten(net[f"{name}_perm"], axis=1)
    top: Top = net[f"{name}_flat"]
    return top


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _prior_box(min_size: Any, max_size: Any, aspect_ratio: Any, flip: bool) -> Params:
    """The parameters that say which boxes there are; what is empty is left out."""
    prior: Params = {"min_size": _listed(min_size)}
    if larger := _listed(max_size):
        fits = len(larger) == len(prior["min_size"])
        expect(fits, f"max_size and min_size should have same length: got {quoted(max_size)} and {quoted(min_size)}")
        prior["max_size"] = larger
    if ratios := _listed(aspect_ratio):
        prior.update(aspect_ratio=ratios, flip=flip)
    return prior


def _count(prior: Params, flip: bool) -> int:
    """Boxes at each place."""
    ratios = len(prior.get("aspect_ratio", ())) * (2 if flip else 1)
    return len(prior["min_size"]) * (1 + ("max_size" in prior) + ratios)


def _image_size(height: int, width: int) -> Params:
    if height == 0 or width == 0:
        return {}
    return {"img_size": height} if height == width else {"img_h": height, "img_w": width}
