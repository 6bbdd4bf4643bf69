"""The Net of `cv2dnn` beyond what OpenCV answered once: errors, weights that change, shapes that change."""

from __future__ import annotations

import warnings

import cv2
import numpy as np
import pytest

from caffecompat import CaffeCompatError, CaffeCompatWarning, cv2dnn
from tests.cv2dnn.programs import BINS, REFERENCE, noise

SSD = REFERENCE / "ssd.prototxt", REFERENCE / "ssd.caffemodel"
OUTPUTS = REFERENCE / "outputs.prototxt", REFERENCE / "outputs.caffemodel"
COLOURS = REFERENCE / "colorization.prototxt", REFERENCE / "colorization.caffemodel"
HEAD = 'input: "data" input_shape { dim: 1 dim: 4 dim: 5 dim: 6 }\n'


def read(text):
    return cv2dnn.readNetFromCaffe((HEAD + text).encode())


@pytest.fixture
def net():
    net = cv2dnn.readNetFromCaffe(*OUTPUTS)
    net.setInput(noise((1, 4, 6, 5)), "data")
    net.setInput(noise((1, 3), 1), "info")
    return net


# --- names


def test_names_where_opencv_refuses_the_net():
    """A Convolution takes its top's name only if nobody has it."""
    convolution = 'layer { name: "%s" type: "Convolution" bottom: "data" top: "%s" convolution_param { %s } }'
    size = "num_output: 2 kernel_size: 1"
    net = read(
        convolution % ("x", "c", size)
        + convolution % ("y", "d", size)
        + 'layer { name: "c" type: "ReLU" bottom: "c" top: "c" }'
    )
    assert net.getLayerNames() == ("x", "d", "c")
    assert [net.getLayerId(name) for name in ("x", "d", "c", "y", "z")] == [1, 2, 3, 2, -1]
    assert net.getUnconnectedOutLayersNames() == ("d", "c")


def test_layers_without_tops_are_no_outputs():
    net = read(
        'layer { name: "r" type: "ReLU" bottom: "data" top: "r" } layer { name: "s" type: "Silence" bottom: "r" }'
    )
    assert net.getLayerNames() == ("r", "s")
    assert net.getUnconnectedOutLayersNames() == ()
    net.setInput(noise((1, 4, 5, 6)))
    with pytest.raises(cv2.error, match="gives no blob"):
        net.forward()
    assert net.forward("r").shape == (1, 4, 5, 6)


def test_the_layers_of_the_test_phase():
    net = cv2dnn.readNetFromCaffe(
        b'layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TRAIN } }'
        b'layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST } }'
        b'layer { name: "p" type: "Softmax" bottom: "data" top: "p" }'
        b'layer { name: "a" type: "Accuracy" bottom: "p" bottom: "label" top: "a" }'
    )
    assert net.getLayerNames() == ("p", "a")
    net.setInput(np.eye(3, dtype=np.float32))
    net.setInputShape("label", [3])
    np.testing.assert_allclose(net.forward("p").sum(axis=1), 1, rtol=1e-6)
    with pytest.raises(cv2.error, match="input 'label' was not set"):
        net.forward()
    net.setInput(np.array([0, 1, 0], dtype=np.uint8), "label")
    np.testing.assert_allclose(net.forward(), [[2 / 3]], rtol=1e-6)


# --- weights


def test_weights_may_change_between_passes(net):
    first = net.forward("fc")
    weights, bias = net.getLayer("fc").blobs
    net.setParam("fc", 1, bias + 1)
    np.testing.assert_allclose(net.forward("fc"), first + 1, rtol=1e-5)
    net.getLayer("fc").blobs = [weights * 0, np.arange(5)]
    assert net.forward("fc").tolist() == [[0, 1, 2, 3, 4]]
    net.getLayer("fc").blobs = [weights, bias]
    np.testing.assert_allclose(net.forward("fc"), first, rtol=1e-5)


def test_what_is_read_and_returned_are_copies(net):
    blob = noise((1, 4, 6, 5))
    net.setInput(blob, "data")
    first = net.forward("slice")
    net.getLayer("fc").blobs[0][:] = 0
    net.getParam("fc")[:] = 0
    given = [net.getParam("fc"), net.getParam("fc", 1)]
    net.getLayer("fc").blobs = given
    second = net.forward("fc")
    given[0][:] = 0
    blob[:] = 0
    first[:] = 0
    assert net.forward("slice").any()
    assert (net.forward("fc") == second).all()
    assert second.any()


def test_weights_that_no_file_has():
    net = cv2dnn.readNetFromCaffe(*COLOURS)
    net.setInput(noise((1, 1, 16, 24)))
    assert net.getLayer("class8_ab").blobs == []
    # Scale states a filler; the convolution's is 0, so all it gives is 0.
    with pytest.warns(CaffeCompatWarning, match="nothing for conv8_rh, class8_ab; filled as the prototxt says"):
        assert not net.forward().any()
    assert (net.getParam("conv8_rh") == np.full((BINS, 1), 2.606, np.float32)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net.setInput(noise((1, 1, 24, 24)))
        assert net.forward().shape == (1, 2, 24, 24)


def test_weights_of_another_net():
    """They can be looked at, and the pass says what does not fit."""
    prototxt = OUTPUTS[0].read_bytes().replace(b"num_output: 5", b"num_output: 4")
    net = cv2dnn.readNetFromCaffe(prototxt, OUTPUTS[1].read_bytes())
    assert [blob.shape for blob in net.getLayer("fc").blobs] == [(5, 63), (5, 1)]
    net.setInput(noise((1, 4, 6, 5)), "data")
    net.setInput(noise((1, 3), 1), "info")
    with pytest.raises(cv2.error, match=r'layer "fc": expected shape \(4, 63\) for blob 0'):
        net.forward()


def test_no_weights_at_all():
    net = cv2dnn.readNetFromCaffe(OUTPUTS[0])
    net.setInput(noise((1, 4, 6, 5)), "data")
    net.setInput(noise((1, 3), 1), "info")
    with pytest.raises(cv2.error, match=r'layer "a name of its own": it has no weights'):
        net.forward()
    for name in ("convolved", "fc"):
        net.getLayer(name).blobs = cv2dnn.readNetFromCaffe(*OUTPUTS).getLayer(name).blobs
    other = cv2dnn.readNetFromCaffe(*OUTPUTS)
    other.setInput(noise((1, 4, 6, 5)), "data")
    other.setInput(noise((1, 3), 1), "info")
    assert (net.forward() == other.forward()).all()


# --- shapes


def test_sizes_that_come_and_go():
    net, blobs = cv2dnn.readNetFromCaffe(*SSD), [noise((n, 3, 32 + 4 * n, 48)) for n in range(1, 12)]
    first = []
    for blob in blobs:
        net.setInput(blob)
        first.append(net.forward("mbox_conf"))
    for blob, expected in zip(blobs, first, strict=True):
        net.setInput(blob)
        assert (net.forward("mbox_conf") == expected).all()


def test_sizes_that_the_weights_do_not_fit(net):
    net.setInput(noise((1, 4, 7, 5)), "data")
    message = (
        r"(?s)fc.*expected shape \(5, 73\).*states input 'data' of shape \(1, 4, 6, 5\), it was set with \(1, 4, 7"
    )
    with pytest.raises(cv2.error, match=message):
        net.forward()


def test_one_axis_has_the_shape_that_is_stated(net):
    """As `object_detection.py` sets `im_info`."""
    expected = net.forward("fc")
    net.setInput(noise((1, 3), 1)[0], "info")
    assert (net.forward("fc") == expected).all()


# --- costs


def test_costs():
    """OpenCV 4.14 answers the same of LeNet's memory: (1724320, 80816) and (2080, 46080) of its first layer."""
    net = cv2dnn.readNetFromCaffe(
        b'input: "data" input_shape { dim: 1 dim: 1 dim: 28 dim: 28 }'
        b'layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1"'
        b" convolution_param { num_output: 20 kernel_size: 5 } }"
        b'layer { name: "pool1" type: "Pooling" bottom: "conv1" top: "pool1"'
        b" pooling_param { kernel_size: 2 stride: 2 } }"
    )
    assert net.getMemoryConsumption(1, [1, 1, 28, 28]) == (2080, 46080)
    assert net.getMemoryConsumption(0, [1, 1, 28, 28]) == (0, 4 * 784)
    assert net.getMemoryConsumption([[1, 1, 28, 28]]) == (2080, 46080 + 11520 + 3136)
    assert net.getFLOPS([1, 1, 28, 28]) == net.getFLOPS(1, [1, 1, 28, 28]) == 2 * 20 * 24 * 24 * 25
    assert net.getFLOPS([3, 1, 28, 28]) == 3 * net.getFLOPS([1, 1, 28, 28])


def test_drawing(tmp_path, net):
    net.dumpToFile(tmp_path / "net.dot")
    text = (tmp_path / "net.dot").read_text()
    assert text == net.dump()
    assert '\t"_input" -> "slice"\n' in text
    assert '\t"convolved" -> "flat"\n' in text
    assert text.startswith("digraph G {\n")
    assert text.endswith("}\n")


def test_perf_profile(net):
    assert net.getPerfProfile()[0] == 0
    net.forward("convolved")
    total, timings = net.getPerfProfile()
    assert timings.shape == (11,)
    assert abs(timings.sum() - total) <= 1
    assert timings[:6].all()
    assert not timings[6:].any()


# --- errors


def test_errors_are_opencvs_too(net):
    with pytest.raises(cv2.error) as caught:
        net.forward("sigmoid")
    error = caught.value
    assert isinstance(error, CaffeCompatError)
    assert error.code == -2
    assert error.err == "the net has no layer 'sigmoid'"
    assert error.msg == str(error)
    assert 'blob "sigmoid" is made by layer "same_2"' in str(error)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda net: net.forward("fcc"), 'did you mean "fc"'),
        (lambda net: net.forward(3), "a list of names, got 3"),
        (lambda net: net.forward([3]), r"expected names, got \[3\]"),
        (lambda net: net.forward("_input"), "gives no blob"),
        (lambda net: net.getLayer(12), "ids are 0 to 11"),
        (lambda net: net.getLayer(1.0), "the id or the name of a layer, got 1.0"),
        (lambda net: net.getParam("slice"), "has 0 blobs"),
        (lambda net: net.getParam("fc", "a"), "no blob 'a'"),
        (lambda net: net.setParam("fc", 2, np.ones(3)), "there is no blob 2"),
        (lambda net: net.setParam("fc", 1, np.ones(3)) or net.forward(), r"expected shape \(5,\) for blob 1"),
        (lambda net: setattr(net.getLayer("fc"), "blobs", [np.array(["a"])]), "real numbers in blob 0, got <U1"),
        (lambda net: setattr(net.getLayer("fc"), "blobs", [np.ones((5, 63))] * 3) or net.forward(), "2 blobs, got 3"),
        (lambda net: net.setInput(None), "a NumPy array, got NoneType"),
        (lambda net: net.setInput(np.array(["a"])), "numbers, got an array of <U1"),
        (lambda net: net.setInput(np.zeros((1, 0, 3))), "shape \\(1, 0, 3\\)"),
        (lambda net: net.setInput(noise((1, 3)), "dat"), 'did you mean "data"'),
        (lambda net: net.setInput(noise((1, 3)), mean="a"), "numbers as scale and mean"),
        (lambda net: net.setInput(noise((1, 5)), mean=(1, 2)), "at most 4 channels"),
        (lambda net: net.setInputsNames(["a", "b", "c"]), "2 inputs, got 3 names"),
        (lambda net: net.setInputShape("data", "ab"), "expected a shape, got 'ab'"),
        (lambda net: net.getLayersShapes([[1, 4, 6, 5]] * 3), "at most 2 shapes"),
        (lambda net: net.getFLOPS(), "the shapes of the inputs"),
        (lambda net: net.setInput(noise((1, 2, 6, 5))) or net.forward(), "slice"),
        (lambda net: cv2dnn.Net().forward(), "the net is empty"),
        (lambda net: cv2dnn.Net().setInput(noise((1, 3))), "the net is empty"),
    ],
)
def test_wrong_calls(net, call, message):
    with pytest.raises(cv2.error, match=message) as caught:
        call(net)
    assert isinstance(caught.value, CaffeCompatError)


def test_the_empty_net():
    assert cv2dnn.Net().empty()
    assert cv2dnn.Net().getLayerNames() == ()
    assert not cv2dnn.readNetFromCaffe(*OUTPUTS).empty()


def test_names_of_inputs(net):
    expected = net.forward("fc")
    net.setInputsNames(["first", "second"])
    net.setInput(noise((1, 3), 1) / 2, "second", 2.0)
    net.setInput(noise((1, 4, 6, 5)))
    assert (net.forward("fc") == expected).all()
    with pytest.raises(cv2.error, match="its inputs are first, second"):
        net.setInput(noise((1, 3)), "info")
