"""merge_sums leaves alone what one convolution does not do, or not faster."""

from __future__ import annotations

import pytest

from caffecompat.graph.passes import merge_sums
from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.schema import caffe_pb2
from tests.graph.passes.nets import assert_left_alone, bn, net_of, trained_net
from tests.graph.passes.sums import AVE, CHANNELS, conv, source, total

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 4 dim: 8 dim: 7 } } }\n'


def left(n: NetSpec):
    assert_left_alone(net_of(n), merge_sums)


def test_a_relu_between():
    left_alone = total(lambda n, x: L.ReLU(conv(x, 3, 1), in_place=True), lambda n, x: x)
    assert_left_alone(left_alone, merge_sums)


def test_a_branch_that_is_read_elsewhere():
    n = NetSpec()
    x = source(n)
    n.branch = conv(x, 3, 1)
    n.total = L.Eltwise(n.branch, conv(x, 1))
    n.other = L.Sigmoid(n.branch)
    left(n)


def test_other_sources():
    n = NetSpec()
    x = source(n)
    n.total = L.Eltwise(conv(x, 3, 1), conv(n.before, 1))
    left(n)


def test_two_convolutions_in_a_row():
    assert_left_alone(total(lambda n, x: conv(conv(x, 3, 1), 1), lambda n, x: x), merge_sums)


def test_a_summand_before_padding():
    assert_left_alone(total(lambda n, x: conv(bn(n, "first", x), 3, 1), lambda n, x: x), merge_sums)


@pytest.mark.parametrize("operation", ["PROD", "MAX"])
def test_other_operations(operation):
    n = NetSpec()
    x = source(n)
    n.total = L.Eltwise(conv(x, 3, 1), x, operation=getattr(caffe_pb2.EltwiseParameter, operation))
    left(n)


def test_no_convolution():
    assert_left_alone(total(lambda n, x: bn(n, "id", x), lambda n, x: x), merge_sums)


def test_greatest_pooling():
    pooling = {"kernel_size": 3, "stride": 1, "pad": 1}
    assert_left_alone(total(lambda n, x: conv(x, 3, 1), lambda n, x: L.Pooling(x, **pooling)), merge_sums)


def test_shared_weights():
    shared = {"param": {"name": "w"}}
    net = total(lambda n, x: conv(x, 3, 1, **shared), lambda n, x: conv(x, 3, 1, **shared))
    assert_left_alone(net, merge_sums)


def test_strides_that_differ():
    """At one place only they give equally many."""
    n = NetSpec()
    n.data = L.Input(shape={"dim": [1, 4, 1, 1]})
    n.total = L.Eltwise(conv(n.data, 1, outputs=4, stride=2), conv(n.data, 1, outputs=4))
    left(n)


def test_one_convolution_would_cost_more():
    """A 1x1 convolution and a mean are a ninth of the 3x3 convolution that they would become."""
    assert_left_alone(
        total(lambda n, x: conv(x, 1), lambda n, x: L.Pooling(x, kernel_size=3, stride=1, pad=1, **AVE)), merge_sums
    )
    wide = {"kernel_size": 2001, "stride": 1, "pad": 1000}
    assert_left_alone(total(lambda n, x: conv(x, 1), lambda n, x: L.Pooling(x, **wide, **AVE)), merge_sums)


def test_a_batch_norm_that_takes_the_batch():
    net = total(
        lambda n, x: L.BatchNorm(conv(x, 3, 1), use_global_stats=False), lambda n, x: L.Power(conv(x, 1), scale=2)
    )
    assert_left_alone(net, merge_sums)


def test_two_layers_of_one_name():
    text = """
layer { name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param { num_output: 4 kernel_size: 1 } }
layer { name: "twin" type: "Eltwise" bottom: "a" bottom: "data" top: "sum" }
layer { name: "twin" type: "ReLU" bottom: "sum" top: "relu" }
"""
    assert_left_alone(trained_net(INPUT + text), merge_sums)


def test_a_pooling_window_that_may_hang_over():
    """2x2 at a stride of 2 over 7 values: 4 places, the last of one value; a 1x1 convolution gives 4 as well."""
    n = NetSpec()
    n.data = L.Input(shape={"dim": [1, 4, 7, 7]})
    n.total = L.Eltwise(conv(n.data, 1, outputs=4, stride=2), L.Pooling(n.data, kernel_size=2, stride=2, **AVE))
    assert_left_alone(net_of(n), merge_sums)


def test_a_depthwise_convolution_that_does_not_say_its_groups():
    shape = {"num_output": CHANNELS, "kernel_size": 3, "pad": 1}
    net = total(lambda n, x: L.DepthwiseConvolution(x, convolution_param=shape), lambda n, x: conv(x, 3, 1, group=4))
    assert_left_alone(net, merge_sums)
