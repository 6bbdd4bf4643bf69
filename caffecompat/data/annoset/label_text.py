"""Annotations as plain text: lines of `label xmin ymin xmax ymax`, in pixels.

Source of the rules: ReadTxtToAnnotatedDatum in util/io.cpp of the SSD branch.
"""

from __future__ import annotations

import os
import re

from caffecompat.data.annoset.boxes import MAX_BOXES, Marked, MarkedBox
from caffecompat.errors import FormatError, quoted
from caffecompat.formats.text_file import read_bytes

MAX_BYTES = 1 << 24
_LABEL = re.compile(r"[+-]?[0-9]{1,9}")


def read_lines(path: str | os.PathLike[str]) -> list[tuple[int, list[str]]]:
    """The lines of an annotation in plain text that are not blank: number, and words.

    Raises:
        FormatError: it cannot be read, is too large, or no text.
    """
    data = read_bytes(path, MAX_BYTES)
    if len(data) > MAX_BYTES:
        raise FormatError(f"expected an annotation of at most {MAX_BYTES} bytes", file=path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise FormatError("expected text in UTF-8", file=path) from None
    lines = [(number, line.split()) for number, line in enumerate(text.split("\n"), 1) if not line.isspace() and line]
    if len(lines) > MAX_BOXES:
        raise FormatError(f"expected at most {MAX_BOXES} boxes, got {len(lines)}", file=path)
    return lines


def numbers_of(words: list[str], path: str | os.PathLike[str], line: int) -> list[float]:
    """The words of a line as numbers.

    Raises:
        FormatError: one is none.
    """
    try:
        return [float(word) for word in words]
    except ValueError:
        raise FormatError(f"expected numbers, got {quoted(' '.join(words))}", file=path, line=line) from None


def read_label_text(path: str | os.PathLike[str]) -> Marked:
    """The boxes of an annotation file.

    Raises:
        FormatError: it cannot be read, or a line is not of this form. (The original stops reading there.)
    """
    boxes = []
    for line, words in read_lines(path):
        if len(words) != 5 or not _LABEL.fullmatch(words[0]):
            text = quoted(" ".join(words))
            hint = "each line is: label xmin ymin xmax ymax; the label a whole number, the corners in pixels"
            raise FormatError(f"expected a label and four corners, got {text}", file=path, line=line, hint=hint)
        xmin, ymin, xmax, ymax = numbers_of(words[1:], path, line)
        boxes.append(MarkedBox(int(words[0]), (xmin, ymin, xmax, ymax)))
    return Marked(boxes)
