"""int8 by static quantization: the ranges of values are taken from calibration, and stand in the model.

Weights have seven bits and a scale for each channel, values eight bits and a zero point. Seven bits, because processors
without VNNI add pairs of products in 16 bits, which eight would overflow; so the result is the same on all.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData, create_calibrator
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from torch import Tensor

from caffecompat.engines.base import Settings
from caffecompat.engines.calibrating import Calibration
from caffecompat.engines.onnx_models import float_model, refusals
from caffecompat.net import Net

# What is worth it, and what may lie between without leaving int8; all else stays float32.
_WORTH = frozenset(("Conv", "Gemm", "MatMul", "ConvTranspose"))
_BETWEEN = frozenset(
    ("AveragePool", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Relu", "Reshape", "Squeeze", "Transpose")
)
# Layers whose sum, their first node, is one of blobs.
_SUMS = frozenset(("Eltwise",))
# How ranges are taken, tried in this order: all values, all but a few of the largest, the least loss of information.
METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
# So many batches are in memory, with all their blobs, at once; and so many are run to choose among the methods.
_TOGETHER, _JUDGES = 2, 8


def quantized_model(trunk: Net, settings: Settings, *, any_batch: bool) -> ModelProto:
    """The trunk with convolutions and matrix products in int8, between QuantizeLinear and DequantizeLinear.

    Ranges are taken once for a calibration, by each of `METHODS`; those that come nearest to float32, on some of the
    same pictures, count.

    Args:
        trunk: the net.
        settings: those of the engine; there is a calibration.
        any_batch: let the number of images vary, if the net allows.

    Raises:
        UnsupportedError: a layer has no form in ONNX, or it cannot be quantized.
    """
    calibration = settings.calibration
    assert calibration is not None, "int8 without a calibration"
    key = (any_batch, *sorted(trunk.blob_shapes[key] for key in trunk.graph.inputs), *trunk.outputs)
    made = settings.made
    if key not in made:
        proto = onnx.shape_inference.infer_shapes(float_model(trunk, any_batch=any_batch))
        nodes = _nodes(proto, trunk)
        with refusals("onnxruntime.quantization"), _quiet():
            if "ranges" not in made:
                ranges = _all_ranges(proto, nodes, calibration, settings.example)
                chosen = _best(proto, nodes, ranges, calibration, settings.example)
                made.update(ranges=ranges[chosen], method=chosen)
            made[key] = _quantized(proto, nodes, made["ranges"])
    model: ModelProto = made[key]
    return model


def _nodes(proto: ModelProto, trunk: Net) -> list[str]:
    """The names of the nodes to be quantized, the last first.

    What stands behind the last convolution or product on a way, such as the Concat of a detector's predictions, which
    have ranges of their own, is not between any.
    """
    sums = {spec.name for spec in trunk.graph.layers if spec.type in _SUMS}
    found = []
    needed: set[str] = set()
    for node in reversed(proto.graph.node):
        between = node.op_type in _BETWEEN or (node.op_type == "Add" and node.name in sums)
        if node.op_type in _WORTH or (between and not needed.isdisjoint(node.output)):
            found.append(node.name)
            needed.update(node.input)
    return found


def _quantized(proto: ModelProto, nodes: list[str], ranges: TensorsData) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(proto)
    known = set(ranges.data)
    weights = {tensor.name for tensor in proto.graph.initializer}
    floats = {value.name for value in _values(proto) if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    able = [
        node.name
        for node in proto.graph.node
        if node.name in nodes and (floats.intersection((*node.input, *node.output)) - weights) <= known
    ]
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=able,
        nodes_to_exclude=[],
        op_types_to_quantize=sorted(_WORTH | _BETWEEN | {"Add"}),
        extra_options={"WeightSymmetric": True, "ActivationSymmetric": False},
    )
    quantizer.quantize_model()
    made: ModelProto = quantizer.model.model
    return made


def _values(proto: ModelProto) -> list[onnx.ValueInfoProto]:
    return [*proto.graph.input, *proto.graph.output, *proto.graph.value_info]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    """Batches, one after the other."""

    def __init__(self, batches: Collection[Mapping[str, Any]]) -> None:
        self._left = iter(batches)

    def get_next(self) -> Mapping[str, Any] | None:
        return next(self._left, None)


def _all_ranges(
    proto: ModelProto, nodes: list[str], calibration: Calibration, example: Mapping[str, Tensor]
) -> dict[str, TensorsData]:
    """The ranges of the values that are to be quantized, by method."""
    types = sorted({node.op_type for node in proto.graph.node if node.name in nodes})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        path.write_bytes(proto.SerializeToString())
        calibrators = {
            name: create_calibrator(str(path), types, str(Path(folder) / f"{name}.onnx"), method)
            for name, method in METHODS.items()
        }
        for batches in _grouped(proto, calibration, example):
            for calibrator in calibrators.values():
                calibrator.collect_data(_Reader(batches))
        return {name: calibrator.compute_data() for name, calibrator in calibrators.items()}


def _grouped(
    proto: ModelProto, calibration: Calibration, example: Mapping[str, Tensor]
) -> Iterator[list[dict[str, np.ndarray[Any, Any]]]]:
    group = []
    for batch in _arrays(proto, calibration, calibration.used, example):
        group.append(batch)
        if len(group) == _TOGETHER:
            yield group
            group = []
    if group:
        yield group


def _arrays(
    proto: ModelProto, calibration: Calibration, items: list[int], example: Mapping[str, Tensor]
) -> Iterator[dict[str, np.ndarray[Any, Any]]]:
    names = {value.name for value in proto.graph.input}
    for batch in calibration.batches(items, example):
        yield {name: value.float().numpy() for name, value in batch.inputs.items() if name in names}


def _best(
    proto: ModelProto,
    nodes: list[str],
    ranges: Mapping[str, TensorsData],
    calibration: Calibration,
    example: Mapping[str, Tensor],
) -> str:
    """The method whose outputs are nearest to float32's."""
    size = max(1, len(next(iter(example.values()))))
    judges = list(_arrays(proto, calibration, calibration.used[: _JUDGES * size], example))
    wanted = _outputs(proto, judges)
    errors = {name: _error(_outputs(_quantized(proto, nodes, found), judges), wanted) for name, found in ranges.items()}
    return min(errors, key=errors.__getitem__)


def _outputs(proto: ModelProto, batches: list[dict[str, np.ndarray[Any, Any]]]) -> list[np.ndarray[Any, Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return [value for batch in batches for value in session.run(None, batch)]


def _error(found: list[np.ndarray[Any, Any]], wanted: list[np.ndarray[Any, Any]]) -> float:
    """The mean over all outputs of the squared error as a part of the squares."""
    each = [
        float(np.square(a.astype(np.float64) - b).sum() / max(1e-12, float(np.square(b.astype(np.float64)).sum())))
        for a, b in zip(found, wanted, strict=True)
    ]
    return float(np.mean(each))


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime.quantization logs hints for its own users, and one calibrator prints."""
    import contextlib
    import io

    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), torch.inference_mode():
            yield
    finally:
        logging.disable(before)
