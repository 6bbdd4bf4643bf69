"""The 18 programs that ran under both originals' pycaffe, under the drop-in: tests/reference/pycaffe."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.formats import parse_net
from tests.reference.pycaffe_scenarios import SCENARIOS
from tests.support import REFERENCE

PROTOTXT = {"net_spec/text", "net_spec/unnamed", "net_spec/norm"}


@pytest.fixture(params=["ssd", "bvlc"])
def record(request):
    """What the original of a dialect answered; the drop-in follows that dialect meanwhile."""
    caffe.set_dialect(request.param)
    with np.load(REFERENCE / "pycaffe" / f"{request.param}.npz") as file:
        yield dict(file)
    caffe.set_dialect("ssd")


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_program_answers_as_under_the_original(record, name, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    expected = {key: value for key, value in record.items() if key.startswith(f"{name}/")}
    assert expected
    for label, got in SCENARIOS[name](caffe):
        key = f"{name}/{label}"
        if key not in expected and key == "net_spec/norm":
            # BVLC master has no Normalize, and its record no such answer.
            continue
        compare(key, got, expected.pop(key))
    assert not expected


def compare(key, got, expected):
    if key in PROTOTXT:
        assert parse_net(got).message == parse_net(str(expected)).message
    elif key == "protos/type list":
        assert set(str(expected).split()) <= set(got.split())
    elif expected.dtype.kind == "U":
        assert got == str(expected)
    else:
        assert np.shape(got) == expected.shape
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
