"""PASCAL VOC: the devkits' years and splits.

Source of the rules: data/VOC0712/create_list.sh of the SSD branch: the names of ImageSets/Main, year after year; the
year 2012 has no annotations for its test.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from caffecompat.data.annoset.dataset import Split
from caffecompat.data.annoset.record import Entry
from caffecompat.data.lists import read_text, text_of
from caffecompat.errors import FormatError, UsageError, did_you_mean, quoted

SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG", ".bmp")
LISTS = Path("ImageSets") / "Main"
_YEAR = re.compile(r"VOC(\d{4})")


@dataclass(frozen=True)
class VocFolder:
    """A folder as VOC's are: Annotations, ImageSets/Main, JPEGImages.

    Attributes:
        folder: the folder.
        year: such as "2007", or "" if it is not called so.
    """

    folder: Path
    year: str = ""

    @property
    def prefix(self) -> str:
        """What names start with: those of a year's folder with it."""
        return f"{self.folder.name}/" if self.year else ""


def find_voc(paths: Iterable[Path]) -> list[VocFolder]:
    """The folders that are meant by devkits: their VOC2007, VOC2012 and so on, or a folder that is like one of them.

    Raises:
        FormatError: there is none.
    """
    found: list[VocFolder] = []
    for path in paths:
        if not path.is_dir():
            raise FormatError("there is no such folder", file=path)
        here = path.resolve()
        inner = [here, *sorted(here.iterdir()), *sorted((here / "VOCdevkit").glob("*"))]
        folders = [VocFolder(folder, _year(folder)) for folder in inner if (folder / LISTS).is_dir()]
        wanted = [item for item in folders if item.year or item.folder == here]
        if not wanted:
            hint = "a devkit has folders such as VOC2007, with Annotations, ImageSets/Main and JPEGImages in them"
            if folders:
                hint = f"name {folders[0].folder} itself"
            raise FormatError("no folder of VOC is in it", file=path, hint=hint)
        found += wanted
    return sorted(dict.fromkeys(found), key=lambda item: item.year)


def _year(folder: Path) -> str:
    match = _YEAR.fullmatch(folder.name)
    return match[1] if match else ""


def chosen_years(folders: Sequence[VocFolder], years: Sequence[str]) -> list[VocFolder]:
    """The folders of these years, or all.

    Raises:
        UsageError: a year is not there.
    """
    if not years:
        return list(folders)
    there = {folder.year for folder in folders}
    for year in years:
        if year not in there:
            raise UsageError(f"no year {quoted(year)} is there: {', '.join(sorted(there)) or 'none'}")
    return [folder for folder in folders if folder.year in years]


def data_set_name(folders: Sequence[VocFolder]) -> str:
    """What SSD's authors call the data set: VOC0712 of the years 2007 and 2012."""
    years = [folder.year for folder in folders]
    if all(years):
        return "VOC" + "".join(year[2:] for year in dict.fromkeys(years))
    return folders[0].folder.name


def voc_split(folders: Sequence[VocFolder], name: str) -> tuple[Split | None, list[str]]:
    """A split of all folders that have it and its annotations.

    Returns:
        The split, or None if none has it; and which folders were passed over, and why.

    Raises:
        FormatError: a list cannot be read, or is empty.
    """
    entries: list[Entry] = []
    notes = []
    for folder in folders:
        path = folder.folder / LISTS / f"{name}.txt"
        if not path.exists():
            notes.append(f"{path}: there is no such list{_near(path)}; {folder.folder.name} has no split {name}")
            continue
        own = _entries(folder, _names(path))
        if not any(os.path.exists(str(entry.marks)) for entry in own):
            notes.append(f"{path}: no image of it has an annotation; the {name} of {folder.folder.name} is passed over")
            continue
        entries += own
    return (Split(name, entries) if entries else None), notes


def _near(path: Path) -> str:
    near = did_you_mean(path.stem, [file.stem for file in path.parent.glob("*.txt")])
    return f" ({near})" if near else ""


def _names(path: Path) -> list[str]:
    """The names of a list; what stands after a name is whether it shows the class of the list."""
    names = [text_of(words[0]) for words in (line.split() for line in read_text(path)) if words]
    if not names:
        raise FormatError("expected the names of images, got an empty list", file=path)
    return names


def _entries(folder: VocFolder, names: Iterable[str]) -> list[Entry]:
    made = []
    for name in names:
        image, marks = _image(folder.folder, name), f"Annotations/{name}.xml"
        full = str(folder.folder / marks)
        path = str(folder.folder / image)
        prefix = folder.prefix
        made.append(Entry(prefix + image, path, full, prefix + marks, os.path.basename(name), full))
    return made


def _image(folder: Path, name: str) -> str:
    """The image of a name: VOC's are .jpg; those of data sets made like it may be others."""
    for suffix in SUFFIXES:
        image = f"JPEGImages/{name}{suffix}"
        if os.path.exists(folder / image):
            return image
    return f"JPEGImages/{name}{SUFFIXES[0]}"
