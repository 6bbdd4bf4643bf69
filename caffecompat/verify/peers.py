"""What other programs compute from the same files, blob by blob."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from caffecompat.errors import CaffeCompatError, UnsupportedError, UsageError, context
from caffecompat.export.onnx.options import OPSET
from caffecompat.graph.spec import Graph
from caffecompat.net import Net

if TYPE_CHECKING:
    from caffecompat.export.onnx.model import Model

Arrays = dict[str, npt.NDArray[Any]]
ELSEWHERE = "compare with another program: see --against"


def caffe_answers(prototxt: Path, weights: Path, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """What the `caffe` that is installed computes: the original's pycaffe, of any branch.

    Raises:
        UnsupportedError: there is none.
    """
    try:
        caffe = importlib.import_module("caffe")
    except ImportError as error:
        raise UnsupportedError(
            f"there is no caffe to compare with: {error}",
            hint="record its answers where it runs: converters/record_reference.py writes a reference.npz",
        ) from error
    caffe.set_mode_cpu()
    net = caffe.Net(str(prototxt), str(weights), caffe.TEST)
    for name, value in inputs.items():
        net.blobs[name].reshape(*value.shape)
        net.blobs[name].data[...] = value
    net.forward()
    return {name: np.array(blob.data) for name, blob in net.blobs.items()}


def opencv_answers(graph: Graph, prototxt: Path, weights: Path, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """What OpenCV's own importer of Caffe's files computes (OpenCV 4; later ones have none).

    A layer's value there is its value after what OpenCV fused into it: of a blob that several layers in place change,
    the last one counts.

    Raises:
        UnsupportedError: this OpenCV has no importer.
        CaffeCompatError: the importer refuses the files.
    """
    import cv2

    if not hasattr(cv2.dnn, "readNetFromCaffe"):
        raise UnsupportedError(
            f"OpenCV {cv2.__version__} reads no Caffe files",
            hint="in an environment of its own: pip install 'opencv-python-headless<5'; or --against onnxruntime",
        )
    try:
        net = cv2.dnn.readNetFromCaffe(str(prototxt), str(weights))
        # Fused layers give no values of their own; and all are asked for at once, or OpenCV 4.14 answers wrongly.
        net.enableFusion(False)
        known = set(net.getLayerNames())
        wanted: dict[str, str] = {}
        for spec in graph.layers:
            top = spec.tops[0].name if spec.tops else ""
            name = next((name for name in (spec.name, top) if name in known), None)
            if name is not None and not spec.row.data:
                wanted.pop(next((other for other, blob in wanted.items() if blob == top), ""), None)
                wanted[name] = top
        for blob, value in inputs.items():
            net.setInput(np.ascontiguousarray(value), blob)
        found = dict(zip(wanted.values(), map(np.array, net.forward(list(wanted))), strict=True))
    except cv2.error as error:
        raise CaffeCompatError(
            f"OpenCV {cv2.__version__} refuses it: {error.err or error}", file=prototxt, hint=ELSEWHERE
        ) from error
    return found


def onnxruntime_answers(net: Net, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """What ONNX Runtime makes of the net written as ONNX: every blob.

    Raises:
        UnsupportedError: a package is missing, or a layer has no form in ONNX.
    """
    with _as_onnx(net, "onnx") as (model, path, names):
        from caffecompat.export.onnx.verifying import Session, runtime

        module = runtime()
        if module is None:
            raise UnsupportedError("onnxruntime is not installed", hint="pip install 'caffecompat[onnx]'")
        with context(file=net.graph.file, hint=ELSEWHERE):
            found = Session(module, path, model, list(names.values())).run(inputs)
    return _by_blob(found, names)


def openvino_answers(net: Net, inputs: Mapping[str, npt.NDArray[Any]]) -> Arrays:
    """What OpenVINO makes of the net written as ONNX: every blob.

    Raises:
        UnsupportedError: a package is missing, or a layer has no form in ONNX.
    """
    with _as_onnx(net, "openvino") as (_, path, names):
        from caffecompat.export.openvino.runtime import Session, load_openvino

        load_openvino()
        with context(file=net.graph.file, hint=ELSEWHERE):
            found = Session(path, list(names.values())).run(inputs)
    return _by_blob(found, names)


@contextmanager
def _as_onnx(net: Net, extra: str) -> Iterator[tuple[Model, Path, dict[str, str]]]:
    """The net as ONNX, where it lies, and the name of each blob's value in it.

    Raises:
        UnsupportedError: onnx is missing, or a layer has no form in it.
    """
    try:
        from caffecompat.export.axes import find_axes
        from caffecompat.export.onnx.building import build_model
        from caffecompat.export.onnx.writing import written
    except ImportError as error:
        raise UnsupportedError(f"{error.name} is not installed", hint=f"pip install 'caffecompat[{extra}]'") from error
    axes = find_axes(net, dynamic_batch=False, dynamic_size=False)
    model = build_model(net, axes, opset=OPSET, half=False)
    names = {name: model.names[key] for name, key in net.graph.last.items() if key in model.names}
    with tempfile.TemporaryDirectory() as folder, written(model, net.graph.name, Path(folder) / "net.onnx", {}) as made:
        yield model, made[0], names


def _by_blob(found: Mapping[str, npt.NDArray[Any]], names: Mapping[str, str]) -> Arrays:
    return {name: found[inside] for name, inside in names.items() if inside in found}


def drawn_inputs(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, npt.NDArray[np.float32]]:
    """Values for inputs of these shapes: the same each time, from -1 to 1, as `record_reference.py` draws them.

    Raises:
        UsageError: there is no input.
    """
    if not shapes:
        raise UsageError("the net has no input to feed")
    generator = np.random.RandomState(1)
    return {name: generator.uniform(-1, 1, shape).astype(np.float32) for name, shape in shapes.items()}
