"""The decay of the kernel of a block, against its authors' rule differentiated by PyTorch."""

from __future__ import annotations

import pytest
import torch

from caffecompat.errors import SchemaError, UnsupportedError
from caffecompat.solver.group import Group
from caffecompat.solver.options import Options
from caffecompat.solver.reparameterized import reparameterized_update
from tests.solver.tiny import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

BEGIN = """
layer { name: "data" type: "DummyData" top: "data" dummy_data_param {
  data_filler { type: "gaussian" } shape { dim: 3 dim: 4 dim: 5 dim: 6 } } }
layer { name: "target" type: "DummyData" top: "target" dummy_data_param { shape { dim: 3 dim: 4 dim: 5 dim: 6 } } } """
END = """layer { name: "loss" type: "EuclideanLoss" bottom: "%s" bottom: "target" top: "loss"
  loss_weight: 0.001 }"""
FILLER = 'weight_filler { type: "gaussian" std: 0.3 }'


def conv(name, size, bottom="data", more=""):
    return f"""layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" param {{ lr_mult: 1 }}
      convolution_param {{ num_output: 4 kernel_size: {size} pad: {size // 2} bias_term: false {FILLER} {more} }} }}"""


def norm(name, bottom, top):
    return f"""layer {{ name: "{name}_bn" type: "BatchNorm" bottom: "{bottom}" top: "{top}"
      batch_norm_param {{ eps: 0.01 moving_average_fraction: 0.7 }} }}
    layer {{ name: "{name}_scale" type: "Scale" bottom: "{top}" top: "{top}" scale_param {{ bias_term: true
      filler {{ type: "uniform" min: -1 max: 2 }} }} }}"""


def block(group=1):
    groups = f"group: {group}"
    layers = [conv("wide", 3, more=groups), norm("wide", "wide", "wide"), conv("point", 1, more=groups)]
    layers += [norm("point", "point", "point"), norm("id", "data", "id")]
    layers.append('layer { name: "sum" type: "Eltwise" bottom: "wide" bottom: "point" bottom: "id" top: "sum" }')
    return BEGIN + " ".join(layers) + conv("last", 3, "sum") + END % "last"


def custom_l2(net):
    """What the authors' `get_custom_L2` gives, written anew from its definition."""

    def factor(name):
        bn, scale = net.layer(f"{name}_bn"), net.layer(f"{name}_scale")
        variance = bn.blobs[1] / bn.blobs[2]
        return (scale.blobs[0] / torch.sqrt(variance + 0.01)).detach()[:, None, None, None]

    wide, point = net.layer("wide").weight, net.layer("point").weight
    around = wide.square().sum() - wide[:, :, 1, 1].square().sum()
    middle = wide[:, :, 1:2, 1:2] * factor("wide") + point * factor("point")
    return around + (middle.square() / (factor("wide").square() + factor("point").square())).sum()


@pytest.mark.parametrize("group", [1, 2])
def test_as_the_authors_loss_has_it(group, tmp_path):
    """Two solvers alike, one of them with the decay as a part of its loss, and none by itself."""
    ours = tiny(tmp_path / "a", "momentum: 0.5 weight_decay: 0.1 equivalent_kernel_decay: true", net=block(group))
    ours.step(5)
    theirs = tiny(tmp_path / "b", "momentum: 0.5", net=block(group))
    kernels = {id(theirs.net.layer(name).weight) for name in ("wide", "point")}
    others = [one.tensor for one in theirs.net.learnable if one.lr_mult and id(one.tensor) not in kernels]
    plain_pass = theirs.train_pass

    def with_decay():
        loss = plain_pass()
        (0.1 * 0.5 * (custom_l2(theirs.net) + sum(other.square().sum() for other in others))).backward()
        return loss

    theirs.train_pass = with_decay
    theirs.step(5)
    for mine, other in zip(ours.net.learnable, theirs.net.learnable, strict=True):
        torch.testing.assert_close(mine.tensor, other.tensor, rtol=1e-4, atol=1e-5)


def test_it_is_another_decay(tmp_path):
    kernels = []
    for more in ("equivalent_kernel_decay: true", ""):
        solver = tiny(tmp_path, f"weight_decay: 0.1 {more}", net=block())
        solver.step(1)
        kernels.append([solver.net.layer(name).weight for name in ("wide", "point", "last")])
    assert [torch.equal(*pair) for pair in zip(*kernels, strict=True)] == [False, False, True]


def test_where_blobs_are_seen(tmp_path):
    """With Split layers between, as pycaffe has them."""
    solver = tiny(tmp_path, "equivalent_kernel_decay: true", net=block(), visible=True)
    assert len(solver.update.before) == 1


def test_factors_of_zero(tmp_path):
    solver = tiny(tmp_path, "weight_decay: 0.1 equivalent_kernel_decay: true", net=block())
    with torch.no_grad():
        for name in ("wide_scale", "point_scale"):
            solver.net.layer(name).weight.zero_()
    solver.step(1)
    assert all(bool(one.tensor.isfinite().all()) for one in solver.net.learnable)


POINT = '"point" type: "Convolution" bottom: "target"'
NO_BLOCKS = {
    "another source": block().replace('"point" type: "Convolution" bottom: "data"', POINT),
    "a maximum": block().replace('top: "sum" }', 'top: "sum" eltwise_param { operation: MAX } }'),
    "coefficients": block().replace('top: "sum" }', 'top: "sum" eltwise_param { coeff: 1 coeff: 1 coeff: 2 } }'),
    "a shared kernel": block().replace("param { lr_mult: 1 }", 'param { name: "k" share_mode: PERMISSIVE }', 1),
}


@pytest.mark.parametrize("text", NO_BLOCKS.values(), ids=NO_BLOCKS)
def test_nets_without_such_blocks(text, tmp_path):
    with pytest.raises(SchemaError, match=r"equivalent_kernel_decay: the net has no block of branches"):
        tiny(tmp_path, "equivalent_kernel_decay: true", net=text)


def test_what_cannot_go_with_it(tmp_path):
    with pytest.raises(SchemaError, match="expected L2 as regularization_type, got L1"):
        tiny(tmp_path, 'equivalent_kernel_decay: true regularization_type: "L1"', net=block())
    solver = tiny(tmp_path / "b", "equivalent_kernel_decay: true", net=block())
    several = Group()
    several.world = 2
    with pytest.raises(UnsupportedError, match="statistics of its own"):
        reparameterized_update(solver.parsed, solver.net, [], Options(), several)
