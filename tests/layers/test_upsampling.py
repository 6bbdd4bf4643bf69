"""Interp, Upsample and MaxUnpool against loops from the definition, PyTorch and OpenCV."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from caffecompat.errors import GraphError, SchemaError, ShapeError, UsageError
from tests.layers.exported import check_export
from tests.layers.single import single
from tests.support import make_net


def values(*shape, seed=0):
    return torch.tensor(np.random.default_rng(seed).normal(size=shape))


def naive_interp(x, size, before=0, behind=0):
    """Each pixel of the top lies on the line between the corners of the (cropped) bottom."""
    x = x[:, :, before : x.shape[2] - behind, before : x.shape[3] - behind]
    top = np.zeros((*x.shape[:2], *size))
    for row in range(size[0]):
        for column in range(size[1]):
            y = row * (x.shape[2] - 1) / (size[0] - 1) if size[0] > 1 else 0.0
            at = column * (x.shape[3] - 1) / (size[1] - 1) if size[1] > 1 else 0.0
            r, c = min(int(y), x.shape[2] - 1), min(int(at), x.shape[3] - 1)
            below, right = min(r + 1, x.shape[2] - 1), min(c + 1, x.shape[3] - 1)
            upper = x[:, :, r, c] * (1 - (at - c)) + x[:, :, r, right] * (at - c)
            lower = x[:, :, below, c] * (1 - (at - c)) + x[:, :, below, right] * (at - c)
            top[:, :, row, column] = upper * (1 - (y - r)) + lower * (y - r)
    return top


@pytest.mark.parametrize(
    ("param", "size", "crop"),
    [
        ("height: 11 width: 4", (11, 4), (0, 0)),
        ("height: 1 width: 1", (1, 1), (0, 0)),
        ("height: 6 width: 8", (6, 8), (0, 0)),
        ("zoom_factor: 3", (16, 22), (0, 0)),
        ("zoom_factor: 1", (6, 8), (0, 0)),
        ("shrink_factor: 2", (3, 4), (0, 0)),
        ("shrink_factor: 2 zoom_factor: 3", (7, 10), (0, 0)),
        ("zoom_factor: 2 pad_beg: -1 pad_end: -2", (5, 9), (1, 2)),
        ("height: 5 width: 5 pad_beg: -1", (5, 5), (1, 0)),
        # Caffe: one factor alone goes before height and width, both factors after them.
        ("height: 3 width: 3 zoom_factor: 2", (11, 15), (0, 0)),
        ("height: 3 width: 3 zoom_factor: 2 shrink_factor: 2", (3, 3), (0, 0)),
    ],
)
def test_interp(param, size, crop):
    x = values(2, 3, 6, 8)
    layer = single("Interp", f"interp_param {{ {param} }}", tuple(x.shape))
    top = layer(x)
    assert layer.shapes(tuple(x.shape)) == (tuple(top.shape),) == ((2, 3, *size),)
    np.testing.assert_allclose(top.numpy(), naive_interp(x.numpy(), size, *crop), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("", "size is missing"),
        ("height: 3", "size is missing"),
        ("pad_beg: 1 zoom_factor: 2", "must be at most 0"),
        ("zoom_factor: 0", "at least 1"),
        ("shrink_factor: -1", "at least 1"),
    ],
)
def test_interp_refuses(param, message):
    with pytest.raises(SchemaError, match=message):
        single("Interp", f"interp_param {{ {param} }}", (1, 1, 4, 4))


def test_interp_refuses_shapes():
    with pytest.raises(ShapeError, match="leaves nothing"):
        single("Interp", "interp_param { zoom_factor: 2 pad_beg: -2 pad_end: -2 }", (1, 1, 4, 9))
    with pytest.raises(ShapeError, match="4 axes"):
        single("Interp", "interp_param { zoom_factor: 2 }", (1, 4))
    with pytest.raises(ShapeError, match="at least 1"):
        single("Interp", "interp_param { height: -3 width: 2 }", (1, 1, 4, 4))


@pytest.mark.parametrize(("param", "scale"), [("scale: 2", (2, 2)), ("scale_h: 3 scale_w: 1", (3, 1))])
def test_nearest(param, scale):
    x = values(2, 3, 4, 5)
    layer = single("Upsample", f"upsample_param {{ {param} }}", tuple(x.shape))
    top = layer(x)
    assert layer.shapes(tuple(x.shape)) == (tuple(top.shape),)
    expected = np.repeat(np.repeat(x.numpy(), scale[0], 2), scale[1], 3)
    np.testing.assert_array_equal(top.numpy(), expected)


@pytest.mark.parametrize(
    ("param", "message"),
    [
        ("", "scale is missing"),
        ("scale: 0", "at least 1"),
        ("scale_h: 2", "scale_h and scale_w"),
        ("scale: 2 scale_h: 2 scale_w: 2", "scale_h and scale_w"),
        ("scale: 2 upsample_h: 9", "need the mask"),
        ("scale: 2 pad_out_h: true", "need the mask"),
    ],
)
def test_nearest_refuses(param, message):
    with pytest.raises(SchemaError, match=message):
        single("Upsample", f"upsample_param {{ {param} }}", (1, 1, 4, 4))


def naive_unpool(x, mask, size):
    top = np.zeros((*x.shape[:2], size[0] * size[1]))
    for image in range(x.shape[0]):
        for channel in range(x.shape[1]):
            places = mask[image, channel].astype(int).ravel()
            for place, value in zip(places, x[image, channel].ravel(), strict=True):
                top[image, channel, place] = value
    return top.reshape(*x.shape[:2], *size)


@pytest.mark.parametrize(
    ("type_", "param", "bottom", "kernel"),
    [
        ("Upsample", "upsample_param { scale: 2 }", (8, 6), 2),
        ("Upsample", "", (8, 6), 2),
        ("Upsample", "upsample_param { scale_h: 2 scale_w: 3 }", (8, 6), (2, 3)),
        ("Upsample", "upsample_param { scale: 2 pad_out_h: true }", (7, 6), 2),
        ("Upsample", "upsample_param { upsample_h: 7 upsample_w: 5 }", (7, 5), 2),
        ("MaxUnpool", "pooling_param { kernel_size: 2 stride: 2 }", (8, 6), 2),
        ("MaxUnpool", "pooling_param { kernel_h: 2 kernel_w: 3 stride_h: 2 stride_w: 3 }", (8, 6), (2, 3)),
    ],
)
def test_unpooling(type_, param, bottom, kernel):
    x = values(2, 3, *bottom)
    pooled, places = functional.max_pool2d_with_indices(x, kernel, ceil_mode=True)
    mask = places.double()
    pooled = pooled * 3 + 1
    layer = single(type_, param, tuple(pooled.shape), tuple(mask.shape))
    top = layer(pooled, mask)
    assert layer.shapes(tuple(pooled.shape), tuple(mask.shape)) == (tuple(top.shape),) == ((2, 3, *bottom),)
    np.testing.assert_array_equal(top.numpy(), naive_unpool(pooled.numpy(), mask.numpy(), bottom))
    torch.testing.assert_close(top, functional.max_unpool2d(pooled, places, kernel, output_size=bottom))


def test_unpooling_with_overlap():
    """Windows that overlap find one greatest value twice: the last stays, and each gets the place's gradient."""
    x = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]], requires_grad=True)
    mask = torch.tensor([[[[4.0, 4.0], [4.0, 8.0]]]])
    layer = single("MaxUnpool", "pooling_param { kernel_size: 2 }", (1, 1, 2, 2), (1, 1, 2, 2))
    top = layer(x, mask)
    assert top.flatten().tolist() == [0, 0, 0, 0, 3, 0, 0, 0, 4]
    top.backward(torch.arange(9.0).view(1, 1, 3, 3))
    assert x.grad.flatten().tolist() == [4, 4, 4, 8]


def test_a_net_with_the_mask_of_its_pooling():
    net = make_net("""
        input: "x" input_shape { dim: 1 dim: 2 dim: 6 dim: 6 }
        layer { name: "p" type: "Pooling" bottom: "x" top: "p" top: "m" pooling_param { kernel_size: 2 stride: 2 } }
        layer { name: "u" type: "Upsample" bottom: "p" bottom: "m" top: "y" upsample_param { scale: 2 } }
    """)
    x = values(1, 2, 6, 6).float()
    pooled, places = functional.max_pool2d_with_indices(x, 2)
    torch.testing.assert_close(net(x=x)["y"], functional.max_unpool2d(pooled, places, 2))


@pytest.mark.parametrize("place", [-1.0, 16.0])
def test_a_mask_of_another_net(place):
    mask = torch.full((1, 1, 2, 2), place)
    layer = single("Upsample", "upsample_param { scale: 2 }", (1, 1, 2, 2), (1, 1, 2, 2))
    with pytest.raises(UsageError, match="the top 4 x 4 has 0 to 15"):
        layer(torch.ones(1, 1, 2, 2), mask)


@pytest.mark.parametrize(
    ("type_", "param", "message"),
    [
        ("Upsample", "upsample_param { scale: 1 }", "above 1"),
        ("Upsample", "upsample_param { upsample_h: 1 upsample_w: 4 }", "above 1"),
        ("Upsample", "upsample_param { scale: 3 pad_out_w: true }", "need a scale of 2"),
        ("MaxUnpool", "", "kernel and stride"),
        ("MaxUnpool", "pooling_param { kernel_size: 2 stride: 0 }", "kernel and stride"),
    ],
)
def test_unpooling_refuses(type_, param, message):
    with pytest.raises(SchemaError, match=message):
        single(type_, param, (1, 1, 2, 2), (1, 1, 2, 2))


def test_unpooling_refuses_shapes():
    with pytest.raises(ShapeError, match="shape of the first bottom"):
        single("Upsample", "", (1, 1, 2, 2), (1, 1, 2, 3))
    with pytest.raises(ShapeError, match="the top would have the size"):
        single("MaxUnpool", "pooling_param { kernel_size: 2 pad: 2 }", (1, 1, 2, 2), (1, 1, 2, 2))
    with pytest.raises(GraphError, match="expects 2 bottoms"):
        single("MaxUnpool", "pooling_param { kernel_size: 2 }", (1, 1, 2, 2))


MASK = torch.tensor([[[[0.0, 3.0], [9.0, 14.0]]]]).repeat(1, 2, 1, 1)


@pytest.mark.parametrize(
    ("type_", "param", "more"),
    [
        ("Interp", "interp_param { zoom_factor: 2 pad_beg: -1 }", ()),
        ("Interp", "interp_param { shrink_factor: 2 }", ()),
        ("Upsample", "upsample_param { scale: 2 }", ()),
        ("Upsample", "upsample_param { scale: 2 }", (MASK,)),
        ("MaxUnpool", "pooling_param { kernel_size: 2 stride: 2 }", (MASK,)),
    ],
)
def test_gradients_and_export(type_, param, more):
    size = (2, 2) if more else (4, 5)
    x = values(1, 2, *size).requires_grad_()
    layer = single(type_, param, tuple(x.shape), *(tuple(mask.shape) for mask in more))
    assert torch.autograd.gradcheck(lambda x: layer(x, *more), (x,))
    check_export(layer, *(bottom.detach().float().repeat(2, 1, 1, 1) for bottom in (x, *more)))
