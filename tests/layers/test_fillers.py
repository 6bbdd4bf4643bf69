"""Fillers: against recorded weights where they are exact, by their moments where they are random."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from caffecompat import Net
from caffecompat.errors import SchemaError
from caffecompat.layers.fillers import fill
from caffecompat.schema import caffe_pb2
from tests.layers.golden import cases
from tests.layers.single import single

EXACT = [case for case in cases() if "bilinear" in case.name or "identity" in case.path.parent.name]
FANS = [case for case in cases() if case.name.startswith("conv5d_")]


def spec(dialect="ssd"):
    return single("ReLU", "", (1, 2), dialect=dialect).spec


def filled(shape, dialect="ssd", seed=5, **fields):
    torch.manual_seed(seed)
    blob = torch.full(shape, math.nan)
    fill(blob, caffe_pb2.FillerParameter(**fields), spec(dialect))
    assert not blob.isnan().any()
    return blob


def weights(case):
    """Our own fillers' weights for a recorded case, and the recorded ones."""
    torch.manual_seed(1)
    net = Net(case.graph())
    net.fill()
    for key, theirs in case.part("param").items():
        layer, index = key.rsplit("/", 1)
        filler = net.layer(layer).spec.message.convolution_param.weight_filler
        if index == "0":
            yield filler, net.layer(layer).blobs[0].detach().numpy(), theirs


@pytest.mark.parametrize("case", EXACT, ids=str)
def test_bilinear_and_identity_as_recorded(case):
    for filler, ours, theirs in weights(case):
        if not filler.HasField("std"):
            np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7)
            continue
        # Off the identity's entries both are random: small beside them here, and alike in their moments.
        entries = np.abs(theirs - filler.mean) > 8 * filler.std
        assert entries.any()
        np.testing.assert_allclose(ours[entries], theirs[entries], rtol=1e-6)
        for values in (ours[~entries], theirs[~entries]):
            assert abs(values.mean() - filler.mean) < 5 * filler.std / math.sqrt(values.size)
            assert abs(values.std() / filler.std - 1) < 0.2


@pytest.mark.parametrize("case", FANS, ids=str)
def test_fans_of_five_axes_as_recorded(case):
    for _, ours, theirs in weights(case):
        assert ours.shape == theirs.shape
        assert np.abs(ours).max() == pytest.approx(np.abs(theirs).max(), rel=0.25)
        assert ours.std() == pytest.approx(theirs.std(), rel=0.25)


def test_constant():
    assert filled((2, 3)).eq(0).all()
    assert filled((), type="constant", value=0.25) == 0.25


def test_uniform():
    values = filled((100, 100), type="uniform", min=-2, max=6)
    assert -2 <= values.min() < -1.99
    assert 5.99 < values.max() < 6
    assert values.mean() == pytest.approx(2, abs=0.1)


def test_gaussian():
    values = filled((100, 100), type="gaussian", mean=3, std=0.5)
    assert values.mean() == pytest.approx(3, abs=0.03)
    assert values.std() == pytest.approx(0.5, rel=0.03)


def test_sparse_gaussian_keeps_that_many_inputs_of_an_output():
    """Caffe: each value stays with the probability sparse / outputs."""
    values = filled((50, 400), type="gaussian", std=1, sparse=10)
    assert (values != 0).float().mean() == pytest.approx(10 / 50, rel=0.05)
    assert values[values != 0].std() == pytest.approx(1, rel=0.05)
    assert filled((5, 40), type="gaussian", sparse=0).eq(0).all()


def test_positive_unitball():
    values = filled((7, 3, 5), type="positive_unitball")
    assert values.min() > 0
    torch.testing.assert_close(values.sum((1, 2)), torch.ones(7))


@pytest.mark.parametrize(("norm", "fan"), [("FAN_IN", 5 * 6), ("FAN_OUT", 200 * 6), ("AVERAGE", (5 * 6 + 200 * 6) / 2)])
def test_xavier_and_msra(norm, fan):
    shape = (200, 5, 2, 3)
    xavier = filled(shape, type="xavier", variance_norm=norm)
    assert xavier.abs().max() == pytest.approx(math.sqrt(3 / fan), rel=1e-2)
    assert xavier.abs().max() <= math.sqrt(3 / fan)
    assert xavier.std() == pytest.approx(math.sqrt(1 / fan), rel=0.03)
    msra = filled(shape, type="msra", variance_norm=norm)
    assert msra.std() == pytest.approx(math.sqrt(2 / fan), rel=0.03)
    assert msra.abs().max() > math.sqrt(3 * 2 / fan)


def test_of_one_axis_the_fan_out_is_the_size():
    assert filled((10_000,), type="xavier", variance_norm="FAN_OUT").abs().max() <= math.sqrt(3 / 10_000)
    assert filled((10_000,), type="xavier").abs().max() > 1.7


def test_the_seed_decides():
    assert torch.equal(filled((5, 5), type="msra", seed=3), filled((5, 5), type="msra", seed=3))
    assert not torch.equal(filled((5, 5), type="msra", seed=3), filled((5, 5), type="msra", seed=4))


@pytest.mark.parametrize(
    ("fields", "shape", "says"),
    [
        ({"type": "xaver"}, (2, 2), 'did you mean "xavier"'),
        ({"type": ""}, (2, 2), "unknown filler"),
        ({"type": "uniform", "min": 2, "max": 1}, (2, 2), "min <= max"),
        ({"type": "uniform", "min": -3e38, "max": 3e38}, (2, 2), "min <= max"),
        ({"type": "uniform", "min": math.nan}, (2, 2), "min <= max"),
        ({"type": "gaussian", "std": -1}, (2, 2), "std >= 0"),
        ({"type": "gaussian", "std": math.nan}, (2, 2), "std >= 0"),
        ({"type": "gaussian", "mean": math.inf}, (2, 2), "finite mean"),
        ({"type": "gaussian", "sparse": 3}, (2, 2), "from 0 to the 2 outputs"),
        ({"type": "gaussian", "sparse": -2}, (2, 2), "from 0 to the 2 outputs"),
        ({"type": "xavier", "sparse": 3}, (5, 2), "does not know `sparse`"),
        ({"type": "bilinear"}, (2, 2), "square kernel"),
        ({"type": "bilinear"}, (2, 2, 3, 4), "square kernel"),
        ({"type": "identity"}, (2, 2), "4 axes"),
        ({"type": "identity"}, (3, 2, 1, 1), "3 outputs, 2 groups"),
        ({"type": "identity", "num_groups": 4}, (3, 3, 1, 1), "3 outputs, 4 groups"),
        ({"type": "identity", "num_groups": 0}, (3, 3, 1, 1), "0 groups"),
        ({"type": "identity", "num_groups": -1}, (3, 3, 1, 1), "-1 groups"),
    ],
)
def test_refused(fields, shape, says):
    with pytest.raises(SchemaError) as error:
        filled(shape, **fields)
    assert says in str(error.value)
    assert error.value.layer == "l"


def test_a_bad_filler_is_named_with_its_line():
    with pytest.raises(SchemaError, match=r'2:1: layer "l": unknown filler .*msr'):
        single("InnerProduct", 'inner_product_param { num_output: 2 weight_filler { type: "msr" } }', (1, 4))


def test_empty_blobs_are_left_alone():
    assert filled((0, 3), type="xavier").shape == (0, 3)
