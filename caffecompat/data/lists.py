"""Lists: the text files that name a data layer's items; and what sources share: states, and what bad items do."""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

from caffecompat.data.draws import Draws
from caffecompat.data.source import Reading, State, Ticket
from caffecompat.errors import CaffeCompatError, FormatError, quoted
from caffecompat.formats import paths
from caffecompat.formats.text_file import read_bytes
from caffecompat.graph.spec import LayerSpec

MAX_BYTES = 1 << 30
MAX_ITEMS = 1 << 26
# So many items that cannot be read, one after the other, are no accident.
MAX_SKIPS = 100

T = TypeVar("T")


class FileList:
    """The names that a text file lists.

    Args:
        path: the file.
        names: what it lists, in order.
        lines: for each name its line in the file, from 1.

    Raises:
        FormatError: it lists nothing, or more than 2**26 names.
    """

    def __init__(self, path: Path, names: Sequence[str], lines: array[int]) -> None:
        self.path = path
        self.names = names
        self.lines = lines
        if not names:
            raise FormatError("expected the names of files, got an empty list", file=path)

    def __len__(self) -> int:
        return len(self.names)

    def fault(self, item: int, error: CaffeCompatError, spec: LayerSpec) -> CaffeCompatError:
        """An error about the file that `item` names, as one that says where it is listed."""
        place = "" if error.file is None else f"{error.file}: "
        return type(error)(
            place + error.message, file=self.path, line=self.lines[item], layer=spec.name, hint=error.hint
        )


def find(spec: LayerSpec, reading: Reading, name: str, what: str) -> Path:
    """The path of a file that a layer, or a list that it names, names: see `formats.paths.find`."""
    return paths.find(name, what, root=reading.root, beside=spec.file)


def checked_batch_size(spec: LayerSpec, size: int) -> int:
    """`size`, if a batch can have it.

    Raises:
        CaffeCompatError: it is 0.
    """
    if size < 1:
        raise spec.error(f"expected a batch_size of at least 1, got {size}")
    return size


def read_text(path: Path) -> BytesIO:
    """The lines of a list.

    Raises:
        FormatError: it cannot be read, or is longer than 1 GiB.
    """
    data = read_bytes(path, MAX_BYTES)
    if len(data) > MAX_BYTES:
        raise FormatError(f"expected a list of at most {MAX_BYTES} bytes", file=path)
    return BytesIO(data)


def read_names(path: Path) -> FileList:
    """A list of names that white space separates, as C++'s `>>` reads them.

    Raises:
        FormatError: it cannot be read, or lists nothing or too much.
    """
    names: list[str] = []
    lines = array("L")
    for number, line in enumerate(read_text(path), 1):
        for name in line.split():
            names.append(text_of(name))
            lines.append(number)
        check_count(len(names), path)
    return FileList(path, names, lines)


def text_of(name: bytes) -> str:
    """A name as Python's paths hold it: bytes that are no UTF-8 come back as they were."""
    return name.decode("utf-8", "surrogateescape")


def check_count(count: int, path: Path) -> None:
    """Raise a FormatError if a list is too long to be held."""
    if count > MAX_ITEMS:
        raise FormatError(f"expected at most {MAX_ITEMS} items in a list", file=path)


def restored(state: Any, restore: Callable[[State], None]) -> None:
    """Restore from what may be anything.

    Raises:
        ValueError: `restore` cannot take it.
    """
    try:
        restore(state)
    except (KeyError, TypeError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(f"it lacks what decides the items to come: {error!r}") from error


def stream_state(draws: Draws | None) -> State | None:
    """The state of a generator that may not be needed."""
    return None if draws is None else draws.state()


def restore_stream(draws: Draws | None, state: State | None) -> None:
    """Restore a generator from what `stream_state` returned.

    Raises:
        ValueError: there is a state for a generator that is not needed, or none for one that is.
    """
    if (draws is None) != (state is None):
        raise ValueError("it is of a layer that draws other random numbers")
    if draws is not None and state is not None:
        draws.restore(state)


def read_items(
    tickets: Sequence[Ticket], read: Callable[[int, Ticket], T], following: Callable[[int], int], skip_bad: bool
) -> tuple[list[T], tuple[str, ...]]:
    """Read the items of a batch; if bad ones may be skipped, the next good item takes the place and the draws of one.

    Args:
        tickets: the batch.
        read: reads the item of a ticket for a place of the batch.
        following: the item to try after one.
        skip_bad: pass over items that cannot be read.

    Returns:
        What `read` returned for each place, and what was wrong with each item that was passed over.

    Raises:
        CaffeCompatError: an item cannot be read; or 100 in a row if they may be skipped.
    """
    items: list[T] = []
    skipped: list[str] = []
    for place, ticket in enumerate(tickets):
        tried = ticket
        for attempt in range(MAX_SKIPS):
            try:
                items.append(read(place, tried))
                break
            except CaffeCompatError as error:
                if not skip_bad:
                    raise
                if attempt == MAX_SKIPS - 1:
                    error.message = f"the last of {MAX_SKIPS} items in a row that cannot be read: {error.message}"
                    raise
                skipped.append(str(error).split("\n")[0])
                tried = replace(tried, item=following(tried.item))
    return items, tuple(skipped)


_LABELLED = re.compile(rb"(.*)[ \t](\S+)", re.DOTALL)
_WHOLE = re.compile(rb"[+-]?\d{1,10}(\.0*)?")


def read_labelled(path: Path) -> tuple[FileList, array[int], bool]:
    """A list of lines `name label`; a name may hold spaces, the label is what stands after the last.

    As in Caffe, lines without a label have label 0; but only if no line has one. Blank lines are passed over.

    Returns:
        The names; their labels; whether the lines state labels.

    Raises:
        FormatError: the list cannot be read, or a line is not of this form.
    """
    names: list[str] = []
    lines, labels = array("L"), array("l")
    bare: int | None = None
    for number, raw in enumerate(read_text(path), 1):
        line = raw.rstrip()
        if not line:
            continue
        match = _LABELLED.fullmatch(line)
        if match is None and bare is None:
            bare = number
        names.append(text_of(line if match is None else match[1]))
        lines.append(number)
        labels.append(0 if match is None else _label(match[2], path, number))
        check_count(len(names), path)
        if bare is not None and (match is not None or bare != lines[0]):
            hint = "each line is the name of a picture, a space, and its label, a whole number"
            raise FormatError("this line states no label, others do", file=path, line=bare, hint=hint)
    return FileList(path, names, lines), labels, bare is None


def _label(text: bytes, path: Path, line: int) -> int:
    match = _WHOLE.fullmatch(text)
    value = int(float(text)) if match is not None else 0
    if match is None or not -(2**31) <= value < 2**31:
        raise FormatError(
            f"expected a whole number as label after the last space, got {quoted(text_of(text))}",
            file=path,
            line=line,
            hint="labels that are no whole numbers, or several of them, are read by HDF5Data",
        )
    return value
