"""The formats, by the suffix that asks for them."""

from __future__ import annotations

import keyword
import sys
from collections.abc import Collection
from pathlib import Path

from caffecompat.errors import UsageError, quoted

SUFFIXES = {
    ".pt2": "an exported program: runs in PyTorch without caffecompat",
    ".onnx": "a graph of ONNX's standard operators",
    ".xml": "a model for OpenVINO, its weights beside it in .bin",
    ".pte": "a program for ExecuTorch",
    ".py": "the source of a PyTorch module, its parameters beside it in .safetensors",
    ".safetensors": "the parameters",
    ".pt": "the parameters, as a state dict",
    ".caffemodel": "the parameters, for Caffe",
    ".caffemodel.h5": "the parameters, for Caffe, as HDF5",
    ".prototxt": "the net in today's form",
}

# Options that only some formats have.
OPTIONS = {
    "dynamic_batch": (".pt2", ".onnx", ".xml"),
    "dynamic_size": (".onnx", ".xml"),
    "half": (".onnx", ".xml"),
    "opset": (".onnx",),
    "verify": (".onnx", ".xml", ".pte", ".py"),
}

# What a `.py` imports, or torch for it.
_IMPORTED = sys.stdlib_module_names | {"cv2", "numpy", "safetensors", "torch"}


def is_importable(path: Path) -> bool:
    """Whether `import NAME` can name a `.py`."""
    return path.stem.isidentifier() and not keyword.iskeyword(path.stem)


def check_target(path: Path, embed_preprocessing: bool, options: Collection[str] = ()) -> str:
    """The format that a path asks for, if it can hold what it is to hold.

    Args:
        path: where to.
        embed_preprocessing: preprocessing is to be put into the graph.
        options: those of `OPTIONS` that are not as they are by default.

    Raises:
        UsageError: there is no such format, it has no graph to embed preprocessing in, or not that option; or a `.py`
            would be found in place of a module that it imports.
    """
    suffix = suffix_of(path)
    if suffix == ".py" and path.stem in _IMPORTED:
        # Python looks beside the file that runs first; torch imports most of the standard library.
        raise UsageError(
            f"a file called {quoted(path.name)} hides Python's module {path.stem}, which it needs, so it could not run",
            hint=f"another name, such as {path.stem}_net.py",
        )
    for option in options:
        if suffix not in OPTIONS[option]:
            *others, last = OPTIONS[option]
            formats = f"{', '.join(others)} and {last}" if others else last
            raise UsageError(f"{option.replace('_', ' ')} can be chosen for {formats} only, not for {suffix}")
    if embed_preprocessing and suffix != ".pt2":
        raise UsageError(f"preprocessing can be embedded in .pt2 only, not in {suffix}")
    return suffix


def suffix_of(path: Path) -> str:
    """The format that a path asks for.

    Raises:
        UsageError: there is no such format.
    """
    name = path.name.lower()
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix) and len(name) > len(suffix):
            return suffix
    raise UsageError(f"no format for {quoted(path.name)}", hint="the suffix chooses it: " + ", ".join(sorted(SUFFIXES)))
