from __future__ import annotations

import re

import pytest
import torch
from torch.nn import functional

from caffecompat.solver import Listener, Solver
from caffecompat.solver.debug import DebugInfo
from tests.support import make_net

# ip1 is read by two layers, relu acts in place, ip3 uses the weights of ip2 by name.
NET = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 4 dim: 6 } } }
layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 4 } } }
layer { name: "fc1" type: "InnerProduct" bottom: "data" top: "ip1"
  inner_product_param {
    num_output: 5 weight_filler { type: "gaussian" std: 1 } bias_filler { type: "constant" value: 0.5 } } }
layer { name: "relu" type: "ReLU" bottom: "ip1" top: "ip1" }
layer { name: "fc2" type: "InnerProduct" bottom: "ip1" top: "ip2" param { name: "shared" }
  inner_product_param { num_output: 3 bias_term: false weight_filler { type: "gaussian" std: 1 } } }
layer { name: "fc3" type: "InnerProduct" bottom: "ip1" top: "ip3" param { name: "shared" }
  inner_product_param { num_output: 3 bias_term: false } }
layer { name: "sum" type: "Eltwise" bottom: "ip2" bottom: "ip3" top: "sum" eltwise_param { coeff: 1 coeff: -2 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "sum" bottom: "label" top: "loss" }
"""
LINE = re.compile(r"    \[(Forward|Backward)\] Layer (\w+), (top|bottom|param) blob (\w+) (data|diff): (\S+)")


def mean(tensor):
    return float(tensor.detach().abs().mean())


def expected(net, data, label):
    """The same numbers by plain PyTorch, each reader of a blob with a copy of its own."""
    w1, b1 = (blob.detach().clone().requires_grad_() for blob in net.layer("fc1").blobs)
    w2 = net.layer("fc2").blobs[0].detach().clone().requires_grad_()
    before = functional.linear(data, w1, b1)
    after = functional.relu(before)
    read2, read3 = after * 1, after * 1
    ip2, ip3 = functional.linear(read2, w2), functional.linear(read3, w2)
    total = ip2 - 2 * ip3
    loss = functional.cross_entropy(total, label.long())
    kept = [before, after, read2, read3, ip2, ip3, total]
    for tensor in kept:
        tensor.retain_grad()
    loss.backward()
    forward = [
        ("fc1", "top", "ip1", before), ("fc1", "param", "0", w1), ("fc1", "param", "1", b1),
        ("relu", "top", "ip1", after),
        ("fc2", "top", "ip2", ip2), ("fc2", "param", "shared", w2),
        ("fc3", "top", "ip3", ip3), ("fc3", "param", "shared", w2),
        ("sum", "top", "sum", total), ("loss", "top", "loss", loss),
    ]  # fmt: skip
    backward = [
        ("loss", "bottom", "sum", total.grad),
        ("sum", "bottom", "ip2", ip2.grad), ("sum", "bottom", "ip3", ip3.grad),
        ("fc3", "bottom", "ip1", read3.grad), ("fc3", "param", "0", w2.grad),
        ("fc2", "bottom", "ip1", read2.grad), ("fc2", "param", "0", w2.grad),
        ("relu", "bottom", "ip1", before.grad),
        ("fc1", "param", "0", w1.grad), ("fc1", "param", "1", b1.grad),
    ]  # fmt: skip
    norms = [(tensor, tensor.grad) for tensor in (w1, b1, w2)]
    return forward, backward, norms


def check(lines, wanted, kind, what):
    found = [LINE.fullmatch(line).groups() for line in lines]
    assert [match[:5] for match in found] == [(kind, *item[:3], what) for item in wanted]
    assert [float(match[5]) for match in found] == pytest.approx([mean(item[3]) for item in wanted], rel=1e-5)


def test_what_a_pass_says():
    torch.manual_seed(1)
    net = make_net(NET, phase="TRAIN")
    data, label = torch.randn(4, 6), torch.tensor([0.0, 2.0, 1.0, 2.0])
    forward, backward, norms = expected(net, data, label)
    said = []
    with DebugInfo(net, lambda text, place: said.append((text, place))) as debug:
        net.loss(net(data=data, label=label)).backward()
        debug.backward()
    lines = [text for text, _ in said]
    split = next(index for index, line in enumerate(lines) if "[Backward]" in line)
    check(lines[:split], forward, "Forward", "data")
    check(lines[split:-1], backward, "Backward", "diff")
    numbers = re.fullmatch(
        r"    \[Backward\] All net params \(data, diff\): L1 norm = \((\S+), (\S+)\); L2 norm = \((\S+), (\S+)\)",
        lines[-1],
    ).groups()
    for place, index in ((0, 0), (1, 1)):
        flat = torch.cat([pair[index].detach().flatten() for pair in norms])
        assert float(numbers[place]) == pytest.approx(float(flat.abs().sum()), rel=1e-5)
        assert float(numbers[place + 2]) == pytest.approx(float(flat.norm()), rel=1e-5)
    assert {place.split(":")[0] for _, place in said} == {"net.cpp"}


def test_watching_changes_nothing_and_ends():
    torch.manual_seed(1)
    net = make_net(NET, phase="TRAIN")
    data, label = torch.randn(4, 6), torch.tensor([0.0, 2.0, 1.0, 2.0])
    net.loss(net(data=data, label=label)).backward()
    grads = [item.tensor.grad.clone() for item in net.learnable]
    net.zero_grad()
    said = []
    with DebugInfo(net, lambda text, place: said.append(text)):
        net.loss(net(data=data, label=label)).backward()
    assert all(torch.equal(item.tensor.grad, grad) for item, grad in zip(net.learnable, grads, strict=True))
    count = len(said)
    net(data=data, label=label)
    assert len(said) == count > 0
    with DebugInfo(net, lambda text, place: said.append(text), wanted=False) as debug:
        net.loss(net(data=data, label=label)).backward()
        debug.backward()
        debug.before_update()
        debug.after_update()
    assert len(said) == count


def test_what_nothing_reaches_has_no_line_or_is_zero():
    text = """
    layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 } } }
    layer { name: "fc1" type: "InnerProduct" bottom: "data" top: "ip1" param { lr_mult: 0 } param { lr_mult: 0 }
      inner_product_param { num_output: 2 weight_filler { type: "xavier" } } }
    layer { name: "fc2" type: "InnerProduct" bottom: "ip1" top: "ip2" inner_product_param { num_output: 2 } }
    layer { name: "loss" type: "Reduction" bottom: "ip2" top: "loss" loss_weight: 1 }
    """
    net = make_net(text, phase="TRAIN")
    said = []
    with DebugInfo(net, lambda text, place: said.append(text)) as debug:
        net.loss(net(data=torch.ones(2, 3))).backward()
        debug.backward()
    backward = [line.split("] ")[1].rpartition(":")[0] for line in said if line.startswith("    [Backward] Layer")]
    assert backward == [
        "Layer loss, bottom blob ip2 diff",
        "Layer fc2, param blob 0 diff",
        "Layer fc2, param blob 1 diff",
    ]


SOLVER = """
base_lr: 0.5 lr_policy: "fixed" max_iter: 4 display: 2 debug_info: true snapshot_after_train: false
test_iter: 2 test_interval: 10 solver_mode: CPU random_seed: 1 iter_size: 2 net_param {
layer { name: "data" type: "DummyData" top: "data"
  dummy_data_param { shape { dim: 2 dim: 3 } data_filler { type: "gaussian" } } }
layer { name: "fc" type: "InnerProduct" bottom: "data" top: "ip" param { lr_mult: 2 }
  inner_product_param { num_output: 1 bias_term: false weight_filler { type: "constant" value: 3 } } }
layer { name: "loss" type: "Reduction" bottom: "ip" top: "loss" loss_weight: 1 reduction_param { operation: MEAN } }
}
"""


class Lines(Listener):
    def __init__(self):
        self.lines = []

    def line(self, text, place):
        self.lines.append(text.strip())


def test_a_solver_says_it_on_displayed_iterations_and_in_every_test(tmp_path):
    (tmp_path / "solver.prototxt").write_text(SOLVER)
    said = Lines()
    solver = Solver.from_prototxt(tmp_path / "solver.prototxt", listeners=[said])
    weights = [solver.net.layer("fc").blobs[0].detach().clone()]
    for _ in range(3):
        solver.step(1)
        weights.append(solver.net.layer("fc").blobs[0].detach().clone())
    solver.close()
    iteration, found = None, {}
    for line in said.lines:
        match = re.match(r"Iteration (\d+), (Testing|loss)", line)
        kind = re.match(r"\[(Forward|Backward|Update)\]", line)
        if match:
            iteration = (int(match[1]), match[2])
        elif kind:
            found.setdefault(kind[1], []).append((iteration, line))
    # The lines of a displayed pass come before its "Iteration", as in Caffe: two passes after the test of iteration 0,
    # two after the loss of iteration 0.
    passes = [place for place, line in found["Forward"] if "Layer loss, top" in line]
    assert passes == [(0, "Testing")] * 4 + [(0, "loss")] * 2
    norms = [line for _, line in found["Backward"] if "All net params" in line]
    assert len(norms) == 4
    updates = [(place, line) for place, line in found["Update"]]
    assert [place for place, _ in updates] == [(0, "loss"), (2, "loss")]
    for (_, line), index in zip(updates, (0, 2), strict=True):
        data, diff = re.fullmatch(r"\[Update\] Layer fc, param 0 data: (\S+); diff: (\S+)", line).groups()
        assert float(data) == pytest.approx(mean(weights[index]), rel=1e-5)
        assert float(diff) == pytest.approx(mean(weights[index] - weights[index + 1]), rel=1e-4)
