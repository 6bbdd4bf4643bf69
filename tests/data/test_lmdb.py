"""LMDBs against the `lmdb` package: read, damaged, written."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import lmdb
import pytest

from caffecompat.data.databases import LmdbWriter, open_database
from caffecompat.data.lmdb_file import LmdbFile
from caffecompat.data.lmdb_writer import record_key
from caffecompat.errors import CaffeCompatError, FormatError, UnsupportedError, UsageError
from tests.data.records import some, write_lmdb
from tests.support import shared_file


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_lmdb(tmp_path / "db", some(50, 3000))


@pytest.mark.parametrize(("count", "size"), [(1, 10), (3, 9000), (700, 20), (900, 4000), (400, 9000), (20_000, 4)])
def test_lmdb_gives_what_the_lmdb_package_wrote(count, size, tmp_path):
    records = some(count, size)
    shuffled = random.Random(1).sample(records, count)
    with lmdb.open(str(tmp_path / "db"), map_size=1 << 26) as environment:
        for start in range(0, count, 300):
            with environment.begin(write=True) as transaction:
                for key, value in shuffled[start : start + 300]:
                    transaction.put(key, value)
        with environment.begin(write=True) as transaction:
            for key, _ in shuffled[: count // 3]:
                transaction.delete(key)
    gone = {key for key, _ in shuffled[: count // 3]}
    left = [record for record in records if record[0] not in gone]
    with open_database(tmp_path / "db") as database:
        assert database.count() == len(left)
        assert [(key, bytes(value)) for key, value in database.records()] == left
        for _ in range(100):
            position = random.randrange(3 * len(left))
            key, value = database.read(position)
            assert (key, bytes(value)) == left[position % len(left)]


@pytest.mark.parametrize("name", ["data/digits/train_lmdb", "data/digits/test_lmdb", "data/shapes/trainval_lmdb"])
def test_lmdb_that_the_original_wrote(name, tmp_path):
    folder = tmp_path / "db"
    shutil.copytree(shared_file(name), folder)
    with lmdb.open(str(folder), readonly=True, lock=False) as environment, environment.begin() as transaction:
        expected = list(transaction.cursor())
    with open_database(folder, "LMDB") as database:
        assert [(key, bytes(value)) for key, value in database.records()] == expected


def page(number: int, kind: int, nodes: list[bytes], size: int) -> bytes:
    """A page of an LMDB, by hand."""
    at, pointers, body = size, b"", b""
    for node in nodes:
        at -= len(node)
        pointers += at.to_bytes(2, "little")
        body = node + body
    head = number.to_bytes(8, "little") + b"\0\0" + kind.to_bytes(2, "little")
    head += (16 + len(pointers)).to_bytes(2, "little") + at.to_bytes(2, "little")
    return (head + pointers).ljust(size - len(body), b"\0") + body


@pytest.mark.parametrize("size", [4096, 16384, 32768])
def test_lmdb_with_larger_pages(size, tmp_path):
    # As machines with larger pages of memory write them.
    def node(key: bytes, value: bytes) -> bytes:
        data = len(value).to_bytes(4, "little") + b"\0\0" + len(key).to_bytes(2, "little") + key + value
        return data + b"\0" * (len(data) % 2)

    empty = (0).to_bytes(42, "little")
    metas = b""
    for number in (0, 1):
        main = b"\0\0\0\0" + b"\0\0" + b"\1\0" + (0).to_bytes(8, "little") + (1).to_bytes(8, "little")
        main += (0).to_bytes(8, "little") + (2).to_bytes(8, "little") + (2).to_bytes(8, "little")
        meta = (0xBEEFC0DE).to_bytes(4, "little") + (1).to_bytes(4, "little") + (0).to_bytes(8, "little")
        meta += (1 << 20).to_bytes(8, "little") + size.to_bytes(4, "little") + b"\0\0" + empty + main
        meta += (2).to_bytes(8, "little") + (number + 1).to_bytes(8, "little")
        metas += ((number).to_bytes(8, "little") + b"\0\0\x08\0\0\0\0\0" + meta).ljust(size, b"\0")
    (tmp_path / "data.mdb").write_bytes(metas + page(2, 2, [node(b"a", b"one"), node(b"bb", b"four")], size))
    with open_database(tmp_path) as database:
        assert [(key, bytes(value)) for key, value in database.records()] == [(b"a", b"one"), (b"bb", b"four")]


def test_databases_that_caffe_does_not_write(tmp_path):
    with lmdb.open(str(tmp_path / "named"), max_dbs=2, map_size=1 << 20) as environment:
        inner = environment.open_db(b"inner")
        with environment.begin(write=True) as transaction:
            transaction.put(b"a", b"b", db=inner)
    with pytest.raises(UnsupportedError, match="databases inside"):
        open_database(tmp_path / "named").read(0)


# --- damage


@pytest.mark.parametrize("part", [0.01, 0.3, 0.6, 0.99])
def test_a_file_cut_short(part, folder):
    data = folder / "data.mdb"
    size = data.stat().st_size
    os.truncate(data, int(size * part))
    with pytest.raises(FormatError, match="cut short|damaged|expected an LMDB") as caught:
        open_database(folder)
    assert "data.mdb" in str(caught.value)


def test_a_file_without_its_unused_last_page_is_whole(folder):
    # The header counts a last page that no record is on: LMDB does not always write such pages.
    data = bytearray((folder / "data.mdb").read_bytes())
    for meta in (0, 4096):
        at = meta + 16 + 24 + 48 + 48
        last = int.from_bytes(data[at : at + 8], "little") + 2
        data[at : at + 8] = last.to_bytes(8, "little")
    (folder / "data.mdb").write_bytes(data)
    with open_database(folder) as database:
        assert len(list(database.records())) == 50


def test_every_kind_of_damage_is_an_error(folder):
    whole = (folder / "data.mdb").read_bytes()
    chance = random.Random(3)
    refused = 0
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            # Half of the hits go where pages begin.
            start = chance.randrange(len(data) // 4096) * 4096
            data[start + chance.randrange(160) if chance.random() < 0.5 else chance.randrange(len(data))] = (
                chance.randrange(256)
            )
        (folder / "data.mdb").write_bytes(data)
        try:
            with open_database(folder) as database:
                for _, value in database.records():
                    bytes(value)
        except CaffeCompatError:
            refused += 1
    assert refused > 30


def test_pages_that_point_in_circles_end(folder):
    data = bytearray((folder / "data.mdb").read_bytes())
    root = LmdbFile(folder).root
    start = root * 4096
    first = start + int.from_bytes(data[start + 16 : start + 18], "little")
    data[first : first + 6] = root.to_bytes(6, "little")
    (folder / "data.mdb").write_bytes(data)
    with pytest.raises(FormatError, match=f"damaged at page {root}"):
        open_database(folder).read(0)


def test_after_an_error_a_cursor_still_counts_right(folder):
    data = bytearray((folder / "data.mdb").read_bytes())
    file = LmdbFile(folder)
    cursor = file.cursor()
    cursor.read(49)
    leaf = cursor._start
    first_of_last_leaf = cursor._first
    assert first_of_last_leaf > 0
    data[leaf] ^= 255
    (folder / "data.mdb").write_bytes(data)
    database = open_database(folder)
    records = some(50, 3000)
    for _ in range(2):
        with pytest.raises(FormatError, match="damaged at page"):
            database.read(49)
        assert database.read(first_of_last_leaf - 1)[0] == records[first_of_last_leaf - 1][0]


# --- writing


def test_what_is_written_is_what_the_lmdb_package_reads(tmp_path):
    records = [(record_key(number, f"{number}.jpg"), os.urandom(number % 5000)) for number in range(9000)]
    with LmdbWriter(tmp_path / "db") as writer:
        for key, value in records:
            writer.put(key, value)
        assert not (tmp_path / "db").exists()
    assert os.listdir(tmp_path) == ["db"]
    with lmdb.open(str(tmp_path / "db"), readonly=True) as environment:
        # It grew beyond its first size of 16 MiB.
        assert environment.info()["map_size"] > 1 << 24
        with environment.begin() as transaction:
            assert list(transaction.cursor()) == records
    assert records[17][0] == b"00000017_17.jpg"


def test_an_error_leaves_nothing(tmp_path):
    def write() -> None:
        with LmdbWriter(tmp_path / "db") as writer:
            writer.put(b"a", b"b")
            raise ValueError("stop")

    with pytest.raises(ValueError, match="stop"):
        write()
    assert os.listdir(tmp_path) == []


def test_what_is_there_stays(tmp_path):
    (tmp_path / "db").mkdir()
    with pytest.raises(UsageError, match="there is something already"):
        LmdbWriter(tmp_path / "db")
    with pytest.raises(CaffeCompatError, match="cannot be written: No such file"):
        LmdbWriter(tmp_path / "nowhere" / "db")
    with LmdbWriter(tmp_path / "late") as writer:
        writer.put(b"a", b"b")
        for key in (b"", b"x" * 512):
            with pytest.raises(UsageError, match="expected a key of 1 to 511 bytes"):
                writer.put(key, b"")
    assert sorted(os.listdir(tmp_path)) == ["db", "late"]
