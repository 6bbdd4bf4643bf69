"""Video files out, as OpenCV writes them, and how fast those are that it reads."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import cv2

from caffecompat.data.images import Image
from caffecompat.errors import CaffeCompatError, UsageError, quoted

DEFAULT_RATE = 25.0
MAX_RATE = 1000.0
# By suffix the codecs that OpenCV's own builds can write, the best first.
_CODECS = {
    ".avi": ("MJPG", "XVID"),
    ".m4v": ("mp4v",),
    ".mkv": ("mp4v", "MJPG"),
    ".mov": ("mp4v", "MJPG"),
    ".mp4": ("mp4v",),
}
WRITTEN_SUFFIXES = frozenset(_CODECS)


def frame_rate(path: str | os.PathLike[str]) -> float:
    """Frames per second of a video file; 0 if it does not say."""
    video = cv2.VideoCapture(str(path))
    try:
        return float(video.get(cv2.CAP_PROP_FPS))
    finally:
        video.release()


class VideoFile:
    """A video file, written frame by frame; it appears under its name when it is closed, whole.

    Used as a context manager, it is dropped if the block raises. Without a frame no file appears.

    Args:
        path: the file; its suffix chooses format and codec.
        rate: frames per second; what is no sensible rate becomes 25.

    Raises:
        UsageError: the suffix is none that is written here.
    """

    def __init__(self, path: str | os.PathLike[str], rate: float = DEFAULT_RATE) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() not in _CODECS:
            known = " ".join(sorted(_CODECS))
            raise UsageError(
                f"cannot write a video with the suffix {quoted(self.path.suffix)}", file=path, hint=f"known: {known}"
            )
        self._rate = rate if 0 < rate <= MAX_RATE else DEFAULT_RATE
        self._temporary = self.path.with_name(f".{self.path.stem[:100]}.{secrets.token_hex(8)}{self.path.suffix}")
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def __enter__(self) -> VideoFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close() if error is None else self.drop()

    def write(self, frame: Image) -> None:
        """Add a frame, (height, width, 3) B, G, R; the first one decides the size, others are resized to it.

        Raises:
            CaffeCompatError: the file cannot be written.
        """
        if self._writer is None:
            self._size = (frame.shape[1], frame.shape[0])
            self._writer = self._open()
        if (frame.shape[1], frame.shape[0]) != self._size:
            frame = cv2.resize(frame, self._size)  # type: ignore[assignment]
        self._writer.write(frame)

    def close(self) -> None:
        """Finish the file.

        Raises:
            CaffeCompatError: it cannot be written.
        """
        if self._writer is None:
            return
        self._writer.release()
        self._writer = None
        try:
            if os.path.getsize(self._temporary) == 0:
                raise CaffeCompatError("OpenCV wrote an empty video", file=self.path)
            os.replace(self._temporary, self.path)
        except OSError as error:
            raise CaffeCompatError(f"cannot be written: {error.strerror or error}", file=self.path) from error
        finally:
            self.drop()

    def drop(self) -> None:
        """Leave nothing of a file that is not finished."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
        with suppress(OSError):
            os.unlink(self._temporary)

    def _open(self) -> cv2.VideoWriter:
        if self.path.is_dir():
            raise CaffeCompatError("expected the name of a file to write, got a directory", file=self.path)
        try:
            # OpenCV says nothing of what is wrong with a path.
            with open(self._temporary, "xb"):
                pass
        except OSError as error:
            raise CaffeCompatError(f"cannot be written: {error.strerror or error}", file=self.path) from error
        for codec in _CODECS[self.path.suffix.lower()]:
            fourcc = cv2.VideoWriter.fourcc(codec[0], codec[1], codec[2], codec[3])
            writer = cv2.VideoWriter(str(self._temporary), fourcc, self._rate, self._size)
            if writer.isOpened():
                return writer
            writer.release()
        self.drop()
        raise CaffeCompatError(
            f"OpenCV cannot write a video of {self._size[1]}x{self._size[0]} pixels to such a file",
            file=self.path,
            hint="try .avi or .mp4",
        )
