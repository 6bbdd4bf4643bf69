"""`caffecompat python`: scripts of both Pythons, run as `python` would."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """\
import os, sys
import sibling
from package import inner
print __name__, sys.argv[1:], os.path.basename(__file__), sys.path[0] == os.path.dirname(os.path.abspath(__file__))
print sibling.half(5), inner.NAME, 7 / 2
"""


def run(*arguments, code=0, **options):
    command = [sys.executable, "-m", "caffecompat", "python", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)
    assert done.returncode == code, done.stderr
    return done


@pytest.fixture
def script(tmp_path):
    (tmp_path / "sibling.py").write_text("import sibling3\ndef half(x):\n    print 'half of', x\n    return x / 2\n")
    (tmp_path / "sibling3.py").write_text("x = 5 / 2\nassert x == 2.5\n")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    # Found beside it, as Python 2 did, and no module of the standard library.
    (tmp_path / "package" / "inner.py").write_text("import string\nNAME = string.NAME\nprint 'inner'\n")
    (tmp_path / "package" / "string.py").write_text("NAME = 'beside'\n")
    path = tmp_path / "script.py"
    path.write_text(SCRIPT)
    return path


def test_a_script_of_python_2_and_modules_beside_it(script):
    before = {path: path.read_bytes() for path in script.parent.rglob("*") if path.is_file()}
    done = run(script, "a", "-b", "--help", "--py2")
    assert done.stdout == "inner\n__main__ ['a', '-b', '--help', '--py2'] script.py True\nhalf of 5\n2 beside 3\n"
    assert done.stderr == ""
    assert {path: path.read_bytes() for path in before} == before
    # Not even compiled files of what was translated.
    assert not list(script.parent.rglob("sibling.*.pyc"))


def test_show_translation_shows_lines_of_the_script_and_of_its_modules(script):
    done = run("--show-translation", script)
    assert f"--- {script} (Python 2)\n+++ {script} (as it runs)" in done.stderr
    assert "-print sibling.half(5), inner.NAME, 7 / 2\n" in done.stderr
    assert "+print(sibling.half(5), inner.NAME, __py2__.div(7, 2))\n" in done.stderr
    assert f"--- {script.parent / 'sibling.py'} (Python 2)" in done.stderr
    assert "sibling3" not in done.stderr.replace("import sibling3", "")
    assert done.stdout.endswith("2 beside 3\n")


def test_a_script_of_python_3_runs_as_it_is_unless_it_is_said_to_be_of_python_2(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("print(7 / 2)\n")
    assert run(script).stdout == "3.5\n"
    assert run("--py2", script).stdout == "3\n"
    assert run("-", input="import sys\nprint 7 / 2, sys.argv\n").stdout == "3 ['-']\n"


def test_import_caffe_is_the_drop_in_and_what_does_not_ask_for_it_does_without_torch(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nprint 'torch' in sys.modules\nimport caffe\nfrom caffe.proto import caffe_pb2\n"
        "import caffecompat.pycaffe\nprint caffe is caffecompat.pycaffe, caffe_pb2.NetParameter(name='a').name\n"
    )
    assert run(script).stdout == "False\nTrue a\n"


def test_names_that_libraries_dropped(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import numpy as np\nimport xml.etree.cElementTree as ET\n"
        "print(np.float is float, np.int(3.9), np.product([2, 3]), np.Inf, np.asscalar(np.array([2])))\n"
        "print(np.zeros(1, dtype=np.bool).dtype, ET.fromstring('<a/>').tag)\n"
        "print(np.fromstring(np.int16([1, 2]).tostring(), np.int16), np.fromstring('3 4', int, sep=' '))\n"
    )
    assert run("-W", script, code=2).stdout == ""
    assert run(script).stdout == "True 3 6 inf 2\nbool a\n[1 2] [3 4]\n"


def test_an_exception_is_shown_as_the_scripts_own(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("def f(x):\n    print 'called'\n    return x / 0\n\nf(1)\n")
    done = run(script, code=1)
    assert done.stdout == "called\n"
    assert done.stderr == (
        "Traceback (most recent call last):\n"
        f'  File "{script}", line 5, in <module>\n    f(1)\n'
        f'  File "{script}", line 3, in f\n    return x / 0\n'
        "ZeroDivisionError: integer division or modulo by zero\n"
    )


@pytest.mark.parametrize(("text", "code", "said"), [("exit(3)", 3, ""), ("import sys; sys.exit('no')", 1, "no\n")])
def test_exits_pass(tmp_path, text, code, said):
    (tmp_path / "script.py").write_text(text)
    assert run(tmp_path / "script.py", code=code).stderr == said


def test_a_package_that_is_missing_is_named(tmp_path):
    (tmp_path / "script.py").write_text("import skimage.io\n")
    assert "pip install scikit-image\n" in run(tmp_path / "script.py", code=1).stderr


def test_faults_are_told_without_a_traceback(tmp_path):
    assert "no.py: cannot be read" in run(tmp_path / "no.py", code=1).stderr
    (tmp_path / "bad.py").write_text("x = 1\ny = = 2\n")
    assert f"{tmp_path}/bad.py:2: neither Python 3 nor Python 2" in run(tmp_path / "bad.py", code=1).stderr
    (tmp_path / "caffe.py").write_text("")
    (tmp_path / "script.py").write_text("import caffe\n")
    done = run(tmp_path / "script.py", code=1)
    assert done.stderr.startswith(f"Error: expected no other caffe, got the one at {tmp_path}/caffe.py")


def test_opencv_has_its_importer_of_caffe_files(tmp_path):
    """OpenCV 5 dropped it; a script that imports cv2 gets it back, one that does not needs no torch for it."""
    prototxt = 'input: "data" input_shape { dim: 1 dim: 3 } layer { name: "p" type: "Softmax" bottom: "data" top: "p" }'
    (tmp_path / "net.prototxt").write_text(prototxt)
    path = tmp_path / "script.py"
    path.write_text("import sys\nimport cv2\nprint(cv2.dnn.readNetFromCaffe(sys.argv[1]).getLayerNames())\n")
    assert run(path, tmp_path / "net.prototxt").stdout == "('p',)\n"
    path.write_text("import sys\nprint('torch' in sys.modules, 'cv2' in sys.modules)\n")
    assert run(path).stdout == "False False\n"


def test_pandas_takes_the_key_of_a_file_by_its_place(tmp_path):
    (tmp_path / "pandas.py").write_text(
        "class DataFrame:\n    def to_hdf(self, path_or_buf, *, key, mode='a', index=True):\n"
        "        print(path_or_buf, key, mode, index)\n\nclass Series(DataFrame):\n    pass\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        "import pandas as pd\npd.DataFrame().to_hdf('f.h5', 'df', mode='w')\npd.DataFrame().to_hdf('f.h5', key='df')\n"
        "pd.Series().to_hdf('f.h5', 'df', 'w', index=False)\n"
    )
    assert run(script).stdout == "f.h5 df w True\nf.h5 df a True\nf.h5 df w False\n"
