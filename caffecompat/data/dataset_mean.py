"""The mean of all records of a database, as Caffe's compute_image_mean takes it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from caffecompat.data.databases import Database, key_text
from caffecompat.data.datum import Values
from caffecompat.data.lmdb_file import Record
from caffecompat.data.stored import read_stored
from caffecompat.errors import CaffeCompatError, FormatError, context, quoted

Doubles = npt.NDArray[np.float64]


class MeanOfRecords:
    """Adds up records of one size. Sums are doubles: those of bytes are exact.

    Attributes:
        count: how many records were added.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum: Doubles = np.zeros((0, 0, 0))
        self._first = b""

    def add(self, key: bytes, values: Values) -> None:
        """Add the values of a record, (channels, height, width).

        Raises:
            FormatError: the first record has other sizes.
        """
        if not self.count:
            self._first = key
            self._sum = np.zeros(values.shape)
        if values.shape != self._sum.shape:
            raise FormatError(
                f"record {quoted(key_text(key))} has {_by(values.shape)}, the first, {quoted(key_text(self._first))}, "
                f"has {_by(self._sum.shape)}",
                hint="a mean image needs pictures of one size: make the database with --resize_width N "
                "--resize_height N; nets that resize by themselves, as SSD's do, take a mean_value for each channel",
            )
        np.add(self._sum, values, out=self._sum)
        self.count += 1

    def mean(self) -> Doubles:
        """The mean image, (channels, height, width).

        Raises:
            FormatError: there was no record.
        """
        if not self.count:
            raise FormatError("a database without records has no mean")
        return self._sum / self.count


def values_of(record: Record, database: Database) -> tuple[bytes, Values]:
    """The key and the values of a record.

    Raises:
        CaffeCompatError: it cannot be read; it names the key and the database.
    """
    key, value = record
    with context(file=database.path):
        try:
            return key, read_stored(value).values()
        except CaffeCompatError as error:
            raise type(error)(f"record {quoted(key_text(key))}: {error.message}", hint=error.hint) from error


def _by(shape: tuple[int, ...]) -> str:
    channels, height, width = shape
    return f"{channels} channels of {height}x{width}"
