"""`converters/record_reference.py` runs where an old Caffe does: under Python 2.7 as well."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.verify.python2 import lacking

RECORDER = Path(__file__).resolve().parents[2] / "converters" / "record_reference.py"
HEAD = "# coding: utf-8\nfrom __future__ import print_function\n"


def test_python_2_7_has_all_of_it():
    assert lacking(RECORDER.read_bytes()) == []


@pytest.mark.parametrize(
    "text",
    [
        'x = f"{1}"',
        "x: int = 1",
        "def f(a: int): pass",
        "def f() -> int: pass",
        "def f(*, a): pass",
        "def f(a, /): pass",
        "def f(*a,): pass",
        "def f():\n    x = 1\n    def g():\n        nonlocal x",
        "def f():\n    yield from ()",
        "async def f(): pass",
        "(x := 1)",
        "a @ b",
        "f(*a, b)",
        "f(*a, *b)",
        "f(**a, **b)",
        "f(**a, b=1)",
        "f(\n    1,\n    **a,  # all\n)".replace("  # all", ""),
        "[*a]",
        "a, *b = c",
        "{**a}",
        "raise A from b",
        "class A(B, metaclass=C): pass",
        "x = ...",
        "x = 1_000",
        'x = rb"1"',
        "super().f()",
        "print(1, flush=True)",
        'open("a", encoding="utf-8")',
        "try:\n    pass\nexcept FileNotFoundError:\n    pass",
        "from __future__ import annotations",
    ],
)
def test_what_python_2_7_lacks_is_found(text):
    assert len(lacking((HEAD + text + "\n").encode())) == 1


def test_what_hangs_on_the_head_of_the_file_is_found():
    assert lacking(b"print(1)\n") == ["1: print as a function"]
    assert lacking('x = "\u00e9"\n'.encode()) == ["1: other characters than ASCII, and no coding line"]


@pytest.mark.parametrize(
    "text",
    [
        "print(1, file=f)",
        "f(1, *a, **b)",
        "f(*a, b=1)",
        "def f(a, b=1, *c, **d): pass",
        'x = "\u00e9", u"a", b"a", br"a", 0o17',
        "with open(a) as b, open(c) as d: pass",
        "x = {a: b for a in c}, {a for a in b}",
    ],
)
def test_what_python_2_7_has_is_left(text):
    assert lacking((HEAD + text + "\n").encode()) == []


STUB_CAFFE = """
TEST = 1

def set_mode_cpu():
    pass

class Blob(object):
    def __init__(self, *shape):
        self.reshape(*shape)

    def reshape(self, *shape):
        self.shape, self.data = shape, {}

class Net(object):
    inputs = ["data"]

    def __init__(self, prototxt, weights, phase):
        assert (prototxt, weights, phase) == ("net.prototxt", "net.caffemodel", TEST)
        self.blobs = {"data": Blob(2, 3), "prob": Blob(2, 5)}

    def forward(self):
        assert self.blobs["data"].data[Ellipsis] == [-1, 1, self.blobs["data"].shape]
        self.blobs["prob"].data = "computed"
"""
STUB_NUMPY = """
float32 = "float32"

class random(object):
    class RandomState(object):
        def __init__(self, seed):
            assert seed == 1

        def uniform(self, low, high, shape):
            return [low, high, shape]

def array(value, dtype=None):
    assert dtype == float32
    return value

def savez(file, **arrays):
    for name in sorted(arrays):
        file.write((name + ": " + str(arrays[name]) + "\\n").encode("ascii"))
"""


def test_under_python_2_7_itself(tmp_path):
    """With a caffe and a numpy of a few lines, for a Python 2.7 has seldom either."""
    program = shutil.which("python2.7")
    if program is None or subprocess.run([program, "--version"], capture_output=True, check=False).returncode:
        pytest.skip("needs python2.7, which is not installed")
    shutil.copy(RECORDER, tmp_path)
    (tmp_path / "caffe.py").write_text(STUB_CAFFE)
    (tmp_path / "numpy.py").write_text(STUB_NUMPY)
    command = [program, "-B", "record_reference.py", "net.prototxt", "net.caffemodel", "reference.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.stdout == "reference.npz: 2 blobs\n"
    kept = (tmp_path / "reference.npz").read_text().splitlines()
    assert kept == ["blob/prob: computed", "input/data: {Ellipsis: [-1, 1, (2, 3)]}"]
