"""Every layer type of the registry: its gradients in float64, and a pass under bfloat16 autocast."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from caffecompat.layers import registered
from caffecompat.layers.base import meanings_of
from caffecompat.schema import LAYER_TYPES
from tests.layers.type_cases import CASES, Case

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]

# Types whose tops have no gradient, and why.
NOT_DIFFERENTIABLE = {
    "Accuracy": "counts",
    "ArgMax": "places; Caffe has no backward pass",
    "DetectionEvaluate": "counts",
    "DetectionOutput": "chooses boxes; Caffe has no backward pass",
    "HDF5Output": "has no top",
    "PriorBox": "depends on shapes alone",
    "Proposal": "chooses boxes; no backward pass in its source",
    "Python": "as Proposal",
    "Sign": "a step; its source passes no gradient",
    "Silence": "has no top",
    "Threshold": "a step; Caffe has no backward pass",
}
SOURCES = {type_ for type_, row in LAYER_TYPES.items() if row.data}


def test_every_registered_type_has_a_case():
    covered = {case.type for case in CASES}
    assert set(registered()) - SOURCES == covered
    assert set(NOT_DIFFERENTIABLE) <= covered
    for type_ in covered:
        several = meanings_of(type_)
        if len(several) > 1:
            assert {cls.__name__ for cls in several} == {case.cls for case in CASES if case.type == type_}


def test_data_layers_compute_nothing():
    """They are fed; Caffe passes no gradient on from them."""
    for type_ in SOURCES & set(registered()):
        assert LAYER_TYPES[type_].bottoms == (0, 0)


def passes(case: Case, layer, *bottoms: Tensor) -> tuple[Tensor, ...]:
    """The tops, those drawn at random the same in each call."""
    torch.manual_seed(3)
    tops = layer(*bottoms)
    return (tops,) if isinstance(tops, Tensor) else tuple(tops)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", [case for case in CASES if case.type not in NOT_DIFFERENTIABLE], ids=str)
def test_gradients_are_the_derivatives(case, device):
    layer = case.layer().to(device)
    if case.cls:
        assert type(layer).__name__ == case.cls
    bottoms = [x.detach().to(device).requires_grad_(x.requires_grad) for x in case.inputs()]
    parameters = [] if case.no_parameters else [blob for blob in layer.blobs if blob.requires_grad]

    def differentiable(*values: Tensor) -> tuple[Tensor, ...]:
        return tuple(top for top in passes(case, layer, *values[: len(bottoms)]) if top.requires_grad)

    assert differentiable(*bottoms), "no top has a gradient: list the type in NOT_DIFFERENTIABLE"
    if case.no_parameters:
        layer.requires_grad_(False)
    # The fast mode compares along random directions: tens of times faster, and as strict.
    # GPUs add in any order.
    nondeterminism = 0.0 if device == "cpu" else 1e-10
    assert torch.autograd.gradcheck(differentiable, (*bottoms, *parameters), fast_mode=True, nondet_tol=nondeterminism)


def test_a_wrong_gradient_is_found():
    x = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert not torch.autograd.gradcheck(lambda x: x * x.detach(), x, fast_mode=True, raise_exception=False)


@pytest.mark.parametrize("case", [case for case in CASES if case.type in NOT_DIFFERENTIABLE], ids=str)
def test_no_gradient_where_none_is_said(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bottoms = case.inputs()
    leaves = [x for x in bottoms if x.requires_grad]
    for top in passes(case, case.layer(), *bottoms):
        if top.requires_grad:
            assert not any(gradient.any() for gradient in torch.autograd.grad(top.sum(), leaves))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_bfloat16_autocast_runs(case, device, tmp_path, monkeypatch):
    """Under autocast on float32 bottoms, and on bottoms that a layer before made bfloat16."""
    monkeypatch.chdir(tmp_path)
    for dtype in (torch.float32, torch.bfloat16):
        layer = case.layer().float().to(device)
        bottoms = [
            x.detach().to(device, dtype if bottom.fixed is None else torch.float32)
            for x, bottom in zip(case.inputs(), case.bottoms, strict=True)
        ]
        with torch.autocast(device, torch.bfloat16):
            tops = passes(case, layer, *bottoms)
        for top, shape in zip(tops, layer.shapes(*(tuple(x.shape) for x in bottoms)), strict=True):
            assert top.isfinite().all()
            assert top.dim() == len(shape)
