"""fc_to_conv: at the old size the same values; over a larger picture the values of each window."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import UnsupportedError, UsageError
from caffecompat.export.applying import apply_recipe
from caffecompat.export.recipes import find_recipe
from caffecompat.formats import write_caffemodel, write_text
from caffecompat.net.saving import net_blobs, net_message

NET = """
input: "data" input_shape {{ dim: 1 dim: 3 dim: {height} dim: {width} }}
layer {{
  name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 4 kernel_size: 3 weight_filler {{ type: "xavier" }} }}
}}
layer {{ name: "pool" type: "Pooling" bottom: "conv" top: "pool" pooling_param {{ kernel_size: 2 stride: 2 }} }}
layer {{
  name: "fc1" type: "InnerProduct" bottom: "pool" top: "fc1"
  inner_product_param {{ num_output: 6 {first} weight_filler {{ type: "xavier" }} bias_filler {{ value: 0.3 }} }}
}}
layer {{ name: "relu" type: "ReLU" bottom: "fc1" top: "fc1" }}
layer {{ name: "drop" type: "Dropout" bottom: "fc1" top: "fc1" }}
layer {{
  name: "fc2" type: "InnerProduct" bottom: "fc1" top: "fc2"
  inner_product_param {{ num_output: 5 bias_term: false weight_filler {{ type: "xavier" }} }}
}}
layer {{ name: "prob" type: "Softmax" bottom: "fc2" top: "prob" }}
"""


def made(tmp_path, text, **sizes):
    torch.manual_seed(1)
    path = tmp_path / "net.prototxt"
    path.write_text(text.format(**{"height": 8, "width": 10, "first": "", **sizes}))
    return caffecompat.load(path)


def converted(net, **options):
    return apply_recipe(net, find_recipe("fc_to_conv"), options, Preprocessing())[0]


def picture(*shape):
    return torch.from_numpy(np.random.default_rng(2).standard_normal((1, 3, *shape)).astype(np.float32))


@pytest.mark.parametrize("first", ["", "transpose: true", "axis: -3"])
def test_same_values_at_the_old_size(tmp_path, first):
    net = made(tmp_path, NET, first=first)
    new = converted(net)
    data = picture(8, 10)
    with torch.no_grad():
        before, after = net(data=data)["prob"], new(data=data)["prob"]
    assert after.shape == (1, 5, 1, 1)
    torch.testing.assert_close(after.flatten(1), before)
    assert [layer.spec.type for layer in new.layers].count("Convolution") == 3
    assert new.layer("fc1-conv").blobs[0].shape == (6, 4, 3, 4)
    assert new.filled == ()


def test_a_larger_picture_gives_the_values_of_each_window(tmp_path):
    net = made(tmp_path, NET)
    new = converted(net)
    (tmp_path / "new.prototxt").write_text(write_text(net_message(new)))
    write_caffemodel(tmp_path / "new.caffemodel", net_message(new), net_blobs(new))
    wide = caffecompat.load(
        tmp_path / "new.prototxt", tmp_path / "new.caffemodel", input_shapes={"data": (1, 3, 12, 16)}
    )
    data = picture(12, 16)
    with torch.no_grad():
        after = wide(data=data)["prob"]
        assert after.shape == (1, 5, 3, 4)
        for row in range(3):
            for column in range(4):
                window = data[:, :, 2 * row : 2 * row + 8, 2 * column : 2 * column + 10]
                torch.testing.assert_close(after[:, :, row, column], net(data=window)["prob"])


def test_suffix_is_an_option(tmp_path):
    assert converted(made(tmp_path, NET), suffix="_full").layer("fc2_full").spec.type == "Convolution"


def test_unknown_option(tmp_path):
    with pytest.raises(UsageError, match="no option 'sufix'"):
        converted(made(tmp_path, NET), sufix="x")


def test_nothing_to_convert(tmp_path):
    text = NET[: NET.index('layer {{\n  name: "fc1"')]
    with pytest.raises(UnsupportedError, match="no InnerProduct"):
        converted(made(tmp_path, text))


def test_after_a_flatten_it_refuses(tmp_path):
    flatten = 'layer {{ name: "flat" type: "Flatten" bottom: "pool" top: "flat" }}\nlayer {{\n  name: "fc1"'
    text = NET.replace('layer {{\n  name: "fc1"', flatten).replace(
        'bottom: "pool" top: "fc1"', 'bottom: "flat" top: "fc1"'
    )
    with pytest.raises(UnsupportedError, match="four axes") as caught:
        converted(made(tmp_path, text))
    assert caught.value.layer == "fc1"
