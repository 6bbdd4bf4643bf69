"""`caffecompat.load`: from a prototxt and its weights to a Net."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast, get_args

from caffecompat.errors import UsageError, quoted
from caffecompat.formats import read_net, read_weights
from caffecompat.formats.weights import Weights
from caffecompat.graph import build_graph
from caffecompat.graph.spec import Dialect, Phase
from caffecompat.net.meanings import state_meanings
from caffecompat.net.net import Net

if TYPE_CHECKING:
    from caffecompat.data.source import Reading


def load(
    prototxt: str | os.PathLike[str],
    weights: str | os.PathLike[str] | Weights | Sequence[str | os.PathLike[str] | Weights] | None = None,
    phase: str = "TEST",
    dialect: str = "ssd",
    input_shapes: Mapping[str, Iterable[int]] | None = None,
    *,
    level: int = 0,
    stages: Sequence[str] = (),
    ignore_fields: Sequence[str] = (),
    reading: Reading | None = None,
) -> Net:
    """Make a net from the files Caffe used.

    Args:
        prototxt: a net's prototxt of any age (V0, V1, V2).
        weights: a weight file (`.caffemodel` of any age, `.caffemodel.h5`), or several, each over the last.
            It is mapped, not read: it must not be overwritten in place while the net lives (files written by
            this package and by most tools are replaced, which is safe). Without it the fillers give the values.
        phase: "TEST" or "TRAIN": the layers included, and the mode (`.eval()`, `.train()`) the net starts in.
        dialect: whose rules count where two Caffes differ: "ssd" (the SSD branch) or "bvlc" (BVLC master).
        input_shapes: shapes of inputs by blob name, such as `{"data": (1, 3, 224, 224)}`.
        level: the level that rules of the prototxt may ask for.
        stages: the stages that rules of the prototxt may ask for.
        ignore_fields: names of fields that the schema does not know and that may be passed over.
        reading: let data layers read by themselves, in this way; without it they are fed like inputs.

    Returns:
        The net, its parameters float32 on the CPU.

    Raises:
        CaffeCompatError: a file cannot be read, the layers make no net, or the weights do not fit.
    """
    if phase not in get_args(Phase):
        raise UsageError(f"phase must be TRAIN or TEST, got {quoted(phase)}")
    if dialect not in get_args(Dialect):
        raise UsageError(f"dialect must be ssd or bvlc, got {quoted(dialect)}")
    with _no_collection():
        parsed = read_net(prototxt)
        graph = build_graph(
            parsed,
            cast(Phase, phase),
            level=level,
            stages=stages,
            dialect=cast(Dialect, dialect),
            ignore_fields=ignore_fields,
            root=None if reading is None else reading.root,
        )
        several = [weights] if weights is None or isinstance(weights, (str, os.PathLike, Weights)) else weights
        sources = [
            source if isinstance(source, Weights) else read_weights(source) for source in several if source is not None
        ]
        state_meanings(graph, sources)
        net = Net(graph, input_shapes, reading=reading)
        for source in sources:
            net.copy_from(source)
        net.fill()
    return net


@contextmanager
def _no_collection() -> Iterator[None]:
    """No garbage collection: one in the middle of a load walks all of PyTorch's objects, which takes 80 ms."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
