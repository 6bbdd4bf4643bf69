"""ExecuTorch programs: texts, names, what runs them, detectors, and that nothing is printed or logged besides."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, UnsupportedError, UsageError
from caffecompat.export import export
from caffecompat.export.executorch import exporting
from caffecompat.export.executorch.exporting import export_executorch
from caffecompat.export.executorch.lowering import XNNPACK
from caffecompat.export.executorch.runtime import Session
from caffecompat.export.executorch.tracing import left_out, program_outputs
from tests.export.onnx_cases import assert_same, run_net
from tests.export.test_onnx import FC, NET, values
from tests.export.test_pt2 import detector
from tests.support import make_net, shared_file

# XNNPACK takes it for pictures only.
SLOPE = 'layer { name: "prelu" type: "PReLU" bottom: "fc" top: "fc" }'
installed = pytest.mark.skipif(find_spec("executorch") is None, reason="executorch is not installed")
DOCS = Path(__file__).resolve().parents[2] / "docs" / "executorch.md"


def net_of(text=NET):
    torch.manual_seed(3)
    return make_net(text)


def run_program(path, *inputs):
    """The outputs of a program by name, as arrays."""
    session = Session(path.read_bytes())
    names = json.loads(session.texts["outputs"])
    return dict(zip(names, [value.numpy() for value in session.run(inputs)], strict=True))


@installed
@pytest.mark.slow
def test_names_and_texts(tmp_path):
    net = net_of(NET + FC + SLOPE)
    record = Preprocessing(channels="rgb", mean=(1.5, 2.0, 3.0), scale=0.5, labels=('a "<&>\n', "größer"))
    (tmp_path / "w").write_text("weights")
    told, path, handlers = [], tmp_path / "net.pte", list(logging.getLogger().handlers)
    made = export(net, path, preprocessing=record, license="BSD", sources=[tmp_path / "w"], tell=told.append)
    assert made == [path, tmp_path / "net.preprocessing.json"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["net.preprocessing.json", "net.pte", "w"]
    assert re.fullmatch(r"XNNPACK runs the net in \d parts?(; portable are .*)?", told[0])
    assert "prelu" not in told[0]
    assert re.fullmatch(r"in ExecuTorch fc differs by \S+ of its largest magnitude", told[1])
    texts = Session(path.read_bytes()).texts
    assert Preprocessing.from_json(texts["preprocessing"]) == record
    assert Preprocessing.from_json(made[1].read_text()) == record
    assert list(json.loads(texts["sources"])) == ["w"]
    assert (texts["license"], texts["backend"], texts["inputs"]) == ("BSD", "XNNPACK", '["data"]')
    data = values(2, 3, 9, 8)
    assert_same(run_program(path, torch.from_numpy(data)), run_net(net, {"data": data}))
    assert str(Path(caffecompat.__file__).parent).encode() not in path.read_bytes()
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().isEnabledFor(logging.ERROR)
    with pytest.raises(CaffeCompatError, match="ExecuTorch cannot run the program"):
        run_program(path, torch.zeros(3, 3, 9, 8))


@installed
@pytest.mark.slow
def test_what_xnnpack_has_not_portable_operators_run(tmp_path, monkeypatch):
    text = NET.partition("layer {\n")[0] + 'layer { name: "t" type: "Threshold" bottom: "data" top: "t" }'
    told, path = [], tmp_path / "net.pte"
    export_executorch(net_of(text), path, {}, tell=told.append)
    assert told == ["portable operators run the net: XNNPACK has none of its layers"]
    assert Session(path.read_bytes()).texts["backend"] == "portable"

    lower = exporting.lower

    def refuse(exported, backend, texts):
        if backend == XNNPACK:
            raise UnsupportedError("it is Tuesday")
        return lower(exported, backend, texts)

    monkeypatch.setattr(exporting, "lower", refuse)
    net, data = net_of(), values(2, 3, 9, 8)
    export_executorch(net, path, {}, tell=told.append)
    assert told[1:] == ["portable operators run the net, slowly, since XNNPACK does not: it is Tuesday"]
    assert_same(run_program(path, torch.from_numpy(data)), run_net(net, {"data": data}))


@installed
@pytest.mark.slow
def test_a_program_that_is_not_the_net_is_not_written(tmp_path, monkeypatch):
    path, run = tmp_path / "net.pte", Session.run
    path.write_text("old")
    monkeypatch.setattr(Session, "run", lambda self, inputs: [value + 1 for value in run(self, inputs)])
    told = []
    with pytest.raises(CaffeCompatError, match="the model is not the net: blob 'pool' differs by .* in ExecuTorch"):
        export_executorch(net_of(), path, {}, tell=told.append)
    assert told[0].startswith(
        "portable operators run the net, slowly, since XNNPACK does not: the model is not the net"
    )
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["net.pte"]
    assert export_executorch(net_of(), path, {}, verify=False).comparisons is None
    assert Session(path.read_bytes()).texts["backend"] == "XNNPACK"


@installed
@pytest.mark.slow
def test_a_detector_without_its_suppression(tmp_path):
    """The code of the documentation makes Caffe's rows of what the program gives."""
    net = detector()
    with pytest.warns(CaffeCompatWarning, match="without out; the outputs are conf_f, loc_f, priors"):
        export_executorch(net, tmp_path / "net.pte", {})
    data = values(1, 3, 12, 16)
    blobs = {
        name: torch.from_numpy(value)
        for name, value in run_program(tmp_path / "net.pte", torch.from_numpy(data)).items()
    }
    (code,) = re.findall(r"```python\n(import torch\n.*?)```", DOCS.read_text(), re.DOTALL)
    names: dict = {}
    exec(code, names)
    settings = {"classes": 3, "threshold": 0.4, "nms": 0.45, "top_k": 20, "keep_top_k": 7}
    rows = names["detections"](blobs["loc_f"], blobs["conf_f"], blobs["priors"], **settings)
    wanted = run_net(net, {"data": data})["out"].reshape(-1, 7)
    assert len(wanted) == 7
    np.testing.assert_allclose(rows.numpy(), wanted, rtol=0, atol=1e-5)


def test_what_a_program_has_of_a_detector():
    net = detector()
    assert [spec.name for spec in left_out(net)] == ["out"]
    assert [key.name for key in program_outputs(net)] == ["conf_f", "loc_f", "priors"]
    net = net_of()
    assert not left_out(net)
    assert program_outputs(net) == list(net.graph.outputs)


def test_without_the_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "executorch.runtime", None)
    with pytest.raises(UnsupportedError, match="package executorch, which is not installed") as caught:
        export(net_of(), tmp_path / "net.pte")
    assert "caffecompat[executorch]" in caught.value.hint
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "option", [{"half": True}, {"dynamic_size": True}, {"opset": 18}, {"embed_preprocessing": True}]
)
def test_options_that_it_has_not(tmp_path, option):
    with pytest.raises(UsageError, match="only, not (for|in) .pte"):
        export(net_of(), tmp_path / "net.pte", **option)


@installed
@pytest.mark.slow
def test_a_published_net_on_the_command_line(tmp_path):
    """The recorded answers of another program; and nothing is printed but what caffecompat says."""
    folder = shared_file("models/mtcnn")
    command = [sys.executable, "-m", "caffecompat", "convert", folder / "det3.prototxt"]
    options = ["-w", folder / "det3.caffemodel", "-o", tmp_path / "det3.pte"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    first, runs, *compared, program, beside = done.stderr.splitlines()
    assert (first, runs) == ("tracing the net: some seconds", "XNNPACK runs the net in 1 part")
    assert all(line.startswith("in ExecuTorch ") for line in compared)
    assert program.startswith(f"wrote {tmp_path / 'det3.pte'} (")
    assert beside.startswith(f"wrote {tmp_path / 'det3.preprocessing.json'} (")
    assert len(compared) == 3
    with np.load(folder / "opencv_ref_det3_astronaut.npz") as record:
        found = run_program(tmp_path / "det3.pte", torch.from_numpy(record["input"]))
        assert_same(found, {name: record[name] for name in found}, 1e-4)
