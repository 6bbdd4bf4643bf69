"""The recorded nets of the original Caffe as ONNX: what ONNX Runtime computes is what Caffe computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat import Net
from caffecompat.export.onnx.exporting import export_onnx
from caffecompat.export.onnx.options import OnnxOptions
from caffecompat.export.onnx.registry import emitters
from caffecompat.layers import registered
from caffecompat.layers.base import meanings_of
from caffecompat.schema import LAYER_TYPES
from tests.export.onnx_cases import run_model
from tests.layers.golden import cases

EMITTED = {name for name in registered() if emitters().keys() & set(meanings_of(name))}
FED = {name for name, row in LAYER_TYPES.items() if row.data}
# ONNX has no suppression with eta; its Clip leaves a nan as it is; and ONNX needs an output.
OTHER = {"detout_eta", "clip_nan", "silence"}
CASES = [
    case
    for case in cases()
    if str(case.record["phase"]) == "TEST" and case.types <= EMITTED | FED and case.name not in OTHER
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_as_recorded(case, tmp_path):
    inputs = case.part("in")
    net = Net(case.graph(), {name: value.shape for name, value in inputs.items()})
    for key, value in case.part("param").items():
        layer, index = key.rsplit("/", 1)
        net.layer(layer).give(int(index), torch.from_numpy(value.copy()))
    net.fill()
    export_onnx(net, tmp_path / "net.onnx", OnnxOptions(verify=False), {})
    found = run_model(tmp_path / "net.onnx", inputs)
    assert found
    for name, value in found.items():
        theirs = case.record[f"out/{name.partition('@')[0]}"]
        assert value.shape == theirs.shape
        np.testing.assert_allclose(value, theirs, rtol=1e-4, atol=1e-5, err_msg=name)


def test_most_of_them_are_compared():
    assert len(CASES) > 250
