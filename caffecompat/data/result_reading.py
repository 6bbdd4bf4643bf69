"""Files of detections in: those that DetectionOutput writes, those of `caffecompat detect`, and all like them.

VOC: a text for each class, `comp4_det_test_CLASS.txt`, of lines `image score xmin ymin xmax ymax`. ILSVRC: a text of
lines `image label score xmin ymin xmax ymax`. COCO: JSON, a list of objects with image_id, category_id, bbox (left,
top, width, height) and score. `caffecompat detect`: COCO's JSON with the names of images and categories, CSV, and JSON
lines.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Literal

from caffecompat.data.annoset.json_file import number, read_json, taken
from caffecompat.data.detect_reading import identity, take_csv, take_json_lines, take_names
from caffecompat.data.result_rows import MAX_BYTES, Rows
from caffecompat.detection.ground_truth import Found
from caffecompat.errors import FormatError, UsageError, quoted
from caffecompat.formats.text_file import read_bytes

VOC_COLUMNS, ILSVRC_COLUMNS = 6, 7
_SUFFIXES = (".txt", ".json", ".jsonl", ".csv")
_DETECT = {".csv": take_csv, ".jsonl": take_json_lines}
Format = Literal["VOC", "COCO", "ILSVRC", "detect"]


def find_results(paths: Iterable[Path]) -> list[Path]:
    """The files of results that are meant: files, and all .txt, .json, .jsonl or .csv of folders.

    Raises:
        FormatError: one is not there, or a folder has none.
        UsageError: files of several suffixes together, or one that has no names of images.
    """
    files: list[Path] = []
    for path in paths:
        if not path.is_dir():
            files.append(path)
            continue
        inner = sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
        if not inner:
            raise FormatError(f"expected files of results, {' or '.join(_SUFFIXES)}, got none", file=path)
        files += inner
    for file in files:
        if file.suffix in (".npy", ".npz"):
            hint = "`caffecompat detect` writes them with --format coco, csv or jsonl"
            raise UsageError("arrays have no names of images", file=file, hint=hint)
    kinds = sorted({file.suffix if file.suffix in _SUFFIXES else ".txt" for file in files})
    if len(kinds) > 1:
        raise UsageError(f"the results are {' and '.join(kinds)} together", hint="name the files that are meant")
    return files


def read_results(files: Sequence[Path], classes: Collection[str]) -> tuple[Found, Format]:
    """The detections of files, and which kind of files they are.

    Args:
        files: one or several of one kind.
        classes: the names of the classes there may be, by which VOC's files are called.

    Raises:
        FormatError: a file cannot be read, is none of results, or is called by no class.
        UsageError: they are of several kinds.
    """
    rows = Rows()
    kinds: set[Format] = set()
    of_classes: dict[Path, list[bytes]] = {}
    for path in files:
        if path.suffix == ".json":
            _take_json(path, rows)
            kinds.add("COCO")
            continue
        if path.suffix in _DETECT:
            _DETECT[path.suffix](path, rows)
            kinds.add("detect")
            continue
        lines = _lines(path)
        columns = next((len(line.split()) for line in lines if line.strip()), VOC_COLUMNS)
        if columns == ILSVRC_COLUMNS:
            _take_text(path, lines, rows, None)
            kinds.add("ILSVRC")
        elif columns == VOC_COLUMNS:
            of_classes[path] = lines
        else:
            raise FormatError(
                f"expected lines of {VOC_COLUMNS} columns (VOC) or {ILSVRC_COLUMNS} (ILSVRC), got {columns}",
                file=path,
                line=1,
                hint="VOC: image score xmin ymin xmax ymax; ILSVRC: image label score xmin ymin xmax ymax; of "
                "`caffecompat detect` the files are .json (--format coco), .csv or .jsonl",
            )
    if of_classes:
        names = classes_of_files([path.stem for path in of_classes], classes)
        for path, lines in of_classes.items():
            _take_text(path, lines, rows, names[path.stem])
        kinds.add("VOC")
    if len(kinds) != 1:
        which = " and ".join(sorted(kinds)) or "none"
        raise UsageError(f"expected results of one kind, got {which}", hint="name the files that are meant")
    return rows.found(), kinds.pop()


def classes_of_files(stems: Sequence[str], classes: Collection[str]) -> dict[str, str]:
    """The class that each of VOC's files is of: what its name has after the beginning that all have.

    Args:
        stems: the names of the files, without suffix.
        classes: the classes there may be.

    Raises:
        FormatError: no name ends in a class.
    """
    beginnings = {stem[: len(stem) - len(name)] for stem in stems for name in classes if name and stem.endswith(name)}

    def matched(beginning: str) -> int:
        return sum(stem.startswith(beginning) and stem[len(beginning) :] in classes for stem in stems)

    # Of racecar and car, if both are classes, a file det_racecar is of the longer one.
    best = max(sorted(beginnings, key=len), key=matched, default=None)
    if best is None:
        raise FormatError(
            f"expected files called by a class, such as comp4_det_test_{min(classes, default='cat')}.txt, got "
            f"{quoted(stems[0])}",
            hint="their classes are those of the annotations",
        )
    return {stem: stem[len(best) :] if stem.startswith(best) else stem for stem in stems}


def _lines(path: Path) -> list[bytes]:
    data = read_bytes(path, MAX_BYTES)
    if len(data) > MAX_BYTES:
        raise FormatError(f"expected at most {MAX_BYTES} bytes", file=path)
    return data.split(b"\n")


def _take_text(path: Path, lines: Iterable[bytes], rows: Rows, category: str | None) -> None:
    """Take the lines of a text; `category` is the class of a VOC file."""
    columns = ILSVRC_COLUMNS if category is None else VOC_COLUMNS
    for index, line in enumerate(lines, 1):
        parts = line.split()
        if not parts:
            continue
        try:
            if len(parts) != columns:
                raise ValueError
            label = category if category is not None else str(int(parts[1]))
            score, left, top, right, bottom = map(float, parts[-5:])
            rows.add(parts[0].decode("utf-8", "surrogateescape"), label, score, (left, top, right - left, bottom - top))
        except ValueError:
            text = line[:200].decode("utf-8", "replace").strip()
            wanted = f"image {'label ' if category is None else ''}score xmin ymin xmax ymax"
            raise FormatError(f"expected {wanted}, got {quoted(text)}", file=path, line=index) from None


def _take_json(path: Path, rows: Rows) -> None:
    whole = read_json(path, MAX_BYTES)
    images: dict[str, str] = {}
    if isinstance(whole, dict):
        # COCO's annotations with scores, as `caffecompat detect --format coco` writes them.
        images = take_names(whole, path, rows)
        whole = taken(whole, "annotations", list, "", path)
    if not isinstance(whole, list):
        raise FormatError(f"expected a list of detections, got {quoted(whole)}", file=path)
    for index, item in enumerate(whole):
        where = f"detection {index}"
        image, category = (identity(item, key, where, path) for key in ("image_id", "category_id"))
        box = taken(item, "bbox", list, where, path)
        # The original leaves scores below 1e-4 as texts.
        score = item.get("score")
        try:
            value = float(score) if isinstance(score, str) else number(score, f"{where}: score", path)
            if len(box) != 4:
                raise ValueError
            sides = [number(side, f"{where}: bbox", path) for side in box]
            rows.add(images.get(image, image), category, value, sides)
        except ValueError:
            message = f"{where}: expected a score and a bbox of 4 numbers, got {quoted(score)} and {quoted(box)}"
            raise FormatError(message, file=path) from None
