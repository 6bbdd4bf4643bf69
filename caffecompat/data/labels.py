"""The names of classes: a label map (prototxt), or a text with one name in a line."""

from __future__ import annotations

import os
import re
from pathlib import Path

from caffecompat.detection.label_map import MAX_LABELS as MAX_LABELS
from caffecompat.detection.label_map import read_label_map
from caffecompat.errors import FormatError

MAX_BYTES = 1 << 26
_SYNSET = re.compile(r"n\d{8}\s+(?=\S)")
_LABEL_MAP = re.compile(rb"^\s*item\s*:?\s*[{<]", re.MULTILINE)


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """The names of the classes; the index is the class.

    A file with `item { ... }` is a LabelMap: an item's display_name, or else its name, is the name of class
    `label`; classes without an item are "". Any other file has one class in each line; the WordNet number that
    starts the lines of synset_words.txt is dropped.

    Raises:
        FormatError: the file cannot be read, has no names, or is neither.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise FormatError(f"cannot read the labels: {error.strerror or error}", file=path) from error
    if len(data) > MAX_BYTES:
        raise FormatError(f"expected labels, got a file of more than {MAX_BYTES} bytes", file=path)
    return _from_map(path) if _LABEL_MAP.search(data) else _from_lines(data, path)


def _from_map(path: Path) -> tuple[str, ...]:
    names = read_label_map(path).display_names
    return tuple(names.get(label, "") for label in range(max(names, default=-1) + 1))


def _from_lines(data: bytes, path: Path) -> tuple[str, ...]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise FormatError("expected names in UTF-8", file=path, line=line) from None
    if "\0" in text:
        raise FormatError("expected a label map or a text with one name in a line, got binary data", file=path)
    names = [_SYNSET.sub("", line.strip(), count=1) for line in text.splitlines()]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise FormatError("expected one name in a line, got no names", file=path)
    if len(names) > MAX_LABELS:
        raise FormatError(f"expected at most {MAX_LABELS} names, got {len(names)}", file=path)
    return tuple(names)
