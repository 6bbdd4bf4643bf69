"""LevelDBs, written by plyvel; skipped where that is not installed."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from caffecompat.data.databases import open_database
from caffecompat.errors import FormatError, UnsupportedError
from tests.data.records import picture, raw, some
from tests.data.sources.databases import batches, open_source


def test_without_plyvel_the_way_out_is_told(tmp_path, monkeypatch):
    (tmp_path / "CURRENT").write_text("MANIFEST-000001\n")
    monkeypatch.setitem(sys.modules, "plyvel", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'caffecompat\[leveldb\]'"):
        open_database(tmp_path)


@pytest.fixture
def level(tmp_path) -> Path:
    plyvel = pytest.importorskip("plyvel", reason="plyvel (pip install plyvel-ci) is not installed")
    database = plyvel.DB(str(tmp_path / "level"), create_if_missing=True)
    for key, value in some(40, 3000):
        database.put(key, value)
    database.close()
    return tmp_path / "level"


def test_leveldb(level):
    records = some(40, 3000)
    with open_database(level) as database:
        assert database.backend == "LEVELDB"
        for position in (0, 5, 5, 39, 2, 40, 41, 100, 7, 1000):
            key, value = database.read(position)
            assert (key, bytes(value)) == records[position % 40]
        # Two nets of one process may read it.
        with open_database(level, "LEVELDB") as second:
            assert second.count() == 40
        assert [(key, bytes(value)) for key, value in database.records()] == records
    with open_database(level) as database:
        assert database.read(39 + 40)[0] == records[39][0]


def test_it_is_what_a_data_layer_takes_by_default(tmp_path):
    plyvel = pytest.importorskip("plyvel")
    database = plyvel.DB(str(tmp_path / "level"), create_if_missing=True)
    for number in range(5):
        database.put(b"%d" % number, raw(picture(number).transpose(2, 0, 1), number))
    database.close()
    source = open_source(tmp_path / "level", 3, more="")
    assert source.shapes() == ((3, 3, 9, 11), (3,))
    found = batches(source, 4)
    assert [key for batch in found for key in batch.keys] == list("012340123401")
    np.testing.assert_array_equal(found[2].tops[0][0], picture(1).transpose(2, 0, 1))


def test_leveldb_is_read_by_threads(level):
    records = some(40, 3000)
    with open_database(level) as database:
        wrong = []

        def read(start: int) -> None:
            places = range(start, start + 300, 3)
            wrong.extend(place for place in places if database.read(place)[0] != records[place % 40][0])

        threads = [threading.Thread(target=read, args=(start,)) for start in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong


def test_leveldb_that_cannot_be_opened(level, tmp_path):
    plyvel = pytest.importorskip("plyvel")
    code = f"import plyvel; d = plyvel.DB({str(level)!r}); print('open', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(FormatError, match="close the program that has it open"):
            open_database(level)
        other.communicate(b"\n")
    for file in level.iterdir():
        if file.name.startswith("MANIFEST"):
            file.write_bytes(b"junk")
    with pytest.raises(FormatError, match="the LevelDB cannot be read: Corruption"):
        open_database(level)
    plyvel.DB(str(tmp_path / "empty"), create_if_missing=True).close()
    with pytest.raises(FormatError, match="the database is empty"):
        open_database(tmp_path / "empty")
