"""PriorBox: the boxes against which SSD predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from caffecompat.errors import SchemaError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import MAX_VALUES, Layer, Shape, layer

Float32 = NDArray[np.float32]
_LARGEST = float(np.finfo(np.float32).max)
# Caffe treats aspect ratios nearer than this as equal.
SAME_RATIO = 1e-6
# Of each list of sizes or ratios; published nets state at most ten.
MAX_STATED = 100


@layer("PriorBox")
class PriorBox(Layer):
    """Boxes around every place of a feature map (the first bottom), for an image (the second).

    The top is (1, 2, H * W * priors * 4): xmin, ymin, xmax, ymax of each prior in units of the image's size, then
    their variances. At each place, for each min_size: a square of that size; a square of the geometric mean of
    min_size and max_size; one box for each other aspect ratio, and with `flip` its inverse. Sizes are cut to
    integers, as in Caffe.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.prior_box_param
        self.clip = param.clip
        self.offset = np.float32(param.offset)
        self.image = self._pair("img_size", "img_h", "img_w")
        self.step = self._pair("step", "step_h", "step_w")
        self.variance = self._variance()
        self.box_sizes = self._box_sizes()
        self._cache: dict[tuple[int, int, int, int, torch.device], Tensor] = {}

    def _pair(self, both: str, height: str, width: str) -> tuple[float, float] | None:
        """A (height, width) that two fields or one give, or None; all that are given must be positive."""
        param = self.spec.message.prior_box_param
        given = {name: getattr(param, name) for name in (both, height, width) if param.HasField(name)}
        for name, value in given.items():
            if not 0 < value < math.inf:
                raise self.error(f"{name} must be greater than 0, got {value}", kind=SchemaError)
        if not given:
            return None
        if both in given and len(given) > 1:
            raise self.error(f"expected either {both} or {height} and {width}, got both", kind=SchemaError)
        if both in given:
            return given[both], given[both]
        if len(given) == 1:
            raise self.error(f"expected both {height} and {width}, got only {next(iter(given))}", kind=SchemaError)
        return given[height], given[width]

    def _variance(self) -> Float32:
        given = list(self.spec.message.prior_box_param.variance) or [0.1]
        if len(given) not in (1, 4) or min(given) <= 0:
            raise self.error(f"expected one variance or four, all greater than 0, got {given}", kind=SchemaError)
        return np.array(given if len(given) == 4 else given * 4, np.float32)

    def _box_sizes(self) -> Float32:
        """(priors, 2): width and height in pixels of the boxes at one place."""
        param = self.spec.message.prior_box_param
        smallest, greatest = list(param.min_size), list(param.max_size)
        most = max(len(smallest), len(greatest), len(param.aspect_ratio))
        if most > MAX_STATED:
            raise self.error(
                f"at most {MAX_STATED} of min_size, max_size and aspect_ratio are possible, got {most}",
                kind=SchemaError,
            )
        if not smallest or not all(0 < size < MAX_VALUES for size in smallest + greatest):
            raise self.error(
                f"expected at least one min_size, and sizes greater than 0, got min_size {smallest}, "
                f"max_size {greatest}",
                kind=SchemaError,
            )
        pairs = list(zip(smallest, greatest, strict=False))
        if greatest and (len(greatest) != len(smallest) or any(low >= high for low, high in pairs)):
            raise self.error(
                f"expected one max_size for each min_size, and greater, got min_size {smallest}, max_size {greatest}",
                kind=SchemaError,
            )
        ratios = self._ratios()
        sizes: list[tuple[float, float]] = []
        for index, size in enumerate(smallest):
            low = int(size)
            sizes.append((low, low))
            if greatest:
                mean = math.sqrt(low * int(greatest[index]))
                sizes.append((mean, mean))
            sizes.extend((np.float32(low) * root, np.float32(low) / root) for root in np.sqrt(ratios))
        return np.array(sizes, np.float32)

    def _ratios(self) -> Float32:
        """The aspect ratios other than 1, in order."""
        ratios = [np.float32(1)]
        for ratio in map(np.float32, self.spec.message.prior_box_param.aspect_ratio):
            if not 0 < ratio < math.inf or 1 / float(ratio) > _LARGEST:
                raise self.error(f"aspect_ratio must be greater than 0, got {ratio:g}", kind=SchemaError)
            if all(abs(ratio - other) >= SAME_RATIO for other in ratios):
                ratios.append(ratio)
                if self.spec.message.prior_box_param.flip:
                    ratios.append(np.float32(1 / ratio))
        return np.array(ratios[1:], np.float32)

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """(1, 2, H * W * priors * 4)."""
        height, width = self._size(bottoms[0])
        if self.image is None and min(self._size(bottoms[1])) < 1:
            raise self.error(f"expected an image of at least one pixel, got {bottoms[1]}")
        count = height * width * len(self.box_sizes) * 4
        if not 0 < 2 * count <= MAX_VALUES:
            raise self.error(f"a feature map of shape {bottoms[0]} gives {count} values; it must be 1 to {MAX_VALUES}")
        return ((1, 2, count),)

    def _size(self, bottom: Shape) -> tuple[int, int]:
        if len(bottom) != 4:
            raise self.error(f"expected bottoms of shape (N, C, H, W), got {bottom}")
        return bottom[2], bottom[3]

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        height, width = int(features.shape[2]), int(features.shape[3])
        rows, columns = self.image or (int(image.shape[2]), int(image.shape[3]))
        key = (height, width, int(rows), int(columns), features.device)
        priors = self._cache.get(key)
        if priors is None:
            with np.errstate(over="ignore", invalid="ignore"):
                array = self._priors(height, width, rows, columns)
            priors = torch.from_numpy(array).to(features.device)
            if not torch.compiler.is_compiling():
                self._cache = {key: priors}
        return priors

    def _priors(self, height: int, width: int, rows: float, columns: float) -> Float32:
        """The top for a feature map and an image of these sizes, with the original's roundings."""
        step_h, step_w = self.step or (np.float32(rows) / np.float32(height), np.float32(columns) / np.float32(width))
        y = (np.arange(height, dtype=np.float32) + self.offset) * np.float32(step_h)
        x = (np.arange(width, dtype=np.float32) + self.offset) * np.float32(step_w)
        # From here on the original computes in double and rounds what it stores.
        half = self.box_sizes.astype(np.float64) / 2
        boxes = np.empty((2, height, width, len(half), 4), np.float32)
        for index, (center, size) in enumerate(((x[None, :, None], columns), (y[:, None, None], rows))):
            center = center.astype(np.float64)
            boxes[0, ..., index] = (center - half[:, index]) / size
            boxes[0, ..., index + 2] = (center + half[:, index]) / size
        if self.clip:
            np.clip(boxes[0], 0, 1, out=boxes[0])
        boxes[1] = self.variance
        return boxes.reshape(1, 2, -1)
