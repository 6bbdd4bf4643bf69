"""ImageData: picture files, and the labels of the list that names them.

Source: image_data_layer.cpp, the same in both dialects, whose orders, crops and mirrors a seed gives again. Its draws,
in order: one if something in the transformation is random, whose stream is thrown away; one that seeds the shuffles;
one for rand_skip; one if something is random, which seeds the mirrors and the crops; one for the thread.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import cv2
import numpy as np

from caffecompat.data.draws import Draws
from caffecompat.data.geometry import MAX_PIXELS
from caffecompat.data.images import Image, read_image
from caffecompat.data.lists import (
    checked_batch_size,
    find,
    read_items,
    read_labelled,
    restore_stream,
    restored,
    stream_state,
)
from caffecompat.data.order import Order
from caffecompat.data.pool import Pool
from caffecompat.data.prefetch import AHEAD
from caffecompat.data.source import Batch, Floats, Reading, Source, State, Ticket
from caffecompat.data.transformer import Transformer
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning
from caffecompat.graph.spec import LayerSpec, Shape


class ImageSource(Source):
    """What `image_data_param` names.

    Args:
        spec: the layer.
        reading: how to read.

    Raises:
        CaffeCompatError: the list cannot be read, or a parameter makes no sense.
    """

    def __init__(self, spec: LayerSpec, reading: Reading) -> None:
        super().__init__(spec, reading)
        param = spec.message.image_data_param
        self._batch_size = checked_batch_size(spec, param.batch_size)
        self._root, self._grey = param.root_folder, not param.is_color
        self._size = (param.new_height, param.new_width)
        if min(self._size) == 0 < max(self._size) or param.new_height * param.new_width > MAX_PIXELS:
            raise spec.error(
                f"expected new_height and new_width both or none of them, at most {MAX_PIXELS} pixels, got {self._size}"
            )
        if not param.source:
            raise spec.error("image_data_param: source is missing")
        self._list, self._labels, stated = read_labelled(find(spec, reading, param.source, "source"))
        if not stated:
            text = f'layer "{spec.name}": no line of {self._list.path} states a label; as in Caffe all are 0'
            warnings.warn(text, CaffeCompatWarning, stacklevel=3)
        self._pool = Pool(reading.workers + AHEAD)
        self._transformer = Transformer(spec, reading.root)
        self._transformer.stream(reading.draws)
        shuffle = Draws(reading.draws()) if param.shuffle else None
        self._order = Order(len(self._list), spec, reading, shuffle, self._skip(param.rand_skip))
        self._crops = self._transformer.stream(reading.draws)
        self._thread = self._transformer.thread(reading.draws)

    def _skip(self, bound: int) -> int:
        """The number of pictures that are skipped at the beginning."""
        skip = self.reading.draws() % bound if bound else 0
        if skip >= len(self._list):
            raise self.spec.error(f"rand_skip: {skip} pictures are to be skipped, the list has {len(self._list)}")
        return skip

    def shapes(self) -> tuple[Shape, ...]:
        def shape(_: int, ticket: Ticket) -> Shape:
            try:
                return self._shape(self._read(ticket.item))
            except CaffeCompatError as error:
                raise self._list.fault(ticket.item, error, self.spec) from error

        first = [Ticket(self._order.peek())]
        found, _ = read_items(first, shape, self._order.following, self.reading.skip_bad_records)
        return (self._batch_size, *found[0]), (self._batch_size,)

    def tickets(self) -> tuple[Ticket, ...]:
        return tuple(
            Ticket(self._order.next(), self._transformer.draw(self._crops, self._thread))
            for _ in range(self._batch_size)
        )

    def load(self, tickets: Sequence[Ticket]) -> Batch:
        data: list[Floats] = []
        labels = np.empty(len(tickets), np.float32)

        def read(place: int, ticket: Ticket) -> str:
            try:
                image = self._read(ticket.item)
                if not data:
                    data.append(self._pool.empty((len(tickets), *self._shape(image))))
                self._transformer.picture(image, ticket.draws, data[0][place])
            except CaffeCompatError as error:
                raise self._list.fault(ticket.item, error, self.spec) from error
            labels[place] = self._labels[ticket.item]
            return self._list.names[ticket.item]

        keys, skipped = read_items(tickets, read, self._order.following, self.reading.skip_bad_records)
        return Batch((data[0], labels), tuple(keys), skipped)

    def _read(self, item: int) -> Image:
        """A picture, resized to new_height x new_width: (height, width, 3) or (height, width) uint8."""
        image = read_image(
            find(self.spec, self.reading, self._root + self._list.names[item], "picture"), grey=self._grey
        )
        if self._size == (0, 0):
            return image
        return np.asarray(cv2.resize(image, self._size[::-1]), np.uint8)

    def _shape(self, image: Image) -> Shape:
        """What a picture comes to: (channels, height, width)."""
        return self._transformer.shape((1 if image.ndim == 2 else image.shape[2], *image.shape[:2]))

    def count(self) -> int:
        return len(self._list)

    def state(self) -> State:
        return {
            "order": self._order.state(),
            "crops": stream_state(self._crops),
            "thread": stream_state(self._thread),
        }

    def restore(self, state: State) -> None:
        def all_of(state: State) -> None:
            self._order.restore(state["order"])
            restore_stream(self._crops, state["crops"])
            restore_stream(self._thread, state["thread"])

        restored(state, all_of)
