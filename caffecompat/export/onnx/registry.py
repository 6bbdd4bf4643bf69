"""Which function writes which layer.

Emitters are registered by the class of the layer's module rather than by the type's name: some types mean different
layers in different forks, and the class tells which.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from caffecompat.export.registering import Registry
from caffecompat.layers.base import Layer

if TYPE_CHECKING:
    from caffecompat.export.onnx.scope import Scope
    from caffecompat.export.onnx.values import Value

Emit = Callable[[Any, "Scope"], "Value | Sequence[Value]"]
E = TypeVar("E", bound=Emit)

_FAMILIES = (
    "boxes",
    "constants",
    "convolving",
    "detections",
    "elementwise",
    "flow",
    "joining",
    "neurons",
    "normalizing",
    "pooling",
    "products",
    "proposals",
    "recurring",
    "regions",
    "resampling",
    "shaping",
    "upsampling",
)


class Precision(Enum):
    """In which type a layer computes when the graph is in float16."""

    HALF = "float16"
    SINGLE = "float32: what it computes does not fit into float16, or must not be rounded"
    KEPT = "that of its bottoms: it only moves values"


class Emitter(NamedTuple):
    """A function that writes a layer, and in which type."""

    emit: Emit
    precision: Precision


_EMITTERS: Registry[type[Layer], Emitter] = Registry("caffecompat.export.onnx", _FAMILIES, "emitter")


def emits(*classes: type[Layer], precision: Precision = Precision.HALF) -> Callable[[E], E]:
    """Register what writes these layers: it takes the layer and a `Scope`, and returns the tops.

    Raises:
        ValueError: one of them has an emitter already.
    """

    def register(emit: E) -> E:
        _EMITTERS.add(classes, Emitter(emit, precision), emit)
        return emit

    return register


def emitters() -> dict[type[Layer], Emitter]:
    """The emitter of every class of layers that has one."""
    return _EMITTERS.complete()
