"""LSTM, RNN and LSTMUnit."""

from __future__ import annotations

from caffecompat.export.source.item import Argument
from caffecompat.export.source.registry import Site, writes
from caffecompat.layers.recurrent import LSTM, RNN, LSTMUnit, Recurrent


@writes(LSTMUnit)
def lstm_unit(layer: LSTMUnit, at: Site) -> None:
    at.function("lstm", "lstm_step({0}, {1}, {2}[..., None])", operators=["lstm_step"])


@writes(LSTM, RNN)
def recurrent(layer: Recurrent, at: Site) -> None:
    """Without expose_hidden the state begins as 0: what Caffe carries from pass to pass has no place in a module."""
    name = type(layer).__name__
    blobs = list(layer.blobs)
    tensors = {"input.weight": blobs.pop(0), "input.bias": blobs.pop(0)}
    static = 0
    if layer.static:
        tensors["static.weight"] = blobs.pop(0)
        static = tensors["static.weight"].shape[1]
    tensors["hidden.weight"] = blobs.pop(0)
    tensors.update(zip(("output.weight", "output.bias"), blobs, strict=False))
    arguments = [
        Argument(tensors["input.weight"].shape[1], "", "in_channels"),
        Argument(tensors["hidden.weight"].shape[1], "", "out_channels"),
        Argument(static, "static", "", 0),
    ]
    unread = [at.between(state) for state in ("hidden", "cell")[: layer.parts]]
    outputs = at.tops if len(at.tops) > 1 else [*at.tops, *unread]
    at.module(name.lower(), name, arguments, tensors, outputs=outputs, operators=[name])
