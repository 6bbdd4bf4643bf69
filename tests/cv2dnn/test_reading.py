"""readNetFromCaffe and readNet on files and buffers of every kind; install."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat import CaffeCompatError, cv2dnn, load
from tests.cv2dnn.programs import MODELS, REFERENCE, noise
from tests.support import shared_file

SSD = REFERENCE / "ssd.prototxt", REFERENCE / "ssd.caffemodel"
OUTPUTS = REFERENCE / "outputs.prototxt", REFERENCE / "outputs.caffemodel"


def ready(net):
    net.setInput(noise((1, 4, 6, 5)), "data")
    net.setInput(noise((1, 3), 1), "info")
    return net


# --- against caffecompat.load


@pytest.mark.parametrize("name", ["v0.caffemodel", "v1_double.caffemodel", "v1_unpacked.caffemodel"])
def test_encodings_that_opencv_does_not_read(name):
    """The same weights as those of `cifar10_quick`, of which OpenCV's answer is recorded."""
    folder = "models/cifar10_quick_encodings"
    net = cv2dnn.readNetFromCaffe(
        shared_file(f"{folder}/cifar10_quick.prototxt"), shared_file(f"{folder}/cifar10_quick_{name}")
    )
    net.setInput(noise(MODELS["cifar10_quick"].shapes[0]))
    with np.load(REFERENCE / "cifar10_quick.npz") as record:
        np.testing.assert_allclose(net.forward(), record["0/out prob"], rtol=1e-4, atol=1e-5)


def test_hdf5_weights():
    files = [
        shared_file(f"models/cifar10_full_h5/cifar10_full{end}") for end in (".prototxt", "_iter_100000.caffemodel.h5")
    ]
    net, blob = cv2dnn.readNet(str(files[1]), str(files[0])), noise((2, 3, 32, 32))
    net.setInput(blob)
    assert (net.forward() == load(*files)(data=blob)["prob"].detach().numpy()).all()
    with pytest.raises(CaffeCompatError, match="HDF5 is read from files only"):
        cv2dnn.readNetFromCaffe(files[0], files[1].read_bytes())


# --- reading


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda data: np.frombuffer(data, np.uint8)])
def test_buffers(kind):
    prototxt, weights = (kind(path.read_bytes()) for path in OUTPUTS)
    expected = ready(cv2dnn.readNetFromCaffe(*OUTPUTS)).forward("fc")
    for other in (
        cv2dnn.readNetFromCaffe(prototxt, weights),
        cv2dnn.readNetFromCaffe(bufferProto=prototxt, bufferModel=weights),
        cv2dnn.readNet("caffe", weights, prototxt),
        cv2dnn.readNet(framework="Caffe", bufferModel=weights, bufferConfig=prototxt),
    ):
        np.testing.assert_allclose(ready(other).forward("fc"), expected, rtol=1e-5)


def test_read_net_takes_either_order(tmp_path):
    prototxt, weights = map(str, OUTPUTS)
    other = tmp_path / "deploy.prototxt.txt"
    other.write_bytes(OUTPUTS[0].read_bytes())
    without = tmp_path / "net_iter_100"
    without.write_bytes(OUTPUTS[1].read_bytes())
    names = cv2dnn.readNetFromCaffe(*OUTPUTS).getLayerNames()
    for args in (
        (weights, prototxt),
        (weights, prototxt, None),
        (prototxt, weights),
        (OUTPUTS[1], other),
        (str(without), prototxt, "caffe"),
        (prototxt,),
        (prototxt, None, None),
    ):
        assert cv2dnn.readNet(*args).getLayerNames() == names
    with pytest.raises(cv2.error, match="its prototxt is missing"):
        cv2dnn.readNet(weights)


def test_other_formats_go_to_opencv(tmp_path):
    with pytest.raises(cv2.error) as caught:
        cv2dnn.readNet(str(tmp_path / "net.onnx"))
    assert not isinstance(caught.value, CaffeCompatError)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((b"layer {",), "the prototxt's buffer"),
        ((b"name: 'empty'",), "the net has no layers"),
        ((b"",), "expected a prototxt, got nothing"),
        ((), "expected a prototxt, got nothing"),
        (("no/such.prototxt",), "there is no such file"),
        ((SSD[0], "no/such.caffemodel"), "[Nn]o such file"),
        ((SSD[0], SSD[0]), "expected weights, got text"),
        ((SSD[0], b"\x80\x02abc"), "a pickle"),
        ((SSD[0], np.zeros(4, np.float32)), "as uint8, got an array of float32"),
        ((SSD[0], 5), "the bytes of a caffemodel, got int"),
        ((None,), "the bytes of a prototxt, got NoneType"),
        ((SSD[0], SSD[1].read_bytes()[:5000]), "the weights' buffer"),
    ],
)
def test_what_cannot_be_read(args, message):
    with pytest.raises(cv2.error, match=message) as caught:
        cv2dnn.readNetFromCaffe(*args)
    assert isinstance(caught.value, CaffeCompatError)


# --- the module


def test_what_is_opencvs_own():
    assert cv2dnn.blobFromImage is cv2.dnn.blobFromImage
    assert cv2dnn.NMSBoxes is cv2.dnn.NMSBoxes
    assert cv2dnn.DNN_TARGET_CPU == cv2.dnn.DNN_TARGET_CPU
    assert cv2dnn.DNN_BACKEND_HALIDE == 1
    assert {"readNetFromCaffe", "blobFromImages", "DNN_BACKEND_HALIDE"} <= set(dir(cv2dnn))
    with pytest.raises(AttributeError):
        cv2dnn.no_such_name  # noqa: B018


def test_install_leaves_a_real_importer_alone(monkeypatch):
    def real():
        return "OpenCV's"

    monkeypatch.setattr(cv2.dnn, "readNetFromCaffe", real, raising=False)
    monkeypatch.setattr(cv2.dnn, "readNet", real)
    monkeypatch.setattr(cv2.dnn, "DNN_BACKEND_HALIDE", 7, raising=False)
    cv2dnn.install()
    assert cv2.dnn.readNetFromCaffe is cv2.dnn.readNet is real
    cv2dnn.install(replace=True)
    assert cv2.dnn.readNetFromCaffe is cv2dnn.readNetFromCaffe
    assert cv2.dnn.readNet is cv2dnn.readNet
    assert cv2.dnn.DNN_BACKEND_HALIDE == 7
