"""The formats, by the suffix that asks for them."""

from __future__ import annotations

from pathlib import Path

from caffecompat.errors import UsageError, quoted

SUFFIXES = {
    ".pt2": "an exported program: runs in PyTorch without caffecompat",
    ".safetensors": "the parameters",
    ".pt": "the parameters, as a state dict",
    ".caffemodel": "the parameters, for Caffe",
    ".caffemodel.h5": "the parameters, for Caffe, as HDF5",
    ".prototxt": "the net in today's form",
}


def check_target(path: Path, embed_preprocessing: bool) -> str:
    """The format that a path asks for, if it can hold what it is to hold.

    Raises:
        UsageError: there is no such format, or it has no graph to embed preprocessing in.
    """
    suffix = suffix_of(path)
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
