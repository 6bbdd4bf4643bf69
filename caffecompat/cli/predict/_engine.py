"""The engine that `--engine` names: made when the first inputs are there, and measured on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from caffecompat.cli.errors import tell
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.engines import Engine, optimize
from caffecompat.engines.calibrating import Calibration
from caffecompat.engines.registry import Precision
from caffecompat.errors import UsageError
from caffecompat.net import Net


class LateEngine:
    """A net in an engine that is made for the first inputs that come.

    `pictures` are what `--calibration` names; they are prepared by `record`, as the net's are.

    Attributes:
        when_made: is called when the engine is made, before it runs.

    Raises:
        UsageError: the device is not the CPU.
        CaffeCompatError: there are no pictures, or the database cannot be read.
    """

    def __init__(
        self,
        net: Net,
        name: str,
        precision: Precision,
        device: torch.device,
        pictures: Path | None,
        record: Preprocessing,
    ) -> None:
        if device.type != "cpu":
            raise UsageError(f"--engine runs on the CPU, not on {device.type}", hint="leave --device out")
        self._net = net
        self._name = name
        self._precision = precision
        self._calibration = None if pictures is None else Calibration(pictures, record)
        self._engine: Engine | None = None
        self.when_made: Callable[[], None] | None = None

    def __call__(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The outputs by name, of inputs by name.

        Raises:
            UsageError: a blob is asked for that is no output.
            CaffeCompatError: the engine cannot be made.
        """
        asked = self._net.graph.last if self._net.keep == "all" else self._net.keep
        inner = sorted(set(asked) - set(self._net.outputs))
        if inner:
            raise UsageError(f"--engine gives outputs only, and {inner[0]!r} is none", hint="leave --blob or --engine")
        if self._engine is None:
            self._engine = optimize(
                self._net, self._name, self._precision, inputs, calibration=self._calibration, tell=tell
            )
            if self.when_made is not None:
                self.when_made()
        return self._engine.run(inputs)
