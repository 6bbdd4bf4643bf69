"""The records of an LMDB, read straight from its file: a B+ tree of pages, in the order of the keys.

The `lmdb` package maps a file without asking whether its pages are there, so that a file cut short ends the process
(SIGBUS), and it opens a database only once in a process. This reader holds every number in the file against the
file's size; records are views of the map, which lives as long as one of them does.

Source of the format: lmdb.h and mdb.c of LMDB 0.9 (format version 1), on little-endian machines of 64 bits. Databases
with several values for a key, or with databases inside, are refused: Caffe writes none.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import NamedTuple

from caffecompat.errors import FormatError, UnsupportedError, context, quoted

MAGIC = 0xBEEFC0DE
VERSION = 1
FILE_NAME = "data.mdb"
MAX_DEPTH = 32

# A page: its number, padding, flags, and where the free space between its pointers and its nodes starts and ends.
_PAGE = struct.Struct("<QHHHH")
_OVERFLOW_PAGES = struct.Struct("<I")
_NODE = struct.Struct("<HHHH")
_NUMBER = struct.Struct("<Q")
# In a meta page: magic, version, address, map size; for the two databases page size or padding, flags, depth, numbers
# of pages of three kinds, records, root; last page, transaction.
_META = struct.Struct("<IIQQ IHHQQQQQ IHHQQQQQ QQ")
_BRANCH, _LEAF, _OVERFLOW, _META_PAGE = 1, 2, 4, 8
_BIG_DATA, _INNER = 1, 6
_DUPLICATES = 4
# The least that a record takes: a pointer and the head of a node.
_LEAST_RECORD = 10

Record = tuple[bytes, memoryview]


class _Meta(NamedTuple):
    flags: int
    depth: int
    entries: int
    root: int
    last_page: int
    transaction: int


class LmdbFile:
    """An LMDB, open to be read.

    Args:
        path: its folder, or the file itself.

    Attributes:
        path: the file.
        entries: the number of records.

    Raises:
        FormatError: it is no LMDB, or it is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        given = Path(path)
        self.path = given / FILE_NAME if given.is_dir() else given
        with context(file=self.path):
            self.view = _map(self.path)
            self.page_size = self._page_size()
            meta = max((self._meta(0), self._meta(self.page_size)), key=lambda meta: meta.transaction)
            if meta.flags & _DUPLICATES:
                raise UnsupportedError("an LMDB with several values for a key: Caffe writes none")
            if meta.entries > len(self.view) // _LEAST_RECORD or meta.depth > MAX_DEPTH:
                raise _damaged(f"and claims {meta.entries} records in {len(self.view)} bytes")
            self.entries, self.root, self.depth = meta.entries, meta.root, meta.depth
            if (meta.last_page + 1) * self.page_size > len(self.view):
                self._check_all(meta.last_page)

    def cursor(self) -> LmdbCursor:
        """A cursor before the first record; each thread takes its own."""
        return LmdbCursor(self)

    def page(self, number: int, kind: int) -> tuple[int, int, int]:
        """Where a page of this kind starts, and where its free space starts and ends."""
        start = number * self.page_size
        if number < 2 or start + self.page_size > len(self.view):
            raise _damaged(f"or cut short: it needs page {number}, and has {len(self.view)} bytes")
        named, _, flags, lower, upper = _PAGE.unpack_from(self.view, start)
        if named != number or not flags & kind:
            raise _damaged(f"at page {number}")
        return start, lower, upper

    def nodes(self, number: int, kind: int) -> tuple[int, tuple[int, ...]]:
        """Where a branch or leaf page starts, and where its nodes lie in it; there is one at least."""
        start, lower, upper = self.page(number, kind)
        count = (lower - _PAGE.size) // 2
        if count < 1 or not lower <= upper <= self.page_size:
            raise _damaged(f"at page {number}")
        return start, struct.unpack_from(f"<{count}H", self.view, start + _PAGE.size)

    def child(self, start: int, node: int) -> int:
        """The number of the page that a branch's node points to."""
        low, middle, high, _ = self._head(start, node)
        return low | middle << 16 | high << 32

    def record(self, start: int, node: int) -> Record:
        """The record of a leaf's node."""
        low, high, flags, key_size = self._head(start, node)
        size = low | high << 16
        key_at = start + node + _NODE.size
        data_at = key_at + key_size
        end = start + self.page_size
        if flags & _INNER:
            raise UnsupportedError("an LMDB with databases inside: Caffe writes none")
        if data_at + (_NUMBER.size if flags & _BIG_DATA else size) > end:
            raise _damaged(f"at page {start // self.page_size}")
        key = bytes(self.view[key_at:data_at])
        if flags & _BIG_DATA:
            (number,) = _NUMBER.unpack_from(self.view, data_at)
            first, _, _ = self.page(number, _OVERFLOW)
            (pages,) = _OVERFLOW_PAGES.unpack_from(self.view, first + 12)
            data_at = first + _PAGE.size
            if data_at + size > min(first + pages * self.page_size, len(self.view)):
                raise _damaged(f"or cut short: the record {quoted(key)} claims {size} bytes at page {number}")
        return key, self.view[data_at : data_at + size]

    def _head(self, start: int, node: int) -> tuple[int, int, int, int]:
        if node + _NODE.size > self.page_size:
            raise _damaged(f"at page {start // self.page_size}")
        head: tuple[int, int, int, int] = _NODE.unpack_from(self.view, start + node)
        return head

    def _page_size(self) -> int:
        if len(self.view) < _PAGE.size + _META.size:
            raise FormatError(f"expected an LMDB, got a file of {len(self.view)} bytes")
        size: int = _META.unpack_from(self.view, _PAGE.size)[4]
        self._meta(0)
        if size & (size - 1) or not 512 <= size <= 1 << 15 or 2 * size > len(self.view):
            raise _damaged(f"and claims pages of {size} bytes, in a file of {len(self.view)}")
        return size

    def _meta(self, start: int) -> _Meta:
        magic, version, *rest = _META.unpack_from(self.view, start + _PAGE.size)
        if magic != MAGIC:
            raise FormatError("expected an LMDB, got another file")
        if version != VERSION:
            raise UnsupportedError(f"an LMDB of format {version}: expected {VERSION}")
        (flags, depth, _, _, _, entries, root), (last, transaction) = rest[11:18], rest[18:]
        return _Meta(flags, depth, entries, root, last, transaction)

    def _check_all(self, last_page: int) -> None:
        """Find what is missing of a file that ends before its last page, which may have been one without use."""
        expected = (last_page + 1) * self.page_size
        cursor = self.cursor()
        try:
            for position in range(self.entries):
                cursor.read(position)
        except FormatError as error:
            raise _damaged(f"or cut short: it has {len(self.view)} bytes of {expected}") from error


class LmdbCursor:
    """A place among the records, from which those behind it are reached quickly.

    Args:
        file: the database.
    """

    def __init__(self, file: LmdbFile) -> None:
        self._file = file
        self._rewind()

    def read(self, position: int) -> Record:
        """The record of a position, from 0.

        Raises:
            FormatError: the database is damaged.
        """
        return self._file.record(*self.place(position))

    def place(self, position: int) -> tuple[int, int]:
        """Where the record of a position, from 0, lies: its page's start, and its node in it; `record` reads it.

        Raises:
            FormatError: the database is damaged.
        """
        if position < self._first:
            self._rewind()
        try:
            while position >= self._first + len(self._leaf):
                self._next_leaf()
        except FormatError:
            self._rewind()
            raise
        return self._start, self._leaf[position - self._first]

    def _rewind(self) -> None:
        self._first, self._start = 0, 0
        self._leaf: tuple[int, ...] = ()
        # Of each branch from the root down: where it starts, its nodes, and which of them is next.
        self._path: list[tuple[int, tuple[int, ...], int]] = []
        self._begun = False

    def _next_leaf(self) -> None:
        self._first += len(self._leaf)
        self._leaf = ()
        number = self._file.root
        if self._begun:
            while self._path and self._path[-1][2] == len(self._path[-1][1]):
                self._path.pop()
            if not self._path:
                raise _damaged(f"or cut short: it ends before its {self._file.entries} records do")
            number = self._step()
        self._begun = True
        while len(self._path) < self._file.depth - 1:
            start, nodes = self._file.nodes(number, _BRANCH)
            self._path.append((start, nodes, 0))
            number = self._step()
        self._start, self._leaf = self._file.nodes(number, _LEAF)

    def _step(self) -> int:
        """The next child of the lowest branch."""
        start, nodes, index = self._path[-1]
        self._path[-1] = start, nodes, index + 1
        return self._file.child(start, nodes[index])


def _damaged(how: str) -> FormatError:
    return FormatError(f"the LMDB is damaged {how}", hint="copy it or make it anew")


def _map(path: Path) -> memoryview:
    try:
        with open(path, "rb") as file:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        if isinstance(error, OSError):
            raise FormatError(f"cannot be read: {error.strerror or error}") from error
        raise FormatError("the file is empty", hint="it was not written or copied completely") from error
