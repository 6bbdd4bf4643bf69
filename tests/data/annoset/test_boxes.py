"""Groups of boxes against the original's loop written out, and what becomes of bad boxes."""

from __future__ import annotations

import math
import random
import struct

import pytest

from caffecompat.data.annoset.boxes import BoxRules, Marked, MarkedBox, annotation_groups
from caffecompat.errors import FormatError
from caffecompat.schema import caffe_pb2

CLASSES = {"none_of_the_above": 0, "cat": 1, "dog": 2, "cow": 7}


def single(value):
    """A number in single precision."""
    return struct.unpack("f", struct.pack("f", value))[0]


def as_the_original(boxes, height, width):
    """ReadXMLToAnnotatedDatum: groups are searched for each box, instances go on from the last one's."""
    datum = caffe_pb2.AnnotatedDatum()
    for name, (xmin, ymin, xmax, ymax), difficult in boxes:
        label = CLASSES[name]
        for group in datum.annotation_group:
            if group.group_label == label:
                instance = group.annotation[-1].instance_id + 1
                break
        else:
            group = datum.annotation_group.add()
            group.group_label = label
            instance = 0
        made = group.annotation.add()
        made.instance_id = instance
        made.bbox.xmin = single(single(xmin) / single(width))
        made.bbox.ymin = single(single(ymin) / single(height))
        made.bbox.xmax = single(single(xmax) / single(width))
        made.bbox.ymax = single(single(ymax) / single(height))
        made.bbox.difficult = difficult
    return [group.SerializeToString() for group in datum.annotation_group]


def groups_of(boxes, size=(60, 90), stated=None, bad="keep", **rules):
    marked = Marked([MarkedBox(*box) for box in boxes], stated, rules.pop("fractions", False))
    return annotation_groups(marked, size, BoxRules(CLASSES, bad, **rules), "a.xml")


def test_groups():
    chance = random.Random(3)
    for _ in range(50):
        boxes = []
        for _ in range(chance.randrange(9)):
            xs, ys = sorted(chance.sample(range(91), 2)), sorted(chance.sample(range(61), 2))
            corners = (xs[0], ys[0], xs[1], ys[1])
            boxes.append((chance.choice(["cat", "dog", "cow"]), corners, chance.random() < 0.3))
        groups, problems = groups_of(boxes)
        assert [group.SerializeToString() for group in groups] == as_the_original(boxes, 60, 90)
        assert problems == []


def test_the_size_that_is_stated_divides():
    groups, problems = groups_of([("cat", (10, 10, 20, 20), False)], size=(60, 90), stated=(40, 80))
    box = groups[0].annotation[0].bbox
    assert (box.xmin, box.ymin, box.xmax, box.ymax) == (0.125, 0.25, 0.25, 0.5)
    assert [problem.kind for problem in problems] == ["size"]
    assert problems[0].text == "a.xml: states 80x40 pixels, the image has 90x60"


def test_labels_need_no_map_and_fractions_no_size():
    groups, problems = groups_of([(5, (0.25, 0.5, 0.75, 1), True)], fractions=True)
    assert groups[0].group_label == 5
    box = groups[0].annotation[0].bbox
    assert (box.xmin, box.ymin, box.xmax, box.ymax, box.difficult) == (0.25, 0.5, 0.75, 1, True)
    assert problems == []


# The corners in a picture of 90x60, what is said of them, and what `keep`, `clip` and `drop` leave, in pixels.
BAD = [
    ((-9, 6, 45, 30), "beyond the image", (-9, 6, 45, 30), (0, 6, 45, 30)),
    ((9, 6, 99, 30), "beyond the image", (9, 6, 99, 30), (9, 6, 90, 30)),
    ((9, 6, 45, 61), "beyond the image", (9, 6, 45, 61), (9, 6, 45, 60)),
    ((100, 6, 120, 30), "beyond the image", (100, 6, 120, 30), None),
    ((45, 6, 9, 30), "wrong way round", (45, 6, 9, 30), None),
    ((9, 30, 45, 6), "wrong way round", (9, 30, 45, 6), None),
    ((9, 6, 9, 30), "no area", (9, 6, 9, 30), None),
    ((9, 6, 45, 6), "no area", (9, 6, 45, 6), None),
    ((9, math.nan, 45, 30), "no numbers", None, None),
    ((9, 6, math.inf, 30), "no numbers", None, None),
    # Beyond single precision.
    ((9, 6, 1e39, 30), "no numbers", None, None),
]


@pytest.mark.parametrize(("corners", "said", "kept", "clipped"), BAD)
def test_bad_boxes(corners, said, kept, clipped):
    boxes = [("cat", corners, False), ("cat", (9, 6, 45, 30), True)]
    for bad, left in (("keep", kept), ("clip", clipped), ("drop", None)):
        groups, problems = groups_of(boxes, bad=bad)
        assert [problem.kind for problem in problems] == ["box"]
        assert said in problems[0].text
        assert problems[0].text.startswith("a.xml: box 1 (cat): ")
        found = groups[0].annotation
        # The good one stays, and counts from what is left.
        assert [item.instance_id for item in found] == list(range(2 if left else 1))
        assert found[-1].bbox.difficult
        if left:
            box = found[0].bbox
            expected = [value / size for value, size in zip(left, (90, 60, 90, 60), strict=True)]
            assert [box.xmin, box.ymin, box.xmax, box.ymax] == pytest.approx(expected, abs=1e-6)


def test_a_class_that_is_not_known():
    boxes = [("dogg", (1, 1, 2, 2), False), ("dog", (1, 1, 2, 2), False)]
    with pytest.raises(FormatError, match="no class 'dogg'") as caught:
        groups_of(boxes)
    assert caught.value.file == "a.xml"
    assert 'did you mean "dog"?' in str(caught.value)
    groups, problems = groups_of(boxes, skip_unknown=True)
    assert [group.group_label for group in groups] == [2]
    assert [problem.kind for problem in problems] == ["class"]


def test_no_boxes():
    assert groups_of([]) == ([], [])
