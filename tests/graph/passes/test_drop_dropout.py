"""drop_dropout: Dropout goes, outputs keep their names."""

from __future__ import annotations

import pytest

from caffecompat.graph.passes import drop_dropout
from tests.graph.passes.nets import assert_equal, assert_left_alone, passed, trained_net, types

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 6 } } }\n'
FC = 'layer { name: "fc" type: "InnerProduct" bottom: "%s" top: "fc" inner_product_param { num_output: 4 } }\n'
DROP = 'layer { name: "drop" type: "Dropout" bottom: "%s" top: "%s" }\n'
RELU = 'layer { name: "%s" type: "ReLU" bottom: "%s" top: "%s" }\n'


@pytest.mark.parametrize(
    "text",
    [
        FC % "data" + DROP % ("fc", "fc"),
        FC % "data" + DROP % ("fc", "dropped"),
        FC % "data" + DROP % ("fc", "dropped") + RELU % ("relu", "dropped", "dropped"),
        FC % "data" + RELU % ("relu", "fc", "fc") + DROP % ("fc", "dropped"),
        FC % "data" + RELU % ("relu", "fc", "relu") + DROP % ("fc", "dropped") + RELU % ("last", "dropped", "last"),
        DROP % ("data", "dropped") + FC % "dropped",
        DROP % ("data", "data") + FC % "data",
    ],
)
def test_taken_out(text):
    before = trained_net(INPUT + text)
    after, notes = passed(before, drop_dropout)
    assert "Dropout" not in types(after)
    assert notes == ['took out 1 Dropout: "drop"']
    assert_equal(before, after)
    assert after.inputs == ["data"]


@pytest.mark.parametrize(
    "text",
    [
        DROP % ("data", "dropped"),
        FC % "data" + RELU % ("relu", "fc", "relu") + DROP % ("fc", "dropped"),
        FC % "data" + RELU % ("a", "fc", "a") + DROP % ("fc", "b") + RELU % ("c", "b", "b"),
        FC % "data" + DROP.replace("}", "loss_weight: 1 }") % ("fc", "dropped"),
    ],
)
def test_left_where_a_name_would_be_lost(text):
    assert_left_alone(trained_net(INPUT + text), drop_dropout)


def test_left_in_training():
    assert_left_alone(trained_net(INPUT + FC % "data" + DROP % ("fc", "fc"), phase="TRAIN"), drop_dropout)
