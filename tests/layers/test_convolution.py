"""Convolution, Deconvolution and Im2col beyond the recorded cases, and what they refuse."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch.nn import functional

from caffecompat.errors import SchemaError, ShapeError, UnsupportedError
from tests.layers.exported import check_export
from tests.layers.single import single


def conv(body, *shapes, type_="Convolution", **options):
    filler = 'weight_filler { type: "gaussian" } bias_filler { type: "gaussian" }'
    torch.manual_seed(0)
    return single(type_, f"convolution_param {{ {filler} {body} }}", *shapes, **options)


def im2col(body, shape):
    return single("Im2col", f"convolution_param {{ {body} }}", shape)


@pytest.mark.parametrize(
    ("shape", "body", "weight"),
    [
        ((2, 3, 7), "kernel_size: 3 stride: 2 pad: 1", (4, 3, 3)),
        ((2, 3, 5, 6), "kernel_size: 3 kernel_size: 2 stride: 2 stride: 1 pad: 0 pad: 1", (4, 3, 3, 2)),
        ((2, 3, 5, 6, 4), "kernel_size: 3 dilation: 1 dilation: 2 dilation: 1 pad: 2", (4, 3, 3, 3, 3)),
        ((2, 4, 5, 6), "kernel_size: 3 group: 2 force_nd_im2col: true engine: CAFFE", (4, 2, 3, 3)),
    ],
)
def test_a_convolution_is_the_weights_times_im2col(shape, body, weight):
    layer, x = conv(f"num_output: 4 {body}", shape), torch.randn(shape)
    assert tuple(layer.weight.shape) == weight
    columns = im2col(body, shape)(x)
    group = shape[1] // weight[1]
    rows = columns.reshape(shape[0], group, -1, columns[0, 0].numel())
    top = torch.matmul(layer.weight.reshape(group, 4 // group, -1), rows).reshape(shape[0], 4, *columns.shape[2:])
    top = top + layer.bias.reshape(1, 4, *[1] * (len(shape) - 2))
    torch.testing.assert_close(layer(x), top)
    assert layer.shapes(shape) == (tuple(top.shape),)
    assert im2col(body, shape).shapes(shape) == (tuple(columns.shape),)


@pytest.mark.parametrize("type_", ["Convolution", "Deconvolution"])
@pytest.mark.parametrize("axis", [0, 2, 3])
def test_the_channels_on_another_axis(type_, axis):
    """The axes before the channels are so many images."""
    shape = (2, 3, 4, 6, 5)[3 - axis :] if axis < 3 else (2, 3, 2, 4, 6)
    layer, x = conv(f"num_output: 2 kernel_size: 3 axis: {axis}", shape, type_=type_), torch.randn(shape)
    plain = conv("num_output: 2 kernel_size: 3", (1, *shape[axis:]), type_=type_)
    assert torch.equal(layer.weight, plain.weight)
    expected = plain(x.reshape(-1, *shape[axis:]))
    torch.testing.assert_close(layer(x), expected.reshape(*shape[:axis], *expected.shape[1:]))
    assert layer.shapes(shape) == (tuple(layer(x).shape),)


def test_a_deconvolution_is_the_gradient_of_a_convolution():
    body = "kernel_h: 4 kernel_w: 3 stride_h: 2 stride_w: 3 pad_h: 1 pad_w: 0 bias_term: false group: 2"
    deconvolution = conv(f"num_output: 6 {body}", (2, 4, 5, 3), type_="Deconvolution")
    x = torch.randn(2, 4, 5, 3)
    top = deconvolution(x)
    assert tuple(deconvolution.weight.shape) == (4, 3, 4, 3)
    assert deconvolution.shapes((2, 4, 5, 3)) == (tuple(top.shape),)
    convolution = conv(f"num_output: 4 {body}", tuple(top.shape))
    convolution.give(0, deconvolution.weight.detach())
    image = torch.zeros_like(top, requires_grad=True)
    (gradient,) = torch.autograd.grad(convolution(image), image, x)
    torch.testing.assert_close(top, gradient)


def test_several_bottoms_share_the_weights():
    layer = conv("num_output: 3 kernel_size: 2", (1, 2, 4, 4), (1, 2, 4, 4), tops=2)
    assert layer.blob_names == ["weight", "bias"]
    x, y = torch.randn(2, 1, 2, 4, 4)
    for top, alone in zip(layer(x, y), (layer(x), layer(y)), strict=True):
        assert torch.equal(top, alone)
    with pytest.raises(ShapeError, match="same shape"):
        conv("num_output: 3 kernel_size: 2", (1, 2, 4, 4), (1, 2, 4, 5), tops=2)


def test_without_a_bias():
    layer = conv("num_output: 3 kernel_size: 2 bias_term: false", (1, 2, 4, 4))
    assert layer.blob_names == ["weight"]
    assert list(layer.state_dict()) == ["weight"]


def test_another_size_of_image_is_fine_and_other_channels_are_not():
    layer = conv("num_output: 3 kernel_size: 2", (1, 2, 4, 4))
    assert layer.shapes((5, 2, 9, 7)) == ((5, 3, 8, 6),)
    with pytest.raises(ShapeError, match="4 axes with 2 channels on axis 1"):
        layer.shapes((1, 3, 4, 4))
    with pytest.raises(ShapeError, match="4 axes with 2 channels on axis 1"):
        layer.shapes((1, 2, 4))


@pytest.mark.parametrize(
    ("body", "kind", "says"),
    [
        ("kernel_size: 3", SchemaError, "num_output is missing"),
        ("num_output: 2", SchemaError, "kernel_size is missing"),
        ("num_output: 2 kernel_size: 0", SchemaError, "kernel_size must be at least 1"),
        ("num_output: 2 kernel_h: 3", SchemaError, "kernel_size must be at least 1, got 3, 0"),
        ("num_output: 2 kernel_size: 3 kernel_h: 3 kernel_w: 3", SchemaError, "both kernel_size and kernel_h"),
        ("num_output: 2 kernel_size: 3 stride: 1 stride_h: 3", SchemaError, "both stride and stride_h"),
        ("num_output: 2 kernel_size: 3 kernel_size: 3 kernel_size: 3", SchemaError, "stated 3 times for 2 spatial"),
        ("num_output: 2 kernel_size: 3 stride: 0", SchemaError, "stride must be at least 1"),
        ("num_output: 2 kernel_size: 3 dilation: 0", SchemaError, "dilation must be at least 1"),
        ("num_output: 3 kernel_size: 3 group: 2", ShapeError, "group 2 does not divide the 4 channels"),
        ("num_output: 3 kernel_size: 3 group: 3", ShapeError, "group 3 does not divide the 4 channels"),
        ("num_output: 2 kernel_size: 3 group: 0", ShapeError, "group 0"),
        ("num_output: 2 kernel_size: 3 dilation: 3", ShapeError, "does not fit the bottom"),
        ("num_output: 2 kernel_h: 3 kernel_w: 3 axis: 0", SchemaError, "kernel_h needs 2 spatial axes"),
        ("num_output: 2 kernel_size: 3 axis: 4", ShapeError, "axis 4 is out of range"),
        ("num_output: 2 kernel_size: 3 axis: 3", UnsupportedError, "over 0 spatial axes"),
        ("num_output: 4294967295 kernel_size: 3", ShapeError, "at most 2147483647 values"),
    ],
)
def test_refused(body, kind, says):
    with pytest.raises(kind, match=says) as error:
        conv(body, (1, 4, 5, 6))
    assert error.value.layer == "l"


def test_refuses_four_spatial_axes_and_a_deconvolution_of_nothing():
    with pytest.raises(UnsupportedError, match="over 4 spatial axes"):
        conv("num_output: 2 kernel_size: 1", (1, 2, 3, 3, 3, 3))
    with pytest.raises(ShapeError, match="leaves nothing of the top"):
        conv("num_output: 2 kernel_size: 1 pad: 2", (1, 2, 3, 3), type_="Deconvolution")


DEPTHWISE = ("DepthwiseConvolution", "ConvolutionDepthwise")


@pytest.mark.parametrize("type_", DEPTHWISE)
@pytest.mark.parametrize("body", ["num_output: 3", "num_output: 3 group: 3", ""])
def test_a_depthwise_convolution_has_a_filter_for_each_channel(type_, body):
    layer = conv(f"{body} kernel_size: 3 pad: 1 stride: 2", (2, 3, 5, 6), type_=type_)
    x = torch.randn(2, 3, 5, 6)
    assert tuple(layer.weight.shape) == (3, 1, 3, 3)
    assert layer.shapes((2, 3, 5, 6)) == ((2, 3, 3, 3),)
    padded, expected = functional.pad(x, (1, 1, 1, 1)), torch.zeros(2, 3, 3, 3)
    for channel, row, column in itertools.product(range(3), range(3), range(3)):
        window = padded[:, channel, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
        expected[:, channel, row, column] = (window * layer.weight[channel, 0]).sum((1, 2)) + layer.bias[channel]
    torch.testing.assert_close(layer(x), expected.detach(), check_stride=False, rtol=1e-5, atol=1e-5)
    check_export(layer, x)


def test_a_depthwise_convolution_of_several_filters_a_channel():
    layer = conv("num_output: 6 kernel_size: 3", (1, 3, 5, 6), type_="DepthwiseConvolution").double()
    x = torch.randn(1, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(layer(x), functional.conv2d(x, layer.weight, layer.bias, groups=3))
    assert torch.autograd.gradcheck(lambda x, *_: layer(x), (x, layer.weight, layer.bias))


@pytest.mark.parametrize("type_", DEPTHWISE)
def test_a_depthwise_convolution_refuses(type_):
    with pytest.raises(ShapeError, match="of 4 channels has as many groups, got group 2"):
        conv("num_output: 4 kernel_size: 3 group: 2", (1, 4, 5, 5), type_=type_)
    with pytest.raises(ShapeError, match="num_output 6"):
        conv("num_output: 6 kernel_size: 3", (1, 4, 5, 5), type_=type_)


@pytest.mark.parametrize(
    ("hole", "dilation"), [("hole: 2", (2, 2)), ("hole_h: 2 hole_w: 3", (2, 3)), ("hole_w: 2", (1, 2))]
)
def test_holes_are_dilation(hole, dilation):
    layer, x = conv(f"num_output: 2 kernel_size: 3 {hole}", (1, 3, 8, 9)), torch.randn(1, 3, 8, 9)
    expected = functional.conv2d(x, layer.weight, layer.bias, dilation=dilation)
    torch.testing.assert_close(layer(x), expected)
    assert layer.shapes((1, 3, 8, 9)) == (tuple(expected.shape),)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("hole: 2 dilation: 2", "both dilation and hole"),
        ("hole_h: 2 dilation: 1", "both dilation and hole_h"),
        ("hole: 2 hole_h: 2", "both hole and hole_h"),
        ("hole: 0", "hole must be at least 1"),
    ],
)
def test_holes_that_are_refused(body, message):
    with pytest.raises(SchemaError, match=message):
        conv(f"num_output: 2 kernel_size: 3 {body}", (1, 3, 8, 9))


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("body", ["", "group: 3", "stride: 3 stride: 2", "pad: 1"])
def test_few_channels_whose_places_are_skipped(body, memory):
    """The gradients of a convolution of 1x1 are those of products, in double precision; it says which places it skips.

    oneDNN alone writes beyond its memory here (see `layers/convolution.py`): the process may end.
    """
    stride = "" if "stride" in body else "stride: 2"
    layer = conv(f"num_output: 6 kernel_size: 1 {stride} {body}", (2, 3, 9, 8))
    layer.memory_format = memory
    x = torch.randn(2, 3, 9, 8).contiguous(memory_format=memory).requires_grad_()
    y = layer(x)
    grad = torch.randn_like(y)
    found = torch.autograd.grad(y, (x, layer.weight), grad)
    double = x.detach().double().requires_grad_()
    weight = layer.weight.detach().double().requires_grad_()
    padded = functional.pad(double, (1,) * 4) if "pad" in body else double
    steps = (3, 2) if "stride" in body else (2, 2)
    taken = padded[:, :, :: steps[0], :: steps[1]]
    group = 3 if "group" in body else 1
    parts = zip(taken.chunk(group, 1), weight[:, :, 0, 0].chunk(group), strict=True)
    expected = torch.cat([torch.einsum("nchw,oc->nohw", *part) for part in parts], 1)
    torch.testing.assert_close(y, (expected + layer.bias.double()[:, None, None]).float())
    for own, wanted in zip(found, torch.autograd.grad(expected, (double, weight), grad.double()), strict=True):
        torch.testing.assert_close(own, wanted.float())
