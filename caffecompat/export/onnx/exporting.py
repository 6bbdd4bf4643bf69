"""`export_onnx`: build, check, compare, write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from onnx import defs

from caffecompat.errors import UsageError
from caffecompat.export.axes import find_axes
from caffecompat.export.onnx.building import build_model
from caffecompat.export.onnx.options import OPSET, OnnxOptions
from caffecompat.export.onnx.verifying import check, compare
from caffecompat.export.onnx.writing import written
from caffecompat.export.pt2 import evaluation
from caffecompat.export.verifying import Exported
from caffecompat.net import Net


def export_onnx(net: Net, path: Path, options: OnnxOptions, metadata: Mapping[str, str]) -> Exported:
    """Write a net as ONNX, as it computes in evaluation; the net does not change.

    The result passes onnx's checker, and unless told otherwise its outputs in ONNX Runtime are compared with the
    net's, before a file appears.

    Args:
        net: the net, its parameters filled.
        path: where to; replaced whole.
        options: how.
        metadata: texts by name; they become the model's `metadata_props`.

    Raises:
        UsageError: there is no such opset.
        UnsupportedError: a layer has no form in ONNX, or height and width cannot vary.
        CaffeCompatError: the file cannot be written, or its outputs are not the net's.
    """
    newest = defs.onnx_opset_version()
    if not OPSET <= options.opset <= newest:
        raise UsageError(f"opset must be {OPSET} to {newest} (what the installed onnx knows), got {options.opset}")
    with evaluation(net):
        axes = find_axes(net, dynamic_batch=options.dynamic_batch, dynamic_size=options.dynamic_size)
        model = build_model(net, axes, opset=options.opset, half=options.half)
        with written(model, net.graph.name, path, metadata, options.max_bytes) as (draft, files):
            check(draft)
            comparisons = compare(net, draft, model, axes) if options.verify else None
    return Exported(files, axes.batch, comparisons)
