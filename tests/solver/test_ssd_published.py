"""SSD300 and SSD512 as their authors published them, for VOC and for COCO: they train, are resumed and are tested.

Only the batches are smaller; `python -m tests.solver.ssd_published` runs the files unchanged.
"""

from __future__ import annotations

import json
import math
import re

import pytest
import torch
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.errors import CaffeCompatWarning
from tests.solver.ssd_published import CLASSES, evaluated, lay_out, resumed, solver_in, steps

pytestmark = pytest.mark.slow
FEWER = "name_size_file has 48 images: so many count"
RESULTS = {
    "SSD512_VOC0712": "data/VOCdevkit/results/VOC2007/SSD_512x512/Main",
    "SSD300_coco": "data/mscoco/results/SSD_300x300",
}


def run(*arguments):
    result = CliRunner().invoke(main, list(map(str, arguments)))
    assert result.exit_code == 0, result.stderr
    return result


def test_ssd300_by_the_command_line(tmp_path, monkeypatch):
    path = lay_out(tmp_path, "SSD300_VOC0712", batch=2)
    monkeypatch.chdir(tmp_path)
    folder = path.rpartition("/")[0]
    prefix = f"{folder}/VGG_VOC0712_SSD_300x300_iter"
    said = run("train", "--solver", path, "--max-iter", 10, "--test-iter", 2, "--device", "cpu").stderr
    assert FEWER in said
    assert f"iteration 10: snapshot {prefix}_10.solverstate" in said
    said = run("train", "--solver", path, "--snapshot", "auto", "--max-iter", 11, "--device", "cpu").stderr
    assert f"going on from {prefix}_10.solverstate" in said
    last = float(re.search(r"iteration 11 is reached after \S+; the last loss is (\S+)", said)[1])
    assert 0 < last < 60
    weights = f"{prefix}_11.caffemodel"
    result = run("test", f"{folder}/test.prototxt", "-w", weights, "--test-iter", 2, "--ap-version", "11point")
    *lines, last = result.stdout.splitlines()
    names, values = zip(*(line.split(": ") for line in lines), strict=True)
    assert names == ("Loss", *(f"class{label}" for label in range(1, 21)))
    mean = re.fullmatch(r"detection_eval = (\S+) \(mAP, 11point\)", last)[1]
    assert float(mean) == pytest.approx(sum(map(float, values[1:])) / 20, abs=1e-6)
    # Four pictures were tested, of 48 in name_size_file and of num_test_image, 4952.
    assert "has the detections of 4 images, not of 48" in result.stderr
    files = list((tmp_path / "data/VOCdevkit/results/VOC2007/SSD_300x300/Main").iterdir())
    assert len(files) == 20
    lines = [line.split() for file in files for line in file.read_text().splitlines()]
    assert {line[0] for line in lines} <= {f"test_000{number}" for number in range(4)}
    assert lines


@pytest.mark.parametrize(("net", "count"), [("SSD512_VOC0712", 2), ("SSD300_coco", 2)])
def test_the_others(tmp_path, net, count):
    path = lay_out(tmp_path, net, batch=2)
    with pytest.warns(CaffeCompatWarning, match=FEWER):
        solver = solver_in(tmp_path, path)
    before = [item.tensor.detach().clone() for item in solver.net.learnable]
    losses = steps(solver, count)
    # At first all classes are as likely: each match, and three negatives for it, cost their logarithm; and its place.
    assert 4 * math.log(CLASSES[net]) * 0.8 < losses[0] < 60
    for item, old in zip(solver.net.learnable, before, strict=True):
        assert torch.isfinite(item.tensor).all()
        # The biases of a source that no box matches stay.
        assert old.dim() < 4 or not torch.equal(item.tensor, old)
    trained = [item.tensor.detach().clone() for item in solver.net.learnable]
    with pytest.warns(CaffeCompatWarning, match=FEWER):
        solver = resumed(solver, tmp_path, path)
    assert solver.iteration == count
    for item, old in zip(solver.net.learnable, trained, strict=True):
        assert torch.equal(item.tensor, old)
    with pytest.warns(CaffeCompatWarning, match="has the detections of 4 images, not of 48"):
        (score,) = evaluated(solver).scores
    assert score.name == "detection_eval"
    assert 0 <= score.value <= 1
    files = sorted((tmp_path / RESULTS[net]).iterdir())
    if net == "SSD300_coco":
        rows = [row for file in files for row in json.loads(file.read_text())]
        names = {"circle", "square", "triangle", *(f"unused{label}" for label in range(4, 81))}
        # In COCO's files the names of the label map are the numbers of the categories.
        assert {row["category_id"] for row in rows} <= names
        assert all(len(row["bbox"]) == 4 for row in rows)
        assert rows
    else:
        assert len(files) == 20
