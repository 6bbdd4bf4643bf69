"""Layer and its registry."""

from __future__ import annotations

import pytest
import torch

from caffecompat.errors import SchemaError, ShapeError
from caffecompat.layers import Layer, build, layer, registered
from caffecompat.schema import LAYER_TYPES
from tests.layers.single import single
from tests.support import make_net


class Doubled(Layer):
    """A layer as a plug-in may write it: without shapes, with a parameter."""

    def __init__(self, spec, bottoms):
        super().__init__(spec, bottoms)
        self.declare("weight", bottoms[0][1:], 2.0)

    def forward(self, x):
        return x * self.weight, x.sum(1)


def test_shapes_of_a_layer_that_does_not_say_them():
    spec = single("ReLU", "", (2, 3, 4)).spec
    doubled = Doubled(spec, [(2, 3, 4)])
    assert doubled.shapes((5, 3, 4)) == ((5, 3, 4), (5, 4))
    doubled.fill()
    assert doubled.shapes((5, 3, 4)) == ((5, 3, 4), (5, 4))
    assert doubled(torch.ones(1, 3, 4))[0].eq(2).all()


def test_parameters_have_no_memory_until_filled():
    spec = single("InnerProduct", "inner_product_param { num_output: 30000 }", (1, 3)).spec
    huge = build(spec, [(1, 70_000)])
    assert huge.weight.is_meta
    assert huge.weight.shape == (30_000, 70_000)
    small = build(spec, [(1, 3)])
    assert small.fill() == ["weight", "bias"]
    assert not small.weight.is_meta
    assert small.fill() == []


def test_lr_mult_0_needs_no_gradient_and_keeps_its_slot():
    ip = single("InnerProduct", "param { lr_mult: 0 } inner_product_param { num_output: 2 }", (1, 3))
    assert [blob.requires_grad for blob in ip.blobs] == [False, True]


def test_what_a_layer_holds_is_what_a_module_holds():
    ip = single("InnerProduct", "inner_product_param { num_output: 2 }", (1, 3))
    assert [name for name, _ in ip.named_parameters()] == ["weight", "bias"]
    assert ip.double().weight.dtype == torch.float64
    ip.weight = torch.nn.Parameter(torch.ones(2, 3))
    assert ip.state_dict()["weight"].eq(1).all()
    ip.child = torch.nn.Linear(1, 1)
    assert "child.weight" in ip.state_dict()


@pytest.mark.parametrize(("axis", "index"), [(0, 0), (2, 2), (-1, 2), (-3, 0)])
def test_axes_count_from_either_end(axis, index):
    assert single("ReLU", "", (2, 3)).axis(axis, 3) == index


@pytest.mark.parametrize("axis", [3, -4, 2**31])
def test_axes_out_of_range_are_refused(axis):
    with pytest.raises(ShapeError, match=f"axis {axis} is out of range for a blob of 3 axes"):
        single("ReLU", "", (2, 3)).axis(axis, 3)


def test_a_type_has_a_row_and_one_module():
    assert set(registered()) <= set(LAYER_TYPES)
    with pytest.raises(SchemaError, match="unknown layer type"):
        layer("Nonesuch")(Doubled)
    with pytest.raises(ValueError, match="has two modules"):
        layer("ReLU")(Doubled)
    registered()["ReLU"] = Doubled
    assert registered()["ReLU"] is not Doubled


def test_a_failing_layer_names_itself_and_what_it_expects(monkeypatch):
    net = make_net(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 } } }\n'
        'layer { name: "ip" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 1 } }'
    )
    with pytest.raises(ShapeError, match=r'2:1: layer "ip": expected 2 values from axis 1 on, got 3'):
        net(x=torch.zeros(1, 3))
    # A layer that does not know: PyTorch's reason, and the shapes.
    monkeypatch.setattr(type(net.layers[1]), "shapes", lambda self, *bottoms: ((1, 1),))
    with pytest.raises(ShapeError, match=r'2:1: layer "ip": InnerProduct failed on x \(1, 3\)'):
        net(x=torch.zeros(1, 3))
