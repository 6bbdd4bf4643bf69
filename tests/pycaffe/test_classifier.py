"""caffe.Classifier beside the original's, on a net that is one matrix: tests/reference/pycaffe_io."""

from __future__ import annotations

import numpy as np
import pytest

from caffecompat.errors import UsageError
from caffecompat.pycaffe.classifier import Classifier
from tests.pycaffe.matrix_net import MATRIX_NET, write_matrix_net

OPTIONS = {"mean": np.array([104.0, 117.0, 123.0]), "raw_scale": 255, "channel_swap": (2, 1, 0), "input_scale": 0.01}
IMAGES = [np.random.RandomState(n).rand(12 + n, 15, 3).astype(np.float32) for n in range(3)]


@pytest.fixture
def files(tmp_path, io_answers):
    return write_matrix_net(tmp_path, io_answers["matrix"])


@pytest.mark.parametrize(("name", "dims"), [("net", None), ("larger", (11, 14)), ("larger", np.array([11, 14]))])
def test_predictions_are_the_originals(files, io_answers, name, dims):
    net = Classifier(*files, image_dims=dims, **OPTIONS)
    for oversample, what in (True, "crops"), (False, "centre"):
        got = net.predict(IMAGES, oversample=oversample)
        np.testing.assert_allclose(got, io_answers[f"classifier/{name}/{what}"], rtol=1e-5, atol=1e-5)


def test_no_image_and_no_input_are_refused(files, tmp_path):
    with pytest.raises(UsageError, match="one image"):
        Classifier(*files).predict([])
    model = tmp_path / "train.prototxt"
    data = 'layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: [2, 3, 8, 8] } } }'
    model.write_text(data + MATRIX_NET[MATRIX_NET.index("\n") :])
    with pytest.raises(UsageError, match="no input"):
        Classifier(model, files[1])
