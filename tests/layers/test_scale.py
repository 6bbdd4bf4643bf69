"""Scale, Bias and PReLU beyond the recorded cases, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from caffecompat.errors import SchemaError, ShapeError
from tests.layers.single import single

SHAPE = (2, 3, 4, 5)


@pytest.mark.parametrize(
    ("axes", "blob"),
    [
        ("", (3,)),
        ("axis: 2", (4,)),
        ("axis: 1 num_axes: 2", (3, 4)),
        ("axis: -2 num_axes: -1", (4, 5)),
        ("num_axes: 0", ()),
    ],
)
def test_the_blob_has_the_axes_it_meets(axes, blob):
    scale = single("Scale", f"scale_param {{ {axes} bias_term: true }}", SHAPE)
    bias = single("Bias", f'bias_param {{ {axes} filler {{ type: "gaussian" }} }}', SHAPE)
    assert [tuple(b.shape) for b in (*scale.blobs, *bias.blobs)] == [blob] * 3
    assert scale.weight.eq(1).all()
    assert scale.bias.eq(0).all()
    x = torch.randn(SHAPE)
    assert torch.equal(scale(x), x)
    bias_only = bias(x) - x
    scale.give(1, bias.bias.detach())
    torch.testing.assert_close(scale(x), x + bias_only)


@pytest.mark.parametrize("type_", ["Scale", "Bias"])
@pytest.mark.parametrize(
    ("param", "shapes", "kind", "says"),
    [
        ("axis: 4", [SHAPE], ShapeError, "axis 4 is out of range"),
        ("num_axes: -2", [SHAPE], SchemaError, "num_axes must be at least -1"),
        ("axis: 2 num_axes: 3", [SHAPE], ShapeError, "3 axes from axis 2 on reach beyond"),
        ("", [SHAPE, (4,)], ShapeError, r"shape \(4,\) does not fit the bottom"),
        ("axis: 3", [SHAPE, (5, 2)], ShapeError, r"shape \(5, 2\) does not fit the bottom"),
    ],
)
def test_refused(type_, param, shapes, kind, says):
    with pytest.raises(kind, match=says) as error:
        single(type_, f"{type_.lower()}_param {{ {param} }}", *shapes)
    assert error.value.layer == "l"


def test_other_sizes_are_refused_where_the_blob_meets_them():
    layer = single("Scale", "", SHAPE)
    assert layer.shapes((1, 3, 9, 9)) == ((1, 3, 9, 9),)
    with pytest.raises(ShapeError, match="does not fit the bottom"):
        layer.shapes((1, 4, 4, 5))


def test_prelu():
    layer = single("PReLU", 'prelu_param { filler { type: "uniform" } }', SHAPE)
    x = torch.randn(SHAPE)
    torch.testing.assert_close(layer(x), x.clamp(min=0) + layer.weight.reshape(3, 1, 1) * x.clamp(max=0))
    assert single("PReLU", "", SHAPE).weight.tolist() == [0.25] * 3
    assert single("PReLU", "prelu_param { channel_shared: true }", SHAPE).weight.shape == ()
    with pytest.raises(ShapeError, match="expected 3 channels on axis 1"):
        layer.shapes((2, 4, 4, 5))
    with pytest.raises(ShapeError, match="at least 2 axes"):
        single("PReLU", "", (3,))
