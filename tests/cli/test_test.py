"""`caffecompat test`: the recorded scores of the original's digits runs, and sums made by hand."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from caffecompat.schema import caffe_pb2
from tests.cli.records import call, write_lmdb
from tests.support import REFERENCE, shared_file

# What the original's test net sees at each of its tests: 7 batches, and the next ones at the next test.
BATCHES = 7
# (1.5, 0.25) against (0, 0): the loss is (1.5**2 + 0.25**2) / (2 * 1), counted 4 times.
HAND_MADE = """
layer { name: "made" type: "DummyData" top: "a" top: "b"
  dummy_data_param { shape { dim: 1 dim: 2 } shape { dim: 1 dim: 2 }
    data_filler { type: "constant" value: 1.5 } data_filler { type: "constant" value: 0.5 } } }
layer { name: "distance" type: "EuclideanLoss" bottom: "a" bottom: "b" top: "distance" loss_weight: 4 }
layer { name: "twice" type: "Power" bottom: "a" top: "twice" power_param { scale: 2 } }
"""


@pytest.mark.parametrize("run", ["adam", "sgd_poly_bn", "nesterov", "sgd_multistep_iter2"])
def test_scores_are_those_the_original_recorded(run, tmp_path):
    folder = shared_file(f"golden/training/{run}")
    with np.load(folder / "trace.npz") as trace:
        accuracy, loss = trace["test/accuracy"], trace["test/loss"]
    common = ("test", "--model", folder / "train_val.prototxt", "--root", shared_file("data"))
    target = tmp_path / "result.json"
    first = call(*common, "--weights", folder / "init.caffemodel", "--iterations", BATCHES, "--json", target)
    found = json.loads(target.read_text())
    assert found["iterations"] == BATCHES
    assert found["outputs"]["accuracy"]["mean"] == pytest.approx(accuracy[0], abs=1e-6)
    assert found["loss"] == pytest.approx(loss[0], abs=1e-4)
    assert f"accuracy = {accuracy[0]:.6g}" in first.stdout
    # The last test came after so many others, and its reader went on where they had ended.
    last = call(*common, "--weights", folder / "final.caffemodel", "--iterations", BATCHES * len(loss))
    values = {"accuracy": [], "loss": []}
    for number, name, value in re.findall(r"^Batch (\d+), (\w+) = (\S+)$", last.stderr, re.MULTILINE):
        assert int(number) == len(values[name])
        values[name].append(float(value))
    assert np.mean(values["accuracy"][-BATCHES:]) == pytest.approx(accuracy[-1], abs=1e-5)
    assert np.mean(values["loss"][-BATCHES:]) == pytest.approx(loss[-1], abs=1e-4)


def test_what_is_printed(tmp_path, weights):
    net = tmp_path / "net.prototxt"
    net.write_text(HAND_MADE)
    result = call("test", net, "--weights", weights, "--iterations", 2)
    lines = ["distance = 1 (* 4 = 4 loss)", "twice = 3", "twice = 3"]
    assert result.stdout.splitlines() == ["Loss: 4", *lines]
    batches = [line for line in result.stderr.splitlines() if line.startswith("Batch")]
    assert batches == [f"Batch {n}, {line.split(' (')[0]}" for n in range(2) for line in lines]


@pytest.mark.parametrize("spelled", [["--model", "NET"], ["-model", "NET"], ["--model=NET"], ["NET"]])
def test_the_net_by_flag_or_by_place(tmp_path, weights, spelled):
    net = tmp_path / "net.prototxt"
    net.write_text(HAND_MADE)
    arguments = [part.replace("NET", str(net)) for part in spelled]
    assert call("test", *arguments, "-w", weights, "--iterations", 1).stdout.startswith("Loss: 4\n")


def test_level_and_stages_choose_layers(tmp_path, weights):
    net = tmp_path / "net.prototxt"
    for name in ("one", "two"):
        net.write_text(HAND_MADE + 'layer { name: "s" type: "Silence" bottom: "twice" include { stage: "one" } }')
        shown = call("test", net, "-w", weights, "--iterations", 1, "--stage", f"{name},three").stdout
        assert ("twice" in shown) == (name == "two")


def test_an_output_that_changes_its_size_has_no_mean(tmp_path, weights):
    records = []
    for number, side in enumerate((2, 3)):
        datum = caffe_pb2.Datum(channels=1, height=side, width=2, data=bytes(2 * side), label=number)
        records.append((b"%d" % number, datum.SerializeToString()))
    source = write_lmdb(tmp_path / "db", records)
    net = tmp_path / "net.prototxt"
    net.write_text(
        f'layer {{ name: "d" type: "Data" top: "data" top: "label" data_param {{ source: "{source}" batch_size: 1 '
        "backend: LMDB } }"
    )
    result = call("test", net, "-w", weights, "--iterations", 2)
    assert result.stdout.splitlines() == ["Loss: 0", "label = 0.5"]
    assert "data changes its size" in result.stderr


def test_bad_records_end_it_or_are_counted(tmp_path, weights):
    good = caffe_pb2.Datum(channels=1, height=1, width=1, data=b"\4", label=7).SerializeToString()
    records = [(f"{number:03d}".encode(), b"\x08" if number == 1 else good) for number in range(4)]
    write_lmdb(tmp_path / "db", records)
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "d" type: "Data" top: "data" top: "label" data_param { source: "db" batch_size: 2 '
        "backend: LMDB } }"
    )
    common = ("test", net, "-w", weights, "--iterations", 1, "--root", tmp_path)
    stopped = call(*common, code=1)
    assert "001" in stopped.stderr
    assert 'layer "d"' in stopped.stderr
    passed = call(*common, "--skip-bad-records")
    assert passed.stdout.splitlines() == ["Loss: 0", *["data = 4"] * 2, *["label = 7"] * 2]
    assert "1 bad records were passed over" in passed.stderr


def test_wrong_usage(tmp_path, weights):
    net = tmp_path / "net.prototxt"
    net.write_text(HAND_MADE)
    assert "no net" in call("test", "-w", weights, code=2).stderr
    assert "no weights" in call("test", net, code=2).stderr
    assert "either" in call("test", net, "--model", "other.prototxt", "-w", weights, code=2).stderr
    assert "number of a GPU" in call("test", net, "-w", weights, "--gpu", "first", code=2).stderr
    assert "GPUs are here" in call("test", net, "-w", weights, "--gpu", "99", code=2).stderr
    assert "input of this command" in call("test", net, "-w", weights, "--json", weights, code=2).stderr
    deploy = tmp_path / "deploy.prototxt"
    deploy.write_text('layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 } } }')
    told = call("test", deploy, "-w", weights, code=2).stderr
    assert f"{deploy}:1:1" in told
    assert "data layers" in told


def test_a_source_that_is_not_there(tmp_path, weights):
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "d" type: "Data" top: "data" data_param { source: "none" batch_size: 1 backend: LMDB } }'
    )
    told = call("test", net, "-w", weights, code=1).stderr
    assert f'{net}:1:1: layer "d"' in told
    assert "'none'" in told


def test_detections_come_to_average_precisions(tmp_path):
    """The original's mAP for its own final weights of the recorded SSD run: 0.875998."""
    run = REFERENCE / "ssd_training"
    common = ("test", run / "ssd_shapes" / "test.prototxt", "-w", run / "ssd_shapes" / "final.caffemodel")
    options = ("--iterations", 6, "--ap-version", "11point", "--root", run, "--json", tmp_path / "found.json")
    lines = call(*common, *options).stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:-1]] == ["Loss", "class1", "class2", "class3"]
    name, value, version = re.fullmatch(r"(\S+) = (\S+) \(mAP, (\S+)\)", lines[-1]).groups()
    assert (name, version) == ("detection_eval", "11point")
    assert float(value) == pytest.approx(0.875998, abs=1e-3)
    found = json.loads((tmp_path / "found.json").read_text())["detections"]["detection_eval"]
    assert found["ap_version"] == "11point"
    assert found["mean_average_precision"] == pytest.approx(float(value), abs=1e-5)
    assert sum(found["average_precision"].values()) / 3 == pytest.approx(float(value), abs=1e-5)
