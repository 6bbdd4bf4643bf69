"""caffe.Detector beside the original's, on a net that is one matrix: tests/reference/pycaffe_io."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from caffecompat.errors import UnsupportedError
from caffecompat.pycaffe.detector import Detector
from caffecompat.pycaffe.io import load_image
from tests.pycaffe.matrix_net import write_matrix_net
from tests.support import REFERENCE

PICTURES = REFERENCE / "pycaffe_io" / "pictures"
WINDOWS = [
    np.array(window) for window in [(2, 3, 15, 20), (0, 0, 9, 9), (10, 20, 21, 33), (5, 0, 8, 33), (18, 30, 20, 32)]
]
MEANS = {
    "none": None,
    "vector": np.array([104.0, 117.0, 123.0]),
    "image": np.random.RandomState(4).uniform(90, 130, (3, 8, 8)),
}
JOBS = [(PICTURES / "rgb.png", WINDOWS), (PICTURES / "grey.jpg", WINDOWS[:2])]


@pytest.fixture
def files(tmp_path, io_answers):
    return write_matrix_net(tmp_path, io_answers["matrix"])


@pytest.mark.parametrize("mean", MEANS)
@pytest.mark.parametrize("pad", [None, 2])
def test_windows_are_cut_and_judged_as_by_the_original(files, io_answers, mean, pad):
    net = Detector(*files, mean=MEANS[mean], raw_scale=255, channel_swap=(2, 1, 0), context_pad=pad)
    image = load_image(PICTURES / "rgb.png")
    for number, window in enumerate(WINDOWS):
        expected = io_answers[f"detector/{mean}/{pad}/crop{number}"]
        np.testing.assert_allclose(net.crop(image, window), expected, rtol=1e-6, atol=1e-5)
    found = net.detect_windows(JOBS)
    predictions = np.array([detection["prediction"] for detection in found])
    expected = io_answers[f"detector/{mean}/{pad}/predictions"]
    np.testing.assert_allclose(predictions, expected, rtol=1e-4, atol=1e-4 * abs(expected).max())
    assert [detection["filename"] for detection in found] == [JOBS[0][0]] * 5 + [JOBS[1][0]] * 2
    assert all(detection["window"] is window for detection, window in zip(found, WINDOWS, strict=False))


def test_windows_may_come_from_an_iterator_or_be_none(files):
    net = Detector(*files)
    assert len(net.detect_windows((path, iter(windows)) for path, windows in JOBS)) == 7
    assert net.detect_windows([]) == []


def test_a_window_without_a_pixel_is_refused(files):
    net = Detector(*files, context_pad=1)
    with pytest.raises(ValueError, match=r"\(30, 2, 40, 4\)"):
        net.crop(np.zeros((20, 20, 3), np.float32), (30, 2, 40, 4))


def test_selective_search_is_taken_where_it_is(files, monkeypatch):
    net = Detector(*files)
    with pytest.raises(UnsupportedError, match="selective_search_ijcv_with_python"):
        net.detect_selective_search([PICTURES / "rgb.png"])
    asked = []

    def get_windows(names, cmd):
        asked.append((names, cmd))
        return [WINDOWS[:2]]

    monkeypatch.setitem(sys.modules, "selective_search_ijcv_with_python", SimpleNamespace(get_windows=get_windows))
    assert len(net.detect_selective_search([PICTURES / "rgb.png"])) == 2
    assert asked == [([str(PICTURES / "rgb.png")], "selective_search_rcnn")]
