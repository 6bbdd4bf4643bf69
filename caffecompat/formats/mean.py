"""Mean images: `.binaryproto` as Caffe's compute_image_mean writes them, and `.npy` as its Python users keep them."""

from __future__ import annotations

import math
import os
import warnings
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from caffecompat.errors import FormatError, ShapeError, UnsupportedError, UsageError, context, quoted
from caffecompat.formats.atomic import atomic_write
from caffecompat.formats.blob_proto import read_blob
from caffecompat.formats.mapped import map_file
from caffecompat.formats.wire import Wire
from caffecompat.schema import caffe_pb2

NPY_MAGIC = b"\x93NUMPY"
_CHANNELS = (3, 1)

Mean = npt.NDArray[np.float32]


def read_mean(path: str | os.PathLike[str]) -> Mean:
    """Read a mean image.

    A `.npy` array may be (channels, height, width), (height, width, channels) or, in grey, (height, width); which
    axis the channels are is told by their number, 3 or 1.

    Returns:
        float32 (channels, height, width), channels in the order of the file (Caffe: BGR).

    Raises:
        FormatError: the file cannot be read or is broken.
        ShapeError: it is not one image.
        UnsupportedError: it is a `.npz`.
    """
    with context(file=os.fspath(path), hint="a mean image is a .binaryproto or a .npy file"):
        data = map_file(path)
        if data[:4] == b"PK\x03\x04":
            raise UnsupportedError("expected a mean image, got a zip archive", hint="save the array as .npy")
        if data[: len(NPY_MAGIC)] == NPY_MAGIC:
            with open(path, "rb") as file:
                return _from_npy(_read_npy(file, len(data)))
        return _from_blob(read_blob(Wire(data), 0, len(data)).array)


def write_mean(path: str | os.PathLike[str], array: npt.ArrayLike) -> None:
    """Write a mean image: `.npy` by that suffix, else a binaryproto of four sizes as Caffe's own tool writes.

    Args:
        path: the file; it is replaced as a whole.
        array: real numbers (channels, height, width).

    Raises:
        UsageError: the array is something else.
        CaffeCompatError: the file cannot be written.
    """
    mean = np.asarray(array)
    if mean.ndim != 3 or mean.dtype.kind not in "fiu":
        raise UsageError(f"expected real numbers (channels, height, width), got {mean.dtype} of shape {mean.shape}")
    mean = np.ascontiguousarray(mean, np.float32)
    with atomic_write(path) as file:
        if os.fspath(path).endswith(".npy"):
            np.lib.format.write_array(file, mean, allow_pickle=False)
        else:
            channels, height, width = mean.shape
            blob = caffe_pb2.BlobProto(num=1, channels=channels, height=height, width=width, data=mean.ravel())
            file.write(blob.SerializeToString())


def _from_blob(array: Mean) -> Mean:
    if array.ndim == 4 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 3 or not array.size:
        raise ShapeError(
            f"expected a mean image of shape (1, channels, height, width), got {array.shape}",
            hint="means of whole channels are given as mean values",
        )
    return array


def _read_npy(file: BinaryIO, size: int) -> npt.NDArray[np.generic]:
    """The array in a `.npy` file, whose header may lie about everything."""
    try:
        version = np.lib.format.read_magic(file)
        if version not in ((1, 0), (2, 0)):
            raise UnsupportedError(f"a .npy file of version {version}: expected 1.0 or 2.0")
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        with warnings.catch_warnings():
            # Headers that Python 2 wrote read the same.
            warnings.simplefilter("ignore", UserWarning)
            shape, fortran, dtype = read_header(file)
    except UnsupportedError:
        raise
    # The header is a Python literal, and what a broken one raises depends on numpy's release and Python's parser.
    except (Exception, MemoryError) as error:
        raise FormatError(f"broken .npy header: {quoted(str(error))}") from error
    if dtype.kind not in "fiu":
        raise FormatError(f"expected an array of numbers, got {dtype}")
    expected = math.prod(shape) * dtype.itemsize
    if len(shape) > 4 or min(shape, default=0) < 0 or expected != size - file.tell():
        raise FormatError(f"the shape {quoted(shape)} of {dtype} takes {expected} bytes, got {size - file.tell()}")
    return np.frombuffer(file.read(), dtype).reshape(shape, order="F" if fortran else "C")


def _from_npy(array: npt.NDArray[np.generic]) -> Mean:
    shape = array.shape
    if array.ndim == 4 and shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        array = array[np.newaxis]
    elif array.ndim == 3:
        array = np.moveaxis(array, _channel_axis(array.shape), 0)
    if array.ndim != 3 or not array.size:
        raise ShapeError(
            f"expected a mean image of 2 or 3 axes, got the shape {shape}",
            hint="means of whole channels are given as mean values",
        )
    with np.errstate(all="ignore"):
        return np.ascontiguousarray(array, np.float32)


def _channel_axis(shape: tuple[int, ...]) -> int:
    for channels in _CHANNELS:
        axes = [axis for axis in (0, 2) if shape[axis] == channels]
        if len(axes) == 1:
            return axes[0]
        if axes:
            break
    raise ShapeError(
        f"expected 3 or 1 channels as the first or the last axis, got the shape {shape}",
        hint="save the mean as a .binaryproto, whose first axis is the channels",
    )
