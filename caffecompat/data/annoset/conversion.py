"""Entries to records, one after the other into a database that can be gone on with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from caffecompat.data.annoset.boxes import BoxRules
from caffecompat.data.annoset.journal import UnfinishedDatabase
from caffecompat.data.annoset.record import Entry, Outcome, RecordMaker
from caffecompat.data.imageset import DatumForm
from caffecompat.data.in_order import in_order
from caffecompat.data.lmdb_writer import record_key


def job_of(entries: Sequence[Entry], form: DatumForm, rules: BoxRules, *more: object) -> str:
    """What identifies the work: the entries in their order, and what becomes of them. Files are not looked into."""
    digest = hashlib.sha256()
    digest.update(repr((form, rules.bad, rules.skip_unknown, sorted(rules.classes.items()), more)).encode())
    for entry in entries:
        digest.update(repr(entry).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def convert(
    entries: Sequence[Entry], make: RecordMaker, database: UnfinishedDatabase, workers: int
) -> Iterator[tuple[Entry, Outcome]]:
    """Make the records that are not there yet.

    Args:
        entries: all, in order; the place of each is the number in its key.
        make: makes the records.
        database: where they go; it goes on after the entries that are done.
        workers: how many threads read.

    Yields:
        Each entry with what came of it, before it is written: who stops there can go on from there.

    Raises:
        CaffeCompatError: a record cannot be made or written.
    """
    first = len(database.outcomes)

    def work(place: int) -> tuple[int, Outcome]:
        return place, make(entries[place])

    for place, outcome in in_order(work, range(first, len(entries)), workers):
        yield entries[place], outcome
        database.add(record_key(place, entries[place].name), outcome)
