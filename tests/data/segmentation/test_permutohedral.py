"""The permutohedral lattice against sums over all pairs of pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from caffecompat.data.segmentation.permutohedral import Lattice
from caffecompat.errors import ShapeError

HEIGHT, WIDTH, CHANNELS = 30, 36, 3


def features(axes):
    """Row and column by 4 pixels; with five axes besides colours that change slowly, by 25."""
    places = np.stack(np.mgrid[:HEIGHT, :WIDTH].reshape(2, -1), axis=1) / 4
    noise = np.random.default_rng(1).normal(size=(HEIGHT, WIDTH, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 4).reshape(-1, 3)
    colours = (smooth - smooth.min()) / np.ptp(smooth) * 255 / 25
    return places if axes == 2 else np.concatenate([places, colours], axis=1)


def filtered(given, values, splits=()):
    parts, blocks = np.split(given, splits), np.split(values, splits)
    lattice = Lattice(lambda: iter(parts))
    corners = lattice.empty(values.shape[1])
    for index, block in enumerate(blocks):
        lattice.splat(corners, index, torch.from_numpy(block))
    lattice.blur(corners)
    return np.concatenate([lattice.slice(corners, index).numpy() for index in range(len(parts))])


@pytest.mark.parametrize(("axes", "correlation", "error"), [(2, 0.995, 0.02), (5, 0.98, 0.05)])
def test_weighted_means_are_near_those_of_a_gaussian(axes, correlation, error):
    """The lattice's kernel is not quite a Gaussian: what is compared is what the mean field takes, normalized."""
    given = features(axes)
    values = np.random.default_rng(2).random((len(given), CHANNELS), dtype=np.float32)
    kernel = np.exp(-((given[:, None] - given[None]) ** 2).sum(2) / 2)
    exact = kernel @ values / kernel.sum(1, keepdims=True)
    found = filtered(given, values) / filtered(given, np.ones_like(values))
    assert np.corrcoef(found.ravel(), exact.ravel())[0, 1] > correlation
    assert abs(found - exact).max() < error
    # The values themselves are far apart.
    assert abs(values - exact).max() > 0.4


def test_parts_change_nothing():
    given = features(5)
    values = np.random.default_rng(3).random((len(given), CHANNELS), dtype=np.float32)
    whole = filtered(given, values)
    assert filtered(given, values, [100, 101, 700]) == pytest.approx(whole, rel=1e-5)


def test_a_point_spreads_the_same_to_all_sides():
    places = np.stack(np.mgrid[:25, :25].reshape(2, -1), axis=1) / 2
    point = np.zeros((625, 1), np.float32)
    point[312] = 1
    spread = filtered(places, point).reshape(25, 25)
    assert spread.argmax() == 312
    assert spread == pytest.approx(spread[::-1, ::-1], abs=0.02)
    rows, columns = np.mgrid[-12:13, -12:13]
    variances = [(spread * axis**2).sum() / spread.sum() for axis in (rows, columns)]
    # In pixels: the standard deviation is 2.
    assert variances == pytest.approx([4, 4], rel=0.2)


def test_features_too_far_apart_are_an_error():
    far = np.array([[0.0] * 5, [1e6] * 5])
    with pytest.raises(ShapeError, match="too large for a Gaussian"):
        Lattice(lambda: iter([far]))
