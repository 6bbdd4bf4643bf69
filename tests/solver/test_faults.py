from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import caffecompat.layers.softmax
from caffecompat.errors import CaffeCompatError
from caffecompat.formats import parse_text, read_weights, upgrade_solver, write_caffemodel
from caffecompat.layers.labels import as_labels
from caffecompat.schema import caffe_pb2
from caffecompat.solver import Listener, Options, Solver
from caffecompat.solver.faults import MAX_SKIPPED, FailedPass, NotFiniteError, not_finite
from caffecompat.solver.group import Group
from tests.solver.databases import datum, pictures, write_lmdb

DATA = """
    layer { name: "data" type: "Data" top: "data" top: "label" transform_param { scale: 0.004 }
            data_param { source: "train" batch_size: 4 backend: LMDB } }
"""
CLASSIFIER = """
    layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
            convolution_param { num_output: 2 kernel_size: 2 weight_filler { type: "xavier" } } }
    layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
    layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "ip"
            inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }
"""
# Its output is the square root of a product with weights of 0: the loss is finite, its gradient is not.
ROOT = """
    layer { name: "x" type: "DummyData" top: "x" top: "y" dummy_data_param {
            shape { dim: 2 dim: 3 } shape { dim: 2 dim: 1 } data_filler { value: 1 } data_filler { value: 1 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 1 } }
    layer { name: "root" type: "Power" bottom: "ip" top: "root" power_param { power: 0.5 } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "root" bottom: "y" top: "loss" }
"""


@dataclass
class Lines(Listener):
    """What is told in a run."""

    texts: list[str] = field(default_factory=list)

    def line(self, text: str, place: str) -> None:
        self.texts.append(text)


def make(root: Path, net: str, settings: str = "", **options: Any) -> Solver:
    """A solver of this net, at a rate of 0.01 unless the settings say another."""
    rate = "" if "base_lr" in settings else "base_lr: 0.01"
    text = (
        f'{rate} {settings} lr_policy: "fixed" max_iter: 100 random_seed: 1 snapshot_prefix: "x" net_param {{ {net} }}'
    )
    given = {name: options.pop(name) for name in ("group", "weights", "listeners") if name in options}
    parsed = upgrade_solver(parse_text(text, caffe_pb2.SolverParameter))
    return Solver(parsed, options=Options(root=root, workers=0, device="cpu", **options), **given)


def failure(solver: Solver, steps: int = 20) -> NotFiniteError:
    """The error that ends the run; it fits into what a terminal shows."""
    with pytest.raises(NotFiniteError) as caught:
        solver.step(steps)
    solver.close()
    assert " ... " not in str(caught.value)
    return caught.value


def values(solver: Solver) -> list[np.ndarray]:
    """A copy of all parameters, statistics included."""
    return [item.tensor.detach().numpy().copy() for item in solver.net.learnable]


@pytest.fixture
def root(tmp_path):
    write_lmdb(tmp_path / "train", pictures(16))
    return tmp_path


def with_nan(path: Path, *numbers: int, count: int = 16) -> Path:
    """A database of floats, some of whose records hold a nan."""
    records = []
    for number in range(count):
        array = np.full((1, 4, 4), 40.0 * (number % 3), np.float32)
        array[0, 0, 0] = number
        if number in numbers:
            array[0, 2, 1] = np.nan
        records.append(datum(array, number % 3))
    write_lmdb(path / "train", records)
    return path


def test_a_rate_that_is_too_high(root):
    net = DATA + CLASSIFIER.replace('layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }', "")
    error = failure(make(root, net, "base_lr: 1e22"))
    assert error.layer == "ip"
    assert f"at iteration {error.iteration}" in error.message
    assert '"ip" is the first blob that is not finite' in error.message
    assert error.causes[0].startswith("the rate, 1e+22 in the last update")
    assert "lower base_lr" in error.hint
    first = 4 * error.iteration % 16
    assert error.keys == tuple(f"{first + number:08d}" for number in range(4))
    assert f"records of the batch: {first:08d}, " in error.hint


def test_an_update_that_made_a_parameter_infinite(root):
    solver = make(root, DATA + CLASSIFIER, "clip_gradients: 100")
    solver.step(2)
    with torch.no_grad():
        solver.net.layer("conv").blobs[0][0, 0, 1, 1] = math.inf
    error = failure(solver)
    assert error.layer == "conv"
    assert error.message.startswith("the loss is nan at iteration 2: ")
    assert "as the layer's weight is not" in error.message
    losses = ", ".join(f"{step.loss:.6g}" for step in solver.guard.steps)
    norm = f"{solver.update.gradient_norm:.6g}"
    assert error.causes[0] == (
        f"the rate: the update of iteration 1, of rate 0.01 of gradients of norm {norm}, made conv (weight) not finite "
        f"(the losses before: {losses}); lower base_lr, or state clip_gradients"
    )


def test_weights_that_are_infinite_from_the_beginning(root, tmp_path):
    solver = make(root, DATA + CLASSIFIER)
    blobs = [[blob.detach().numpy().copy() for blob in layer.blobs] for layer in solver.net.layers]
    blobs[1][1][0] = math.inf
    write_caffemodel(tmp_path / "w.caffemodel", solver.net.graph.message, blobs)
    error = failure(make(root, DATA + CLASSIFIER, weights=[tmp_path / "w.caffemodel"]))
    assert error.causes[0] == "the weights that the run starts from: conv (bias) hold values that are not finite"


def test_nan_in_the_data(tmp_path):
    error = failure(make(with_nan(tmp_path, 6), DATA + CLASSIFIER))
    assert (error.layer, error.iteration) == ("data", 1)
    assert '"data" is the first blob that is not finite, 1 of 64 values' in error.message
    assert error.causes[0] == 'the data: "data" is not finite in record 00000006; mend the record, or leave it out'
    assert error.keys == ("00000004", "00000005", "00000006", "00000007")


def test_labels_beyond_num_output(tmp_path):
    records = pictures(8)
    records[5].label = 7
    write_lmdb(tmp_path / "train", records)
    solver = make(tmp_path, DATA + CLASSIFIER)
    with pytest.raises(CaffeCompatError) as caught:
        solver.step(5)
    solver.close()
    assert caught.value.layer == "loss"
    assert caught.value.message == "a label is 7; labels must be within 0..2 for 3 scores"
    assert '7 (record 00000005) where layer "loss" knows 0..2: num_output of layer "ip"' in caught.value.hint
    assert "records of the batch: 00000004, 00000005, 00000006, 00000007" in caught.value.hint


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (9, '9 (record 00000002) where layer "loss" knows 0..2: num_output of layer "ip" must be above the greatest'),
        (-1, '-1 (record 00000002) where layer "loss" knows 0..2: a label to be left out is stated as ignore_label'),
    ],
)
def test_labels_that_become_nan_on_a_gpu(tmp_path, monkeypatch, label, told):
    """There the layer does not look at them, which would cost time."""
    monkeypatch.setattr(caffecompat.layers.softmax, "class_labels", lambda _, labels, *rest: as_labels(labels, *rest))
    records = pictures(8)
    records[2].label = label
    write_lmdb(tmp_path / "train", records)
    error = failure(make(tmp_path, DATA + CLASSIFIER))
    assert error.layer == "loss"
    assert told in error.causes[0]


def test_targets_outside_0_and_1(root):
    net = """
        layer { name: "x" type: "DummyData" top: "x" top: "y" dummy_data_param { shape { dim: 2 dim: 3 }
                data_filler { value: 1 } data_filler { value: 3 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip"
                inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
        layer { name: "loss" type: "SigmoidCrossEntropyLoss" bottom: "ip" bottom: "y" top: "loss" }
    """
    error = failure(make(root, net, "base_lr: 1e38"))
    assert any(cause.startswith('the targets of layer "loss" go from 3 to 3: outside 0..1') for cause in error.causes)


def test_a_logarithm_of_zero(root):
    net = """
        layer { name: "x" type: "DummyData" top: "x" top: "y" dummy_data_param { shape { dim: 2 dim: 3 } } }
        layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 3 } }
        layer { name: "log" type: "Log" bottom: "ip" top: "log" }
        layer { name: "loss" type: "EuclideanLoss" bottom: "log" bottom: "y" top: "loss" }
    """
    error = failure(make(root, net))
    assert (error.layer, error.iteration) == ("log", 0)
    assert error.causes[0] == ('a logarithm: layer "log" takes it of "ip", whose least value is 0; state shift')


def test_large_data_without_a_mean_or_scale(root):
    net = DATA.replace("scale: 0.004", "") + CLASSIFIER
    error = failure(make(root, net, "base_lr: 1e38"))
    causes = [cause.split(":")[0].split(",")[0] for cause in error.causes]
    assert causes == ["the rate", "the data"]
    assert "transform_param states neither a mean nor a scale" in error.causes[1]
    with_scale = failure(make(root, DATA + CLASSIFIER, "base_lr: 1e38"))
    assert not any(cause.startswith("the data") for cause in with_scale.causes)


def test_weights_that_match_no_layer_or_not_all(root, tmp_path):
    net, blobs = caffe_pb2.NetParameter(), [[np.ones((2, 2), np.float32)]]
    net.layer.add(name="other", type="InnerProduct")
    write_caffemodel(tmp_path / "w.caffemodel", net, blobs)
    error = failure(make(root, DATA + CLASSIFIER, "base_lr: 1e38", weights=[tmp_path / "w.caffemodel"]))
    assert "the weights: no layer of the net is in the weight file, which has other" in error.causes

    solver = make(root, DATA + CLASSIFIER)
    net.layer[0].name = "conv"
    write_caffemodel(
        tmp_path / "w.caffemodel", net, [[blob.detach().numpy() for blob in solver.net.layer("conv").blobs]]
    )
    solver.close()
    assert [layer.name for layer in read_weights(tmp_path / "w.caffemodel").layers] == ["conv"]
    error = failure(make(root, DATA + CLASSIFIER, "base_lr: 1e38", weights=[tmp_path / "w.caffemodel"]))
    assert "the weights: bn, ip took none from the weight file and started from fillers" in error.causes


def test_the_pass_that_failed_is_examined(tmp_path):
    """Of iter_size 2: the second, and after the first no other is made."""
    error = failure(make(with_nan(tmp_path, 5), DATA + CLASSIFIER, "iter_size: 2"))
    assert "at iteration 0, in pass 2 of 2: " in error.message
    assert "record 00000005" in error.causes[0]
    assert error.keys == ("00000004", "00000005", "00000006", "00000007")

    (tmp_path / "b").mkdir()
    solver = make(with_nan(tmp_path / "b", 2), DATA + CLASSIFIER, "iter_size: 2")
    error = failure(solver)
    assert "in pass 1 of 2: " in error.message
    assert error.keys == ("00000000", "00000001", "00000002", "00000003")


def test_chance_is_said(root):
    solver = make(root, DATA + CLASSIFIER)
    solver.step(1)
    before = torch.random.get_rng_state(), values(solver)
    solver.guard.failed = FailedPass(0, {0: solver.net.readers[0].batch})
    with pytest.raises(NotFiniteError, match="in a second pass over the batch all blobs are finite"):
        not_finite(solver, math.nan)
    solver.close()
    assert torch.equal(before[0], torch.random.get_rng_state())
    for one, other in zip(before[1], values(solver), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_second_pass_has_the_precision_of_the_first(root):
    """The largest float32 is infinite in bfloat16; times 0 that is no number, where in float32 it is 0."""
    solver = make(root, DATA + CLASSIFIER, precision="bf16")
    with torch.no_grad():
        solver.net.layer("ip").blobs[0].fill_(torch.finfo(torch.float32).max)
        solver.net.layer("conv").blobs[0].zero_()
        solver.net.layer("conv").blobs[1].zero_()
    error = failure(solver)
    assert error.layer == "ip"
    assert "is the first blob that is not finite" in error.message


def test_a_blob_that_does_not_lead_to_the_loss_is_no_cause(tmp_path):
    side = 'layer { name: "side" type: "Log" bottom: "data" top: "side" log_param { shift: -1000 } }'
    error = failure(make(with_nan(tmp_path, 2), DATA + side + CLASSIFIER))
    assert error.layer == "data"
    solver = make(tmp_path, DATA.replace("batch_size: 4", "batch_size: 2") + side + CLASSIFIER)
    solver.step(1)
    solver.close()


def test_skip_leaves_parameters_and_statistics(tmp_path):
    lines = Lines()
    solver = make(with_nan(tmp_path, 6), DATA + CLASSIFIER, on_nan="skip", listeners=[lines])
    solver.step(1)
    before = values(solver)
    solver.step(1)
    assert (solver.iteration, solver.guard.skipped) == (2, 1)
    for one, other in zip(before, values(solver), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [text for text in lines.texts if "skipped" in text] == [
        'Update skipped (1 so far): the loss is nan at iteration 1: "data" is the first blob that is not finite, '
        '1 of 64 values (layer "data"); records 00000004, 00000005, 00000006, 00000007'
    ]
    solver.step(4)
    assert (solver.iteration, solver.guard.skipped, solver.guard.in_a_row) == (6, 2, 1)
    solver.step(1)
    assert solver.guard.in_a_row == 0
    solver.close()
    assert all(np.isfinite(blob).all() for blob in values(solver))
    assert math.isfinite(solver.smoothed.value)


def test_without_skips_skipping_changes_nothing(root):
    runs = []
    for on_nan in ("stop", "skip"):
        solver = make(root, DATA + CLASSIFIER, on_nan=on_nan)
        solver.step(6)
        solver.close()
        runs.append(values(solver))
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)


def test_too_many_skips_in_a_row_stop(tmp_path):
    solver = make(with_nan(tmp_path, *range(16)), DATA + CLASSIFIER, on_nan="skip")
    error = failure(solver, 100)
    assert solver.iteration == MAX_SKIPPED - 1
    assert error.message.startswith(f"the last of {MAX_SKIPPED} updates in a row that were skipped: the loss is nan")
    assert error.causes[0].startswith("the data: ")


def test_skip_of_infinite_gradients(root):
    lines = Lines()
    solver = make(root, ROOT, on_nan="skip", listeners=[lines])
    solver.step(1)
    assert (solver.iteration, solver.guard.skipped) == (1, 1)
    assert not any(blob.any() for blob in values(solver))
    assert lines.texts[-1] == (
        "Update skipped (1 so far): the gradients are not finite at iteration 0, where the loss is: "
        "those of ip (bias), ip (weight)"
    )
    solver.close()
    solver = make(root, ROOT)
    error = failure(solver)
    assert error.iteration == 1
    assert error.causes[0].startswith("the rate: the update of iteration 0, of rate 0.01, made ip (weight), ip (bias)")


def test_large_gradients_that_are_finite_are_not_skipped(root):
    """Their squares are not, in single precision."""
    net = ROOT.replace("power: 0.5", "power: 1 scale: 1e15").replace(
        "data_filler { value: 1 } }", "data_filler { value: 1e10 } }"
    )
    solver = make(root, net, "base_lr: 1e-30", on_nan="skip")
    solver.step(1)
    solver.close()
    assert solver.guard.skipped == 0
    assert any(blob.any() for blob in values(solver))


class Two(Group):
    """One of two processes; the other's loss is not finite."""

    world = 2

    def __init__(self) -> None:
        self.runs = 0
        self.asked = 0

    def greatest(self, value: int) -> int:
        # Asked in turn which process has a loss that is not finite, and what the processes are to do.
        self.asked += 1
        return 1 if self.asked % 2 else value

    def run(self, net: Any) -> Any:
        self.runs += 1
        return super().run(net)

    def mean(self, value: float) -> float:
        return math.nan


def test_no_process_leaves_a_pass_out(tmp_path):
    """Gradients are averaged in the last one: a process that skips it leaves the others waiting."""
    group = Two()
    error = failure(make(with_nan(tmp_path, 0, count=32), DATA + CLASSIFIER, "iter_size: 3", group=group))
    assert group.runs == 3
    assert "in pass 1 of 3: " in error.message
    assert error.keys == ("00000000", "00000002", "00000004", "00000006")


def test_a_process_stops_with_another(root):
    error = failure(make(root, DATA + CLASSIFIER, group=Two()))
    assert error.message == (
        "the loss is nan at iteration 0; the losses of its passes are finite, that of another process is not"
    )
    # The records are of the other one.
    assert error.hint is None
    solver = make(root, DATA + CLASSIFIER, group=Two(), on_nan="skip")
    solver.step(2)
    solver.close()
    assert (solver.iteration, solver.guard.skipped) == (2, 2)
