"""The trunk of a net as an ONNX model, for the engines that read one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from onnx import ModelProto

from caffecompat.engines.base import Settings
from caffecompat.errors import CaffeCompatError, UnsupportedError
from caffecompat.export.axes import find_axes
from caffecompat.export.onnx.building import build_model
from caffecompat.export.onnx.options import MAX_BYTES, OPSET
from caffecompat.export.onnx.writing import model_proto
from caffecompat.net import Net


def trunk_model(trunk: Net, settings: Settings, *, any_batch: bool = False) -> ModelProto:
    """The trunk in the precision of an engine.

    Args:
        trunk: the net.
        settings: those of the engine.
        any_batch: let the number of images vary, if the net allows.

    Raises:
        UnsupportedError: a layer has no form in ONNX (the error names it), or the weights do not fit into a message.
        CaffeCompatError: calibration fails.
    """
    if settings.precision == "int8":
        try:
            from caffecompat.engines.quantizing import quantized_model
        except ImportError as error:
            raise UnsupportedError(
                f"int8 needs {error.name}, which is not installed", hint="pip install 'caffecompat[onnx]'"
            ) from error

        return quantized_model(trunk, settings, any_batch=any_batch)
    return float_model(trunk, any_batch=any_batch)


def float_model(trunk: Net, *, any_batch: bool = False) -> ModelProto:
    """The trunk in float32; arguments and errors as those of `trunk_model`."""
    axes = find_axes(trunk, dynamic_batch=any_batch, dynamic_size=False)
    model = build_model(trunk, axes, opset=OPSET, half=False)
    size = sum(array.nbytes for array in model.initializers.values())
    if size > MAX_BYTES:
        raise UnsupportedError(f"its weights of {size} bytes are too many for a message of ONNX", hint="engine torch")
    return model_proto(model, trunk.graph.name, {})


@contextmanager
def refusals(program: str) -> Iterator[None]:
    """Whatever a program raises becomes an error of ours, with its first line."""
    try:
        yield
    except CaffeCompatError:
        raise
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UnsupportedError(f"{program} refuses the net: {reason}", hint="take another engine") from error
