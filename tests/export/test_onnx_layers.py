"""Every layer type as ONNX, by itself: what ONNX Runtime computes is what the layer does."""

from __future__ import annotations

import pytest

from caffecompat.export.onnx.exporting import export_onnx
from caffecompat.export.onnx.options import OnnxOptions
from caffecompat.export.onnx.registry import emitters
from tests.export.onnx_cases import assert_same, inputs_of, net_of, run_model, run_net
from tests.layers.type_cases import CASES, Case, of

# Layers that have no form in ONNX: losses and evaluation drop out before; the others say so.
WITHOUT = set()
MORE = [
    Case("ArgMax", "argmax_param { top_k: 3 out_max_val: true axis: -1 }", (of(2, 3, 5, 4),)),
    Case("ArgMax", "argmax_param { axis: 1 }", (of(2, 3, 5, 4),)),
]
TESTED = [case for case in (*CASES, *MORE) if case.phase == "TEST" and case.type != "Silence"]


def exported(case, folder, **options):
    net = net_of(case)
    result = export_onnx(net, folder / "l.onnx", OnnxOptions(**options), {})
    return net, result


@pytest.mark.parametrize("case", TESTED, ids=str)
def test_layer(case, tmp_path):
    net = net_of(case)
    if type(net.layers[-1]) not in emitters():
        pytest.skip("no form in ONNX")
    export_onnx(net, tmp_path / "l.onnx", OnnxOptions(), {})
    inputs = inputs_of(case)
    assert_same(run_model(tmp_path / "l.onnx", inputs), run_net(net, inputs))
