"""Weight files by any name: told apart by what is in them, and what is no weight file is called what it is."""

from __future__ import annotations

import os

from caffecompat.errors import FormatError, context
from caffecompat.formats.caffemodel import parse_caffemodel
from caffecompat.formats.hdf5 import read_hdf5
from caffecompat.formats.mapped import map_file
from caffecompat.formats.weights import Weights
from caffecompat.formats.wire import BYTES, VARINT, Buffer, Wire, tag

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"

_CONVERT = "caffecompat reads weights that Caffe wrote: .caffemodel or .caffemodel.h5"
_DOWNLOAD = "the download went wrong: fetch the file itself"

# How other files start: offset, bytes, what it is, the way out where it does not depend on what was expected.
_OTHERS = (
    (0, b"version https://git-lfs", "a Git LFS pointer, not the file it stands for", "run `git lfs pull`"),
    (0, b"PK\x03\x04", "a zip archive or a PyTorch checkpoint", None),
    (0, b"\x80\x02", "a pickle, such as an old PyTorch checkpoint", None),
    (0, b"\x80\x03", "a pickle", None),
    (0, b"\x80\x04", "a pickle", None),
    (0, b"\x80\x05", "a pickle", None),
    (0, b"\x1f\x8b", "compressed by gzip", "uncompress it first"),
    (0, b"BZh", "compressed by bzip2", "uncompress it first"),
    (0, b"\xfd7zXZ", "compressed by xz", "uncompress it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (0, b"Rar!\x1a\x07", "a RAR archive", "unpack it first"),
    (0, b"\x93NUMPY", "a NumPy array", None),
    (4, b"TFL3", "a TensorFlow Lite model", None),
    (8, b'{"', "a safetensors file", None),
    (0, b"\xff\xfe", "text in UTF-16", None),
    (0, b"\xfe\xff", "text in UTF-16", None),
)

_HINTS = {
    "text": "if it describes the net, give it as the prototxt, and the .caffemodel as the weights",
    "text in UTF-16": "give the .caffemodel here",
    "a NumPy array": "as a mean it goes with the preprocessing, not with the weights",
}

_CONTROL = bytes(set(range(32)) - set(b"\t\n\v\f\r"))


def read_weights(path: str | os.PathLike[str]) -> Weights:
    """Read a weight file: HDF5 if it starts like one, else a binary NetParameter of V0, V1 or V2.

    Arrays of a binary file are views of the mapped file, writable without changing it, and good as long as nobody
    overwrites it in place (see `map_file`).

    Raises:
        FormatError: the file cannot be read, is something else, or is broken.
        UnsupportedError: it is HDF5 and h5py is not installed.
    """
    with context(file=os.fspath(path)):
        data = map_file(path)
        if data[: len(HDF5_MAGIC)] == HDF5_MAGIC:
            return read_hdf5(path)
        refuse_others(data)
        return parse_caffemodel(data, os.fspath(path))


def other_kind(data: Buffer) -> tuple[str, str | None] | None:
    """What a file is that is none of Caffe's, and the way out where there is one; None if it may be Caffe's."""
    head = data[:512]
    for offset, magic, what, hint in _OTHERS:
        if head[offset : offset + len(magic)] == magic:
            return what, hint
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page", _DOWNLOAD
    return ("text", None) if len(head) == len(head.translate(None, _CONTROL)) else None


def refuse_others(data: Buffer) -> None:
    """Raise a FormatError that names the kind of a file that is commonly given for weights."""
    other = other_kind(data)
    if other is not None:
        what, hint = other
        raise FormatError(f"expected weights, got {what}", hint=hint or _HINTS.get(what, _CONVERT))
    if data[0] == tag(1, VARINT):
        _refuse_messages(data)


def _refuse_messages(data: Buffer) -> None:
    """Name the protobuf messages that start with a number, where a NetParameter has a name."""
    wire = Wire(data)
    keys = {key for key, _, _, _ in wire.fields(0, wire.size)}
    if tag(7, BYTES) in keys or tag(8, BYTES) in keys:
        what, hint = "an ONNX model", _CONVERT
    elif tag(2, VARINT) in keys:
        what, hint = "a single blob, such as a mean file", "it goes with the preprocessing, not with the weights"
    else:
        what, hint = "a solver state", "the weights are in the .caffemodel of the same iteration"
    raise FormatError(f"expected weights, got {what}", hint=hint)
