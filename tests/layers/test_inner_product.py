"""InnerProduct and Embed beyond the recorded cases, and what they refuse."""

from __future__ import annotations

import pytest
import torch

from caffecompat.errors import SchemaError, ShapeError
from tests.layers.single import single


@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_flattens_from_its_axis(axis):
    layer = single(
        "InnerProduct",
        f'inner_product_param {{ num_output: 3 axis: {axis} weight_filler {{ type: "xavier" }} }}',
        (2, 5, 4),
    )
    x = torch.randn(2, 5, 4)
    first = axis % 3
    expected = x.reshape(*x.shape[:first], -1) @ layer.weight.t()
    torch.testing.assert_close(layer(x), expected)
    assert layer.shapes((2, 5, 4)) == (tuple(expected.shape),)


def test_channels_last_images_flatten_in_caffes_order():
    layer = single(
        "InnerProduct", 'inner_product_param { num_output: 3 weight_filler { type: "xavier" } }', (2, 5, 4, 3)
    )
    x = torch.randn(2, 5, 4, 3)
    torch.testing.assert_close(layer(x.to(memory_format=torch.channels_last)), layer(x))


def test_another_size_is_refused_and_another_batch_is_not():
    layer = single("InnerProduct", "inner_product_param { num_output: 3 }", (2, 5, 4))
    assert layer.shapes((7, 4, 5)) == ((7, 3),)
    for shape in ((2, 5, 5), (20,)):
        with pytest.raises(ShapeError, match="expected 20 values from axis 1 on"):
            layer.shapes(shape)


@pytest.mark.parametrize(
    ("type_", "body", "kind", "says"),
    [
        ("InnerProduct", "", SchemaError, "num_output is missing"),
        ("InnerProduct", "inner_product_param { num_output: 2 axis: 3 }", ShapeError, "axis 3 is out of range"),
        ("InnerProduct", "inner_product_param { num_output: 2147483647 }", ShapeError, "at most 2147483647 values"),
        ("Embed", "embed_param { num_output: 2 }", SchemaError, "num_output and input_dim"),
        ("Embed", "embed_param { input_dim: 2 }", SchemaError, "num_output and input_dim"),
    ],
)
def test_refused(type_, body, kind, says):
    with pytest.raises(kind, match=says) as error:
        single(type_, body, (2, 5, 4))
    assert error.value.layer == "l"


def test_embed_takes_numbers_of_any_dtype():
    layer = single("Embed", 'embed_param { num_output: 3 input_dim: 6 weight_filler { type: "xavier" } }', (2, 4))
    numbers = torch.tensor([[0, 5, 3], [1, 1, 2]])
    assert torch.equal(layer(numbers), layer.weight[numbers])
    assert torch.equal(layer(numbers.float()), layer.weight[numbers])
    assert layer.shapes((2, 3)) == ((2, 3, 3),)
