"""vgg_to_frontend: the layers of the published front end, and at each place what the classifier gives for a window."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import UnsupportedError, UsageError
from caffecompat.export.applying import apply_recipe
from caffecompat.export.recipes import find_recipe
from caffecompat.formats import read_net
from caffecompat.net.saving import net_message
from tests.support import make_net, shared_file

# The last two blocks of a VGG and its inner products, in small.
NET = """
input: "data" input_shape {{ dim: 1 dim: 3 dim: {size} dim: {size} }}
layer {{ name: "pool3" type: "Pooling" bottom: "data" top: "pool3" pooling_param {{ kernel_size: 2 stride: 2 }} }}
layer {{ name: "conv4_3" type: "Convolution" bottom: "pool3" top: "conv4_3"
        convolution_param {{ num_output: 5 kernel_size: 3 {pad} }} }}
layer {{ name: "relu4_3" type: "ReLU" bottom: "conv4_3" top: "conv4_3" }}
layer {{ name: "pool4" type: "Pooling" bottom: "conv4_3" top: "pool4" pooling_param {{ {pool} stride: 2 }} }}
layer {{ name: "conv5_3" type: "Convolution" bottom: "pool4" top: "conv5_3"
        convolution_param {{ num_output: 6 kernel_size: 3 {pad} }} }}
layer {{ name: "relu5_3" type: "ReLU" bottom: "conv5_3" top: "conv5_3" }}
layer {{ name: "pool5" type: "Pooling" bottom: "conv5_3" top: "pool5" pooling_param {{ {pool} stride: 2 }} }}
layer {{ name: "fc6" type: "InnerProduct" bottom: "pool5" top: "fc6" inner_product_param {{ num_output: 16 {fc} }} }}
layer {{ name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }}
layer {{ name: "drop6" type: "Dropout" bottom: "fc6" top: "fc6" }}
layer {{ name: "fc7" type: "InnerProduct" bottom: "fc6" top: "fc7" inner_product_param {{ num_output: 12 }} }}
layer {{ name: "relu7" type: "ReLU" bottom: "fc7" top: "fc7" }}
layer {{ name: "fc8" type: "InnerProduct" bottom: "fc7" top: "fc8" inner_product_param {{ num_output: 5 }} }}
layer {{ name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }}
"""


def small(size=24, fc="", pad="pad: 1", pool="kernel_size: 2"):
    net = make_net(NET.format(size=size, fc=fc, pad=pad, pool=pool)).eval()
    random = np.random.default_rng(0)
    for layer in net.layers:
        for index, blob in enumerate(layer.blobs):
            values = random.standard_normal(blob.shape) / max(1, blob.numel() / layer.outputs) ** 0.5
            layer.set_blob(index, torch.from_numpy(values.astype(np.float32)))
    return net


def frontend(net, **options):
    return apply_recipe(net, find_recipe("vgg_to_frontend"), options, Preprocessing())


@pytest.mark.parametrize("fc", ["", "transpose: true"])
def test_each_place_is_the_classifier_over_a_window(fc):
    """A net that picks every second value where the classifier pools, and that pads nothing, gives each output."""
    classifier = small(fc=fc)
    height = classifier.blob_shapes[classifier.graph.last["pool5"]][2]
    # 1 of 2 and 3x3, twice, before the inner product: what the window of one output has to be.
    window = 2 * (2 * (2 * height - 1 + 2) - 1 + 2)
    picking = small(size=window, fc=fc, pad="", pool="kernel_size: 1")
    assert picking.blob_shapes[picking.graph.last["pool5"]][2] == height
    for name in ("conv4_3", "conv5_3", "fc6", "fc7"):
        for index, blob in enumerate(classifier.layer(name).blobs):
            picking.layer(name).set_blob(index, blob)
    picking.keep = ["fc7"]
    net, _ = frontend(classifier, size=str(window + 6))
    data = torch.from_numpy(np.random.default_rng(1).standard_normal((1, 3, window + 6, window + 6)).astype(np.float32))
    with torch.no_grad():
        found = net(data=data)["fc7"]
        assert found.shape == (1, 12, 4, 4)
        for row in range(4):
            for column in range(4):
                picking(data=data[:, :, 2 * row : 2 * row + window, 2 * column : 2 * column + window])
                torch.testing.assert_close(found[:, :, row, column], picking.blobs["fc7"])


def test_the_net_is_the_published_one():
    """Of the authors' training net: every layer up to fc7, and the final convolution, with the same parameters."""
    vgg = caffecompat.load(shared_file("prototxt/vgg/VGG_ILSVRC_16_layers_deploy.prototxt"))
    net, _ = frontend(vgg, classes="21", size="500")
    theirs = read_net(shared_file("prototxt/dilation/train_frontend/train_net.prototxt")).message.layer
    wanted = [layer for layer in theirs if layer.type in ("Convolution", "ReLU", "Pooling", "Dropout")]
    made = [layer for layer in net_message(net).layer if layer.type != "Input"]
    assert [layer.name for layer in made] == [layer.name for layer in wanted]
    for own, other in zip(made, wanted, strict=True):
        assert (own.type, list(own.bottom), list(own.top)) == (other.type, list(other.bottom), list(other.top))
        if own.type == "Convolution":
            for field in ("num_output", "kernel_size", "pad", "stride", "dilation", "bias_term", "group"):
                assert getattr(own.convolution_param, field) == getattr(other.convolution_param, field), own.name
    assert net.blob_shapes[net.graph.last["final"]] == (1, 21, 16, 16)


def test_the_record():
    mean_image = np.arange(12, dtype=np.float32).reshape(3, 2, 2)
    record = Preprocessing(mean_image=mean_image, crop=(2, 2), size=(4, 4), labels=("cat",))
    _, new = apply_recipe(small(), find_recipe("vgg_to_frontend"), {"size": "60"}, record)
    assert new.mean == (1.5, 5.5, 9.5)
    assert (new.mean_image, new.crop, new.size, new.labels) == (None, None, None, ())
    assert (new.segmentation.zoom, new.segmentation.label_margin) == (8, 186)


def test_what_is_refused():
    with pytest.raises(UsageError, match="expected a number from 1 as classes, got 'all'"):
        frontend(small(), classes="all")
    with pytest.raises(UsageError, match="a picture of 20 is too small"):
        frontend(small(), size="20")
    with pytest.raises(UnsupportedError, match="expected a layer 'pool4' of type Pooling"):
        frontend(frontend(small(), size="60")[0])
