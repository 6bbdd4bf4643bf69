"""vgg_reduced: the layers that SSD's train.prototxt has, with every fourth output and every third place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import UnsupportedError, UsageError
from caffecompat.export.applying import apply_recipe
from caffecompat.export.recipes import find_recipe
from caffecompat.net.saving import net_message
from tests.support import shared_file

NET = """
input: "data" input_shape { dim: 1 dim: 3 dim: 14 dim: 14 }
layer { name: "conv5_3" type: "Convolution" bottom: "data" top: "conv5_3"
        convolution_param { num_output: 6 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "pool5" type: "Pooling" bottom: "conv5_3" top: "pool5" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "fc6" type: "InnerProduct" bottom: "pool5" top: "fc6"
        inner_product_param { num_output: 16 weight_filler { type: "xavier" } bias_filler { type: "uniform" } } }
layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }
layer { name: "drop6" type: "Dropout" bottom: "fc6" top: "fc6" }
layer { name: "fc7" type: "InnerProduct" bottom: "fc6" top: "fc7"
        inner_product_param { num_output: 12 weight_filler { type: "xavier" } bias_filler { type: "uniform" } } }
layer { name: "relu7" type: "ReLU" bottom: "fc7" top: "fc7" }
layer { name: "drop7" type: "Dropout" bottom: "fc7" top: "fc7" }
layer { name: "fc8" type: "InnerProduct" bottom: "fc7" top: "fc8" inner_product_param { num_output: 5 } }
layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }
"""


def loaded(tmp_path, text=NET):
    torch.manual_seed(0)
    (tmp_path / "net.prototxt").write_text(text)
    return caffecompat.load(tmp_path / "net.prototxt")


def reduced(net, **options):
    return apply_recipe(net, find_recipe("vgg_reduced"), options, Preprocessing())[0]


def test_which_parameters_are_kept(tmp_path):
    net = loaded(tmp_path)
    new = reduced(net, outputs="4")
    assert [layer.spec.name for layer in new.layers][-3:] == ["fc7", "relu7", "drop7"]
    six, seven = net.layer("fc6").blobs, net.layer("fc7").blobs
    kernels = six[0].reshape(16, 6, 7, 7)
    torch.testing.assert_close(new.layer("fc6").blobs[0], kernels[::4][:, :, ::3][:, :, :, ::3])
    torch.testing.assert_close(new.layer("fc6").blobs[1], six[1][::4])
    torch.testing.assert_close(new.layer("fc7").blobs[0], seven[0][::3][:, ::4][:, :, None, None])
    torch.testing.assert_close(new.layer("fc7").blobs[1], seven[1][::3])


def test_what_it_computes(tmp_path):
    new = reduced(loaded(tmp_path), outputs="4").eval()
    data = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 14, 14)).astype(np.float32))
    with torch.no_grad():
        found = new(data=data)["fc7"]
        x = functional.conv2d(data, *new.layer("conv5_3").blobs, padding=1)
        x = functional.max_pool2d(x, 3, 1, 1)
        x = functional.conv2d(x, *new.layer("fc6").blobs, padding=6, dilation=6).relu()
        x = functional.conv2d(x, *new.layer("fc7").blobs).relu()
    torch.testing.assert_close(found, x)


def test_another_kernel(tmp_path):
    net = loaded(tmp_path)
    new = reduced(net, outputs="8", kernel="4", dilation="4")
    kernels = net.layer("fc6").blobs[0].reshape(16, 6, 7, 7)
    torch.testing.assert_close(new.layer("fc6").blobs[0], kernels[::2][:, :, ::2][:, :, :, ::2])


def test_the_layers_are_those_of_ssd(tmp_path):
    """Of the published nets: pool5, fc6 and fc7 with the same parameters, and blobs of the same shapes."""
    from caffecompat.formats import read_net

    path = shared_file("prototxt/vgg/VGG_ILSVRC_16_layers_deploy.prototxt")
    message = net_message(reduced(caffecompat.load(path, input_shapes={"data": (1, 3, 224, 224)})))
    made = {layer.name: layer for layer in message.layer}
    theirs = {
        layer.name: layer for layer in read_net(shared_file("prototxt/ssd/SSD300_VOC0712/train.prototxt")).message.layer
    }
    assert made["pool5"].pooling_param == theirs["pool5"].pooling_param
    for name in ("fc6", "fc7"):
        for field in ("num_output", "kernel_size", "pad", "dilation"):
            assert getattr(made[name].convolution_param, field) == getattr(theirs[name].convolution_param, field)


def test_what_is_refused(tmp_path):
    net = loaded(tmp_path)
    with pytest.raises(UsageError, match="expected outputs of at most 16, got 1024"):
        reduced(net)
    with pytest.raises(UsageError, match="expected a number from 1 as kernel, got 'three'"):
        reduced(net, kernel="three")
    with pytest.raises(UnsupportedError, match="expected a layer 'fc6' of type InnerProduct"):
        reduced(reduced(net, outputs="4"))
