"""What the Data layer reads: the records of a database, in the order of their keys, over and over.

Source: data_layer.cpp, base_data_layer.cpp, data_reader.cpp and internal_thread.cpp of the original. Of several
processes that train, rank r takes the records r, r + world, r + 2 world, ... of the endless repetition; in TEST
each takes all.

The draws that seed it, in order: in the SSD branch one for the thread that reads; one if something in the
transformation is random, whose stream is thrown away; again one if something is random, which seeds the mirrors and
the crops; one for the thread that transforms, which seeds the choice among several `interp_mode`s.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from math import prod
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from caffecompat.data.databases import Backend, Database, backend_of, key_text, open_database
from caffecompat.data.datum import Datum, read_datum
from caffecompat.data.lists import checked_batch_size, find, read_items, restore_stream, restored, stream_state
from caffecompat.data.lmdb_file import Record
from caffecompat.data.pool import Pool
from caffecompat.data.prefetch import AHEAD
from caffecompat.data.source import Batch, Floats, Reading, Source, State, Ticket
from caffecompat.data.transformer import Transformer
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, SchemaError, ShapeError, quoted
from caffecompat.graph.dialects import DIALECTS
from caffecompat.graph.spec import LayerSpec, Shape
from caffecompat.schema import caffe_pb2

MAX_AT = 1 << 62
# Caffe: a blob counts its values in an int.
MAX_VALUES = 2**31 - 1


class DatabaseSource(Source):
    """The batches of a Data layer.

    Args:
        spec: the layer.
        reading: how to read.

    Raises:
        CaffeCompatError: the database or the mean cannot be read, or the parameters make no sense.
    """

    # Whether items draw more from the thread's generator than their transformation does.
    augments = False

    def __init__(self, spec: LayerSpec, reading: Reading) -> None:
        super().__init__(spec, reading)
        param = spec.message.data_param
        self._batch_size = self._items_of_a_batch()
        if param.rand_skip:
            self._warn("rand_skip is ignored, as in Caffe: each process reads records of its own")
        if DIALECTS[spec.dialect].reader_draws:
            reading.draws()
        self._transformer = Transformer(spec, reading.root)
        forced = param.force_encoded_color and self._transformer.decode_flag == cv2.IMREAD_UNCHANGED
        self._decode_flag = cv2.IMREAD_COLOR if forced else self._transformer.decode_flag
        self._transformer.stream(reading.draws)
        self._crops = self._transformer.stream(reading.draws)
        self._thread = self._transformer.thread(reading.draws, augments=self.augments)
        shared = spec.phase == "TRAIN"
        self._rank, self._world = (reading.rank, reading.world) if shared else (0, 1)
        self._at = 0
        self._pool = Pool(reading.workers + AHEAD)
        self._database = self._open()

    def _items_of_a_batch(self) -> int:
        """How many items a batch has.

        Raises:
            CaffeCompatError: the prototxt does not say it.
        """
        return checked_batch_size(self.spec, self.spec.message.data_param.batch_size)

    def _open(self) -> Database:
        param = self.spec.message.data_param
        if not param.HasField("source"):
            raise self.spec.error("data_param: source is missing", kind=SchemaError)
        try:
            path = find(self.spec, self.reading, param.source, "source")
            stated: Backend | None = None
            if param.HasField("backend"):
                stated = "LMDB" if param.backend == caffe_pb2.DataParameter.LMDB else "LEVELDB"
            elif backend_of(path) == "LMDB":
                self._warn("data_param states no backend, for which Caffe takes LEVELDB; the source is an LMDB")
            return open_database(path, stated)
        except CaffeCompatError as error:
            raise self.spec.locate(error) from error.__cause__

    def _warn(self, text: str) -> None:
        where = f"{self.spec.position}: " if self.spec.position is not None else ""
        warnings.warn(f'{where}layer "{self.spec.name}": {text}', CaffeCompatWarning, stacklevel=3)

    def shapes(self) -> tuple[Shape, ...]:
        """Those of the first batch: the prototxt's batch size, and the shape of its first record once transformed."""

        def shape(_: int, ticket: Ticket) -> Shape:
            key, record = self._record(ticket.item)
            try:
                datum = read_datum(record)
                if not datum.encoded and self._decode_flag != cv2.IMREAD_UNCHANGED:
                    self._warn("force_color and force_gray do nothing to records that are no encoded pictures")
                return self._transformer.shape(_shape(datum, self._values(datum)))
            except CaffeCompatError as error:
                raise self._fault(key, error) from error

        found, _ = read_items([Ticket(self._item())], shape, self._following, self.reading.skip_bad_records)
        return ((self._batch_size, *found[0]), (self._batch_size,))[: len(self.spec.tops)]

    def tickets(self) -> tuple[Ticket, ...]:
        """Those of the next batch."""
        tickets = []
        for _ in range(self._batch_size):
            tickets.append(Ticket(self._item(), self._transformer.draw(self._crops, self._thread)))
            self._at += 1
        return tuple(tickets)

    def load(self, tickets: Sequence[Ticket]) -> Batch:
        """The batch of these tickets."""
        data: list[Floats] = []
        labels = np.empty(len(tickets), np.float32)

        def read(place: int, ticket: Ticket) -> str:
            key, record = self._record(ticket.item)
            try:
                datum = read_datum(record)
                values = self._values(datum)
                if not data:
                    data.append(self._empty((len(tickets), *self._transformer.shape(_shape(datum, values)))))
                if datum.encoded:
                    self._transformer.picture(values, ticket.draws, data[0][place])
                else:
                    self._transformer.array(values, ticket.draws, data[0][place])
            except CaffeCompatError as error:
                raise self._fault(key, error) from error
            labels[place] = datum.label
            return key_text(key)

        keys, skipped = read_items(tickets, read, self._following, self.reading.skip_bad_records)
        return Batch((data[0], labels)[: len(self.spec.tops)], tuple(keys), skipped)

    def _empty(self, shape: Shape) -> Floats:
        """Memory for the data of a batch."""
        if prod(shape) > MAX_VALUES:
            raise ShapeError(f"a batch of it would have shape {shape}; at most {MAX_VALUES} values are possible")
        return self._pool.empty(shape)

    def count(self) -> int | None:
        """The number of records; not that of a LevelDB, which would be read through for it."""
        return self._database.count() if self._database.backend == "LMDB" else None

    def state(self) -> State:
        """Which record is next, and the streams of what is drawn."""
        return {"at": self._at, "crops": stream_state(self._crops), "thread": stream_state(self._thread)}

    def restore(self, state: State) -> None:
        """Go on from where `state` was taken.

        Raises:
            ValueError: it is no state of this source.
        """

        def all_of(state: State) -> None:
            if type(state["at"]) is not int or not 0 <= state["at"] < MAX_AT:
                raise ValueError(f"a place of {quoted(state['at'])}")
            restore_stream(self._crops, state["crops"])
            restore_stream(self._thread, state["thread"])
            self._at = state["at"]

        restored(state, all_of)

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def _item(self) -> int:
        """The next record of this process, counted on beyond the last one."""
        return self._at * self._world + self._rank

    def _following(self, item: int) -> int:
        """What takes the place of a bad record: the next one of this process."""
        return item + self._world

    def _record(self, item: int) -> Record:
        try:
            return self._database.read(item)
        except CaffeCompatError as error:
            raise self.spec.locate(error) from error.__cause__

    def _values(self, datum: Datum) -> Any:
        """Those of a record: of an encoded one (height, width) or (height, width, channels), else (channels, ...)."""
        return datum.picture(self._decode_flag) if datum.encoded else datum.values()

    def _fault(self, key: bytes, error: CaffeCompatError) -> CaffeCompatError:
        """An error about a record as one that names the record, the database and the layer."""
        where = f"record {quoted(key_text(key))} of {self._database.path}"
        return self.spec.error(f"{where}: {error.message}", hint=error.hint, kind=type(error))


def _shape(datum: Datum, values: npt.NDArray[Any]) -> Shape:
    """(channels, height, width) of a record's values."""
    if not datum.encoded:
        return values.shape
    return (1 if values.ndim == 2 else values.shape[2], *values.shape[:2])
