"""Layer types that mean several layers of other numbers of blobs: the weights tell where the prototxt does not."""

from __future__ import annotations

from collections.abc import Iterable

from caffecompat.errors import SchemaError
from caffecompat.formats.weights import Weights
from caffecompat.graph.spec import Graph, LayerSpec


def state_meanings(graph: Graph, weights: Iterable[Weights]) -> None:
    """Say in the messages of a new graph's layers which layer is meant, where only the number of blobs tells.

    BatchNorm with five blobs gets `scale_bias: true` (NVIDIA), BN `frozen: false` with four (PSPNet) or
    `bn_mode: LEARN` with two (SegNet). What a prototxt states stays.

    Raises:
        SchemaError: a Normalize without blobs and without parameters, which may be one of two layers.
    """
    wanted = {spec.name: spec for spec in graph.layers if spec.type in ("BN", "BatchNorm", "Normalize")}
    for source in weights:
        for layer in source.layers if wanted else ():
            if layer.name in wanted and layer.type in ("", wanted[layer.name].type):
                _state_meaning(wanted[layer.name], len(layer.blobs))


def _state_meaning(spec: LayerSpec, blobs: int) -> None:
    message = spec.message
    if spec.type == "BatchNorm" and blobs == 5:
        message.batch_norm_param.scale_bias = True
    elif spec.type == "BN" and not message.bn_param.ListFields() and len(spec.tops) == 1:
        if blobs == 4:
            message.bn_param.frozen = False
        elif blobs == 2:
            message.bn_param.bn_mode = message.bn_param.LEARN
    elif spec.type == "Normalize" and blobs == 0 and len(spec.tops) == 1 and not _states_a_normalize(spec):
        raise spec.error(
            "the weights have no blob for this Normalize, so it is not that of SSD, and nothing tells which it is",
            hint="state normalize_param { } if it divides each pixel by its norm over the channels "
            "(happynear/caffe-windows), or normalize_param { across_spatial: true } if it divides the whole image "
            "by its norm (yjxiong/caffe)",
            kind=SchemaError,
        )


def _states_a_normalize(spec: LayerSpec) -> bool:
    return spec.message.HasField("norm_param") or spec.message.HasField("normalize_param")
