"""The formats of other programs that run the net: what was written is run there and compared with the net."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from caffecompat.errors import CaffeCompatWarning, UnsupportedError
from caffecompat.export.onnx.options import OPSET, OnnxOptions
from caffecompat.export.openvino.options import OpenVinoOptions
from caffecompat.export.verifying import Exported
from caffecompat.net import Net

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """What may be asked of these formats; `export` describes it."""

    dynamic_batch: bool
    dynamic_size: bool
    opset: int | None
    half: bool
    verify: bool


def export_onnx(
    net: Net, path: Path, asked: Asked, metadata: Mapping[str, str], tell: Tell | None
) -> tuple[list[Path], bool]:
    """Write an `.onnx`: the files written, and whether the number of images may vary."""
    _needs_onnx("ONNX", "onnx")
    from caffecompat.export.onnx.exporting import export_onnx

    options = OnnxOptions(asked.opset or OPSET, asked.half, asked.verify, asked.dynamic_batch, asked.dynamic_size)
    exported = export_onnx(net, path, options, metadata)
    if asked.verify and exported.comparisons is None:
        _warn_unverified(path, "onnxruntime", "'caffecompat[onnx]'")
    return _told(exported, "ONNX Runtime", tell)


def export_openvino(
    net: Net, path: Path, asked: Asked, metadata: Mapping[str, str], tell: Tell | None
) -> tuple[list[Path], bool]:
    """Write an `.xml` and its `.bin`: the files written, and whether the number of images may vary."""
    _needs_onnx("OpenVINO", "openvino")
    from caffecompat.export.openvino.exporting import export_openvino

    options = OpenVinoOptions(asked.half, asked.verify, asked.dynamic_batch, asked.dynamic_size)
    return _told(export_openvino(net, path, options, metadata), "OpenVINO", tell)


def export_source(
    net: Net, path: Path, asked: Asked, metadata: Mapping[str, str], tell: Tell | None
) -> tuple[list[Path], bool]:
    """Write a `.py` and its `.safetensors`: the files written, and whether the number of images may vary."""
    from caffecompat.export.source.exporting import export_source

    exported = export_source(net, path, metadata, verify=asked.verify)
    if asked.verify and exported.comparisons is None:
        _warn_unverified(path, "safetensors", "safetensors")
    return _told(exported, "PyTorch, without this package,", tell)


def export_executorch(
    net: Net, path: Path, asked: Asked, metadata: Mapping[str, str], tell: Tell | None
) -> tuple[list[Path], bool]:
    """Write a `.pte`: the files written, and whether the number of images may vary."""
    from caffecompat.export.executorch.exporting import export_executorch

    return _told(export_executorch(net, path, metadata, verify=asked.verify, tell=tell), "ExecuTorch", tell)


COMPARED = {".onnx": export_onnx, ".xml": export_openvino, ".py": export_source, ".pte": export_executorch}


def _needs_onnx(what: str, extra: str) -> None:
    try:
        import_module("onnx")
    except ImportError as error:
        raise UnsupportedError(
            f"{what} needs the package onnx, which is not installed", hint=f"pip install 'caffecompat[{extra}]'"
        ) from error


def _warn_unverified(path: Path, missing: str, install: str) -> None:
    warnings.warn(
        f"{path}: not verified: {missing} is not installed (pip install {install})", CaffeCompatWarning, stacklevel=4
    )


def _told(exported: Exported, program: str, tell: Tell | None) -> tuple[list[Path], bool]:
    for comparison in exported.comparisons or ():
        if tell is not None:
            tell(f"in {program} {comparison}")
    return exported.files, exported.varies
