"""Data sets as YOLO has them: beside each image a text with lines of `class cx cy w h`, in fractions of its size.

Lines with more numbers are outlines `class x1 y1 x2 y2 ...`, of which the box is taken. An image without a text, or
with an empty one, has no boxes. Classes count from 0; in a label map they follow the background.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from caffecompat.data.annoset.boxes import Corners, Marked, MarkedBox
from caffecompat.data.annoset.dataset import Split
from caffecompat.data.annoset.label_text import numbers_of, read_lines
from caffecompat.data.annoset.record import Entry
from caffecompat.data.annoset.yolo_config import YoloConfig, read_config
from caffecompat.data.images import IMAGE_SUFFIXES
from caffecompat.data.labels import read_labels
from caffecompat.data.lists import read_text, text_of
from caffecompat.errors import FormatError, UsageError, quoted

SPLITS = ("train", "val", "test")
_CLASS_FILES = ("classes.txt", "obj.names", "data.names", "_darknet.labels")
# What Roboflow calls the folder of the split val.
_FOLDERS = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}


@dataclass(frozen=True)
class YoloSet:
    """A data set.

    Attributes:
        names: of the classes, or none if it does not say.
        splits: its parts.
    """

    names: Sequence[str]
    splits: Sequence[Split]


def read_yolo_text(path: str | os.PathLike[str]) -> Marked:
    """The boxes of an annotation file; a box's name is the number of its class.

    Raises:
        FormatError: it cannot be read, or a line is not of this form.
    """
    boxes = []
    for line, words in read_lines(path):
        values = numbers_of(words[1:], path, line)
        if not words[0].isascii() or not words[0].isdigit() or len(words[0]) > 9:
            hint = "each line is: class cx cy w h; the class a whole number"
            raise FormatError(f"expected a class, got {quoted(words[0])}", file=path, line=line, hint=hint)
        if len(values) == 4:
            corners = _from_center(values)
        elif len(values) >= 6 and len(values) % 2 == 0:
            corners = (min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2]))
        else:
            hint = "each line is: class cx cy w h; or an outline: class x1 y1 x2 y2 x3 y3 ..."
            raise FormatError(f"expected 4 numbers after the class, got {len(values)}", file=path, line=line, hint=hint)
        boxes.append(MarkedBox(str(int(words[0])), corners))
    return Marked(boxes, fractions=True)


def _from_center(values: Sequence[float]) -> Corners:
    x, y, width, height = values
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def find_yolo(place: Path, only: str = "train") -> YoloSet:
    """The data set of a `data.yaml`, or of a folder.

    Args:
        place: a data.yaml; or a folder that has one, or folders of images for the splits, or images.
        only: what the split of a folder without splits is called.

    Raises:
        FormatError: there is none.
    """
    if place.is_file():
        return _from_config(read_config(place), place.parent)
    if not place.is_dir():
        raise FormatError("there is no such folder or data.yaml", file=place)
    for name in ("data.yaml", "data.yml"):
        if (place / name).is_file():
            return _from_config(read_config(place / name), place)
    files = [place / name for name in _CLASS_FILES if (place / name).is_file()]
    names = read_labels(files[0]) if files else ()
    splits = []
    for split in SPLITS:
        folders = [
            folder for name in _FOLDERS[split] for folder in (place / "images" / name, place / name) if folder.is_dir()
        ]
        if folders:
            splits.append(Split(split, _entries(folders[:1], place)))
    return YoloSet(names, splits or [Split(only, _entries([place], place))])


def _from_config(config: YoloConfig, folder: Path) -> YoloSet:
    splits = []
    for split in SPLITS:
        places = config.splits.get(split, ())
        if places:
            found = [_place(name, config.path, folder, config.file) for name in places]
            splits.append(Split(split, _entries(found, folder)))
    if not splits:
        raise FormatError("it names no images: expected train, val or test", file=config.file)
    return YoloSet(config.names, splits)


def _place(name: str, base: str, folder: Path, file: Path) -> Path:
    """A folder or list that a data.yaml names; Roboflow puts `../` before what is beside the file."""
    tried = [folder / base / name, folder / name, folder / name.removeprefix("../")]
    for place in tried:
        if place.exists():
            return place
    raise FormatError(f"{quoted(name)} is not there", file=file, hint=f"looked for {tried[0]}")


def _entries(places: Sequence[Path], folder: Path) -> list[Entry]:
    made = []
    for place in places:
        for image in _images(place):
            marks = _label_file(image)
            name = _relative(image, folder)
            listed = _relative(marks, folder) if marks else ""
            made.append(Entry(name, str(image), str(marks) if marks else None, listed, image.stem, str(marks or image)))
    if not any(entry.marks for entry in made):
        hint = "texts lie beside their images, or in labels/ where the images lie in images/"
        raise FormatError("no image has a text with boxes", file=places[0], hint=hint)
    return made


def _images(place: Path) -> Iterator[Path]:
    """The images of a folder, in order of their names, or of a list."""
    if place.is_dir():
        found = sorted(path for path in place.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
        if not found:
            raise FormatError("there is no image in it", file=place)
        yield from found
        return
    for line in read_text(place):
        name = text_of(line.strip())
        if name:
            yield place.parent / name


def _label_file(image: Path) -> Path | None:
    """The text of an image, or None if it has none."""
    parts = list(image.with_suffix(".txt").parts)
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    for path in (Path(*parts), image.with_suffix(".txt")):
        if path.exists():
            return path
    return None


def _relative(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder) if path.is_relative_to(folder) else str(path)


def yolo_labels(names: Sequence[str]) -> dict[str, int]:
    """The label of each class by its number, as texts have it.

    Raises:
        UsageError: the classes are not known.
    """
    if not names:
        raise UsageError("the classes are not known", hint="give --classes, or put classes.txt or data.yaml there")
    return {str(number): number + 1 for number in range(len(names))}
