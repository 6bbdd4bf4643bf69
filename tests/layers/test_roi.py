"""ROIPooling and PSROIPooling against loops from the definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from caffecompat.errors import CaffeCompatError, SchemaError, ShapeError
from caffecompat.export import export
from tests.layers.single import single
from tests.support import make_net

FLT_MAX = float(np.finfo(np.float32).max)


def c_round(value):
    return math.floor(abs(value) + 0.5) * (1 if value >= 0 else -1)


def naive_max(x, rois, pooled_h, pooled_w, scale, pad_ratio=0.0):
    """The greatest value of each bin, and the gradient of their sum weighed by 1, 2, 3, ..."""
    _, channels, height, width = x.shape
    top = np.zeros((len(rois), channels, pooled_h, pooled_w))
    grad, weight = np.zeros_like(x), 0
    for n, (image, x1, y1, x2, y2) in enumerate(rois):
        pad_w, pad_h = (x2 - x1 + 1) * pad_ratio, (y2 - y1 + 1) * pad_ratio
        left, up = c_round((x1 - pad_w) * scale), c_round((y1 - pad_h) * scale)
        right, down = c_round((x2 + pad_w) * scale), c_round((y2 + pad_h) * scale)
        bin_h, bin_w = max(down - up + 1, 1) / pooled_h, max(right - left + 1, 1) / pooled_w
        for c in range(channels):
            for p in range(pooled_h):
                for q in range(pooled_w):
                    weight += 1
                    rows = range(max(math.floor(p * bin_h) + up, 0), min(math.ceil((p + 1) * bin_h) + up, height))
                    columns = range(max(math.floor(q * bin_w) + left, 0), min(math.ceil((q + 1) * bin_w) + left, width))
                    if not rows or not columns:
                        continue
                    best, place = -FLT_MAX, None
                    for row in rows:
                        for column in columns:
                            if x[int(image), c, row, column] > best:
                                best, place = x[int(image), c, row, column], (row, column)
                    top[n, c, p, q] = best
                    if place:
                        grad[(int(image), c, *place)] += weight
    return top, grad


def regions(count=40, images=2, size=100, seed=0):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-20, size + 20, (count, 2, 2))
    rois = np.concatenate([corners.min(1), corners.max(1)], 1)
    rois[:5] = rois[:5, [2, 3, 0, 1]]  # malformed: 1 x 1
    rois[5:10] = np.round(rois[5:10] / 4) * 4 + 2  # halves, once scaled
    rois[10] += 1000  # beyond the picture
    return np.concatenate([rng.integers(0, images, (count, 1)), rois], 1)


@pytest.mark.parametrize("pad_ratio", [0.0, 0.25])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize(("pooled_h", "pooled_w", "scale"), [(3, 4, 0.25), (7, 7, 0.0625), (1, 2, 0.25), (6, 6, 1.0)])
def test_greatest_values_and_where_gradients_go(pooled_h, pooled_w, scale, ties, pad_ratio):
    rng = np.random.default_rng(1)
    x = rng.integers(0, 3, (2, 3, 23, 26)).astype(float) if ties else rng.normal(size=(2, 3, 23, 26))
    rois = regions()
    wanted, wanted_grad = naive_max(x, rois, pooled_h, pooled_w, scale, pad_ratio)
    body = f"roi_pooling_param {{ pooled_h: {pooled_h} pooled_w: {pooled_w} spatial_scale: {scale} "
    layer = single("ROIPooling", body + f"pad_ratio: {pad_ratio} }}", x.shape, rois.shape)
    bottom = torch.tensor(x, requires_grad=True)
    top = layer(bottom, torch.tensor(rois))
    assert layer.shapes(x.shape, rois.shape) == (tuple(top.shape),)
    np.testing.assert_array_equal(top.detach().numpy(), wanted)
    top.backward(torch.arange(1, top.numel() + 1, dtype=top.dtype).view(top.shape))
    np.testing.assert_array_equal(bottom.grad.numpy(), wanted_grad)


def test_nan_is_never_the_greatest():
    x = torch.tensor([[[[math.nan, 1.0], [2.0, math.nan]], [[math.nan, math.nan], [math.nan, math.nan]]]])
    layer = single("ROIPooling", "roi_pooling_param { pooled_h: 1 pooled_w: 1 }", x.shape, (1, 5))
    top = layer(x.requires_grad_(), torch.tensor([[0.0, 0, 0, 1, 1]]))
    assert top.flatten().tolist() == [2.0, -FLT_MAX]
    top.sum().backward()
    assert x.grad.flatten().tolist() == [0, 0, 1, 0, 0, 0, 0, 0]


def naive_average(x, rois, outputs, group, scale):
    _, _, height, width = x.shape
    top = np.zeros((len(rois), outputs, group, group))
    for n, (image, *corners) in enumerate(rois):
        x1, y1, x2, y2 = map(c_round, corners)
        left, up, right, down = x1 * scale, y1 * scale, (x2 + 1) * scale, (y2 + 1) * scale
        bin_h, bin_w = max(down - up, 0.1) / group, max(right - left, 0.1) / group
        for d in range(outputs):
            for p in range(group):
                for q in range(group):
                    rows = range(max(math.floor(p * bin_h + up), 0), min(math.ceil((p + 1) * bin_h + up), height))
                    columns = range(max(math.floor(q * bin_w + left), 0), min(math.ceil((q + 1) * bin_w + left), width))
                    values = [x[int(image), (d * group + p) * group + q, r, c] for r in rows for c in columns]
                    top[n, d, p, q] = sum(values) / len(values) if values else 0
    return top


@pytest.mark.parametrize(("outputs", "group", "scale"), [(2, 3, 0.25), (3, 1, 0.0625), (1, 7, 0.25)])
def test_means_of_the_bins_own_channels(outputs, group, scale):
    x = np.random.default_rng(2).normal(size=(2, outputs * group * group, 22, 25))
    rois = regions(seed=3)
    body = f"psroi_pooling_param {{ spatial_scale: {scale} output_dim: {outputs} group_size: {group} }}"
    layer = single("PSROIPooling", body, x.shape, rois.shape)
    top = layer(torch.tensor(x), torch.tensor(rois))
    assert layer.shapes(x.shape, rois.shape) == (tuple(top.shape),)
    np.testing.assert_allclose(top.numpy(), naive_average(x, rois, outputs, group, scale), rtol=1e-12, atol=1e-12)


POOLINGS = [
    ("ROIPooling", "roi_pooling_param { pooled_h: 2 pooled_w: 2 spatial_scale: 0.5 }"),
    ("PSROIPooling", "psroi_pooling_param { spatial_scale: 0.5 output_dim: 1 group_size: 2 }"),
]


@pytest.mark.parametrize(("type_", "body"), POOLINGS)
def test_gradients(type_, body):
    torch.manual_seed(0)
    x = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor([[0.0, 0, 0, 7, 9], [1, 2, 3, 11, 8], [1, 50, 50, 60, 60]], dtype=torch.float64)
    layer = single(type_, body, x.shape, rois.shape)
    assert torch.autograd.gradcheck(lambda x: layer(x, rois), (x,))


@pytest.mark.parametrize(("type_", "body"), POOLINGS)
def test_no_regions_and_regions_of_any_value(type_, body):
    x = torch.randn(2, 4, 5, 6)
    layer = single(type_, body, x.shape, (1, 5, 1, 1))
    assert layer(x, torch.zeros(0, 5)).shape == (0, *layer.shapes(tuple(x.shape), (1, 5))[0][1:])
    odd = torch.tensor([[0, math.nan, math.inf, -math.inf, 1e30], [1, -1e30, -1e30, 1e30, 1e30], [0, 4, 4, 2, 2]])
    assert layer(x, odd.view(3, 5, 1, 1)).isfinite().all()
    with pytest.raises(CaffeCompatError, match=r"a region is of image 2; the features are of images 0\.\.1"):
        layer(x, torch.tensor([[2.0, 0, 0, 1, 1]]))
    with pytest.raises(CaffeCompatError, match="a region is of image nan"):
        layer(x, torch.tensor([[math.nan, 0, 0, 1, 1]]))


@pytest.mark.parametrize(("type_", "body"), POOLINGS)
def test_half_precision(type_, body):
    torch.manual_seed(1)
    x, rois = torch.randn(2, 4, 5, 6), torch.tensor([[1.0, 0, 0, 9, 9]])
    layer = single(type_, body, x.shape, rois.shape)
    half = layer(x.bfloat16(), rois)
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), layer(x, rois), rtol=0.02, atol=0.02)


@pytest.mark.parametrize(
    ("type_", "body", "shapes", "kind", "message"),
    [
        (
            "ROIPooling",
            "",
            [(1, 4, 5, 6), (1, 5)],
            SchemaError,
            "pooled_h and pooled_w must be at least 1, got 0 and 0",
        ),
        ("ROIPooling", POOLINGS[0][1], [(1, 4, 5), (1, 5)], ShapeError, r"features of shape \(N, C, H, W\)"),
        ("ROIPooling", POOLINGS[0][1], [(1, 4, 5, 6), (1, 4)], ShapeError, r"regions of shape \(R, 5\), got \(1, 4\)"),
        ("PSROIPooling", POOLINGS[1][1], [(1, 5, 5, 6), (1, 5)], ShapeError, "expected 4 channels"),
        (
            "PSROIPooling",
            "psroi_pooling_param { spatial_scale: 1 output_dim: 0 group_size: 2 }",
            [(1, 4, 5, 6), (1, 5)],
            SchemaError,
            "at least 1, got 0 and 2",
        ),
        (
            "PSROIPooling",
            "psroi_pooling_param { spatial_scale: nan output_dim: 1 group_size: 2 }",
            [(1, 4, 5, 6), (1, 5)],
            SchemaError,
            "finite",
        ),
    ],
)
def test_refuses(type_, body, shapes, kind, message):
    with pytest.raises(kind, match=message):
        single(type_, body, *shapes)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fixes the number of images")
@pytest.mark.parametrize(("type_", "body"), POOLINGS)
def test_an_exported_program_pools_the_same(type_, body, tmp_path):
    net = make_net(
        'input: "f" input_shape { dim: 2 dim: 4 dim: 9 dim: 10 } input: "r" input_shape { dim: 40 dim: 5 } '
        f'layer {{ name: "pool" type: "{type_}" bottom: "f" bottom: "r" top: "y" {body} }}'
    )
    export(net, tmp_path / "net.pt2")
    program = torch.export.load(tmp_path / "net.pt2").module()
    torch.manual_seed(0)
    features, rois = torch.randn(2, 4, 9, 10), torch.tensor(regions(size=20)).float()
    top = program(f=features, r=rois)
    torch.testing.assert_close(top["y"] if isinstance(top, dict) else top, net(f=features, r=rois)["y"])
