"""Pictures that a data layer made into blobs come back, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from caffecompat.data.source import Reading
from caffecompat.data.transformer import Transformer
from caffecompat.data.undoing import Untransformer
from caffecompat.errors import CaffeCompatError
from caffecompat.formats import parse_net, write_mean
from caffecompat.graph import build_graph


def spec(param):
    text = f'layer {{ name: "d" type: "Data" top: "x" transform_param {{ {param} }} data_param {{ batch_size: 1 }} }}'
    return build_graph(parse_net(text), "TEST").layers[0]


@pytest.fixture
def picture():
    return np.random.default_rng(1).integers(0, 256, (11, 13, 3), np.uint8)


@pytest.mark.parametrize(
    "param", ["", "scale: 0.00390625", "mean_value: 104.01 mean_value: 117.3 mean_value: 123", "scale: 3 mean_value: 9"]
)
def test_there_and_back(picture, param):
    layer = spec(param)
    transformer = Transformer(layer)
    out = np.empty(transformer.shape((3, 11, 13)), np.float32)
    transformer.picture(picture, transformer.draw(None), out)
    np.testing.assert_array_equal(Untransformer(layer)(out), picture)


def test_mean_image_and_grey(picture, tmp_path):
    grey = picture[:, :, 0]
    write_mean(tmp_path / "mean.npy", np.random.default_rng(2).random((1, 11, 13)).astype(np.float32) * 200)
    layer = spec('mean_file: "mean.npy"')
    transformer = Transformer(layer, Reading(root=tmp_path).root)
    out = np.empty((1, 11, 13), np.float32)
    transformer.picture(grey, transformer.draw(None), out)
    found = Untransformer(layer, tmp_path)(out)
    np.testing.assert_array_equal(found, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize("crop", ["crop_size: 4", "crop_h: 11 crop_w: 8"])
def test_the_mean_of_a_crop(picture, tmp_path, crop):
    write_mean(tmp_path / "mean.npy", np.random.default_rng(2).random((3, 11, 13)).astype(np.float32) * 200)
    layer = spec(f'mean_file: "mean.npy" scale: 0.5 {crop}')
    transformer = Transformer(layer, tmp_path)
    shape = transformer.shape((3, 11, 13))
    out = np.empty(shape, np.float32)
    transformer.picture(picture, transformer.draw(None), out)
    top, left = (11 - shape[1]) // 2, (13 - shape[2]) // 2
    part = picture[top : top + shape[1], left : left + shape[2]]
    np.testing.assert_array_equal(Untransformer(layer, tmp_path)(out), part)


def test_the_size_to_show(picture):
    layer = spec("resize_param { prob: 1 resize_mode: WARP height: 22 width: 39 }")
    found = Untransformer(layer)(picture.transpose(2, 0, 1).astype(np.float32))
    assert found.shape == (22, 39, 3)


def test_refused(picture):
    with pytest.raises(CaffeCompatError, match="scale"):
        Untransformer(spec("scale: 0"))
    undo = Untransformer(spec("mean_value: 1 mean_value: 2"))
    with pytest.raises(CaffeCompatError, match=r"the mean has shape \(2, 1, 1\)"):
        undo(np.zeros((3, 4, 5), np.float32))
    with pytest.raises(CaffeCompatError, match="1 or 3 channels"):
        undo(np.zeros((2, 4, 5), np.float32))
