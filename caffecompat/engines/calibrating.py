"""What int8 is calibrated with: pictures of a folder or a database, or inputs as they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from caffecompat.data.databases import open_database
from caffecompat.data.images import find_files, read_image
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.data.stored import read_stored
from caffecompat.errors import FormatError, UsageError, context, quoted
from caffecompat.graph.spec import Shape

# Of more pictures so many are taken, evenly spread: ranges change little after some hundred.
MAX_ITEMS = 400
# Every so-manieth is kept for measuring what int8 costs, and takes no part in calibration.
HELD_OUT = 4

Item = dict[str, Tensor]
Batches = Iterator[tuple[dict[str, Tensor], int]]


class Calibration:
    """Inputs such as a net will get, from which the ranges of its values are taken.

    Attributes:
        source: where they come from, in words.
        labels: the class of each, where a database states one; else None.
        cache: what was found with them, by whoever found it: an engine builds a net for several shapes.
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]],
        preprocessing: Preprocessing | None = None,
        limit: int = MAX_ITEMS,
    ) -> None:
        """Look what there is; pictures are read when they are needed.

        Args:
            source: a folder of pictures, the folder of an LMDB or LevelDB of Datums or AnnotatedDatums; or inputs by
                name, all items of a batch stacked; or a list of such batches.
            preprocessing: how pictures become the net's input; None for those that are inputs already.
            limit: of more items so many are taken, evenly spread.

        Raises:
            UsageError: there is nothing to calibrate with.
            FormatError: the folder cannot be read.
        """
        self.cache: dict[object, Any] = {}
        self.labels: list[int] | None = None
        self._read: Callable[[int], Item]
        if isinstance(source, (str, os.PathLike)):
            count = self._open(Path(source), preprocessing or Preprocessing())
            self.source = str(source)
        else:
            count = self._stack([source] if isinstance(source, Mapping) else source)
            self.source = "the inputs given"
        if not count or limit < 1:
            raise UsageError("there is nothing to calibrate with", hint="give some dozen typical pictures")
        self._chosen = sorted({int(place) for place in np.linspace(0, count - 1, min(count, limit))})
        # Labels need the records; there are none in a folder of pictures.
        if self.labels is not None:
            self.labels = [self._label(index) for index in self._chosen]
            if any(label is None for label in self.labels):
                self.labels = None

    def _open(self, path: Path, record: Preprocessing) -> int:
        self._record = record
        if path.suffix == ".mdb" or any((path / name).exists() for name in ("data.mdb", "CURRENT")):
            self._database = open_database(path.parent if path.suffix == ".mdb" else path)
            self._read, self.labels = self._of_record, []
            return self._database.count()
        self._files = find_files([path])
        self._read = self._of_file
        return len(self._files)

    def _of_file(self, index: int) -> Item:
        return self._prepared(read_image(self._files[index]))

    def _of_record(self, index: int) -> Item:
        key, value = self._database.read(index)
        with context(file=f"{self._database.path}, record {key.decode(errors='backslashreplace')}"):
            values = read_stored(value).values()
            if values.dtype != np.uint8 or len(values) not in (1, 3):
                got = f"{values.dtype} of {len(values)} channels"
                raise FormatError(f"expected a picture of bytes with 1 or 3 channels, got {got}")
            image = values[0] if len(values) == 1 else np.ascontiguousarray(values.transpose(1, 2, 0))
            return self._prepared(image)

    def _label(self, index: int) -> Any:
        stored = read_stored(self._database.read(index)[1])
        return stored.datum.label if stored.boxes is None else None

    def _prepared(self, image: np.ndarray[Any, np.dtype[np.uint8]]) -> Item:
        return {self._record.input: torch.from_numpy(self._record.apply([image]))}

    def _stack(self, batches: Sequence[Mapping[str, Any]]) -> int:
        names = {name for batch in batches for name in batch}
        arrays = {}
        for name in names:
            parts = [torch.as_tensor(batch[name]).float() for batch in batches if name in batch]
            if len(parts) < len(batches) or len({part.shape[1:] for part in parts}) > 1:
                raise UsageError(f"the batches to calibrate with differ in their input {quoted(name)}")
            arrays[name] = torch.cat(parts)
        counts = {len(value) for value in arrays.values()}
        if len(counts) > 1:
            raise UsageError(f"the inputs to calibrate with have {sorted(counts)} items: expected as many of each")
        self._read = lambda index: {name: value[index : index + 1] for name, value in arrays.items()}
        return counts.pop() if counts else 0

    @property
    def held_out(self) -> list[int]:
        """Those by which int8 is measured; of one item alone, that one."""
        return list(range(len(self._chosen)))[HELD_OUT - 1 :: HELD_OUT] or [0]

    @property
    def used(self) -> list[int]:
        """Those of which ranges are taken."""
        held = set(self.held_out) if len(self._chosen) > 1 else set()
        return [index for index in range(len(self._chosen)) if index not in held]

    def fit(self, shapes: Mapping[str, Shape]) -> None:
        """Let pictures come out as large as an input is, where the net leaves their size to them.

        Args:
            shapes: those of the net's inputs, by name.
        """
        record = getattr(self, "_record", None)
        size = shapes.get(record.input, ())[2:] if record is not None else ()
        if record is not None and len(size) == 2 and record.net_size != size:
            self._record = replace(record, size=(size[0], size[1]), crop=None, resize="warp")

    def batches(self, items: Sequence[int], example: Mapping[str, Tensor]) -> Batches:
        """The inputs of a net for some items, as many at once as it was made for.

        Args:
            items: indices as those of `used`.
            example: the net's inputs; what is not calibrated with is taken from it.

        Yields:
            All inputs by name, and how many of their items count: the last batch is filled up with its first.
        """
        names = [name for name in example if name in self._read(self._chosen[items[0]])]
        if not names:
            raise UsageError(f"{self.source} has none of the net's inputs: {', '.join(example) or 'none'}")
        size = max(1, len(example[names[0]]))
        for start in range(0, len(items), size):
            part = [self._read(self._chosen[index]) for index in items[start : start + size]]
            filled = part + [part[0]] * (size - len(part))
            yield {**example, **{name: torch.cat([item[name] for item in filled]) for name in names}}, len(part)
