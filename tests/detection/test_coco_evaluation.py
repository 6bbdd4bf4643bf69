"""COCO's figures, as pycocotools gives them for the same things in files, and by hand."""

from __future__ import annotations

import builtins
import json
from dataclasses import replace

import numpy as np
import pytest

from caffecompat.detection.coco_evaluation import SUMMARY, evaluate, steps
from caffecompat.detection.ground_truth import Found, Truth
from caffecompat.errors import FormatError, UnsupportedError
from tests.detection.whole_sets import random_found, random_truth

coco = pytest.importorskip("pycocotools.coco")
cocoeval = pytest.importorskip("pycocotools.cocoeval")


def library(folder, truth, found, ids=lambda index: 10 * index + 3):
    """The twelve figures that pycocotools gives by itself, from files, under other ids."""
    boxes = zip(truth.image, truth.label, truth.boxes.tolist(), truth.areas, truth.difficult, strict=True)
    annotations = {
        "images": [{"id": ids(index), "file_name": name} for index, name in enumerate(truth.images)],
        "categories": [{"id": ids(index), "name": name} for index, name in enumerate(truth.classes)],
        "annotations": [
            {
                "id": number,
                "image_id": ids(int(image)),
                "category_id": ids(int(label)),
                "bbox": box,
                "area": float(area),
                "iscrowd": int(crowd),
            }
            for number, (image, label, box, area, crowd) in enumerate(boxes, 1)
        ],
    }
    rows = zip(found.image, found.label, found.boxes.tolist(), found.scores, strict=True)
    results = [
        {"image_id": ids(int(image)), "category_id": ids(int(label)), "bbox": box, "score": float(score)}
        for image, label, box, score in rows
    ]
    (folder / "annotations.json").write_text(json.dumps(annotations))
    (folder / "results.json").write_text(json.dumps(results))
    whole = coco.COCO(str(folder / "annotations.json"))
    evaluation = cocoeval.COCOeval(whole, whole.loadRes(str(folder / "results.json")), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return evaluation.stats


@pytest.mark.parametrize("seed", range(3))
def test_like_the_library_on_files(tmp_path, capsys, seed):
    rng = np.random.default_rng(seed)
    truth = random_truth(rng)
    found = random_found(rng, truth)
    wanted = library(tmp_path, truth, found)
    capsys.readouterr()
    calls = []
    result = evaluate(found, truth, lambda: calls.append(1))
    assert capsys.readouterr().out == ""
    assert len(calls) == steps(truth)
    ours = [-1 if result.summary[name] is None else result.summary[name] for name, _ in SUMMARY]
    np.testing.assert_array_equal(ours, wanted)
    assert 0.05 < result.summary["AP"] < 0.95
    np.testing.assert_allclose(np.mean([one.ap for one in result.classes]), result.summary["AP"])
    np.testing.assert_allclose(np.mean([one.ap50 for one in result.classes]), result.summary["AP50"])
    np.testing.assert_allclose(np.mean([one.ap75 for one in result.classes]), result.summary["AP75"])
    for label, one in enumerate(result.classes):
        assert one.name == truth.classes[label]
        assert one.boxes == ((truth.label == label) & ~truth.difficult).sum()
        assert one.detections == (found.label == label).sum()


def by_hand(boxes, detections, scores, areas=None):
    """One image, one class."""
    count, zeros = len(boxes), np.zeros(len(boxes), np.int64)
    truth = Truth(("cat",), ("one",), {"cat": 0}, {"one": 0}, zeros, zeros, np.array(boxes, float), zeros > 0)
    truth = replace(truth, areas=np.array(areas, float)) if areas else truth
    places = np.zeros(len(detections), np.int64)
    assert count
    return evaluate(
        Found(("cat",), ("one",), places, places, np.array(scores), np.array(detections, float).reshape(-1, 4)), truth
    )


def test_by_hand():
    """Of two boxes of 100 x 100 one is found exactly, one at an overlap of 0.6: right up to 0.6, three thresholds."""
    boxes = [[0, 0, 100, 100], [200, 0, 100, 100]]
    result = by_hand(boxes, [[0, 0, 100, 100], [225, 0, 100, 100]], [0.9, 0.8])
    # Where one of two is found, 51 of COCO's 101 levels of recall are reached.
    half = 51 / 101
    assert result.summary["AP50"] == pytest.approx(1)
    assert result.summary["AP75"] == pytest.approx(half)
    assert result.summary["AP"] == pytest.approx((3 + 7 * half) / 10)
    assert result.summary["AR100"] == pytest.approx((3 + 7 * 0.5) / 10)
    assert result.summary["AR1"] == pytest.approx(0.5)
    assert result.summary["APs"] is result.summary["APm"] is None
    assert result.summary["APl"] == pytest.approx((3 + 7 * half) / 10)


def test_the_size_is_that_of_the_object():
    result = by_hand([[0, 0, 100, 100]], [[0, 0, 100, 100]], [0.9], areas=[900])
    assert result.summary["APs"] == pytest.approx(1)
    assert result.summary["APl"] is None


def test_nothing_found():
    result = by_hand([[0, 0, 100, 100]], [], [])
    assert result.summary["AP"] == 0
    assert result.classes[0].ap == 0


def test_refused(monkeypatch):
    rng = np.random.default_rng(0)
    truth = random_truth(rng)
    found = random_found(rng, truth)
    with pytest.raises(FormatError, match="no images or no categories"):
        evaluate(found, replace(truth, images=()))
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("pycocotools"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UnsupportedError, match=r"pip install 'caffecompat\[coco\]'"):
        evaluate(found, truth)
