"""Window files: pictures and their windows, as R-CNN's users write them for WindowData.

For each picture, separated by white space: `#`, its number from 0, its path, channels, height, width, the number of
its windows; and for each of these its class, its overlap with an object, and x1, y1, x2, y2, both ends included.
Source: WindowDataLayer::DataLayerSetUp.
"""

from __future__ import annotations

import re
from array import array
from contextlib import suppress
from pathlib import Path

import numpy as np
import numpy.typing as npt

from caffecompat.data.lists import check_count, read_text, text_of
from caffecompat.errors import FormatError, quoted

HEAD = 7
WIDTH = 6
CHANNELS = 3
# The original holds numbers as single floats, which are exact up to here.
MAX_NUMBER = 1 << 24
MAX_TOKEN = 32

Windows = npt.NDArray[np.int32]
_WHOLE = re.compile(rb"-?\d{1,9}")


class WindowFile:
    """The windows that a file lists.

    Args:
        path: the file.
        fg_threshold: a window of at least this overlap is foreground, of its class.
        bg_threshold: one below this that is no foreground is background, of class 0.

    Attributes:
        path: the file.
        pictures: their paths, as listed.
        lines: for each picture the line of the file where it begins, from 1.
        foreground: (N, 6) int32: picture, class, x1, y1, x2, y2.
        background: the same; class 0.

    Raises:
        FormatError: the file cannot be read, is cut short, or holds something else.
    """

    def __init__(self, path: Path, fg_threshold: float, bg_threshold: float) -> None:
        self.path = path
        self.pictures: list[str] = []
        self.lines = array("L")
        self._tokens = _Tokens(path)
        kinds: tuple[list[Windows], list[Windows]] = ([], [])
        while self._tokens.left():
            windows, overlap = self._picture()
            chosen = overlap >= np.float32(fg_threshold)
            foreground = windows[chosen]
            if (foreground[:, 1] < 1).any():
                raise self._fault("expected windows with objects to be of class 1 or more, got one below it")
            background = windows[~chosen & (overlap < np.float32(bg_threshold))]
            background[:, 1] = 0
            kinds[0].append(foreground)
            kinds[1].append(background)
        if not self.pictures:
            raise FormatError("expected pictures and their windows, got an empty file", file=path)
        # The original makes its batches as the last picture says, and reads all of them in colour.
        if self._channels != CHANNELS:
            raise self._fault(f"expected the last picture to have {CHANNELS} channels, got {self._channels}")
        self.foreground, self.background = (np.concatenate(kind) for kind in kinds)
        del self._tokens

    def _fault(self, message: str, hint: str | None = None) -> FormatError:
        return FormatError(message, file=self.path, line=self.lines[-1], hint=hint)

    def _picture(self) -> tuple[Windows, npt.NDArray[np.float32]]:
        """The next picture's windows (N, 6), and the overlap of each."""
        mark, index, name, channels, height, width, count = self._tokens.take(HEAD, "of a picture")
        self.lines.append(self._tokens.first)
        place = len(self.pictures)
        sizes = [self._whole(token) for token in (index, channels, height, width, count)]
        if mark != b"#" or sizes[0] != place:
            got = text_of(mark + b" " + index)
            raise self._fault(
                f"expected the picture '# {place}', got {quoted(got)}",
                hint="the pictures of a window file are numbered from 0, and each has as many windows as it says",
            )
        if sizes[4] < 0:
            raise self._fault(f"expected a number of windows, got {sizes[4]}")
        self._channels = sizes[1]
        self.pictures.append(text_of(name))
        check_count(len(self.pictures), self.path)
        return self._windows(sizes[4], place)

    def _whole(self, token: bytes) -> int:
        if not _WHOLE.fullmatch(token):
            raise self._fault(f"expected a whole number, got {quoted(text_of(token))}")
        return int(token)

    def _windows(self, count: int, place: int) -> tuple[Windows, npt.NDArray[np.float32]]:
        tokens = self._tokens.take(WIDTH * count, f"of {count} windows of the picture # {place}")
        values = np.full((count, WIDTH), np.nan)
        # Numbers are short; an array of texts takes for each as much as for the longest.
        if max(map(len, tokens), default=0) <= MAX_TOKEN:
            with suppress(ValueError):
                values = np.array(tokens, dtype=bytes).astype(np.float64).reshape(count, WIDTH)
        whole = values[:, [0, 0, 2, 3, 4, 5]]
        if not ((abs(values) <= MAX_NUMBER) & (whole == np.floor(whole))).all():
            raise self._fault("expected windows of numbers: class, overlap, x1, y1, x2, y2, whole but for the overlap")
        windows = whole.astype(np.int32)
        windows[:, 0] = place
        return windows, values[:, 1].astype(np.float32)


class _Tokens:
    """The words of a file, in order, by which line they come from."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = enumerate(read_text(path), 1)
        self._pending: list[bytes] = []
        self._line = 0
        self.first = 0

    def _more(self) -> bool:
        """Read on to the next line with words."""
        for number, line in self._lines:
            words = line.split()
            if words:
                self._line = number
                if not self._pending:
                    self.first = number
                self._pending += words
                return True
        return False

    def left(self) -> bool:
        """Whether there is another word."""
        return bool(self._pending) or self._more()

    def take(self, count: int, what: str) -> list[bytes]:
        """The next words; `first` is the line of the first of them."""
        self.first = self._line
        while len(self._pending) < count:
            if not self._more():
                raise FormatError(
                    f"the file ends within the {count} words {what}: {len(self._pending)} are left",
                    file=self._path,
                    line=self._line or None,
                )
        taken, self._pending = self._pending[:count], self._pending[count:]
        return taken
