"""MemoryData: batches of arrays and of pictures, as memory_data_layer.cpp hands them out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat import Net
from caffecompat.data.draws import Draws
from caffecompat.data.source import Reading
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, ShapeError, UsageError
from caffecompat.formats import parse_net, write_mean
from caffecompat.graph import build_graph
from tests.data.records import Twister, picture

TEXT = """layer {{ name: "data" type: "MemoryData" top: "data" top: "label" {transform}
  memory_data_param {{ batch_size: 2 channels: 3 height: {side} width: {side} }} }}"""


def make(transform: str = "", side: int = 4, phase: str = "TRAIN", **options) -> Net:
    return Net(build_graph(parse_net(TEXT.format(transform=transform, side=side)), phase), **options)


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_batches_come_in_turn_and_go_round(kind):
    data = np.random.default_rng(0).random((6, 3, 4, 4)).astype(np.float32)
    net = make()
    net.layers[0].set_arrays(kind(data), kind(np.arange(6, dtype=np.float32)))
    for start in (0, 2, 4, 0, 2):
        tops = net()
        np.testing.assert_array_equal(tops["data"].numpy(), data[start : start + 2])
        assert tops["label"].tolist() == [start, start + 1]


def test_new_arrays_begin_anew():
    net = make()
    data = np.zeros((4, 3, 4, 4), np.float32)
    net.layers[0].set_arrays(data, np.arange(4))
    net()
    net.layers[0].set_arrays(data + 1, np.arange(4).reshape(4, 1, 1, 1) + 10)
    tops = net()
    assert tops["data"].min() == 1
    assert tops["label"].tolist() == [10, 11]
    assert tops["label"].dtype == torch.float32


def test_arrays_are_not_copied_and_other_numbers_become_floats():
    net = make()
    data = np.zeros((2, 3, 4, 4), np.float32)
    net.layers[0].set_arrays(data, [1, 2])
    data[0] = 7
    assert net()["data"][0].min() == 7
    net.layers[0].set_arrays(np.full((2, 3, 4, 4), 300, np.int64), [1, 2])
    assert net()["data"].dtype == torch.float32
    assert net()["data"].max() == 300


def test_tops_may_be_fed_instead():
    tops = make()(data=np.ones((2, 3, 4, 4), np.float32), label=np.ones(2, np.float32))
    assert tops["data"].sum() == 96


def test_before_there_are_arrays():
    for options in ({}, {"reading": Reading(draws=Draws(1))}):
        with pytest.raises(UsageError, match="MemoryData has no arrays yet") as caught:
            make(**options)()
        assert "set_arrays(data, labels)" in str(caught.value)
        assert 'layer "data"' in str(caught.value)


@pytest.mark.parametrize(
    ("data", "labels", "text"),
    [
        ((3, 3, 4, 4), 3, r"expected data of shape \(n, 3, 4, 4\), n a multiple of batch_size 2, got \(3, 3, 4, 4\)"),
        ((0, 3, 4, 4), 0, r"got \(0, 3, 4, 4\)"),
        ((2, 3, 4, 5), 2, r"got \(2, 3, 4, 5\)"),
        ((2, 48), 2, r"got \(2, 48\)"),
        ((), 2, r"got \(\)"),
        ((4, 3, 4, 4), 3, "expected 4 labels, one for each item, got an array of"),
    ],
)
def test_arrays_that_do_not_fit(data, labels, text):
    with pytest.raises(ShapeError, match=text):
        make().layers[0].set_arrays(np.zeros(data, np.float32), np.zeros(labels))


def test_arrays_are_not_transformed():
    net = make("transform_param { scale: 2 }")
    with pytest.warns(CaffeCompatWarning, match="transform_param does nothing to arrays"):
        net.layers[0].set_arrays(np.ones((2, 3, 4, 4), np.float32), np.zeros(2))
    assert net()["data"].max() == 1


def test_pictures_are_transformed(tmp_path):
    mean = np.random.default_rng(1).random((3, 9, 11)).astype(np.float32)
    write_mean(tmp_path / "mean.binaryproto", mean)
    transform = 'transform_param { crop_size: 4 mirror: true scale: 0.5 mean_file: "mean.binaryproto" }'
    draws = Draws(8)
    net = make(transform, reading=Reading(root=tmp_path, draws=draws))
    # One draw, as of a layer without a thread.
    main = Twister(8)
    twister = Twister(main())
    assert draws() == main()
    pictures = [picture(seed) for seed in range(4)]
    net.layers[0].add_pictures(pictures, np.arange(4))
    tops = [net() for _ in range(2)]
    for number, pixels in enumerate(pictures):
        mirror, top, left = twister() % 2, twister() % 6, twister() % 8
        place = np.s_[:, top : top + 4, left : left + 4]
        expected = ((pixels.transpose(2, 0, 1) - mean) * np.float32(0.5))[place][:, :, :: -1 if mirror else 1]
        np.testing.assert_array_equal(tops[number // 2]["data"][number % 2].numpy(), expected)
    assert tops[1]["label"].tolist() == [2, 3]


def test_pictures_that_do_not_fit():
    layer = make(side=9).layers[0]
    with pytest.raises(ShapeError, match=r"expected an item of shape \(3, 9, 9\).*got \(3, 9, 11\)") as caught:
        layer.add_pictures([picture(0), picture(1)], [0, 1])
    assert 'layer "data"' in str(caught.value)
    with pytest.raises(ShapeError, match="expected data of shape"):
        layer.add_pictures([picture(0, 9, 9)], [0])
    with pytest.raises(ShapeError, match="expected data of shape"):
        layer.add_pictures([], [])
    with pytest.raises(CaffeCompatError, match="crop"):
        make("transform_param { crop_size: 20 }", side=20).layers[0].add_pictures([picture(0)] * 2, [0, 1])
