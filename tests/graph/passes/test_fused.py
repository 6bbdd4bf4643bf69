"""fused: random nets of all kinds of layers compute the same, and long nets take no time out of proportion."""

from __future__ import annotations

import time

import numpy as np
import pytest

from caffecompat.formats import parse_net
from caffecompat.graph import build_graph
from caffecompat.graph.passes import fused
from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.schema import caffe_pb2
from tests.graph.passes.nets import assert_equal, net_of, passed, types

AVE = caffe_pb2.PoolingParameter.AVE
# What keeps the shape of (1, 6, height, width), each with the numbers of bottoms.
LAYERS = {
    "conv": lambda x, r: L.Convolution(x, num_output=6, kernel_size=3, pad=1, group=int(r.choice([1, 2, 3]))),
    "wide": lambda x, r: L.Convolution(x, num_output=6, kernel_size=5, pad=2, bias_term=False),
    "point": lambda x, r: L.Convolution(x, num_output=6, kernel_size=1, bias_term=bool(r.random() < 0.5)),
    "depthwise": lambda x, r: L.DepthwiseConvolution(x, num_output=6, kernel_size=3, pad=1),
    "deconv": lambda x, r: L.Deconvolution(x, convolution_param={"num_output": 6, "kernel_size": 3, "pad": 1}),
    "mean": lambda x, r: L.Pooling(x, pool=AVE, kernel_size=3, stride=1, pad=1),
    "max": lambda x, r: L.Pooling(x, kernel_size=3, stride=1, pad=1),
    "norm": lambda x, r: L.BatchNorm(x),
    "batch": lambda x, r: L.BatchNorm(x, use_global_stats=False),
    "scale": lambda x, r: L.Scale(x, bias_term=bool(r.random() < 0.5)),
    "bias": lambda x, r: L.Bias(x),
    "power": lambda x, r: L.Power(x, scale=0.5, shift=float(r.choice([0, 1]))),
    "relu": lambda x, r: L.ReLU(x),
    "tanh": lambda x, r: L.TanH(x),
    "dropout": lambda x, r: L.Dropout(x),
    "normalize": lambda x, r: L.Normalize(x, across_spatial=False, scale_filler={"value": 3}),
}
IN_PLACE = {"norm": L.BatchNorm, "scale": L.Scale, "relu": L.ReLU, "dropout": L.Dropout}


def random_net(seed: int) -> NetSpec:
    """Layers that read the last blob mostly, sometimes an earlier one; a third are sums."""
    random = np.random.default_rng(seed)
    n = NetSpec()
    n.data = L.Input(shape={"dim": [1, 6, 7, 6]})
    # Blobs that a layer may read without standing in the way of one that works in place.
    free = [n.data]
    for number in range(int(random.integers(4, 16))):
        name = f"x{number}"
        x = free[-1] if random.random() < 0.6 else free[int(random.integers(len(free)))]
        if random.random() < 0.3:
            others = [free[int(random.integers(len(free)))] for _ in range(int(random.integers(1, 3)))]
            coeff = random.choice([1, -0.5, 2], len(others) + 1).tolist() if random.random() < 0.4 else []
            n[name] = L.Eltwise(x, *others, **({"coeff": coeff} if coeff else {}))
        else:
            kind = str(random.choice(list(LAYERS)))
            n[name] = LAYERS[kind](x, random)
            if random.random() < 0.4:
                then = str(random.choice(list(IN_PLACE)))
                n[f"{name}_{then}"] = IN_PLACE[then](n[name], in_place=True)
                free.append(n[f"{name}_{then}"])
                continue
        free.append(n[name])
    return n


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_random_nets(first):
    fewer = 0
    for seed in range(first, first + 50):
        net = net_of(random_net(seed), seed)
        after, notes = passed(net, fused)
        assert bool(notes) == (types(after) != types(net)) or "in place" in notes[-1] or "Normalize" in notes[-1]
        assert len(after.layers) <= len(net.layers)
        assert_equal(net, after, [(5, 9)])
        fewer += len(after.layers) < len(net.layers)
    assert fewer > 25


POWER = 'layer {{ name: "{0}" type: "Power" bottom: "{1}" top: "{0}" power_param {{ scale: 2 }} }}\n'
RELU = 'layer {{ name: "{0}" type: "ReLU" bottom: "{1}" top: "{0}" }}\n'
SUM = 'layer {{ name: "{0}" type: "Eltwise" bottom: "{1}" bottom: "{1}" top: "{0}" }}\n'
DROP = 'layer {{ name: "{0}" type: "Dropout" bottom: "{1}" top: "{0}" }}\n'


@pytest.mark.parametrize("layer", [POWER, RELU, SUM, DROP])
def test_many_layers(layer):
    text = 'layer { name: "0" type: "Input" top: "0" input_param { shape { dim: 1 } } }\n'
    text += "".join(layer.format(number + 1, number) for number in range(1500))
    graph = build_graph(parse_net(text))
    begin = time.process_time()
    fused(graph, {})
    assert time.process_time() - begin < 4
