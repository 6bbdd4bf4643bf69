"""LMDBs of a few records for tests, written by the `lmdb` package."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np

from caffecompat.schema import caffe_pb2


def datum(values: Any, label: int = 0) -> caffe_pb2.Datum:
    """A Datum of (channels, height, width): bytes if they are uint8, else floats."""
    array = np.asarray(values)
    channels, height, width = array.shape
    made = caffe_pb2.Datum(channels=channels, height=height, width=width, label=label)
    if array.dtype == np.uint8:
        made.data = array.tobytes()
    else:
        made.float_data.extend(array.ravel().tolist())
    return made


def write_lmdb(path: Path, records: Iterable[Any]) -> Path:
    """An LMDB of messages, with keys 00000000, 00000001, ..."""
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for number, record in enumerate(records):
            transaction.put(b"%08d" % number, record.SerializeToString())
    return path


def pictures(count: int, classes: int = 3, shape: tuple[int, int, int] = (1, 4, 4), seed: int = 1) -> list[Any]:
    """Data of bytes whose label is `number % classes`; the label shows in the first pixel."""
    random = np.random.default_rng(seed)
    made = []
    for number in range(count):
        values = random.integers(0, 256, shape, np.uint8)
        values[0, 0, 0] = 80 * (number % classes)
        made.append(datum(values, number % classes))
    return made
