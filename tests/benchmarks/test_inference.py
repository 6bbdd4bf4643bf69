"""The benchmarks of inference run, on a net of two layers; how fast anything is, no test asks."""

from __future__ import annotations

import json
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.support import make_net

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "last" type: "Convolution" bottom: "conv" top: "last"
  convolution_param { num_output: 2 kernel_size: 1 weight_filler { type: "xavier" } } }
"""


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def model():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))


def test_programs_are_imported():
    names = sorted(path.stem for path in BENCHMARKS.glob("*.py"))
    code = f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); import " + ", ".join(names)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=BENCHMARKS.parent, check=False, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.slow
def test_engines_and_peers_are_compared_and_timed(benchmarks, tmp_path, capsys):
    import inference
    from inference_nets import Case

    (tmp_path / "net.prototxt").write_text(NET)
    case = Case("net.prototxt", ("last",), model, (3, 8, 8), batch=2)
    programs = ["ours: torch", "ours: openvino", "openvino", "onnxruntime"]
    arguments = Namespace(
        shared=tmp_path,
        example=None,
        threads=1,
        peers_python=Path(sys.executable),
        programs=programs,
        rounds=1,
        json=None,
    )
    (tmp_path / "files").mkdir()
    rows = inference.measure("tiny", case, arguments, tmp_path / "files")
    assert {row["program"] for row in rows} == set(programs)
    assert all(row["fault"] == "" and row["difference"] < 1e-5 and row["ms"] > 0 for row in rows)
    inference.show("tiny", case, rows)
    shown = capsys.readouterr().out
    assert shown.startswith("tiny, 2x3x8x8\n")
    assert all(name in shown for name in (*programs, "bar 1.0"))


def test_a_program_that_is_wrong_or_ends_is_not_timed(benchmarks, tmp_path):
    import inference_check
    from inference_programs import Program, Worker

    wanted = {"last": torch.ones(1, 2).numpy()}
    assert inference_check.difference(wanted, {"last": 1.5 * wanted["last"]}) == 0.5
    assert inference_check.difference(wanted, {}) == float("inf")
    worker = Worker(Program("no", Path(sys.executable), "float32", False, {"program": "no"}), {"threads": 1})
    worker.close()
    assert worker.fault == "KeyError: 'no'"


@pytest.mark.slow
def test_memory_and_seconds_are_read(benchmarks, tmp_path):
    import cold_start
    import memory

    from caffecompat.export import export

    net = make_net(NET)
    (tmp_path / "net.prototxt").write_text(NET)
    export(net, tmp_path / "net.caffemodel")
    place = {
        "side": 8,
        "root": str(BENCHMARKS.parent),
        "prototxt": str(tmp_path / "net.prototxt"),
        "weights": str(tmp_path / "net.caffemodel"),
    }
    code = memory.READING.format(**place) + memory.OURS.format(**place, engine="net") + memory.END
    rss, pss = memory.growth(sys.executable, code)
    assert 0 <= pss <= rss < 200
    taken, said = cold_start.seconds([sys.executable, "-c", "print('said')"])
    assert (said, taken > 0) == ("said\n", True)
    forward = cold_start.FORWARD.format(**place).replace("300, 300", "8, 8")
    assert json.loads(cold_start.seconds([sys.executable, "-c", forward])[1]) > 0
