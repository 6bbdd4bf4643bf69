"""`.npy` and `.npz`: NumPy's arrays of numbers. Nothing in such a file is unpickled."""

from __future__ import annotations

import os
import zipfile

import numpy as np
import numpy.typing as npt

from caffecompat.errors import CaffeCompatError, FormatError, context, quoted
from caffecompat.formats.text_file import no_such_file

MAX_BYTES = 1 << 33


def read_arrays(path: str | os.PathLike[str]) -> dict[str, npt.NDArray[np.float32]]:
    """The arrays of an `.npz` by name, or that of an `.npy`, called "", as float32.

    Raises:
        FormatError: the file cannot be read, is none of both, holds something else than numbers, or more than 8 GiB.
    """
    with context(file=path):
        try:
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    size = sum(entry.file_size for entry in archive.infolist())
                if size > MAX_BYTES:
                    raise FormatError(f"expected at most {MAX_BYTES} bytes of arrays, got {size}")
                with np.load(path, allow_pickle=False) as loaded:
                    arrays = {name: loaded[name] for name in loaded.files}
            else:
                # A mapped file cannot claim more values than it has.
                arrays = {"": np.lib.format.open_memmap(os.fspath(path), mode="r")}
            if any(array.dtype.kind not in "fiub" for array in arrays.values()):
                raise FormatError("expected arrays of numbers")
            return {name: np.array(array, dtype=np.float32) for name, array in arrays.items()}
        except CaffeCompatError:
            raise
        except FileNotFoundError:
            raise no_such_file(path) from None
        except OSError as error:
            raise FormatError(f"cannot read the arrays: {error.strerror or error}") from error
        # What a broken header raises depends on numpy's release and Python's parser.
        except (Exception, MemoryError) as error:
            raise FormatError(f"not a .npy or .npz file of numbers: {quoted(str(error))}") from error
