"""A dense conditional random field, which makes label maps follow the edges of their picture.

Source: Kraehenbuehl and Koltun: Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials, NIPS 2011:
mean field, two Gaussian kernels, Potts' model. As in the authors' program, kernels are normalized symmetrically and a
pixel counts among its own neighbours. The settings' defaults are those that DeepLab-LargeFOV was published with
(run_densecrf.sh; within what section 5.1 of Chen et al., ICLR 2015, searches).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from caffecompat.data.images import Image
from caffecompat.data.segmentation.permutohedral import Features, Lattice

Floats = npt.NDArray[np.float32]
# Pixels that are worked on at once, and the values of log-probabilities up to which they are kept between iterations.
_PART = 1 << 18
_KEPT = 1 << 25


@dataclass(frozen=True)
class Crf:
    """What the field is like.

    Attributes:
        iterations: of the mean field.
        bilateral: of the kernel of place and colour: its weight, and the standard deviations of the place in pixels
            and of the colours, which are 0 to 255. A weight of 0 leaves it out.
        smoothness: likewise, of the kernel of the place: its weight and standard deviation.
    """

    iterations: int = 10
    bilateral: tuple[float, float, float] = (4, 49, 5)
    smoothness: tuple[float, float] = (3, 3)


class Scores(Protocol):
    """What a net says of a picture's pixels."""

    def log_probabilities(self, start: int, stop: int) -> Floats:
        """Those of some rows, (classes, rows, width)."""


def refine(image: Image, scores: Scores, crf: Crf) -> Iterator[tuple[int, Floats]]:
    """The probabilities of each pixel's classes after the mean field.

    Memory is taken for each pixel, some 150 bytes, and for each corner of the lattices, of which there are fewer in
    pictures of even colours, two values a class; not for each pixel's classes, but in small pictures.

    Args:
        image: the picture, B, G, R, (height, width, 3).
        scores: of its pixels, as the net gives them.
        crf: the settings.

    Yields:
        Some rows after the others: the first row, and the probabilities (classes, rows, width).

    Raises:
        ShapeError: the picture is too large for so small standard deviations.
    """
    parts = _parts(image)
    kernels = [
        _Kernel.of(weight, image, parts, place, colour)
        for weight, place, colour in ((*crf.smoothness, None), crf.bilateral)
        if weight > 0
    ]
    field = _Field(image.shape[1], scores, parts, kernels)
    messages: list[Tensor] = []
    for _ in range(crf.iterations if kernels else 0):
        messages = field.passed(messages)
    for index, (start, stop) in enumerate(parts):
        values = field.probabilities(index, messages)
        yield start, values.T.reshape(-1, stop - start, image.shape[1]).numpy()


class _Kernel(NamedTuple):
    """A Gaussian kernel; `norms` are the square roots by which it is normalized, of each part (pixels, 1)."""

    weight: float
    lattice: Lattice
    norms: list[Tensor]

    @classmethod
    def of(
        cls, weight: float, image: Image, parts: list[tuple[int, int]], place: float, colour: float | None
    ) -> _Kernel:
        lattice = Lattice(lambda: _features(image, parts, place, colour))
        corners = lattice.empty(1)
        for index, (start, stop) in enumerate(parts):
            lattice.splat(corners, index, torch.ones((stop - start) * image.shape[1], 1))
        lattice.blur(corners)
        return cls(weight, lattice, [lattice.slice(corners, index).rsqrt_() for index in range(len(parts))])


class _Field:
    """The mean field: messages are what lattices hold of all pixels' probabilities."""

    def __init__(self, width: int, scores: Scores, parts: list[tuple[int, int]], kernels: list[_Kernel]) -> None:
        self._width = width
        self._scores = scores
        self._parts = parts
        self._kernels = kernels
        self._kept: dict[int, Tensor] = {}

    def probabilities(self, part: int, messages: list[Tensor]) -> Tensor:
        """Those of a part, by what the others say, (pixels, classes)."""
        values = self._unary(part).clone()
        for kernel, corners in zip(self._kernels, messages, strict=bool(messages)):
            values += kernel.lattice.slice(corners, part).mul_(kernel.norms[part] * kernel.weight)
        return values.softmax(dim=1)

    def passed(self, messages: list[Tensor]) -> list[Tensor]:
        """The messages of the next iteration."""
        made: list[Tensor] = []
        for part in range(len(self._parts)):
            values = self.probabilities(part, messages)
            made = made or [kernel.lattice.empty(values.shape[1]) for kernel in self._kernels]
            for kernel, corners in zip(self._kernels, made, strict=True):
                kernel.lattice.splat(corners, part, values * kernel.norms[part])
        for kernel, corners in zip(self._kernels, made, strict=True):
            kernel.lattice.blur(corners)
        return made

    def _unary(self, part: int) -> Tensor:
        """The log-probabilities of a part, (pixels, classes)."""
        if part in self._kept:
            return self._kept[part]
        found = self._scores.log_probabilities(*self._parts[part])
        values = torch.from_numpy(found.reshape(len(found), -1).T.copy())
        if values.shape[1] * self._parts[-1][1] * self._width <= _KEPT:
            self._kept[part] = values
        return values


def _parts(image: Image) -> list[tuple[int, int]]:
    """The first row of each part, and the one after its last."""
    height, width = image.shape[:2]
    rows = max(1, _PART // width)
    return [(start, min(start + rows, height)) for start in range(0, height, rows)]


def _features(image: Image, parts: list[tuple[int, int]], place: float, colour: float | None) -> Iterator[Features]:
    """Of each pixel of each part column, row, R, G and B, each by its standard deviation.

    The order is the authors': the lattice is not quite the same for another one.
    """
    for start, stop in parts:
        rows, columns = np.mgrid[start:stop, : image.shape[1]].reshape(2, -1).astype(np.float64) / place
        found = [columns, rows]
        if colour is not None:
            found.extend(image[start:stop].reshape(-1, 3).T[::-1] / colour)
        yield np.stack(found, axis=1)
