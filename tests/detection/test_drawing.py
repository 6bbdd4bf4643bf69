from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from caffecompat.detection.drawing import DrawnBox, class_colour, draw_boxes


def test_the_border_has_the_colour_of_the_class_and_the_inside_none():
    image = np.full((200, 300, 3), 255, np.uint8)
    drawn = draw_boxes(image, [DrawnBox(3, "cat", 0.5, (50.0, 60.0, 250.0, 180.0))])
    for row, column in ((60, 240), (180, 100), (120, 50), (120, 250)):
        assert tuple(drawn[row, column]) == class_colour(3)
    assert (drawn[70:170, 60:240] == 255).all()
    assert (image == 255).all()


def test_lines_grow_with_the_picture():
    def thickness(size):
        drawn = draw_boxes(np.zeros((size, size, 3), np.uint8), [DrawnBox(1, "a", 0.5, (0.0, size / 2, size, size))])
        return int(drawn[size * 3 // 4, : size // 2].any(axis=1).sum())

    assert thickness(200) < thickness(1800) < thickness(5400)


def test_text_is_readable_and_stays_inside():
    image = np.zeros((100, 400, 3), np.uint8)
    for box in ((390.0, 0.0, 400.0, 5.0), (0.0, 95.0, 10.0, 100.0)):
        drawn = draw_boxes(image, [DrawnBox(1, "a long name", 0.5, box)])
        # White letters on the class's colour.
        assert (drawn > 180).all(axis=2).sum() > 50
        assert (drawn == class_colour(1)).all(axis=2).sum() > 500


def test_colours_differ_and_letters_can_be_read_on_them():
    colours = [np.array(class_colour(label)) for label in range(81)]
    assert len({tuple(colour) for colour in colours}) > 70
    assert min(np.abs(a - b).max() for a, b in pairwise(colours)) > 60
    luminance = [colour @ [0.0722, 0.7152, 0.2126] for colour in colours]
    assert max(luminance) < 190


@pytest.mark.parametrize("box", [(0.0, 0.0, 0.0, 0.0), (-1e30, -1e30, 1e30, 1e30), (float("nan"),) * 4])
def test_odd_boxes(box):
    drawn = draw_boxes(np.zeros((7, 5, 3), np.uint8), [DrawnBox(1, "", 0.5, box)])
    assert drawn.shape == (7, 5, 3)
