"""Views on blobs: they stay valid, are written through, and blobs that the original keeps apart do not alias."""

from __future__ import annotations

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.blob import Blob
from caffecompat.errors import ShapeError, UsageError

NET = """
force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 } } }
layer { name: "slice" type: "Slice" bottom: "data" top: "a" top: "b" slice_param { axis: 1 } }
layer { name: "drop" type: "Dropout" bottom: "a" top: "drop" }
layer { name: "square" type: "Power" bottom: "drop" top: "square" power_param { power: 2 } }
layer { name: "shift" type: "Power" bottom: "square" top: "square" power_param { shift: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "square" bottom: "b" top: "sum" }
layer { name: "reshape" type: "Reshape" bottom: "sum" top: "flat" reshape_param { shape { dim: -1 } } }
"""
DATA = np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32)


@pytest.fixture
def net(write):
    net = caffe.Net(write(NET), caffe.TEST)
    net.blobs["data"].data[...] = DATA
    return net


def test_blobs_are_there_before_the_first_pass(net):
    assert {name: blob.data.shape for name, blob in net.blobs.items()} == {
        "data": (2, 4),
        "a": (2, 2),
        "b": (2, 2),
        "drop": (2, 2),
        "square": (2, 2),
        "sum": (2, 2),
        "flat": (4,),
    }
    assert not net.blobs["sum"].data.any()
    assert not net.blobs["sum"].diff.any()


def test_a_held_view_follows_every_pass(net):
    held = {name: net.blobs[name].data for name in ("a", "square", "sum", "flat")}
    part = net.blobs["square"].data[1]
    for factor in (1, 2, 3):
        net.blobs["data"].data[...] = factor * DATA
        net.forward()
        first = (factor * DATA[:, :2]) ** 2 + 1
        np.testing.assert_array_equal(held["a"], factor * DATA[:, :2])
        np.testing.assert_array_equal(held["square"], first)
        np.testing.assert_array_equal(part, first[1])
        np.testing.assert_array_equal(held["sum"], first + factor * DATA[:, 2:])
        np.testing.assert_array_equal(held["flat"], held["sum"].reshape(-1))
        assert all(net.blobs[name].data is view for name, view in held.items())


def test_a_held_diff_follows_every_pass(net):
    held = net.blobs["drop"].diff
    for seed in (1, 4):
        net.forward()
        net.blobs["flat"].diff[...] = seed
        net.backward()
        np.testing.assert_array_equal(held, seed * 2 * DATA[:, :2])


def test_an_edit_counts_from_the_next_layer_on(net):
    net.forward()
    net.blobs["drop"].data[...] = 10
    net.forward(start="square")
    np.testing.assert_array_equal(net.blobs["sum"].data, 101 + DATA[:, 2:])
    net.blobs["sum"].data[0] = 0
    net.forward(start="reshape")
    np.testing.assert_array_equal(net.blobs["flat"].data[:2], 0)


def test_an_edit_before_the_pass_back_is_seen_there(net):
    net.forward()
    net.blobs["drop"].data[...] = 10
    net.blobs["flat"].diff[...] = 1
    net.backward()
    np.testing.assert_array_equal(net.blobs["a"].diff, 20)


def test_what_the_original_keeps_apart_does_not_alias(net):
    """A view of torch's is a copy in Caffe: Slice, and Dropout in phase TEST."""
    net.forward()
    net.blobs["a"].data[...] = -1
    np.testing.assert_array_equal(net.blobs["data"].data, DATA)
    np.testing.assert_array_equal(net.blobs["drop"].data, DATA[:, :2])
    net.blobs["flat"].diff[...] = 1
    net.backward()
    net.blobs["b"].diff[...] = 5
    np.testing.assert_array_equal(net.blobs["sum"].diff, 1)
    np.testing.assert_array_equal(net.blobs["square"].diff, 1)


def test_what_the_original_shares_aliases(net):
    net.forward()
    net.blobs["flat"].data[...] = 3
    np.testing.assert_array_equal(net.blobs["sum"].data, 3)


def test_a_layer_in_place_overwrites_its_blob(net):
    held = net.blobs["square"].data
    net.forward(end="square")
    np.testing.assert_array_equal(held, DATA[:, :2] ** 2)
    net.forward(start="shift", end="shift")
    np.testing.assert_array_equal(held, DATA[:, :2] ** 2 + 1)
    net.forward(start="shift", end="shift")
    np.testing.assert_array_equal(held, DATA[:, :2] ** 2 + 2)


def test_in_place_layers_keep_what_the_pass_back_needs(write):
    """The sigmoid's values are gone from the blob when the pass back reaches it, and views were held."""
    net = caffe.Net(
        write(
            'force_backward: true input: "data" input_shape { dim: 3 }'
            'layer { name: "s" type: "Sigmoid" bottom: "data" top: "s" }'
            'layer { name: "t" type: "TanH" bottom: "s" top: "s" }'
        ),
        caffe.TEST,
    )
    held = net.blobs["s"].data
    x = np.array([-1, 0, 2], np.float32)
    net.forward(data=x)
    net.forward(data=x)
    net.blobs["s"].diff[...] = 1
    net.backward()
    s = 1 / (1 + np.exp(-x))
    np.testing.assert_allclose(net.blobs["data"].diff, (1 - np.tanh(s) ** 2) * s * (1 - s), rtol=1e-5)
    np.testing.assert_allclose(held, np.tanh(s), rtol=1e-6)


def test_a_pass_back_after_a_part_of_a_pass_through_held_memory(net):
    held = net.blobs["drop"].data
    net.forward()
    net.blobs["data"].data[...] = 2 * DATA
    net.forward(end="drop")
    net.blobs["flat"].diff[...] = 1
    net.backward()
    np.testing.assert_array_equal(held, 2 * DATA[:, :2])
    np.testing.assert_array_equal(net.blobs["a"].diff, 4 * DATA[:, :2])


def test_parameters_and_their_diffs(write):
    text = (
        'force_backward: true input: "data" input_shape { dim: 2 dim: 3 }'
        'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }'
    )
    net = caffe.Net(write(text), caffe.TEST)
    weight, diff = net.params["fc"][0].data, net.params["fc"][0].diff
    weight[...] = 1
    net.forward(data=np.ones((2, 3), np.float32))
    net.blobs["fc"].diff[...] = 1
    net.backward()
    np.testing.assert_array_equal(diff, 2)
    net.backward()
    np.testing.assert_array_equal(diff, 4)
    net.clear_param_diffs()
    np.testing.assert_array_equal(diff, 0)
    assert net.params["fc"][0].data is weight
    other = caffe.Net(write(text), caffe.TEST)
    other.share_with(net)
    weight[...] = 7
    np.testing.assert_array_equal(other.params["fc"][0].data, 7)


def test_reshape():
    blob = Blob((2, 6))
    blob.data[...] = np.arange(12).reshape(2, 6)
    blob.reshape(3, 4)
    np.testing.assert_array_equal(blob.data, np.arange(12).reshape(3, 4))
    assert (blob.num, blob.channels, blob.height, blob.width, blob.count) == (3, 4, 1, 1, 12)
    blob.reshape(5)
    assert blob.data.shape == (5,)
    blob.reshape()
    assert blob.data.shape == ()
    assert blob.count == 1
    with pytest.raises(ShapeError, match="cannot have shape"):
        blob.reshape(-1, 2)
    with pytest.raises(ShapeError, match="cannot have shape"):
        blob.reshape(2**20, 2**20)
    blob.reshape(1, 1, 1, 1, 1)
    with pytest.raises(UsageError, match="more than the four sizes"):
        _ = blob.width


def test_a_parameter_keeps_its_shape(write):
    net = caffe.Net(
        write(
            'input: "data" input_shape { dim: 1 dim: 3 }'
            'layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" inner_product_param { num_output: 2 } }'
        ),
        caffe.TEST,
    )
    net.params["fc"][0].reshape(2, 3)
    with pytest.raises(ShapeError, match='layer "fc": parameter 0 has shape'):
        net.params["fc"][0].reshape(6)
