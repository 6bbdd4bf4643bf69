"""`caffecompat tool`: Caffe's other programs, by their names and with their flags."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.formats import read_mean, read_net, read_text
from caffecompat.schema import caffe_pb2
from tests.cli.records import read_lmdb
from tests.support import shared_file

NET = """
name: "features"
layer { name: "data" type: "Data" top: "data" top: "label" data_param { source: "db" backend: LMDB batch_size: 1 } }
layer { name: "twice" type: "Power" bottom: "data" top: "twice" power_param { scale: 2 } }
layer { name: "more" type: "Power" bottom: "data" top: "more" power_param { shift: 1 } }
"""


def tool(*arguments, code=0):
    done = CliRunner().invoke(main, ["tool", *map(str, arguments)])
    assert done.exit_code == code, done.stderr
    assert done.stdout == ""
    return done.stderr


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    """The working directory, with two pictures of 3 x 5 pixels and a list of them."""
    monkeypatch.chdir(tmp_path)
    for name, value in (("a", 10), ("b", 20)):
        assert cv2.imwrite(str(tmp_path / f"{name}.png"), np.full((3, 5, 3), value, np.uint8))
    (tmp_path / "list.txt").write_text("a.png 7\nb.png 8\n")
    return tmp_path


def datums(path):
    return [caffe_pb2.Datum.FromString(value) for value in read_lmdb(Path(path)).values()]


def test_imageset_mean_and_features(pictures):
    said = tool(
        "convert_imageset", "--shuffle=False", "-backend", "lmdb", "-encode_type=", f"{pictures}/", "list.txt", "db"
    )
    assert "convert_imageset.cpp:1]" in said
    assert [(d.label, d.height, d.width, set(d.data)) for d in datums("db")] == [(7, 3, 5, {10}), (8, 3, 5, {20})]

    said = tool("compute_image_mean", "db", "mean.binaryproto", "-backend=lmdb")
    assert "mean_value channel [0]: 15" in said
    np.testing.assert_array_equal(read_mean("mean.binaryproto"), np.full((3, 3, 5), 15))

    (pictures / "net.prototxt").write_text(NET)
    weights = caffe_pb2.NetParameter(layer=[caffe_pb2.LayerParameter(name="other", type="ReLU")])
    (pictures / "net.caffemodel").write_bytes(weights.SerializeToString())
    tool("extract_features", "net.caffemodel", "net.prototxt", "twice,more", "f1,f2", "2", "lmdb", "CPU")
    assert [set(d.float_data) for d in datums("f1")] == [{20.0}, {40.0}]
    assert [set(d.float_data) for d in datums("f2")] == [{11.0}, {21.0}]


def test_annoset_is_told_what_the_original_takes(pictures):
    flags = ["--anno_type=classification", "--min_dim=6", "--check_size=False", "--encoded=True", "--encode_type=png"]
    tool("convert_annoset", *flags, f"{pictures}/", "list.txt", "anno")
    found = [caffe_pb2.AnnotatedDatum.FromString(value).datum for value in read_lmdb(Path("anno")).values()]
    assert [datum.label for datum in found] == [7, 8]
    decoded = cv2.imdecode(np.frombuffer(found[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (6, 10, 3)


def test_sizes(pictures):
    said = tool("get_image_size", pictures, "list.txt", "sizes.txt")
    assert "A total of 2 images." in said
    assert (pictures / "sizes.txt").read_text() == "a 3 5\nb 3 5\n"
    (pictures / "ids.txt").write_text("b 12\na 11\n")
    tool("get_image_size", "-name_id_file", "ids.txt", pictures, "list.txt", "sizes.txt")
    assert (pictures / "sizes.txt").read_text() == "11 3 5\n12 3 5\n"
    (pictures / "ids.txt").write_text("b 12\nc 11\n")
    assert "got none for 'a'" in tool("get_image_size", "-name_id_file=ids.txt", pictures, "list.txt", "s", code=1)
    (pictures / "list.txt").write_text("a.png")
    assert "expected pairs of words" in tool("get_image_size", pictures, "list.txt", "s", code=1)
    assert not (pictures / "s").exists()


def test_sizes_are_those_that_the_original_wrote(tmp_path):
    shapes = shared_file("data/shapes")
    tool("get_image_size", shapes, shapes / "test_list.txt", tmp_path / "sizes.txt")
    assert (tmp_path / "sizes.txt").read_text() == (shapes / "test_name_size.txt").read_text()


@pytest.mark.parametrize(
    ("flags", "lines", "items"),
    [
        ([], "cat\ndog\n", [("cat", 0, "cat"), ("dog", 1, "dog")]),
        (
            ["-include_background"],
            "cat\n",
            [("none_of_the_above", 0, "background"), ("cat", 1, "cat")],
        ),
        (["--delimiter=:;"], "n1:5;a cat\n", [("n1", 5, "a cat")]),
        ([], "cat 3\ndog 9\n", [("cat", 3, "cat"), ("dog", 9, "dog")]),
    ],
)
def test_label_map(tmp_path, flags, lines, items):
    (tmp_path / "names").write_text(lines)
    tool("create_label_map", *flags, tmp_path / "names", tmp_path / "map")
    made = read_text(tmp_path / "map", caffe_pb2.LabelMap).message
    assert [(item.name, item.label, item.display_name) for item in made.item] == items


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("cat 1\ndog\n", "names:2: expected 2 fields"),
        ("a b\n", "a whole number"),
        ("a 1 b c\n", "expected 1 to 3 fields"),
    ],
)
def test_label_maps_that_are_none(tmp_path, lines, said):
    (tmp_path / "names").write_text(lines)
    assert said in tool("create_label_map", tmp_path / "names", tmp_path / "map", code=1)
    assert not (tmp_path / "map").exists()


def test_upgrades(tmp_path):
    (tmp_path / "old").write_text(
        'layers { name: "r" type: RELU bottom: "a" top: "a" } input: "a" ' + "input_dim: 1 " * 4
    )
    tool("upgrade_net_proto_text", tmp_path / "old", tmp_path / "new")
    assert [layer.type for layer in read_net(tmp_path / "new").message.layer] == ["Input", "ReLU"]
    (tmp_path / "solver").write_text('net: "n"\nsolver_type: ADAM\n')
    tool("upgrade_solver_proto_text", tmp_path / "solver", tmp_path / "today")
    assert read_text(tmp_path / "today", caffe_pb2.SolverParameter).message.type == "Adam"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nosuch"], "expected the name of a tool, got 'nosuch'"),
        (["convert_imageset", "a", "b"], "expected ROOT LISTFILE DB; got 'a b'"),
        (["upgrade_net_proto_text", "a"], "expected IN OUT"),
        (["compute_image_mean", "-x", "a"], "expected a flag of this tool, got '-x'"),
        (["extract_features", "w", "n", "a,b", "x", "1", "lmdb"], "a database for each of 2 blobs"),
        (["extract_features", "w", "n", "a", "x", "1", "leveldb"], "got 'leveldb'"),
        (["train_net"], "caffe train -solver S"),
        (["device_query", "0"], "caffe device_query"),
    ],
)
def test_wrong_usage(arguments, said):
    assert said in tool(*arguments, code=2)


def test_usage():
    done = CliRunner().invoke(main, ["tool", "convert_annoset", "--help"])
    assert "Usage: convert_annoset [FLAGS] ROOT LISTFILE DB" in done.stdout
    assert "-label_map_file VALUE" in done.stdout
    assert "get_image_size" in CliRunner().invoke(main, ["tool"]).stdout
