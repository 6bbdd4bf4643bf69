"""The commands on a GPU say what they say on the CPU, and what is recorded."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch

from caffecompat.cli.timing import Timer
from caffecompat.engines import optimize
from caffecompat.errors import UsageError
from caffecompat.export import export
from caffecompat.formats import read_weights
from tests.cli.records import call
from tests.cli.test_caffe import RUN
from tests.cli.test_caffe import folder as folder
from tests.cli.test_classify import digits as digits
from tests.cli.test_classify import lenet
from tests.cli.test_segment import NET as SEGMENTING
from tests.cli.test_segment import picture as picture
from tests.cli.test_segment import weights as weights
from tests.solver.runs import recorded
from tests.support import make_net, shared_file
from tests.zoo.glyphs import write_glyphs

EXPORTED = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 8 dim: 8 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 3 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "prob" type: "Softmax" bottom: "conv" top: "prob" }
"""


def train(*arguments, code=0):
    return call("train", "solver.prototxt", "--log", "none", *arguments, code=code).stderr


@pytest.mark.parametrize("device", [("--gpu", "0"), ("--gpu", "all"), ("--device", "cuda")])
def test_train(folder, device):
    if device == ("--gpu", "all") and torch.cuda.device_count() > 1:
        pytest.skip("starts several processes where there are several GPUs")
    assert torch.cuda.get_device_name(0) in train("--weights", "init.caffemodel", *device)
    trace = recorded(RUN)
    for layer in read_weights(folder / "digits_iter_60.caffemodel").layers:
        for index, blob in enumerate(layer.blobs):
            np.testing.assert_allclose(blob.array, trace[f"param/{layer.name}/{index}"], atol=1e-4, rtol=1e-5)
    told = train("--snapshot", "auto", "--device", "cpu", "--max-iter", 62)
    assert "iteration 62 is reached" in told


@pytest.mark.parametrize("wanted", [("--gpu", "9"), ("--device", "cuda:9"), ("--gpu", "cuda")])
def test_train_on_what_is_not_here(folder, wanted):
    told = train(*wanted, code=2)
    assert "GPUs are here" in told or "neither a number" in told
    assert "Traceback" not in told


def test_workers_on_more_gpus_than_are_here(folder):
    count = torch.cuda.device_count()
    command = [sys.executable, "-m", "caffecompat", "train", "solver.prototxt", "--log", "none"]
    command += ["--gpu", ",".join(map(str, range(count + 1)))]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2, done.stderr
    assert "GPUs are here" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_train_in_less_precision(folder, precision):
    assert "iteration 10 is reached" in train(
        "--weights", "init.caffemodel", "--max-iter", 10, "--precision", precision, "--gpu", 0
    )


def test_test():
    folder = shared_file(f"golden/training/{RUN}")
    with np.load(folder / "trace.npz") as trace:
        accuracy, loss = trace["test/accuracy"], trace["test/loss"]
    common = ("test", "--model", folder / "train_val.prototxt", "--root", shared_file("data"), "--iterations", 7)
    told = call(*common, "--weights", folder / "init.caffemodel", "--gpu", 0).stdout
    assert f"accuracy = {accuracy[0]:.6g}" in told
    assert float(told.split("loss = ")[1].split()[0]) == pytest.approx(loss[0], abs=1e-4)


def test_time(folder):
    waited = []
    original = Timer._now

    def now(timer):
        waited.append(timer.device.type)
        return original(timer)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Timer, "_now", now)
        net = "train_val.prototxt"
        told = call("time", net, "--gpu", 0, "--iterations", 2, "--json", "times.json")
    assert set(waited) == {"cuda"}
    assert "Average Forward pass" in told.stdout
    found = json.loads((folder / "times.json").read_text())
    assert found["device"] == "cuda:0"
    assert all(layer["forward_ms"] > 0 for layer in found["layers"] if layer["type"] == "Convolution")


def test_detect(tmp_path):
    model = shared_file("models/wechat_detect")
    options = ("--scale", 1 / 255, "--input-shape", "1,1,256,384", "--interpolation", "cubic", "--format", "csv")
    given = (model / "detect.prototxt", "-w", model / "detect.caffemodel", shared_file("photos/coffee_qr.png"))
    (ours,), (theirs,) = (
        csv.DictReader(io.StringIO(call("detect", *given, *options, "--device", device).stdout))
        for device in ("cuda", "cpu")
    )
    assert ours["class"] == theirs["class"]
    for name in ("score", "xmin", "ymin", "xmax", "ymax"):
        assert float(ours[name]) == pytest.approx(float(theirs[name]), abs=1e-2)
    told = call("detect", *given, *options, "--device", "cuda", "--engine", "torch", code=2).stderr
    assert "--engine runs on the CPU" in told


def test_classify(digits):
    options = ("--scale", 0.00390625, "--top", 1, "--format", "csv", "--device", "cuda")
    rows = list(csv.DictReader(io.StringIO(call("classify", *lenet(), digits, *options).stdout)))
    assert len(rows) == 12
    assert all(row["class"] == row["image"][-5] for row in rows)


def test_features(digits, tmp_path):
    found = []
    for device in ("cuda", "cpu"):
        output = tmp_path / f"{device}.npz"
        call("features", *lenet(), digits, "--scale", 0.00390625, "--blob", "ip1", "--device", device, "-o", output)
        with np.load(output) as saved:
            found.append(saved["ip1"])
    np.testing.assert_allclose(*found, atol=1e-4 * np.abs(found[1]).max())


def test_segment(weights, picture, tmp_path):
    (tmp_path / "net.prototxt").write_text(SEGMENTING % (26, 34))
    cv2.imwrite(str(tmp_path / "picture.png"), picture)
    found = []
    for device in ("cuda", "cpu"):
        output = tmp_path / f"labels_{device}.png"
        call(
            *("segment", tmp_path / "net.prototxt", "-w", weights, tmp_path / "picture.png"),
            *("--mean", "100,110,120", "--batch", 4, "--device", device, "-o", output),
        )
        found.append(cv2.imread(str(output), cv2.IMREAD_UNCHANGED))
    assert (found[0] == found[1]).mean() > 0.999
    assert len(np.unique(found[1].reshape(-1, 3), axis=0)) > 2


@pytest.mark.parametrize("variant", ["1-shot", "1-shot-fce"])
def test_matching_networks(variant, tmp_path, monkeypatch):
    """With full contexts the LSTM's and attLSTM's layers run there too."""
    monkeypatch.chdir(tmp_path)
    write_glyphs(tmp_path / "db", range(40), 8)
    call("new", "matching-net", "-o", "net", "--data", "db", "--variant", variant)
    solver = tmp_path / "net" / "solver.prototxt"
    text = solver.read_text().replace("max_iter: 40000", "max_iter: 2").replace("test_iter: 200", "test_iter: 1")
    solver.write_text(text)
    call("train", solver, "--gpu", 0, "--log", "none")
    given = ("net/train_val.prototxt", "--weights", "net/matching_net_iter_2.caffemodel", "--episodes", 4, "--seed", 1)
    found = []
    for device in (("--gpu", 0), ()):
        call("evaluate", "fewshot", *given, *device, "--json", "found.json")
        found.append(json.loads((tmp_path / "found.json").read_text())["accuracies"])
    np.testing.assert_allclose(*found, atol=0.1)


@pytest.mark.parametrize("command", ["test", "time"])
def test_a_gpu_that_is_not_here(folder, command):
    net = "train_val.prototxt"
    weights = ("-w", "init.caffemodel") if command == "test" else ()
    told = call(command, net, *weights, "--gpu", 99, code=2).stderr
    assert "GPUs are here" in told
    assert "Traceback" not in told


def test_caffes_own_command_line(folder):
    told = call("caffe", "device_query", "-gpu", "0").stderr
    assert torch.cuda.get_device_name(0) in told
    log = call("caffe", "train", "-solver", "solver.prototxt", "-weights", "init.caffemodel", "-gpu", "0").stderr
    assert "Iteration 0, loss = 2.31221" in log
    assert (folder / "digits_iter_60.caffemodel").exists()


@pytest.mark.parametrize("suffix", [".caffemodel", ".pt", ".safetensors", ".pt2", ".onnx", ".py"])
def test_exports_of_a_net_that_is_there(suffix, tmp_path):
    net = make_net(EXPORTED)
    expected = tmp_path / f"cpu{suffix}"
    export(net, expected)
    export(net.to("cuda"), tmp_path / f"cuda{suffix}")
    assert net.layer("conv").blobs[0].device.type == "cuda"
    if suffix not in (".pt2", ".pt"):
        assert (tmp_path / f"cuda{suffix}").read_bytes() == expected.read_bytes()


def test_engines_say_that_they_run_on_the_cpu():
    net = make_net(EXPORTED).to("cuda")
    for engine in ("auto", "torch", "compile"):
        with pytest.raises(UsageError, match="CPU"):
            optimize(net, engine)
    assert net.layer("conv").blobs[0].device.type == "cuda"
