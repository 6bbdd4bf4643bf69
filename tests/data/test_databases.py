"""Opening databases, and reading them by several threads."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import lmdb
import pytest

from caffecompat.data.databases import LmdbDatabase, backend_of, key_text, open_database
from caffecompat.errors import FormatError
from tests.data.records import some, write_lmdb


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_lmdb(tmp_path / "db", some(50, 3000))


def test_it_opens_twice_and_beside_the_lmdb_package(folder):
    first, second = open_database(folder), open_database(folder)
    with lmdb.open(str(folder)) as _:
        assert first.read(3) == second.read(3)


def test_a_folder_that_may_only_be_read(folder):
    (folder / "lock.mdb").unlink()
    before = sorted(os.listdir(folder)), (folder / "data.mdb").stat().st_mtime_ns
    folder.chmod(0o555)
    try:
        with open_database(folder) as database:
            assert database.read(0)[0] == b"00000000_0"
    finally:
        folder.chmod(0o755)
    assert (sorted(os.listdir(folder)), (folder / "data.mdb").stat().st_mtime_ns) == before


def test_the_file_itself_will_do(folder):
    with open_database(folder / "data.mdb") as database:
        assert database.count() == 50


def test_values_outlive_the_database(folder):
    database = open_database(folder)
    _, value = database.read(7)
    expected = bytes(value)
    database.close()
    shutil.rmtree(folder)
    assert bytes(value) == expected


def test_threads_have_places_of_their_own(folder):
    records = some(50, 3000)
    database = open_database(folder)
    wrong = []

    def read(start: int) -> None:
        for step in range(300):
            position = start + 3 * step
            key, value = database.read(position)
            if (key, bytes(value)) != records[position % 50]:
                wrong.append(position)

    threads = [threading.Thread(target=read, args=(start,)) for start in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_what_is_no_database(tmp_path):
    with pytest.raises(FormatError, match="no such database"):
        open_database(tmp_path / "nowhere")
    with pytest.raises(FormatError, match=r"no data.mdb \(LMDB\) and no CURRENT"):
        open_database(tmp_path)
    (tmp_path / "data.mdb").write_bytes(b"")
    with pytest.raises(FormatError, match="the file is empty"):
        open_database(tmp_path)
    for data in (b"hello", b"x" * 10_000):
        (tmp_path / "data.mdb").write_bytes(data)
        with pytest.raises(FormatError, match="expected an LMDB, got"):
            open_database(tmp_path)
    (tmp_path / "data.mdb").unlink()
    (tmp_path / "data.mdb").mkdir()
    with pytest.raises(FormatError, match="cannot be read"):
        open_database(tmp_path)


def test_an_empty_database(tmp_path):
    with pytest.raises(FormatError, match="the database is empty"):
        open_database(write_lmdb(tmp_path / "db", []))


def test_the_other_backend(folder, tmp_path):
    with pytest.raises(FormatError, match="expected a database of backend LEVELDB, got one of LMDB") as caught:
        open_database(folder, "LEVELDB")
    assert "state backend: LMDB" in str(caught.value)
    (tmp_path / "level").mkdir()
    (tmp_path / "level" / "CURRENT").write_text("MANIFEST-000001\n")
    assert backend_of(tmp_path / "level") == "LEVELDB"
    with pytest.raises(FormatError, match="expected a database of backend LMDB, got one of LEVELDB"):
        open_database(tmp_path / "level", "LMDB")


def test_keys_as_text():
    assert key_text(b"00000001_\xc3\xa4.jpg") == "00000001_ä.jpg"
    assert key_text(b"\xff\x01") == "\\xff\x01"


def test_a_database_is_what_it_says(folder):
    assert isinstance(open_database(folder), LmdbDatabase)
    assert open_database(folder).backend == "LMDB"
