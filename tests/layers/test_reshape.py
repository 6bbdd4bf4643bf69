"""Reshape, Flatten, Permute, Tile: their rules of shape, what they refuse, and export with a batch of any size."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from caffecompat.errors import ShapeError
from tests.layers.single import single

BLOB = (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("body", "top"),
    [
        ("shape { dim: 0 dim: -1 }", (2, 60)),
        ("shape { dim: -1 }", (120,)),
        ("shape { dim: 0 dim: 0 dim: -1 }", (2, 3, 20)),
        ("shape { dim: -1 dim: 0 }", (40, 3)),
        ("shape { dim: 20 } axis: 2", (2, 3, 20)),
        ("shape { dim: 1 dim: 1 } axis: -1 num_axes: 0", (2, 3, 4, 5, 1, 1)),
        ("shape { dim: 1 } axis: 0 num_axes: 0", (1, 2, 3, 4, 5)),
        ("shape { dim: 6 } axis: 0 num_axes: 2", (6, 4, 5)),
        ("shape { dim: 0 dim: 2 dim: -1 } axis: 1 num_axes: 2", (2, 3, 2, 2, 5)),
        ("axis: 0 num_axes: 0", BLOB),
    ],
)
def test_reshape(body, top):
    layer = single("Reshape", f"reshape_param {{ {body} }}", BLOB)
    assert layer.shapes(BLOB) == (top,)
    x = torch.arange(120.0).reshape(BLOB)
    assert tuple(layer(x).shape) == top
    np.testing.assert_array_equal(layer(x).numpy().ravel(), x.numpy().ravel())


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("shape { dim: -1 dim: -1 }", "at most one dim may be -1, got shape { dim: -1 dim: -1 }"),
        ("shape { dim: -2 }", "got shape { dim: -2 }"),
        ("shape { dim: 7 dim: -1 }", "120 values of shape (2, 3, 4, 5) do not divide into shape { dim: 7 dim: -1 }"),
        ("shape { dim: 7 }", "120 values of shape (2, 3, 4, 5) do not fill shape (7,)"),
        ("shape { dim: 4 dim: 0 } axis: 4", "dim 0 at axis 5 has nothing to copy: the bottom has shape (2, 3, 4, 5)"),
        ("axis: 5", "axis 5 with num_axes -1 is out of range for a blob of 4 axes"),
        ("axis: -6", "axis -6 with num_axes -1 is out of range"),
        ("axis: 3 num_axes: 2", "axis 3 with num_axes 2 is out of range"),
        ("num_axes: -2", "num_axes must be -1 (all that follow) or a count, got -2"),
    ],
)
def test_reshape_refuses(body, message):
    with pytest.raises(ShapeError, match=re.escape(message)) as caught:
        single("Reshape", f"reshape_param {{ {body} }}", BLOB)
    assert caught.value.layer == "l"
    assert caught.value.line == 2


def test_reshape_of_no_values():
    assert single("Reshape", "reshape_param { shape { dim: 0 dim: 12 } }", (0, 3, 4)).shapes((0, 3, 4)) == ((0, 12),)
    with pytest.raises(ShapeError, match="do not divide"):
        single("Reshape", "reshape_param { shape { dim: 0 dim: -1 } }", (0, 3, 4))


@pytest.mark.parametrize(
    ("body", "top"),
    [
        ("", (2, 60)),
        ("axis: 0", (120,)),
        ("axis: 1 end_axis: 2", (2, 12, 5)),
        ("axis: -2 end_axis: -1", (2, 3, 20)),
        ("axis: 2 end_axis: 1", (2, 3, 1, 4, 5)),
        ("axis: 3", BLOB),
    ],
)
def test_flatten(body, top):
    layer = single("Flatten", f"flatten_param {{ {body} }}", BLOB)
    assert layer.shapes(BLOB) == (top,)
    assert tuple(layer(torch.zeros(BLOB)).shape) == top


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("axis: 3 end_axis: 1", "axis 3 comes after end_axis 1 in a blob of 4 axes"),
        ("axis: 4", "axis 4 is out of range for a blob of 4 axes"),
        ("end_axis: -5", "axis -5 is out of range"),
    ],
)
def test_flatten_refuses(body, message):
    with pytest.raises(ShapeError, match=message):
        single("Flatten", f"flatten_param {{ {body} }}", BLOB)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("order: 4", r"order: 4 is out of range for a blob of 4 axes, shape \(2, 3, 4, 5\)"),
        ("order: 4294967295", "order: 4294967295 is out of range"),
        ("order: 0 order: 2 order: 0", "order names axis 0 twice"),
    ],
)
def test_permute_refuses(body, message):
    with pytest.raises(ShapeError, match=message):
        single("Permute", f"permute_param {{ {body} }}", BLOB)


def test_permute_without_an_order_changes_nothing():
    layer = single("Permute", "", BLOB)
    assert layer.shapes(BLOB) == (BLOB,)
    x = torch.rand(BLOB)
    assert torch.equal(layer(x), x)


@pytest.mark.parametrize("body", ["", "tile_param { }", "tile_param { tiles: 0 }", "tile_param { tiles: -2 }"])
def test_tile_needs_a_number(body):
    with pytest.raises(ShapeError, match="tiles must be stated and positive, got (none|0|-2)"):
        single("Tile", body, BLOB)


def test_tile_refuses_what_no_blob_can_hold():
    with pytest.raises(ShapeError, match="axis 7 is out of range"):
        single("Tile", "tile_param { axis: 7 tiles: 2 }", BLOB)


class Chain(torch.nn.Module):
    """The layers that an SSD head is made of, one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.permute = single("Permute", "permute_param { order: 0 order: 2 order: 3 order: 1 }", (2, 6, 4, 5))
        self.flatten = single("Flatten", "", (2, 4, 5, 6))
        self.reshape = single("Reshape", "reshape_param { shape { dim: 0 dim: -1 dim: 3 } }", (2, 120))
        self.softmax = single("Softmax", "softmax_param { axis: 2 }", (2, 40, 3))
        self.slice = single("Slice", "slice_param { axis: 2 slice_point: 1 }", (2, 40, 3), tops=2)
        self.tile = single("Tile", "tile_param { axis: 2 tiles: 2 }", (2, 40, 1))
        self.eltwise = single("Eltwise", "eltwise_param { operation: MAX }", (2, 40, 2), (2, 40, 2))
        self.crop = single("Crop", "crop_param { axis: 1 offset: 3 offset: 0 }", (2, 40, 2), (2, 37, 1))
        self.concat = single("Concat", "concat_param { axis: -1 }", (2, 37, 1), (2, 37, 3))
        self.reduction = single("Reduction", "reduction_param { operation: MEAN axis: 2 }", (2, 37, 4))
        self.argmax = single("ArgMax", "argmax_param { out_max_val: true top_k: 2 }", (2, 37))

    def forward(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        probabilities = self.softmax(self.reshape(self.flatten(self.permute(x))))
        one, two = self.slice(probabilities)
        cut = self.crop(self.eltwise(self.tile(one), two), like)
        return self.argmax(self.reduction(self.concat(cut, probabilities[:, :37])))


def test_export_keeps_the_batch_open():
    """Layers of inference never fix a size of the bottom: one program serves every batch."""
    batch = torch.export.Dim("batch", min=1, max=64)
    chain = Chain()
    program = torch.export.export(
        chain,
        (torch.rand(3, 6, 4, 5), torch.rand(3, 37, 1)),
        dynamic_shapes={"x": {0: batch}, "like": {0: batch}},
    )
    for size in (1, 2, 7):
        x, like = torch.rand(size, 6, 4, 5), torch.rand(size, 37, 1)
        torch.testing.assert_close(program.module()(x, like), chain(x, like))
