"""Protobuf's wire format, walked over a buffer without copying it and without trusting a length in it.

Source: the encoding chapter of protobuf's documentation. Groups, which no Caffe schema has, are refused.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import cast

from caffecompat.errors import FormatError

VARINT = 0
FIXED64 = 1
BYTES = 2
FIXED32 = 5

# The largest nets have some 80,000 fields where we walk; the limit keeps a file of tiny fields from costing minutes.
MAX_FIELDS = 100_000

Buffer = bytes | mmap.mmap

# A field: its tag (number << 3 | wire type), its value if that is a varint, and where its value starts and ends.
Field = tuple[int, int, int, int]

_WIDTHS = {FIXED64: 8, FIXED32: 4}


def tag(number: int, wire_type: int) -> int:
    """The number by which a field of this wire type starts."""
    return number << 3 | wire_type


class Wire:
    """A buffer that holds a message.

    Args:
        buffer: the bytes; anything after their end is out of reach of every length in them. Of a memoryview,
            what is cut out of `buffer` is one again.
    """

    def __init__(self, buffer: Buffer | memoryview) -> None:
        self.buffer = cast(Buffer, buffer)
        self.size = len(buffer)
        self._fields_left = MAX_FIELDS

    def fields(self, start: int, end: int) -> Iterator[Field]:
        """Walk the fields of the message between two offsets.

        A row of fixed32 or fixed64 fields of one number below 16, as files without packing have, comes as one
        field, from the tag of its first value to the end of its last.

        Yields:
            (tag, value, start, end): `value` is that of a varint and 0 otherwise.

        Raises:
            FormatError: a length that reaches beyond `end`, a varint without an end, an impossible tag.
        """
        buffer = self.buffer
        position = start
        while position < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                raise FormatError(f"more than {MAX_FIELDS} fields: no Caffe net has so many")
            at = position
            key = buffer[position]
            if key < 0x80:
                position += 1
            else:
                key, position = self.varint(position, end)
            kind = key & 7
            if not 8 <= key < 1 << 32:
                raise FormatError(f"impossible field number {key >> 3} at byte {at}")
            if kind == BYTES:
                if position < end and buffer[position] < 0x80:
                    length = buffer[position]
                    position += 1
                else:
                    length, position = self.varint(position, end)
                if length > end - position:
                    raise FormatError(
                        f"the field at byte {at} claims {length} bytes, {end - position} are left in its message"
                    )
                start, position = position, position + length
                yield key, 0, start, position
            elif kind == VARINT:
                start = position
                if position < end and buffer[position] < 0x80:
                    value = buffer[position]
                    position += 1
                else:
                    value, position = self.varint(position, end)
                yield key, value, start, position
            elif kind in _WIDTHS:
                width = _WIDTHS[kind]
                if width > end - position:
                    raise FormatError(
                        f"the field at byte {at} has {width} bytes, {end - position} are left in its message"
                    )
                start, position = position, position + width
                if position < end and key < 0x80 and buffer[position] == key:
                    start, position = at, self._row(at, end, width + 1)
                yield key, 0, start, position
            else:
                raise FormatError(f"wire type {kind} at byte {at}: expected 0, 1, 2 or 5")

    def varint(self, position: int, end: int) -> tuple[int, int]:
        """The varint at an offset, of at most 64 bits, and the offset behind it."""
        value = shift = 0
        for at in range(position, end if end - position < 10 else position + 10):
            byte = self.buffer[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80 and not value >> 64:
                return value, at + 1
            shift += 7
        if shift < 70:
            raise FormatError(f"the bytes end within the number at byte {position}")
        raise FormatError(f"the number at byte {position} has more than 64 bits")

    def _row(self, start: int, end: int, stride: int) -> int:
        """The end of the row of equal one-byte tags, `stride` bytes apart, that starts here."""
        key = bytes(self.buffer[start : start + 1])
        most = (end - start) // stride
        step, count = 16, 1
        while count < most:
            look = min(step, most - count)
            first = start + count * stride
            tags = bytes(self.buffer[first : first + look * stride : stride])
            same = look - len(tags.lstrip(key))
            count += same
            if same < look:
                break
            step = min(step * 2, 1 << 16)
        return start + count * stride


def signed(value: int, bits: int) -> int:
    """A varint as a two's complement integer of 32 or 64 bits: what is above them is dropped, as protobuf does."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def encode_varint(value: int) -> bytes:
    """A number of at most 64 bits, not negative, as a varint."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
