"""Pooling of regions of interest: Fast R-CNN's and R-FCN's."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, prod

import torch
from torch import Tensor

from caffecompat.detection.rois import average_bins, average_over_bins, max_bins, max_over_bins
from caffecompat.errors import CaffeCompatError, SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer
from caffecompat.layers.labels import precise


class _RegionPooling(Layer):
    """What takes features (N, C, H, W) and regions (R, 5): image, x1, y1, x2, y2 in pixels of the net's input."""

    def _check_scale(self, *values: float) -> None:
        if not all(isfinite(value) for value in values):
            raise self.error(f"expected finite values, got {', '.join(map(str, values))}", kind=SchemaError)

    def _check(self, features: Shape, rois: Shape) -> None:
        if len(features) != 4:
            raise self.error(f"expected features of shape (N, C, H, W), got {features}")
        if len(rois) < 2 or prod(rois[1:]) != 5:
            raise self.error(
                f"expected regions of shape (R, 5), got {rois}", hint="a region is a row: image, x1, y1, x2, y2"
            )

    def _regions(self, features: Tensor, rois: Tensor) -> Tensor:
        """The regions (R, 5) in float32 at the least, their images among the N there are."""
        rois = precise(rois.detach()).reshape(-1, 5)
        images = features.shape[0]
        if rois.device.type == "cpu" and not torch.compiler.is_compiling():
            outside = ~((rois[:, 0] > -1) & (rois[:, 0] < images))
            if bool(outside.any()):
                bad = rois[outside][0, 0].item()
                raise self.error(
                    f"a region is of image {bad:g}; the features are of images 0..{images - 1}", kind=CaffeCompatError
                )
        return torch.cat([rois[:, :1].clamp(0, max(images - 1, 0)), rois[:, 1:]], 1)


@layer("ROIPooling")
class ROIPooling(_RegionPooling):
    """The greatest value in each of `pooled_h` x `pooled_w` bins of a region.

    An empty bin is 0. The gradient goes to the first greatest value; regions get none. `pad_ratio` (Cascade
    R-CNN) makes a region grow by that much of its size on each side.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.roi_pooling_param
        self._pooled = (param.pooled_h, param.pooled_w)
        self._scale, self._pad_ratio = param.spatial_scale, param.pad_ratio
        if min(self._pooled) < 1:
            raise self.error(
                f"pooled_h and pooled_w must be at least 1, got {param.pooled_h} and {param.pooled_w}",
                kind=SchemaError,
            )
        self._check_scale(self._scale, self._pad_ratio)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        self._check(*bottoms)
        return ((bottoms[1][0], bottoms[0][1], *self._pooled),)

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        size = (features.shape[2], features.shape[3])
        regions = self._regions(features, rois)
        return max_over_bins(features, max_bins(regions, self._scale, self._pooled, size, self._pad_ratio))


@layer("PSROIPooling")
class PSROIPooling(_RegionPooling):
    """The mean of each of `group_size` x `group_size` bins of a region, each bin in channels of its own.

    features: (N, output_dim * group_size^2, H, W). An empty bin is 0; regions get no gradient.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.psroi_pooling_param
        self._scale, self._outputs, self._group = param.spatial_scale, param.output_dim, param.group_size
        if self._outputs < 1 or self._group < 1:
            raise self.error(
                f"output_dim and group_size must be at least 1, got {self._outputs} and {self._group}",
                kind=SchemaError,
            )
        self._check_scale(self._scale)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        self._check(*bottoms)
        wanted = self._outputs * self._group**2
        if bottoms[0][1] != wanted:
            raise self.error(
                f"expected {wanted} channels (output_dim {self._outputs} x group_size {self._group} squared), "
                f"got features of shape {bottoms[0]}"
            )
        return ((bottoms[1][0], self._outputs, self._group, self._group),)

    def forward(self, features: Tensor, rois: Tensor) -> Tensor:
        size = (features.shape[2], features.shape[3])
        bins = average_bins(self._regions(features, rois), self._scale, self._group, size)
        return average_over_bins(features, bins, self._outputs)
