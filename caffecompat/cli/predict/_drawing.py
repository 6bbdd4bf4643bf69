"""What `detect --draw` writes: pictures with boxes on them, and videos of such pictures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import cv2

from caffecompat.cli.files import keep_inputs, tell_written
from caffecompat.cli.predict._pictures import Folder
from caffecompat.data.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Item, is_video, write_image
from caffecompat.data.videos import WRITTEN_SUFFIXES, VideoFile, frame_rate
from caffecompat.detection.drawing import DrawnBox, draw_boxes
from caffecompat.errors import UsageError, quoted

# What a video becomes whose own suffix is not written.
VIDEO_SUFFIX = ".mp4"


class Drawings:
    """Writes what it is given with boxes drawn; a context manager, which finishes a video or drops it, and tells of it.

    Args:
        target: a folder, which is made, or a file; what is there decides, else whether it ends with / or has a suffix.
        inputs: the files that are read; a file is for one of them.
        every: every so many frames of a video are given.

    Raises:
        UsageError: a file for several inputs, of another kind than the input, or of an unknown suffix; or `target` is
            an input itself.
        CaffeCompatError: the folder cannot be made.
    """

    def __init__(self, target: str, inputs: Sequence[Path], every: int = 1) -> None:
        self._every = every
        self._drawn = False
        self._video: VideoFile | None = None
        # The file and the number of the frame before.
        self._last: tuple[Path, int] | None = None
        self._folder: Folder | None = None
        path = self._file = Path(target)
        suffix = path.suffix.lower()
        if path.is_dir() or not suffix or target.endswith(("/", os.sep)):
            self._folder = Folder(path, inputs)
            return
        if suffix not in IMAGE_SUFFIXES | VIDEO_SUFFIXES:
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES | WRITTEN_SUFFIXES))
            raise UsageError(
                f"--draw {target}: {quoted(path.suffix)} is no suffix of an image or a video",
                hint=f"one of {suffixes}; or a folder, which has none, ends with / or is there already",
            )
        keep_inputs(path, inputs)
        if len(inputs) != 1:
            raise UsageError(f"--draw {target} is one file for {len(inputs)} inputs", hint="give a folder")
        if is_video(inputs[0]) != (suffix in VIDEO_SUFFIXES):
            kinds = ("a video", "an image") if is_video(inputs[0]) else ("an image", "a video")
            raise UsageError(f"the input is {kinds[0]}, and --draw {target} would be {kinds[1]}")
        known = suffix in WRITTEN_SUFFIXES if suffix in VIDEO_SUFFIXES else cv2.haveImageWriter(str(target))
        if not known:
            raise UsageError(f"--draw: no files of the suffix {quoted(path.suffix)} can be written here")

    def __enter__(self) -> Drawings:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._video is not None:
            self._video.__exit__(kind, error, trace)
        if error is not None:
            return
        if self._folder is not None:
            self._folder.tell_written()
        elif self._drawn:
            tell_written(self._file)

    def write(self, item: Item, boxes: Sequence[DrawnBox]) -> None:
        """Write a picture, or the next frame of a video, with its boxes.

        Raises:
            UsageError: the file to write is an input.
            CaffeCompatError: it cannot be written.
        """
        picture = draw_boxes(item.image, boxes)
        self._drawn = True
        if item.frame is not None:
            self._video_of(item, item.frame).write(picture)
        elif self._folder is not None:
            self._folder.write(item, picture)
        else:
            write_image(self._file, picture)

    def _video_of(self, item: Item, frame: int) -> VideoFile:
        """The video that a frame belongs to; the first frame of the next one finishes it."""
        last, self._last = self._last, (item.file, frame)
        # The same file may be named twice: then its frames begin again.
        if self._video is not None and last is not None and last[0] == item.file and last[1] < frame:
            return self._video
        if self._video is not None:
            self._video.close()
        path = self._file
        if self._folder is not None:
            suffix = item.file.suffix.lower()
            path = self._folder.named(item.file.stem, suffix if suffix in WRITTEN_SUFFIXES else VIDEO_SUFFIX)
        self._video = VideoFile(path, frame_rate(item.file) / self._every)
        return self._video
