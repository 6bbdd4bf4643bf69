"""For which phases a file with a net is."""

from __future__ import annotations

from collections.abc import Iterable

from caffecompat.errors import CaffeCompatError
from caffecompat.formats.parsed import ParsedNet
from caffecompat.graph.rules import State, included
from caffecompat.graph.spec import Phase
from caffecompat.schema import LAYER_TYPES, caffe_pb2
from caffecompat.solver.lint.asked import Asked


def phases_of(parsed: ParsedNet, asked: Asked) -> list[Phase]:
    """The phases that a net is for: those in which it has data, or one if no rule tells them apart."""
    if asked.phase is not None:
        return [asked.phase]
    options = asked.options
    both: tuple[Phase, ...] = ("TRAIN", "TEST")
    kept = {}
    for phase in both:
        state = State.of(parsed.message, phase, options.level, options.stages)
        try:
            kept[phase] = [index for index, layer in enumerate(parsed.message.layer) if included(layer, state)]
        except CaffeCompatError:
            # Rules that contradict each other are told of when the net is built.
            return ["TEST"]
    if kept["TRAIN"] == kept["TEST"]:
        known = [layer for layer in parsed.message.layer if layer.type in LAYER_TYPES]
        return ["TRAIN"] if any(LAYER_TYPES[layer.type].loss for layer in known) and _trains(known) else ["TEST"]
    layers = {phase: [parsed.message.layer[index] for index in kept[phase]] for phase in both}
    found: list[Phase] = ["TRAIN"] if _trains(layers["TRAIN"]) else []
    return [*found, "TEST"] if any(map(is_source, layers["TEST"])) or not found else found


def _trains(layers: Iterable[caffe_pb2.LayerParameter]) -> bool:
    """Whether there is a layer that reads data; one that is fed counts where there is a loss."""
    types = {layer.type for layer in layers} & set(LAYER_TYPES)
    sources = {name for name in types if LAYER_TYPES[name].data}
    return bool(sources - {"Input"}) or (bool(sources) and any(LAYER_TYPES[name].loss for name in types))


def is_source(layer: caffe_pb2.LayerParameter) -> bool:
    """Whether the layer's tops come from outside the net."""
    return layer.type in LAYER_TYPES and LAYER_TYPES[layer.type].data
