"""The lists of convert_annoset: an image and its annotation, or its label, in each line.

Source of the rules: tools/convert_annoset.cpp and scripts/create_annoset.py of the SSD branch.
"""

from __future__ import annotations

from pathlib import Path

from caffecompat.data.annoset.record import Entry
from caffecompat.data.lists import check_count, read_labelled, read_text, text_of
from caffecompat.errors import FormatError, quoted


def read_detection_list(path: Path, root: str) -> list[Entry]:
    """The entries of a list of `image annotation`, apart by white space, or by one tab where names hold spaces.

    Args:
        path: the list.
        root: the folder that names start from, or "".

    Raises:
        FormatError: the list cannot be read, is empty, or a line is not of this form.
    """
    entries: list[Entry] = []
    for number, raw in enumerate(read_text(path), 1):
        line = raw.strip()
        if not line:
            continue
        names = line.split(b"\t") if line.count(b"\t") == 1 else line.split()
        if len(names) != 2:
            text = quoted(text_of(line))
            hint = "where names hold spaces, put a tab between the two"
            raise FormatError(f"expected an image and its annotation, got {text}", file=path, line=number, hint=hint)
        name, marks = (text_of(part.strip()) for part in names)
        entries.append(Entry(name, joined(root, name), joined(root, marks), listed=marks, about=joined(root, marks)))
        check_count(len(entries), path)
    if not entries:
        raise FormatError("expected images and their annotations, got an empty list", file=path)
    return entries


def read_classification_list(path: Path, root: str) -> list[Entry]:
    """The entries of a list of `image label`; see `data.lists.read_labelled`."""
    try:
        files, labels, _ = read_labelled(path)
    except FormatError as error:
        if error.line is not None:
            error.hint = "where the list names files of boxes, --anno_type detection reads them"
        raise
    return [
        Entry(name, joined(root, name), int(label), listed=str(label))
        for name, label in zip(files.names, labels, strict=True)
    ]


def joined(root: str, name: str) -> str:
    """A name from a folder; the original puts them together as they are, so that the folder needs its slash."""
    return f"{root.rstrip('/') or '/'}/{name}" if root else name
