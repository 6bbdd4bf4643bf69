"""Datums of image files, as Caffe's convert_imageset makes them.

Source of the rules: tools/convert_imageset.cpp, and ReadImageToDatum in util/io.cpp.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from caffecompat.data.images import Image, decode_image, read_encoded
from caffecompat.errors import FormatError, UsageError, quoted
from caffecompat.schema import caffe_pb2

Sizes = tuple[int, int, int]


@dataclass(frozen=True)
class DatumForm:
    """How an image becomes a Datum.

    Attributes:
        grey: read images as grey ones, of one channel.
        size: (height, width) that images are resized to, or None.
        encoded: keep images as files are, compressed.
        encode_type: the format of the compressed images, such as "jpg" or "png"; "" means that of each file's suffix.
        states_sizes: a compressed Datum states its sizes, as the SSD branch's do and BVLC's do not.
    """

    grey: bool = False
    size: tuple[int, int] | None = None
    encoded: bool = False
    encode_type: str = ""
    states_sizes: bool = True


def read_datum(path: str | os.PathLike[str], label: int, form: DatumForm) -> tuple[caffe_pb2.Datum, Sizes]:
    """The Datum of an image file, and (channels, height, width) of the image in it.

    A compressed Datum holds the bytes of the file itself if the image is not resized and the file's suffix says that
    it has the format wanted; else it is compressed anew. Otherwise its data are uint8, (channels, height, width),
    channels in the order B, G, R.

    Args:
        path: the file.
        label: its class.
        form: what the Datum holds.

    Raises:
        FormatError: the file cannot be read, or is no image.
        UsageError: no format is known in which to compress it.
    """
    read = read_encoded(path)
    image = decode_image(read, path, grey=form.grey)
    if form.size is not None:
        height, width = form.size
        image = np.asarray(cv2.resize(image, (width, height)), np.uint8)
    sizes = _sizes(image)
    wanted = _encoding(Path(path), form)
    if not wanted:
        return _raw(image, label), sizes
    whole = form.size is None and _matches(_suffix(Path(path)), wanted)
    data = read.tobytes() if whole else _compressed(image, wanted, Path(path))
    datum = caffe_pb2.Datum(data=data, label=label, encoded=True)
    if form.states_sizes:
        datum.channels, datum.height, datum.width = sizes
    return datum, sizes


def _raw(image: Image, label: int) -> caffe_pb2.Datum:
    channels, height, width = _sizes(image)
    planes = image if image.ndim == 2 else image.transpose(2, 0, 1)
    # Caffe states `encoded: false` as well.
    return caffe_pb2.Datum(
        channels=channels, height=height, width=width, data=planes.tobytes(), label=label, encoded=False
    )


def _sizes(image: Image) -> Sizes:
    return (image.shape[2] if image.ndim == 3 else 1), image.shape[0], image.shape[1]


def _encoding(path: Path, form: DatumForm) -> str:
    """The format to compress in; "" if the Datum is raw."""
    if form.encode_type:
        return form.encode_type.lower()
    if not form.encoded:
        return ""
    suffix = _suffix(path)
    if not suffix:
        raise UsageError("its name does not say in which format it is", file=path, hint="give --encode_type jpg")
    return suffix


def _suffix(path: Path) -> str:
    return path.suffix[1:].lower()


def _matches(suffix: str, wanted: str) -> bool:
    return suffix == wanted or (wanted == "jpg" and suffix == "jpeg")


def _compressed(image: Image, wanted: str, path: Path) -> bytes:
    try:
        good, data = cv2.imencode(f".{wanted}", image)
    except cv2.error as error:
        hint = "give --encode_type jpg or png"
        raise UsageError(f"cannot write images of format {quoted(wanted)}", file=path, hint=hint) from error
    if not good:
        raise FormatError(f"OpenCV could not compress it as {wanted}", file=path)
    return data.tobytes()
