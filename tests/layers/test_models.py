"""Published models with their own weights, against OpenCV's answers on the same inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat import load
from tests.support import shared_file

# Folder, prototxt, weights, recorded answers, and how their keys name our blobs where they differ.
MODELS = {
    "mtcnn_det1": ("mtcnn", "det1.prototxt", "det1.caffemodel", "opencv_ref_det1_astronaut.npz", {}),
    "mtcnn_det2": ("mtcnn", "det2.prototxt", "det2.caffemodel", "opencv_ref_det2_astronaut.npz", {}),
    "mtcnn_det3": ("mtcnn", "det3.prototxt", "det3.caffemodel", "opencv_ref_det3_astronaut.npz", {}),
    "hyperlpr_fp32": (
        "hyperlpr_fp16",
        "HorizonalFinemapping.prototxt",
        "HorizonalFinemapping.caffemodel",
        "opencv_ref_finemapping.npz",
        {"fp32": ""},
    ),
    "hyperlpr_fp16": (
        "hyperlpr_fp16",
        "HorizonalFinemapping.prototxt",
        "HorizonalFinemapping_fp16.caffemodel",
        "opencv_ref_finemapping.npz",
        {"fp16": ""},
    ),
    "cifar10_quick": (
        "cifar10_quick_encodings",
        "cifar10_quick.prototxt",
        "cifar10_quick_iter_5000",
        "opencv_ref.npz",
        {},
    ),
    "lenet": ("lenet_v1", "lenet.prototxt", "lenet_iter_10000.caffemodel", "opencv_ref.npz", {}),
}


def run(folder, prototxt, weights, x):
    net = load(shared_file(f"models/{folder}/{prototxt}"), shared_file(f"models/{folder}/{weights}"))
    assert not net.filled
    with torch.no_grad():
        return {name: blob.numpy() for name, blob in net(data=torch.from_numpy(x)).items()}


@pytest.mark.parametrize("name", MODELS)
def test_as_opencv(name):
    folder, prototxt, weights, reference, names = MODELS[name]
    with np.load(shared_file(f"models/{folder}/{reference}")) as record:
        expected = dict(record)
    outputs = run(folder, prototxt, weights, expected.pop("input"))
    if names:
        ((key, _),) = names.items()
        (blob,) = outputs
        expected, outputs = {key: expected[key]}, {key: outputs[blob]}
    assert set(outputs) == set(expected)
    for blob, theirs in expected.items():
        np.testing.assert_allclose(outputs[blob], theirs, rtol=1e-4, atol=1e-4)


def test_wechat_detect_as_opencv():
    with np.load(shared_file("models/wechat_detect/opencv_ref_coffee_qr.npz")) as record:
        x, theirs = record["input"], record["detection_output"].reshape(-1, 7)
    ours = run("wechat_detect", "detect.prototxt", "detect.caffemodel", x)["detection_output"].reshape(-1, 7)
    theirs = theirs[theirs[:, 2] > 0]  # OpenCV fills up to keep_top_k rows with zeros
    assert len(ours) == len(theirs)
    np.testing.assert_array_equal(ours[:, 1], theirs[:, 1])
    np.testing.assert_allclose(ours[:, 2:], theirs[:, 2:], rtol=0, atol=1e-3)


def test_lenet_scores_mnist_as_opencv():
    """The recorded answers are those on MNIST's first 64 test images, as fractions of 256."""
    with np.load(shared_file("data/mnist_10000.npz")) as data:
        images, labels = data["X"].astype(np.float32) / 256, data["y"]
    with np.load(shared_file("models/lenet_v1/opencv_ref.npz")) as record:
        theirs = record["prob"]
    ours = run("lenet_v1", "lenet.prototxt", "lenet_iter_10000.caffemodel", images)["prob"]
    np.testing.assert_allclose(ours[:64], theirs, rtol=0, atol=1e-4)
    np.testing.assert_array_equal(ours[:64].argmax(1), theirs.argmax(1))
    assert (theirs.argmax(1) == labels[:64]).all()
    assert (ours.argmax(1) == labels).mean() > 0.99
