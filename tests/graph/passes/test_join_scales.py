"""join_scales: what no convolution takes up becomes one Scale."""

from __future__ import annotations

import pytest

from caffecompat.graph.passes import fused, join_scales
from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from tests.graph.passes.nets import assert_equal, assert_left_alone, bn, net_of, passed, trained_net, types

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 6 dim: 5 dim: 4 } } }\n'
BN = 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }\n'
SCALE = 'layer { name: "scale" type: "Scale" bottom: "bn" top: "bn" scale_param { bias_term: true } }\n'
BIAS = 'layer { name: "bias" type: "Bias" bottom: "bn" top: "out" }\n'
POWER = 'layer { name: "power" type: "Power" bottom: "%s" top: "%s" power_param { scale: 0.5 shift: 1 } }\n'
RELU = 'layer { name: "relu" type: "ReLU" bottom: "bn" top: "relu" }\n'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (BN + SCALE + RELU, ["Scale", "ReLU"]),
        (BN + SCALE, ["Scale"]),
        (BN + SCALE + BIAS, ["Scale"]),
        (BN + POWER % ("bn", "power"), ["Scale"]),
        (BN + SCALE.replace("bias_term: true", "") + RELU + RELU.replace("relu", "again"), ["Scale", "ReLU", "ReLU"]),
    ],
)
def test_joined(text, wanted):
    before = trained_net(INPUT + text)
    after, notes = passed(before, join_scales)
    assert types(after) == wanted
    assert len(notes) == 1
    assert_equal(before, after)


def test_no_bias_where_none_is_needed():
    scale = 'layer { name: "%s" type: "Scale" bottom: "%s" top: "%s" }\n'
    before = trained_net(INPUT + scale % ("a", "data", "a") + scale % ("b", "a", "b"))
    after, notes = passed(before, join_scales)
    assert notes == ['joined 2 BatchNorm, Scale and Bias to 1 Scale: "b"']
    assert len(after.layer("b").blobs) == 1
    assert_equal(before, after)


@pytest.mark.parametrize(
    "text",
    [
        BN,
        BN + RELU,
        POWER % ("data", "bn") + POWER.replace('"power"', '"two"') % ("bn", "out"),
        BN + SCALE.replace('top: "bn"', 'top: "out"') + RELU,
        BN + SCALE.replace("scale_param {", "scale_param { axis: 2"),
        BN.replace('top: "bn"', 'top: "bn" batch_norm_param { use_global_stats: false }') + SCALE,
    ],
)
def test_left_alone(text):
    assert_left_alone(trained_net(INPUT + text), join_scales)


def test_a_residual_net_of_the_second_kind():
    """BatchNorm, Scale, ReLU, convolution: the first pair joins, that behind the first convolution folds."""
    n = NetSpec()
    n.data = L.Input(shape={"dim": [1, 6, 5, 4]})
    x = n.data
    for name in ("first", "second"):
        n[f"{name}_relu"] = L.ReLU(bn(n, name, x))
        n[name] = L.Convolution(n[f"{name}_relu"], num_output=6, kernel_size=3, pad=1)
        x = n[name]
    n.sum = L.Eltwise(x, n.data)
    before = net_of(n)
    after, _ = passed(before, fused)
    assert types(after) == ["Scale", "ReLU", "Convolution", "ReLU", "Convolution", "Eltwise"]
    assert_equal(before, after, [(7, 9)])
