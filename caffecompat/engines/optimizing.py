"""`caffecompat.optimize`: the engine that runs a net fastest, or the one that is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from caffecompat.engines.base import Engine, Settings
from caffecompat.engines.registry import Precision, engine_row
from caffecompat.errors import UsageError
from caffecompat.net import Net


def optimize(
    net: Net,
    engine: str = "auto",
    precision: Precision = "float32",
    example: Mapping[str, Tensor | np.ndarray[Any, Any]] | None = None,
    *,
    calibration: Any = None,
    threads: int | None = None,
    cache: bool = True,
) -> Engine:
    """Make a net run fast.

    Args:
        net: the net, in evaluation; it does not change.
        engine: a name of `caffecompat.engines.ENGINES`, or "auto": all that are installed are measured on the
            example, and the fastest whose outputs are the net's is taken.
        precision: "float32", "bfloat16" or "int8".
        example: inputs by blob name, such as will come; those left out are random, of the shapes that the net was
            built for.
        calibration: for "int8", what ranges of values are taken from.
        threads: how many threads to use; as many as torch does if not given.
        cache: remember on disk what "auto" chose, and take it from there.

    Raises:
        UsageError: there is no such engine or precision, or an argument makes no sense.
        UnsupportedError: the engine is not installed, or a layer has no form there.
        CaffeCompatError: the net cannot compute the example, or no engine holds the tolerance.
    """
    if net.training:
        raise UsageError("only a net in evaluation can be optimized", hint="call net.eval() first")
    row = engine_row(engine, precision)
    shapes = {key.name: net.blob_shapes[key] for key in net.graph.inputs}
    given = {name: torch.as_tensor(value) for name, value in (example or {}).items()}
    inputs = {name: given.get(name, torch.randn(shape)) for name, shape in shapes.items()}
    settings = Settings(precision, inputs, threads or torch.get_num_threads(), calibration)
    return row.load()(net, settings)
