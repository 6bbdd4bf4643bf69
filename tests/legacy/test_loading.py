"""Which modules are changed when they are loaded, and what the code of old scripts is given."""

from __future__ import annotations

import subprocess
import sys
from array import array
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest

from caffecompat.legacy.loading import compile_text, run
from caffecompat.legacy.old_methods import old_method

# Bears a mark, and no Python 2 understands its call of print.
MARKED = "import sys\n\ndef f(x):\n    return x.iteritems()\n\nprint('a', file=sys.stdout)\n"


def test_what_python_2_does_not_understand_is_python_3s():
    assert compile_text(MARKED, "marked.py").translation is None
    assert compile_text(MARKED.replace(", file=sys.stdout", ""), "marked.py").translation is not None


def test_what_pip_put_into_a_folder_is_left_alone(tmp_path):
    (tmp_path / "script.py").write_text("import installed, single, users\n")
    text = "d = {}\ntry:\n    d.has_key(1)\nexcept AttributeError:\n    print(__name__)\nx = 7 / 2\nprint(x)\n"
    extra = tmp_path / "extra"
    for path in ("extra/installed/__init__.py", "extra/single.py", "extra/users.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    (extra / "some-1.0.dist-info").mkdir()
    (extra / "some-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: some\nVersion: 1.0\n")
    (extra / "some-1.0.dist-info" / "RECORD").write_text("installed/__init__.py,,\nsingle.py,,\n")
    done = subprocess.run(
        [sys.executable, "-m", "caffecompat", "python", str(tmp_path / "script.py")],
        env={"PYTHONPATH": str(extra), "PATH": "", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "installed\n3.5\nsingle\n3.5\n3\n"


@pytest.mark.parametrize("lines", ["", "print 'of Python 2'\n"])
def test_dropped_methods(lines, capsys):
    text = lines + (
        "import numpy as np\nfrom xml.etree import ElementTree as ET\n"
        "class Own:\n    def __f(self):\n        return np.int32([1, 2]).tostring()\n"
        "    def f(self):\n        return self.__f()\n    def tostring(self, x):\n        return x\n"
        "a = np.arange(6.0).reshape(2, 3)\na.itemset(0, 5.0)\na.itemset((1, 1), 7.0)\n"
        "found = Own().f(), Own().tostring('own'), ET.tostring(ET.fromstring('<a><b/></a>').getchildren()[0])\n"
    )
    source = compile_text(text, "old.py")
    module = ModuleType("old")
    run(source, module)
    assert source.asks_old
    assert module.found == (b"\1\0\0\0\2\0\0\0", "own", b"<b />")
    assert module.a.tolist() == [[5, 1, 2], [3, 7, 5]]


def test_old_methods_of_each_owner():
    values = np.float32([[3, 1], [2, 8]])
    assert old_method(values, "tostring")("F") == values.T.tobytes()
    assert old_method(np.float64(2), "tostring")() == np.float64(2).tobytes()
    assert old_method(array("b", [1, 2]), "tostring")() == b"\1\2"
    assert old_method(values, "ptp")() == 7
    assert old_method(values, "ptp")(axis=0).tolist() == [1, 7]
    assert old_method(np.int16([1]), "newbyteorder")().tolist() == [256]
    values = values.copy()
    old_method(values, "itemset")(1, 0, 9)
    old_method(values[:1, :1], "itemset")(4)
    assert values.tolist() == [[4, 1], [9, 8]]
    assert [child.tag for child in old_method(ElementTree.fromstring("<a><b/><c/></a>"), "getchildren")()] == ["b", "c"]
    for owner in (1, "x", object()):
        with pytest.raises(AttributeError, match=f"{type(owner).__name__}' object has no attribute 'tostring'"):
            old_method(owner, "tostring")


def test_sources_that_ask_for_none_are_compiled_as_they_are():
    source = compile_text("x = [1].sort()\nclass A: pass\nA.tostring = 3\ny = A.__dict__\n", "new.py")
    assert (source.translation, source.asks_old) == (None, False)
