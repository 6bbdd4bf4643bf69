"""merge_sums: parallel linear branches become one convolution, with the same values at every size of the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from caffecompat.graph.passes import fold_before, merge_sums
from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from tests.graph.passes.nets import (
    assert_equal,
    bn,
    conv_bn,
    net_of,
    passed,
    repvgg_block,
    types,
)
from tests.graph.passes.sums import AVE, CHANNELS, FLOOR, SIZES, conv, source, total


def assert_merged(net, sizes=SIZES):
    after, notes = passed(net, fold_before, merge_sums)
    assert types(after) == ["Convolution", "ReLU", "Convolution", "ReLU"]
    assert notes[-1].startswith("1 sums of ")
    assert after.layers[3].spec.name == "total"
    assert list(after.layers[3].spec.message.bottom) == ["x"]
    assert_equal(net, after, sizes)
    assert_equal(net, passed(net, merge_sums)[0], sizes)
    return after.layers[3]


@pytest.mark.parametrize("group", [1, 2, 12])
@pytest.mark.parametrize(("stride", "identity"), [(1, False), (1, True), (2, False)])
def test_repvgg(stride, identity, group):
    n = NetSpec()
    repvgg_block(n, "block", source(n), CHANNELS, stride, identity=identity, group=group)
    net = net_of(n)
    after, notes = passed(net, fold_before, merge_sums)
    assert types(after) == ["Convolution", "ReLU", "Convolution", "ReLU"]
    made = after.layers[3]
    assert (made.window.kernel, made.window.stride, made.window.pad, made.group) == (
        (3, 3),
        (stride,) * 2,
        (1, 1),
        group,
    )
    assert notes[-1] == f'1 sums of {2 + identity} branches became one convolution each: "block_sum"'
    assert_equal(net, after, SIZES)


def test_acnet():
    layer = assert_merged(
        total(
            lambda n, x: conv_bn(n, "square", x, CHANNELS, 3, 1, 1),
            lambda n, x: bn(n, "row", conv(x, [1, 3], [0, 1])),
            lambda n, x: bn(n, "column", conv(x, [3, 1], [1, 0])),
        )
    )
    assert layer.window.kernel == (3, 3)


def test_acnet_without_the_square():
    assert_merged(
        total(
            lambda n, x: L.Convolution(x, num_output=CHANNELS, kernel_h=1, kernel_w=3, pad_w=1),
            lambda n, x: L.Convolution(x, num_output=CHANNELS, kernel_h=3, kernel_w=1, pad_h=1),
        )
    )


def test_the_kernel_by_hand():
    """Of a 3x3, a 1x1 and the identity, with coefficients: the sum of the kernels, laid over one another."""
    net = total(lambda n, x: conv(x, 3, 1), lambda n, x: conv(x, 1), lambda n, x: x, coeff=[2, -1, 0.5])
    three, one = (layer for layer in net.layers[3:] if layer.spec.type == "Convolution")
    layer = assert_merged(net)
    wanted = 2 * three.weight - functional.pad(one.weight, (1, 1, 1, 1))
    wanted[range(CHANNELS), range(CHANNELS), 1, 1] += 0.5
    torch.testing.assert_close(layer.weight, wanted)
    torch.testing.assert_close(layer.bias, 2 * three.bias - one.bias)


def test_average_pooling():
    layer = assert_merged(
        total(
            lambda n, x: conv(x, 3, 1),
            lambda n, x: bn(n, "mean", L.Pooling(x, kernel_size=3, stride=1, pad=1, **AVE)),
            lambda n, x: L.Pooling(x, kernel_h=1, kernel_w=3, stride=1, pad_h=0, pad_w=1, **AVE),
        )
    )
    assert layer.window.kernel == (3, 3)


@pytest.mark.parametrize(("pooling", "sizes"), [(AVE, [(5, 5), (9, 7)]), (FLOOR, [(5, 5), (6, 8)])])
def test_average_pooling_with_a_stride(pooling, sizes):
    """Caffe rounds the number of its places up, unless told; then there is a sum only where none hangs over."""
    n = NetSpec()
    n.data = L.Input(shape={"dim": [2, 4, 7, 7]})
    n.total = L.Eltwise(
        conv(n.data, 3, 1, outputs=4, stride=2), L.Pooling(n.data, kernel_size=3, stride=2, pad=1, **pooling)
    )
    net = net_of(n)
    after, _ = passed(net, merge_sums)
    assert types(after) == ["Convolution"]
    assert_equal(net, after, sizes)


def test_dilations_of_one_step():
    layer = assert_merged(total(lambda n, x: conv(x, 3, 2, dilation=2), lambda n, x: conv(x, 1), lambda n, x: x))
    assert (layer.window.kernel, layer.window.dilation, layer.window.pad) == ((3, 3), (2, 2), (2, 2))


def test_dilations_of_several_steps():
    layer = assert_merged(total(lambda n, x: conv(x, 3, 2, dilation=2), lambda n, x: conv(x, 3, 1), lambda n, x: x))
    assert (layer.window.kernel, layer.window.dilation, layer.window.pad) == ((5, 5), (1, 1), (2, 2))


def test_holes():
    layer = assert_merged(total(lambda n, x: conv(x, 3, 2, hole=2), lambda n, x: x))
    assert (layer.window.kernel, layer.window.dilation) == ((3, 3), (2, 2))


def test_windows_of_other_sizes_and_places():
    """A 5x5 and a 3x3, and windows of even size that begin at other places."""
    assert_merged(total(lambda n, x: conv(x, 5, 2), lambda n, x: conv(x, 3, 1)))
    net = total(lambda n, x: conv(x, [2, 3], [1, 1], stride=2), lambda n, x: conv(x, [4, 3], [2, 1], stride=2))
    assert_merged(net, [(8, 9), (10, 5)])


def test_groups_of_other_widths():
    layer = assert_merged(
        total(lambda n, x: conv(x, 3, 1, group=4), lambda n, x: conv(x, 3, 1, group=6), lambda n, x: x)
    )
    assert layer.group == 2


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "ConvolutionDepthwise", "Convolution"])
def test_mobileone(kind):
    """Vasu et al. 2023: depthwise 3x3 several times, 1x1 and identity, each with BatchNorm."""
    make = getattr(L, kind)
    shape = {"num_output": CHANNELS, "group": CHANNELS, "bias_term": False}
    net = total(
        lambda n, x: bn(n, "a", make(x, convolution_param={**shape, "kernel_size": 3, "pad": 1})),
        lambda n, x: bn(n, "b", make(x, convolution_param={**shape, "kernel_size": 3, "pad": 1})),
        lambda n, x: bn(n, "c", make(x, convolution_param={**shape, "kernel_size": 1})),
        lambda n, x: bn(n, "d", x),
    )
    after, _ = passed(net, fold_before, merge_sums)
    assert types(after) == ["Convolution", "ReLU", kind, "ReLU"]
    assert (after.layers[3].group, after.layers[3].window.kernel) == (CHANNELS, (3, 3))
    assert_equal(net, after, SIZES)


def test_depthwise_beside_a_convolution_in_groups():
    shape = {"num_output": CHANNELS, "group": CHANNELS, "kernel_size": 3, "pad": 1}
    net = total(lambda n, x: L.DepthwiseConvolution(x, convolution_param=shape), lambda n, x: conv(x, 3, 1, group=4))
    after, _ = passed(net, merge_sums)
    assert types(after) == ["Convolution", "ReLU", "Convolution", "ReLU"]
    assert after.layers[3].group == 4
    assert_equal(net, after, SIZES)


def test_more_outputs_than_inputs():
    n = NetSpec()
    x = source(n)
    n.total = L.Eltwise(
        conv(x, 3, 1, outputs=24, group=4), conv(x, 1, outputs=24, group=2), conv(x, 3, 1, outputs=24, group=2)
    )
    net = net_of(n)
    after, _ = passed(net, merge_sums)
    assert after.layers[-1].group == 2
    assert_equal(net, after, SIZES)


def test_constants_before_the_window():
    n = NetSpec()
    x = source(n)
    n.total = L.Eltwise(conv(bn(n, "first", x), 3), conv(L.Scale(x), 3), conv(bn(n, "second", x), 3))
    net = net_of(n)
    after, _ = passed(net, merge_sums)
    assert types(after) == ["Convolution", "ReLU", "Convolution"]
    assert_equal(net, after, SIZES)


def test_one_spatial_axis():
    n = NetSpec()
    n.data = L.Input(shape={"dim": [2, 6, 9]})
    n.total = L.Eltwise(conv(n.data, 3, 1, outputs=6), conv(n.data, 1, outputs=6), bn(n, "id", n.data))
    net = net_of(n)
    after, _ = passed(net, merge_sums)
    assert types(after) == ["Convolution"]
    assert_equal(net, after)


def test_sums_of_sums():
    net = total(
        lambda n, x: L.Eltwise(conv(x, 3, 1), conv(x, 1)),
        lambda n, x: L.Eltwise(x, bn(n, "id", x), conv(x, 3, 1), coeff=[0.5, 1, 1]),
    )
    after, notes = passed(net, merge_sums)
    assert types(after) == ["Convolution", "ReLU", "Convolution", "ReLU"]
    assert notes[0].startswith("3 sums of 7 branches")
    assert_equal(net, after, SIZES)


def test_an_output():
    n = NetSpec()
    x = source(n)
    n.total = L.Eltwise(conv(x, 3, 1), x)
    net = net_of(n)
    after, _ = passed(net, merge_sums)
    assert after.outputs == ["total"]
    assert_equal(net, after, SIZES)


def test_a_loss_keeps_its_weight():
    n = NetSpec()
    x = source(n)
    n.total = L.Eltwise(conv(x, 3, 1), x, loss_weight=3)
    net = net_of(n)
    after, _ = passed(net, merge_sums)
    assert types(after) == ["Convolution", "ReLU", "Convolution"]
    assert after.loss_weights == {"total": 3.0}


def test_random_sums():
    """Branches drawn at random of all that are understood, of one stride: merged or not, the values are the same."""
    merged = [_random_sum(seed) for seed in range(60)]
    assert 20 < sum(merged) < 60


def _random_sum(seed):
    random = np.random.default_rng(seed)
    stride, group = int(random.choice([1, 1, 2])), int(random.choice([1, 2, 3, 12]))

    def window():
        kernel = [int(size) for size in random.choice([1, 3, 5], 2)]
        step = [int(size) for size in random.choice([1, 1, 2], 2)]
        return kernel, [s * (k // 2) for k, s in zip(kernel, step, strict=True)], step

    def branch(n, x):
        place = f"b{len(n.keys())}"
        if random.random() < 0.3:
            x = L.Scale(x)
        kind = random.choice(["conv", "conv", "mean", "identity"] if stride == 1 else ["conv", "mean"])
        kernel, pad, step = window()
        if kind == "conv":
            x = conv(x, kernel, pad, stride=stride, dilation=step, group=int(random.choice([1, group])))
        elif kind == "mean":
            sizes = {"kernel_h": kernel[0], "kernel_w": kernel[1], "pad_h": kernel[0] // 2, "pad_w": kernel[1] // 2}
            x = L.Pooling(x, stride=stride, **sizes, **(FLOOR if random.random() < 0.5 else AVE))
        return bn(n, place, x) if random.random() < 0.6 else x

    branches = [branch] * int(random.integers(1, 4))
    coeff = random.choice([1, 0.5, -2], len(branches) + 1) if random.random() < 0.5 else ()
    n = NetSpec()
    n.data = L.Input(shape={"dim": [1, 3, 9, 7]})
    n.before = L.Convolution(n.data, num_output=CHANNELS, kernel_size=1)
    made = [conv(n.before, 5, 2, stride=stride), *(one(n, n.before) for one in branches)]
    n.total = L.Eltwise(*made, **({"coeff": coeff.tolist()} if len(coeff) else {}))
    net = net_of(n, seed)
    after, _ = passed(net, fold_before, merge_sums)
    assert_equal(net, after, [(11, 13), (5, 9)])
    return "Eltwise" not in types(after)
