"""`caffecompat data mean`, against NumPy."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from caffecompat.data.dataset_mean import MeanOfRecords
from caffecompat.schema import caffe_pb2
from tests.cli.records import call, read_lmdb, write_lmdb
from tests.support import shared_file


def pictures(count=7, shape=(5, 4, 3)):
    return np.random.default_rng(5).integers(0, 256, (count, *shape), np.uint8)


def raw(pixels):
    height, width, channels = pixels.shape
    planes = pixels.transpose(2, 0, 1)
    return caffe_pb2.Datum(channels=channels, height=height, width=width, data=planes.tobytes(), label=1)


def png(pixels):
    return caffe_pb2.Datum(data=cv2.imencode(".png", pixels)[1].tobytes(), encoded=True)


def floats(pixels):
    datum = raw(pixels)
    datum.ClearField("data")
    datum.float_data.extend((pixels.transpose(2, 0, 1) / 3 - 20).ravel().tolist())
    return datum


def annotated(pixels):
    return caffe_pb2.AnnotatedDatum(datum=png(pixels), type=caffe_pb2.AnnotatedDatum.BBOX)


def stored(folder, datums):
    return write_lmdb(folder, [(b"%08d" % number, datum.SerializeToString()) for number, datum in enumerate(datums)])


def channel_means(text):
    found = re.findall(r"^mean_value channel \[(\d+)\]: (\S+)$", text, re.MULTILINE)
    assert [int(channel) for channel, _ in found] == list(range(len(found)))
    assert len(found) == len(text.splitlines())
    return [float(value) for _, value in found]


@pytest.mark.parametrize("make", [raw, png, annotated, floats])
@pytest.mark.parametrize("workers", [0, 3])
def test_means_are_numpys(tmp_path, make, workers):
    images = pictures()
    database = stored(tmp_path / "db", map(make, images))
    target = tmp_path / "mean.binaryproto"
    shown = call("data", "mean", database, target, "--workers", workers)
    mean = images.astype(np.float64).mean(axis=0).transpose(2, 0, 1)
    if make is floats:
        mean = mean / 3 - 20
    blob = caffe_pb2.BlobProto.FromString(target.read_bytes())
    assert (blob.num, blob.channels, blob.height, blob.width) == (1, 3, 5, 4)
    # What Caffe holds is float32; the mean is rounded to it once.
    precision = {"rtol": 1e-6} if make is floats else {"rtol": 0, "atol": 0}
    np.testing.assert_allclose(np.array(blob.data, np.float32), mean.astype(np.float32).ravel(), **precision)
    np.testing.assert_allclose(channel_means(shown.stdout), mean.mean(axis=(1, 2)), rtol=1e-5)


def test_grey_and_colour_do_not_mix(tmp_path):
    grey = np.full((5, 4, 1), 9, np.uint8)
    database = stored(tmp_path / "db", [raw(pictures()[0]), png(grey)])
    told = call("data", "mean", database, tmp_path / "mean.binaryproto", code=1).stderr
    assert "'00000001' has 1 channels of 5x4" in told
    assert "'00000000', has 3 channels of 5x4" in told
    assert not (tmp_path / "mean.binaryproto").exists()


def test_annotated_pictures_of_several_sizes(tmp_path):
    database = stored(tmp_path / "db", [annotated(pictures(1)[0]), annotated(pictures(1, (4, 4, 3))[0])])
    told = call("data", "mean", database, code=1).stderr
    assert "record '00000001' has 3 channels of 4x4, the first, '00000000', has 3 channels of 5x4" in told
    assert "make the database with --resize_width N --resize_height N; nets that resize by themselves" in told


def test_sums_are_exact():
    """Summed in float32, as the original does, these come out as 254.35."""
    total = MeanOfRecords()
    for number in range(140_000):
        total.add(b"", np.full((1, 1, 1), 255 - number % 2, np.uint8))
    assert total.mean().tolist() == [[[254.5]]]


def test_digits():
    database = shared_file("data/digits/train_lmdb")
    values = [caffe_pb2.Datum.FromString(value).data for value in read_lmdb(database).values()]
    mean = np.frombuffer(b"".join(values), np.uint8).mean()
    assert channel_means(call("data", "mean", database, "--backend", "lmdb").stdout) == [pytest.approx(mean, rel=1e-5)]


def test_an_npy(tmp_path):
    images = pictures()
    database = stored(tmp_path / "db", map(raw, images))
    call("data", "mean", database, tmp_path / "mean.npy")
    mean = images.mean(axis=0).transpose(2, 0, 1)
    np.testing.assert_allclose(np.load(tmp_path / "mean.npy"), mean, rtol=1e-6)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"\x08", "number"),
        (caffe_pb2.Datum(data=b"no picture", encoded=True).SerializeToString(), "cannot be decoded"),
        (caffe_pb2.Datum(channels=1, height=9, width=9, data=b"12").SerializeToString(), "81 values"),
        (
            caffe_pb2.Datum(channels=1 << 30, height=1 << 30, width=1 << 30, data=b"12").SerializeToString(),
            "2 bytes",
        ),
    ],
)
def test_a_damaged_record_is_named(tmp_path, record, message):
    good = raw(pictures()[0]).SerializeToString()
    database = write_lmdb(tmp_path / "db", [(b"first", good), (b"second", record)])
    told = call("data", "mean", database, code=1).stderr
    assert "'second'" in told
    assert str(database) in told
    assert message in told


def test_what_is_no_database(tmp_path):
    assert "no such database" in call("data", "mean", tmp_path / "none", code=1).stderr
    assert "data.mdb" in call("data", "mean", tmp_path, code=1).stderr
    assert "empty" in call("data", "mean", write_lmdb(tmp_path / "db", []), code=1).stderr
    full = stored(tmp_path / "full", [raw(pictures()[0])])
    assert "LEVELDB" in call("data", "mean", full, "--backend", "leveldb", code=1).stderr
