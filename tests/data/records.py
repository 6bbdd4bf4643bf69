"""Databases for tests, written by the `lmdb` package itself, and Caffe's generator, written anew."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import cv2
import lmdb
import numpy as np

from caffecompat.formats import parse_net
from caffecompat.graph import build_graph
from caffecompat.graph.spec import LayerSpec, Phase
from caffecompat.schema import caffe_pb2


def write_lmdb(folder: Path, records: Iterable[tuple[bytes, bytes]]) -> Path:
    """An LMDB of these records."""
    with lmdb.open(str(folder), map_size=1 << 26) as environment, environment.begin(write=True) as transaction:
        for key, value in records:
            transaction.put(key, value)
    return folder


def some(count: int, size: int, seed: int = 0) -> list[tuple[bytes, bytes]]:
    """Random records in the order of their keys, values below `size` bytes."""
    chance = random.Random(seed)
    return [(b"%08d_%d" % (number, number % 7), chance.randbytes(chance.randrange(size))) for number in range(count)]


def raw(values: np.ndarray, label: int = 0) -> bytes:
    """A Datum of bytes or floats, (channels, height, width)."""
    channels, height, width = values.shape
    datum = caffe_pb2.Datum(channels=channels, height=height, width=width, label=label)
    if values.dtype == np.uint8:
        datum.data = values.tobytes()
    else:
        datum.float_data.extend(values.ravel().tolist())
    return datum.SerializeToString()


def encoded(image: np.ndarray, suffix: str, label: int = 0) -> bytes:
    """A Datum of a picture file."""
    data = cv2.imencode(suffix, image)[1].tobytes()
    return caffe_pb2.Datum(data=data, label=label, encoded=True).SerializeToString()


def picture(seed: int, height: int = 9, width: int = 11, channels: int = 3) -> np.ndarray:
    """A random picture, (height, width, channels), or (height, width) of one channel."""
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def layer(text: str, phase: Phase = "TRAIN", dialect: str = "ssd") -> LayerSpec:
    """The first layer of a prototxt."""
    return build_graph(parse_net(text), phase, dialect=dialect).layers[0]


class Twister:
    """boost::mt19937, by Python's own generator, seeded as the common init_genrand does it."""

    def __init__(self, seed: int) -> None:
        words = [seed & 0xFFFFFFFF]
        for index in range(1, 624):
            words.append((1812433253 * (words[-1] ^ words[-1] >> 30) + index) & 0xFFFFFFFF)
        self._random = random.Random()
        self._random.setstate((3, (*words, 624), None))

    def __call__(self) -> int:
        return self._random.getrandbits(32)
