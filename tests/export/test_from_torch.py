"""`caffecompat.from_torch`: the module itself says what is right."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import caffecompat
from caffecompat import CaffeCompatError, CaffeCompatWarning
from caffecompat.errors import UnsupportedError, UsageError
from caffecompat.export import export
from tests.export import torch_modules as modules
from tests.support import shared_file

# What BVLC's Caffe registers, of what could be written here.
BVLC = {
    "AbsVal",
    "BNLL",
    "BatchNorm",
    "Bias",
    "Clip",
    "Concat",
    "Convolution",
    "Deconvolution",
    "Dropout",
    "ELU",
    "Eltwise",
    "Exp",
    "Flatten",
    "InnerProduct",
    "Input",
    "LRN",
    "Log",
    "MVN",
    "PReLU",
    "Pooling",
    "Power",
    "ReLU",
    "Reduction",
    "Reshape",
    "Scale",
    "Sigmoid",
    "Silence",
    "Slice",
    "Softmax",
    "Swish",
    "TanH",
    "Tile",
}


def example(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def round_trip(net, folder):
    export(net, folder / "net.prototxt")
    export(net, folder / "net.caffemodel")
    return caffecompat.load(folder / "net.prototxt", folder / "net.caffemodel")


FAMILIES = {
    "vgg": (modules.Vgg, (2, 3, 28, 28)),
    "resnet18": (modules.ResNet, (1, 3, 64, 48)),
    "resnet50": (lambda: modules.ResNet(bottleneck=True), (2, 3, 32, 32)),
    "mobilenet_v1": (modules.mobile_v1, (2, 3, 32, 32)),
    "mobilenet_v2": (modules.MobileV2, (2, 3, 32, 30)),
    "googlenet": (modules.GoogLeNet, (2, 3, 64, 64)),
    "squeezenet": (modules.SqueezeNet, (2, 3, 40, 40)),
    "densenet": (modules.DenseNet, (2, 3, 32, 32)),
    "fcn": (modules.Fcn, (1, 3, 33, 40)),
}


def assert_named_by_paths(net) -> None:
    """Of the ResNet."""
    types = {layer.spec.name: layer.spec.type for layer in net.layers}
    assert types["layer1.0.conv1"] == "Convolution"
    assert types["layer2.0.downsample.1"] == "BatchNorm"
    assert types["layer2.0.downsample.1.scale"] == "Scale"
    assert types["layer1.1.add"] == "Eltwise"
    assert net.inputs == ["data"]
    assert net.outputs == ["fc"]
    assert net.graph.name == "ResNet"
    # Chains work in place, as in nets written by hand.
    assert net.layer("layer1.0.relu").spec.message.top == ["layer1.0.conv1"]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_families_come_back_from_their_files_equal(family, tmp_path):
    make, shape = FAMILIES[family]
    module, x = modules.trained(make()), example(*shape)
    made = caffecompat.from_torch(module, x)
    loaded = round_trip(made, tmp_path)
    with torch.no_grad():
        wanted, found = module(x), loaded(data=x)
    wanted = sorted(wanted.values() if isinstance(wanted, dict) else [wanted], key=lambda value: value.shape)
    found = sorted((found[name] for name in loaded.outputs), key=lambda value: value.shape)
    for right, ours in zip(wanted, found, strict=True):
        torch.testing.assert_close(ours, right, rtol=0, atol=1e-5 * float(right.abs().max()))
    assert {layer.type for layer in loaded.graph.message.layer} <= BVLC
    assert_bvlc_knows(loaded.graph.message)
    if family == "resnet18":
        assert_named_by_paths(made)


def assert_bvlc_knows(message) -> None:
    """Every field that is set is declared in BVLC's caffe.proto."""
    lines = shared_file("facts/caffe_schema.tsv").read_text().splitlines()
    rows = [line.split("\t") for line in lines]
    known = {(row[1], row[2]) for row in rows if row[0] == "field" and "bvlc" in row[-1].split(",")}
    waiting = [message]
    while waiting:
        one = waiting.pop()
        for field, value in one.ListFields():
            assert (one.DESCRIPTOR.name, field.name) in known
            if field.message_type is not None:
                waiting.extend([value] if hasattr(value, "ListFields") else value)


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function, **tensors) -> None:
        super().__init__()
        self.function = function
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor)

    def forward(self, x):
        return self.function(self, x)


def f(function, **tensors):
    return Function(function, **tensors)


CHANNELS = example(6, seed=2)
PICTURE = (2, 6, 9, 8)
OPERATIONS = {
    # name: the module, the example's shape, the types of its layers without the input
    "conv_groups": (nn.Conv2d(6, 4, (3, 2), (2, 1), (1, 0), (1, 2), groups=2), PICTURE, "Convolution"),
    "conv_same": (nn.Conv2d(6, 4, (4, 3), padding="same"), PICTURE, "Convolution"),
    "conv1d": (nn.Conv1d(6, 4, 3, padding=1), (2, 6, 9), "Convolution"),
    "conv3d": (nn.Conv3d(2, 3, 3, padding=1), (1, 2, 4, 5, 6), "Convolution"),
    "conv_padded_before": (nn.Sequential(nn.ZeroPad2d((2, 1, 0, 3)), nn.Conv2d(6, 4, 3, 2)), PICTURE, "Convolution"),
    "conv_padded_dilated": (
        nn.Sequential(nn.ZeroPad2d((0, 3, 2, 2)), nn.Conv2d(6, 4, 3, dilation=2, padding=1)), PICTURE, "Convolution"),
    "conv_reflected": (nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"), PICTURE,
                       "Convolution InnerProduct Convolution"),
    "zeros_alone": (f(lambda m, x: functional.pad(x, (0, 1, 2, 0)).relu()), PICTURE, "Convolution ReLU"),
    "deconv": (nn.ConvTranspose2d(6, 4, (4, 3), (2, 3), (1, 0), (1, 2), groups=2), PICTURE, "Deconvolution"),
    "deconv_dilated": (nn.ConvTranspose2d(6, 4, 3, 3, 1, (1, 2), dilation=2, bias=False), PICTURE, "Deconvolution"),
    "linear_of_a_sequence": (nn.Linear(8, 5, bias=False), (2, 3, 8), "InnerProduct"),
    "matmul": (f(lambda m, x: x @ m.w, w=example(8, 5)), (2, 3, 8), "InnerProduct"),
    "batch_norm_1d": (nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(5)), (3, 8), "InnerProduct BatchNorm Scale"),
    "batch_norm_plain": (nn.BatchNorm2d(6, affine=False), PICTURE, "BatchNorm"),
    "instance_norm": (nn.InstanceNorm2d(6, affine=True), PICTURE, None),
    "group_norm": (nn.GroupNorm(3, 6), PICTURE, None),
    "lrn": (nn.LocalResponseNorm(3, 0.2, 0.6, 2.0), PICTURE, "LRN"),
    "normalize": (f(lambda m, x: functional.normalize(x)), PICTURE, None),
    "normalize_vectors": (f(lambda m, x: functional.normalize(x, dim=1)), (3, 8), None),
    "neurons": (
        nn.Sequential(nn.LeakyReLU(0.2), nn.PReLU(6), nn.ELU(0.7), nn.Mish(), nn.PReLU(), nn.SELU(), nn.Hardswish()),
        PICTURE, "ReLU PReLU ELU BNLL TanH Eltwise PReLU ELU Power Power Clip Eltwise"),
    "more_neurons": (
        nn.Sequential(nn.SiLU(), nn.Hardsigmoid(), nn.ReLU6(), nn.Sigmoid(), nn.Tanh(), nn.Softplus(), nn.LogSigmoid()),
        PICTURE, "Swish Power Clip Clip Sigmoid TanH BNLL Power BNLL Power"),
    "clamp": (f(lambda m, x: x.clamp(min=-0.3)), PICTURE, "Clip"),
    "gelu_tanh": (nn.GELU("tanh"), PICTURE, None),
    "log_softmax": (nn.LogSoftmax(1), (3, 8), "Softmax Log"),
    "softmax_rows": (nn.Softmax(-1), PICTURE, "Softmax"),
    "max_pool_floor": (nn.MaxPool2d(3, 2, 1), (1, 2, 8, 10), "Pooling Slice Silence Slice Silence"),
    "max_pool_even": (nn.MaxPool2d(2), (1, 2, 8, 10), "Pooling"),
    "max_pool_ceil": (nn.MaxPool2d((3, 2), (2, 3), ceil_mode=True), (1, 2, 8, 10), None),
    "max_pool_gaps": (nn.MaxPool2d(1, 3, ceil_mode=True), (1, 2, 8, 9), None),
    "avg_pool_floor": (nn.AvgPool2d(3, 2, 1), (1, 2, 8, 9), None),
    "avg_pool_ceil": (nn.AvgPool2d(3, 2, 1, ceil_mode=True), (1, 2, 8, 10), None),
    "avg_pool_without_pads": (nn.AvgPool2d(3, 2, 1, count_include_pad=False), (1, 2, 7, 9), "Pooling Scale"),
    "avg_pool_divisor": (nn.AvgPool2d(2, divisor_override=3), (1, 2, 8, 8), "Pooling Scale"),
    "adaptive_avg": (nn.AdaptiveAvgPool2d((3, 4)), (1, 2, 9, 8), "Pooling"),
    "adaptive_avg_uneven": (nn.AdaptiveAvgPool2d((4, 3)), (1, 2, 9, 8), "Convolution InnerProduct"),
    "adaptive_max": (nn.AdaptiveMaxPool2d(1), PICTURE, "Pooling"),
    "mean_of_all_axes": (f(lambda m, x: x.mean((1, 2, 3))), PICTURE, "Reduction"),
    "mean_of_channels": (f(lambda m, x: x.mean(1, keepdim=True)), PICTURE, "Convolution"),
    "sum_of_pixels": (f(lambda m, x: x.sum((2, 3))), PICTURE, "Pooling Power Flatten"),
    "amax": (f(lambda m, x: x.amax((2, 3))), PICTURE, "Pooling Flatten"),
    "numbers": (f(lambda m, x: 3 - (2 * x + 1) / 4), PICTURE, None),
    "inverse": (f(lambda m, x: 2 / (x.abs() + 1)), PICTURE, None),
    "by_channel": (f(lambda m, x: (x - m.c[:, None, None]) * m.c.view(1, -1, 1, 1), c=CHANNELS), PICTURE, "Bias Scale"),
    "squeeze_excite": (f(lambda m, x: x * x.mean((2, 3), keepdim=True).sigmoid()), PICTURE,
                       "Pooling Sigmoid Flatten Scale"),
    "spatial_attention": (f(lambda m, x: x * x[:, 1:2].sigmoid()), PICTURE, None),
    "difference": (f(lambda m, x: torch.sub(x, x.relu(), alpha=2)), PICTURE, "ReLU Eltwise"),
    "minimum": (f(lambda m, x: torch.minimum(x, x.sigmoid())), PICTURE, None),
    "quotient": (f(lambda m, x: x / (x.square() + 1)), PICTURE, None),
    "chunks": (f(lambda m, x: torch.cat(x.chunk(3, 1)[::-1], 1)), PICTURE, "Slice Concat"),
    "part": (f(lambda m, x: x[:, 1:4, :-2]), PICTURE, None),
    "select": (f(lambda m, x: x[:, :, 2]), PICTURE, None),
    "stack": (f(lambda m, x: torch.stack([x, x.relu()], 2)), (2, 3, 4), None),
    "every_second": (f(lambda m, x: x[:, :, ::2, 1::3]), PICTURE, None),
    "glu": (nn.GLU(1), PICTURE, None),
    "reshape": (f(lambda m, x: x.view(2, 3, 16, 9) + 1), PICTURE, "Reshape Power"),
    "squeeze": (f(lambda m, x: x.unsqueeze(1).squeeze(3) * 2), (2, 5, 1), "Reshape Flatten Power"),
    "expand": (f(lambda m, x: x[:, :1].expand(-1, 4, -1, -1) + 0.5), PICTURE, None),
    "nearest": (nn.Upsample(scale_factor=(2, 3)), PICTURE, "Deconvolution"),
    "nearest_odd": (nn.Upsample((13, 11)), PICTURE, "Convolution InnerProduct"),
    "bilinear": (nn.Upsample(scale_factor=2, mode="bilinear"), PICTURE, "Convolution InnerProduct"),
    "bilinear_corners": (nn.Upsample((5, 17), mode="bilinear", align_corners=True), PICTURE,
                         "Convolution InnerProduct"),
    "pixel_shuffle": (nn.PixelShuffle(2), (2, 8, 3, 4), "Deconvolution"),
    "pixel_unshuffle": (nn.PixelUnshuffle(2), (2, 3, 4, 6), "Convolution"),
    "channel_shuffle": (f(lambda m, x: x.view(2, 2, 3, 9, 8).transpose(1, 2).contiguous().view(2, 6, 9, 8)), PICTURE,
                        "Convolution"),
    "flip": (f(lambda m, x: x.flip(3)), PICTURE, "InnerProduct"),
    "overwritten": (f(lambda m, x: (y := x * 2, y.relu_(), y + 1)[2]), PICTURE, "Power ReLU Power"),
}  # fmt: skip


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations(name):
    module, shape, types = OPERATIONS[name]
    net = caffecompat.from_torch(modules.trained(module), example(*shape))
    assert {layer.spec.type for layer in net.layers} <= BVLC
    if types is not None:
        assert [layer.spec.type for layer in net.layers[1:]] == types.split()
    other = example(*shape, seed=3)
    with torch.no_grad():
        (found,) = net(data=other).values()
        wanted = module(other)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5 * float(wanted.abs().max()))


def test_weights_that_are_computed_are_fixed():
    module = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)).eval()
    net = caffecompat.from_torch(module, example(1, 3, 5, 5))
    np.testing.assert_allclose(net.layers[1].weight.detach(), module.weight.detach(), rtol=1e-6)


def test_memory_is_not_shared():
    module = nn.Conv2d(3, 4, 3).eval()
    net = caffecompat.from_torch(module, example(1, 3, 5, 5))
    before = module.weight.detach().clone()
    with torch.no_grad():
        net.layers[1].weight.zero_()
    assert torch.equal(module.weight, before)


def test_a_module_that_is_called_twice_shares_its_parameters():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x):
            return self.conv(self.conv(x).relu())

    net = caffecompat.from_torch(Twice().eval(), example(1, 3, 4, 5))
    assert [param.name for param in net.layer("conv_2").spec.message.param] == ["conv.weight", "conv.bias"]
    assert net.layer("conv_2").weight is net.layer("conv").weight


def test_several_inputs_are_called_as_forward_calls_them():
    class Two(nn.Module):
        def forward(self, left, right):
            return left + right.relu(), left

    left, right = example(2, 3), example(2, 3, seed=5)
    net = caffecompat.from_torch(Two().eval(), (left, right))
    assert net.inputs == ["left", "right"]
    found = net(left=left, right=right)
    torch.testing.assert_close(found["add"], left + right.relu())
    torch.testing.assert_close(found["left.output"], left)
    assert caffecompat.from_torch(Two().eval(), {"right": right, "left": left}).inputs == ["left", "right"]


def test_an_output_that_is_read_inside_is_an_output_nevertheless():
    told = []
    module = f(lambda m, x: (x.relu(), x.relu().sigmoid() * 2))
    net = caffecompat.from_torch(module.eval(), example(2, 3), tell=told.append)
    assert len(net.outputs) == len(told) == 2


def test_dropout_stays_for_training():
    net = caffecompat.from_torch(nn.Sequential(nn.Linear(4, 3), nn.Dropout(0.3)).eval(), example(2, 4))
    assert net.layer("drop1").spec.message.dropout_param.dropout_ratio == pytest.approx(0.3)


def test_axes_in_another_order_need_a_fork():
    module = f(lambda m, x: x.permute(0, 2, 3, 1))
    with pytest.warns(CaffeCompatWarning, match=r"Permute \(the SSD branch\)"):
        net = caffecompat.from_torch(module.eval(), example(1, 2, 3, 4))
    assert [layer.spec.type for layer in net.layers] == ["Input", "Permute"]


class Inner(nn.Module):
    def forward(self, x):
        return torch.cumsum(x, 1)


@pytest.mark.parametrize(
    ("module", "shape", "words"),
    [
        (nn.Sequential(nn.ReLU(), nn.Sequential(Inner())), (2, 3), ["'1.0'", "cumsum", "test_from_torch.py:"]),
        (nn.GELU(), (2, 3), ["gelu", "error function", "approximate='tanh'"]),
        (nn.MaxPool2d(2, dilation=2), (1, 1, 6, 6), ["max_pool2d", "dilation"]),
        (nn.AdaptiveMaxPool2d(4), (1, 1, 6, 6), ["adaptive_max_pool2d", "one size"]),
        (nn.LocalResponseNorm(4), PICTURE, ["odd"]),
        (f(lambda m, x: x if x.sum() > 0 else -x), (2, 3), ["a branch depends on values", "test_from_torch.py:"]),
    ],
)  # fmt: skip
def test_what_caffe_lacks_is_named(module, shape, words, capfd, caplog):
    """And nothing else is said: torch would log, and print its graphs."""
    with pytest.raises(UnsupportedError) as raised:
        caffecompat.from_torch(module.eval(), example(*shape))
    for word in words:
        assert word in str(raised.value)
    assert "(unhinted" not in str(raised.value)
    assert [*capfd.readouterr()] == ["", ""]
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize(
    ("module", "given", "words"),
    [
        (nn.ReLU(), example(2, 3), "in training"),
        (nn.Linear(3, 2).double().eval(), example(2, 3), "float32"),
        (nn.ReLU().eval(), example(2, 3).long(), "float32"),
        (nn.ReLU().eval(), (), "no tensor"),
        (lambda x: x, example(2, 3), "torch.nn.Module"),
        (f(lambda m, x: torch.ones(2)).eval(), example(2, 3), "does not depend"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said(module, given, words):
    with pytest.raises(UsageError, match=words):
        caffecompat.from_torch(module, given)


def test_a_module_that_is_not_its_graph_is_refused():
    module = f(lambda m, x: x * (2 if torch.compiler.is_exporting() else 3))
    with pytest.raises(CaffeCompatError, match="the net is not the module: its output 'mul' differs by 3"):
        caffecompat.from_torch(module.eval(), example(2, 3))
