"""Reading nets and solvers, and what the package of formats hands out."""

from __future__ import annotations

import subprocess
import sys

import pytest

import caffecompat.formats as formats
from caffecompat.errors import CaffeCompatWarning, FormatError, SchemaError
from caffecompat.formats import parse_net, read_net, read_solver
from caffecompat.graph import build_graph
from tests.support import shared_file

OLD = 'input: "x"\nlayers { name: "l" type: RELU bottom: "x" top: "y" }\n'


@pytest.mark.parametrize("name", formats.__all__)
def test_everything_named_is_there(name):
    value = getattr(formats, name)
    assert getattr(value, "__name__", name) in (name, "Parsed")


def test_what_is_not_named_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'read_nothing'"):
        _ = formats.read_nothing


def test_prototxt_needs_no_numpy():
    code = (
        "import sys; from caffecompat.formats import parse_net; from caffecompat.graph import build_graph; "
        'build_graph(parse_net(\'layer { type: "Input" top: "x" }\')); '
        "assert not {'numpy', 'torch'} & set(sys.modules), 'imported'"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("text", [OLD, OLD.encode()])
def test_parse_net_upgrades(text):
    parsed = parse_net(text, "n.prototxt")
    assert [layer.type for layer in parsed.message.layer] == ["Input", "ReLU"]
    assert parsed.file == "n.prototxt"


def test_read_net_upgrades(tmp_path):
    path = tmp_path / "n.prototxt"
    path.write_text(OLD)
    parsed = read_net(path)
    assert [layer.type for layer in parsed.message.layer] == ["Input", "ReLU"]
    assert parsed.file == str(path)
    with pytest.raises(FormatError, match="absent"):
        read_net(tmp_path / "absent")


def test_read_solver(tmp_path):
    path = tmp_path / "s.prototxt"
    path.write_text('base_lrr: 1\nsolver_type: ADAM\nnet_param { input: "x" foo: 1 }\n')
    with pytest.warns(CaffeCompatWarning, match=r"s.prototxt:1:1: unknown field 'base_lrr'.*\n.*base_lr") as caught:
        parsed = read_solver(path)
    assert len(caught) == 1, "fields of nets inside are reported when their graph is built"
    assert parsed.message.type == "Adam"
    assert parsed.message.net_param.layer[0].type == "Input"


def test_the_malformed_file_is_refused_at_its_first_line():
    with pytest.raises((FormatError, SchemaError)) as caught:
        read_net(shared_file("prototxt/vgg/VGG_19_layers_train_val.prototxt"))
    assert caught.value.line == 1


def test_a_field_that_newer_caffe_does_not_know():
    """LeNet of March 2014 states `version: 1`."""
    parsed = read_net(shared_file("prototxt/legacy/lenet_v1_version1_interim_20140323.prototxt"))
    with pytest.warns(CaffeCompatWarning, match=r":1:1: unknown field 'version' is ignored"):
        graph = build_graph(parsed)
    assert graph.outputs[0].name == "prob"


def solvers() -> list[str]:
    return ["bvlc/mnist__lenet_solver", "ssd/SSD300_VOC0712/solver", "vgg/vgg_16_solver", "dilation/train_joint/solver"]


@pytest.mark.parametrize("name", solvers())
def test_published_solvers(name):
    assert read_solver(shared_file(f"prototxt/{name}.prototxt")).message.base_lr > 0


def test_a_solver_given_as_net_and_the_other_way_round(tmp_path):
    net, solver = tmp_path / "net.prototxt", tmp_path / "solver.prototxt"
    net.write_text('name: "n" layer { name: "d" type: "DummyData" top: "x" }')
    solver.write_text('net: "net.prototxt" base_lr: 0.1 lr_policy: "fixed"')
    with pytest.raises(FormatError, match="expected a net, got a solver"):
        read_net(solver)
    with pytest.raises(FormatError, match="expected a solver, got a net"):
        read_solver(net)
