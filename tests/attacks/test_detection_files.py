"""Mutated files of results, annotations, names and label maps: nothing but a CaffeCompatError comes out."""

from __future__ import annotations

import contextlib
import json
import random
import warnings

import pytest

from caffecompat.data.result_reading import read_results
from caffecompat.data.truth_reading import read_truth
from caffecompat.detection import voc_evaluation
from caffecompat.detection.ground_truth import aligned
from caffecompat.detection.label_map import read_label_map
from caffecompat.detection.name_sizes import read_name_sizes
from caffecompat.errors import CaffeCompatError
from tests.attacks.mutate import mutated
from tests.data.test_result_reading import CSV, LISTED
from tests.data.test_truth_reading import COCO, voc_xml
from tests.support import REFERENCE

RECORDED = REFERENCE / "detection_files"
CASES = 60


def refusals(path, data, read):
    """How many of the mutated files were refused; what else is raised comes out."""
    refused = 0
    for case in range(CASES):
        path.write_bytes(mutated(random.Random(case), data))
        with contextlib.suppress(CaffeCompatError), warnings.catch_warnings():
            warnings.simplefilter("error")
            refused += 1
            read(path)
            refused -= 1
    return refused


@pytest.mark.parametrize("name", ["VOC/det_1.txt", "ILSVRC/det_.txt", "COCO/det_.json"])
def test_results(tmp_path, name):
    truth_of = voc_xml(("1", (1, 2, 30, 40), 0), ("2", (3, 4, 50, 60), 1), ("3", (3, 4, 300, 200), 0))
    for image in ("img_a", "img_b", "7"):
        (tmp_path / f"{image}.xml").write_text(truth_of)
    truth = read_truth(tmp_path, None)

    def evaluate(path):
        found, _ = read_results([path], truth.class_names)
        found, _ = aligned(found, truth)
        for metric in ("voc", "ilsvrc"):
            voc_evaluation.evaluate(found, truth, metric=metric)
        if name.startswith("COCO"):
            coco_evaluation = pytest.importorskip("caffecompat.detection.coco_evaluation")
            pytest.importorskip("pycocotools")
            coco_evaluation.evaluate(found, truth)

    path = tmp_path / (RECORDED / name).name
    assert 5 < refusals(path, (RECORDED / name).read_bytes(), evaluate) < CASES


@pytest.mark.parametrize("name", ["x.json", "x.csv", "x.jsonl"])
def test_results_of_detect(tmp_path, name):
    row = {"class": 1, "name": "cat", "score": 0.5, "xmin": 1, "ymin": 2, "xmax": 30.5, "ymax": 40}
    texts = {
        "x.json": json.dumps(LISTED),
        "x.csv": CSV + "a.jpg,1,cat,0.5,1,2,30.5,40\n" * 3,
        "x.jsonl": "\n".join(json.dumps({"image": f"{index}.jpg", "objects": [row]}) for index in range(3)),
    }
    assert 5 < refusals(tmp_path / name, texts[name].encode(), lambda path: read_results([path], [])) < CASES


def test_annotations(tmp_path):
    xml = voc_xml(("1", (1, 2, 30, 40), 0), ("2", (3, 4, 50, 60), 1)).encode()
    (tmp_path / "xml").mkdir()
    assert 5 < refusals(tmp_path / "xml" / "a.xml", xml, lambda path: read_truth(path.parent, None)) < CASES
    coco = json.dumps(COCO).encode()
    assert 5 < refusals(tmp_path / "coco.json", coco, lambda path: read_truth(path, None)) < CASES


@pytest.mark.parametrize(("name", "read"), [("name_size.txt", read_name_sizes), ("labelmap.prototxt", read_label_map)])
def test_names(tmp_path, name, read):
    assert 5 < refusals(tmp_path / name, (RECORDED / name).read_bytes(), read) < CASES
