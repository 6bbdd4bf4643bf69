"""`caffecompat shim`: programs and a package where old scripts look for them."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys

import pytest
from click.testing import CliRunner

from caffecompat.cli.main import main
from tests.support import shared_file


def shim(*arguments, code=0):
    done = CliRunner().invoke(main, ["shim", *map(str, arguments)])
    assert done.exit_code == code, done.stderr
    return done.stdout + done.stderr


def call(*arguments, **options):
    return subprocess.run([*map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, **options)


def test_what_is_written_runs(tmp_path):
    tree = tmp_path / "a tree"
    assert "wrote 32 files" in shim(tree)
    tools = tree / "build" / "tools"
    for name in (
        "caffe",
        "caffe.bin",
        "convert_annoset",
        "convert_imageset.bin",
        "compute_image_mean",
        "get_image_size",
    ):
        assert stat.S_IMODE((tools / name).stat().st_mode) & 0o500 == 0o500
    # From a folder whose files have the names of modules.
    (tmp_path / "click.py").write_text("raise SystemExit('the wrong click')")
    done = call(tools / "caffe", "-help", cwd=tmp_path)
    assert done.stdout.startswith("Usage: caffecompat caffe")
    (tmp_path / "names").write_text("cat\n")
    done = call(tools / "create_label_map", "names", "map", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert 'name: "cat"' in (tmp_path / "map").read_text()
    assert call(tools / "train_net").returncode == 2
    # Once more it replaces its own.
    assert "wrote 32 files" in shim(tree)


def test_python_caffe_is_the_drop_in(tmp_path):
    shim(tmp_path, "--dialect", "bvlc")
    code = (
        "import caffe, caffe.io\nfrom caffe.proto import caffe_pb2\nimport caffecompat.pycaffe as ours\n"
        "import caffecompat.schema.caffe_pb2 as pb\nfrom caffecompat.pycaffe._state import STATE\n"
        "print(caffe is ours, caffe.io is ours.io, caffe_pb2 is pb, STATE.dialect)"
    )
    done = call(sys.executable, "-c", code, env={**os.environ, "PYTHONPATH": str(tmp_path / "python")})
    assert done.stdout == "True True True bvlc\n", done.stderr
    # A Python without caffecompat is told which one has it.
    done = call(
        sys.executable, "-S", "-E", "-c", f"import sys; sys.path[:0] = [{str(tmp_path / 'python')!r}]; import caffe"
    )
    assert f"run this script with {sys.executable}" in done.stderr


def test_the_trees_python(tmp_path):
    shim(tmp_path)
    python = tmp_path / "build" / "tools" / "python"
    (tmp_path / "script.py").write_text("import sys\nprint 7 / 2, sys.argv[1:]\n")
    assert call(python, tmp_path / "script.py", "-x").stdout == "3 ['-x']\n"
    assert call(python, "-u", tmp_path / "script.py", "-x").stdout == "3 ['-x']\n"
    assert call(python, "-", "-x", input="import sys\nprint 7 / 2, sys.argv").stdout == "3 ['-', '-x']\n"
    assert call(python, "-c", "print(7 / 2)").stdout == "3.5\n"


def test_what_is_there_stays(tmp_path):
    caffe = tmp_path / "build" / "tools" / "caffe"
    init = tmp_path / "python" / "caffe" / "__init__.py"
    for path in (caffe, init):
        path.parent.mkdir(parents=True)
        path.write_text("theirs")
    said = shim(tmp_path, code=1)
    assert f"{caffe}: is there already and was not written by this command and 1 more; nothing was changed" in said
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == [caffe, init]

    shim(tmp_path, "--force")
    assert "caffecompat shim" in caffe.read_text()
    assert caffe.with_name("caffe.before-shim").read_text() == "theirs"
    assert init.with_name("__init__.py.before-shim").read_text() == "theirs"
    # What was kept is not replaced by what comes later.
    caffe.write_text("theirs again")
    assert "caffe.before-shim, which is there already" in shim(tmp_path, "--force", code=1)
    assert caffe.read_text() == "theirs again"


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    assert "cannot be made" in shim(tmp_path / "file", code=1)


# As SSD's create_annoset.py calls it: relative to its own place, with flags of Python's words.
CREATE = """\
import os, subprocess, sys
from caffe.proto import caffe_pb2
root = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
command = ('{}/build/tools/convert_annoset --anno_type=detection --label_type=xml --label_map_file={} --check_label={}'
           ' --min_dim={} --backend={} --shuffle={} --encode_type={} --encoded={} --gray={} {} {} {}')
command = command.format(root, sys.argv[1], True, 0, 'lmdb', False, 'jpg', True, False, *sys.argv[2:])
print command.split()[1]
sys.exit(subprocess.Popen(command.split(), stdout=subprocess.PIPE).wait())
"""


@pytest.mark.slow
def test_scripts_that_make_databases(tmp_path):
    shapes = shared_file("data/shapes")
    shim(tmp_path)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "create.py").write_text(CREATE)
    shutil.copy(shapes / "test_list.txt", tmp_path)
    python = tmp_path / "build" / "tools" / "python"
    arguments = (shapes / "labelmap.prototxt", f"{shapes}/", "test_list.txt", "db")
    done = call(python, "scripts/create.py", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "--anno_type=detection\n"
    assert "48 records, 101 boxes" in done.stderr
