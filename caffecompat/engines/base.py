"""Engine: a net made ready to run fast. It is called like the net and returns the same outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from caffecompat.engines.registry import Precision
from caffecompat.errors import ShapeError, UsageError, did_you_mean, quoted
from caffecompat.graph.spec import Shape
from caffecompat.net import Net

if TYPE_CHECKING:
    from caffecompat.engines.calibrating import Calibration
    from caffecompat.engines.report import Report


@dataclass(frozen=True)
class Settings:
    """How an engine is made.

    Attributes:
        precision: what it computes in; inputs and outputs are float32 in each.
        example: the inputs it is made and measured for, by blob name.
        threads: how many threads it uses.
        calibration: what ranges of values are taken from, for "int8".
        cache: whether these ranges are kept on disk, and taken from there.
        made: what was made of the net with the calibration, for all engines that are tried: see `quantizing`.
    """

    precision: Precision
    example: Mapping[str, Tensor]
    threads: int
    calibration: Calibration | None = None
    cache: bool = False
    made: dict[object, Any] = field(default_factory=dict, compare=False)

    @property
    def shapes(self) -> dict[str, Shape]:
        """The shapes of the example."""
        return {name: tuple(value.shape) for name, value in self.example.items()}


class Engine(ABC):
    """A net in the hands of a program that runs it fast.

    >>> engine = caffecompat.optimize(net, example={"data": images})
    >>> engine(data=images)["detection_out"]

    Attributes:
        name: what a user calls it, as in `registry.ENGINES`.
        net: the net it was made from. Some parameters are shared with it, so they must not change.
        precision: what it computes in.
        input_shapes: the shapes it was made for, by blob name. Others are taken too, the first time slowly.
        report: what was measured, and why this engine was chosen; None if it was named by the user and nothing was.
    """

    name: ClassVar[str]

    def __init__(self, net: Net, settings: Settings) -> None:
        self.net = net
        self.precision = settings.precision
        self.input_shapes = settings.shapes
        self.report: Report | None = None
        self._dims = {name: len(shape) for name, shape in self.input_shapes.items()}

    def __call__(self, /, **inputs: Tensor | np.ndarray[Any, Any]) -> dict[str, Tensor]:
        """The outputs by blob name, float32 on the CPU, of inputs by name (a tensor or an array each).

        Raises:
            UsageError: an input is missing, or there is none of that name.
            ShapeError: an input has another number of axes, or a shape that the net cannot take.
        """
        return self.run(self._fed(inputs))

    @abstractmethod
    def run(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by blob name, of all inputs by blob name; without gradients."""

    @property
    def keywords(self) -> dict[str, str]:
        """The keyword to feed an input by, where its name is no identifier."""
        return {name: keyword for keyword, name in self.net.input_names.items()}

    @property
    def inputs(self) -> list[str]:
        """Names of the blobs to feed."""
        return list(self.input_shapes)

    @property
    def outputs(self) -> list[str]:
        """Names of the blobs that it returns, as the net orders them."""
        return self.net.outputs

    def _fed(self, inputs: Mapping[str, Tensor | np.ndarray[Any, Any]]) -> dict[str, Tensor]:
        fed = {}
        for given, value in inputs.items():
            name = self.net.input_names.get(given, given)
            if name not in self._dims:
                hint = did_you_mean(name, self._dims)
                raise UsageError(f"the net has no input {quoted(given)}; its inputs are {self._listed()}", hint=hint)
            fed[name] = torch.as_tensor(value).detach()
            if fed[name].dim() != self._dims[name]:
                raise ShapeError(
                    f"input {quoted(name)}: expected {self._dims[name]} axes as in {self.input_shapes[name]}, "
                    f"got shape {tuple(value.shape)}"
                )
        for name in self._dims:
            if name not in fed:
                raise UsageError(f"input {quoted(name)} is missing", hint=f"inputs: {self._listed()}")
        return fed

    def _listed(self) -> str:
        return ", ".join(self._dims) or "none"
