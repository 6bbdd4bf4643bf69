from __future__ import annotations

import numpy as np
import pytest

from caffecompat.errors import FormatError, ShapeError, UnsupportedError, UsageError
from caffecompat.formats import read_mean, write_mean
from caffecompat.schema import caffe_pb2
from tests.support import shared_file

MEAN = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("models/ilsvrc_2012_mean.binaryproto", (3, 256, 256)),
        ("models/cifar10_quick_encodings/mean.binaryproto", (3, 32, 32)),
    ],
)
def test_files_that_caffe_wrote(name, shape, tmp_path):
    path = shared_file(name)
    mean = read_mean(path)
    proto = caffe_pb2.BlobProto.FromString(path.read_bytes())
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, np.array(proto.data, np.float32).reshape(shape))
    write_mean(tmp_path / "again.binaryproto", mean)
    assert caffe_pb2.BlobProto.FromString((tmp_path / "again.binaryproto").read_bytes()) == proto


def test_round_trip_in_both_formats(tmp_path):
    for suffix in (".binaryproto", ".npy"):
        path = tmp_path / f"mean{suffix}"
        write_mean(path, MEAN.astype(np.float64))
        mean = read_mean(path)
        assert mean.dtype == np.float32
        assert mean.flags.c_contiguous
        np.testing.assert_array_equal(mean, MEAN)
    np.testing.assert_array_equal(np.load(tmp_path / "mean.npy", allow_pickle=False), MEAN)


def test_blobs_with_a_shape_or_with_doubles(tmp_path):
    path = tmp_path / "mean.binaryproto"
    for dims in ((3, 4, 5), (1, 3, 4, 5)):
        path.write_bytes(caffe_pb2.BlobProto(shape={"dim": dims}, double_data=MEAN.ravel()).SerializeToString())
        np.testing.assert_array_equal(read_mean(path), MEAN)


@pytest.mark.parametrize(
    "array",
    [
        MEAN,
        MEAN[np.newaxis],
        MEAN.transpose(1, 2, 0),
        np.ascontiguousarray(MEAN.transpose(1, 2, 0)),
        np.asfortranarray(MEAN),
        MEAN.astype(">f8"),
        MEAN.astype(np.uint8),
    ],
)
def test_npy_files_of_any_order(array, tmp_path):
    np.save(tmp_path / "mean.npy", array)
    mean = read_mean(tmp_path / "mean.npy")
    assert mean.dtype == np.float32
    np.testing.assert_array_equal(mean, MEAN)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((4, 5), (1, 4, 5)),
        ((1, 4, 5), (1, 4, 5)),
        ((4, 5, 1), (1, 4, 5)),
        ((1, 7, 3), (3, 1, 7)),
        ((3, 7, 1), (3, 7, 1)),
    ],
)
def test_the_channels_are_the_axis_of_three_or_one(shape, expected, tmp_path):
    np.save(tmp_path / "mean.npy", np.zeros(shape))
    assert read_mean(tmp_path / "mean.npy").shape == expected


@pytest.mark.parametrize("shape", [(3, 7, 3), (1, 7, 1), (4, 5, 6), (3,), (), (2, 3, 4, 5), (0, 4), (1, 1, 3, 4, 5)])
def test_shapes_that_are_no_image(shape, tmp_path):
    np.save(tmp_path / "mean.npy", np.zeros(shape))
    with pytest.raises((ShapeError, FormatError), match=r"mean\.npy: "):
        read_mean(tmp_path / "mean.npy")


def test_blobs_that_are_no_image(tmp_path):
    path = tmp_path / "mean.binaryproto"
    for dims in ((2, 3, 4, 5), (60,), (3, 20), (0, 4, 5), (1, 1, 3, 4, 5)):
        blob = caffe_pb2.BlobProto(shape={"dim": dims}, data=[0] * int(np.prod(dims)))
        path.write_bytes(blob.SerializeToString())
        with pytest.raises(ShapeError, match=r"mean\.binaryproto: expected a mean image"):
            read_mean(path)


def test_other_arrays_are_refused(tmp_path):
    path = tmp_path / "mean.npy"
    for array in (np.zeros((3, 4, 5), np.complex64), np.zeros((3, 4, 5), bool), np.full((3, 4, 5), "text")):
        np.save(path, array)
        with pytest.raises(FormatError, match="expected an array of numbers"):
            read_mean(path)
    np.savez(tmp_path / "mean.npz", MEAN)
    with pytest.raises(UnsupportedError, match="zip"):
        read_mean(tmp_path / "mean.npz")


def test_what_cannot_be_a_mean_is_not_written(tmp_path):
    for array in (np.zeros((4, 5)), np.zeros((3, 4, 5), complex), [["text"]]):
        with pytest.raises(UsageError, match=r"expected real numbers \(channels, height, width\)"):
            write_mean(tmp_path / "mean.binaryproto", array)
    assert list(tmp_path.iterdir()) == []
