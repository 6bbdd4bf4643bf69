"""RepOptimizer trains a plain net as a net of branches with constant factors trains, which PyTorch runs here."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from caffecompat.errors import CaffeCompatError, FormatError, SchemaError, WeightsError
from caffecompat.formats import write_caffemodel
from caffecompat.schema import caffe_pb2
from tests.solver.tiny import tiny

pytestmark = pytest.mark.usefixtures("one_thread")

FILLER = 'weight_filler { type: "constant" value: 0.5 }'
NET = f"""
layer {{ name: "data" type: "DummyData" top: "data" dummy_data_param {{
  data_filler {{ type: "gaussian" }} shape {{ dim: 3 dim: 4 dim: 7 dim: 6 }} }} }}
layer {{ name: "target" type: "DummyData" top: "target" dummy_data_param {{ data_filler {{ type: "gaussian" }}
  shape {{ dim: 3 dim: 6 dim: 4 dim: 3 }} }} }}
layer {{ name: "a" type: "Convolution" bottom: "data" top: "a" convolution_param {{
  num_output: 4 kernel_size: 3 pad: 1 group: 2 bias_term: false {FILLER} }} }}
layer {{ name: "relu" type: "ReLU" bottom: "a" top: "a" }}
layer {{ name: "b" type: "Convolution" bottom: "a" top: "b" convolution_param {{
  num_output: 6 kernel_size: 3 pad: 1 stride: 2 bias_term: false {FILLER} }} }}
layer {{ name: "loss" type: "EuclideanLoss" bottom: "b" bottom: "target" top: "loss" }}
"""
RANDOM = np.random.default_rng(4)
SCALES = {
    "a_3x3_scale": RANDOM.uniform(0.5, 1.5, 4).astype(np.float32),
    "a_1x1_scale": RANDOM.uniform(0.5, 1.5, 4).astype(np.float32),
    "a_identity_scale": RANDOM.uniform(0.5, 1.5, 4).astype(np.float32),
    "b_3x3_scale": RANDOM.uniform(0.5, 1.5, 6).astype(np.float32),
    "b_1x1_scale": RANDOM.uniform(0.5, 1.5, 6).astype(np.float32),
}


def written(path, scales):
    message = caffe_pb2.NetParameter(layer=[{"name": name, "type": "Scale"} for name in scales])
    write_caffemodel(path, message, [[values] for values in scales.values()])
    return path


def solver_of(folder, text="", scales=SCALES, net=NET, **options):
    path = written(folder / "search.caffemodel", scales)
    return tiny(folder / "net", f'rep_optimizer_scales: "{path}" {text}', net=net, **options)


class Branches(nn.Module):
    """Convolutions of 3x3 and 1x1 times constants, and the input times a factor that is learned."""

    def __init__(self, name, inputs, outputs, group, stride):
        super().__init__()
        self.stride, self.group = stride, group
        self.wide = nn.Parameter(0.2 * torch.randn(outputs, inputs // group, 3, 3))
        self.point = nn.Parameter(0.2 * torch.randn(outputs, inputs // group, 1, 1))
        self.scales = [torch.tensor(SCALES[f"{name}_{size}_scale"])[:, None, None, None] for size in ("3x3", "1x1")]
        identity = SCALES.get(f"{name}_identity_scale")
        self.identity = None if identity is None else nn.Parameter(torch.tensor(identity))

    def forward(self, x):
        wide = functional.conv2d(x, self.scales[0] * self.wide, None, self.stride, 1, 1, self.group)
        total = wide + functional.conv2d(x, self.scales[1] * self.point, None, self.stride, 0, 1, self.group)
        return total if self.identity is None else total + x * self.identity[:, None, None]

    def kernel(self):
        """That of the one convolution which does the same, found by what single values give."""
        whole = self.scales[0] * self.wide + functional.pad(self.scales[1] * self.point, (1, 1, 1, 1))
        if self.identity is not None:
            for channel, factor in enumerate(self.identity):
                whole[channel, channel % whole.shape[1], 1, 1] += factor
        return whole.detach()


@pytest.mark.parametrize(("rule", "momentum"), [("SGD", 0.9), ("SGD", 0), ("Nesterov", 0.9)])
def test_steps_are_those_of_the_branches(rule, momentum, tmp_path):
    rate = 0.002
    solver = solver_of(tmp_path, f'momentum: {momentum} type: "{rule}"')
    solver.param.base_lr = rate
    torch.manual_seed(7)
    first, second = Branches("a", 4, 4, 2, 1), Branches("b", 4, 6, 1, 2)
    with torch.no_grad():
        for name, block in (("a", first), ("b", second)):
            solver.net.layer(name).weight.copy_(block.kernel())
    drawn = []
    for name in ("data", "target"):
        solver.net.layer(name).register_forward_hook(lambda layer, given, made: drawn.append(made))
    parameters = [*first.parameters(), *second.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=rate, momentum=momentum, nesterov=rule == "Nesterov")
    for _ in range(8):
        solver.step(1)
        data, target = (made[0] if isinstance(made, tuple) else made for made in drawn[-2:])
        optimizer.zero_grad()
        (second(first(data).relu()) - target).square().sum().div(2 * len(data)).backward()
        optimizer.step()
        for name, block in (("a", first), ("b", second)):
            torch.testing.assert_close(solver.net.layer(name).weight.detach(), block.kernel(), rtol=1e-4, atol=1e-5)
    assert len(drawn) == 16


def test_the_decay_is_not_scaled(tmp_path):
    solver = solver_of(tmp_path, "weight_decay: 0.1")
    layer = solver.net.layer("b")
    before = layer.weight.detach().clone()
    solver.train_pass()
    mask = torch.tensor(SCALES["b_3x3_scale"])[:, None, None, None].square().repeat(1, 4, 3, 3)
    mask[:, :, 1, 1] += torch.tensor(SCALES["b_1x1_scale"])[:, None].square()
    gradient = layer.weight.grad.clone()
    solver.apply_update()
    expected = before - 0.1 * (gradient * mask + 0.1 * before)
    torch.testing.assert_close(layer.weight.detach(), expected)


def test_kernels_begin_as_the_branches_would(tmp_path):
    """Fillers give 0.5 to both kernels."""
    solver = solver_of(tmp_path)
    for name, inputs in (("a", 2), ("b", 4)):
        expected = torch.tensor(SCALES[f"{name}_3x3_scale"])[:, None, None, None].repeat(1, inputs, 3, 3) / 2
        expected[:, :, 1, 1] += torch.tensor(SCALES[f"{name}_1x1_scale"])[:, None] / 2
        if name == "a":
            for channel in range(4):
                expected[channel, channel % 2, 1, 1] += float(SCALES["a_identity_scale"][channel])
        torch.testing.assert_close(solver.net.layer(name).weight.detach(), expected)


def test_given_weights_and_snapshots_are_kept(tmp_path):
    solver = solver_of(tmp_path)
    solver.step(2)
    state = solver.snapshot()
    again = solver_of(tmp_path)
    again.restore(state)
    given = tiny(tmp_path / "g", solver_text(tmp_path) + f'weights: "{state.with_suffix(".caffemodel")}"', net=NET)
    for other in (again, given):
        for name in ("a", "b"):
            assert torch.equal(other.net.layer(name).weight, solver.net.layer(name).weight)


def solver_text(folder):
    return f'rep_optimizer_scales: "{folder / "search.caffemodel"}" '


def without(name):
    return {key: value for key, value in SCALES.items() if key != name}


REFUSED = {
    "no factors": ({"a_scale": SCALES["a_3x3_scale"]}, "expected layers of names that end in _3x3_scale, got none"),
    "another net": ({**SCALES, "c_3x3_scale": SCALES["a_3x3_scale"]}, "the net has no convolution 'c'"),
    "one missing": (without("b_1x1_scale"), r"expected one blob of shape \(6,\) for 'b_1x1_scale', got nothing"),
    "another width": ({**SCALES, "a_1x1_scale": SCALES["b_1x1_scale"]}, r"shape \(4,\) for 'a_1x1_scale', got \(6,\)"),
    "not finite": ({**SCALES, "b_3x3_scale": np.full(6, np.nan, np.float32)}, "'b_3x3_scale' of .* is not finite"),
    "an identity": ({**SCALES, "b_identity_scale": SCALES["b_3x3_scale"]}, "other outputs than inputs"),
}


@pytest.mark.parametrize(("scales", "words"), REFUSED.values(), ids=REFUSED)
def test_factors_that_do_not_fit(scales, words, tmp_path):
    with pytest.raises(WeightsError, match=words):
        solver_of(tmp_path, scales=scales)


def test_what_cannot_go_with_it(tmp_path):
    with pytest.raises(SchemaError, match="expected type SGD or Nesterov, got Adam"):
        solver_of(tmp_path, 'type: "Adam" momentum: 0.9')
    with pytest.raises(SchemaError, match="clip_gradients cannot go with it"):
        solver_of(tmp_path, "clip_gradients: 5")
    with pytest.raises(FormatError, match=r"gone\.caffemodel"):
        tiny(tmp_path / "x", 'rep_optimizer_scales: "gone.caffemodel"', net=NET)
    with pytest.raises(CaffeCompatError, match="expected a square kernel of odd size .* got 3x5"):
        solver_of(
            tmp_path,
            net=NET.replace(
                "num_output: 4 kernel_size: 3 pad: 1", "num_output: 4 kernel_h: 3 kernel_w: 5 pad_h: 1 pad_w: 2"
            ),
        )
