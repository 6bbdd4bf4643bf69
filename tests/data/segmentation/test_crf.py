"""The dense CRF: against the authors' own program, and against mean fields of exact kernels."""

from __future__ import annotations

import numpy as np
import pytest

from caffecompat.data.segmentation import crf as module
from caffecompat.data.segmentation.crf import Crf, refine
from tests.support import REFERENCE


class Given:
    def __init__(self, values):
        self.values = values

    def log_probabilities(self, start, stop):
        return self.values[:, start:stop]


@pytest.fixture(scope="module")
def scene():
    with np.load(REFERENCE / "densecrf" / "scene.npz") as saved:
        return dict(saved)


def settings(scene, name):
    iterations, *numbers = scene[f"{name}_settings"].tolist()
    return Crf(int(iterations), tuple(numbers[:3]), tuple(numbers[3:]))


def refined(scene, crf):
    return np.concatenate(
        [rows for _, rows in refine(scene["image"][:, :, ::-1], Given(scene["log_probabilities"]), crf)], axis=1
    )


@pytest.mark.parametrize("name", ["both", "narrow", "bilateral", "smoothness"])
def test_as_the_authors_program(scene, name):
    found = refined(scene, settings(scene, name))
    assert found.shape == (4, 30, 40)
    # Features on the border of two simplices fall to either side: theirs are float32.
    assert abs(found - scene[name]).max() < 0.01
    assert abs(found - scene[name]).mean() < 1e-4
    assert (found.argmax(0) == scene[name].argmax(0)).all()


def exact(scene, crf):
    """The same with sums over all pairs of pixels."""
    height, width, _ = scene["image"].shape
    places = np.stack(np.mgrid[:height, :width].reshape(2, -1), axis=1).astype(float)
    weight, place, colour = crf.bilateral
    near = np.concatenate([places / place, scene["image"].reshape(-1, 3) / colour], axis=1)
    kernels = 0
    for strength, given in ((weight, near), (crf.smoothness[0], places / crf.smoothness[1])):
        kernel = np.exp(-((given[:, None] - given[None]) ** 2).sum(2) / 2)
        norms = np.sqrt(kernel.sum(1))
        kernels = kernels + strength * kernel / norms / norms[:, None]
    unary = scene["log_probabilities"].reshape(4, -1).astype(float)
    found = np.exp(unary)
    for _ in range(crf.iterations):
        found = np.exp(unary + found @ kernels)
        found /= found.sum(0)
    return found.reshape(4, height, width)


def test_near_a_field_of_exact_kernels(scene):
    crf = settings(scene, "narrow")
    found, expected = refined(scene, crf), exact(scene, crf)
    assert (found.argmax(0) == expected.argmax(0)).mean() > 0.99
    assert abs(found - expected).mean() < 0.01
    # A field without its pairs is far from it.
    assert abs(refined(scene, Crf(0)) - expected).mean() > 0.1


def test_noise_goes_and_edges_stay(scene):
    before = (scene["log_probabilities"].argmax(0) == scene["labels"]).mean()
    after = (refined(scene, Crf(bilateral=(4, 20, 25))).argmax(0) == scene["labels"]).mean()
    assert before < 0.75
    assert after > 0.97


def test_parts_and_what_is_kept_change_nothing(scene, monkeypatch):
    whole = refined(scene, Crf())
    monkeypatch.setattr(module, "_PART", 7 * 40)
    monkeypatch.setattr(module, "_KEPT", 0)
    given = Given(scene["log_probabilities"])
    parts = list(refine(scene["image"][:, :, ::-1], given, Crf()))
    assert [start for start, _ in parts] == [0, 7, 14, 21, 28]
    assert np.concatenate([rows for _, rows in parts], axis=1) == pytest.approx(whole, abs=1e-4)


def test_without_kernels_nothing_changes(scene):
    probabilities = np.exp(scene["log_probabilities"])
    assert refined(scene, Crf(5, (0, 1, 1), (0, 1))) == pytest.approx(probabilities, abs=1e-6)
