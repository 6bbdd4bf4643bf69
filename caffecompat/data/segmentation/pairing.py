"""Which file belongs to which label map: line by line of two lists, else by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from caffecompat.data.images import IMAGE_SUFFIXES, find_files
from caffecompat.data.lists import read_names
from caffecompat.errors import FormatError
from caffecompat.formats import paths


def paired(
    files: Path, truth: Path, image_set: Path | None = None, root: Path | None = None
) -> list[tuple[Path, Path]]:
    """Files with the label maps that belong to them.

    Two lists are paired line by line; else a file's name without its suffix tells which label map it has.

    Args:
        files: a folder, a list of files, or one picture.
        truth: likewise, the label maps.
        image_set: a list of the names that count; else those of a list, or all label maps of a folder.
        root: where names in lists start; None is the working directory.

    Raises:
        FormatError: something is not there, a name stands twice, or one has no fellow.
    """
    first, listed = _files(files, root)
    second, truth_listed = _files(truth, root)
    if listed and truth_listed and image_set is None:
        if len(first) != len(second):
            raise FormatError(f"expected as many names as in {truth}, {len(second)}, got {len(first)}", file=files)
        return list(zip(first, second, strict=True))
    results, labels = _by_name(first), _by_name(second)
    if image_set is not None:
        names = [Path(name).stem for name in read_names(image_set).names]
    else:
        names = list(results if listed else labels)
    _check(names, results, files, "nothing belongs to")
    _check(names, labels, truth, "there is no label map for")
    return [(results[name], labels[name]) for name in names]


def _check(names: Sequence[str], found: dict[str, Path], where: Path, what: str) -> None:
    missing = [name for name in names if name not in found]
    if missing:
        hint = f"such as {missing[0]}; --image-set FILE names those that count"
        raise FormatError(f"{what} {len(missing)} of {len(names)} names", file=where, hint=hint)


def _files(path: Path, root: Path | None) -> tuple[list[Path], bool]:
    """The files of a folder or of a list, and whether it is a list."""
    if path.is_dir() or path.suffix.lower() in IMAGE_SUFFIXES:
        return find_files([path]), False
    return [paths.find(name, "file", root=root, beside=str(path)) for name in read_names(path).names], True


def _by_name(files: Sequence[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for file in files:
        if file.stem in found:
            raise FormatError(f"two files have the same name: the other is {found[file.stem]}", file=file)
        found[file.stem] = file
    return found
