"""Dilated convolutions learn: every stage in small, by the commands that `docs/dilation.md` names."""

from __future__ import annotations

import argparse

import cv2
import numpy as np
import pytest

from tests.zoo.segmentation import CLASSES, METHODS, PLACES, compare, draw


def test_the_drawn_set_needs_more_than_a_look_at_a_pixel(tmp_path):
    draw(tmp_path / "a", 12, 5)
    images, labels = ((tmp_path / "a" / f"{kind}.txt").read_text().split() for kind in ("images", "labels"))
    pixels = np.concatenate([cv2.imread(file).reshape(-1, 3) for file in images]).astype(float)
    true = np.concatenate([cv2.imread(file, cv2.IMREAD_GRAYSCALE).ravel() for file in labels])
    middles = np.stack([pixels[true == label].mean(0) for label in range(CLASSES)])
    nearest = ((pixels[:, None] - middles) ** 2).sum(2).argmin(1)
    # Even knowing the classes' colours.
    assert 0.35 < (nearest == true).mean() < 0.7


@pytest.mark.slow
def test_all_stages(tmp_path):
    asked = argparse.Namespace(seed=0, pictures=8, iterations=6, stops=1)
    found = compare(tmp_path, asked)
    assert tuple(found) == METHODS
    # After the one stop, and with a CRF.
    assert {len(values) for values in found.values()} == {2}
    assert all(0 < value < 100 for values in found.values() for value in values)
    # The context module gets the scores of whole pictures.
    features = (tmp_path / "features" / "features.txt").read_text().split()
    assert len(features) == asked.pictures
    assert np.fromfile(features[0], "<i4", 5).tolist() == [5, 3, CLASSES, PLACES, PLACES]
