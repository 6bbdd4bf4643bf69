"""caffe.io: images and arrays on their way into a net, and arrays as messages.

It gives the values that the original gave with the scikit-image and SciPy of its time, by OpenCV and NumPy alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from caffecompat.errors import FormatError
from caffecompat.pycaffe._images import Array, ArrayError, load_image, oversample, resize_image
from caffecompat.pycaffe._transformer import Transformer
from caffecompat.schema import caffe_pb2

if TYPE_CHECKING:
    from caffecompat.schema.caffe_pb2 import BlobProto, Datum

__all__ = [
    "ArrayError",
    "Transformer",
    "array_to_blobproto",
    "array_to_datum",
    "arraylist_to_blobprotovector_str",
    "blobproto_to_array",
    "blobprotovector_str_to_arraylist",
    "caffe_pb2",
    "datum_to_array",
    "load_image",
    "oversample",
    "resize_image",
]


def blobproto_to_array(blob: BlobProto, return_diff: bool = False) -> Array:
    """The array in a BlobProto, of any caffe_pb2.

    Args:
        blob: the message; values that it has as doubles count where it has no others.
        return_diff: give its diff instead of its data.

    Returns:
        float64, of shape num, channels, height, width where one of them is set, else of `shape`.

    Raises:
        ArrayError: the number of values is not that of the shape.
    """
    values: Any = (blob.diff or blob.double_diff) if return_diff else (blob.data or blob.double_data)
    array = np.fromiter(values, np.float64, len(values))
    legacy = [name for name in ("num", "channels", "height", "width") if blob.HasField(name)]
    shape = [blob.num, blob.channels, blob.height, blob.width] if legacy else list(blob.shape.dim)
    # The original lets a single value do without a shape.
    try:
        return array.reshape(shape)
    except ValueError as error:
        raise ArrayError(f"a blob of shape {shape} cannot have {len(array)} values") from error


def array_to_blobproto(arr: Array, diff: Array | None = None) -> BlobProto:
    """An array of any shape as a BlobProto.

    Args:
        arr: its data.
        diff: its diff, of the same shape.

    Raises:
        ArrayError: the shapes differ.
    """
    if diff is not None and diff.shape != arr.shape:
        raise ArrayError(f"data has shape {arr.shape}, diff {diff.shape}")
    blob = caffe_pb2.BlobProto()
    blob.shape.dim.extend(arr.shape)
    blob.data.extend(arr.astype(float).ravel().tolist())
    if diff is not None:
        blob.diff.extend(diff.astype(float).ravel().tolist())
    return blob


def arraylist_to_blobprotovector_str(arraylist: Iterable[Array]) -> bytes:
    """Arrays as a serialised BlobProtoVector."""
    return caffe_pb2.BlobProtoVector(blobs=[array_to_blobproto(array) for array in arraylist]).SerializeToString()


def blobprotovector_str_to_arraylist(str: bytes) -> list[Array]:
    """The arrays, float64, in a serialised BlobProtoVector.

    Raises:
        FormatError: it is none.
        ArrayError: the number of values of one is not that of its shape.
    """
    from google.protobuf.message import DecodeError

    vector = caffe_pb2.BlobProtoVector()
    try:
        vector.ParseFromString(str)
    except DecodeError as error:
        raise FormatError(f"not a BlobProtoVector: {error}") from error
    return [blobproto_to_array(blob) for blob in vector.blobs]


def array_to_datum(arr: Array, label: int | None = None) -> Datum:
    """An array as a Datum, as databases hold them.

    Args:
        arr: (channels, height, width); uint8 becomes `data`, every other dtype `float_data`.
        label: the class; the field is absent if it is None.

    Raises:
        ArrayError: it has another number of axes.
    """
    if arr.ndim != 3:
        raise ArrayError(f"expected an array (channels, height, width), got shape {arr.shape}")
    datum = caffe_pb2.Datum()
    datum.channels, datum.height, datum.width = arr.shape
    if arr.dtype == np.uint8:
        datum.data = arr.tobytes()
    else:
        datum.float_data.extend(arr.astype(float).ravel().tolist())
    if label is not None:
        datum.label = int(label)
    return datum


def datum_to_array(datum: Datum) -> Array:
    """The values of a Datum that is not encoded, of any caffe_pb2.

    Returns:
        (channels, height, width): uint8 from its `data`, else float64.

    Raises:
        ArrayError: the number of values is not that of the sizes that it states.
    """
    if datum.data:
        array: Array = np.frombuffer(datum.data, np.uint8).copy()
    else:
        array = np.fromiter(datum.float_data, np.float64, len(datum.float_data))
    shape = (datum.channels, datum.height, datum.width)
    try:
        return array.reshape(shape)
    except ValueError as error:
        hint = "it is the file of an image: decode its data, with cv2.imdecode" if datum.encoded else None
        raise ArrayError(f"a datum of shape {shape} cannot have {len(array)} values", hint=hint) from error
