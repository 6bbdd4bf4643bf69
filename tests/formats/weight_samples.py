"""Small weight files in every encoding that Caffe and its forks wrote, made by protobuf or by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from caffecompat.schema import caffe_pb2

CONV = np.linspace(-1, 1, 2 * 3 * 3 * 2, dtype=np.float32).reshape(2, 3, 3, 2)
BIAS = np.array([0.5, -0.25], np.float32)
FC = np.linspace(0, 3, 8, dtype=np.float32).reshape(4, 2)
ENCODINGS = ("v0", "v1", "v1_unpacked", "v2", "v2_double", "v2_half", "v2_chunks")


def varint(value: int) -> bytes:
    data = b""
    while value > 0x7F:
        data += bytes([value & 0x7F | 0x80])
        value >>= 7
    return data + bytes([value])


def field(number: int, payload: bytes) -> bytes:
    """A length-delimited field."""
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def number(number: int, value: int) -> bytes:
    """A varint field."""
    return varint(number << 3) + varint(value)


def shape(*dims: int) -> bytes:
    return field(7, field(1, b"".join(varint(dim & (1 << 64) - 1) for dim in dims)))


def blob(array: np.ndarray, encoding: str) -> bytes:
    """A BlobProto."""
    flat = array.ravel()
    if encoding.startswith(("v0", "v1")):
        sizes = (1,) * (4 - array.ndim) + array.shape
        message = caffe_pb2.BlobProto(**dict(zip(("num", "channels", "height", "width"), sizes, strict=True)))
        if encoding == "v1_unpacked":
            return message.SerializeToString() + b"".join(b"\x2d" + value.tobytes() for value in flat.astype("<f4"))
        message.data.extend(flat)
        return message.SerializeToString()
    message = caffe_pb2.BlobProto(shape={"dim": array.shape})
    if encoding == "v2_double":
        message.double_data.extend(flat)
    elif encoding == "v2_half":
        return message.SerializeToString() + number(10, 2) + field(12, flat.astype("<f2").tobytes())
    elif encoding == "v2_chunks":
        # Packed, single, packed and empty: protobuf's readers take them all for one field.
        parts = (flat[:3], flat[3:4], flat[4:], flat[:0])
        chunks = [field(5, part.astype("<f4").tobytes()) for part in parts]
        chunks[1] = b"".join(b"\x2d" + value.tobytes() for value in parts[1].astype("<f4"))
        return message.SerializeToString() + b"".join(chunks)
    else:
        message.data.extend(flat)
    return message.SerializeToString()


def layer(name: str, kind: str, arrays: Sequence[np.ndarray], encoding: str) -> bytes:
    """A layer as a field of its net; `kind` is the type of today's layers."""
    blobs = [blob(array, encoding) for array in arrays]
    if encoding == "v0":
        v0 = {"Convolution": "conv", "ReLU": "relu", "InnerProduct": "innerproduct"}[kind]
        inner = field(1, name.encode()) + field(2, v0.encode()) + b"".join(field(50, part) for part in blobs)
        return field(2, field(1, inner) + field(2, b"data") + field(3, name.encode()))
    if encoding.startswith("v1"):
        v1 = {"Convolution": 4, "ReLU": 18, "InnerProduct": 14}[kind]
        head = field(2, b"data") + field(3, name.encode()) + field(4, name.encode()) + number(5, v1)
        return field(2, head + b"".join(field(6, part) for part in blobs))
    head = field(1, name.encode()) + field(2, kind.encode()) + field(3, b"data") + field(4, name.encode())
    tail = caffe_pb2.LayerParameter(phase=caffe_pb2.TEST, relu_param={"negative_slope": 0.5}).SerializeToString()
    return field(100, head + b"".join(field(7, part) for part in blobs) + tail)


def small_net(encoding: str) -> bytes:
    """Three layers, two of them with blobs: conv (CONV, BIAS), relu, fc (FC)."""
    return b"".join(
        (
            field(1, b"small"),
            layer("conv", "Convolution", (CONV, BIAS), encoding),
            layer("relu", "ReLU", (), encoding),
            layer("fc", "InnerProduct", (FC,), encoding),
        )
    )
