"""Which function writes which layer, and what it writes with.

As in `export.onnx`, writers are registered by the class of the layer's module.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, TypeVar

from torch import Tensor

from caffecompat.errors import CaffeCompatError, UnsupportedError
from caffecompat.export.registering import Registry
from caffecompat.export.source.item import Argument, Item, Make, Value
from caffecompat.graph.spec import Shape
from caffecompat.layers.base import Layer
from caffecompat.schema.plugins import BUILT_IN

W = TypeVar("W", bound=Callable[[Any, "Site"], None])

_FAMILIES = (
    "convolving",
    "detections",
    "elementwise",
    "flow",
    "joining",
    "neurons",
    "normalizing",
    "pooling",
    "products",
    "recurring",
    "regions",
    "shaping",
    "upsampling",
)

_PACKAGE = "caffecompat.export.source"
_LOSS = "it is a loss, which drops out of what `convert` reads: PyTorch's own are for training"
_EVALUATION = "it evaluates, and drops out of what `convert` reads"


class Site:
    """Where the writer of one layer puts its items.

    Attributes:
        layer: the layer.
        bottoms: its bottoms.
        shapes: their shapes, as the net was built.
        tops: its tops; a writer may put a bottom in the place of one.
        items: what it wrote.
    """

    def __init__(self, layer: Layer, bottoms: Sequence[Value], shapes: Sequence[Shape], tops: Sequence[Value]) -> None:
        self.layer = layer
        self.bottoms = list(bottoms)
        self.shapes = list(shapes)
        self.tops = list(tops)
        self.items: list[Item] = []

    def function(
        self,
        kind: str,
        template: str,
        inputs: Sequence[Value] | None = None,
        outputs: Sequence[Value] | None = None,
        *,
        module: Make | None = None,
        operators: Iterable[str] = (),
    ) -> None:
        """Compute an expression; `module` is what stands for it in an nn.Sequential."""
        inputs = self.bottoms if inputs is None else inputs
        outputs = self.tops if outputs is None else outputs
        named = any(template.count(f"{{{place}}}") > 1 for place in range(len(inputs)))
        self.items.append(
            Item(
                self.layer.spec.name,
                kind,
                list(inputs),
                list(outputs),
                template,
                module,
                operators=tuple(operators),
                named=named,
            )
        )

    def module(
        self,
        kind: str,
        function: str,
        arguments: Sequence[Argument],
        tensors: dict[str, Tensor] | None = None,
        inputs: Sequence[Value] | None = None,
        outputs: Sequence[Value] | None = None,
        operators: Iterable[str] = (),
    ) -> None:
        """Call a submodule."""
        self.items.append(
            Item(
                self.layer.spec.name,
                kind,
                list(self.bottoms if inputs is None else inputs),
                list(self.tops if outputs is None else outputs),
                "",
                Make(function, tuple(arguments)),
                {name: tensor.detach() for name, tensor in (tensors or {}).items()},
                {self.layer.spec.name: ""} if tensors else {},
                operators=tuple(operators),
            )
        )

    def between(self, name: str = "") -> Value:
        """A value between two items of the layer."""
        return Value(name or self.tops[0].name)

    def error(self, message: str, hint: str | None = None) -> CaffeCompatError:
        """An error of the layer: it cannot be written."""
        return self.layer.error(message, hint=hint, kind=UnsupportedError)


_WRITERS: Registry[type[Layer], Callable[[Any, Site], None]] = Registry(_PACKAGE, _FAMILIES, "writer")


def writes(*classes: type[Layer]) -> Callable[[W], W]:
    """Register what writes these layers: it takes the layer and a `Site`.

    Raises:
        ValueError: one of them has a writer already.
    """

    def register(write: W) -> W:
        _WRITERS.add(classes, write, write)
        return write

    return register


def writers() -> dict[type[Layer], Callable[[Any, Site], None]]:
    """The writer of every class of layers that has one."""
    if any(module in sys.modules for module in BUILT_IN.values()):
        import_module(f"{_PACKAGE}.matching")
    return _WRITERS.complete()


# Why the others have none, by type.
WITHOUT: dict[str, str] = {
    "Accuracy": _EVALUATION,
    "CenterLoss": _LOSS,
    "ContrastiveLoss": _LOSS,
    "DetectionEvaluate": _EVALUATION,
    "EuclideanLoss": _LOSS,
    "HDF5Output": "it writes a file: take the output of the module instead",
    "HingeLoss": _LOSS,
    "InfogainLoss": _LOSS,
    "MatchingLoss": _LOSS,
    "MultiBoxLoss": _LOSS,
    "MultinomialLogisticLoss": _LOSS,
    "SigmoidCrossEntropyLoss": _LOSS,
    "SmoothL1Loss": _LOSS,
    "SoftmaxWithLoss": _LOSS,
}
