"""Images and videos in, as OpenCV reads them: uint8, height x width x 3, channels in the order B, G, R.

As in Caffe, OpenCV does the reading: grey becomes three equal channels, alpha is dropped. One thing changed
since: today's OpenCV turns an image as its EXIF orientation says, the 2.4 of Caffe's time did not.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from caffecompat.data.picture_size import picture_size
from caffecompat.errors import CaffeCompatError, FormatError, UsageError, quoted

Image = npt.NDArray[np.uint8]

_IMAGES = ".bmp .gif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .ras .sr .tif .tiff .webp"
_VIDEOS = ".avi .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv"
IMAGE_SUFFIXES = frozenset(_IMAGES.split())
VIDEO_SUFFIXES = frozenset(_VIDEOS.split())


@dataclass(frozen=True)
class Item:
    """One image to work on.

    Attributes:
        name: the path of the file; of a video's frame `path#number`, from 0.
        image: (height, width, 3) uint8, B, G, R.
        file: the file it was read from.
        frame: the number of the frame, or None if the file is no video.
    """

    name: str
    image: Image
    file: Path
    frame: int | None = None

    @property
    def stem(self) -> str:
        """A name for files made from this image, without a folder or suffix."""
        return self.file.stem if self.frame is None else f"{self.file.stem}_{self.frame:06d}"


def read_image(path: str | os.PathLike[str], *, grey: bool = False) -> Image:
    """An image file as (height, width, 3) uint8, B, G, R.

    Args:
        path: the file.
        grey: read it as (height, width) uint8 instead; colours become grey as OpenCV's decoders do it.

    Raises:
        FormatError: there is no such file, or OpenCV cannot read it (it takes at most 2**30 pixels).
    """
    return decode_image(read_encoded(path), path, grey=grey)


def read_encoded(path: str | os.PathLike[str]) -> Image:
    """The bytes of an image file, uint8.

    Raises:
        FormatError: it cannot be read, or is empty.
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise FormatError("expected an image, got a folder or a device", file=path)
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise FormatError(f"cannot read the image: {error.strerror or error}", file=path) from error
    if data.size == 0:
        raise FormatError("expected an image, got an empty file", file=path)
    return data


def decode_image(data: Image, path: str | os.PathLike[str], *, grey: bool = False) -> Image:
    """What `read_image` makes of the bytes of a file.

    Raises:
        FormatError: OpenCV cannot read them; it names `path`.
    """
    return np.asarray(decode(data, path, cv2.IMREAD_GRAYSCALE if grey else cv2.IMREAD_COLOR), dtype=np.uint8)


def decode(data: Image, path: str | os.PathLike[str], flag: int) -> npt.NDArray[Any]:
    """What OpenCV makes of the bytes of an image file.

    Args:
        data: the bytes.
        path: the file they are from.
        flag: one of OpenCV's cv2.IMREAD_COLOR, IMREAD_GRAYSCALE and IMREAD_UNCHANGED, which alone keeps the numbers'
            type and the channels, and does not turn the image as its EXIF orientation says.

    Raises:
        FormatError: OpenCV cannot read them; it names `path`.
    """
    size = picture_size(data.data)
    if size is not None and size.pixels > size.possible:
        message = f"the image claims {size.height}x{size.width} pixels, in {data.size} bytes"
        raise FormatError(message, file=path, hint="it is damaged, or made to use up memory")
    try:
        image = cv2.imdecode(data, flag)
    except (cv2.error, MemoryError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else "not enough memory"
        raise FormatError(f"cannot read the image: {reason}", file=path) from error
    if image is None:
        hint = "is it cut short, or of a format that OpenCV does not read?"
        raise FormatError(f"not an image that OpenCV can read; it begins with {_beginning(data)}", file=path, hint=hint)
    return image


def split(image: Image) -> Image:
    """The channels of a picture (height, width, channels), each by itself: (channels, height, width)."""
    planes = np.empty((image.shape[2], *image.shape[:2]), np.uint8)
    # A contiguous copy first: OpenCV is five times slower on a part of an array.
    cv2.split(np.ascontiguousarray(image), list(planes))
    return planes


def find_files(names: Sequence[str | os.PathLike[str]], suffixes: frozenset[str] = IMAGE_SUFFIXES) -> list[Path]:
    """The files that are meant by files, folders (searched to the bottom) and patterns such as `*.jpg`.

    Args:
        names: what the user names; a file is taken whatever its suffix.
        suffixes: the suffixes, in lower case, of the files that are taken from folders.

    Returns:
        The files, in the order named; those of one folder or pattern sorted by name.

    Raises:
        FormatError: a name that is no file, or a folder or pattern that yields none.
    """
    found: list[Path] = []
    for name in names:
        path = Path(name)
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.suffix.lower() in suffixes and p.is_file())
        elif path.exists():
            files = [path]
        elif glob.has_magic(str(name)):
            files = sorted(p for p in map(Path, glob.glob(str(name), recursive=True)) if p.is_file())
        else:
            raise FormatError("no such file", file=path)
        if not files:
            raise FormatError(
                f"nothing to work on: no file that ends in one of {' '.join(sorted(suffixes))}", file=path
            )
        found += files
    return found


def is_video(path: Path) -> bool:
    """Whether a file is taken for a video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def count_items(files: Sequence[Path], every: int = 1) -> int | None:
    """How many items `read_items` will give; None if a video does not say its length."""
    total = 0
    for path in files:
        if not is_video(path):
            total += 1
            continue
        frames = int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT))
        if frames <= 0:
            return None
        total += -(-frames // every)
    return total


def read_items(files: Sequence[Path], every: int = 1) -> Iterator[Item]:
    """The images of files, one by one; of videos every `every`-th frame, from the first.

    Raises:
        UsageError: `every` is below 1.
        FormatError: a file cannot be read.
    """
    if every < 1:
        raise UsageError(f"every N-th frame: expected N of at least 1, got {every}")
    for path in files:
        if is_video(path):
            yield from _frames(path, every)
        else:
            yield Item(str(path), read_image(path), path)


def _frames(path: Path, every: int) -> Iterator[Item]:
    video = cv2.VideoCapture(str(path))
    try:
        number = 0
        while video.grab():
            if number % every == 0:
                good, frame = video.retrieve()
                if not good:
                    break
                yield Item(f"{path}#{number}", np.asarray(frame, dtype=np.uint8), path, number)
            number += 1
    finally:
        video.release()
    if number == 0:
        raise FormatError("not a video that OpenCV can read", file=path)


def write_image(path: str | os.PathLike[str], image: Image) -> None:
    """Write an image (B, G, R or grey) in the format of the path's suffix.

    Raises:
        CaffeCompatError: the suffix is none that OpenCV writes, or the file cannot be written.
    """
    from caffecompat.formats import atomic_write

    suffix = Path(path).suffix
    try:
        good, data = cv2.imencode(suffix, image)
    except cv2.error as error:
        raise UsageError(f"cannot write an image with the suffix {quoted(suffix)}", file=path) from error
    if not good:
        raise CaffeCompatError("OpenCV could not encode the image", file=path)
    with atomic_write(path) as file:
        file.write(data.tobytes())


def _beginning(data: Image) -> str:
    return quoted(data[:12].tobytes())
