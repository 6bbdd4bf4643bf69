"""Where a net came from: every export carries the hashes of its sources, the licence and the preprocessing record."""

from __future__ import annotations

import hashlib
import json
import zipfile
from importlib.util import find_spec

import pytest
from click.testing import CliRunner
from google.protobuf import text_format

import caffecompat
from caffecompat.cli.main import main
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.export import SUFFIXES, export
from caffecompat.schema import caffe_pb2
from tests.support import make_net

NET = """
name: "small"
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 6 dim: 6 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 3 } }
"""
LICENSE = "Licence of nobody 1.5"
NEEDED = {".onnx": "onnx", ".xml": "openvino", ".pte": "executorch", ".caffemodel.h5": "h5py"}


def contents(path):
    """A file's bytes, or of an archive those of its members."""
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return b"\n".join(archive.read(name) for name in archive.namelist())


@pytest.mark.parametrize(
    "suffix", [pytest.param(suffix, marks=[pytest.mark.slow] * (suffix == ".pte")) for suffix in SUFFIXES]
)
def test_every_format(tmp_path, monkeypatch, suffix):
    if suffix in NEEDED and find_spec(NEEDED[suffix]) is None:
        pytest.skip(f"needs {NEEDED[suffix]}")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deploy.prototxt").write_text(NET)
    export(make_net(NET), "trained.caffemodel")
    (tmp_path / "trained.preprocessing.json").unlink()
    given = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert set(given) == {"deploy.prototxt", "trained.caffemodel"}
    asked = ["deploy.prototxt", "--weights", "trained.caffemodel", "--license", LICENSE, "--mean", "104,117,123.25"]
    unverified = ["--no-verify"] if suffix in (".onnx", ".xml", ".pte", ".py") else []
    done = CliRunner().invoke(main, ["convert", *asked, *unverified, "-o", f"made{suffix}"])
    assert done.exit_code == 0, done.output
    text = b"\n".join(contents(path) for path in tmp_path.iterdir() if path.name.startswith("made"))
    for wanted in (LICENSE, "123.25", caffecompat.__version__, *given, *given.values()):
        assert wanted.encode() in text, wanted


@pytest.mark.parametrize("suffix", [".caffemodel", ".caffemodel.h5"])
def test_the_file_beside(tmp_path, suffix):
    """One object for people and for `from_json`, which takes older ones, of the record alone."""
    if suffix in NEEDED:
        pytest.importorskip(NEEDED[suffix])
    (tmp_path / "source").write_bytes(b"abc")
    record = Preprocessing(channels="rgb", mean=(1.5,))
    written = export(make_net(NET), tmp_path / f"n{suffix}", preprocessing=record, sources=[tmp_path / "source"])
    assert [path.name for path in written] == [f"n{suffix}", "n.preprocessing.json"]
    beside = json.loads(written[1].read_text())
    # NIST's example of SHA-256.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert beside["sources"] == {"source": digest}
    assert (beside["license"], beside["caffecompat_version"]) == ("not stated", caffecompat.__version__)
    assert Preprocessing.from_json(written[1].read_text()) == record
    for key in ("sources", "license", "caffecompat_version"):
        del beside[key]
    assert beside == json.loads(record.to_json())


def test_a_licence_of_several_lines_stays_a_comment(tmp_path):
    export(make_net(NET), tmp_path / "n.prototxt", license='one\nname: "two"\r\nthree\u2028')
    text = (tmp_path / "n.prototxt").read_text()
    assert '\n# license: one\n# name: "two"\n# three\n' in text
    assert text_format.Parse(text, caffe_pb2.NetParameter()).name == "small"
