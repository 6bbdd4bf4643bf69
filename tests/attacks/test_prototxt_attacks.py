"""Hostile prototxts: each is a CaffeCompatError or read all the same, quickly and without much memory."""

from __future__ import annotations

import gc
import os
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from caffecompat.errors import CaffeCompatError, FormatError, SchemaError
from caffecompat.formats import parse_text, read_text
from caffecompat.formats.tokens import MAX_BYTES, MAX_WORDS
from caffecompat.schema import caffe_pb2
from tests.attacks.mutate import prototxts
from tests.support import shared_file

Net = caffe_pb2.NetParameter
# Of processor time: the largest takes half a second, and more than twice that where two share a core.
SECONDS = 3.0
MEMORY = 200 << 20
PROCESS = Path("/proc/self")


def resident(name: str) -> int:
    """Bytes of memory that the process has (VmRSS) or had at most (VmHWM)."""
    return int(re.search(rf"{name}:\s+(\d+) kB", (PROCESS / "status").read_text())[1]) << 10


def count_peak_anew() -> bool:
    """Let VmHWM start from what the process has now, where the system can."""
    try:
        (PROCESS / "clear_refs").write_text("5")
    except OSError:
        return False
    return True


def within_limits(read: Callable[[], object]) -> CaffeCompatError | None:
    """Check the limits of time and memory, and return the error if there was one."""
    gc.collect()
    measured = count_peak_anew()
    before = resident("VmRSS") if measured else 0
    start = time.process_time()
    error = error_of(read)
    assert time.process_time() - start < SECONDS
    assert not measured or resident("VmHWM") - before < MEMORY
    return error


def error_of(read: Callable[[], object]) -> CaffeCompatError | None:
    try:
        read()
    except CaffeCompatError as error:
        str(error)
        return error
    return None


LONG = 1_000_000
REFUSED = {
    "10,000 braces": ("layer {" * 10_000, FormatError, "more than 100 deep"),
    "10,000 unknown braces": ("a {" * 10_000, FormatError, "more than 100 deep"),
    "10,000 lists in each other": ("a: [{" * 10_000, FormatError, "more than 100 deep"),
    "a million braces": ("a{" * LONG, FormatError, "more than 500,000 words"),
    "a million closing braces": ("}" * LONG, FormatError, "more than 500,000 words"),
    "many short words": ("11," * LONG, FormatError, "more than 500,000 words"),
    "words of other scripts": ("жж " * LONG, FormatError, "more than 500,000 words"),
    "a list that does not end": ("input_dim: [" + "1," * 200_000, FormatError, "got the end of the text"),
    "many lines": ("\n" * (MAX_WORDS + 1), FormatError, "more than 500,000 lines"),
    "many open quotes": ("'\n" * LONG, FormatError, "lines is not read"),
    "an open quote": ("name: '" + "a" * LONG, SchemaError, "the quote at its end is missing"),
    "an open quote after escapes": ('name: "' + "\\'" * LONG, SchemaError, "the quote at its end is missing"),
    "a long name": ("a" * LONG, FormatError, 'expected ":" or "{"'),
    "a long number": ("input_dim: " + "9" * LONG, SchemaError, "takes a whole number"),
    "a long hexadecimal number": ("input_dim: 0x" + "f" * LONG, SchemaError, "takes a whole number"),
    "a long octal number": ("input_dim: 0" + "7" * LONG, SchemaError, "takes a whole number"),
    "5,000 digits": ("state { level: " + "9" * 5000 + " }", SchemaError, "takes a whole number"),
    "a long truth value": ("force_backward: " + "1" * LONG, SchemaError, "takes true or false"),
    "a long enum value": ("state { phase: " + "1" * LONG + " }", SchemaError, "takes one of its names"),
    "signs": ("input_dim: " + "-" * LONG, SchemaError, "takes a whole number"),
    "a field 100,000 times": ('name: "a"' * 100_000, SchemaError, "got it a second time"),
    "NUL": ('name: "a" \0', FormatError, r"got '\x00'"),
    "half a pair": ('name: "\ud800"', SchemaError, "not UTF-8"),
    "half a pair as a name": ("\ud800: 1", FormatError, "expected the name of a field"),
    "half a pair in an unknown field": ('foo: "\ud800"', FormatError, "expected a value"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    text, kind, message = REFUSED[case]
    error = within_limits(lambda: parse_text(text, Net, "net.prototxt"))
    assert type(error) is kind
    assert message in str(error)
    assert str(error).startswith("net.prototxt")
    assert len(str(error)) < 500 + len(text) * (case == "a long name")


READ = {
    "a long string": 'name: "' + "a" * LONG + '"',
    "a string of escapes": 'name: "' + "\\n" * 500_000 + '"',
    "a string in many pieces": "name:" + '"a"' * 300_000,
    "an unknown string in many pieces": "foo:" + '"a"' * 300_000,
    "a long comment": "#" * LONG,
    "many comments": "#\n" * 400_000,
    "blanks": " " * (MAX_BYTES - 1),
    "a long list": "input_shape { dim: [" + "1," * 200_000 + "1] }",
    "many layers": "layer{}" * 100_000,
    "many unknown fields": "a:1 " * 50_000,
    "an unknown field deep down": "a{" * 99 + "b:1 " * 50_000 + "}" * 99,
}


@pytest.mark.parametrize("case", READ)
def test_read_all_the_same(case: str) -> None:
    assert within_limits(lambda: parse_text(READ[case], Net)) is None


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ('name: "a"\n'.encode("utf-16"), "looks like UTF-16"),
        ('name: "a"\n'.encode("utf-16-le"), "looks like UTF-16"),
        ('name: "a"\n'.encode("utf-16-be"), "looks like UTF-16"),
        ("# comment\nname: 'a'".encode("utf-16-le"), "looks like UTF-16"),
        (caffe_pb2.NetParameter(name="net", layer=[caffe_pb2.LayerParameter(name="a")]).SerializeToString(), "binary"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "got an HDF5 file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "got a binary file"),
        (bytes(1000), "got a binary file"),
        (b"\0\0\1a " * 800_000, "got a binary file"),
        (b" " * (MAX_BYTES + 1), "more than 4 MiB"),
    ],
    ids=[
        "UTF-16",
        "UTF-16-LE",
        "UTF-16-BE",
        "UTF-16 comment",
        "caffemodel",
        "HDF5",
        "PNG",
        "zeros",
        "many zeros",
        "too long",
    ],
)
def test_other_files(data: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    path.write_bytes(data)
    error = within_limits(lambda: read_text(path, Net))
    assert type(error) is FormatError
    assert message in error.message
    assert error.file == str(path)
    assert error.hint


def test_a_real_caffemodel() -> None:
    path = shared_file("models/lenet_v1/lenet_iter_10000.caffemodel")
    error = within_limits(lambda: read_text(path, Net))
    assert "got a binary file" in str(error)
    assert "beside the prototxt" in str(error)


def test_a_file_of_a_gibibyte(tmp_path: Path) -> None:
    path = tmp_path / "net.prototxt"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    error = within_limits(lambda: read_text(path, Net))
    assert "more than 4 MiB" in str(error)


def test_paths(tmp_path: Path) -> None:
    (tmp_path / "deploy.prototxt").write_text("")
    cases = [
        (tmp_path, "expected a file, got a directory", "name a file in it"),
        (tmp_path / "depoly.prototxt", "there is no such file", 'did you mean "deploy.prototxt"?'),
        (tmp_path / "nowhere" / "deploy.prototxt", "there is no such file", "no folder"),
        (tmp_path / "deploy.prototxt" / "x", "Not a directory", None),
        (tmp_path / "a\0b", "null", None),
        (tmp_path / ("x" * 300), "File name too long", None),
    ]
    for path, message, hint in cases:
        with pytest.raises(FormatError, match=message) as info:
            read_text(path, Net)
        assert hint is None or hint in str(info.value.hint)
        assert info.value.file == str(path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read every file")
def test_an_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "deploy.prototxt"
    path.touch(0o000)
    with pytest.raises(FormatError, match="Permission denied"):
        read_text(path, Net)


def test_cut_at_every_character() -> None:
    from tests.attacks.mutate_prototxt import NET, attempt

    for cut in range(len(NET)):
        error_of(lambda end=cut: attempt(NET[:end]))


def test_mutated() -> None:
    # The whole: python -m tests.attacks.mutate --prototxt 20000
    outcome = prototxts(500)
    assert outcome.accepted > 50
    assert sum(outcome.refused.values()) > 250
