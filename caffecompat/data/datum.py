"""Datum, the message that data layers read from databases: walked over without copying the picture in it.

Source of the rules: DecodeDatumToCVMat and DataTransformer of the original. Values are `data`, one byte each, or if
there is none `float_data`; or, where `encoded` is set, `data` is the file of a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from caffecompat.data.geometry import MAX_PIXELS, Size
from caffecompat.data.images import Image
from caffecompat.data.picture_size import PictureSize, picture_size
from caffecompat.data.source import Floats
from caffecompat.errors import FormatError, quoted
from caffecompat.formats.wire import BYTES, FIXED32, VARINT, Wire, signed, tag

Values = npt.NDArray[np.uint8] | Floats

_CHANNELS, _HEIGHT, _WIDTH, _LABEL, _ENCODED = (tag(number, VARINT) for number in (1, 2, 3, 5, 7))
_DATA = tag(4, BYTES)
_FLOATS, _FLOATS_UNPACKED = tag(6, BYTES), tag(6, FIXED32)
# The first field of an AnnotatedDatum: the Datum inside.
_ANNOTATED = tag(1, BYTES)
_FLOAT = np.dtype("<f4")
_FLOAT_WITH_TAG = np.dtype([("tag", "u1"), ("value", _FLOAT)])


@dataclass(frozen=True)
class Datum:
    """One record.

    Attributes:
        shape: (channels, height, width) as it states them; zeros in many encoded ones.
        label: the class.
        encoded: `data` is the file of a picture.
        data: the bytes, a part of the record's buffer.
        floats: `float_data`, or None if it has none.
    """

    shape: tuple[int, int, int]
    label: int
    encoded: bool
    data: memoryview
    floats: Floats | None = None

    def values(self) -> Values:
        """The values of a Datum that is not encoded: uint8 or float32, (channels, height, width), not to be written.

        Raises:
            FormatError: the sizes it states are not those of its values.
        """
        channels, height, width = self.shape
        stated = channels * height * width
        values = np.frombuffer(self.data, np.uint8) if len(self.data) or self.floats is None else self.floats
        if min(self.shape) < 1 or stated != len(values):
            what = "bytes" if values.dtype == np.uint8 else "floats"
            raise FormatError(
                f"the datum states {channels} channels of {height}x{width}, {stated} values, and has {len(values)} "
                f"{what}",
                hint="if it is the file of a picture, encoded must be set" if picture_size(self.data) else None,
            )
        return values.reshape(self.shape)

    def size(self) -> Size | None:
        """(height, width) of a picture as its head, or the datum, states it; None where it is not stated or absurd."""
        height, width = self.shape[1:]
        if self.encoded:
            size = picture_size(self.data)
            if size is None or _too_large(size):
                return None
            height, width = size.height, size.width
        return (height, width) if min(height, width) > 0 and height * width <= MAX_PIXELS else None

    def picture(self, flag: int) -> Image:
        """The picture of an encoded Datum.

        Args:
            flag: OpenCV's cv2.IMREAD_COLOR, IMREAD_GRAYSCALE or IMREAD_UNCHANGED.

        Returns:
            uint8, (height, width) or (height, width, channels), B, G, R.

        Raises:
            FormatError: OpenCV cannot decode it, it claims an absurd size, or its pixels are no bytes.
        """
        begins = quoted(bytes(self.data[:12]))
        size = picture_size(self.data)
        if size is not None and _too_large(size):
            raise FormatError(f"the picture claims {size.height}x{size.width} pixels, in {len(self.data)} bytes")
        if not len(self.data):
            raise FormatError("the datum is encoded, and has no data")
        try:
            image = cv2.imdecode(np.frombuffer(self.data, np.uint8), flag)
        except (cv2.error, MemoryError) as error:
            reason = getattr(error, "err", "") or "not enough memory"
            raise FormatError(f"the picture cannot be decoded: {reason}") from error
        if image is None:
            raise FormatError(f"the picture cannot be decoded; it begins with {begins}")
        if image.dtype != np.uint8:
            raise FormatError(f"expected a picture of 8 bits a channel, got {image.dtype}")
        return np.asarray(image, dtype=np.uint8)


def _too_large(size: PictureSize) -> bool:
    return size.pixels > min(MAX_PIXELS, size.possible)


def read_datum(buffer: bytes | memoryview) -> Datum:
    """The Datum in a buffer; its data stay where they are.

    Raises:
        FormatError: it is none.
    """
    view = memoryview(buffer)
    wire = Wire(view)
    sizes = [0, 0, 0]
    label, encoded, data = 0, False, view[:0]
    floats: list[npt.NDArray[Any]] = []
    for key, value, start, end in wire.fields(0, len(view)):
        if key == _DATA:
            data = view[start:end]
        elif key == _LABEL:
            label = signed(value, 32)
        elif key in (_CHANNELS, _HEIGHT, _WIDTH):
            sizes[(key >> 3) - 1] = signed(value, 32)
        elif key == _ENCODED:
            encoded = bool(value)
        elif key in (_FLOATS, _FLOATS_UNPACKED):
            floats.append(_numbers(view[start:end], key))
        elif key == _ANNOTATED:
            raise FormatError(
                "expected a Datum, got another message, perhaps an AnnotatedDatum",
                hint="records with boxes are read by an AnnotatedData layer",
            )
    joined = None if not floats else floats[0] if len(floats) == 1 else np.concatenate(floats)
    return Datum((sizes[0], sizes[1], sizes[2]), label, encoded, data, joined)


def _numbers(part: memoryview, key: int) -> npt.NDArray[Any]:
    """The floats of one field: packed, a single one, or a row of single ones, each with its tag."""
    if key == _FLOATS_UNPACKED and len(part) > _FLOAT.itemsize:
        row: npt.NDArray[Any] = np.frombuffer(part, _FLOAT_WITH_TAG)["value"]
        return row
    if len(part) % _FLOAT.itemsize:
        raise FormatError(f"{len(part)} bytes of floats: expected a multiple of {_FLOAT.itemsize}")
    return np.frombuffer(part, _FLOAT)
