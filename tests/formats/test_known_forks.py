from __future__ import annotations

import re

import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.formats import parse_net
from caffecompat.formats.known_forks import message_name, unknown_field_hint, unknown_layer_hint
from caffecompat.graph import build_graph
from caffecompat.schema import LAYER_TYPES, caffe_pb2
from tests.support import shared_file


def test_fields_of_layers() -> None:
    assert unknown_field_hint("dense_crf_param") == "it is a field of PSPNet, deeplab-v2"
    assert unknown_field_hint("roi_align_param") == "it is a field of ncnn, synopsys-caffe"


def test_fields_of_shared_messages() -> None:
    assert "intel/caffe" in str(unknown_field_hint("avg_include_pad", "PoolingParameter"))
    assert unknown_field_hint("avg_include_pad", "ConvolutionParameter") is None
    assert "half-precision" in str(unknown_field_hint("raw_data", "BlobProto"))


def test_misspelt_fields() -> None:
    assert unknown_field_hint("kernel_sise", "ConvolutionParameter") == 'did you mean "kernel_size"?'
    assert unknown_field_hint("convolutoin_param") == 'did you mean "convolution_param"?'
    assert unknown_field_hint("xyzzy") is None


def test_no_field_of_a_fork_is_ours() -> None:
    from caffecompat.formats.known_forks import _forks_of_fields

    messages = caffe_pb2.DESCRIPTOR.message_types_by_name
    for message, name in _forks_of_fields():
        assert name not in messages[message].fields_by_name


def test_all_forks_of_the_facts_are_named() -> None:
    """Every field of a layer that two or more of the forks' schema files define is in the table."""
    forks: dict[str, set[str]] = {}
    fork = ""
    for line in shared_file("facts/fork_fields.txt").read_text().splitlines():
        if line.startswith("## "):
            fork = line[3:].split(":")[0]
        elif line.startswith("    {"):
            for name in re.findall(r"'(\w+)'", line):
                forks.setdefault(name, set()).add(fork)
    ours = caffe_pb2.LayerParameter.DESCRIPTOR.fields_by_name
    common = [name for name, where in forks.items() if len(where) > 1 and name not in ours]
    assert len(common) > 20
    assert [name for name in common if "it is a field of" not in str(unknown_field_hint(name))] == []


def test_all_layers_of_the_facts_are_named() -> None:
    rows = shared_file("facts/fork_layers.md").read_text().splitlines()
    types = [name for row in rows if row.startswith("| ") for name in re.findall(r"\b[A-Z]\w+", row.split("|")[1])]
    assert len(types) > 15
    assert [name for name in types if name not in LAYER_TYPES and unknown_layer_hint(name) is None] == []


def test_message_name() -> None:
    assert message_name(()) == "NetParameter"
    assert message_name(("layer", 3, "convolution_param", 0, "weight_filler", 0)) == "FillerParameter"
    assert message_name(("net_param", 0), "SolverParameter") == "NetParameter"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('layer { name: "a" type: "DenseCRF" bottom: "x" top: "y" }', "it is a layer of deeplab-v2"),
        ('layer { name: "a" type: "ReLU" bottom: "x" top: "y" dense_crf_param {} }', "it is a field of PSPNet"),
        (
            'layer { name: "a" type: "Pooling" bottom: "x" top: "y" pooling_param { avg_include_pad: true } }',
            "it is a field of intel/caffe",
        ),
    ],
)
def test_errors_of_the_graph_name_the_forks(text: str, hint: str) -> None:
    with pytest.raises(CaffeCompatError) as info:
        build_graph(parse_net('input: "x" input_shape { dim: 1 dim: 1 dim: 5 dim: 5 }\n' + text, "net.prototxt"))
    assert hint in str(info.value.hint)
    assert info.value.line == 2
