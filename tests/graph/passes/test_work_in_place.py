"""work_in_place: activations overwrite what only they read; names that remain mean the same values."""

from __future__ import annotations

import pytest
import torch

from caffecompat.graph.passes import work_in_place
from tests.graph.passes.nets import assert_equal, assert_left_alone, passed, trained_net

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 6 } } }\n'
FC = 'layer { name: "%s" type: "InnerProduct" bottom: "%s" top: "%s" inner_product_param { num_output: 4 } }\n'
FIRST = FC % ("fc", "data", "fc")
LAYER = 'layer { name: "%s" type: "%s" bottom: "%s" top: "%s" }\n'


def blobs(net) -> list[list[str]]:
    return [list(layer.spec.message.top) for layer in net.layers]


@pytest.mark.parametrize("kind", ["ReLU", "PReLU", "Sigmoid", "TanH", "ELU"])
def test_works_in_place(kind):
    before = trained_net(INPUT + FIRST + LAYER % ("act", kind, "fc", "act") + FC % ("two", "act", "two"))
    after, notes = passed(before, work_in_place)
    assert blobs(after) == [["data"], ["act"], ["act"], ["two"]]
    assert notes == ['1 activations work in place: "act"']
    assert_equal(before, after)


def test_several_behind_one_another():
    text = (
        FIRST + LAYER % ("in", "ReLU", "fc", "fc") + LAYER % ("a", "TanH", "fc", "a") + LAYER % ("b", "ELU", "a", "b")
    )
    before = trained_net(INPUT + text)
    after, _ = passed(before, work_in_place)
    assert blobs(after) == [["data"], ["b"], ["b"], ["b"], ["b"]]
    assert_equal(before, after)
    assert passed(after, work_in_place)[1] == []


def test_names_that_remain_mean_the_same():
    text = FIRST + LAYER % ("a", "ReLU", "fc", "a") + FC % ("two", "a", "two") + LAYER % ("b", "TanH", "two", "b")
    before = trained_net(INPUT + text)
    after, _ = passed(before, work_in_place)
    before.keep = after.keep = "all"
    data = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before(data=data)
        after(data=data)
    assert set(after.blobs) == {"data", "a", "b"}
    for name, value in after.blobs.items():
        assert torch.equal(value, before.blobs[name])


@pytest.mark.parametrize(
    "text",
    [
        LAYER % ("a", "ReLU", "data", "a"),
        FIRST + LAYER % ("a", "ReLU", "fc", "fc"),
        FIRST + LAYER % ("a", "ReLU", "fc", "a") + LAYER % ("b", "TanH", "fc", "b"),
        FIRST + LAYER % ("a", "AbsVal", "fc", "a"),
        FIRST.replace("inner", "loss_weight: 1 inner") + LAYER % ("a", "ReLU", "fc", "a"),
        # Caffe's Flatten and Reshape give the memory of their bottom.
        FIRST + LAYER % ("flat", "Flatten", "fc", "flat") + LAYER % ("a", "ReLU", "flat", "a"),
        FIRST
        + LAYER % ("flat", "Flatten", "fc", "flat")
        + LAYER % ("in", "ReLU", "flat", "flat")
        + LAYER % ("a", "ReLU", "flat", "a"),
    ],
)
def test_left_alone(text):
    assert_left_alone(trained_net(INPUT + text), work_in_place)
