"""DummyData: constants."""

from __future__ import annotations

from caffecompat.export.onnx.registry import Precision, emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import Value
from caffecompat.layers.data import DummyData


@emits(DummyData, precision=Precision.SINGLE)
def dummy_data(layer: DummyData, at: Scope) -> list[Value]:
    if any(layer.refill):
        raise at.error(
            "it draws its values anew in each pass", "put an Input layer in its place: --input-shape NAME=SIZES"
        )
    return [at.initializer(key.name, layer.top(index).numpy()) for index, key in enumerate(layer.spec.tops)]
