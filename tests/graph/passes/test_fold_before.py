"""fold_before: whatever scales and shifts channels goes into the layer before, or stays where that would be wrong."""

from __future__ import annotations

import pytest

from caffecompat.graph.passes import fold_before
from tests.graph.passes.nets import assert_equal, assert_left_alone, passed, trained_net, types

INPUT = 'layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ {dims} }} }} }}\n'
IMAGE = "dim: 2 dim: 6 dim: 9 dim: 8"
CONV = """layer {{ name: "conv" type: "{type}" bottom: "data" top: "conv"
        convolution_param {{ num_output: 12 kernel_size: 3 {more} }} }}
"""
BN = 'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }\n'
SCALE = 'layer { name: "scale" type: "Scale" bottom: "conv" top: "out" scale_param { bias_term: true } }\n'
RELU = 'layer { name: "relu" type: "ReLU" bottom: "out" top: "relu" }\n'
NET = INPUT.format(dims=IMAGE) + CONV.format(type="Convolution", more="") + BN + SCALE + RELU


def net(kind: str = "Convolution", more: str = "", behind: str = BN + SCALE + RELU, dims: str = IMAGE):
    return INPUT.format(dims=dims) + CONV.format(type=kind, more=more) + behind


@pytest.mark.parametrize("more", ["", "bias_term: false", "pad: 1 stride: 2", "group: 3", "dilation: 2 pad: 2"])
@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution"])
def test_convolutions(kind, more):
    before = trained_net(net(kind, more))
    after, notes = passed(before, fold_before)
    assert types(after) == [kind, "ReLU"]
    assert notes == ['folded 1 BatchNorm and 1 Scale into the layer before: "bn", "scale"']
    assert after.layers[1].spec.tops[0].name == "out"
    assert_equal(before, after, [(11, 13)])


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "ConvolutionDepthwise"])
def test_depthwise(kind):
    before = trained_net(net(kind))
    after, _ = passed(before, fold_before)
    assert types(after) == [kind, "ReLU"]
    assert_equal(before, after)


@pytest.mark.parametrize("dims", ["dim: 2 dim: 6 dim: 9", "dim: 1 dim: 6 dim: 4 dim: 5 dim: 6"])
def test_one_and_three_spatial_axes(dims):
    before = trained_net(net(dims=dims))
    after, _ = passed(before, fold_before)
    assert types(after) == ["Convolution", "ReLU"]
    assert_equal(before, after)


@pytest.mark.parametrize("more", ["", "transpose: true", "bias_term: false"])
def test_inner_product(more):
    layer = f"""layer {{ name: "conv" type: "InnerProduct" bottom: "data" top: "conv"
    inner_product_param {{ num_output: 5 {more} }} }}
"""
    before = trained_net(INPUT.format(dims=IMAGE) + layer + BN + SCALE)
    after, _ = passed(before, fold_before)
    assert types(after) == ["InnerProduct"]
    assert_equal(before, after)


@pytest.mark.parametrize(
    "behind",
    [
        'type: "BatchNorm" batch_norm_param { use_global_stats: true eps: 0.1 }',
        'type: "BatchNorm" batch_norm_param { scale_bias: true }',
        'type: "BN" bn_param { eps: 1e-3 }',
        'type: "BN" bn_param { bn_mode: INFERENCE }',
        'type: "Scale"',
        'type: "Scale" scale_param { axis: -3 num_axes: 1 bias_term: true }',
        'type: "Scale" scale_param { num_axes: 0 bias_term: true }',
        'type: "Bias"',
        'type: "Power" power_param { scale: 0.5 shift: -2 }',
    ],
)
def test_kinds_of_factors_and_summands(behind):
    before = trained_net(net(behind=f'layer {{ name: "x" bottom: "conv" top: "out" {behind} }}\n' + RELU))
    after, _ = passed(before, fold_before)
    assert types(after) == ["Convolution", "ReLU"]
    assert_equal(before, after)


def test_statistics_of_a_filler_are_zero():
    before = trained_net(net(behind='layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "out" }\n'))
    before.layer("bn").factor.fill_(0)
    after, _ = passed(before, fold_before)
    assert_equal(before, after)


def test_no_bias_where_none_is_needed():
    behind = 'layer { name: "scale" type: "Scale" bottom: "conv" top: "conv" }\n'
    after, _ = passed(trained_net(net(more="bias_term: false", behind=behind)), fold_before)
    assert len(after.layer("conv").blobs) == 1


SHARED = """
layer { name: "conv2" type: "Convolution" bottom: "data" top: "conv2" param { name: "w" }
        convolution_param { num_output: 12 kernel_size: 3 } }
"""
ALONE = {
    "relu_between": net(behind='layer { name: "r" type: "ReLU" bottom: "conv" top: "conv" }\n' + BN + SCALE),
    "several_readers": net(
        behind='layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "bn" }\n'
        'layer { name: "again" type: "ReLU" bottom: "conv" top: "again" }\n'
    ),
    "statistics_of_the_batch": net(
        behind=BN.replace('top: "conv"', 'top: "conv" batch_norm_param { use_global_stats: false }')
    ),
    "shared_weight": NET.replace('top: "conv"\n', 'top: "conv" param { name: "w" }\n', 1) + SHARED,
    "shared_scale": net(
        behind='layer { name: "s" type: "Scale" bottom: "conv" top: "a" param { name: "s" } }\n'
        'layer { name: "r" type: "ReLU" bottom: "a" top: "b" }\n'
        'layer { name: "s2" type: "Scale" bottom: "b" top: "c" param { name: "s" } }\n'
    ),
    "a_loss": net(behind='layer { name: "s" type: "Scale" bottom: "conv" top: "s" }\n').replace(
        'top: "conv"\n', 'top: "conv" loss_weight: 2\n', 1
    ),
    "along_another_axis": net(
        behind='layer { name: "s" type: "Scale" bottom: "conv" top: "s" scale_param { axis: 2 } }\n'
    ),
    "over_several_axes": net(
        behind='layer { name: "s" type: "Scale" bottom: "conv" top: "s" scale_param { num_axes: 2 } }\n'
    ),
    "two_bottoms": INPUT.format(dims="dim: 7").replace('"data"', '"factor"').replace("{{", "{")
    + net(
        behind='layer { name: "s" type: "Scale" bottom: "conv" bottom: "factor" top: "s" scale_param { axis: 2 } }\n'
    ),
    "a_power": net(behind='layer { name: "p" type: "Power" bottom: "conv" top: "p" power_param { power: 2 } }\n'),
    "channels_elsewhere": net(more="axis: 2 kernel_size: 3", behind=BN).replace("kernel_size: 3 axis", "axis"),
    "two_bottoms_of_the_convolution": net(
        behind='layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }\n'
    ).replace('bottom: "data" top: "conv"', 'bottom: "data" bottom: "data" top: "conv" top: "other"'),
}


@pytest.mark.parametrize("name", ALONE)
def test_left_alone(name):
    assert_left_alone(trained_net(ALONE[name]), fold_before)


def test_a_batch_norm_that_trains():
    assert_left_alone(trained_net(net(behind=BN), phase="TRAIN"), fold_before)
    frozen = BN.replace('top: "conv"', 'top: "conv" batch_norm_param { use_global_stats: true }')
    after, _ = passed(trained_net(net(behind=frozen), phase="TRAIN"), fold_before)
    assert types(after) == ["Convolution"]


def test_a_loss_behind():
    """The convolution would have to take its weight."""
    assert_left_alone(trained_net(net(behind=BN.replace('top: "conv"', 'top: "conv" loss_weight: 1'))), fold_before)


def test_what_float32_cannot_hold():
    before = trained_net(net(behind='layer { name: "s" type: "Scale" bottom: "conv" top: "s" }\n'))
    before.layer("s").weight.data.fill_(3e38)
    before.layer("conv").weight.data.fill_(10)
    assert_left_alone(before, fold_before)


@pytest.mark.parametrize(("blob", "value"), [("variance", -3.0), ("variance", float("nan"))])
def test_statistics_that_are_not_finite(blob, value):
    before = trained_net(net(behind=BN))
    getattr(before.layer("bn"), blob).fill_(value)
    assert_left_alone(before, fold_before)
