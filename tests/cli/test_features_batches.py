"""`caffecompat features --batches`: what a net gives for the records of its own database."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from caffecompat import load
from caffecompat.schema import caffe_pb2
from tests.cli.records import call, read_lmdb, write_lmdb
from tests.support import shared_file

BATCHES, BATCH = 3, 50
SCALE = 0.00390625


@pytest.fixture(scope="module")
def digits():
    """The arguments for a trained net of the original's, and what it gives for the records of its test database."""
    folder, data = shared_file("golden/training/adam"), shared_file("data")
    records = read_lmdb(data / "digits" / "test_lmdb")
    keys = list(records)[: BATCHES * BATCH]
    datums = [caffe_pb2.Datum.FromString(records[key]) for key in keys]
    pixels = np.array([np.frombuffer(datum.data, np.uint8) for datum in datums], np.float32).reshape(-1, 1, 8, 8)
    labels = np.array([datum.label for datum in datums], np.float32)
    net = load(folder / "train_val.prototxt", folder / "final.caffemodel", input_shapes={"data": pixels.shape})
    net.keep = {"conv1", "ip1"}
    with torch.no_grad():
        net(data=pixels * np.float32(SCALE), label=labels)
    arguments = (folder / "train_val.prototxt", "-w", folder / "final.caffemodel", "--root", data, "--batches", BATCHES)
    return arguments, [key.decode() for key in keys], {name: blob.numpy() for name, blob in net.blobs.items()}


def test_an_array(digits, tmp_path):
    arguments, _, blobs = digits
    call("features", *arguments, "--blob", "ip1", "-o", tmp_path / "ip1.npy")
    found = np.load(tmp_path / "ip1.npy")
    assert found.shape == (BATCHES * BATCH, 24)
    np.testing.assert_allclose(found, blobs["ip1"], rtol=1e-5, atol=1e-5)


def test_arrays_by_name(digits, tmp_path):
    arguments, keys, blobs = digits
    call("features", *arguments, "--blob", "conv1", "--blob", "ip1", "--phase", "TEST", "-o", tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as saved:
        assert saved["images"].tolist() == keys
        for name in ("conv1", "ip1"):
            np.testing.assert_allclose(saved[name], blobs[name], rtol=1e-5, atol=1e-5)


def test_json_lines(digits):
    arguments, keys, blobs = digits
    result = call("features", *arguments, "--blob", "conv1", "--pool", "avg")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["image"] for row in rows] == keys
    pooled = blobs["conv1"].mean(axis=(2, 3))
    np.testing.assert_allclose([row["conv1"] for row in rows], pooled, rtol=1e-4, atol=1e-5)


def datum(values):
    """The Datum of one item, as extract_features fills it: sizes, then its values one by one."""
    made = caffe_pb2.Datum()
    made.channels, made.height, made.width = (*values.shape, 1, 1)[:3]
    for value in values.ravel().tolist():
        made.float_data.append(value)
    return made


@pytest.mark.parametrize("named", [True, False])
def test_databases(digits, tmp_path, named):
    arguments, _, blobs = digits
    given = f"{tmp_path}/first,{tmp_path}/second.lmdb" if named else tmp_path / "all.lmdb"
    shown = call("features", *arguments, "--blob", "ip1", "--blob", "conv1", "-o", given)
    assert shown.stdout == ""
    folders = ["first", "second.lmdb"] if named else ["all.lmdb/ip1", "all.lmdb/conv1"]
    for folder, name in zip(folders, ("ip1", "conv1"), strict=True):
        found = read_lmdb(tmp_path / folder)
        assert list(found) == [b"%010d" % number for number in range(BATCHES * BATCH)]
        for number, value in enumerate(found.values()):
            expected = datum(blobs[name][number])
            got = caffe_pb2.Datum.FromString(value)
            np.testing.assert_allclose(got.float_data, expected.float_data, rtol=1e-5, atol=1e-5)
            # All else is the same byte by byte.
            got.float_data[:] = expected.float_data
            assert got.SerializeToString() == expected.SerializeToString()
            assert len(value) == len(expected.SerializeToString())


def test_blobs_of_other_shapes(tmp_path):
    """A scalar is one item, as in Caffe; five axes are too many for a Datum."""
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "d" type: "DummyData" top: "flat" top: "a/b" dummy_data_param { '
        'data_filler { type: "constant" value: 3 } shape { dim: 2 dim: 3 } '
        "shape { dim: 2 dim: 1 dim: 1 dim: 1 dim: 1 } } }\n"
        'layer { name: "sum" type: "Reduction" bottom: "flat" top: "sum" }'
    )
    common = ("features", net, "--random-weights", "--batches", 2)
    call(*common, "--blob", "sum", "-o", tmp_path / "sum.lmdb")
    found = read_lmdb(tmp_path / "sum.lmdb")
    assert found == {b"%010d" % number: datum(np.array([18.0])).SerializeToString() for number in range(2)}
    told = call(*common, "--blob", "a/b", "--blob", "flat", "-o", tmp_path / "x.lmdb", code=1).stderr
    assert "5 axes" in told
    # Nothing is left of the database that was begun either.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.prototxt", "sum.lmdb"]
    # Where nothing is read, items are numbered.
    rows = call(*common, "--blob", "flat").stdout.splitlines()
    assert [json.loads(row)["image"] for row in rows] == [f"{number:010d}" for number in range(4)]
    assert "for 2 items" in call(*common, "--blob", "flat", "--blob", "sum", code=1).stderr


def test_records_that_were_passed_over_are_told(tmp_path):
    good = caffe_pb2.Datum(channels=1, height=1, width=1, data=b"\4").SerializeToString()
    write_lmdb(tmp_path / "db", [(b"one", b"\x08"), (b"two", good)])
    net = tmp_path / "net.prototxt"
    net.write_text('layer { name: "d" type: "Data" top: "data" data_param { source: "db" batch_size: 1 } }')
    common = ("features", net, "--random-weights", "--batches", 1, "--root", tmp_path, "--blob", "data")
    assert "'one'" in call(*common, code=1).stderr
    shown = call(*common, "--skip-bad-records")
    assert json.loads(shown.stdout)["data"] == [[[4.0]]]
    assert "1 bad records were passed over" in shown.stderr


def test_wrong_usage(digits, tmp_path):
    arguments, _, _ = digits
    photo = shared_file("photos/astronaut.png")
    assert "not both" in call("features", *arguments, photo, "--blob", "ip1", code=2).stderr
    assert "missing INPUT" in call("features", *arguments[:3], "--blob", "ip1", code=2).stderr
    assert "--mean is of images" in call("features", *arguments, "--blob", "ip1", "--mean", "1", code=2).stderr
    told = call("features", *arguments[:3], photo, "--blob", "ip1", "--root", ".", code=2).stderr
    assert "--root belongs to --batches" in told
    assert "no weights" in call("features", arguments[0], "--batches", 1, "--blob", "ip1", code=2).stderr
    assert 'did you mean "ip1"?' in call("features", *arguments, "--blob", "ip11", code=2).stderr
    database = ("--format", "lmdb", "--blob", "ip1")
    assert "give a folder with -o" in call("features", *arguments, *database, code=2).stderr
    assert "--batches only" in call("features", *arguments[:3], photo, *database, "-o", tmp_path / "x", code=2).stderr
    several = ("-o", f"{tmp_path}/a,{tmp_path}/b,{tmp_path}/c")
    assert "3 databases for 1 blobs" in call("features", *arguments, *database, *several, code=2).stderr
    twice = ("--blob", "ip2", "-o", f"{tmp_path}/a,{tmp_path}/a")
    assert "one database" in call("features", *arguments, *database, *twice, code=2).stderr
    assert not list(tmp_path.iterdir())
    deploy = ("features", shared_file("models/lenet_v1/lenet.prototxt"), "--random-weights", "--batches", 1)
    assert "read from nowhere" in call(*deploy, "--blob", "ip1", code=2).stderr
