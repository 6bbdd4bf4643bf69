"""Conversions that are interrupted, and go on: the database is that of one that was not."""

from __future__ import annotations

import os
import subprocess
import sys

import lmdb
import pytest

from caffecompat.data import lmdb_writer
from caffecompat.data.annoset.boxes import Problem
from caffecompat.data.annoset.conversion import convert
from caffecompat.data.annoset.record import Entry, Outcome
from caffecompat.data.annoset.unfinished import UnfinishedFolder
from caffecompat.errors import CaffeCompatError, UsageError

COUNT = 100
ENTRIES = [Entry(f"{number}.jpg", f"{number}.jpg") for number in range(COUNT)]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(lmdb_writer, "BATCH", 7)


def outcome(number):
    """What comes of an entry; each tenth cannot be read."""
    if number % 10 == 3:
        return Outcome(None, problems=(Problem("image", f"{number} is broken"),))
    problems = (Problem("box", "odd ü"),) if number % 10 == 4 else ()
    return Outcome(b"%d " % number * 50, (3, number + 1, 2), (number + 1, 2), number % 3, problems)


def make(made=None):
    def work(entry):
        number = int(entry.name.split(".")[0])
        if made is not None:
            made.append(number)
        return outcome(number)

    return work


def records(path):
    with (
        lmdb.open(str(path), readonly=True, lock=False) as environment,
        environment.begin() as transaction,
        transaction.cursor() as cursor,
    ):
        return dict(cursor)


EXPECTED = {b"%08d_%d.jpg" % (n, n): outcome(n).record for n in range(COUNT) if outcome(n).record}


def run(path, stop=None, job="job", made=None, inner="", error=ValueError, **options):
    """Convert, and stop before the entry `stop`; the hidden folder."""
    with UnfinishedFolder(path, **options) as folder:
        database = folder.database(inner, job)
        for entry, _ in convert(ENTRIES, make(made), database, 0):
            if stop is not None and entry.name == f"{stop}.jpg":
                raise error("stop")
        database.close()
        expected = [(item.sizes, item.file_size, item.boxes, item.problems) for item in map(outcome, range(COUNT))]
        assert [(item.sizes, item.file_size, item.boxes, item.problems) for item in database.outcomes] == expected
        folder.finish()


@pytest.mark.parametrize("inner", ["", "examples/a/b_lmdb"])
def test_whole(tmp_path, inner):
    run(tmp_path / "db", inner=inner)
    assert records(tmp_path / "db" / inner) == EXPECTED
    # Nothing but LMDB's own files is left.
    assert sorted(os.listdir(tmp_path / "db" / inner)) == ["data.mdb", "lock.mdb"]
    assert os.listdir(tmp_path) == ["db"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_it_goes_on(tmp_path, error):
    made: list[int] = []
    last = 0
    for stop in (30, 60, 61, 99):
        with pytest.raises(error, match="stop"):
            run(tmp_path / "db", stop, made=made, error=error)
        assert os.listdir(tmp_path) == [".db.unfinished"]
        # What is done anew is no more than one transaction takes (and those that could not be read between).
        assert made[0] <= last
        assert last - made[0] <= 10
        last, made[:] = stop, []
    run(tmp_path / "db", made=made)
    assert made[0] > 80
    assert records(tmp_path / "db") == EXPECTED
    assert sorted(os.listdir(tmp_path / "db")) == ["data.mdb", "lock.mdb"]


def test_a_killed_process_goes_on(tmp_path):
    code = (
        "import os, sys\n"
        "from tests.data.annoset.test_unfinished import *\n"
        "lmdb_writer.BATCH = 7\n"
        "class Kill(Exception):\n"
        "    def __init__(self, _): os._exit(9)\n"
        f"run({str(tmp_path / 'db')!r}, 50, error=Kill)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 9
    made: list[int] = []
    run(tmp_path / "db", made=made)
    assert 40 < made[0] <= 50
    assert records(tmp_path / "db") == EXPECTED


def interrupted(path, stop=50):
    with pytest.raises(ValueError, match="stop"):
        run(path, stop)
    return path.parent / f".{path.name}.unfinished"


@pytest.mark.parametrize("options", [{"job": "another"}, {"anew": True}])
def test_it_begins_anew(tmp_path, options):
    interrupted(tmp_path / "db")
    made: list[int] = []
    run(tmp_path / "db", made=made, **options)
    assert made[0] == 0
    assert records(tmp_path / "db") == EXPECTED


def cut(path, share):
    with open(path, "r+b") as file:
        file.truncate(int(path.stat().st_size * share))


@pytest.mark.parametrize(
    "damage",
    [
        lambda hidden: (hidden / "journal").write_bytes(b"\0\xff{"),
        lambda hidden: (hidden / "journal").write_text('{"job": "job", "version": 1}\n[1]\n{"done": 1}\n'),
        lambda hidden: (hidden / "journal").write_text('{"job": "job", "version": 1}\n{"done": 7}\n'),
        lambda hidden: (hidden / "journal").write_text(
            '{"job": "job", "version": 1}\n[[1, 2], [3], 1, []]\n{"done": 1}\n'
        ),
        lambda hidden: (hidden / "journal").write_text('{"job": "job", "version": 1}\n' + "[" * 100_000 + "\n"),
        lambda hidden: (hidden / "journal").unlink(),
        lambda hidden: cut(hidden / "journal", 0.5),
        lambda hidden: cut(hidden / "journal", 0.97),
        lambda hidden: cut(hidden / "data.mdb", 0.5),
        lambda hidden: cut(hidden / "data.mdb", 0),
        lambda hidden: (hidden / "data.mdb").unlink(),
        lambda hidden: (hidden / "data.mdb").write_bytes(os.urandom(20_000)),
        lambda hidden: (hidden / "lock.mdb").unlink(),
    ],
    ids=range(13),
)
def test_damage_does_no_harm(tmp_path, damage):
    damage(interrupted(tmp_path / "db"))
    run(tmp_path / "db")
    assert records(tmp_path / "db") == EXPECTED


def test_records_that_the_journal_does_not_count_are_made_anew(tmp_path):
    hidden = interrupted(tmp_path / "db")
    with lmdb.open(str(hidden)) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"00000099_stale.jpg", b"stale")
    run(tmp_path / "db")
    assert records(tmp_path / "db") == EXPECTED


def test_nothing_done_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match="stop"):
        run(tmp_path / "db", 3)
    assert os.listdir(tmp_path) == []


def test_one_process_at_a_time(tmp_path):
    with UnfinishedFolder(tmp_path / "db"):
        with pytest.raises(UsageError, match="another process"):
            UnfinishedFolder(tmp_path / "db")
        # The first one's folder is still there.
        assert (tmp_path / ".db.unfinished").is_dir()


def test_what_is_there_stays(tmp_path):
    (tmp_path / "db").write_text("mine")
    with pytest.raises(UsageError, match="something already"):
        UnfinishedFolder(tmp_path / "db")
    with pytest.raises(CaffeCompatError, match="cannot be written"):
        UnfinishedFolder(tmp_path / "nowhere" / "db")
    assert os.listdir(tmp_path) == ["db"]


def test_what_comes_meanwhile_stays(tmp_path):
    with UnfinishedFolder(tmp_path / "db") as folder:
        folder.write("a/b.txt", "text")
        (tmp_path / "db").mkdir()
        with pytest.raises(UsageError, match="something already"):
            folder.finish()
    assert os.listdir(tmp_path / "db") == []
