"""What ONNX Runtime makes of an exported model, compared with the net; see `export.verifying`."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import onnx

from caffecompat.errors import CaffeCompatError, context
from caffecompat.export.axes import Axes
from caffecompat.export.onnx.model import Model
from caffecompat.export.sampling import Array
from caffecompat.export.verifying import HALF_TOLERANCE, HINT, TOLERANCE, Comparison, compare_with, watched
from caffecompat.graph.spec import BlobKey
from caffecompat.net import Net


def check(path: Path) -> None:
    """Run onnx's checker, shape inference included.

    Raises:
        CaffeCompatError: it refuses the model.
    """
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise CaffeCompatError(f"onnx's checker refuses the model: {reason}", file=path.name) from error


def runtime() -> Any | None:
    """The module onnxruntime, or None if it is not installed."""
    with suppress(ImportError):
        import onnxruntime

        return onnxruntime
    return None


def compare(net: Net, path: Path, model: Model, axes: Axes) -> list[Comparison] | None:
    """Compare the model with the net on random inputs, one for each way in which they vary.

    Args:
        net: the net, in evaluation.
        path: where the model lies.
        model: what was written there.
        axes: what varies.

    Returns:
        The outputs, and what sensitive layers have read; of each the worst. None without onnxruntime.

    Raises:
        CaffeCompatError: ONNX Runtime refuses the model, or an output is not the net's.
    """
    module = runtime()
    if module is None:
        return None
    allowed = HALF_TOLERANCE if model.half else TOLERANCE
    with context(hint=HINT):
        session = Session(module, path, model, [model.names[key] for key in watched(net)])

        def run(inputs: Mapping[str, Array]) -> dict[BlobKey, Array]:
            return by_key(session.run(inputs), model)

        return compare_with(net, axes.inputs, run, f"ONNX Runtime {module.__version__}", allowed=allowed)


def by_key(found: Mapping[str, Array], model: Model) -> dict[BlobKey, Array]:
    """Values by the blob, not by their names in the model."""
    return {key: found[name] for key, name in model.names.items() if name in found}


class Session:
    """The model in ONNX Runtime, with the blobs besides that are to be watched."""

    def __init__(self, module: Any, path: Path, model: Model, watched: list[str]) -> None:
        outputs = {value.name for value in model.outputs}
        fed = {value.name for value in model.inputs}
        self._inputs = fed
        extra = [name for name in dict.fromkeys(watched) if name not in outputs | fed]
        options = module.SessionOptions()
        options.log_severity_level = 3
        source: str | bytes = str(path)
        try:
            if extra:
                source = _with_outputs(path, extra)
            self._session = module.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise _refused(error) from error
        self.names = [output.name for output in self._session.get_outputs()]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """All outputs by name."""
        fed = {name: value for name, value in inputs.items() if name in self._inputs}
        try:
            return dict(zip(self.names, self._session.run(None, fed), strict=True))
        except Exception as error:
            raise _refused(error) from error


def _refused(error: Exception) -> CaffeCompatError:
    reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return CaffeCompatError(f"ONNX Runtime refuses the model: {reason}")


def _with_outputs(path: Path, names: list[str]) -> str:
    """The model beside itself with further outputs; its file goes with the folder."""
    proto = onnx.load(str(path), load_external_data=False)
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    watched = path.with_name("watched.onnx")
    watched.write_bytes(proto.SerializeToString())
    return str(watched)
