"""Overlaps and coding of boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from caffecompat.detection.boxes import (
    box_size,
    clip_boxes,
    crosses_boundary,
    decode_boxes,
    encode_boxes,
    jaccard_overlap,
)
from tests.detection import naive, strategies

CODES = ["CORNER", "CENTER_SIZE", "CORNER_SIZE"]


@given(strategies.boxes(1), strategies.boxes(1), st.booleans())
def test_overlaps_and_sizes_are_the_rules(a, b, normalized):
    scale = 1 if normalized else 56
    a, b = a * np.float32(scale), b * np.float32(scale)
    found = jaccard_overlap(torch.from_numpy(a)[:, None], torch.from_numpy(b), normalized=normalized)
    with np.errstate(divide="ignore", invalid="ignore"):
        wanted = [[naive.overlap(x, y, normalized) for y in b] for x in a]
    np.testing.assert_array_equal(found.numpy(), np.array(wanted, np.float32))
    sizes = [naive.size(x, normalized) for x in a]
    np.testing.assert_array_equal(box_size(torch.from_numpy(a), normalized=normalized).numpy(), sizes)


def test_known_overlaps():
    a = torch.tensor([0.0, 0.0, 0.5, 0.5])
    b = torch.tensor([0.25, 0.25, 0.75, 0.75])
    assert jaccard_overlap(a, b).item() == pytest.approx(1 / 7)
    # In pixels both ends count: two boxes of 6x6 that share 4x4.
    assert jaccard_overlap(a * 10, (b - 0.05) * 10, normalized=False).item() == pytest.approx(16 / 56)
    touching = torch.tensor([0.5, 0.0, 1.0, 0.5])
    assert jaccard_overlap(a, touching).item() == 0


@pytest.mark.parametrize("code_type", CODES)
@pytest.mark.parametrize("in_target", [False, True])
def test_decoding_undoes_encoding(code_type, in_target):
    generator = torch.Generator().manual_seed(3)
    corner, side = torch.rand(2, 50, 2, generator=generator), torch.rand(2, 50, 2, generator=generator) + 0.05
    boxes, priors = torch.cat([corner, corner + side], -1)
    variances = torch.tensor([0.1, 0.3, 0.2, 0.4]).expand(50, 4)
    codes = encode_boxes(boxes, priors, variances, code_type, variance_encoded_in_target=in_target)
    again = decode_boxes(codes, priors, variances, code_type, variance_encoded_in_target=in_target)
    torch.testing.assert_close(again, boxes, rtol=1e-5, atol=1e-6)


def test_encoding_by_hand():
    prior, box = torch.tensor([0.2, 0.2, 0.6, 0.4]), torch.tensor([0.3, 0.1, 0.7, 0.5])
    variance = torch.tensor([0.1, 0.1, 0.2, 0.2])
    found = {code: encode_boxes(box, prior, variance, code).tolist() for code in CODES}
    assert found["CORNER"] == pytest.approx([1, -1, 0.5, 0.5], abs=1e-5)
    assert found["CORNER_SIZE"] == pytest.approx([2.5, -5, 1.25, 2.5], abs=1e-4)
    assert found["CENTER_SIZE"] == pytest.approx([2.5, 0, 0, float(np.log(2) / 0.2)], abs=1e-5)


def test_clipping_and_crossing():
    boxes = torch.tensor([[-0.5, 0.2, 1.5, 0.9], [0.0, 0.0, 1.0, 1.0]])
    assert clip_boxes(boxes).tolist() == [[0, pytest.approx(0.2), 1, pytest.approx(0.9)], [0, 0, 1, 1]]
    assert clip_boxes(boxes * 10, height=5, width=12).tolist() == [[0, 2, 12, 5], [0, 0, 10, 5]]
    assert crosses_boundary(boxes).tolist() == [True, False]
