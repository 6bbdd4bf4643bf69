"""install(): `import caffe` is the drop-in, module by module, and never goes over another caffe."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

import caffecompat.pycaffe
import caffecompat.schema.caffe_pb2
from caffecompat.errors import CaffeCompatError
from caffecompat.legacy.drop_in import SHIM_MARK, install, uninstall


@pytest.fixture(autouse=True)
def undone():
    yield
    uninstall()


def test_modules_are_the_very_same():
    install()
    import caffe
    import caffe.io
    import caffe.net_spec
    from caffe.proto import caffe_pb2

    assert caffe is caffecompat.pycaffe
    assert caffe.io is sys.modules["caffecompat.pycaffe.io"]
    assert caffe.net_spec is caffecompat.pycaffe.net_spec
    assert caffe_pb2 is caffecompat.schema.caffe_pb2
    assert importlib.import_module("caffe.proto.caffe_pb2") is caffe_pb2
    assert importlib.import_module("caffecompat.pycaffe.proto.caffe_pb2") is caffe_pb2
    # What a module knows of itself stays what it was.
    assert caffe.__spec__.name == caffe.__name__ == "caffecompat.pycaffe"
    assert caffe.io.__spec__.name == "caffecompat.pycaffe.io"


def test_what_the_drop_in_lacks_is_missed_by_its_own_name():
    install()
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'caffe\.nosuch'"):
        importlib.import_module("caffe.nosuch")


def test_once_more_does_nothing_and_it_can_be_undone():
    before = list(sys.meta_path)
    install()
    install()
    assert len(sys.meta_path) == len(before) + 1
    importlib.import_module("caffe.io")
    uninstall()
    assert sys.meta_path == before
    assert not [name for name in sys.modules if name.split(".")[0] == "caffe"]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("caffe")


def test_never_by_itself():
    code = "import sys, caffecompat.pycaffe\ntry:\n    import caffe\nexcept ImportError:\n    print('none')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "none\n"


def package(folder, text="", **files):
    (folder / "caffe").mkdir()
    (folder / "caffe" / "__init__.py").write_text(text)
    for name, content in files.items():
        (folder / "caffe" / f"{name}").write_text(content)
    return folder / "caffe" / "__init__.py"


def test_not_over_another_that_can_be_found(tmp_path, monkeypatch):
    init = package(tmp_path, **{"pycaffe.py": "", "_caffe.so": ""})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CaffeCompatError, match="no other caffe") as caught:
        install()
    assert str(init) in str(caught.value)
    (tmp_path / "caffe" / "pycaffe.py").unlink()
    with pytest.raises(CaffeCompatError, match="no other caffe"):
        install()


def test_not_over_another_that_is_imported(tmp_path, monkeypatch):
    init = package(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("caffe")
    try:
        with pytest.raises(CaffeCompatError, match="imported already") as caught:
            install()
    finally:
        del sys.modules["caffe"]
    assert str(init) in str(caught.value)


@pytest.mark.parametrize("kind", ["unbuilt", "shim", "folder"])
def test_what_is_no_caffe_is_no_obstacle(tmp_path, monkeypatch, kind):
    if kind == "unbuilt":
        package(tmp_path, **{"pycaffe.py": "from ._caffe import Net"})
    elif kind == "shim":
        package(tmp_path, f'"""{SHIM_MARK}."""')
    else:
        (tmp_path / "caffe" / "src").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    install()
    assert importlib.import_module("caffe") is caffecompat.pycaffe
