"""The wheel: what is in it, and that it works without the checkout."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    code = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=CHECKOUT, check=True, capture_output=True, text=True
    )
    return folder / done.stdout.splitlines()[-1]


def test_contents(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"caffecompat"}
    assert len(tops) == 2
    for name in ("caffecompat/py.typed", "caffecompat/schema/caffe.desc", "caffecompat/schema/caffe_pb2.pyi"):
        assert name in names
    committed = {path.name for path in (CHECKOUT / "converters").glob("*.py")}
    shipped = {name.rsplit("/", 1)[1] for name in names if "/extra_metadata/converters/" in name}
    assert shipped == committed
    assert len(committed) >= 2
    assert any(name.endswith("licenses/LICENSE") for name in names)
    strays = [name for name in names if name.startswith("caffecompat/") and not name.endswith((".py", ".pyi", ".desc"))]
    assert strays == ["caffecompat/py.typed"]


def test_every_module_is_shipped(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    modules = {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "caffecompat").rglob("*.py")}
    assert modules <= names


@pytest.mark.slow
def test_runs_without_the_checkout(wheel, tmp_path):
    site = tmp_path / "site"
    zipfile.ZipFile(wheel).extractall(site)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import caffecompat; assert sys.argv[1] in caffecompat.__file__\n"
        "from caffecompat.cli.main import main; main(sys.argv[2:])"
    )

    def run(*arguments):
        command = [sys.executable, "-I", "-c", code, str(site), *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    assert "caffecompat " in run("--version")
    listed = run("recipes")
    assert "fc_to_conv" in listed
    assert "bgr_to_rgb" in listed
    assert str(site) in listed


def test_extras_are_quoted():
    """Some shells take the brackets of an extra for a pattern."""
    files = [*(CHECKOUT / "caffecompat").rglob("*.py"), *(CHECKOUT / "docs").rglob("*.md"), CHECKOUT / "README.md"]
    bare = re.compile(r"pip install [^'\"\n]*\w\[")
    assert [f"{path.relative_to(CHECKOUT)}: {one}" for path in files for one in bare.findall(path.read_text())] == []
