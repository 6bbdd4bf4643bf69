"""Drawings of nets beside the original's graphs: tests/reference/draw."""

from __future__ import annotations

import html
import json
import re
import shutil
import sys

import pytest
from google.protobuf import text_format

from caffecompat.errors import CaffeCompatError, UnsupportedError, UsageError, printable
from caffecompat.formats import read_text
from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812 - as every script calls it
from caffecompat.pycaffe import draw
from caffecompat.schema import caffe_pb2
from tests.support import REFERENCE, shared_file

FOLDER = REFERENCE / "draw"
GRAPHS = json.loads((FOLDER / "graphs.json").read_text())

pytest.importorskip("pydot")
needs_graphviz = pytest.mark.skipif(shutil.which("dot") is None, reason="needs Graphviz")


@pytest.fixture
def net():
    return text_format.Parse((FOLDER / "net.prototxt").read_text(), caffe_pb2.NetParameter())


def layer(text):
    return text_format.Parse(text, caffe_pb2.LayerParameter())


def graph_of(graph):
    """Nodes with their attributes, and edges with their labels, without the quotes around names."""
    nodes = [[node.get_name().strip('"'), node.get_attributes()] for node in graph.get_nodes()]
    edges = [
        [edge.get_source().strip('"'), edge.get_destination().strip('"'), edge.get_attributes()["label"]]
        for edge in graph.get_edges()
    ]
    return [nodes, edges]


@pytest.mark.parametrize("name", GRAPHS)
def test_the_originals_graphs(net, name):
    rankdir, phase, rates, labels = name.split()
    chosen = None if phase == "None" else int(phase)
    graph = draw.get_pydot_graph(net, rankdir, labels == "True", chosen, rates == "True")
    assert graph_of(graph) == GRAPHS[name]
    assert graph.get_name().strip('"') == "small net"
    assert graph.get_rankdir() == rankdir


class TestLabels:
    def test_sizes_of_two_sides(self):
        text = 'name: "c" type: "Convolution" convolution_param { kernel_h: 3 kernel_w: 5 stride: [1, 2] pad: [1, 1] }'
        assert draw.get_layer_label(layer(text), "TB") == '"c (Convolution) kernel size: 3x5 stride: 1x2 pad: 1"'

    def test_global_pooling(self):
        text = 'name: "p" type: "Pooling" pooling_param { pool: AVE global_pooling: true }'
        assert draw.get_layer_label(layer(text), "LR") == r'"p\n(Pooling AVE)\nglobal"'

    @pytest.mark.parametrize(
        ("params", "wanted"),
        [("", (1, 1)), ("param { lr_mult: 3 }", (3, 1)), ("param { lr_mult: 3 } param { lr_mult: 0 }", (3, 0))],
    )
    def test_rates(self, params, wanted):
        assert draw.get_layer_lr_mult(layer(f'type: "InnerProduct" {params}')) == wanted

    @pytest.mark.parametrize(
        ("text", "words"),
        [('type: "ReLU"', "ReLU layers do not have"), ('type: "Convolution"' + "param {}" * 3, "got 3")],
    )
    def test_no_rates(self, text, words):
        with pytest.raises(ValueError, match=words) as caught:
            draw.get_layer_lr_mult(layer(f'name: "x" {text}'))
        assert isinstance(caught.value, CaffeCompatError)

    def test_methods_of_pooling(self):
        assert draw.get_pooling_types_dict() == {0: "MAX", 1: "AVE", 2: "STOCHASTIC"}

    def test_rules_of_both_kinds(self):
        both = caffe_pb2.NetParameter(layer=[layer('name: "x" type: "ReLU" include {} exclude {}')])
        with pytest.raises(ValueError, match='layer "x".*both include and exclude'):
            draw.get_pydot_graph(both, "LR", phase=1)

    def test_rules_without_a_phase_count_for_both(self):
        rules = 'include { stage: "a" }', 'exclude { stage: "a" }'
        net = caffe_pb2.NetParameter(layer=[layer(f'name: "{rule[0]}" type: "ReLU" {rule}') for rule in rules])
        for phase in (0, 1):
            assert len(draw.get_pydot_graph(net, "LR", phase=phase).get_nodes()) == 2


def test_old_nets():
    """Those whose layers are `layers`, of which the original draws nothing."""
    old = text_format.Parse('layers { name: "c" type: CONVOLUTION bottom: "x" top: "y" }', caffe_pb2.NetParameter())
    names = [node.get_name() for node in draw.get_pydot_graph(old, "TB").get_nodes()]
    assert names == ['"c (Convolution) kernel size: 1 stride: 1 pad: 0"', '"x"', '"y"']


@needs_graphviz
def test_old_nets_of_all_kinds():
    for path in sorted(shared_file("prototxt/legacy").glob("*.prototxt")):
        old = read_text(path, caffe_pb2.NetParameter).message
        assert b"<svg" in draw.draw_net(old, "LR", "svg")


class TestFiles:
    def test_text_needs_no_graphviz(self, net, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        for ending in ("dot", "raw", "gv"):
            draw.draw_net_to_file(net, str(tmp_path / f"net.v1.{ending}"))
            text = (tmp_path / f"net.v1.{ending}").read_text()
            assert text.startswith('digraph "small net" {')
            assert '"conv1" -> "relu1\\n(ReLU)"' in text

    def test_pictures_do(self, net, tmp_path, monkeypatch):
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(UnsupportedError, match="'png' needs Graphviz.*\n.*install Graphviz.*\\.dot"):
            draw.draw_net_to_file(net, tmp_path / "net.png")
        assert list(tmp_path.iterdir()) == []

    def test_without_pydot(self, net, monkeypatch):
        monkeypatch.setitem(sys.modules, "pydot", None)
        with pytest.raises(UnsupportedError, match=r"needs pydot.*\n.*caffecompat\[draw\]"):
            draw.draw_net(net, "LR")

    def test_no_ending(self, net, tmp_path):
        with pytest.raises(UsageError, match="ending"):
            draw.draw_net_to_file(net, tmp_path / "net")

    @needs_graphviz
    def test_pictures(self, net, tmp_path):
        draw.draw_net_to_file(net, str(tmp_path / "net.png"), "TB", phase=0, display_lrm=True)
        assert (tmp_path / "net.png").read_bytes().startswith(b"\x89PNG")
        assert b"small net" in draw.draw_net(net, "LR", "svg")

    @needs_graphviz
    def test_unknown_ending(self, net, tmp_path):
        with pytest.raises(UsageError, match="as 'pgn': .*not recognized"):
            draw.draw_net_to_file(net, tmp_path / "net.pgn")

    @needs_graphviz
    @pytest.mark.parametrize(
        "name", ['a"b', "a\\", "a\\N", "a:b", "{a|b}", "<a>", "a b", "größe", "digraph", "a\nb", "&lt;"]
    )
    def test_names_of_all_kinds(self, name):
        """Graphviz shows them as they are."""
        n = NetSpec()
        n[name] = L.ReLU(L.Input(name="in", top="in"))
        svg = draw.draw_net(n.to_proto(), "TB", "svg").decode()
        shown = [html.unescape(text).replace("\xa0", " ") for text in re.findall("<text[^>]*>(.*?)</text>", svg)]
        assert {printable(name), f"{printable(name)} (ReLU)"} <= set(shown)
