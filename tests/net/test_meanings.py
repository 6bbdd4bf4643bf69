"""Layer types of several meanings: the number of blobs in the weights decides where the prototxt does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffecompat
from caffecompat.errors import CaffeCompatError, SchemaError, WeightsError
from caffecompat.export import export
from caffecompat.formats import write_caffemodel
from caffecompat.formats.weights import LayerWeights, WeightBlob, Weights
from caffecompat.layers.fork_normalization import BN, BatchNormWithScale, BNWithoutStatistics, NormalizeWithoutScale
from caffecompat.layers.normalization import BatchNorm, Normalize

ONE, WIDE, SINGLE = np.ones((1, 3, 1, 1), np.float32), np.ones(3, np.float32), np.ones(1, np.float32)


def prototxt(tmp_path, type_, body=""):
    path = tmp_path / "net.prototxt"
    path.write_text(
        'input: "x" input_shape { dim: 2 dim: 3 dim: 4 dim: 5 }\n'
        f'layer {{ name: "l" type: "{type_}" bottom: "x" top: "y" {body} }}\n'
    )
    return path


def weights(type_, *blobs):
    return Weights((LayerWeights("l", type_, tuple(WeightBlob(np.asarray(blob * 2)) for blob in blobs)),))


@pytest.mark.parametrize(
    ("type_", "body", "blobs", "expected"),
    [
        ("BN", "", [ONE] * 4, BN),
        ("BN", "", [ONE] * 2, BNWithoutStatistics),
        ("BatchNorm", "", [WIDE, WIDE, SINGLE, WIDE, WIDE], BatchNormWithScale),
        ("BatchNorm", "batch_norm_param { eps: 0.01 }", [WIDE, WIDE, SINGLE, WIDE, WIDE], BatchNormWithScale),
        ("BatchNorm", "", [WIDE, WIDE, SINGLE], BatchNorm),
        ("Normalize", "", [np.ones((), np.float32)], Normalize),
        ("Normalize", "normalize_param { }", [], NormalizeWithoutScale),
    ],
)
def test_the_number_of_blobs_decides(tmp_path, type_, body, blobs, expected):
    net = caffecompat.load(prototxt(tmp_path, type_, body), weights(type_, *blobs))
    assert type(net.layers[-1]) is expected
    assert [blob.flatten()[0].item() for blob in net.layers[-1].blobs] == [2] * len(blobs)
    assert not net.filled


def test_what_was_decided_is_exported(tmp_path):
    """The exported prototxt tells by itself what the weights told."""
    net = caffecompat.load(prototxt(tmp_path, "BN"), weights("BN", *[ONE] * 4))
    export(net, tmp_path / "out.prototxt")
    export(net, tmp_path / "out.caffemodel")
    again = caffecompat.load(tmp_path / "out.prototxt")
    again.copy_from(tmp_path / "out.caffemodel")
    x = torch.randn(2, 3, 4, 5)
    torch.testing.assert_close(again(x=x)["y"], net(x=x)["y"])


def test_a_normalize_without_blobs_may_be_two(tmp_path):
    with pytest.raises(SchemaError, match="nothing tells which") as info:
        caffecompat.load(prototxt(tmp_path, "Normalize"), weights("Normalize"))
    assert (info.value.layer, info.value.line) == ("l", 2)
    assert "normalize_param { across_spatial: true }" in str(info.value.hint)


def test_what_is_stated_stays(tmp_path):
    with pytest.raises(WeightsError, match="expected 2 blobs, got 4") as info:
        caffecompat.load(prototxt(tmp_path, "BN", "bn_param { bn_mode: LEARN }"), weights("BN", *[ONE] * 4))
    assert "different layers in different forks" in str(info.value.hint)


def test_without_weights_the_prototxt_must_tell(tmp_path):
    path = prototxt(tmp_path, "BN")
    with pytest.raises(CaffeCompatError, match="nothing tells which is meant") as info:
        caffecompat.load(path)
    assert "load the net with its weights" in str(info.value.hint)


def test_from_a_file(tmp_path):
    path = prototxt(tmp_path, "BN")
    message = caffecompat.load(prototxt(tmp_path, "BN", "bn_param { eps: 1e-5 }")).graph.message
    write_caffemodel(tmp_path / "w.caffemodel", message, [[], [ONE] * 4])
    prototxt(tmp_path, "BN")
    assert type(caffecompat.load(path, tmp_path / "w.caffemodel").layers[-1]) is BN
