"""BlobProto, the message that holds an array: written from where its values lie."""

from __future__ import annotations

import os
import warnings
from typing import BinaryIO

import numpy as np

from caffecompat.errors import CaffeCompatWarning
from caffecompat.formats.weights import RealArray
from caffecompat.formats.wire import BYTES, encode_varint, tag
from caffecompat.schema import caffe_pb2

# The original reads and writes at most so many bytes (protobuf's limit).
CAFFE_LIMIT = (1 << 31) - 1

_DATA, _DIFF = tag(5, BYTES), tag(6, BYTES)

# A message in pieces: bytes, and arrays that become float32 when they are written.
Parts = list[bytes | RealArray]


def encode_blob(key: int, array: RealArray, diff: RealArray | None = None) -> Parts:
    """A blob as a field of the message that it is part of, the bytes that protobuf writes for it.

    Caffe leaves out the shape of a single number, protobuf empty data.

    Args:
        key: the field's tag.
        array: the values, of any shape.
        diff: their gradients, of the same shape.
    """
    parts: Parts = []
    for field, values in ((_DATA, array), (_DIFF, diff)):
        if values is not None and values.size:
            parts += [encode_varint(field) + encode_varint(4 * values.size), values]
    if array.ndim:
        parts.append(caffe_pb2.BlobProto(shape={"dim": array.shape}).SerializeToString())
    return [encode_varint(key) + encode_varint(size_of(parts)), *parts]


def size_of(parts: Parts) -> int:
    """How many bytes the pieces have when they are written."""
    return sum(len(part) if isinstance(part, bytes) else 4 * part.size for part in parts)


def write_parts(file: BinaryIO, parts: Parts) -> None:
    """Write the pieces; no second copy is made of arrays that are contiguous float32."""
    for part in parts:
        file.write(part if isinstance(part, bytes) else _float_bytes(part))


def warn_of_size(path: str | os.PathLike[str], size: int) -> None:
    """Warn if the original cannot read a file of so many bytes."""
    if size > CAFFE_LIMIT:
        warnings.warn(
            f"{os.fspath(path)} has {size} bytes: the original Caffe reads at most {CAFFE_LIMIT}, but HDF5 of any size",
            CaffeCompatWarning,
            stacklevel=3,
        )


def _float_bytes(array: RealArray) -> memoryview:
    return np.ascontiguousarray(array, "<f4").reshape(-1).view("u1").data
