"""Parts of `transform_param` that stand for themselves: how pictures are decoded, the crop, the mean image."""

from __future__ import annotations

from pathlib import Path

import cv2

from caffecompat.data.geometry import Size
from caffecompat.data.means import read_mean_image
from caffecompat.data.source import Floats
from caffecompat.errors import CaffeCompatError, SchemaError
from caffecompat.formats import paths
from caffecompat.graph.spec import LayerSpec


def decode_flag(spec: LayerSpec) -> int:
    """How OpenCV is to decode pictures: as they are, or in colour or grey where that is forced."""
    param = spec.message.transform_param
    if param.force_color and param.force_gray:
        raise spec.error("transform_param: force_color and force_gray are both set", hint="keep one of them")
    if param.force_color:
        return cv2.IMREAD_COLOR
    return cv2.IMREAD_GRAYSCALE if param.force_gray else cv2.IMREAD_UNCHANGED


def crop_of(spec: LayerSpec) -> Size | None:
    """(height, width) that is cut out, or None."""
    param = spec.message.transform_param
    if param.crop_size:
        return param.crop_size, param.crop_size
    if bool(param.crop_h) != bool(param.crop_w):
        raise spec.error(
            f"transform_param: crop_h and crop_w must be stated together, got {param.crop_h} and {param.crop_w}"
        )
    return (param.crop_h, param.crop_w) if param.crop_h else None


def mean_image(spec: LayerSpec, root: Path | None) -> Floats | None:
    """The image that `mean_file` names, float32 (C, H, W), or None."""
    param = spec.message.transform_param
    if not param.HasField("mean_file"):
        return None
    if param.mean_value:
        raise spec.error(
            "transform_param: mean_file and mean_value are both set", hint="keep one of them", kind=SchemaError
        )
    try:
        return read_mean_image(paths.find(param.mean_file, "mean_file", root=root, beside=spec.file))
    except CaffeCompatError as error:
        raise spec.locate(error) from None
