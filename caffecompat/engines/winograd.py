"""Convolutions of 3x3 by Winograd's minimal filtering F(4x4, 3x3), on PyTorch's matrix products.

Four times fewer multiplications than a plain convolution, for two transforms of the data. Values lie channels last,
and go through in strips that fit the cache. Source: Lavin and Gray, Fast Algorithms for Convolutional Neural Networks,
2015.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil

import torch
from torch import Tensor

_INPUT = torch.tensor(
    [
        [4.0, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
)
_KERNEL = torch.tensor([[6.0, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]) / 24
_OUTPUT = torch.tensor([[1.0, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]])
_TILE, _SPAN = 4, 6
_POINTS = _SPAN * _SPAN
# The point of the 36 whose value every output of a tile contains once: a bias goes there.
_EVERYWHERE = 7
# Tiles of a strip.
_STRIP = 256
# What a value costs, in nanoseconds on two cores with AVX2: a multiplication of a channel by a channel for 16 outputs,
# plain and in a product of matrices, a weight from memory, and the transforms of a channel's tile in and out.
_PLAIN, _PRODUCT, _WEIGHT, _IN, _OUT = 2.1, 0.6, 0.4, 65.0, 38.0


@dataclass
class Scratch:
    """Memory that the convolutions of a net use one after the other."""

    buffers: dict[str, Tensor] = field(default_factory=dict)

    def take(self, name: str, count: int) -> Tensor:
        """(count,) float32 of any values."""
        found = self.buffers.get(name)
        if found is None or found.numel() < count:
            found = self.buffers[name] = torch.empty(count)
        return found[:count]


@dataclass(frozen=True)
class Places:
    """How tiles lie on the outputs of a convolution.

    Attributes:
        size: (height, width) of the outputs.
        pad: (above and below, left and right).
        dilation: of rows and columns. Rows of the same remainder make a picture of their own.
    """

    size: tuple[int, int]
    pad: tuple[int, int]
    dilation: tuple[int, int]

    @property
    def tiles(self) -> tuple[int, int]:
        """How many tiles lie below and beside each other in each picture of a remainder."""
        spans = (_TILE * d for d in self.dilation)
        rows, columns = (ceil(size / span) for size, span in zip(self.size, spans, strict=True))
        return rows, columns

    @property
    def count(self) -> int:
        """How many tiles there are to an image."""
        return self.tiles[0] * self.tiles[1] * self.dilation[0] * self.dilation[1]

    def pays(self, channels: int, outputs: int, images: int) -> bool:
        """Whether an image takes less time so than by a plain convolution of AVX2."""
        products = channels * outputs
        plain = _PLAIN * products * self.size[0] * self.size[1] / _TILE**2
        product = max(_PRODUCT * products * self.count, _WEIGHT * _POINTS * products / images)
        return product + self.count * (_IN * channels + _OUT * outputs) < 0.95 * plain


class Winograd:
    """A convolution of 3x3 with stride 1, and a ReLU behind it if asked for."""

    def __init__(self, weight: Tensor, bias: Tensor | None, scratch: Scratch, *, relu: bool) -> None:
        """Transform the weight.

        Args:
            weight: (K, C, 3, 3) float32.
            bias: (K), or None.
            scratch: memory.
            relu: whether negative values become 0.
        """
        self.outputs, self.channels = weight.shape[:2]
        flat = weight.permute(2, 3, 1, 0).reshape(9, -1)
        self._weight = torch.mm(torch.kron(_KERNEL, _KERNEL), flat).view(_POINTS, self.channels, self.outputs)
        self._bias = bias
        self._scratch = scratch
        self._relu = relu

    def __call__(self, x: Tensor, places: Places) -> Tensor:
        """(N, C, H, W) -> (N, K, height, width), channels last."""
        padded = self._padded(x, places)
        images, rows, (down, across) = len(x), places.tiles[0], places.dilation
        step = max(1, _STRIP * rows // places.count)
        top = x.new_empty(images, rows * _TILE * down, places.tiles[1] * _TILE * across, self.outputs)
        together = max(1, _STRIP // places.count)
        for image in range(0, images, together):
            for row in range(0, rows, step):
                count = min(step, rows - row)
                part = padded[image : image + together, row * _TILE * down :]
                begin = row * _TILE * down
                out = top[image : image + together, begin : begin + count * _TILE * down]
                self._strip(part, out, count, places)
        return top[:, : places.size[0], : places.size[1]].permute(0, 3, 1, 2)

    def _padded(self, x: Tensor, places: Places) -> Tensor:
        """(N, H', W', C) with zeros around, as far as tiles reach."""
        images, channels = x.shape[:2]
        (above, left), tiles = places.pad, places.tiles
        sizes = [(_TILE * count + 2) * d for count, d in zip(tiles, places.dilation, strict=True)]
        padded = self._scratch.take("padded", images * sizes[0] * sizes[1] * channels)
        padded = padded.view(images, *sizes, channels)
        # Beyond the last tile nothing is read.
        inside = x.permute(0, 2, 3, 1)[:, : sizes[0] - above, : sizes[1] - left]
        below, right = above + inside.shape[1], left + inside.shape[2]
        for border in (padded[:, :above], padded[:, below:], padded[:, :, :left], padded[:, :, right:]):
            border.zero_()
        padded[:, above:below, left:right].copy_(inside)
        return padded

    def _strip(self, padded: Tensor, out: Tensor, rows: int, places: Places) -> None:
        """Some rows of tiles, of some images."""
        images, columns, (down, across) = len(padded), places.tiles[1], places.dilation
        tiles = images * rows * columns * down * across
        image, row, column, _ = padded.stride()
        view = padded.as_strided(
            (_SPAN, _SPAN, images, rows, down, columns, across, self.channels),
            (row * down, column * across, image, _TILE * row * down, row, _TILE * column * across, column, 1),
        )
        moved = self._scratch.take("moved", _POINTS * tiles * self.channels)
        moved.view(view.shape).copy_(view)
        self._transform(_INPUT, moved, moved)
        product = self._scratch.take("product", _POINTS * tiles * self.outputs).view(_POINTS, tiles, self.outputs)
        torch.bmm(moved.view(_POINTS, tiles, self.channels), self._weight, out=product)
        if self._bias is not None:
            product[_EVERYWHERE].add_(self._bias)
        found = self._scratch.take("found", _TILE**2 * tiles * self.outputs)
        self._transform(_OUTPUT, product, found)
        found = found.view(_TILE, _TILE, images, rows, down, columns, across, self.outputs)
        target = out.view(images, rows, _TILE, down, columns, _TILE, across, self.outputs)
        source = found.permute(2, 3, 0, 4, 5, 1, 6, 7)
        if self._relu:
            torch.clamp_min(source, 0, out=target)
        else:
            target.copy_(source)

    def _transform(self, matrix: Tensor, source: Tensor, target: Tensor) -> None:
        """Transform the rows of all tiles, then their columns; the target may be the source."""
        made, taken = matrix.shape
        half = self._scratch.take("half", source.numel() // taken * made)
        torch.mm(matrix, source.view(taken, -1), out=half.view(made, -1))
        torch.bmm(matrix.expand(made, -1, -1), half.view(made, taken, -1), out=target.view(made, made, -1))
