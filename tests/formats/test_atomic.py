from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading

import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.formats import atomic, atomic_write
from caffecompat.formats.atomic import remove_leftovers


def test_the_file_appears_at_the_end(tmp_path):
    path = tmp_path / "file"
    with atomic_write(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError), atomic_write(path) as file:
        file.writelines([b"new" * 100_000, None])
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with open(path, "rb") as reader:
        with atomic_write(path) as file:
            file.write(b"new")
        assert reader.read() == b"old"
    assert path.read_bytes() == b"new"


def test_permissions_are_the_usual_ones_or_those_of_the_old_file(tmp_path):
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    path = tmp_path / "file"
    with atomic_write(path):
        pass
    assert path.stat().st_mode == plain.stat().st_mode
    path.chmod(0o640)
    with atomic_write(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_link_stays(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    link = tmp_path / "link"
    link.symlink_to("target")
    with atomic_write(link) as file:
        file.write(b"new")
    assert link.is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_a_long_name_is_written(tmp_path):
    path = tmp_path / ("n" * 250)
    with atomic_write(path) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_what_cannot_be_written_is_an_error_that_names_the_file(tmp_path):
    for name, message in (
        ("nowhere/file", r"(?s)nowhere/file: cannot be written.*make it first"),
        ("", "expected the name of a file to write, got a directory"),
        ("a\0b", "expected the name of a file to write"),
    ):
        with pytest.raises(CaffeCompatError, match=message), atomic_write(f"{tmp_path}/{name}"):
            pass
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    path = tmp_path / "file"
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(CaffeCompatError, match="file: cannot be written: No space left"), atomic_write(path):
        raise full
    assert list(tmp_path.iterdir()) == []


# --- what killed writers leave


def left_by_a_killed_writer(path):
    """Write a file in a process that is killed before it is whole; the names in its folder."""
    writer = "import os, sys; from caffecompat.formats import atomic_write\nwith atomic_write(sys.argv[1]) as file:\n"
    writer += "    file.write(b'part'); file.flush(); os.kill(os.getpid(), 9)"
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    subprocess.run([sys.executable, "-c", writer, str(path)], check=False, env=environment)
    return sorted(os.listdir(path.parent))


def test_what_killed_writers_have_left_is_deleted(tmp_path):
    names = left_by_a_killed_writer(tmp_path / "net.caffemodel")
    assert len(names) == 1
    (tmp_path / ".other.0123456789abcdef.tmp").write_bytes(b"")
    (tmp_path / "net.caffemodel.0123456789abcdef.tmp").write_bytes(b"")
    remove_leftovers(tmp_path, lambda name: name == "other")
    assert set(names) < set(os.listdir(tmp_path))
    remove_leftovers(tmp_path, lambda name: name.startswith("net."))
    assert os.listdir(tmp_path) == ["net.caffemodel.0123456789abcdef.tmp"]
    remove_leftovers(tmp_path / "nowhere", lambda name: True)


def test_what_has_a_writer_stays(tmp_path):
    with atomic_write(tmp_path / "net") as file:
        file.write(b"whole")
        remove_leftovers(tmp_path, lambda name: True)
    assert (tmp_path / "net").read_bytes() == b"whole"
    assert os.listdir(tmp_path) == ["net"]


def test_a_file_taken_away_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    lock, taken = atomic._lock, []

    def late(file, wait=True):
        if not taken:
            taken.append(file.name)
            remove_leftovers(tmp_path, lambda name: True)
        return lock(file, wait)

    monkeypatch.setattr(atomic, "_lock", late)
    with atomic_write(tmp_path / "net") as file:
        file.write(b"whole")
    assert len(taken) == 1
    assert os.listdir(tmp_path) == ["net"]


def test_writers_and_one_who_cleans_at_the_same_time(tmp_path):
    done = threading.Event()

    def clean():
        while not done.is_set():
            remove_leftovers(tmp_path, lambda name: True)

    cleaner = threading.Thread(target=clean)
    cleaner.start()
    try:
        for number in range(100):
            with atomic_write(tmp_path / "net") as file:
                file.write(b"%d" % number)
            assert (tmp_path / "net").read_bytes() == b"%d" % number
    finally:
        done.set()
        cleaner.join()
