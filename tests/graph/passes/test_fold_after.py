"""fold_after and fold_normalize: factors go into the layers that read them, summands only where nothing is padded."""

from __future__ import annotations

import pytest
import torch

from caffecompat.graph.passes import fold_after, fold_normalize
from tests.graph.passes.nets import assert_equal, assert_left_alone, passed, trained_net, types

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 6 dim: 9 dim: 8 } } }\n'
BN = 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }\n'
SCALE = 'layer { name: "scale" type: "Scale" bottom: "bn" top: "bn" scale_param { bias_term: true } }\n'
FACTOR = 'layer { name: "factor" type: "Scale" bottom: "data" top: "bn" }\n'


def conv(more: str = "", kind: str = "Convolution", name: str = "conv") -> str:
    return (
        f'layer {{ name: "{name}" type: "{kind}" bottom: "bn" top: "{name}" '
        f"convolution_param {{ num_output: 12 kernel_size: 3 {more} }} }}\n"
    )


INNER = 'layer { name: "fc" type: "InnerProduct" bottom: "bn" top: "fc" inner_product_param { num_output: 4 %s } }\n'


@pytest.mark.parametrize("more", ["", "bias_term: false", "stride: 2 group: 2", "dilation: 2"])
def test_before_a_convolution(more):
    before = trained_net(INPUT + BN + SCALE + conv(more))
    after, notes = passed(before, fold_after)
    assert types(after) == ["Convolution"]
    assert notes == ['folded 1 BatchNorm and 1 Scale into the layers after: "bn", "scale"']
    assert_equal(before, after, [(11, 13)])


@pytest.mark.parametrize("more", ["", "transpose: true", "bias_term: false"])
def test_before_an_inner_product(more):
    before = trained_net(INPUT + BN + SCALE + INNER % more)
    after, _ = passed(before, fold_after)
    assert types(after) == ["InnerProduct"]
    assert_equal(before, after)


@pytest.mark.parametrize("kind", ["DepthwiseConvolution", "Deconvolution", "Convolution"])
def test_a_factor_goes_through_padding(kind):
    before = trained_net(INPUT + FACTOR + conv("pad: 1 stride: 2 group: 6", kind))
    after, _ = passed(before, fold_after)
    assert types(after) == [kind]
    assert_equal(before, after)


@pytest.mark.parametrize("power", ["scale: 0.25 shift: 3", "shift: -1"])
@pytest.mark.parametrize("kind", ["Convolution", "DepthwiseConvolution"])
def test_one_value_for_all_channels(power, kind):
    power = f'layer {{ name: "p" type: "Power" bottom: "data" top: "bn" power_param {{ {power} }} }}\n'
    before = trained_net(INPUT + power + conv(kind=kind))
    after, _ = passed(before, fold_after)
    assert types(after) == [kind]
    assert_equal(before, after)


def test_summands_before_a_depthwise_convolution():
    before = trained_net(
        INPUT + 'layer { name: "b" type: "Bias" bottom: "data" top: "bn" }\n' + conv("", "DepthwiseConvolution")
    )
    after, _ = passed(before, fold_after)
    assert types(after) == ["DepthwiseConvolution"]
    assert_equal(before, after)


def test_several_readers():
    before = trained_net(INPUT + BN + conv() + conv("kernel_size: 1", name="other").replace("kernel_size: 3 ", ""))
    after, _ = passed(before, fold_after)
    assert types(after) == ["Convolution", "Convolution"]
    assert_equal(before, after)


def test_in_place():
    text = (
        'layer { name: "relu" type: "ReLU" bottom: "data" top: "bn" }\n' + BN.replace('"data"', '"bn"') + SCALE + conv()
    )
    before = trained_net(INPUT + text)
    after, _ = passed(before, fold_after)
    assert types(after) == ["ReLU", "Convolution"]
    assert_equal(before, after)


ALONE = {
    "padding": BN + SCALE + conv("pad: 1"),
    "border_of_a_deconvolution": BN + conv("", "Deconvolution"),
    "another_reader": BN + conv() + 'layer { name: "relu" type: "ReLU" bottom: "bn" top: "relu" }\n',
    "one_of_two_padded": BN + conv() + conv("pad: 1", name="other"),
    "an_output": BN,
    "a_loss": BN.replace('top: "bn"', 'top: "bn" loss_weight: 1') + conv(),
    "relu_between": BN + 'layer { name: "relu" type: "ReLU" bottom: "bn" top: "bn" }\n' + conv(),
    "shared": BN
    + conv().replace("convolution_param", 'param { name: "w" } convolution_param')
    + conv(name="two").replace("convolution_param", 'param { name: "w" } convolution_param').replace('"bn"', '"data"'),
    "the_batch": BN.replace('top: "bn"', 'top: "bn" batch_norm_param { use_global_stats: false }') + conv(),
    "along_another_axis": FACTOR.replace("}", "}").replace('top: "bn"', 'top: "bn" scale_param { axis: 3 }') + conv(),
}


@pytest.mark.parametrize("name", ALONE)
def test_left_alone(name):
    assert_left_alone(trained_net(INPUT + ALONE[name]), fold_after)


def test_the_factor_of_a_pair_folds_where_the_summand_cannot():
    before = trained_net(INPUT + BN + SCALE.replace("bias_term: true", "") + conv("pad: 1"))
    after, notes = passed(before, fold_after)
    assert types(after) == ["BatchNorm", "Convolution"]
    assert notes == ['folded 1 Scale into the layers after: "scale"']
    assert_equal(before, after)


# --- Normalize

NORMALIZE = """layer { name: "norm" type: "Normalize" bottom: "data" top: "bn"
        norm_param { across_spatial: false channel_shared: %s scale_filler { value: 20 } } }
"""
PRIORS = """layer { name: "priors" type: "PriorBox" bottom: "bn" bottom: "data" top: "priors"
        prior_box_param { min_size: 3 } }
"""


@pytest.mark.parametrize("shared", ["true", "false"])
def test_normalize(shared):
    before = trained_net(INPUT + NORMALIZE % shared + conv("pad: 1") + conv("pad: 1", name="conf") + PRIORS)
    after, notes = passed(before, fold_normalize)
    assert torch.equal(after.layer("norm").weight, torch.ones_like(before.layer("norm").weight))
    assert notes == ['folded the scale of 1 Normalize into the layers after: "norm"']
    assert_equal(before, after)
    assert passed(after, fold_normalize)[1] == []


@pytest.mark.parametrize(
    "behind",
    [
        "",
        PRIORS,
        conv() + 'layer { name: "relu" type: "ReLU" bottom: "bn" top: "relu" }\n',
        'layer { name: "relu" type: "ReLU" bottom: "bn" top: "bn" }\n' + conv(),
    ],
)
def test_normalize_left_alone(behind):
    assert_left_alone(trained_net(INPUT + NORMALIZE % "false" + behind), fold_normalize)


def test_a_normalize_without_a_scale():
    normalize = 'layer { name: "norm" type: "Normalize" bottom: "data" top: "bn" normalize_param { } }\n'
    assert_left_alone(trained_net(INPUT + normalize + conv()), fold_normalize)
