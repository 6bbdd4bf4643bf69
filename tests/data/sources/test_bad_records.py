"""The Data layer on records that are bad, and on databases that are damaged."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from caffecompat.data.prefetch import Prefetcher
from caffecompat.errors import CaffeCompatError, FormatError
from caffecompat.schema import caffe_pb2
from tests.data.records import picture, raw, write_lmdb
from tests.data.sources.databases import batches, open_source

BAD = {
    "no message": b"\xff\xff\xff",
    "empty": b"",
    "lying": caffe_pb2.Datum(channels=3, height=2**30, width=2**30, data=b"abc").SerializeToString(),
    "cut short": raw(picture(0).transpose(2, 0, 1))[:-50],
    "no picture": caffe_pb2.Datum(data=b"hello", encoded=True).SerializeToString(),
    "smaller": raw(np.zeros((3, 2, 2), np.uint8)),
}


def with_bad(folder: Path, places: tuple[int, ...], what: bytes, count: int = 10) -> Path:
    good = [(b"%04d" % n, raw(picture(n).transpose(2, 0, 1), n)) for n in range(count)]
    return write_lmdb(folder / "db", [(key, what if n in places else value) for n, (key, value) in enumerate(good)])


@pytest.mark.parametrize("what", BAD)
def test_a_bad_record_is_named(what, tmp_path):
    db = with_bad(tmp_path, (2,), BAD[what])
    start = time.perf_counter()
    with pytest.raises(CaffeCompatError) as caught:
        batches(open_source(db), 1)
    assert time.perf_counter() - start < 1
    text = str(caught.value)
    assert "record '0002' of" in text
    assert str(db) in text
    assert 'layer "data"' in text


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("what", BAD)
def test_bad_records_may_be_skipped(what, workers, tmp_path):
    db = with_bad(tmp_path, (2, 3, 9), BAD[what])
    reader = Prefetcher(open_source(db, 5, workers=workers, skip_bad_records=True))
    labels, keys = [], []
    for _ in range(4):
        labels += reader.next()[1].tolist()
        assert reader.batch is not None
        keys += reader.batch.keys
    # The next good one takes the place: 4 that of 2 and 3, and 0 that of 9.
    assert labels == [0, 1, 4, 4, 4, 5, 6, 7, 8, 0] * 2
    assert keys == [f"{int(label):04d}" for label in labels]
    assert len(reader.skipped) == 2 * (2 + 1 + 1)
    assert all("record '000" in skipped and str(db) in skipped for skipped in reader.skipped)
    reader.close()


def test_the_first_record_may_be_bad(tmp_path):
    db = with_bad(tmp_path, (0,), b"")
    assert open_source(db, skip_bad_records=True).shapes() == ((4, 3, 9, 11), (4,))
    with pytest.raises(CaffeCompatError, match="record '0000'"):
        open_source(db).shapes()


def test_a_database_without_a_good_record(tmp_path):
    db = with_bad(tmp_path, tuple(range(10)), BAD["lying"])
    source = open_source(db, skip_bad_records=True)
    with pytest.raises(CaffeCompatError, match="items in a row that cannot be read.*record"):
        source.shapes()
    with pytest.raises(CaffeCompatError, match="items in a row that cannot be read.*record"):
        batches(source, 1)


def test_skipping_stays_with_the_records_of_a_process(tmp_path):
    db = with_bad(tmp_path, (2,), b"")
    source = open_source(db, 5, skip_bad_records=True, rank=0, world=2)
    assert batches(source, 1)[0].tops[1].tolist() == [0, 4, 4, 6, 8]


def test_a_database_cut_short_is_named(bytes_db):
    os.truncate(bytes_db / "data.mdb", 8192)
    with pytest.raises(FormatError, match="damaged or cut short") as caught:
        open_source(bytes_db)
    assert "data.mdb" in str(caught.value)
    assert 'layer "data"' in str(caught.value)


def test_a_database_damaged_inside_is_named(tmp_path):
    db = write_lmdb(tmp_path / "db", [(b"%04d" % n, raw(np.zeros((1, 30, 30), np.uint8))) for n in range(30)])
    data = bytearray((db / "data.mdb").read_bytes())
    at = data.index(b"0020") // 4096 * 4096
    data[at] ^= 255
    (db / "data.mdb").write_bytes(data)
    with pytest.raises(FormatError, match="damaged at page") as caught:
        batches(open_source(db, 30), 1)
    assert str(db) in str(caught.value)
