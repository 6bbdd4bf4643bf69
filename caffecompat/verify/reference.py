"""`reference.npz`: what an old Caffe computed, written by `converters/record_reference.py`."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from caffecompat.errors import CaffeCompatError, FormatError, context

INPUT, BLOB = "input/", "blob/"
MAX_BYTES = 2**33


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
    parts: dict[str, dict[str, npt.NDArray[np.float32]]] = {INPUT: {}, BLOB: {}}
    with context(file=path):
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
            if size > MAX_BYTES:
                raise FormatError(f"expected at most {MAX_BYTES} bytes of arrays, got {size}")
            with np.load(path, allow_pickle=False) as arrays:
                for name in arrays.files:
                    for part, found in parts.items():
                        if name.startswith(part):
                            found[name[len(part) :]] = np.asarray(arrays[name], np.float32)
        except CaffeCompatError:
            raise
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, MemoryError) as error:
            raise FormatError(f"expected a reference.npz: {error}") from error
        if not parts[INPUT] or not parts[BLOB]:
            raise FormatError(
                "expected arrays called input/NAME and blob/NAME",
                hint="converters/record_reference.py writes such a file where an old Caffe runs",
            )
    return Reference(parts[INPUT], parts[BLOB])
