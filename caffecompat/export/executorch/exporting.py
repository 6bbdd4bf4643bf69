"""`export_executorch`: trace, lower, run, compare, write."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, shown
from caffecompat.export.axes import fed
from caffecompat.export.executorch.lowering import PORTABLE, XNNPACK, Lowered, lower
from caffecompat.export.executorch.runtime import Session, load_executorch
from caffecompat.export.executorch.tracing import left_out, program_outputs, trace
from caffecompat.export.pt2 import evaluation
from caffecompat.export.sampling import Array
from caffecompat.export.verifying import Comparison, Exported, compare_with, watched
from caffecompat.formats import atomic_write
from caffecompat.graph.spec import BlobKey
from caffecompat.net import Net

Tell = Callable[[str], None]


def export_executorch(
    net: Net, path: Path, metadata: Mapping[str, str], *, verify: bool = True, tell: Tell | None = None
) -> Exported:
    """Write a net for ExecuTorch, as it computes in evaluation, for the shapes that it was built for.

    XNNPACK runs what it can, portable operators the rest; if ExecuTorch's runtime refuses that, or it is not the net,
    portable operators run all. Layers that suppress boxes are left out: what they read becomes an output. The program
    is loaded in the runtime, and unless told otherwise its outputs are compared with the net's, before a file appears.

    Args:
        net: the net, its parameters filled; it does not change.
        path: where to; replaced whole.
        metadata: texts by name; they become methods of the program that return them, besides `backend` and, as JSON,
            the names of its `inputs` and `outputs`.
        verify: compare.
        tell: is called with what runs the program.

    Raises:
        UnsupportedError: executorch is not installed, or the net cannot be a program.
        CaffeCompatError: the file cannot be written, or its outputs are not the net's.
    """
    load_executorch()
    gone, outputs = left_out(net), program_outputs(net)
    names = {"inputs": fed(net), "outputs": outputs}
    texts = {**metadata, **{what: json.dumps([key.name for key in keys]) for what, keys in names.items()}}
    with evaluation(net):
        lowered, comparisons = _lowered(net, texts, verify, tell or _unheard)
    with atomic_write(path) as file:
        file.write(lowered.program)
    if gone:
        layers, blobs = ", ".join(shown(spec.name) for spec in gone), ", ".join(shown(key.name) for key in outputs)
        warnings.warn(
            f"{path}: ExecuTorch has no loop for the suppression of boxes: without {layers}; the outputs are {blobs}",
            CaffeCompatWarning,
            stacklevel=4,
        )
    return Exported([path], False, comparisons)


def _lowered(net: Net, texts: Mapping[str, str], verify: bool, tell: Tell) -> tuple[Lowered, list[Comparison] | None]:
    """The program by the better of the backends that serve, and how it compares."""
    outputs = program_outputs(net)
    try:
        lowered = lower(trace(net, outputs), XNNPACK, {**texts, "backend": XNNPACK})
        if lowered.parts:
            comparisons = _checked(net, lowered, XNNPACK, verify)
            rest = f"; portable are {', '.join(lowered.operators)}" if lowered.operators else ""
            tell(f"XNNPACK runs the net in {lowered.parts} part{'s'[: lowered.parts > 1]}{rest}")
            return lowered, comparisons
        tell("portable operators run the net: XNNPACK has none of its layers")
    except CaffeCompatError as error:
        tell(f"portable operators run the net, slowly, since XNNPACK does not: {error.message}")
    lowered = lower(trace(net, outputs), PORTABLE, {**texts, "backend": PORTABLE})
    return lowered, _checked(net, lowered, PORTABLE, verify)


def _unheard(text: str) -> None:
    pass


def _checked(net: Net, lowered: Lowered, backend: str, verify: bool) -> list[Comparison] | None:
    """Load a program and compare it with the net.

    Softmax of large values makes differences larger, and other layers choose. Where an output departs, another program
    of the same net tells what such layers have read: that is compared, and then what they make of the same values.

    Raises:
        CaffeCompatError: the runtime refuses the program, or its outputs are not the net's.
    """
    session = Session(lowered.program)
    if not verify:
        return None
    outputs = program_outputs(net)
    try:
        # No layer gets here the values that the program's read.
        return [replace(found, given=False) for found in _compared(net, session, outputs)]
    except CaffeCompatError:
        made = {key for spec in net.graph.layers if spec not in left_out(net) for key in spec.tops}
        more = [key for key in dict.fromkeys(watched(net)) if key in made - set(net.graph.inputs) - set(outputs)]
        if not more:
            raise
    watching = lower(trace(net, [*outputs, *more]), backend, {})
    return _compared(net, Session(watching.program), [*outputs, *more])


def _compared(net: Net, session: Session, outputs: Sequence[BlobKey]) -> list[Comparison]:
    inputs = fed(net)

    def run(values: Mapping[str, Array]) -> dict[BlobKey, Array]:
        found = session.run([torch.from_numpy(values[key.name]) for key in inputs])
        return {key: value.numpy() for key, value in zip(outputs, found, strict=True)}

    shapes = {key.name: net.blob_shapes[key] for key in inputs}
    return compare_with(net, [shapes, shapes], run, "ExecuTorch")
