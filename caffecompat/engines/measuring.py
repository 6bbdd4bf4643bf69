"""What int8 costs: the plain net and an engine side by side, on items that took no part in calibration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from caffecompat.engines.accuracy import FEW, Accuracy, counted
from caffecompat.engines.base import Engine, Settings
from caffecompat.engines.calibrating import HELD_OUT
from caffecompat.engines.comparing import reference
from caffecompat.engines.detection_meter import Detections
from caffecompat.engines.meters import Classes, Meter, Pixels, Values
from caffecompat.graph.spec import Shape
from caffecompat.layers.base import Layer
from caffecompat.layers.detection import DetectionOutput
from caffecompat.net import Net


def measure(
    engine: Engine, settings: Settings, tell: Callable[[str], None], items: Sequence[int] | None = None
) -> Accuracy | None:
    """What an engine in int8 reaches beside its plain net; None if no items are held out.

    Args:
        engine: the engine.
        settings: those of the engine; there is a calibration.
        tell: is called with a sentence on what is measured.
        items: which of them; those held out, if not given.

    Raises:
        CaffeCompatError: an item cannot be read, or not be computed.
    """
    calibration = settings.calibration
    assert calibration is not None, "int8 without a calibration"
    chosen = calibration.held_out if items is None else items
    if not chosen:
        tell("what int8 costs is not measured: no items are held out")
        return None
    tell(f"measuring what int8 costs, on {counted(len(chosen), 'item')}")
    meters = _meters(engine.net, calibration.classes)
    for batch in calibration.batches(chosen, settings.example):
        wanted, found = reference(engine.net, batch.inputs), engine.run(dict(batch.inputs))
        for name, meter in meters.items():
            meter.add(wanted[name], found[name], batch.truths)
    float32: dict[str, float] = {}
    int8: dict[str, float] = {}
    agreement: dict[str, float] = {}
    notes: list[str] = []
    for name, meter in meters.items():
        figures = meter.figures()
        behind = f" ({name})" if len(meters) > 1 else ""
        float32.update({key + behind: value for key, value in figures.float32.items()})
        int8.update({key + behind: value for key, value in figures.int8.items()})
        agreement.update({key + behind: value for key, value in figures.agreement.items()})
        notes += [note + behind for note in figures.notes]
    if len(chosen) < FEW and (float32 or agreement):
        notes.append(f"figures of so few items say little: give {HELD_OUT * FEW} or more to calibrate and measure with")
    took_part = items is None and not set(chosen).isdisjoint(calibration.used)
    return Accuracy(len(chosen), float32, int8, agreement, notes, took_part)


def _meters(net: Net, folders: int | None) -> dict[str, Meter]:
    """A meter for each output."""
    makers = {key.name: layer for layer in net.layers for key in layer.spec.tops}
    alone = len(net.outputs) == 1
    shapes = {key.name: net.blob_shapes[key] for key in net.graph.outputs}
    return {name: _meter(makers[name], shape, folders, alone=alone) for name, shape in shapes.items()}


def _meter(maker: Layer, shape: Shape, folders: int | None, *, alone: bool) -> Meter:
    if isinstance(maker, DetectionOutput):
        return Detections(maker.classes)
    classes = shape[1] if len(shape) > 1 else 0
    # What no Softmax makes are scores of classes too where there is nothing else; two values are rather a place.
    if classes > 1 and (maker.spec.type == "Softmax" or (alone and classes > 2)):
        if prod(shape[2:]) == 1:
            return Classes(classes, folders)
        if len(shape) == 4:
            return Pixels()
    return Values()
