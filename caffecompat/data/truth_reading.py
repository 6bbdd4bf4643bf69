"""Annotations of whole data sets in, for their evaluation: those of VOC and ILSVRC, and those of COCO."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from caffecompat.data.annoset.json_file import number, read_json, taken
from caffecompat.data.annoset.voc_xml import read_voc_xml
from caffecompat.data.result_rows import MAX_BYTES, MAX_CORNER
from caffecompat.detection.ground_truth import Truth, by_file, restricted
from caffecompat.errors import FormatError, UsageError, did_you_mean, quoted
from caffecompat.formats.text_file import read_bytes

SETS = Path("ImageSets") / "Main"
FOLDER = "Annotations"
MAX_LIST = 1 << 28
SIDES = 4


class _Boxes:
    """Boxes as they are read."""

    def __init__(self) -> None:
        self.classes: dict[str, int] = {}
        self._places = array("q")
        self._values = array("d")

    def add(self, image: int, label: int, difficult: bool, box: Iterable[float], area: float = 0.0) -> None:
        self._places.extend((image, label, difficult))
        self._values.extend((*box, area))

    def truth(
        self, images: Sequence[str], image_names: dict[str, int], file_names: dict[str, int], areas: bool = False
    ) -> Truth:
        places = np.array(self._places, np.int64).reshape(-1, 3)
        values = np.array(self._values, np.float64).reshape(-1, 5)
        return Truth(
            classes=tuple(self.classes),
            images=tuple(images),
            class_names=dict(self.classes),
            image_names=image_names,
            image=places[:, 0],
            label=places[:, 1],
            boxes=values[:, :4],
            difficult=places[:, 2] != 0,
            areas=values[:, 4] if areas else None,
            file_names=file_names,
        )


def read_truth(path: Path, image_set: str | None, progress: Callable[[], None] = lambda: None) -> Truth:
    """The boxes of a data set.

    Args:
        path: COCO's JSON; or a folder of VOC (VOC2007), or of VOC's or ILSVRC's XML files.
        image_set: which images count: the name of a list of ImageSets/Main, or a file with the names, or ids, of images
            at the beginning of its lines. ILSVRC's lists have numbers after the names, by which results may call them.
            Without it all count, of a folder that has no ImageSets/Main.
        progress: called for each XML file.

    Raises:
        FormatError: a file cannot be read, or is none of annotations.
        UsageError: the folder has lists, and none is named; or there is no such list.
    """
    if not path.is_dir():
        truth = read_coco_truth(path)
        if image_set is None:
            return truth
        return restricted(truth, [_known(truth, name, image_set) for name, _ in _listed(Path(image_set))])
    folder = annotated_folder(path)
    if image_set is None:
        lists = _lists(folder.parent)
        if lists:
            hint = f"--image-set {lists[0]}; the lists are {', '.join(lists[:20])}"
            raise UsageError("which images were tested is not said", file=folder.parent / SETS, hint=hint)
        named: list[tuple[str, str | None]] = [(file.stem, None) for file in sorted(folder.glob("*.xml"))]
    else:
        named = _listed(_list_file(folder.parent, image_set))
    if not named:
        raise FormatError("expected annotations, .xml files, got none", file=folder)
    return _read_xmls(folder, named, progress)


def annotated_folder(path: Path) -> Path:
    """The folder of XML files that a folder means: itself, its Annotations, or those of the one year in it.

    Raises:
        UsageError: it has several years.
    """
    if (path / FOLDER).is_dir():
        return path / FOLDER
    years = sorted(inner for inner in path.iterdir() if (inner / FOLDER).is_dir())
    if len(years) == 1:
        return years[0] / FOLDER
    if years:
        raise UsageError("several folders have annotations", file=path, hint=f"name one, such as {years[0]}")
    return path


def _lists(folder: Path) -> list[str]:
    """The lists of images that are of no single class, those for tests first."""
    names = sorted(file.stem for file in (folder / SETS).glob("*.txt") if "_" not in file.stem)
    return sorted(names, key=lambda name: (name != "test", name != "val"))


def _list_file(folder: Path, image_set: str) -> Path:
    inner = folder / SETS / f"{image_set}.txt"
    if inner.is_file():
        return inner
    if not Path(image_set).is_file():
        near = did_you_mean(image_set, _lists(folder)) or f"neither it nor {inner} is there"
        raise UsageError(f"there is no list of images {quoted(image_set)}", hint=near)
    return Path(image_set)


def _listed(path: Path) -> list[tuple[str, str | None]]:
    """The names that a list has, each with the number after it, if there is one."""
    data = read_bytes(path, MAX_LIST)
    lines = [line.split() for line in data.decode("utf-8", "surrogateescape").splitlines()]
    names = [(line[0], line[1] if len(line) > 1 and line[1].isdigit() else None) for line in lines if line]
    if not names or len(data) > MAX_LIST:
        raise FormatError("expected the names of images, one in a line", file=path)
    if len({name for name, _ in names}) != len(names):
        raise FormatError("an image stands twice in the list", file=path)
    if any("\0" in name or name.startswith("/") or ".." in Path(name).parts for name, _ in names):
        raise FormatError("expected names of images, got a path that leads out of the folder", file=path)
    return names


def _read_xmls(folder: Path, named: list[tuple[str, str | None]], progress: Callable[[], None]) -> Truth:
    boxes = _Boxes()
    for image, (name, _) in enumerate(named):
        path = folder / f"{name}.xml"
        for index, box in enumerate(read_voc_xml(path, "meant").boxes, 1):
            left, top, right, bottom = box.corners
            if not all(abs(value) <= MAX_CORNER for value in box.corners):
                raise FormatError(f"object {index}: expected four corners, got {quoted(box.corners)}", file=path)
            label = boxes.classes.setdefault(str(box.name), len(boxes.classes))
            boxes.add(image, label, box.difficult, (left, top, right - left, bottom - top))
        progress()
    names = {number: index for index, (_, number) in enumerate(named) if number is not None}
    names.update({name: index for index, (name, _) in enumerate(named)})
    files = by_file([f"{name}.xml" for name, _ in named])
    return _by_name(boxes.truth([name for name, _ in named], names, files))


def _by_name(truth: Truth) -> Truth:
    """The same, its classes in alphabetical order."""
    order = sorted(range(len(truth.classes)), key=lambda label: truth.classes[label])
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    classes = tuple(truth.classes[label] for label in order)
    numbers = {name: index for index, name in enumerate(classes)}
    return replace(truth, classes=classes, class_names=numbers, label=places[truth.label])


def read_coco_truth(path: Path) -> Truth:
    """The boxes of COCO's annotations: instances_*.json.

    Images are ordered by their ids, and so are categories; results may call them by id or by name.

    Raises:
        FormatError: it cannot be read, or is no such file.
    """
    whole = read_json(path, MAX_BYTES)
    image_ids, image_names = _ids(whole, "images", "file_name", path)
    category_ids, category_names = _ids(whole, "categories", "name", path)
    boxes = _Boxes()
    boxes.classes = {name or str(key): index for index, (key, name) in enumerate(category_ids.items())}
    if len(boxes.classes) != len(category_ids):
        raise FormatError("two categories have the same name", file=path)
    images, labels = ({key: index for index, key in enumerate(ids)} for ids in (image_ids, category_ids))
    for index, item in enumerate(taken(whole, "annotations", list, "", path)):
        where = f"annotations[{index}]"
        image = _place(item, "image_id", images, where, path)
        label = _place(item, "category_id", labels, where, path)
        boxes.add(image, label, bool(item.get("iscrowd", 0)), *_box_and_area(item, where, path))
    called = [name or str(key) for key, name in image_ids.items()]
    truth = boxes.truth(called, image_names, by_file(called), areas=True)
    return replace(truth, class_names=category_names)


def _ids(whole: Any, what: str, name: str, path: Path) -> tuple[dict[int | str, str], dict[str, int]]:
    """The names of images or categories by their ids, in order; and what results may call them: ids before names."""
    found: dict[int | str, str] = {}
    for index, item in enumerate(taken(whole, what, list, "", path)):
        key = item.get("id") if isinstance(item, dict) else None
        if not isinstance(key, (int, str)) or isinstance(key, bool):
            raise FormatError(f"{what}[{index}]: expected a number as 'id', got {quoted(key)}", file=path)
        if key in found:
            raise FormatError(f"{what}[{index}]: the id {quoted(key)} stands twice", file=path)
        value = item.get(name, "")
        found[key] = value if isinstance(value, str) else ""
    ordered = dict(sorted(found.items(), key=lambda pair: (isinstance(pair[0], str), pair[0])))
    names: dict[str, int] = {}
    for index, (_, value) in enumerate(ordered.items()):
        names.update({text: index for text in (value, Path(value).stem) if text})
    names.update({str(key): index for index, key in enumerate(ordered)})
    return ordered, names


def _place(item: Any, key: str, known: dict[int | str, int], where: str, path: Path) -> int:
    value = item.get(key) if isinstance(item, dict) else None
    if not isinstance(value, (int, str)) or value not in known:
        raise FormatError(f"{where}: {key} {quoted(value)} is not among those of the file", file=path)
    return known[value]


def _box_and_area(item: Any, where: str, path: Path) -> tuple[list[float], float]:
    """Left, top, width and height; and the area of the object, else that of its box."""
    sides = taken(item, "bbox", list, where, path)
    box = [number(side, f"{where}: bbox", path) for side in sides]
    if len(box) != SIDES or not all(abs(value) <= MAX_CORNER for value in box):
        raise FormatError(f"{where}: expected a bbox of {SIDES} numbers, got {quoted(sides)}", file=path)
    area = number(item["area"], f"{where}: area", path) if "area" in item else box[2] * box[3]
    if not abs(area) <= MAX_CORNER**2:
        raise FormatError(f"{where}: expected an area, got {quoted(area)}", file=path)
    return box, area


def _known(truth: Truth, name: str, image_set: str) -> int:
    place = truth.image_names.get(name, truth.image_names.get(Path(name).stem, -1))
    if place < 0:
        raise FormatError(f"no image of the annotations is called {quoted(name)}", file=image_set)
    return place
