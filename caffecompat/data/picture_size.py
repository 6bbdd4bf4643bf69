"""How large a picture claims to be, before anybody takes memory for it: PNG and JPEG, which databases hold."""

from __future__ import annotations

import struct
from typing import NamedTuple

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_SIZE = struct.Struct(">II")
_JPEG_FRAME = struct.Struct(">HBHH")
# The most pixels that a byte can stand for: deflate's 1032 times eight pixels of one bit; in JPEG two bits
# are a block of 16x16.
_PNG_DENSITY = 8256
_JPEG_DENSITY = 1024
_MARGIN = 1 << 16


class PictureSize(NamedTuple):
    """What a picture claims to be.

    Attributes:
        height: its rows.
        width: its columns.
        possible: how many pixels its bytes can hold at the most.
    """

    height: int
    width: int
    possible: int

    @property
    def pixels(self) -> int:
        """How many it claims."""
        return self.height * self.width


def picture_size(data: memoryview) -> PictureSize | None:
    """What the head of a PNG or JPEG file claims; None if it is neither, or has no such head."""
    if bytes(data[:8]) == _PNG and len(data) >= 24:
        width, height = _PNG_SIZE.unpack_from(data, 16)
        return PictureSize(height, width, len(data) * _PNG_DENSITY + _MARGIN)
    return _jpeg_size(data) if bytes(data[:2]) == b"\xff\xd8" else None


def _jpeg_size(data: memoryview) -> PictureSize | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        # A frame header; 0xC4, 0xC8 and 0xCC are other things.
        if marker == 0xC0 or (0xC0 < marker <= 0xCF and marker & 3):
            _, _, height, width = _JPEG_FRAME.unpack_from(data, at + 2)
            return PictureSize(height, width, len(data) * _JPEG_DENSITY + _MARGIN)
        if marker == 0xFF:
            at += 1
        elif marker == 0x01 or 0xD0 <= marker <= 0xD7:
            at += 2
        else:
            at += 2 + (data[at + 2] << 8 | data[at + 3])
    return None
