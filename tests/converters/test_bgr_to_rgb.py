"""bgr_to_rgb: the new net says of R, G, B what the old one says of B, G, R."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import UnsupportedError
from caffecompat.export.applying import apply_recipe
from caffecompat.export.recipes import find_recipe

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 6 dim: 5 } } }\n'
CONV = """
layer {
  name: "conv" type: "Convolution" bottom: "data" top: "out"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } }
}
"""
SCALED = (
    """
layer {
  name: "norm" type: "Scale" bottom: "data" top: "data"
  scale_param { bias_term: true filler { type: "uniform" min: 0.5 max: 2 } bias_filler { type: "uniform" min: -1 max: 1 } }
}
layer { name: "prelu" type: "PReLU" bottom: "data" top: "data" prelu_param { filler { type: "uniform" min: 0 max: 1 } } }
layer { name: "pool" type: "Pooling" bottom: "data" top: "data" pooling_param { kernel_size: 2 } }
"""  # noqa: E501
    + CONV
)
FULL = """
layer {
  name: "fc" type: "InnerProduct" bottom: "data" top: "out"
  inner_product_param { num_output: 4 %s weight_filler { type: "xavier" } }
}
"""
SSD = (
    CONV
    + """
layer {
  name: "priors" type: "PriorBox" bottom: "out" bottom: "data" top: "priors"
  prior_box_param { min_size: 3 variance: 0.1 }
}
"""
)


def made(tmp_path, text):
    torch.manual_seed(1)
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT + text)
    return caffecompat.load(path)


def converted(net, record=None):
    return apply_recipe(net, find_recipe("bgr_to_rgb"), {}, record or Preprocessing())


def out(net, data):
    net.keep = {"out"}
    with torch.no_grad():
        net(data=data)
    return net.blobs["out"]


@pytest.mark.parametrize(
    "text", [CONV, SCALED, FULL % "", FULL % "transpose: true", SSD], ids=["conv", "scaled", "fc", "transposed", "ssd"]
)
def test_same_values_for_turned_channels(tmp_path, text):
    net = made(tmp_path, text)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    new, _ = converted(net)
    data = torch.from_numpy(np.random.default_rng(2).standard_normal((2, 3, 6, 5)).astype(np.float32))
    expected, got = out(net, data), out(new, data.flip(1))
    assert not torch.allclose(out(new, data), expected, atol=1e-3)
    torch.testing.assert_close(got, expected)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())


def test_record(tmp_path):
    image = np.arange(3 * 6 * 5, dtype=np.float32).reshape(3, 6, 5)
    record = Preprocessing(channels="bgr", mean=(1.0, 2.0, 3.0), mean_image=image, pad_values=(4.0, 5.0, 6.0))
    _, new = converted(made(tmp_path, CONV), record)
    assert (new.channels, new.mean, new.pad_values) == ("rgb", (3.0, 2.0, 1.0), (6.0, 5.0, 4.0))
    np.testing.assert_array_equal(new.mean_image, image[[2, 1, 0]])


def test_a_net_for_rgb_is_refused(tmp_path):
    with pytest.raises(UnsupportedError, match="does not take B, G, R"):
        converted(made(tmp_path, CONV), Preprocessing(channels="rgb"))


def test_groups_are_refused(tmp_path):
    text = CONV.replace("num_output: 4", "num_output: 3 group: 3")
    with pytest.raises(UnsupportedError, match="in groups") as caught:
        converted(made(tmp_path, text))
    assert caught.value.layer == "conv"


def test_a_layer_that_mixes_channels_is_refused(tmp_path):
    text = 'layer { name: "cut" type: "Slice" bottom: "data" top: "a" top: "b" slice_param { slice_point: 1 } }'
    with pytest.raises(UnsupportedError, match="type Slice reads the picture"):
        converted(made(tmp_path, text))


def test_no_picture(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(INPUT.replace("dim: 3", "dim: 1") + CONV)
    with pytest.raises(UnsupportedError, match="no input of three channels"):
        converted(caffecompat.load(path))
