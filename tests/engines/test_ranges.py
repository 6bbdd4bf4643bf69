"""Ranges of values, and what of a net stands in int8."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from caffecompat.engines import optimize
from caffecompat.engines.ranges import STEPS, find_ranges
from tests.engines.engine_nets import classifier, detector, pictures


def ranges_of(*batches):
    """The ranges of x and of y, which is -2x."""
    nodes = [helper.make_node("Mul", ["x", "two"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xz"]
    two = numpy_helper.from_array(np.array([-2], np.float32), "two")
    graph = helper.make_graph(nodes, "g", values[:1], values[1:], [two])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    given = [{"x": np.array(batch, np.float32)} for batch in batches]
    return find_ranges(model, {"x", "y"}, given, len(given))


def squared_error(values, low, high):
    """What rounding to eight bits between these limits changes."""
    step = (high - low) / STEPS
    rounded = low + np.rint((values.clip(low, high) - low) / step) * step
    return float(np.square(values - rounded).mean())


def test_all_values():
    assert ranges_of([1, -3, 2], [5, 0, 0])["all"] == {"x": (-3, 5), "y": (-10, 6)}
    # 0 is always among them.
    assert ranges_of([2, 3], [4, 4])["all"] == {"x": (0, 4), "y": (-8, 0)}
    for found in ranges_of([0, 0]).values():
        assert found == {"x": (0, 0), "y": (0, 0)}


def test_outliers_are_cut_off():
    """Of 30,000 values one is a hundred times as large as the others may be: it is worth no range."""
    values = np.random.default_rng(0).normal(0, 1, 30000)
    values[7] = 100
    found = ranges_of(values[:14000], values[14000:])
    assert found["all"]["x"].high == 100
    assert 3 < found["most"]["x"].high < 6
    assert -6 < found["most"]["x"].low < -3
    assert found["error"]["y"].low > -200
    low, high = found["error"]["x"]
    tried = [squared_error(values, found["all"]["x"].low * part, 100 * part) for part in np.linspace(0.2, 1, 41)]
    assert squared_error(values, low, high) <= 1.05 * min(tried)


@pytest.fixture(scope="module")
def models():
    """The quantized trunks of a classifier and of a detector."""
    found = []
    for net in (classifier(), detector()):
        engine = optimize(net, "onnxruntime", "int8", calibration={"data": pictures(12, 3, 21, 18)})
        found += [value for value in engine.settings.made.values() if isinstance(value, onnx.ModelProto)][:1]
    return found


def test_weights_have_seven_bits_and_a_scale_for_each_channel(models):
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in models[0].graph.initializer}
    weights = {name: array for name, array in arrays.items() if array.dtype == np.int8 and array.ndim > 1}
    assert {array.shape[0] for array in weights.values()} >= {12, 8, 7}
    for array in weights.values():
        assert np.abs(array).max() in (63, 64)
    scales = [array for name, array in arrays.items() if name.endswith("_scale") and array.ndim == 1]
    assert len(scales) >= len(weights)


def test_what_is_rounded(models):
    """A classifier's pooling and Concat lie between; a detector's tail and a last product's sums are not rounded."""
    for model, rounded, plain in zip(
        models, (("c2", "join"), ("features",)), (("fc",), ("loc_flat", "conf_rows")), strict=True
    ):
        makers = {name: node for node in model.graph.node for name in node.output}
        taken = {
            node.input[0].removesuffix("_QuantizeLinear_Input")
            for node in model.graph.node
            if node.op_type == "QuantizeLinear"
        }
        for name in rounded:
            assert any(one == name or one.startswith(f"{name}@") for one in taken), (name, taken)
        for name in plain:
            assert name not in taken
        for node in model.graph.node:
            if node.op_type == "Conv":
                assert [makers[name].op_type for name in node.input[:2]] == ["DequantizeLinear"] * 2
