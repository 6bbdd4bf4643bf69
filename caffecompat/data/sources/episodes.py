"""EpisodeData: episodes of few-shot learning, drawn from the labelled records of an LMDB.

Each episode draws its classes, then for each class different records. Several processes that train draw episodes of
their own, from seeds of their own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from caffecompat.data.databases import Database, LmdbDatabase, RecordTable
from caffecompat.data.datum import read_datum
from caffecompat.data.episodes import Episodes, distinct, phase_share
from caffecompat.data.lmdb_file import Record
from caffecompat.data.source import Batch, Reading, Ticket
from caffecompat.data.sources.database import DatabaseSource
from caffecompat.errors import CaffeCompatError, UnsupportedError
from caffecompat.graph.spec import LayerSpec, message_param


class EpisodeSource(DatabaseSource):
    """The batches of an EpisodeData layer.

    Args:
        spec: the layer.
        reading: how to read. With `skip_bad_records` all records are decoded beforehand, and bad ones left out.

    Raises:
        CaffeCompatError: the database cannot be read or is no LMDB, has too few classes or records of a class, or the
            parameters make no sense.
    """

    # The thread's generator draws the episodes.
    augments = True

    def __init__(self, spec: LayerSpec, reading: Reading) -> None:
        param: Any = message_param(spec)
        self._episodes = Episodes.of(spec, param)
        super().__init__(spec, reading)
        self._labels = self._episodes.labels()
        self._classes = self._read_classes(param)

    def _items_of_a_batch(self) -> int:
        return self._episodes.rows

    def _open(self) -> Database:
        database = super()._open()
        if not isinstance(database, LmdbDatabase):
            raise self.spec.error("episodes are drawn from an LMDB, got a LevelDB", kind=UnsupportedError)
        try:
            self._table: RecordTable = database.table()
        except CaffeCompatError as error:
            raise self.spec.locate(error) from error.__cause__
        return database

    def _read_classes(self, param: Any) -> list[list[int]]:
        """The records of each class that episodes may have."""
        by_label: dict[int, list[int]] = {}
        bad = []
        for item in range(len(self._table)):
            key, record = self._record(item)
            try:
                datum = read_datum(record)
                if self.reading.skip_bad_records:
                    self._values(datum)
            except CaffeCompatError as error:
                fault = self._fault(key, error)
                if not self.reading.skip_bad_records:
                    raise fault from error
                bad.append(str(fault).split("\n")[0])
                continue
            by_label.setdefault(datum.label, []).append(item)
        labels = sorted(by_label)
        share = phase_share(self.spec, len(labels), param.held_out_classes, param.split_seed, "classes")
        kept = {labels[index] for index in share}
        needed, ways = self._episodes.needed, self._episodes.ways
        large = [by_label[label] for label in labels if label in kept and len(by_label[label]) >= needed]
        if len(large) < ways:
            raise self.spec.error(
                f"expected {ways} classes of at least {needed} records ({self._episodes.shots} shots and "
                f"{self._episodes.queries} queries), got {len(large)} such classes of {len(kept)}",
                hint="fewer ways, shots or queries, or more records",
            )
        self._tell(bad, len(kept) - len(large))
        return large

    def _tell(self, bad: Sequence[str], small: int) -> None:
        if bad:
            self._warn(f"{len(bad)} records cannot be read and are left out, such as: {bad[0]}")
        if small:
            self._warn(f"{small} classes have fewer than {self._episodes.needed} records and are left out")

    def tickets(self) -> tuple[Ticket, ...]:
        items = self._episodes.batch(self._draw)
        return tuple(Ticket(item, self._transformer.draw(self._crops, self._thread)) for item in items)

    def _draw(self) -> list[list[int]]:
        """The records of an episode, by class."""
        assert self._thread is not None
        drawn = []
        for number in distinct(self._thread, len(self._classes), self._episodes.ways):
            items = self._classes[number]
            drawn.append([items[place] for place in distinct(self._thread, len(items), self._episodes.needed)])
        return drawn

    def load(self, tickets: Sequence[Ticket]) -> Batch:
        batch = super().load(tickets)
        return Batch((batch.tops[0], self._labels.copy())[: len(self.spec.tops)], batch.keys)

    def _item(self) -> int:
        return self._classes[0][0]

    def _following(self, item: int) -> int:
        """A record has no substitute: those that may be drawn were read beforehand."""
        return item

    def _record(self, item: int) -> Record:
        try:
            return self._table[item]
        except CaffeCompatError as error:
            raise self.spec.locate(error) from error.__cause__
