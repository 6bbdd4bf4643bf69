"""int8 by static quantization: the ranges of values are taken from calibration, and stand in the model.

Weights have seven bits and a scale for each channel, values eight bits and a zero point. Seven bits, because processors
without VNNI add pairs of products in 16 bits, which eight would overflow; so the result is the same on all.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
import torch
from onnx import ModelProto
from onnxruntime.quantization import CalibrationMethod, QuantType
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from torch import Tensor

from caffecompat.engines.base import Settings
from caffecompat.engines.calibrating import Calibration
from caffecompat.engines.kept_ranges import kept_ranges
from caffecompat.engines.onnx_models import float_model, refusals
from caffecompat.engines.ranges import Arrays, Range, find_ranges, session_of
from caffecompat.net import Net

Ranges = Mapping[str, Range]

# What is worth it, and what may lie between without leaving int8; all else stays float32.
_WORTH = frozenset(("Conv", "Gemm", "MatMul", "ConvTranspose"))
_BETWEEN = frozenset(
    ("AveragePool", "Concat", "Flatten", "GlobalAveragePool", "MaxPool", "Relu", "Reshape", "Squeeze", "Transpose")
)
# Layers whose sum, their first node, is one of blobs.
_SUMS = frozenset(("Eltwise",))
# So many batches are run to choose among the ways of finding ranges.
_JUDGES = 8


def quantized_model(trunk: Net, settings: Settings, *, any_batch: bool) -> ModelProto:
    """The trunk with convolutions and matrix products in int8, between QuantizeLinear and DequantizeLinear.

    Ranges are taken once, in all the ways of `find_ranges`; those count by which the outputs for some of the same items
    come nearest to float32's. They are kept on disk: see `kept_ranges`.

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
                made["ranges"] = kept_ranges(
                    trunk, settings, lambda: _best_ranges(proto, nodes, calibration, settings.example)
                )
            made[key] = _quantized(proto, nodes, made["ranges"])
    model: ModelProto = made[key]
    return model


def _nodes(proto: ModelProto, trunk: Net) -> set[str]:
    """The names of the nodes to be quantized.

    What stands behind the last convolution or product on a way, such as the Concat of a detector's predictions, which
    have ranges of their own, is not between any.
    """
    sums = {spec.name for spec in trunk.graph.layers if spec.type in _SUMS}
    found, needed = set(), set[str]()
    for node in reversed(proto.graph.node):
        between = node.op_type in _BETWEEN or (node.op_type == "Add" and node.name in sums)
        if node.op_type in _WORTH or (between and not needed.isdisjoint(node.output)):
            found.add(node.name)
            needed.update(node.input)
    return found


def _best_ranges(proto: ModelProto, nodes: set[str], calibration: Calibration, example: Mapping[str, Tensor]) -> Ranges:
    """The ranges by which the outputs come nearest to float32's."""
    fed = {value.name for value in proto.graph.input}

    def arrays(items: Sequence[int]) -> Iterator[Arrays]:
        for batch in calibration.batches(items, example):
            yield {name: value.float().numpy() for name, value in batch.inputs.items() if name in fed}

    names = set().union(*_floats_of(proto, nodes).values())
    size = max(1, len(next(iter(example.values()))))
    found = find_ranges(proto, names, arrays(calibration.used), -(-len(calibration.used) // size))
    count = _JUDGES * size
    judges = list(arrays(calibration.used[:: max(1, len(calibration.used) // count)][:count]))
    wanted = _outputs(proto, judges)
    return min(found.values(), key=lambda ranges: _error(_outputs(_quantized(proto, nodes, ranges), judges), wanted))


def _floats_of(proto: ModelProto, nodes: set[str]) -> dict[str, set[str]]:
    """The values that each of some nodes reads and makes, weights and whole numbers aside."""
    graph = proto.graph
    weights = {tensor.name for tensor in graph.initializer}
    values = (*graph.input, *graph.output, *graph.value_info)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT} - weights
    return {node.name: floats.intersection((*node.input, *node.output)) for node in graph.node if node.name in nodes}


def _quantized(proto: ModelProto, nodes: set[str], ranges: Ranges) -> ModelProto:
    copy = ModelProto()
    copy.CopyFrom(proto)
    able = [name for name, values in _floats_of(proto, nodes).items() if values <= ranges.keys()]
    limits = {name: (np.float32(found.low), np.float32(found.high)) for name, found in ranges.items()}
    quantizer = QDQQuantizer(
        copy,
        per_channel=True,
        reduce_range=True,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, limits),
        nodes_to_quantize=able,
        nodes_to_exclude=[],
        op_types_to_quantize=sorted(_WORTH | _BETWEEN | {"Add"}),
        extra_options={
            "WeightSymmetric": True,
            "ActivationSymmetric": False,
            # Sums of products need not be rounded where float32 reads them: classes are told apart by these.
            "OpTypesToExcludeOutputQuantization": ["Gemm", "MatMul"],
        },
    )
    quantizer.quantize_model()
    made: ModelProto = quantizer.model.model
    return made


def _outputs(proto: ModelProto, batches: Sequence[Arrays]) -> list[np.ndarray[Any, Any]]:
    session = session_of(proto)
    return [value for batch in batches for value in session.run(None, dict(batch))]


def _error(found: Sequence[np.ndarray[Any, Any]], wanted: Sequence[np.ndarray[Any, Any]]) -> float:
    """The mean over all outputs of the squared error as a part of the squares."""
    each = [
        float(np.square(a.astype(np.float64) - b).sum() / max(1e-12, float(np.square(b.astype(np.float64)).sum())))
        for a, b in zip(found, wanted, strict=True)
    ]
    return float(np.mean(each))


@contextmanager
def _quiet() -> Iterator[None]:
    """onnxruntime.quantization logs hints for its own users."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with torch.inference_mode():
            yield
    finally:
        logging.disable(before)
