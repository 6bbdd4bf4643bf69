"""`caffecompat.optimize`: the engine that runs a net fastest, or the one that is named."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from caffecompat.engines.accuracy import counted
from caffecompat.engines.base import Engine, Settings
from caffecompat.engines.calibrating import Calibration
from caffecompat.engines.choosing import choose
from caffecompat.engines.measuring import measure
from caffecompat.engines.registry import AUTO, Precision, check_precision, engine_row
from caffecompat.engines.report import Report
from caffecompat.errors import UsageError, did_you_mean, quoted
from caffecompat.export.fusing import for_inference
from caffecompat.export.sampling import random_tensors
from caffecompat.export.settling import place_of, settled
from caffecompat.net import Net

_log = logging.getLogger(__name__)
_Array = Tensor | np.ndarray[Any, Any]
Example = _Array | Mapping[str, _Array]
_BY_NAME = 'example={"data": tensor}'
_EVALUATION = frozenset(("Accuracy", "DetectionEvaluate", "Silence"))


def optimize(
    net: Net,
    engine: str = AUTO,
    precision: Precision = "float32",
    example: Example | None = None,
    *,
    calibration: Any = None,
    threads: int | None = None,
    cache: bool = True,
    tell: Callable[[str], None] | None = None,
) -> Engine:
    """Make a net run fast, on the CPU.

    As with `fuse`, losses and evaluation drop out: what they read are outputs.

    Args:
        net: the net, in evaluation; it does not change.
        engine: a name of `caffecompat.engines.ENGINES`, or "auto": all that are installed are measured on the
            example, and the fastest whose outputs are the plain net's is taken.
        precision: "float32", "bfloat16" or "int8".
        example: inputs by blob name, or a tensor where the net has one input, such as will come; those left out are of
            the calibration, else random, of the shapes that the net was built for.
        calibration: for "int8", inputs such as will come: a folder or a list of pictures, an LMDB, inputs by name, or
            a `Calibration`. Of most the ranges of values are taken, by the others it is measured what int8 costs.
        threads: how many threads to use; as many as torch does if not given.
        cache: keep on disk what "auto" chose and the ranges of int8, and take them from there; see `docs/engines.md`.
        tell: is called with a sentence on what is measured and chosen; without it the log of
            "caffecompat.engines" gets them.

    Returns:
        The engine. `engine(data=images)` gives the outputs by name; `engine.report` says what "auto" measured, and
        `engine.report.accuracy` what int8 costs, if it was measured.

    Raises:
        UsageError: there is no such engine, precision or input, `net` is none, it is in training or not on the CPU, or
            int8 has no calibration.
        UnsupportedError: the engine is not installed, a layer has no form there (the error names it), or no engine
            holds the tolerance.
        CaffeCompatError: the net cannot compute the example.
    """
    if not isinstance(net, Net):
        raise UsageError(f"expected a Net from caffecompat.load, got {quoted(net)}", hint="caffecompat.load(PROTOTXT)")
    if net.training:
        raise UsageError("only a net in evaluation can be optimized", hint="call net.eval() first")
    place = place_of(net)
    if place.type != "cpu":
        raise UsageError(f"engines run on the CPU, and the net is on {place}", hint="call net.cpu() first")
    check_precision(precision)
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, got {threads}")
    row = None if engine == AUTO else engine_row(engine, precision)
    given = _by_blob(net, {} if example is None else example)
    net = settled(net)
    net = for_inference(net) if _has_more(net) else net
    tell = tell or _log.info
    inputs = _example(net, given)
    typical = _calibration(calibration, net, inputs) if precision == "int8" else None
    if typical is not None:
        tell(f"int8 is calibrated with {counted(len(typical.used), 'item')}")
        inputs = {**next(typical.batches(typical.held_out or typical.used, inputs)).inputs, **given}
    settings = Settings(precision, inputs, threads or torch.get_num_threads(), typical, cache)
    if row is None:
        return choose(net, settings, tell, cache=cache)
    made = row.load()(net, settings)
    if typical is not None:
        accuracy = measure(made, settings, tell)
        if accuracy is not None:
            tell(str(accuracy))
        made.report = Report(made.name, precision, settings.threads, accuracy=accuracy)
    return made


def _calibration(given: Any, net: Net, example: Mapping[str, Tensor]) -> Calibration:
    """What int8 is calibrated with, for inputs of the example's shapes.

    Raises:
        UsageError: there is nothing.
    """
    if given is None:
        raise UsageError("int8 needs calibration", hint="calibration=FOLDER (--calibration): typical pictures")
    found = given if isinstance(given, Calibration) else Calibration(given, net.preprocessing)
    return found.fitted({name: tuple(value.shape) for name, value in example.items()})


def _has_more(net: Net) -> bool:
    """Whether it has layers that have no place where a net is only run."""
    rows = [spec.row for spec in net.graph.layers]
    return any(row.loss or (row.data and row.name != "Input") or row.name in _EVALUATION for row in rows)


def _by_blob(net: Net, given: Example) -> dict[str, Tensor]:
    """The inputs given, by blob name.

    Raises:
        UsageError: there is no input of a name, or a tensor stands for several inputs.
    """
    if isinstance(given, (Tensor, np.ndarray)):
        if len(net.inputs) != 1:
            names = ", ".join(map(quoted, net.inputs))
            raise UsageError(f"a tensor is an example of one input; the net has {names or 'none'}", hint=_BY_NAME)
        given = {net.inputs[0]: given}
    if not isinstance(given, Mapping):
        raise UsageError(f"expected an example of tensors by name, got {type(given).__name__}", hint=_BY_NAME)
    known = {**net.input_names, **{name: name for name in net.inputs}}
    for name in given:
        if name not in known:
            hint = did_you_mean(name, known)
            raise UsageError(f"example has {quoted(name)}, which is no input of the net", hint=hint)
    return {known[name]: torch.as_tensor(value).detach() for name, value in given.items()}


def _example(net: Net, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """All inputs: those given, and random ones."""
    return {name: given.get(name, drawn) for name, drawn in random_tensors(net).items()}
