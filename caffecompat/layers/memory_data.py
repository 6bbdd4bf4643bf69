"""MemoryData: batches of arrays that the user sets. Source: memory_data_layer.cpp of the original."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, UsageError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import MAX_VALUES, Shape, layer
from caffecompat.layers.data import DataLayer

if TYPE_CHECKING:
    from caffecompat.data.draws import Draws
    from caffecompat.data.source import Reading, Source
    from caffecompat.data.transformer import Transformer

Array = npt.NDArray[Any] | Tensor


@layer("MemoryData")
class MemoryData(DataLayer):
    """Pictures (N, C, H, W) and labels (N,) from memory; the prototxt states all sizes.

    `set_arrays` or `add_pictures` gives the data, and each pass takes the next batch of them, over and over.
    """

    reads = "arrays in memory"

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self._data = self._labels = torch.empty(0)
        self._at = 0
        self._transforms: tuple[Transformer, Draws | None] | None = None

    def open_source(self, reading: Reading) -> Source | None:
        self._begin(reading)
        return None

    def set_arrays(self, data: Array, labels: Array) -> None:
        """Let the passes to come read these, from the first on; float32 arrays are not copied.

        Args:
            data: (n, channels, height, width), n a multiple of batch_size; as in Caffe, nothing is done to them.
            labels: n numbers.

        Raises:
            ShapeError: they have other shapes.
        """
        if self.spec.message.HasField("transform_param"):
            where = f"{self.spec.position}: " if self.spec.position is not None else ""
            message = f'{where}layer "{self.spec.name}": transform_param does nothing to arrays, as in Caffe'
            warnings.warn(message, CaffeCompatWarning, stacklevel=2)
        self._reset(torch.as_tensor(data, dtype=torch.float32), torch.as_tensor(labels, dtype=torch.float32))

    def add_pictures(self, pictures: Sequence[npt.NDArray[np.uint8]], labels: Array) -> None:
        """Let the passes to come read these, transformed as `transform_param` says.

        Args:
            pictures: n of them, uint8 (height, width) or (height, width, channels); n a multiple of batch_size.
            labels: n numbers.

        Raises:
            ShapeError: they are of other shapes, or do not come to the shape that the prototxt states.
        """
        from caffecompat.data.source import Reading

        transformer, crops = self._transforms or self._begin(Reading())
        shape = self._shape()[1:]
        if prod(shape) * len(pictures) > MAX_VALUES:
            raise self.error(f"{len(pictures)} pictures of shape {shape} are more than {MAX_VALUES} values")
        data = torch.empty(len(pictures), *shape)
        try:
            for picture, out in zip(pictures, data.numpy(), strict=True):
                transformer.picture(picture, transformer.draw(crops), out)
        except CaffeCompatError as error:
            raise self.spec.locate(error) from error.__cause__
        self._reset(data, torch.as_tensor(labels, dtype=torch.float32))

    def _begin(self, reading: Reading) -> tuple[Transformer, Draws | None]:
        """Take the one draw that the original takes while it sets this layer up, if something is random."""
        from caffecompat.data.augmenting import refuse_own_fields
        from caffecompat.data.transformer import Transformer

        refuse_own_fields(self.spec)
        transformer = Transformer(self.spec, reading.root)
        self._transforms = transformer, transformer.stream(reading.draws)
        return self._transforms

    def _reset(self, data: Tensor, labels: Tensor) -> None:
        batch, *shape = self._shape()
        if list(data.shape[1:]) != shape or not len(data) or len(data) % batch:
            raise self.error(
                f"expected data of shape (n, {', '.join(map(str, shape))}), n a multiple of batch_size {batch}, "
                f"got {tuple(data.shape)}"
            )
        if labels.numel() != len(data):
            raise self.error(f"expected {len(data)} labels, one for each item, got an array of {tuple(labels.shape)}")
        self._data, self._labels, self._at = data, labels.reshape(-1), 0

    def _shape(self) -> Shape:
        param = self.spec.message.memory_data_param
        return param.batch_size, param.channels, param.height, param.width

    def forward(self) -> tuple[Tensor, ...]:
        if not len(self._data):
            fed = ", ".join(f"{key.name}=..." for key in self.spec.tops)
            raise self.error(
                "MemoryData has no arrays yet",
                hint=f"call set_arrays(data, labels) of this layer, or feed its tops: net({fed})",
                kind=UsageError,
            )
        device = self.get_buffer("_place").device
        place = slice(self._at, self._at + self._shape()[0])
        self._at = place.stop % len(self._data)
        return self._data[place].to(device), self._labels[place].to(device)

    def stated(self) -> Sequence[Shape | None]:
        shape = self._shape()
        if min(shape) < 1:
            raise self.error(f"batch_size, channels, height and width must be positive, got {shape}")
        return shape, shape[:1]

    def follows(self, top: int, data: Shape) -> Shape | None:
        return data[:1]
