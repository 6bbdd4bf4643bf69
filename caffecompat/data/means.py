"""What is subtracted from pictures: values, or an image, as users give it."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from caffecompat.data.png import voc_palette
from caffecompat.data.preprocessing import Floats, Segmentation
from caffecompat.errors import FormatError, UsageError, quoted
from caffecompat.formats import read_mean

# predict.py of the dilation authors: the net's output lacks this many input pixels on each side.
DILATION_MARGIN = 186
MAX_JSON = 1 << 24


@dataclass(frozen=True)
class Mean:
    """Values, or an image (C, H, W), or nothing; `segmentation` if it came from a dilation net's .json."""

    values: tuple[float, ...] = ()
    image: Floats | None = None
    segmentation: Segmentation | None = None


def parse_mean(text: str | Sequence[float]) -> Mean:
    """A mean as users give it: `104,117,123`, or a .binaryproto, .npy or dilation .json file.

    Raises:
        UsageError: values that are no numbers.
        FormatError: the file is not what its suffix says.
    """
    if not isinstance(text, (str, os.PathLike)):
        return Mean(values=_finite(text, text))
    try:
        return Mean(values=_finite([float(part) for part in str(text).split(",")], text))
    except ValueError:
        pass
    path = Path(text)
    if not path.exists():
        hint = "values look like 104,117,123"
        raise UsageError(f"expected mean values or a file, got {quoted(str(text))}: no such file", hint=hint)
    if path.suffix.lower() == ".json":
        return _dilation(path)
    image = read_mean_image(path)
    if image.shape[1:] == (1, 1):
        return Mean(values=tuple(float(value) for value in image.ravel()))
    return Mean(image=image)


def read_mean_image(path: str | os.PathLike[str]) -> Floats:
    """A mean image, float32 (C, H, W).

    Raises:
        FormatError: the file cannot be read, or holds values that are no numbers.
    """
    image = np.ascontiguousarray(read_mean(path), dtype=np.float32)
    if not np.isfinite(image).all():
        raise FormatError("expected numbers, got values that are infinite or none", file=path)
    return image


def read_palette(text: str) -> tuple[tuple[int, int, int], ...]:
    """Colours (R, G, B) by class: "voc", or those of a dilation net's .json.

    Raises:
        FormatError: the file is no such description.
    """
    if text == "voc":
        return voc_palette()
    described = _dilation(Path(text)).segmentation
    return described.palette if described is not None else ()


def _dilation(path: Path) -> Mean:
    """datasets/*.json of fyu/dilation: mean, palette (R, G, B), zoom, dilation."""
    try:
        with path.open("rb") as file:
            values = json.loads(file.read(MAX_JSON))
    except OSError as error:
        raise FormatError(f"cannot read: {error.strerror or error}", file=path) from error
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not JSON: {error}", file=path) from None
    try:
        palette = tuple((_byte(red), _byte(green), _byte(blue)) for red, green, blue in values["palette"])
        zoom, dilation = _positive(values["zoom"]), _positive(values["dilation"])
        mean = _finite([float(value) for value in values["mean"]], values["mean"])
    except (KeyError, TypeError, ValueError, OverflowError, UsageError) as error:
        hint = 'expected {"palette": [[R, G, B], ...], "mean": [B, G, R], "dilation": N, "zoom": N}'
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise FormatError(f"not the description of a dilation net: {what}", file=path, hint=hint) from None
    return Mean(values=mean, segmentation=Segmentation(dilation, zoom, DILATION_MARGIN, palette))


def _finite(values: Sequence[float], source: object) -> tuple[float, ...]:
    if not all(math.isfinite(value) for value in values):
        raise UsageError(f"expected mean values that are finite numbers, got {quoted(source)}")
    return tuple(float(value) for value in values)


def _byte(value: Any) -> int:
    if not isinstance(value, int) or not 0 <= value <= 255:
        raise ValueError(f"a colour of {quoted(value)}, expected 0 to 255")
    return value


def _positive(value: Any) -> int:
    if not isinstance(value, int) or not 1 <= value <= 1 << 16:
        raise ValueError(f"expected a whole number from 1, got {quoted(value)}")
    return value
