"""The builders of nets beside the originals' own, and the nets that the SSD authors published."""

from __future__ import annotations

import json
import lzma

import pytest
from google.protobuf import text_format

import caffecompat.pycaffe as caffe
from caffecompat.errors import UsageError
from caffecompat.formats import read_net
from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812 - as every script calls it
from caffecompat.pycaffe import model_libs
from caffecompat.schema import caffe_pb2
from tests.pycaffe.ssd_script import NETS, SCRIPTS
from tests.reference.model_libs.cases import cases
from tests.support import REFERENCE, shared_file

CASES = dict(cases())


@pytest.fixture(scope="module")
def recorded():
    return json.loads(lzma.decompress((REFERENCE / "model_libs" / "nets.json.xz").read_bytes()))


def started():
    net = NetSpec()
    net.data = L.Input()
    return net


def test_all_are_recorded(recorded):
    assert list(recorded) == list(CASES)


@pytest.mark.parametrize("kind", sorted({name.split()[0] for name in CASES}))
def test_nets_of_the_originals_builders(recorded, kind):
    """Every builder with every option, message for message."""
    for name, build in CASES.items():
        if name.split()[0] == kind:
            wanted = text_format.Parse(recorded[name], caffe_pb2.NetParameter())
            assert build(caffe, model_libs).to_proto() == wanted, name


@pytest.mark.parametrize("name", SCRIPTS)
@pytest.mark.parametrize("kind", NETS)
def test_published_nets(name, kind):
    """What the training scripts write, beside what their authors published."""
    path = shared_file(f"prototxt/ssd/{name}/{kind}.prototxt")
    wanted = text_format.Parse(path.read_text(), caffe_pb2.NetParameter())
    assert NETS[kind](SCRIPTS[name]) == wanted


def test_what_is_written_is_read(tmp_path):
    """Scripts print a net behind a line with its name."""
    message = NETS["train"](SCRIPTS["SSD300_VOC0712"])
    path = tmp_path / "train.prototxt"
    path.write_text(f"{message}\n")
    assert read_net(path).message == message


def test_star_import_gives_what_scripts_use():
    names = {}
    exec("from caffecompat.pycaffe.model_libs import *", names)
    assert {"L", "P", "caffe", "caffe_pb2", "os", "UnpackVariable", "check_if_exist"} <= names.keys()
    assert names["caffe"].NetSpec is NetSpec


class TestVGGNetBody:
    """Where the original itself fails."""

    def test_convolutions_for_poolings(self):
        net = started()
        model_libs.VGGNetBody(net, "data", nopool=True, fully_conv=True, reduced=True, dilated=True)
        layers = {layer.name: layer for layer in net.to_proto().layer}
        strides = {name: list(layer.convolution_param.stride) for name, layer in layers.items() if "conv" in name}
        assert {name for name, stride in strides.items() if stride == [2]} == {
            "conv1_3",
            "conv2_3",
            "conv3_4",
            "conv4_4",
        }
        assert strides["conv5_4"] == [1]
        assert list(layers["fc6"].bottom) == ["conv5_4"]
        assert list(layers["fc6"].convolution_param.dilation) == [6]
        assert not any(layer.type == "Pooling" for layer in layers.values())

    def test_inner_product_behind_a_convolution(self):
        net = started()
        model_libs.VGGNetBody(net, "data", nopool=True)
        assert list(net.fc6.to_proto().layer[-1].bottom) == ["Convolution18"]


class TestArguments:
    def test_towers_leave_theirs_alone(self):
        params = [{"name": "conv", "num_output": 3, "kernel_size": 1, "pad": 0, "stride": 1}]
        model_libs.InceptionTower(started(), "data", "tower", params, eps=1)
        assert params == [{"name": "conv", "num_output": 3, "kernel_size": 1, "pad": 0, "stride": 1}]

    @pytest.mark.parametrize(
        ("value", "wanted"), [(3, [3, 3]), ([3], [3, 3]), ([3, 5], [3, 5]), ((3, 5), [3, 5]), (0, [0, 0])]
    )
    def test_unpack_variable(self, value, wanted):
        assert model_libs.UnpackVariable(value, 2) == wanted

    @pytest.mark.parametrize(("value", "num"), [([1, 2, 3], 2), ([], 2), (1, 0)])
    def test_unpack_variable_refuses(self, value, num):
        with pytest.raises(AssertionError, match="expected"):
            model_libs.UnpackVariable(value, num)

    @pytest.mark.parametrize("body", [model_libs.VGGNetBody, model_libs.ZFNetBody])
    def test_no_such_layer(self, body):
        with pytest.raises(AssertionError, match="no layer 'date'.*\n.*did you mean \"data\"") as caught:
            body(started(), "date")
        assert isinstance(caught.value, UsageError)

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"num_classes": 0}, "must provide num_classes"),
            ({"num_classes": -1}, "num_classes must be positive"),
            ({"min_sizes": []}, "from_layers and min_sizes should have same length: got 1 and 0"),
            ({"max_sizes": [1, 2]}, "max_sizes should"),
            ({"aspect_ratios": [1, 2]}, "aspect_ratios should"),
            ({"steps": [1, 2]}, "steps should"),
            ({"normalizations": [1, 2]}, "normalizations should"),
            ({"inter_layer_depth": [1, 2]}, "inter_layer_depth should"),
            ({"data_layer": "dada"}, "no layer 'dada'"),
            ({"max_sizes": [[1, 2]]}, r"max_size and min_size should have same length: got \[1, 2\] and 5"),
        ],
    )
    def test_heads_refuse(self, given, words):
        arguments = {"num_classes": 2, "from_layers": ["data"], "min_sizes": [5], **given}
        with pytest.raises(AssertionError, match=words):
            model_libs.CreateMultiBoxHead(started(), **arguments)


def test_folders(tmp_path):
    path = tmp_path / "a" / "b"
    assert not model_libs.check_if_exist(path)
    model_libs.make_if_not_exist(path)
    model_libs.make_if_not_exist(path)
    assert model_libs.check_if_exist(path)
