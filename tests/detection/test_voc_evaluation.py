"""Against the devkits' own programs, written out step by step: VOCevaldet.m, VOCap.m, eval_detection.m."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from caffecompat.detection import voc_evaluation
from caffecompat.detection.voc_evaluation import evaluate, mean_average_precision
from caffecompat.errors import FormatError, UsageError
from tests.detection.whole_sets import random_found, random_truth


def corners(box):
    left, top, width, height = (Fraction(int(value)) for value in box)
    return left, top, left + width, top + height


def overlap_of(ours, theirs):
    """Both corners are part of a box."""
    width = min(ours[2], theirs[2]) - max(ours[0], theirs[0]) + 1
    height = min(ours[3], theirs[3]) - max(ours[1], theirs[1]) + 1
    if width <= 0 or height <= 0:
        return Fraction(0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (ours, theirs)]
    return width * height / (sum(areas) - width * height)


def voc_marks(found, truth, label, least):
    """VOCevaldet.m: "t", "f" or "-" of each detection of a class, in the order of falling score."""
    own = sorted(np.flatnonzero(found.label == label), key=lambda d: -found.scores[d])
    taken, marks = set(), []
    for d in own:
        best, which = Fraction(-1), None
        for g in np.flatnonzero((truth.label == label) & (truth.image == found.image[d])):
            value = overlap_of(corners(found.boxes[d]), corners(truth.boxes[g]))
            if value > best:
                best, which = value, g
        if best < least:
            marks.append("f")
        elif truth.difficult[which]:
            marks.append("-")
        else:
            marks.append("f" if which in taken else "t")
            taken.add(which)
    return marks


def ilsvrc_marks(found, truth, label, least):
    """eval_detection.m: a box that is taken is passed over, and a small one may be overlapped less."""
    own = sorted(np.flatnonzero(found.label == label), key=lambda d: -found.scores[d])
    taken, marks = set(), []
    for d in own:
        best, which = Fraction(-1), None
        for g in np.flatnonzero((truth.label == label) & (truth.image == found.image[d])):
            if g in taken:
                continue
            box = corners(truth.boxes[g])
            width, height = box[2] - box[0] + 1, box[3] - box[1] + 1
            enough = min(least, width * height / ((width + 10) * (height + 10)))
            value = overlap_of(corners(found.boxes[d]), box)
            if value >= enough and value > best:
                best, which = value, g
        marks.append("f" if which is None else "t")
        taken.add(which)
    return marks


def precision_and_recall(marks, positives):
    counted = [mark for mark in marks if mark != "-"]
    right = np.cumsum([mark == "t" for mark in counted]) if counted else np.zeros(0, int)
    return [Fraction(int(r), n) for n, r in enumerate(right, 1)], [Fraction(int(r), positives) for r in right]


def naive_ap(precision, recall, version):
    if version == "11point":
        levels = (Fraction(level, 10) for level in range(11))
        return (
            sum(max((p for p, r in zip(precision, recall, strict=True) if r >= level), default=0) for level in levels)
            / 11
        )
    total, before = Fraction(0), Fraction(0)
    for place, r in enumerate(recall):
        height = max(precision[place:]) if version == "MaxIntegral" else precision[place]
        total, before = total + (r - before) * height, r
    return total


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("metric", ["voc", "ilsvrc"])
def test_like_the_devkits(seed, metric):
    rng = np.random.default_rng(seed)
    truth = random_truth(rng)
    found = random_found(rng, truth)
    least = Fraction(1, 2)
    marks_of = voc_marks if metric == "voc" else ilsvrc_marks
    for version in ("11point", "MaxIntegral", "Integral"):
        results = evaluate(found, truth, metric=metric, version=version, overlap=float(least))
        wanted = []
        for label, result in enumerate(results):
            counted = (truth.label == label) & (~truth.difficult if metric == "voc" else True)
            marks = marks_of(found, truth, label, least)
            precision, recall = precision_and_recall(marks, int(counted.sum()))
            assert (result.name, result.boxes) == (truth.classes[label], counted.sum())
            assert result.detections == len(marks)
            np.testing.assert_allclose(result.precision, np.array(precision, float), rtol=1e-12)
            np.testing.assert_allclose(result.recall, np.array(recall, float), rtol=1e-12)
            wanted.append(float(naive_ap(precision, recall, version)))
            assert result.average_precision == pytest.approx(wanted[-1], rel=1e-12)
            assert 0.1 < wanted[-1] < 0.95
        assert mean_average_precision(results) == pytest.approx(np.mean(wanted), rel=1e-12)


def test_the_two_metrics_differ():
    rng = np.random.default_rng(0)
    truth = random_truth(rng)
    found = random_found(rng, truth)
    voc, ilsvrc = ([one.average_precision for one in evaluate(found, truth, metric=m)] for m in ("voc", "ilsvrc"))
    assert voc != ilsvrc


def test_a_recall_of_seven_tenths_reaches_the_level():
    """In single precision, 7 / 10 is below 0.7."""
    rng = np.random.default_rng(0)
    truth = random_truth(rng, images=10, classes=1, boxes=10, crowds=False)
    truth = replace(truth, image=np.arange(10))
    found = random_found(rng, truth, near=10, far=0)
    found = replace(found, image=np.arange(10), boxes=truth.boxes, scores=np.arange(10, 0, -1) / 10)
    found = replace(found, **{name: getattr(found, name)[:7] for name in ("image", "label", "boxes", "scores")})
    (result,) = evaluate(found, truth, version="11point")
    assert result.average_precision == pytest.approx(8 / 11)


def test_a_class_without_boxes_does_not_count():
    rng = np.random.default_rng(0)
    truth = random_truth(rng)
    found = random_found(rng, truth)
    truth = replace(truth, difficult=truth.difficult | (truth.label == 1))
    results = evaluate(found, truth)
    assert results[1].average_precision is None
    assert mean_average_precision(results) == np.mean([results[0].average_precision, results[2].average_precision])
    nothing = replace(
        found, label=found.label[:0], image=found.image[:0], boxes=found.boxes[:0], scores=found.scores[:0]
    )
    assert [one.average_precision for one in evaluate(nothing, truth)] == [0, None, 0]


def test_refused(monkeypatch):
    rng = np.random.default_rng(0)
    truth = random_truth(rng)
    found = random_found(rng, truth)
    with pytest.raises(UsageError, match="'integral' is not known"):
        evaluate(found, truth, version="integral")
    with pytest.raises(UsageError, match="overlap above 0"):
        evaluate(found, truth, overlap=0)
    monkeypatch.setattr(voc_evaluation, "MAX_PAIRS", 2)
    with pytest.raises(FormatError, match="too many to compare"):
        evaluate(found, truth)
