"""Every layer on a GPU: the recorded cases, and in float64 what the CPU gives."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.layers.golden import cases, differences, run
from tests.layers.type_cases import CASES


@pytest.mark.usefixtures("exact")
@pytest.mark.parametrize("case", cases(), ids=str)
def test_as_recorded(case, monkeypatch):
    monkeypatch.chdir(case.path.parent)
    assert not differences(case, run(case, device="cuda"))


def tops_and_gradients(case, device):
    layer = case.layer().to(device)
    bottoms = [x.detach().to(device).requires_grad_(x.requires_grad) for x in case.inputs()]
    tops = layer(*bottoms)
    tops = [tops] if isinstance(tops, Tensor) else list(tops)
    assert all(top.device.type == device for top in tops)
    total = sum((top.sum() for top in tops if top.requires_grad), torch.zeros((), device=device))
    if not total.requires_grad:
        return tops
    leaves = [leaf for leaf in (*bottoms, *layer.blobs) if leaf.requires_grad]
    return [*tops, *(g for g in torch.autograd.grad(total, leaves, allow_unused=True) if g is not None)]


def draws(case):
    return case.phase == "TRAIN" and (case.type == "Dropout" or "STOCHASTIC" in case.body)


@pytest.mark.parametrize("case", [case for case in CASES if not draws(case)], ids=str)
def test_as_on_the_cpu(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found, expected = tops_and_gradients(case, "cuda"), tops_and_gradients(case, "cpu")
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        # PyTorch's HardSwish for GPUs multiplies by a sixth in float32.
        tolerance = 1e-7 if case.type == "HardSwish" else 1e-9
        torch.testing.assert_close(ours.cpu(), theirs, rtol=tolerance, atol=tolerance, equal_nan=True)


@pytest.mark.parametrize("case", [case for case in CASES if draws(case)], ids=str)
def test_what_is_drawn_follows_the_seed(case):
    layer = case.layer().to("cuda")
    bottoms = [x.detach().to("cuda") for x in case.inputs()]
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(layer(*bottoms))
    assert drawn[0].equal(drawn[1])
    assert not drawn[0].equal(drawn[2])
