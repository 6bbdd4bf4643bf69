"""Update rules, number by number as ComputeUpdateValue of the original's solvers writes them."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from caffecompat.errors import SchemaError, UsageError, WeightsError
from caffecompat.formats import parse_text, upgrade_solver
from caffecompat.net.learnable import Learnable
from caffecompat.schema import caffe_pb2
from caffecompat.solver.updates import SGD, Adam, make_update

ITERATIONS = 5


class Reference:
    """The original's solver in double precision, one number at a time."""

    def __init__(self, kind, values, lr_mults, decay_mults, settings):
        self.kind, self.values = kind, [list(map(float, value)) for value in values]
        self.lr_mults, self.decay_mults, self.settings = lr_mults, decay_mults, settings
        self.histories = [[[0.0] * len(value) for value in values] for _ in range(2)]

    def setting(self, name, default):
        value = self.settings.get(name, default)
        # Fields of solvers are floats.
        return float(np.float32(value)) if isinstance(value, float) else value

    def update(self, diffs, rate, iteration):
        clip, size = self.setting("clip_gradients", -1), self.setting("iter_size", 1)
        norm = math.sqrt(sum(diff * diff for own in diffs for diff in own))
        scale = clip / norm if 0 <= clip < norm else 1
        decay = self.setting("weight_decay", 0)
        for index, values in enumerate(self.values):
            local_rate, local_decay = rate * self.lr_mults[index], decay * self.decay_mults[index]
            for place, value in enumerate(values):
                diff = diffs[index][place] * scale / size
                l1 = self.setting("regularization_type", "L2") == "L1"
                diff += local_decay * ((value > 0) - (value < 0) if l1 else value)
                slots = [self.histories[slot][index][place] for slot in (0, 1)]
                step = getattr(self, self.kind)(diff, local_rate, slots, iteration)
                values[place] = value - step
                for slot in (0, 1):
                    self.histories[slot][index][place] = slots[slot]

    def SGD(self, diff, rate, slots, iteration):  # noqa: N802 - the original's names
        slots[0] = rate * diff + self.setting("momentum", 0) * slots[0]
        return slots[0]

    def Nesterov(self, diff, rate, slots, iteration):  # noqa: N802
        momentum, old = self.setting("momentum", 0), slots[0]
        slots[0] = rate * diff + momentum * old
        return (1 + momentum) * slots[0] - momentum * old

    def AdaGrad(self, diff, rate, slots, iteration):  # noqa: N802
        slots[0] += diff**2
        return rate * diff / (math.sqrt(slots[0]) + self.setting("delta", 1e-8))

    def RMSProp(self, diff, rate, slots, iteration):  # noqa: N802
        decay = self.setting("rms_decay", 0.99)
        slots[0] = (1 - decay) * diff**2 + decay * slots[0]
        return rate * diff / (math.sqrt(slots[0]) + self.setting("delta", 1e-8))

    def AdaDelta(self, diff, rate, slots, iteration):  # noqa: N802
        momentum, delta = self.setting("momentum", 0), self.setting("delta", 1e-8)
        slots[0] = (1 - momentum) * diff**2 + momentum * slots[0]
        step = diff * math.sqrt((delta + slots[1]) / (delta + slots[0]))
        slots[1] = (1 - momentum) * step**2 + momentum * slots[1]
        return rate * step

    def Adam(self, diff, rate, slots, iteration):  # noqa: N802
        one, two = self.setting("momentum", 0), self.setting("momentum2", 0.999)
        slots[0] = (1 - one) * diff + one * slots[0]
        slots[1] = (1 - two) * diff**2 + two * slots[1]
        correction = math.sqrt(1 - two ** (iteration + 1)) / (1 - one ** (iteration + 1))
        return rate * correction * slots[0] / (math.sqrt(slots[1]) + self.setting("delta", 1e-8))


def parsed_of(kind, settings):
    text = " ".join(f"{name}: {json.dumps(value)}" for name, value in settings.items())
    return parse_text(f'type: "{kind}"\nbase_lr: 0.1 {text}', caffe_pb2.SolverParameter)


def learnables(values, lr_mults, decay_mults):
    layer = SimpleNamespace(blobs=[torch.nn.Parameter(torch.tensor(value)) for value in values])
    return [Learnable(layer, index, *mults) for index, mults in enumerate(zip(lr_mults, decay_mults, strict=True))]


VALUES = [np.array(value, np.float32) for value in ([0.5, -0.25, 0.0], [2.0, -3.0], [1.0], [0.75, -0.5])]
LR_MULTS = [1.0, 2.0, 0.0, 1.0]
DECAY_MULTS = [1.0, 0.0, 1.0, 0.5]
COMMON = [
    {},
    {"weight_decay": 0.05},
    {"weight_decay": 0.05, "regularization_type": "L1"},
    {"clip_gradients": 0.7, "weight_decay": 0.05, "iter_size": 3},
    {"clip_gradients": 100, "iter_size": 2},
]
OWN = {
    "SGD": [{}, {"momentum": 0.9}],
    "Nesterov": [{"momentum": 0.9}],
    "AdaGrad": [{}, {"delta": 0.01}],
    "RMSProp": [{"rms_decay": 0.9, "delta": 1e-4}, {}],
    "AdaDelta": [{"momentum": 0.9, "delta": 1e-4}],
    "Adam": [{"momentum": 0.9}, {"momentum": 0.8, "momentum2": 0.9, "delta": 1e-3}],
}
CASES = [(kind, {**common, **own}) for kind, several in OWN.items() for own in several for common in COMMON]


@pytest.mark.parametrize(("kind", "settings"), CASES, ids=str)
def test_rules(kind, settings):
    """A parameter of rate 0 gets no gradient; another none in the first iteration."""
    reference = Reference(kind, VALUES, LR_MULTS, DECAY_MULTS, settings)
    items = learnables(VALUES, LR_MULTS, DECAY_MULTS)
    update = make_update(parsed_of(kind, settings), items)
    random = np.random.default_rng(5)
    for iteration in range(ITERATIONS):
        diffs = [random.normal(size=value.shape).astype(np.float32) for value in VALUES]
        diffs[2][:] = 0
        if iteration == 0:
            diffs[3][:] = 0
        update.zero_grad(set_to_none=True)
        for index, (item, diff) in enumerate(zip(items, diffs, strict=True)):
            if index != 2 and not (index == 3 and iteration == 0):
                item.tensor.grad = torch.tensor(diff)
        update.prepare(settings.get("iter_size", 1))
        rate = 0.1 / (1 + iteration)
        update.apply(rate, iteration)
        reference.update([diff.tolist() for diff in diffs], rate, iteration)
    for item, value in zip(items, reference.values, strict=True):
        np.testing.assert_allclose(item.tensor.detach().numpy(), value, rtol=2e-6, atol=2e-7)
    history = update.history()
    expected = [slot for slots in reference.histories[: len(history) // len(VALUES)] for slot in slots]
    for ours, theirs in zip(history, expected, strict=True):
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=2e-6, atol=1e-9)


def test_there_is_a_case_of_every_rule():
    assert {kind for kind, _ in CASES} == set(OWN) == {"SGD", "Nesterov", "AdaGrad", "RMSProp", "AdaDelta", "Adam"}


@pytest.mark.parametrize("kind", OWN)
def test_history_goes_on_where_a_snapshot_was_taken(kind):
    parsed = parsed_of(kind, OWN[kind][-1])
    first, second = (learnables(VALUES, LR_MULTS, DECAY_MULTS) for _ in range(2))
    whole, resumed = make_update(parsed, first), make_update(parsed, second)

    def step(update, items, iteration):
        update.zero_grad()
        for item in items:
            item.tensor.grad = torch.full_like(item.tensor, 0.5 + iteration)
        update.prepare()
        update.apply(0.1, iteration)

    for iteration in range(3):
        step(whole, first, iteration)
    history = [tensor.numpy().copy() for tensor in whole.history()]
    # The shapes of files before 2015.
    resumed.load_history([array.reshape((1,) * (4 - array.ndim) + array.shape) for array in history])
    with torch.no_grad():
        for ours, theirs in zip(second, first, strict=True):
            ours.tensor.copy_(theirs.tensor)
    for iteration in range(3, 5):
        step(whole, first, iteration)
        step(resumed, second, iteration)
    for ours, theirs in zip(second, first, strict=True):
        assert torch.equal(ours.tensor, theirs.tensor)


def test_momentum_of_a_parameter_whose_rate_became_zero_runs_out():
    """Caffe: the history is multiplied by momentum and taken from the parameter, whatever the rate."""
    items = learnables([np.array([1.0], np.float32)], [0.0], [1.0])
    update = make_update(parsed_of("SGD", {"momentum": 0.5}), items)
    update.load_history([np.array([0.4], np.float32)])
    for iteration in range(2):
        update.prepare()
        update.apply(0.1, iteration)
    assert float(items[0].tensor.detach()) == pytest.approx(1 - 0.2 - 0.1)


def test_clipping_is_told():
    items = learnables([np.array([0.0, 0.0], np.float32)], [1.0], [1.0])
    update, lines = make_update(parsed_of("SGD", {"clip_gradients": 2.5}), items), []
    for gradient in ([3.0, 4.0], [1.5, 2.0]):
        items[0].tensor.grad = torch.tensor(gradient)
        update.prepare(1, lines.append)
    assert lines == ["Gradient clipping: scaling down gradients (L2 norm 5 > 2.5) by scale factor 0.5"]
    update.clip_gradients = 0.0
    update.prepare()
    assert items[0].tensor.grad.tolist() == [0, 0]


def test_they_are_optimizers_of_pytorch():
    parameter = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = SGD([parameter], lr=0.5, momentum=0.5)

    def closure():
        optimizer.zero_grad()
        loss = parameter.sum()
        loss.backward()
        return loss

    # The rate is in the momentum: 0.5, then 0.25 + 0.5.
    assert [float(optimizer.step(closure).detach()) for _ in range(2)] == [1, 0.5]
    assert float(parameter.detach()) == -0.25
    optimizer.param_groups[0]["lr"] = 0.0
    optimizer.step(closure)
    assert float(parameter.detach()) == -0.25 - 0.375
    assert Adam([{"params": [parameter], "lr_mult": 2.0}], lr=0.25).param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("kind", "settings", "message", "line"),
    [
        ("Nestrov", {}, "solver type 'Nestrov' is not known", 1),
        ("SGD", {"regularization_type": "L3"}, "expected regularization_type L1 or L2, got 'L3'", 2),
        ("AdaGrad", {"momentum": 0.9}, "AdaGrad has no momentum, got 0.9", 2),
        ("RMSProp", {"momentum": 0.9}, "RMSProp has no momentum, got 0.9", 2),
        ("RMSProp", {"rms_decay": 1}, "expected rms_decay from 0 to below 1, got 1", 2),
        ("Adam", {"momentum": 1}, "expected momentum from 0 to below 1 for Adam, got 1", 2),
        ("Adam", {"momentum2": 1.5}, "expected momentum2 from 0 to below 1 for Adam, got 1.5", 2),
    ],
)
def test_settings_that_cannot_be(kind, settings, message, line):
    with pytest.raises(SchemaError) as caught:
        make_update(parsed_of(kind, settings), learnables(VALUES, LR_MULTS, DECAY_MULTS))
    assert caught.value.message == message
    assert caught.value.line == line
    if kind == "Nestrov":
        assert caught.value.hint == 'did you mean "Nesterov"?'


def test_nothing_to_train():
    with pytest.raises(UsageError, match="no parameters"):
        make_update(parsed_of("SGD", {}), [])


def test_the_old_enum():
    assert set(caffe_pb2.SolverParameter.SolverType.keys()) == {kind.upper() for kind in OWN}
    for kind in OWN:
        parsed = upgrade_solver(parse_text(f"solver_type: {kind.upper()}", caffe_pb2.SolverParameter))
        assert type(make_update(parsed, learnables(VALUES, LR_MULTS, DECAY_MULTS))).__name__ == kind


def test_history_that_does_not_fit():
    update = make_update(parsed_of("Adam", {}), learnables(VALUES, LR_MULTS, DECAY_MULTS))
    with pytest.raises(WeightsError, match="expected 8 arrays of history, got 4"):
        update.load_history([np.zeros(value.shape) for value in VALUES])
    wrong = [np.zeros(value.shape) for value in VALUES] * 2
    wrong[5] = np.zeros((2, 1))
    with pytest.raises(WeightsError, match=r"expected shape \(2,\) for array 5 of the history, got \(2, 1\)"):
        update.load_history(wrong)
