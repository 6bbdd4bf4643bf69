"""`reference.npz`: what an old Caffe computed, written by `converters/record_reference.py`."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from caffecompat.errors import FormatError
from caffecompat.formats.arrays import read_arrays

INPUT, BLOB = "input/", "blob/"


@dataclass(frozen=True)
class Reference:
    """A recorded pass.

    Attributes:
        inputs: what the net was fed, by blob.
        blobs: what it computed.
    """

    inputs: dict[str, npt.NDArray[np.float32]]
    blobs: dict[str, npt.NDArray[np.float32]]


def read_reference(path: str | os.PathLike[str]) -> Reference:
    """Read a `reference.npz`; nothing in it is unpickled.

    Raises:
        FormatError: it is none, or it holds more than 8 GiB.
    """
    arrays = read_arrays(path)
    inputs, blobs = (
        {name.removeprefix(part): value for name, value in arrays.items() if name.startswith(part)}
        for part in (INPUT, BLOB)
    )
    if not inputs or not blobs:
        raise FormatError(
            "expected arrays called input/NAME and blob/NAME",
            file=path,
            hint="converters/record_reference.py writes such a file where an old Caffe runs",
        )
    return Reference(inputs, blobs)
