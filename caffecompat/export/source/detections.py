"""PriorBox and DetectionOutput."""

from __future__ import annotations

import numpy as np

from caffecompat.export.source.item import Argument
from caffecompat.export.source.registry import Site, writes
from caffecompat.export.source.text import Raw, literal
from caffecompat.layers.detection import DetectionOutput
from caffecompat.layers.prior_box import PriorBox


@writes(PriorBox)
def prior_box(layer: PriorBox, at: Site) -> None:
    param = layer.spec.message.prior_box_param
    variance = tuple(float(value) for value in layer.variance)
    arguments = [
        Argument(tuple(int(size) for size in param.min_size), "", "min_sizes"),
        Argument(tuple(int(size) for size in param.max_size), "", "max_sizes"),
        Argument(tuple(_ratio(float(ratio)) for ratio in layer._ratios()), "", "ratios"),
        Argument(_size(layer.step), "step", "step", None),
        Argument(_size(layer.image), "image_size", "image_size", None),
        Argument(float(layer.offset), "offset", "", 0.5),
        Argument(variance, "variance", "", tuple(float(v) for v in _VARIANCE)),
        Argument(layer.clip, "clip", "", False),
    ]
    at.module("priorbox", "PriorBox", arguments, operators=["PriorBox"])


def _size(pair: tuple[float, float] | None) -> float | tuple[float, float] | None:
    """One number for a square."""
    return pair if pair is None or pair[0] != pair[1] else float(pair[0])


def _ratio(ratio: float) -> float | Raw:
    """A ratio, or the fraction that it is."""
    inverse = round(1 / ratio)
    is_inverse = inverse > 1 and np.float32(1 / inverse) == np.float32(ratio)
    return Raw(f"1 / {inverse}") if is_inverse else ratio


_VARIANCE = (0.10000000149011612, 0.10000000149011612, 0.20000000298023224, 0.20000000298023224)


@writes(DetectionOutput)
def detection_output(layer: DetectionOutput, at: Site) -> None:
    options = layer.options
    if layer.spec.message.detection_output_param.HasField("confidence_threshold"):
        threshold = literal(options.confidence_threshold)
    else:
        threshold = 'float("-inf")'
    texts = [
        f"num_classes={layer.classes}",
        f"confidence_threshold={threshold}",
        f"nms_threshold={literal(options.nms_threshold)}",
    ]
    for name, value, default in (
        ("eta", options.eta, 1.0),
        ("background", options.background, 0),
        ("top_k", options.top_k, -1),
        ("keep_top_k", options.keep_top_k, -1),
        ("code_type", options.code_type, "CENTER_SIZE"),
        ("share_location", layer.loc_classes == 1, True),
        ("variance_encoded_in_target", options.variance_encoded_in_target, False),
    ):
        if value != default:
            texts.append(f"{name}={literal(value)}")
    template = "detect({0}, {1}, {2}, " + ", ".join(texts) + ")"
    at.function("detect", template, at.bottoms[:3], operators=["detect"])
