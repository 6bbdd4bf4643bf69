"""`export_openvino`: build as ONNX, have OpenVINO read it, write, read again, compare."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from caffecompat.errors import CaffeCompatError
from caffecompat.export.onnx.axes import find_axes
from caffecompat.export.onnx.building import build_model
from caffecompat.export.onnx.exporting import Exported
from caffecompat.export.onnx.options import OPSET
from caffecompat.export.onnx.verifying import compare_with, watched
from caffecompat.export.onnx.writing import take_name, written
from caffecompat.export.openvino.options import OpenVinoOptions
from caffecompat.export.openvino.runtime import Session, load_openvino, read_model, refused
from caffecompat.export.pt2 import evaluation
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
    with evaluation(net), _drafted(path) as (draft, files):
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
            session = Session(draft, watched(net, model))
            program = f"OpenVINO {openvino.__version__.partition('-')[0]}"
            comparisons = compare_with(net, model, axes, session.run, program, half=options.half)
    return Exported(files, axes.batch, comparisons)


@contextmanager
def _drafted(path: Path) -> Iterator[tuple[Path, list[Path]]]:
    """A name to write to in a folder of its own; at the end of the block both files take theirs, the weights first.

    Yields:
        Where to write meanwhile, and the files that there will be.

    Raises:
        CaffeCompatError: a file cannot be written.
    """
    files = [path, path.with_suffix(".bin")]
    try:
        with tempfile.TemporaryDirectory(prefix=f".{path.name[:100]}.", dir=path.parent) as folder:
            draft = Path(folder) / "net.xml"
            yield draft, files
            for file in reversed(files):
                take_name(draft.with_suffix(file.suffix.lower()), file)
    except OSError as error:
        hint = None if path.parent.is_dir() else "its folder does not exist: make it first, or give another one"
        raise CaffeCompatError(f"cannot be written: {error.strerror or error}", file=path, hint=hint) from error
