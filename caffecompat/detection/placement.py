"""Normalized boxes in the pixels of the original image, undoing how it was resized for the net.

Source of the rules: OutputBBox and ProjectBBox in bbox_util.cpp of the SSD branch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from caffecompat.detection.boxes import box_size, clip_boxes
from caffecompat.schema import caffe_pb2


def project_boxes(boxes: Tensor, source: tuple[float, float, float, float]) -> Tensor:
    """Boxes in units of the box `source`, clipped to it; a box that does not meet it stays as it is.

    Args:
        boxes: (..., 4).
        source: xmin, ymin, xmax, ymax.

    Returns:
        (..., 4).
    """
    frame = boxes.new_tensor(source)
    apart = ((boxes[..., :2] >= frame[2:]) | (boxes[..., 2:] <= frame[:2])).any(-1, keepdim=True)
    inside = (boxes - frame[:2].repeat(2)) / (frame[2:] - frame[:2]).repeat(2)
    return torch.where(apart, boxes, clip_boxes(inside))


def _padded_frame(height: int, width: int, resize: caffe_pb2.ResizeParameter) -> tuple[float, float, float, float]:
    """Where the image lies within the padded input (FIT_LARGE_SIZE_AND_PAD), in units of the input's size."""
    aspect = width / height
    if aspect > resize.width / resize.height:
        pad = (resize.height - resize.width / aspect) / 2 / resize.height
        return 0.0, pad, 1.0, 1.0 - pad
    pad = (resize.width - resize.height * aspect) / 2 / resize.width
    return pad, 0.0, 1.0 - pad, 1.0


def boxes_in_image(
    boxes: Tensor, height: int, width: int, resize: caffe_pb2.ResizeParameter | None = None
) -> tuple[Tensor, Tensor]:
    """Boxes in pixels of an image, clipped to it.

    Args:
        boxes: (..., 4), in units of the net's input.
        height: of the original image.
        width: of the original image.
        resize: how the image became the net's input, if not by plain warping.

    Returns:
        (..., 4) boxes, and (...) their areas, which count both ends as part of the box.
    """
    scale = boxes.new_tensor([width, height, width, height])
    mode = caffe_pb2.ResizeParameter.Resize_mode
    if resize is not None and resize.resize_mode == mode.FIT_LARGE_SIZE_AND_PAD:
        boxes = project_boxes(boxes, _padded_frame(height, width, resize))
    if resize is not None and resize.resize_mode == mode.FIT_SMALL_SIZE and resize.height_scale and resize.width_scale:
        scale = boxes.new_tensor([resize.width_scale, resize.height_scale] * 2)
        placed = clip_boxes(boxes * scale, height, width)
        # Here the original's areas do not count both ends.
        return placed, box_size(placed)
    placed = clip_boxes(boxes) * scale
    return placed, box_size(placed, normalized=width <= 1 and height <= 1)
