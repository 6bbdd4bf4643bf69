"""`export_openvino`: build as ONNX, have OpenVINO read it, write, read again, compare."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from caffecompat.export.axes import find_axes
from caffecompat.export.drafting import drafted
from caffecompat.export.onnx.building import build_model
from caffecompat.export.onnx.options import OPSET
from caffecompat.export.onnx.verifying import by_key
from caffecompat.export.onnx.writing import written
from caffecompat.export.openvino.options import OpenVinoOptions
from caffecompat.export.openvino.runtime import Session, load_openvino, read_model, refused
from caffecompat.export.pt2 import evaluation
from caffecompat.export.sampling import Array
from caffecompat.export.verifying import HALF_TOLERANCE, TOLERANCE, Exported, compare_with, watched
from caffecompat.graph.spec import BlobKey
from caffecompat.net import Net

# Where the texts lie in a model's runtime information: `model.get_rt_info(["caffecompat", "license"])`.
INFO = "caffecompat"


def export_openvino(net: Net, path: Path, options: OpenVinoOptions, metadata: Mapping[str, str]) -> Exported:
    """Write a net for OpenVINO, as it computes in evaluation; the net does not change.

    Unless told otherwise, the outputs of what was written are compared with the net's before a file appears.

    Args:
        net: the net, its parameters filled.
        path: where to, a name in `.xml`; the weights lie beside it in `.bin`; both are replaced whole.
        options: how.
        metadata: texts by name; they become runtime information of the model, under `INFO`.

    Raises:
        UnsupportedError: openvino is not installed, a layer has no form in ONNX, or height and width cannot vary.
        CaffeCompatError: a file cannot be written, or its outputs are not the net's.
    """
    openvino = load_openvino()
    with evaluation(net), drafted(path, ".bin") as draft:
        axes = find_axes(net, dynamic_batch=options.dynamic_batch, dynamic_size=options.dynamic_size)
        model = build_model(net, axes, opset=OPSET, half=False)
        with written(model, net.graph.name, draft.with_name("net.onnx"), {}) as (source, _):
            converted = read_model(openvino.Core(), source)
            for name, text in metadata.items():
                converted.set_rt_info(text, [INFO, name])
            with refused("cannot write the model"):
                openvino.save_model(converted, str(draft), compress_to_fp16=options.half)
        comparisons = None
        if options.verify:
            session = Session(draft, [model.names[key] for key in watched(net)])

            def run(inputs: Mapping[str, Array]) -> dict[BlobKey, Array]:
                return by_key(session.run(inputs), model)

            program = f"OpenVINO {openvino.__version__.partition('-')[0]}"
            allowed = HALF_TOLERANCE if options.half else TOLERANCE
            comparisons = compare_with(net, axes.inputs, run, program, allowed=allowed)
    return Exported([path, path.with_suffix(".bin")], axes.batch, comparisons)
