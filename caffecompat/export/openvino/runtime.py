"""OpenVINO, imported so that it reports nothing to anybody, and a model that it runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

from caffecompat.errors import CaffeCompatError, UnsupportedError
from caffecompat.export.sampling import Array

_TELEMETRY = "openvino_telemetry"


def load_openvino() -> Any:
    """The module openvino.

    Its import sends an event over the network, and leaves a number in the home directory by which the user is known
    again. Where the package that does so cannot be imported, openvino goes without: so it cannot, meanwhile. A program
    that imported openvino before has decided for itself.

    Raises:
        UnsupportedError: it is not installed.
    """
    try:
        with _silent():
            return importlib.import_module("openvino")
    except ImportError as error:
        raise UnsupportedError(
            "OpenVINO needs the package openvino, which is not installed", hint="pip install 'caffecompat[openvino]'"
        ) from error


@contextmanager
def _silent() -> Iterator[None]:
    if "openvino" in sys.modules:
        yield
        return
    missing = object()
    before: Any = sys.modules.get(_TELEMETRY, missing)
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if before is missing:
            del sys.modules[_TELEMETRY]
        else:
            sys.modules[_TELEMETRY] = before


@contextmanager
def refused(doing: str, hint: str | None = None) -> Iterator[None]:
    """What OpenVINO raises becomes an error of ours, with its last line: the ones before tell where in its sources."""
    try:
        yield
    except CaffeCompatError:
        raise
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise CaffeCompatError(f"OpenVINO {doing}: {(lines or [type(error).__name__])[-1]}", hint=hint) from error


def read_model(core: Any, source: Path | bytes) -> Any:
    """A model of a file (`.xml`, `.onnx`) or of the bytes of an ONNX model.

    ONNX's TopK takes the lower index first of equal values; OpenVINO's reader of ONNX leaves the order open.
    """
    with refused("cannot read the model"):
        model = core.read_model(BytesIO(source) if isinstance(source, bytes) else str(source))
        for node in model.get_ordered_ops():
            if node.get_type_name() == "TopK":
                node.set_attribute("stable", True)
    return model


class Session:
    """A model on OpenVINO's CPU plug-in in float32, with the values besides that are to be watched."""

    def __init__(self, source: Path | bytes, watched: Collection[str] = ()) -> None:
        """Compile a model.

        Args:
            source: its file, or the bytes of an ONNX model.
            watched: names of values to return besides the outputs; those that it has not are left out.
        """
        core = load_openvino().Core()
        model = read_model(core, source)
        inputs = {name for value in model.inputs for name in value.get_names()}
        outputs = {name for value in model.outputs for name in value.get_names()}
        known = {
            name for node in model.get_ordered_ops() for value in node.outputs() for name in value.get_names()
        } - inputs
        with refused("refuses the model"):
            for name in sorted((known - outputs).intersection(watched)):
                model.add_outputs(name)
            # Elsewhere it may take bfloat16 or float16 where the processor has it.
            self._compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self._inputs = inputs
        self._wanted = outputs | known.intersection(watched)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs, and what is watched, by name."""
        fed = {name: value for name, value in inputs.items() if name in self._inputs}
        with refused("cannot run the model"):
            found = self._compiled(fed)
        return {name: values for value, values in found.items() for name in value.get_names() if name in self._wanted}
