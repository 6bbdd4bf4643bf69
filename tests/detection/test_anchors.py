"""The anchors of Faster R-CNN."""

from __future__ import annotations

import torch

from caffecompat.detection.anchors import generate_anchors, move_boxes, place_anchors

# What the authors' MATLAB code gives, whose pixels count from 1.
PUBLISHED = """
  -83   -39   100    56
 -175   -87   192   104
 -359  -183   376   200
  -55   -55    72    72
 -119  -119   136   136
 -247  -247   264   264
  -35   -79    52    96
  -79  -167    96   184
 -167  -343   184   360
"""


def test_the_published_anchors():
    wanted = torch.tensor([[float(number) for number in line.split()] for line in PUBLISHED.split("\n") if line])
    torch.testing.assert_close(generate_anchors(), wanted - 1)


def test_other_ratios_and_scales():
    anchors = generate_anchors(8, (1.0, 4.0), (1.0, 2.0))
    assert anchors.tolist() == [[0, 0, 7, 7], [-4, -4, 11, 11], [2, -4, 5, 11], [0, -12, 7, 19]]


def test_places_run_by_row_column_and_anchor():
    placed = place_anchors(torch.tensor([[0.0, 0, 1, 1], [0, 0, 2, 2]]), 2, 3, 10)
    assert placed.shape == (12, 4)
    assert placed[3].tolist() == [10, 0, 12, 2]
    assert placed[6].tolist() == [0, 10, 1, 11]


def test_corrections_move_the_centre_and_scale_the_sides():
    box = torch.tensor([0.0, 0, 9, 19])
    moved = move_boxes(box, torch.tensor([0.1, -0.5, 0, 0]))
    # The sides are 10 and 20; the last pixel's far edge becomes the end, as in the original.
    assert moved.tolist() == [1, -10, 11, 10]
    doubled = move_boxes(box, torch.tensor([1.0, 1.0, 2.0, 1.0]).log())
    torch.testing.assert_close(doubled, torch.tensor([-5.0, 0, 15, 20]))
