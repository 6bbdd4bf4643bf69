"""The engines by name: what each needs, and which precisions it computes in; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Literal, get_args

from caffecompat.errors import UnsupportedError, UsageError, did_you_mean, quoted

if TYPE_CHECKING:
    from caffecompat.engines.base import Engine

Precision = Literal["float32", "bfloat16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
# The name that stands for the fastest of all.
AUTO = "auto"


@dataclass(frozen=True)
class EngineRow:
    """An engine.

    Attributes:
        name: what a user calls it.
        place: its class, as `module:class`.
        precisions: those it can compute in.
        needs: the packages it imports besides those of caffecompat.
        extra: the extra of caffecompat that installs them.
    """

    name: str
    place: str
    precisions: tuple[Precision, ...]
    needs: tuple[str, ...] = ()
    extra: str = ""

    @property
    def missing(self) -> list[str]:
        """The packages it needs that are not installed."""
        return [package for package in self.needs if find_spec(package) is None]

    def load(self) -> type[Engine]:
        """Its class.

        Raises:
            UnsupportedError: a package it needs is not installed.
        """
        if self.missing:
            raise UnsupportedError(
                f"engine {self.name} needs {' and '.join(self.missing)}",
                hint=f"pip install 'caffecompat[{self.extra}]'",
            )
        module, _, name = self.place.partition(":")
        found: type[Engine] = getattr(import_module(module), name)
        return found


_ROWS = (
    EngineRow("torch", "caffecompat.engines.torch_eager:TorchEngine", ("float32", "bfloat16")),
    EngineRow("compile", "caffecompat.engines.torch_compile:CompileEngine", ("float32", "bfloat16")),
    EngineRow(
        "onnxruntime",
        "caffecompat.engines.onnx_runtime:OnnxRuntimeEngine",
        ("float32", "int8"),
        ("onnx", "onnxruntime"),
        "onnx",
    ),
    EngineRow(
        "openvino",
        "caffecompat.engines.open_vino:OpenVinoEngine",
        ("float32", "bfloat16", "int8"),
        ("onnx", "openvino"),
        "openvino",
    ),
    EngineRow("opencv", "caffecompat.engines.open_cv:OpenCvEngine", ("float32",), ("onnx",), "onnx"),
)
# In the order in which they are tried.
ENGINES: dict[str, EngineRow] = {row.name: row for row in _ROWS}


def available(precision: Precision | None = None) -> list[str]:
    """The names of the engines whose packages are installed, and that compute in this precision if one is given."""
    return [row.name for row in ENGINES.values() if not row.missing and precision in (None, *row.precisions)]


def check_precision(precision: object) -> None:
    """Whether there is such a precision.

    Raises:
        UsageError: there is none.
    """
    if precision not in PRECISIONS:
        raise UsageError(f"precision must be {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}, got {quoted(precision)}")


def engine_row(name: str, precision: Precision) -> EngineRow:
    """An engine that computes in this precision.

    Raises:
        UsageError: there is no such engine or precision, or it does not compute in it.
    """
    check_precision(precision)
    if name not in ENGINES:
        hint = did_you_mean(name, ENGINES) if isinstance(name, str) else None
        raise UsageError(f"engine must be auto, {', '.join(ENGINES)}; got {quoted(name)}", hint=hint)
    row = ENGINES[name]
    if precision not in row.precisions:
        able = ", ".join(other.name for other in ENGINES.values() if precision in other.precisions)
        raise UsageError(f"engine {name} does not compute in {precision}", hint=f"those that do: {able}")
    return row
