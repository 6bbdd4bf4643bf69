"""Batches in pieces: only of nets that compute each picture on its own."""

from __future__ import annotations

import pytest
import torch

from caffecompat.engines import optimize
from caffecompat.engines.splitting import pieces
from tests.engines.engine_nets import INPUT, classifier, conv, pictures
from tests.support import make_net

FEW = INPUT.replace("dim: 2 ", "dim: 8 ", 1)


def one(kind, more="", bottom="data"):
    return f'layer {{ name: "x" type: "{kind}" bottom: "{bottom}" top: "x" {more} }}\n'


@pytest.mark.parametrize(
    ("images", "threads", "count"), [(8, 2, 4), (6, 2, 2), (7, 2, 1), (8, 1, 1), (9, 3, 3), (0, 2, 1)]
)
def test_how_many_pieces(images, threads, count):
    net = make_net(INPUT.replace("dim: 2 ", f"dim: {images} ", 1) + conv("c", "data", 4))
    assert pieces(net, threads) == count


@pytest.mark.parametrize(
    ("layers", "count"),
    [
        (one("Softmax"), 4),
        (one("Softmax", "softmax_param { axis: 0 }"), 1),
        (one("Softmax", "softmax_param { axis: -4 }"), 1),
        (one("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }"), 4),
        (one("Reshape", "reshape_param { shape { dim: -1 dim: 18 } }"), 1),
        (one("Permute", "permute_param { order: 1 order: 0 }"), 1),
        (one("Slice", 'top: "y" slice_param { axis: 0 }'), 1),
        (one("Concat", 'bottom: "data" concat_param { axis: 0 }'), 1),
        (one("Concat", 'bottom: "data"'), 4),
        (one("InnerProduct", "inner_product_param { num_output: 2 axis: 0 }"), 1),
        (one("BatchNorm", "batch_norm_param { use_global_stats: false }"), 1),
        # Axis 0 counts time.
        (one("RNN", "recurrent_param { num_output: 2 }", 'data" bottom: "cont'), 1),
    ],
)
def test_pictures_on_their_own(layers, count):
    more = 'layer { name: "cont" type: "Input" top: "cont" input_param { shape { dim: 8 dim: 3 } } }\n'
    net = make_net(FEW + (more if "cont" in layers else "") + layers).eval()
    assert pieces(net, 2) == count


def test_a_batch_in_pieces_gives_what_the_whole_gives():
    net, data = classifier(), pictures(8, 3, 21, 18)
    engine = optimize(net, "openvino", example={"data": data}, threads=2)
    for batch in (data, -data, data[:5], data):
        torch.testing.assert_close(engine(data=batch)["prob"], net(data=batch)["prob"].detach(), atol=1e-5, rtol=0)
