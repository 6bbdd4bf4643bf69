"""What dilation's data layers share: two lists that stay paired, and the order in which the pairs are taken.

Source: image_label_data_layer.cpp and bin_label_data_layer.cpp of fyu/caffe-dilation.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from caffecompat.data.draws import Draws
from caffecompat.data.images import Image, read_image
from caffecompat.data.lists import FileList, checked_batch_size, find, read_items, read_names
from caffecompat.data.order import Order
from caffecompat.data.source import Batch, Floats, Reading, Source, Ticket
from caffecompat.errors import CaffeCompatError, ShapeError
from caffecompat.graph.spec import LayerSpec, Shape


class PairSettings(Protocol):
    """The fields that both layers' parameters have."""

    label_list_path: str
    label_dir: str
    batch_size: int
    shuffle: bool


class Names(NamedTuple):
    """Where the files of one of the two lists are.

    Attributes:
        field: the field that names the list.
        list: the list.
        folder: what stands before each name, without a slash between.
        what: what its files are, for errors.
    """

    field: str
    list: str
    folder: str
    what: str


class PairSource(Source):
    """Pairs of a file and a label map; line i of one list belongs to line i of the other, always."""

    def __init__(self, spec: LayerSpec, reading: Reading, param: PairSettings, data: Names, label: Names) -> None:
        super().__init__(spec, reading)
        if len(spec.tops) != 2:
            raise spec.error(f"expected two tops, data and labels, got {len(spec.tops)}", hint="drop the third")
        self.batch_size = checked_batch_size(spec, param.batch_size)
        self._shuffles = param.shuffle
        self._kinds = (data, label)
        self._lists = (self._read(data), self._read(label))
        counts = len(self._lists[0]), len(self._lists[1])
        if counts[0] != counts[1]:
            raise spec.error(
                f"expected as many names in {data.field} as in {label.field}, got {counts[0]} and {counts[1]}"
            )
        self.order: Order

    def _read(self, names: Names) -> FileList:
        if not names.list:
            raise self.spec.error(f"{names.field} is missing")
        return read_names(find(self.spec, self.reading, names.list, names.field))

    def begin(self, shuffle: Draws | None, skip: int = 0) -> None:
        """Decide the order of the pairs; `skip` is where in it to begin."""
        count = len(self._lists[0])
        if skip >= count:
            raise self.spec.error(f"rand_skip: {skip} pairs are to be skipped, the list has {count}")
        self.order = Order(count, self.spec, self.reading, shuffle, skip)

    def shuffle_stream(self) -> Draws | None:
        """The generator that shuffles, seeded by the next draw, or None."""
        return Draws(self.reading.draws()) if self._shuffles else None

    @abstractmethod
    def draw(self) -> tuple[int, ...]:
        """What is drawn for the next pair."""

    @abstractmethod
    def read_pair(self, item: int, draws: tuple[int, ...]) -> tuple[Floats, Floats]:
        """The data (channels, rows, columns) and the label (1, rows, columns) of a pair."""

    def tickets(self) -> tuple[Ticket, ...]:
        return tuple(Ticket(self.order.next(), self.draw()) for _ in range(self.batch_size))

    def load(self, tickets: Sequence[Ticket]) -> Batch:
        tops: list[Floats] = []

        def read(place: int, ticket: Ticket) -> int:
            pair = self.read_pair(ticket.item, ticket.draws)
            if not tops:
                tops.extend(np.empty((len(tickets), *part.shape), np.float32) for part in pair)
            for which, (top, part) in enumerate(zip(tops, pair, strict=True)):
                if part.shape != top.shape[1:]:
                    raise self.locate(which, ticket.item, _other_shape(part.shape, top.shape[1:]))
                top[place] = part
            return ticket.item

        taken, skipped = read_items(tickets, read, self.order.following, self.reading.skip_bad_records)
        return Batch(tuple(tops), tuple(self._lists[0].names[item] for item in taken), skipped)

    def count(self) -> int:
        return len(self._lists[0])

    def locate(self, which: int, item: int, error: CaffeCompatError) -> CaffeCompatError:
        """An error about the file (0) or the label map (1) of a pair, naming the line of the list."""
        return self._lists[which].fault(item, error, self.spec)

    def path(self, which: int, item: int) -> str:
        """The path of the file (0) or the label map (1) of a pair."""
        kind = self._kinds[which]
        return str(find(self.spec, self.reading, kind.folder + self._lists[which].names[item], kind.what))

    def read_label(self, item: int) -> Image:
        """The label map of a pair: uint8 (height, width).

        Raises:
            CaffeCompatError: it cannot be read; it names the line of the list.
        """
        try:
            return read_image(self.path(1, item), grey=True)
        except CaffeCompatError as error:
            raise self.locate(1, item, error) from error


def _other_shape(shape: Shape, expected: Shape) -> ShapeError:
    return ShapeError(
        f"expected an array of shape {expected}, as the first of its batch, got {shape}",
        hint="arrays of different shapes go into batches of 1, or are cut to one shape by bin_slice",
    )
