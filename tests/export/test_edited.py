"""Nets that were changed in PyTorch, written for Caffe: what the files say is what the net computes."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import caffecompat
from caffecompat import CaffeCompatError
from caffecompat.errors import UnsupportedError, UsageError
from caffecompat.export import export
from tests.support import make_net

TEXT = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv1" type: "Convolution" bottom: "data" top: "conv1" param { lr_mult: 1 } param { lr_mult: 2 }
  convolution_param { num_output: 6 kernel_size: 3 pad: 1
    weight_filler { type: "xavier" } bias_filler { type: "constant" value: 0.1 } } }
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" }
layer { name: "dw" type: "Convolution" bottom: "conv1" top: "dw"
  convolution_param { num_output: 6 group: 6 kernel_size: 3 pad: 1 weight_filler { type: "xavier" } } }
layer { name: "bn" type: "BatchNorm" bottom: "dw" top: "bn" }
layer { name: "scale" type: "Scale" bottom: "bn" top: "scale" scale_param { bias_term: true } }
layer { name: "tanh" type: "TanH" bottom: "scale" top: "tanh" }
layer { name: "conv2" type: "Convolution" bottom: "tanh" top: "conv2"
  convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "drop" type: "Dropout" bottom: "conv2" top: "conv2" }
layer { name: "fc8" type: "InnerProduct" bottom: "conv2" top: "fc8" param { lr_mult: 1 } param { lr_mult: 2 }
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc8" top: "prob" }
"""
X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def net():
    torch.manual_seed(0)
    net = make_net(TEXT)
    bn = net.layer("bn")
    bn.mean.normal_(), bn.variance.uniform_(0.5, 1.5), bn.factor.fill_(1)
    return net


def reloaded(net, folder):
    """What the files hold, which has to compute what the net computes."""
    export(net, folder / "x.prototxt")
    export(net, folder / "x.caffemodel")
    loaded = caffecompat.load(folder / "x.prototxt", folder / "x.caffemodel")
    with torch.no_grad():
        torch.testing.assert_close(loaded(data=X)["prob"], net(data=X)["prob"])
    return loaded


def test_what_an_optimizer_changed_is_written(net, tmp_path):
    before = net.conv1.weight.detach().clone()
    optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
    net(data=X)["prob"][:, 0].sum().backward()
    optimizer.step()
    loaded = reloaded(net, tmp_path)
    assert torch.equal(loaded.conv1.weight, net.conv1.weight)
    assert not torch.equal(loaded.conv1.weight, before)


def test_what_load_state_dict_brought_is_written(net, tmp_path):
    other = {name: value + 0.01 for name, value in net.state_dict().items()}
    net.load_state_dict(other)
    assert torch.equal(reloaded(net, tmp_path).conv2.weight, other["conv2.weight"])


def test_another_classifier(net, tmp_path):
    fc = nn.Linear(4 * 64, 20)
    net.fc8 = fc
    assert net.fc8.weight is fc.weight  # so that an optimizer made before sees it
    assert net.state_dict()["fc8.weight"].shape == (20, 256)
    loaded = reloaded(net, tmp_path)
    message = loaded.layer("fc8").spec.message
    assert message.inner_product_param.num_output == 20
    assert message.inner_product_param.weight_filler.type == "xavier"
    assert [param.lr_mult for param in message.param] == [1, 2]
    assert loaded(data=X)["prob"].shape == (2, 20)


def test_it_is_trained_as_part_of_the_net(net, tmp_path):
    net.fc8 = nn.Linear(4 * 64, 3)
    net(data=X)["prob"][:, 1].sum().backward()
    assert net.fc8.weight.grad.abs().sum() > 0
    assert net.conv1.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "module", "type_"),
    [
        ("conv2", nn.Conv2d(6, 4, 3, padding=1, bias=False), "Convolution"),
        ("dw", nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=3), "Convolution"),
        ("conv2", nn.ConvTranspose2d(6, 4, 3, padding=1), "Deconvolution"),
        ("relu1", nn.PReLU(6), "PReLU"),
        ("relu1", nn.LeakyReLU(0.3), "ReLU"),
        ("tanh", nn.ELU(0.5), "ELU"),
        ("tanh", nn.ReLU6(), "Clip"),
        ("tanh", nn.SiLU(), "Swish"),
        ("drop", nn.Dropout(0.1), "Dropout"),
    ],
)
def test_other_layers(net, name, module, type_, tmp_path):
    setattr(net, name, copy.deepcopy(module).eval())
    assert reloaded(net, tmp_path).layer(name).spec.type == type_


@pytest.mark.parametrize("name", ["relu1", "tanh", "drop", "scale"])
def test_layers_that_go(net, name, tmp_path):
    setattr(net, name, nn.Identity())
    assert name not in [layer.spec.name for layer in reloaded(net, tmp_path).layers]


def test_a_layer_that_makes_an_output_leaves_its_name(net, tmp_path):
    net.prob = nn.Identity()
    loaded = reloaded(net, tmp_path)
    assert loaded.outputs == ["prob"]


def test_fewer_channels(net, tmp_path):
    keep = torch.tensor([0, 2, 3, 5])
    for layer in (net.conv1, net.dw):
        layer.weight = nn.Parameter(layer.weight[keep])
        layer.bias = nn.Parameter(layer.bias[keep])
    net.dw.group = 4  # what runs now; the file's comes from the weights
    for name in ("mean", "variance"):
        setattr(net.bn, name, getattr(net.bn, name)[keep])
    net.scale.weight, net.scale.bias = nn.Parameter(net.scale.weight[keep]), nn.Parameter(net.scale.bias[keep])
    net.conv2.weight = nn.Parameter(net.conv2.weight[:, keep])
    loaded = reloaded(net, tmp_path)
    params = [loaded.layer(name).spec.message.convolution_param for name in ("conv1", "dw")]
    assert [(param.num_output, param.group) for param in params] == [(4, 1), (4, 4)]


def test_biases_come_and_go(net, tmp_path):
    net.conv1.bias = None
    loaded = reloaded(net, tmp_path)
    assert not loaded.layer("conv1").spec.message.convolution_param.bias_term
    assert len(loaded.layer("conv1").spec.message.param) == 1
    net.conv1.bias = nn.Parameter(torch.arange(6.0))
    assert torch.equal(reloaded(net, tmp_path).conv1.bias, net.conv1.bias)


def test_masks_of_pruning_are_in_the_weights(net, tmp_path):
    prune.l1_unstructured(net.conv2, "weight", amount=0.5)
    assert int((reloaded(net, tmp_path).conv2.weight == 0).sum()) == 12


def test_layers_that_do_not_fit_any_more_are_named(net, tmp_path):
    net.conv2 = nn.Conv2d(6, 7, 1)
    with pytest.raises(CaffeCompatError, match=r'layer "fc8": expected shape \(5, 448\)') as raised:
        export(net, tmp_path / "x.prototxt")
    assert "change it to fit the layers before it" in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_other_exports_and_passes_see_the_change(net, tmp_path):
    net.fc8 = nn.Linear(4 * 64, 20)
    fused = caffecompat.fuse(net)
    torch.testing.assert_close(fused(data=X)["prob"], net(data=X)["prob"])
    export(net, tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("change", "kind", "words"),
    [
        (lambda net: setattr(net, "fc8", nn.Sequential(nn.Linear(256, 2))), UnsupportedError, "Sequential cannot be"),
        (lambda net: setattr(net, "data", nn.Identity()), UnsupportedError, "0 bottoms"),
        (lambda net: setattr(net, "conv2", nn.Conv2d(6, 4, 4, padding="same")), UnsupportedError, "padding 'same'"),
        (lambda net: net._modules.update(fc8=nn.Linear(256, 2)), UsageError, r"put it there by net\.fc8 ="),
        (lambda net: net.add_module("head", nn.Linear(5, 2)), UsageError, "'head' beside its layers"),
        (lambda net: setattr(net.tanh, "gain", nn.Parameter(torch.ones(1))), UsageError, "TanH has no parameter"),
        (lambda net: net.__delattr__("drop"), UsageError, r"net\.drop = torch\.nn\.Identity"),
    ],
)
def test_what_cannot_be_written_is_refused(net, change, kind, words, tmp_path):
    with pytest.raises(kind, match=words):  # noqa: PT012 - some changes are refused at once, some when written
        change(net)
        export(net, tmp_path / "x.prototxt")


def test_layers_are_no_list_to_be_changed(net):
    with pytest.raises(TypeError):
        net.layers[3] = nn.Linear(2, 3)


def test_shared_parameters_stay(net):
    shared = make_net(TEXT.replace('bottom: "data" top: "conv1" param { lr_mult: 1 }',
                                   'bottom: "data" top: "conv1" param { name: "w" }')
                      + 'layer { name: "conv3" type: "Convolution" bottom: "data" top: "conv3" param { name: "w" } '
                      "convolution_param { num_output: 6 kernel_size: 3 pad: 1 } }")  # fmt: skip
    with pytest.raises(UnsupportedError, match="shares parameters"):
        shared.conv1 = nn.Conv2d(3, 6, 3, padding=1)
