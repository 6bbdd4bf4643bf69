"""The JSON of a Preprocessing record, carried in the metadata of every export.

One object: "schema" is "caffecompat.preprocessing/1"; every other key is an attribute of `Preprocessing`, sizes
as [height, width], tuples as lists; "mean_image" is null or {"shape": [C, H, W], "float32": base64 of the
little-endian values in row-major order}; "segmentation" is null or an object with the attributes of
`Segmentation`. Keys that are absent have the attribute's default; unknown keys are refused.

A file beside an export has `ORIGIN` besides: the version that wrote it, {name: SHA-256} of the files that the net came
from, and the licence, which are no part of the record.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, get_args

import numpy as np

from caffecompat.data.geometry import Resize
from caffecompat.data.preprocessing import (
    Channels,
    Floats,
    Interpolation,
    Pad,
    Preprocessing,
    Segmentation,
)
from caffecompat.errors import FormatError, did_you_mean, quoted

SCHEMA = "caffecompat.preprocessing/1"
ORIGIN = ("caffecompat_version", "sources", "license")
MAX_SIDE = 1 << 20


def to_json(record: Preprocessing) -> str:
    """The record as JSON, keys in a fixed order."""
    values = asdict(record)
    image = record.mean_image
    if image is not None:
        data = base64.b64encode(np.ascontiguousarray(image, dtype="<f4").tobytes()).decode("ascii")
        values["mean_image"] = {"shape": list(image.shape), "float32": data}
    return json.dumps({"schema": SCHEMA, **values}, allow_nan=False)


def from_json(text: str | bytes) -> Preprocessing:
    """The record from JSON.

    Raises:
        FormatError: it is not such a record; the message names the key.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"a preprocessing record is JSON, and this is none: {quoted(str(error))}") from None
    if not isinstance(values, dict) or values.get("schema") != SCHEMA:
        got = quoted(values.get("schema")) if isinstance(values, dict) else type(values).__name__
        raise FormatError(f'expected a preprocessing record with "schema": "{SCHEMA}", got {got}')
    return Preprocessing(**_read({key: values[key] for key in values if key not in ("schema", *ORIGIN)}, _READERS))


def _read(values: dict[str, Any], readers: dict[str, Callable[[Any], Any]]) -> dict[str, Any]:
    read = {}
    for key, value in values.items():
        if key not in readers:
            raise FormatError(f"unknown key {quoted(key)} in a preprocessing record", hint=did_you_mean(key, readers))
        try:
            read[key] = readers[key](value)
        except (ValueError, TypeError, OverflowError) as error:
            raise FormatError(f'"{key}" in a preprocessing record: {error}, got {quoted(value)}') from None
    return read


def _one_of(kind: Any) -> Callable[[Any], str]:
    known = get_args(kind)

    def read(value: Any) -> str:
        if value not in known:
            raise ValueError(f"expected one of {', '.join(known)}")
        return str(value)

    return read


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("expected a string")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError("expected a number")
    return float(value)


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"expected whole numbers from {least} to {most}")
        return value

    return read


def _tuple(item: Callable[[Any], Any], length: int | None = None) -> Callable[[Any], tuple[Any, ...]]:
    def read(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise ValueError("expected a list" if length is None else f"expected a list of {length}")
        return tuple(item(part) for part in value)

    return read


def _or_none(reader: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else reader(value)


def _mean_image(value: Any) -> Floats:
    if not isinstance(value, dict) or set(value) != {"shape", "float32"} or not isinstance(value["float32"], str):
        raise ValueError('expected an object of "shape" and "float32"')
    shape = _tuple(_whole(1, MAX_SIDE), 3)(value["shape"])
    try:
        data = base64.b64decode(value["float32"], validate=True)
    except binascii.Error:
        raise ValueError("expected base64") from None
    if len(data) != 4 * math.prod(shape):
        raise ValueError(f"expected {4 * math.prod(shape)} bytes for shape {shape} and not {len(data)}")
    return np.frombuffer(data, dtype="<f4").astype(np.float32).reshape(shape)


def _segmentation(value: Any) -> Segmentation:
    if not isinstance(value, dict):
        raise ValueError("expected an object")
    return Segmentation(**_read(value, _SEGMENTATION))


_SEGMENTATION: dict[str, Callable[[Any], Any]] = {
    "dilation": _whole(0, MAX_SIDE),
    "zoom": _whole(1, MAX_SIDE),
    "label_margin": _whole(0, MAX_SIDE),
    "palette": _tuple(_tuple(_whole(0, 255), 3)),
}
_SIZE = _or_none(_tuple(_whole(1, MAX_SIDE), 2))
_READERS: dict[str, Callable[[Any], Any]] = {
    "input": _text,
    "channels": _one_of(Channels),
    "mean": _tuple(_number),
    "mean_image": _or_none(_mean_image),
    "scale": _number,
    "size": _SIZE,
    "resize": _one_of(Resize),
    "interpolation": _one_of(Interpolation),
    "pad": _one_of(Pad),
    "pad_values": _tuple(_number),
    "crop": _SIZE,
    "labels": _tuple(_text),
    "variances": _tuple(_number),
    "segmentation": _or_none(_segmentation),
}
