"""Datums of image files, as Caffe's convert_imageset makes them.

Source of the rules: tools/convert_imageset.cpp, and ReadImageToDatum in util/io.cpp.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from caffecompat.data.geometry import MAX_PIXELS
from caffecompat.data.images import Image, decode_image, read_encoded
from caffecompat.errors import FormatError, UsageError, context, quoted
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
        least: images whose shorter side is below it are enlarged to it, their aspect kept; 0 for none.
        most: images whose longer side is (then) beyond it are resized to it, their aspect kept; 0 for none. Both
            are convert_annoset's; where one of them is given, `size` is not heeded.
    """

    grey: bool = False
    size: tuple[int, int] | None = None
    encoded: bool = False
    encode_type: str = ""
    states_sizes: bool = True
    least: int = 0
    most: int = 0

    @property
    def resizes(self) -> bool:
        """Whether images may be resized: such ones are compressed anew."""
        return self.size is not None or bool(self.least or self.most)


class Picture(NamedTuple):
    """What an image file has become.

    Attributes:
        datum: the Datum of it.
        sizes: (channels, height, width) of the image in it.
        file_size: (height, width) of the image in the file.
    """

    datum: caffe_pb2.Datum
    sizes: Sizes
    file_size: tuple[int, int]


def read_datum(path: str | os.PathLike[str], label: int, form: DatumForm) -> tuple[caffe_pb2.Datum, Sizes]:
    """The Datum of an image file, and (channels, height, width) of the image in it; see `read_picture`."""
    return read_picture(path, label, form)[:2]


def read_picture(path: str | os.PathLike[str], label: int, form: DatumForm) -> Picture:
    """The Datum of an image file.

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
    file_size = image.shape[0], image.shape[1]
    if form.resizes:
        with context(file=path):
            image = _resized(image, form)
    sizes = _sizes(image)
    wanted = _encoding(Path(path), form)
    if not wanted:
        return Picture(_raw(image, label), sizes, file_size)
    whole = not form.resizes and _matches(_suffix(Path(path)), wanted)
    data = read.tobytes() if whole else _compressed(image, wanted, Path(path))
    datum = caffe_pb2.Datum(data=data, label=label, encoded=True)
    if form.states_sizes:
        datum.channels, datum.height, datum.width = sizes
    return Picture(datum, sizes, file_size)


def _resized(image: Image, form: DatumForm) -> Image:
    """The image resized: ReadImageToCVMat of the SSD branch, its factors in single precision."""
    if not form.least and not form.most:
        assert form.size is not None
        height, width = form.size
        return np.asarray(cv2.resize(image, (width, height)), np.uint8)
    shorter, longer = sorted(image.shape[:2])
    factor = np.float32(1)
    if shorter < form.least:
        factor = np.float32(form.least) / np.float32(shorter)
    if form.most and int(factor * np.float32(longer)) > form.most:
        factor = np.float32(form.most) / np.float32(longer)
    if factor == 1:
        return image
    pixels = float(factor) ** 2 * shorter * longer
    if pixels > MAX_PIXELS or round(float(factor) * shorter) < 1:
        size = f"{image.shape[1]}x{image.shape[0]} pixels"
        raise FormatError(f"an image of {size}, times {factor:g}, would have {pixels:.3g} of them")
    return np.asarray(cv2.resize(image, (0, 0), fx=float(factor), fy=float(factor)), np.uint8)


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
