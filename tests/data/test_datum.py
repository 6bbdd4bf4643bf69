from __future__ import annotations

import struct
import time
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest

from caffecompat.data.datum import Datum, read_datum
from caffecompat.data.picture_size import picture_size
from caffecompat.errors import CaffeCompatError, FormatError
from caffecompat.schema import caffe_pb2
from tests.data.records import encoded, picture, raw


def test_bytes_are_not_copied():
    values = picture(0).transpose(2, 0, 1)
    buffer = raw(values, -3)
    datum = read_datum(memoryview(buffer))
    assert (datum.shape, datum.label, datum.encoded, datum.floats) == ((3, 9, 11), -3, False, None)
    np.testing.assert_array_equal(datum.values(), values)
    assert datum.values().dtype == np.uint8
    assert np.shares_memory(datum.values(), np.frombuffer(buffer, np.uint8))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("channels", [1, 5])
def test_floats(packed, channels):
    values = np.random.default_rng(1).normal(size=(channels, 3, 4)).astype(np.float32)
    buffer = raw(values, 7)
    if packed:
        floats = values.tobytes()
        head = caffe_pb2.Datum(channels=channels, height=3, width=4, label=7).SerializeToString()
        buffer = head + b"\x32" + bytes([len(floats) & 127 | 128, len(floats) >> 7]) + floats
        assert list(caffe_pb2.Datum.FromString(buffer).float_data) == values.ravel().tolist()
    datum = read_datum(buffer)
    np.testing.assert_array_equal(datum.values(), values)
    assert datum.label == 7


def test_one_float():
    assert read_datum(raw(np.full((1, 1, 1), 2.5, np.float32))).values().tolist() == [[[2.5]]]


def test_bytes_win_over_floats():
    message = caffe_pb2.Datum(channels=1, height=1, width=2, data=b"\x05\xff", float_data=[1, 2])
    assert read_datum(message.SerializeToString()).values().tolist() == [[[5, 255]]]


def test_the_last_field_wins_and_unknown_ones_are_passed_over():
    buffer = (
        raw(np.zeros((1, 1, 2), np.uint8), 3)
        + b"\xfa\x3f\x02hi"
        + caffe_pb2.Datum(label=4, data=b"ab").SerializeToString()
    )
    datum = read_datum(buffer)
    assert datum.label == 4
    assert bytes(datum.data) == b"ab"


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_as_it_is_in_colour_and_in_grey(channels):
    image = picture(4, channels=channels)
    datum = read_datum(encoded(image, ".png", 9))
    assert datum.encoded
    np.testing.assert_array_equal(datum.picture(cv2.IMREAD_UNCHANGED), image)
    colour = datum.picture(cv2.IMREAD_COLOR)
    expected = np.repeat(image[..., None], 3, axis=2) if channels == 1 else image[:, :, :3]
    np.testing.assert_array_equal(colour, expected)
    assert datum.picture(cv2.IMREAD_GRAYSCALE).shape == image.shape[:2]


def test_jpeg():
    image = np.full((16, 24, 3), (10, 120, 240), np.uint8)
    decoded = read_datum(encoded(image, ".jpg")).picture(cv2.IMREAD_UNCHANGED)
    assert decoded.shape == image.shape
    assert np.abs(decoded.astype(int) - image).max() <= 3


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (
            caffe_pb2.Datum(channels=3, height=2, width=2, data=b"x" * 11),
            "states 3 channels of 2x2, 12 values, and has 11 bytes",
        ),
        (caffe_pb2.Datum(channels=3, height=2, width=2, data=b"x" * 13), "12 values, and has 13 bytes"),
        (caffe_pb2.Datum(channels=1, height=2, width=2, float_data=[1, 2, 3]), "4 values, and has 3 floats"),
        (caffe_pb2.Datum(channels=1, height=2, width=2), "4 values, and has 0 bytes"),
        (caffe_pb2.Datum(), "0 channels of 0x0, 0 values, and has 0 bytes"),
        (caffe_pb2.Datum(channels=-1, height=-2, width=1, data=b"xx"), "-1 channels of -2x1"),
        (caffe_pb2.Datum(channels=2**31 - 1, height=2**31 - 1, width=2**31 - 1, data=b"x"), "and has 1 bytes"),
    ],
)
def test_sizes_that_lie(message, text):
    with pytest.raises(FormatError, match=text):
        read_datum(message.SerializeToString()).values()


def test_a_picture_that_is_not_marked_as_one():
    data = caffe_pb2.Datum.FromString(encoded(picture(0), ".png")).data
    with pytest.raises(FormatError, match="encoded must be set"):
        read_datum(caffe_pb2.Datum(channels=3, height=9, width=11, data=data).SerializeToString()).values()


def test_an_annotated_datum_is_named():
    message = caffe_pb2.AnnotatedDatum(datum=caffe_pb2.Datum(channels=1, height=1, width=1, data=b"x"))
    with pytest.raises(FormatError, match="AnnotatedData layer"):
        read_datum(message.SerializeToString())


def no_picture(data: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        read_datum(caffe_pb2.Datum(data=data, encoded=True).SerializeToString()).picture(cv2.IMREAD_UNCHANGED)
    return str(caught.value)


def png(height: int, width: int, data: bytes) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_what_is_no_picture():
    assert "has no data" in no_picture(b"")
    assert "cannot be decoded; it begins with b'hello'" in no_picture(b"hello")
    deep = cv2.imencode(".png", np.full((3, 4), 1000, np.uint16))[1].tobytes()
    assert "expected a picture of 8 bits a channel, got uint16" in no_picture(deep)


def jpeg_of(height: int, width: int) -> bytes:
    """A JPEG whose frame header states another size."""
    data = bytearray(cv2.imencode(".jpg", picture(0, 16, 16))[1].tobytes())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


@pytest.mark.parametrize(
    "data", [png(60_000, 60_000, zlib.compress(b"x")), jpeg_of(60_000, 60_000), png(0x7FFFFFFF, 0x7FFFFFFF, b"")]
)
def test_absurd_sizes_take_neither_time_nor_memory(data):
    tracemalloc.start()
    start = time.perf_counter()
    assert "the picture claims" in no_picture(data)
    assert time.perf_counter() - start < 1
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_the_size_in_the_head():
    for suffix in (".png", ".jpg"):
        data = cv2.imencode(suffix, picture(0, 20, 31))[1].tobytes()
        size = picture_size(memoryview(data))
        assert size is not None
        assert (size.height, size.width, size.pixels) == (20, 31, 620)
        assert size.possible >= 620
        for end in range(0, len(data), 7):
            picture_size(memoryview(data[:end]))
    progressive = cv2.imencode(".jpg", picture(0, 20, 31), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert picture_size(memoryview(progressive))[:2] == (20, 31)
    assert picture_size(memoryview(b"BM")) is None


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_size_as_it_is_stated(suffix):
    data = cv2.imencode(suffix, np.zeros((7, 9, 3), np.uint8))[1].tobytes()
    assert Datum((0, 0, 0), 0, True, memoryview(data)).size() == (7, 9)
    assert Datum((3, 5, 4), 0, False, memoryview(bytes(60))).size() == (5, 4)
    for shape in ((3, 0, 4), (3, 5, -1), (3, 1 << 20, 1 << 20)):
        assert Datum(shape, 0, False, memoryview(b"")).size() is None
    assert Datum((3, 7, 9), 0, True, memoryview(b"BM")).size() is None


def test_the_densest_pictures_pass():
    flat = np.zeros((4000, 4000), np.uint8)
    for suffix, options in ((".png", []), (".jpg", [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_OPTIMIZE, 1])):
        data = cv2.imencode(suffix, flat, options)[1].tobytes()
        size = picture_size(memoryview(data))
        assert size is not None
        assert size.pixels <= size.possible


def test_damaged_messages_are_refused_or_read():
    random = np.random.default_rng(0)
    buffers = [raw(picture(0).transpose(2, 0, 1)), encoded(picture(0), ".png"), raw(np.ones((2, 3, 4), np.float32))]
    refused = 0
    for _ in range(600):
        buffer = bytearray(buffers[random.integers(3)])
        for _ in range(random.integers(1, 4)):
            buffer[random.integers(min(60, len(buffer)))] = random.integers(256)
        buffer = buffer[: random.integers(len(buffer)) + 1]
        try:
            datum = read_datum(bytes(buffer))
            datum.picture(cv2.IMREAD_UNCHANGED) if datum.encoded else datum.values()
        except CaffeCompatError:
            refused += 1
    assert refused > 300
