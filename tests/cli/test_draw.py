"""The drawings of nets: what is in them, that it can be read, and what is refused."""

from __future__ import annotations

import time
from itertools import pairwise

import cv2
import numpy as np
import pytest

from caffecompat.cli.draw.layering import MOST_PLACES
from caffecompat.cli.draw.netdrawing import MOST_LAYERS, draw_net
from caffecompat.cli.draw.raster import raster
from caffecompat.cli.draw.svg import document
from caffecompat.errors import UnsupportedError
from caffecompat.formats import parse_net, read_net
from caffecompat.graph import build_graph
from tests.cli.drawings import Drawn, draw
from tests.cli.records import call
from tests.support import shared_file

NET = """
name: "tiny"
input: "data" input_shape { dim: 2 dim: 3 dim: 16 dim: 16 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 pad: 1 stride: 2 } }
layer { name: "norm" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "left" type: "Convolution" bottom: "conv" top: "left" convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "right" type: "Pooling" bottom: "conv" top: "right" pooling_param { kernel_size: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "left" bottom: "right" bottom: "conv" top: "sum" }
layer { name: "cut" type: "Slice" bottom: "sum" top: "first" top: "second" slice_param { axis: 1 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "first" bottom: "second" top: "loss" include { phase: TRAIN } }
"""


@pytest.fixture
def net(tmp_path):
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return path


def test_layers_and_blobs(net, tmp_path):
    drawn = draw(net, tmp_path / "net.svg")
    found = drawn.by_name()
    kinds = {"input": "data", "conv": "convolution", "BatchNorm  norm": "norm", "ReLU  relu": "neuron"}
    kinds |= {"left": "convolution", "right": "pooling", "sum": "join", "cut": "join"}
    assert {name: kind for name, (_, kind, _) in found.items()} == kinds
    assert found["conv"][2][1] == "Convolution 4, 3x3 /2 pad 1"
    # Those that work in place stand below the layer before them, in one box with it.
    for upper, lower in (("conv", "BatchNorm  norm"), ("BatchNorm  norm", "ReLU  relu")):
        (x, y, width, height), below = found[upper][0], found[lower][0]
        assert (below[0], below[1], below[2]) == (x, y + height, width)
    wires = {title: joined for title, joined, _ in drawn.wires}
    assert wires == {
        "data 2x3x16x16": [0, 1],
        "conv 2x4x8x8": [1, 2, 3, 4, 5, 6],
        "left 2x4x8x8": [4, 6],
        "right 2x4x8x8": [5, 6],
        "sum 2x4x8x8": [6, 7],
    }
    for text in ("tiny", "data 2x3x16x16", "2x4x8x8", "first 2x2x8x8", "second 2x2x8x8"):
        assert text in drawn.texts
    assert any("parameters 141" in text for text in drawn.texts)


def test_phase_and_input_shape(net, tmp_path):
    drawn = draw(net, tmp_path / "net.svg", "--phase", "TRAIN", "--input-shape", "1,3,8,8")
    assert drawn.by_name()["loss"][1] == "loss"
    assert "1x4x4x4" in drawn.texts


NETS = {
    "vgg16": "prototxt/vgg/VGG_ILSVRC_16_layers_deploy.prototxt",
    "googlenet": "prototxt/bvlc/bvlc_googlenet__deploy.prototxt",
    "ssd300": "prototxt/ssd/SSD300_VOC0712/deploy.prototxt",
    "siamese": "prototxt/bvlc/siamese__mnist_siamese_train_test.prototxt",
    "dilation": "prototxt/dilation/dilation10_cityscapes_deploy.prototxt",
}


@pytest.mark.parametrize("name", NETS)
def test_published_nets_can_be_read(name):
    """No box lies over another, ways end at boxes and cross none, all is within, and no wider than a page is."""
    graph = build_graph(read_net(shared_file(NETS[name])), "TEST")
    drawn = Drawn(document(draw_net(graph, {})))
    assert sorted(drawn.layers) == list(range(len(graph.layers)))
    assert 0.3 < drawn.width / drawn.height < 3
    boxes = np.array([place for place, _, _ in drawn.layers.values()])
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    assert (low >= 0).all()
    assert (high <= [drawn.width, drawn.height]).all()
    over = (np.minimum(high[:, None], high) - np.maximum(low[:, None], low) > 0.15).all(-1)
    assert over.sum() == len(boxes)
    tops = {(round(x), round(x + width), round(y)) for x, y, width, _ in boxes}
    for x, y in drawn.tips:
        assert any(left <= x <= right and abs(top - y) < 1 for left, right, top in tops)
    inner = np.stack([low + 1, high - 1], 1)
    for title, _, lines in drawn.wires:
        for line in lines:
            for begin, end in pairwise(line):
                assert not passes(np.array(begin), np.array(end), inner).any(), title


def passes(begin, end, boxes):
    """Which boxes a straight line passes through, by points on it."""
    shares = np.linspace(0, 1, 40)[:, None]
    places = begin + (end - begin) * shares
    within = (places[:, None] > boxes[None, :, 0]) & (places[:, None] < boxes[None, :, 1])
    return within.all(-1).any(0)


def test_a_chain_is_straight_and_folded():
    graph = build_graph(read_net(shared_file(NETS["vgg16"])), "TEST")
    drawn = Drawn(document(draw_net(graph, {})))
    middles = [round(x + width / 2) for (x, _, width, _), _, _ in drawn.layers.values()]
    assert middles == sorted(middles), "each column after the one before"
    assert len(set(middles)) == 3


def test_few_ways_cross():
    """An inception module has none that must."""
    graph = build_graph(read_net(shared_file(NETS["googlenet"])), "TEST")
    drawn = Drawn(document(draw_net(graph, {})))
    found = drawn.by_name()
    for name in ("3a", "4c", "5b"):
        order = ("1x1", "3x3", "5x5", "pool_proj")
        places = [found[f"inception_{name}/{part}"][0][0] for part in order]
        before = [found[f"inception_{name}/{part}"][0][0] for part in ("3x3_reduce", "5x5_reduce", "pool")]
        assert np.argsort(places[1:]).tolist() == np.argsort(before).tolist()


def test_png(net, tmp_path):
    call("draw", net, "-o", tmp_path / "net.png")
    picture = cv2.imread(str(tmp_path / "net.png"))
    drawn = draw(net, tmp_path / "net.svg")
    assert picture.shape[:2] == (round(2 * drawn.height), round(2 * drawn.width))
    for (x, y, width, _), kind, _ in drawn.layers.values():
        colour = picture[round(2 * y) + 6, round(2 * (x + width)) - 8]
        assert colour.tolist() == COLOURS[kind][::-1], kind
    dark = (picture.max(2) < 90).mean()
    assert 0.002 < dark < 0.1, "letters"
    assert (picture[:, :4] == 255).all()


# R, G, B.
COLOURS = {
    "data": [232, 234, 238],
    "convolution": [207, 226, 255],
    "norm": [205, 238, 238],
    "neuron": [214, 240, 210],
    "pooling": [255, 227, 191],
    "join": [244, 239, 196],
}


def test_shapes_that_are_not_known_are_left_out(tmp_path):
    path = tmp_path / "train.prototxt"
    path.write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "x" batch_size: 2 } }'
    )
    done = call("draw", path, "-o", tmp_path / "train.svg")
    assert "drawn without shapes" in done.stderr
    assert "data" in Drawn((tmp_path / "train.svg").read_text()).texts
    call("draw", path, "-o", tmp_path / "train.html")
    assert "multiply-adds</td>" not in (tmp_path / "train.html").read_text()


def test_wrong_usage(net, tmp_path, weights):
    for arguments, said in (
        (("-o", tmp_path / "net.gif"), "FILE.html"),
        (("-o", tmp_path / "net"), "cannot draw into"),
        (("-o", tmp_path / "n.svg", "--at", "1,1"), "--priors"),
        (("-o", tmp_path / "n.svg", "--priors", "--at", "middle"), "150,120"),
        (("-o", tmp_path / "n.html", "-w", weights), "--image"),
        (("-o", tmp_path / "n.svg", "--random-weights", "--image", tmp_path / "gone.png"), "FILE.html"),
        (("-o", tmp_path / "n.html", "--image", "x.png"), "no such file"),
    ):
        done = call("draw", net, *arguments, code=1 if said == "no such file" else 2)
        assert said in done.stderr.lower() + done.stderr, done.stderr
    svg = tmp_path / "net.svg"
    svg.write_text(NET)
    assert "is an input" in call("draw", svg, "-o", svg, code=2).stderr
    assert svg.read_text() == NET
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.prototxt", "net.svg", "other.caffemodel"]


def test_hostile_names(tmp_path):
    name = 'a\\001\\033[31m<b>&\\"' + "x" * 100_000
    path = tmp_path / "net.prototxt"
    path.write_text(NET.replace('"conv"', f'"{name}"').replace('name: "tiny"', 'name: "</svg>\\000"'))
    drawn = draw(path, tmp_path / "net.svg")
    assert (tmp_path / "net.svg").stat().st_size < 100_000
    assert any(text.startswith(r"a\x01\x1b[31m<b>&") for text in drawn.texts)
    assert r"</svg>\x00" in drawn.texts
    call("draw", path, "-o", tmp_path / "net.html")
    assert (tmp_path / "net.html").stat().st_size < 1_000_000


def graph_of(layers):
    return build_graph(parse_net('input: "data" input_shape { dim: 1 dim: 1 }\n' + "\n".join(layers)), "TEST")


def test_what_is_too_large_is_refused_quickly():
    relu = 'layer {{ name: "{0}" type: "ReLU" bottom: "{1}" top: "{0}" }}'
    chain = [relu.format(f"r{index}", f"r{index - 1}" if index else "data") for index in range(MOST_LAYERS)]
    joined = [
        *chain[:600],
        *(relu.format(f"s{index}", f"r{index}") for index in range(600)),
        'layer { name: "c" type: "Concat" top: "c" ' + "".join(f'bottom: "s{index}" ' for index in range(600)) + "}",
    ]
    for layers, said in ((chain, f"{MOST_LAYERS + 1:,} layers"), (joined, f"more than {MOST_PLACES:,} places")):
        graph = graph_of(layers)
        begin = time.process_time()
        with pytest.raises(UnsupportedError, match=said):
            draw_net(graph, {})
        assert time.process_time() - begin < 1


def test_a_drawing_too_wide_for_pixels():
    relu = 'layer {{ name: "r{0}" type: "ReLU" bottom: "data" top: "r{0}" }}'
    for count, scale in ((60, 2), (180, 1), (400, 0.5)):
        drawing = draw_net(graph_of([relu.format(index) for index in range(count)]), {})
        assert raster(drawing).shape[:2] == (round(drawing.height * scale), round(drawing.width * scale))
    with pytest.raises(UnsupportedError, match="too many for a PNG"):
        raster(draw_net(graph_of([relu.format(index) for index in range(600)]), {}))


def test_a_long_chain_is_drawn():
    relu = 'layer {{ name: "{0}" type: "ReLU" bottom: "{1}" top: "{0}" }}'
    graph = graph_of([relu.format(f"r{index}", f"r{index - 1}" if index else "data") for index in range(1500)])
    drawn = Drawn(document(draw_net(graph, {})))
    assert len(drawn.layers) == 1501
    assert 0.5 < drawn.width / drawn.height < 2
