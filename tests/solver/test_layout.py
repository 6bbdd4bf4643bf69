"""How blobs lie in memory changes nothing that is computed or written."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat.formats import read_solverstate, read_weights
from caffecompat.solver import Solver, devices
from caffecompat.solver.group import Group
from caffecompat.solver.updates import SGD
from tests.support import make_net

INPUT = """
layer { name: "in" type: "Input" top: "data" top: "label"
  input_param { shape { dim: 4 dim: 3 dim: 14 dim: 13 } shape { dim: 4 } } }
"""
LOSS = 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss" }\n'


def conv(name, bottom, outputs=4, more="kernel_size: 3 pad: 1", kind="Convolution"):
    filler = 'weight_filler { type: "gaussian" std: 0.2 } bias_filler { type: "gaussian" std: 0.1 }'
    param = f"convolution_param {{ num_output: {outputs} {more} {filler} }}"
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{bottom}" top: "{name}" {param} }}\n'


def act(bottom, kind="ReLU", top=None, more=""):
    top = top or bottom
    return f'layer {{ name: "{kind}_{top}" type: "{kind}" bottom: "{bottom}" top: "{top}" {more} }}\n'


def two(name, kind, first, second):
    return f'layer {{ name: "{name}" type: "{kind}" bottom: "{first}" bottom: "{second}" top: "{name}" }}\n'


SCORES = """
layer { name: "scores" type: "InnerProduct" bottom: "big" top: "scores"
  inner_product_param { num_output: 5 weight_filler { type: "xavier" } } }
"""
# Every way in which layouts meet: strides, groups, a convolution whose weights outweigh its blobs, branches, layers
# that reshape, ReLUs that may and may not overwrite what they read.
NET = (
    INPUT
    + conv("a", "data", 6, "kernel_size: 3 stride: 2")
    + act("a")
    + act("a", "LRN", "n", "lrn_param { local_size: 3 alpha: 0.5 }")
    + conv("b", "n", 6, "kernel_size: 3 pad: 1 group: 2 bias_term: false")
    + act("b", "BatchNorm")
    + act("b", "Scale", more="scale_param { bias_term: true }")
    + act("b")
    + act("b", "Pooling", "p", "pooling_param { pool: MAX kernel_size: 2 stride: 2 }")
    + act("p")
    + conv("c", "p", 6, "kernel_size: 2 stride: 2", "Deconvolution")
    + act("c", "TanH")
    + act("c")
    + conv("d", "c")
    + act("d", "ReLU", "e")
    + two("f", "Concat", "d", "e")
    + conv("g", "f", 8, "kernel_size: 1")
    + conv("h", "f", 8)
    + two("s", "Eltwise", "g", "h")
    + act("s")
    + act("s", "Pooling", "q", "pooling_param { pool: AVE kernel_size: 3 stride: 2 }")
    + conv("big", "q", 300, "kernel_size: 3")
    + act("big")
    + SCORES
    + LOSS
)
SOLVER = """
net: "{net}" base_lr: 0.05 momentum: 0.9 weight_decay: 0.01 lr_policy: "fixed" iter_size: 2 max_iter: 4
snapshot_prefix: "{prefix}" solver_mode: CPU random_seed: 3
"""


class Fed(Group):
    """The same batches every time."""

    def __init__(self):
        self._generator = torch.Generator().manual_seed(5)

    def run(self, net):
        data = torch.randn(net.blob_shapes[net.graph.inputs[0]], generator=self._generator)
        label = torch.randint(5, (data.shape[0],), generator=self._generator).float()
        outputs = net(data=data, label=label)
        return net.loss(outputs), outputs


def solver_of(folder, text=NET):
    (folder / "net.prototxt").write_text(text)
    (folder / "solver.prototxt").write_text(SOLVER.format(net=folder / "net.prototxt", prefix=folder / "run"))
    return Solver.from_prototxt(folder / "solver.prototxt", group=Fed())


def formats(solver):
    return {layer.spec.name: layer.memory_format for layer in solver.net.layers if hasattr(layer, "memory_format")}


def overwriting(net):
    return {layer.spec.tops[0].name for layer in net.layers if getattr(layer, "in_place", False)}


def test_what_is_planned(tmp_path):
    solver = solver_of(tmp_path)
    planned = formats(solver)
    assert planned.pop("big") == torch.contiguous_format
    assert set(planned) == set("abcdgh")
    assert set(planned.values()) == {torch.channels_last}
    # c's TanH needs what it gave; d is read twice, and e is another blob.
    assert overwriting(solver.net) == {"a", "b", "p", "s", "big"}
    weights = {layer.spec.name: layer.blobs[0] for layer in solver.net.layers if layer.blobs}
    assert weights["a"].is_contiguous(memory_format=torch.channels_last)
    assert not weights["a"].is_contiguous()
    assert weights["big"].is_contiguous()


def test_it_trains_as_in_the_original_order(tmp_path, monkeypatch):
    solver = solver_of(tmp_path)
    monkeypatch.setattr(devices, "plan_layout", lambda net: None)
    plain = solver_of(tmp_path)
    assert set(formats(plain).values()) == {None}
    assert not overwriting(plain.net)
    losses = [(solver.step(1), plain.step(1)) for _ in range(4)]
    assert losses[0] != losses[-1]
    for own, expected in losses:
        assert own == pytest.approx(expected, rel=1e-5)
    for own, expected in zip(solver.net.learnable, plain.net.learnable, strict=True):
        np.testing.assert_allclose(own.tensor.detach(), expected.tensor.detach(), atol=2e-6)
    for own, expected in zip(solver.update.history(), plain.update.history(), strict=True):
        np.testing.assert_allclose(own, expected, atol=2e-6)


def test_gradients_come_as_their_parameters_lie(tmp_path):
    solver = solver_of(tmp_path)
    solver.step(1)
    for item in solver.net.learnable:
        if item.lr_mult:
            assert item.tensor.grad.stride() == item.tensor.stride()


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_gradients_that_lie_otherwise_update_as_well(layout):
    torch.manual_seed(1)
    values, grads = torch.randn(4, 3, 2, 5), [torch.randn(4, 3, 2, 5) for _ in range(3)]
    parameter = torch.nn.Parameter(values.clone(memory_format=torch.channels_last))
    update = SGD([parameter], 0.5, momentum=0.9)
    history = torch.zeros_like(values)
    for grad in grads:
        parameter.grad = grad.clone(memory_format=layout)
        update.step()
        history = 0.9 * history + 0.5 * grad
        values = values - history
    torch.testing.assert_close(parameter.detach(), values)
    torch.testing.assert_close(update.history()[0], history)


def test_files_have_the_original_order_and_are_read_back(tmp_path):
    solver = solver_of(tmp_path)
    solver.step(2)
    state = solver.snapshot()
    written = {layer.name: layer for layer in read_weights(state.with_suffix(".caffemodel")).layers}
    for layer in solver.net.layers:
        for blob, found in zip(layer.blobs, written[layer.spec.name].blobs if layer.blobs else (), strict=True):
            np.testing.assert_array_equal(found.array, blob.detach().numpy())
    for tensor, found in zip(solver.update.history(), read_solverstate(state).history, strict=True):
        np.testing.assert_array_equal(found.array, tensor.numpy())
    again = solver_of(tmp_path)
    again.restore(state)
    assert formats(again) == formats(solver)
    again.group._generator.set_state(solver.group._generator.get_state())
    assert again.step(2) == solver.step(2)


def test_a_blob_looked_at_is_the_one_of_the_last_layer(tmp_path):
    solver = solver_of(tmp_path)
    solver.net.keep = {"a", "d", "e", "c"}
    solver.step(1)
    blobs = solver.net.blobs
    assert blobs["a"].min() == 0 < blobs["a"].max()
    assert blobs["d"].min() < 0 == blobs["e"].min()
    torch.testing.assert_close(blobs["e"], blobs["d"].clamp(min=0))
    assert blobs["c"].min() == 0


def test_weights_seen_in_two_shapes_stay_in_the_original_order(tmp_path):
    shared = 'param { name: "w" share_mode: PERMISSIVE } param { lr_mult: 1 }'
    first = conv("a", "data", 6, "kernel_h: 3 kernel_w: 1")
    second = conv("b", "data", 6, "kernel_h: 1 kernel_w: 3")
    text = (
        INPUT
        + first.replace('top: "a"', f'top: "a" {shared}')
        + second.replace('top: "b"', f'top: "b" {shared}')
        + conv("c", "a")
        + act("c", "Pooling", "q", "pooling_param { pool: AVE global_pooling: true }")
        + act("b", "Pooling", "r", "pooling_param { pool: AVE global_pooling: true }")
        + two("big", "Concat", "q", "r")
        + SCORES
        + LOSS
    )
    solver = solver_of(tmp_path, text)
    assert formats(solver) == {"a": None, "b": None, "c": torch.channels_last}
    solver.step(2)
    first, second = (solver.net.layer(name).blobs[0].detach() for name in "ab")
    assert first.is_contiguous()
    assert torch.equal(first.flatten(), second.flatten())


def test_test_nets_use_the_same_memory(tmp_path):
    text = SOLVER + "test_iter: 1 test_interval: 1000 test_initialization: false"
    (tmp_path / "net.prototxt").write_text(
        NET.replace('type: "Input"', 'type: "DummyData"').replace("input_", "dummy_data_")
    )
    (tmp_path / "solver.prototxt").write_text(text.format(net=tmp_path / "net.prototxt", prefix=tmp_path / "run"))
    solver = Solver.from_prototxt(tmp_path / "solver.prototxt")
    solver.step(1)
    (test,) = solver.test()
    assert test.scores[0].value > 0
    for own, other in zip(solver.net.layers, solver.test_nets[0].layers, strict=True):
        assert [blob.data_ptr() for blob in own.blobs] == [blob.data_ptr() for blob in other.blobs]


def test_a_net_that_is_not_trained_lies_as_it_did():
    net = make_net(NET, phase="TRAIN")
    assert not overwriting(net)
    assert all(layer.memory_format is None for layer in net.layers if hasattr(layer, "memory_format"))
