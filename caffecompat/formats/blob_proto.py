"""BlobProto, the message that holds an array: read from the wire without copying it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from caffecompat.errors import FormatError
from caffecompat.formats.weights import WeightBlob
from caffecompat.formats.wire import BYTES, FIXED32, FIXED64, VARINT, Wire, signed, tag

# Caffe: kMaxBlobAxes.
MAX_AXES = 32

_LEGACY_FIRST, _LEGACY_LAST = tag(1, VARINT), tag(4, VARINT)
_DATA, _DATA_UNPACKED = tag(5, BYTES), tag(5, FIXED32)
_SHAPE = tag(7, BYTES)
_DOUBLE, _DOUBLE_UNPACKED = tag(8, BYTES), tag(8, FIXED64)
_RAW_TYPE, _RAW = tag(10, VARINT), tag(12, BYTES)
_DIM, _DIM_UNPACKED = tag(1, BYTES), tag(1, VARINT)

# The enum of raw_data_type in the forks that write raw_data (NVIDIA's Caffe, OpenCV); 3 and 4 are integers.
_RAW_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f8"), 1: np.dtype("<f4"), 2: np.dtype("<f2")}
_DOUBLE_TYPE, _FLOAT = _RAW_TYPES[0], _RAW_TYPES[1]

Array = npt.NDArray[np.float32]


def read_blob(wire: Wire, start: int, end: int) -> WeightBlob:
    """The BlobProto between two offsets.

    Values are taken from `double_data`, else `data` (both as Caffe does), else the forks' `raw_data`; what is not
    float32 is converted. One packed run of float32 is not copied: the array is a view of the buffer, writable if
    that is. The shape is num, channels, height, width where any of them is given, else `shape`, else that of a
    single number (Caffe: Blob::FromProto).

    Raises:
        FormatError: the wire format is broken, or the number of values is not that of the shape.
    """
    legacy: list[int] | None = None
    dims: list[int] = []
    data: list[npt.NDArray[Any]] = []
    double: list[npt.NDArray[Any]] = []
    raw: tuple[int, int] | None = None
    raw_type = 0
    for key, value, first, last in wire.fields(start, end):
        if key in (_DATA, _DATA_UNPACKED) and first < last:
            data.append(_numbers(wire, key, first, last, _FLOAT))
        elif key == _SHAPE:
            _read_dims(wire, first, last, dims)
        elif _LEGACY_FIRST <= key <= _LEGACY_LAST and key & 7 == VARINT:
            legacy = legacy or [0, 0, 0, 0]
            legacy[(key >> 3) - 1] = signed(value, 32)
        elif key in (_DOUBLE, _DOUBLE_UNPACKED) and first < last:
            double.append(_numbers(wire, key, first, last, _DOUBLE_TYPE))
        elif key == _RAW:
            raw = first, last
        elif key == _RAW_TYPE:
            raw_type = value
    if raw and not data and not double:
        if raw_type not in _RAW_TYPES:
            raise FormatError(f"raw_data of type {raw_type} in the blob at byte {start}: expected 0, 1 or 2")
        data.append(_numbers(wire, _RAW, *raw, _RAW_TYPES[raw_type]))
    values = _joined(double or data)
    return WeightBlob(_shaped(values, legacy or dims, start), legacy is not None)


def _read_dims(wire: Wire, start: int, end: int, dims: list[int]) -> None:
    """Append the sizes in a BlobShape."""
    for key, value, first, last in wire.fields(start, end):
        if key == _DIM_UNPACKED:
            dims.append(signed(value, 64))
        while key == _DIM and first < last and len(dims) <= MAX_AXES:
            value, first = wire.varint(first, last)
            dims.append(signed(value, 64))
        if len(dims) > MAX_AXES:
            raise FormatError(f"a blob of more than {MAX_AXES} axes at byte {start}")


def _numbers(wire: Wire, key: int, first: int, last: int, dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """A view of the numbers in one field: packed, a single one, or a row of single ones with their tags."""
    width, size = dtype.itemsize, last - first
    if key & 7 != BYTES and size > width:
        single = np.dtype([("tag", "u1"), ("value", dtype)])
        fields: npt.NDArray[Any] = np.frombuffer(wire.buffer, single, size // single.itemsize, first)["value"]
        return fields
    if size % width:
        raise FormatError(f"{size} bytes of numbers at byte {first}: expected a multiple of {width}")
    return np.frombuffer(wire.buffer, dtype, size // width, first) if size else np.empty(0, dtype)


def _joined(parts: Sequence[npt.NDArray[Any]]) -> Array:
    """The parts in one contiguous float32 array, which is a single float32 part itself."""
    if len(parts) == 1 and parts[0].dtype == np.float32 and parts[0].flags.c_contiguous:
        return parts[0]
    # Caffe casts doubles without a word, too large ones to infinity.
    with np.errstate(all="ignore"):
        return np.concatenate([np.empty(0, np.float32), *parts], dtype=np.float32)


def _shaped(values: Array, shape: Sequence[int], start: int) -> Array:
    """The values in the blob's shape."""
    text = "x".join(map(str, shape)) or "of a single number"
    if min(shape, default=0) < 0:
        raise FormatError(f"a negative size in the shape {text} of the blob at byte {start}")
    if math.prod(shape) != values.size:
        raise FormatError(
            f"the blob at byte {start} has the shape {text}: expected {math.prod(shape)} values, got {values.size}"
        )
    # An empty blob says nothing of its other sizes, and numpy refuses those that overflow.
    if values.size == 0 and math.prod(max(size, 1) for size in shape) >= 1 << 31:
        raise FormatError(f"the blob at byte {start} has the impossible shape {text}")
    return values.reshape(shape)
