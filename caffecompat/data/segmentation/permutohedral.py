"""Sums over all pixels, weighted by a Gaussian of the distance of their features, in time linear in the pixels.

Source: Adams, Baek and Davis: Fast High-Dimensional Filtering Using the Permutohedral Lattice, Eurographics 2010. The
features are put into a lattice of simplices; each pixel gives its values to the corners of its simplex (splat), the
corners are blurred along each direction of the lattice, and each pixel takes from its corners (slice).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from caffecompat.errors import ShapeError

Features = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
# The name of a corner is one number of so many bits.
_BITS = 62


class Lattice:
    """The lattice for given features: it depends on them alone, and filters any values.

    Args:
        features: gives the features of each part of the pixels in turn, float64 (pixels, axes), in units of the
            Gaussian's standard deviation. It is called more than once, so that they need not all be held.

    Attributes:
        size: how many corners there are.

    Raises:
        ShapeError: the features reach too far, by their standard deviation, to be told apart.
    """

    def __init__(self, features: Callable[[], Iterator[Features]]) -> None:
        places = _Places(features())
        known: Codes = np.empty(0, np.int64)
        for part in features():
            known = np.union1d(known, places.of(part)[0])
        self.size = len(known)
        self._parts = [_part(*places.of(part), known) for part in features()]
        self._neighbours = [
            (_neighbours(known, known + step), _neighbours(known, known - step)) for step in places.steps
        ]
        # The blur makes what a corner has larger by this, as the authors' program has it.
        self._scale = 1 / (1 + 2.0 ** -(len(places.steps) - 1))

    def empty(self, channels: int) -> Tensor:
        """Corners that have nothing yet, float32 (corners + 1, channels); the last stands for those not there."""
        return torch.zeros(self.size + 1, channels)

    def splat(self, corners: Tensor, part: int, values: Tensor) -> None:
        """Give the corners the values of a part of the pixels, float32 (pixels, channels)."""
        given = self._parts[part]
        sums = embedding_bag(given.pixels, values, given.starts, per_sample_weights=given.weights, mode="sum")
        corners.index_add_(0, given.touched, sums)

    def blur(self, corners: Tensor) -> None:
        """Spread what the corners have over their neighbours, along one direction after another."""
        for before, after in self._neighbours:
            spread = corners[before]
            spread += corners[after]
            corners[:-1] += spread.mul_(0.5)

    def slice(self, corners: Tensor, part: int) -> Tensor:
        """What a part of the pixels gets of the corners, float32 (pixels, channels)."""
        given = self._parts[part]
        return embedding_bag(given.corners, corners, per_sample_weights=given.shares, mode="sum").mul_(self._scale)


class _Places:
    """Where features lie in the lattice, and how its corners are called.

    Attributes:
        steps: for each direction of the lattice how much greater the name of the next corner is.
    """

    def __init__(self, features: Iterator[Features]) -> None:
        reach = np.max([abs(part).max(0) for part in features], axis=0)
        axes = len(reach)
        index = np.arange(axes) + 1
        # So scaled, the lattice's blur has the standard deviation 1.
        self._scales = np.sqrt(2 / 3) * (axes + 1) / np.sqrt(index * (index + 1))
        farthest = float((index * self._scales * reach).sum()) + 4 * (axes + 1)
        if axes * np.log2(2 * farthest + 1) > _BITS:
            raise ShapeError(
                "the picture is too large for a Gaussian with so small standard deviations",
                hint="see --crf-bilateral and --crf-smoothness",
            )
        self._radices = np.int64(2 * int(farthest) + 1) ** np.arange(axes, dtype=np.int64)
        # To the next corner one coordinate grows by `axes`, the others fall by 1; the last is not in the name.
        self._ones = int(self._radices.sum())
        self.steps = [*((axes + 1) * int(radix) - self._ones for radix in self._radices), -self._ones]

    def of(self, features: Features) -> tuple[Codes, npt.NDArray[np.float32]]:
        """The names of the corners around each pixel, and each one's share, (pixels, axes + 1)."""
        elevated = self._elevated(features)
        count = elevated.shape[1]
        whole = np.rint(elevated / count)
        # The place of each coordinate in the order of what is left, the largest first.
        ranks = np.argsort(np.argsort(whole * count - elevated, axis=1), axis=1)
        ranks += whole.sum(axis=1, dtype=np.int64)[:, np.newaxis]
        turns = (ranks < 0).astype(np.int64) - (ranks >= count)
        ranks += turns * count
        whole += turns
        left = np.empty_like(elevated)
        np.put_along_axis(left, ranks, elevated / count - whole, axis=1)
        shares = np.empty_like(elevated)
        shares[:, 0] = 1 + left[:, -1] - left[:, 0]
        shares[:, 1:] = left[:, -2::-1] - left[:, :0:-1]
        base = whole[:, :-1].astype(np.int64) @ self._radices * count
        behind = ranks[:, :-1]
        codes = [base + self._ones * k - count * ((behind >= count - k) @ self._radices) for k in range(count)]
        return np.stack(codes, axis=1), shares.astype(np.float32)

    def _elevated(self, features: Features) -> Features:
        """The features in the plane, of one more axis, whose coordinates add up to 0."""
        scaled = features * self._scales
        sums = np.zeros((len(scaled), scaled.shape[1] + 1))
        sums[:, :-1] = scaled[:, ::-1].cumsum(axis=1)[:, ::-1]
        sums[:, 1:] -= scaled * np.arange(1, sums.shape[1])
        return sums


@dataclass(frozen=True)
class _Part:
    """How some of the pixels and the corners around them belong together.

    Attributes:
        corners: which corners each pixel has, int32 (pixels, axes + 1).
        shares: each one's share, float32 of the same shape; a pixel's add up to 1.
        touched: the corners that any of them has, int64.
        pixels: the pixels of each of these, one corner after another, int32.
        starts: where each corner's pixels begin, int32.
        weights: the shares of `pixels`.
    """

    corners: Tensor
    shares: Tensor
    touched: Tensor
    pixels: Tensor
    starts: Tensor
    weights: Tensor


def _part(codes: Codes, shares: npt.NDArray[np.float32], known: Codes) -> _Part:
    corners = np.searchsorted(known, codes).astype(np.int32)
    order = np.argsort(corners, axis=None, kind="stable")
    touched, starts = np.unique(corners.ravel()[order], return_index=True)
    return _Part(
        torch.from_numpy(corners),
        torch.from_numpy(shares),
        torch.from_numpy(touched.astype(np.int64)),
        torch.from_numpy((order // corners.shape[1]).astype(np.int32)),
        torch.from_numpy(starts.astype(np.int32)),
        torch.from_numpy(shares.ravel()[order]),
    )


def _neighbours(known: Codes, wanted: Codes) -> Tensor:
    """Where the corners of these names are, int64; those that are not there are after the last."""
    places = np.searchsorted(known, wanted)
    there = known[np.minimum(places, len(known) - 1)] == wanted
    return torch.from_numpy(np.where(there, places, len(known)))
