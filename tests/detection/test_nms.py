"""Non-maximum suppression: its forms against the greedy loop."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.detection import nms_in_tiles as tiles
from caffecompat.detection import nms_on_cpu as cpu
from caffecompat.detection import nms_on_gpu as gpu
from caffecompat.detection.nms import nms, nms_by_rank
from caffecompat.detection.nms_in_tiles import nms_in_tiles, thresholds
from caffecompat.detection.nms_on_gpu import nms_on_gpu
from caffecompat.detection.ranks import rank_in_group
from tests.detection import naive, strategies

FORMS = [nms, nms_by_rank, nms_in_tiles, nms_on_gpu]


def wanted(boxes, groups, threshold, eta):
    keep = np.zeros(len(boxes), bool)
    for group in set(groups.tolist()):
        places = np.flatnonzero(groups == group)
        keep[places[naive.nms(boxes[places], threshold, eta)]] = True
    return keep.tolist()


@pytest.mark.parametrize("form", FORMS)
@given(
    boxes=strategies.boxes(most=60),
    count=st.integers(1, 4),
    threshold=st.sampled_from([0.0, 0.25, 0.45, 0.5, 0.7, 0.95]),
    eta=st.sampled_from([1.0, 1.0, 0.9, 0.5]),
    tile=st.sampled_from([1, 3, 16, 64]),
)
@settings(deadline=None, max_examples=60)
def test_is_the_greedy_loop(form, boxes, count, threshold, eta, tile):
    groups = np.sort(np.arange(len(boxes)) * 7919 % count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tiles, "TILE", tile)
        patch.setattr(cpu, "TILE", tile)
        found = form(torch.from_numpy(boxes), torch.from_numpy(groups), count, threshold, eta)
    assert found.tolist() == wanted(boxes, groups, threshold, eta)


@pytest.mark.parametrize("form", FORMS)
def test_long_chains_across_tiles(form):
    """Each box suppresses the next if it is kept, so every second one is."""
    start = torch.arange(300) * 0.1
    boxes = torch.stack([start, torch.zeros(300), start + 0.25, torch.ones(300)], 1)
    keep = form(boxes, torch.zeros(300, dtype=torch.int64), 1, 0.4, 1.0)
    assert keep.tolist() == [index % 2 == 0 for index in range(300)]


@pytest.mark.parametrize(("pairs", "parts"), [(1 << 24, 128), (3000, 128), (3000, 1), (10, 128)])
def test_groups_are_decided_in_parts(pairs, parts, monkeypatch):
    monkeypatch.setattr(gpu, "MOST_PAIRS", pairs)
    monkeypatch.setattr(gpu, "MOST_PARTS", parts)
    low = torch.rand(200, 2, generator=torch.Generator().manual_seed(2))
    boxes, groups = torch.cat([low, low + 0.3], 1), torch.arange(200) // 29
    for threshold, eta in ((0.3, 1.0), (0.7, 0.9), (-1.0, 1.0)):
        assert nms_on_gpu(boxes, groups, 9, threshold, eta).equal(nms(boxes, groups, 9, threshold, eta))


@pytest.mark.parametrize("form", FORMS)
def test_no_boxes_and_empty_groups(form):
    none = form(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), 3, 0.5, 1.0)
    assert none.shape == (0,)
    assert none.dtype == torch.bool
    two = form(torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2), torch.tensor([2, 2]), 5, 0.5, 1.0)
    assert two.tolist() == [True, False]


@pytest.mark.parametrize("form", FORMS)
def test_infinite_boxes_are_suppressed_by_each_other(form):
    """Their overlap is inf / inf, and Caffe keeps a box if `overlap <= threshold`."""
    infinite = torch.tensor([[-torch.inf, -torch.inf, torch.inf, torch.inf]] * 2)
    assert form(infinite, torch.tensor([0, 0]), 1, 0.5, 1.0).tolist() == [True, False]


def test_thresholds_fall_to_one_half():
    assert thresholds(0.9, 0.8, 10).tolist() == pytest.approx([0.9, 0.72, 0.576, 0.4608])
    assert thresholds(0.9, 0.999, 3).tolist() == pytest.approx([0.9, 0.8991, 0.8982, 0.8973], abs=1e-4)
    assert thresholds(0.45, 0.5, 10).tolist() == pytest.approx([0.45])


def test_ranks():
    assert rank_in_group(torch.tensor([0, 0, 2, 2, 2, 5])).tolist() == [0, 1, 0, 1, 2, 0]


def test_does_not_import_the_compiler():
    """It takes seconds; the first detection of a process must not wait for it."""
    code = (
        "import torch, sys; from caffecompat.detection.nms import nms;"
        "nms(torch.rand(5, 4), torch.zeros(5, dtype=torch.int64), 1, 0.5);"
        "sys.exit('torch._dynamo' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("scale", [1e-20, 1e-19, 1.0, 1e15])
def test_boxes_of_any_size(scale):
    """Areas that are subnormal numbers, or almost infinite, are compared as others are."""
    rng = np.random.default_rng(3)
    corner = rng.random((300, 2)).astype(np.float32)
    boxes = np.concatenate([corner, corner + rng.random((300, 2)).astype(np.float32) + 0.1], 1) * np.float32(scale)
    groups = np.sort(rng.integers(0, 4, 300))
    found = nms(torch.from_numpy(boxes), torch.from_numpy(groups), 4, 0.45)
    assert found.tolist() == wanted(boxes, groups, 0.45, 1.0)
