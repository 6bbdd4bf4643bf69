"""MS COCO: annotations of all images in one JSON file, read element by element, its polygons not kept.

Source of the rules: data/coco/create_list.py of the SSD branch (splits by lists of image names, the training split in
random order), and `coco_json`.
"""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from caffecompat.data.annoset.boxes import Marked, MarkedBox
from caffecompat.data.annoset.class_map import ClassMap
from caffecompat.data.annoset.coco_json import coco_corners, stated_size
from caffecompat.data.annoset.json_file import decoder, not_json, read_text, taken
from caffecompat.data.annoset.record import Entry
from caffecompat.data.lists import read_names
from caffecompat.errors import FormatError, quoted

MAX_BYTES = 1 << 31
# So many files and folders are looked at to find those that images may be in.
MAX_LISTED = 1000
Key = int | str
_SPACE = re.compile(r"[ \t\n\r]*")
_SPLIT = re.compile(r"(?:train|val|test|test-dev|unlabeled)\d{4}")


@dataclass
class CocoFile:
    """What is kept of a file.

    Attributes:
        path: the file.
        images: of each image its id, file name and size; in the order of the file.
        categories: the names of the categories by their ids.
        owners: of each box the image's id.
        kinds: of each box the category's id.
        crowds: of each box whether it is a crowd.
        corners: of each box the four corners.
    """

    path: Path
    images: list[tuple[Key, str, tuple[int, int] | None]] = field(default_factory=list)
    categories: dict[Key, str] = field(default_factory=dict)
    owners: list[Key] = field(default_factory=list)
    kinds: list[Key] = field(default_factory=list)
    crowds: bytearray = field(default_factory=bytearray)
    corners: array[float] = field(default_factory=lambda: array("f"))

    def take_image(self, item: Any, where: str) -> None:
        """Keep an image."""
        name = taken(item, "file_name", str, where, self.path)
        self.images.append((self._key(item, "id", where), name, stated_size(item)))

    def take_box(self, item: Any, where: str) -> None:
        """Keep a box."""
        self.owners.append(self._key(item, "image_id", where))
        self.kinds.append(self._key(item, "category_id", where))
        crowd = item.get("iscrowd", 0)
        self.crowds.append(type(crowd) is int and crowd != 0)
        self.corners.extend(coco_corners(item, where, self.path))

    def take_category(self, item: Any, where: str) -> None:
        """Keep a category."""
        self.categories[self._key(item, "id", where)] = taken(item, "name", str, where, self.path)

    def _key(self, item: Any, key: str, where: str) -> Key:
        value = item.get(key) if isinstance(item, dict) else None
        if not isinstance(value, (int, str)) or isinstance(value, bool):
            raise FormatError(f"{where}: expected a number as {quoted(key)}, got {quoted(value)}", file=self.path)
        return value

    def boxes(self) -> dict[Key, list[int]]:
        """Which boxes each image has, in the order of the file."""
        found: dict[Key, list[int]] = {}
        for index, owner in enumerate(self.owners):
            found.setdefault(owner, []).append(index)
        return found


def read_coco(path: Path, limit: int = MAX_BYTES) -> CocoFile:
    """Read the annotations of all images.

    Raises:
        FormatError: it cannot be read, has more than `limit` bytes, or is no such file.
    """
    text = read_text(path, limit)
    found = CocoFile(path)
    takers: dict[str, Callable[[Any, str], None]] = {
        "images": found.take_image,
        "annotations": found.take_box,
        "categories": found.take_category,
    }
    try:
        seen = set(_walk(text, takers, path))
    except (ValueError, RecursionError) as error:
        raise not_json(error, path) from None
    if "images" not in seen:
        hint = "expected instances_*.json or image_info_*.json, as COCO has them"
        raise FormatError('expected a list "images", got none', file=path, hint=hint)
    ids = {image[0] for image in found.images}
    if len(ids) != len(found.images):
        raise FormatError("two images have the same id", file=path)
    return found


def _walk(text: str, takers: dict[str, Callable[[Any, str], None]], path: Path) -> Iterator[str]:
    """Hand each element of the lists that are wanted to its taker; everything else is passed over.

    Yields:
        The names of the lists that are there.
    """
    decode = decoder().raw_decode

    def skip(at: int) -> int:
        match = _SPACE.match(text, at)
        return match.end() if match else at

    def expect(at: int, signs: str) -> str:
        sign = text[at : at + 1]
        if not sign or sign not in signs:
            line = text.count("\n", 0, at) + 1
            raise FormatError(f"not JSON: expected one of {signs} here", file=path, line=line)
        return sign

    at = skip(0)
    expect(at, "{")
    at = skip(at + 1)
    while text[at : at + 1] != "}":
        expect(at, '"')
        name, at = decode(text, at)
        at = skip(at)
        expect(at, ":")
        at = skip(at + 1)
        taker = takers.get(name)
        if taker is None or text[at : at + 1] != "[":
            _, at = decode(text, at)
        else:
            yield name
            at, index = skip(at + 1), 0
            while text[at : at + 1] != "]":
                item, at = decode(text, at)
                taker(item, f"{name}[{index}]")
                at, index = skip(at), index + 1
                if expect(at, ",]") == ",":
                    at = skip(at + 1)
            at += 1
        at = skip(at)
        if expect(at, ",}") == ",":
            at = skip(at + 1)


def coco_entries(file: CocoFile, folder: Path, classes: ClassMap) -> list[Entry]:
    """The images of a file, in its order.

    Args:
        file: the annotations.
        folder: where the images are: in it, or in a folder of it that is called as the split.
        classes: names are the ids of categories, or else their names.
    """
    by_image = file.boxes()
    corners = np.frombuffer(file.corners, np.float32).reshape(-1, 4) if file.corners else np.empty((0, 4), np.float32)
    top = folder.resolve().name
    place = _Places(folder, file.path)
    entries = []
    for key, name, size in file.images:
        boxes = [
            MarkedBox(
                _class_name(file, file.kinds[index], classes), tuple(corners[index].tolist()), bool(file.crowds[index])
            )
            for index in by_image.get(key, ())
        ]
        inner = place(name)
        shown = f"{top}/{inner}" if top else inner
        about = f"{file.path.name}: image {key}"
        entries.append(Entry(shown, os.path.join(folder, inner), Marked(boxes, size), str(key), str(key), about))
    return entries


def _class_name(file: CocoFile, key: Key, classes: ClassMap) -> str:
    name = file.categories.get(key)
    return name if name is not None and str(key) not in classes.labels else str(key)


class _Places:
    """Where the images of a file are.

    Args:
        folder: the folder of them, or of folders of them.
        path: the annotations.
    """

    def __init__(self, folder: Path, path: Path) -> None:
        self._folder = folder
        self._of_file = _SPLIT.findall(path.stem)
        try:
            self._inner = sorted(item.name for item in islice(folder.iterdir(), MAX_LISTED) if item.is_dir())
        except OSError as error:
            raise FormatError(f"expected the folder of the images: {error.strerror or error}", file=folder) from error

    def __call__(self, name: str) -> str:
        """An image in the folder: as named, or in the folder of its split such as val2014, or in any."""
        if "\0" in name or os.path.exists(self._folder / name):
            return name
        for inner in [*_SPLIT.findall(name), *self._of_file, *self._inner]:
            if os.path.exists(self._folder / inner / name):
                return f"{inner}/{name}"
        return name


def chosen(entries: Sequence[Entry], lists: Sequence[Path]) -> list[Entry]:
    """The entries that lists name, in their order: by an id, or by the image's file name with or without its suffix.

    Raises:
        FormatError: a list names what is not there, or more than one image has, or cannot be read.
    """
    by_name: dict[str, Entry | None] = {}
    for entry in entries:
        base = os.path.basename(entry.name)
        for name in {entry.size_name, base, os.path.splitext(base)[0], entry.name}:
            by_name[name] = None if name in by_name else entry
    found = []
    for path in lists:
        named = read_names(path)
        for name, line in zip(named.names, named.lines, strict=True):
            stem = os.path.splitext(os.path.basename(name))[0]
            picked = by_name.get(name) or by_name.get(stem)
            if picked is None:
                many = name in by_name or stem in by_name
                hint = "give the annotations of all images that are listed, and of each image once"
                what = f"{'several images are' if many else 'no image is'} called {quoted(name)}"
                raise FormatError(what, file=path, line=line, hint=hint)
            found.append(picked)
    return found
