"""lint knows SSD: every rule about it finds what it is for, and nothing in what is right."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from caffecompat.solver.lint import Asked, lint
from caffecompat.solver.options import Options
from tests.solver.lint.examples import Case, check, prove
from tests.solver.lint.ssd_cases import SSD_CASES
from tests.solver.lint.ssd_examples import databases, write
from tests.solver.ssd_published import CLASSES, lay_out
from tests.support import REFERENCE

RUNS = REFERENCE / "ssd_training"


@pytest.fixture
def folder(tmp_path):
    databases(tmp_path)
    return tmp_path


def test_the_example_is_right(folder):
    found = check(write(folder), {}, {})
    assert [(finding.rule, finding.message) for finding in found] == [
        ("run-size", "12 records, 4 an iteration: all of them once in 3 iterations, 33.3 times in the run of 100")
    ]


@pytest.mark.parametrize("case", SSD_CASES, ids=[f"{case.rule}-{number}" for number, case in enumerate(SSD_CASES)])
def test_rule(folder, case: Case):
    prove(folder, case, write)


@pytest.mark.parametrize("net", CLASSES)
def test_published_nets_on_other_data(net, tmp_path, monkeypatch):
    """What is said of them is that the data are others: fewer records, and of three classes only."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    solver = Path(lay_out(tmp_path, net))
    found = lint(solver, Asked(processes=4))
    texts = {finding.rule: finding.text() for finding in found}
    others = {"run-size", "test-coverage", "label-gap", "told", "ssd-weights"}
    assert Counter(finding.rule for finding in found) == dict.fromkeys(others, 1)
    assert not {"error"} & {finding.severity for finding in found}
    unused = CLASSES[net] - 4
    assert f"{unused} of {unused + 3} classes of objects have no box in layer 'data'" in texts["label-gap"]
    assert "name_size_file has 48 images: so many count" in texts["told"]
    alone = lint(solver)
    assert Counter(finding.rule for finding in alone) == dict.fromkeys({*others, "ssd-batch"}, 1)


@pytest.mark.parametrize("run", ["ssd_shapes", "ssd_shapes_sgd_iter2"])
def test_recorded_runs(run):
    found = lint(RUNS / run / "solver.prototxt", Asked(Options(root=RUNS), weights=(RUNS / run / "init.caffemodel",)))
    assert {finding.rule for finding in found} <= {"run-size", "test-interval"}


def test_boxes_are_read(folder):
    """Of so many records as are asked for; those of AnnotatedData are boxes, not labels."""
    from caffecompat.solver.lint.subject import read_subject

    subject = read_subject(write(folder), Asked(Options(root=folder), records=5))
    read = subject.train.read[0]
    assert (read.count, read.looked, read.complete) == (12, 5, False)
    assert len(read.boxes) == 10
    assert read.boxes.keys == [f"{number:08d}_pictures/p{number}.jpg" for number in range(5)]
    assert not read.labels[1].counts


def test_nothing_is_written(folder):
    before = sorted(path for path in folder.rglob("*"))
    path = write(folder)
    check(path, {}, {})
    assert sorted(path for path in folder.rglob("*")) == sorted([*before, path, folder / "net.prototxt"])


def test_nets_that_are_made_to_waste_time(folder):
    """Blobs joined with themselves over and over, and classes without number."""
    joined = "".join(
        f'layer {{ name: "j{at}" type: "Concat" bottom: "j{at - 1}" bottom: "j{at - 1}" top: "j{at}" }}\n'
        for at in range(1, 60)
    )
    net = [
        ('layer { name: "mbox_loss"', joined.replace('"j0"', '"a_prior"') + 'layer { name: "mbox_loss"'),
        ('bottom: "mbox_prior"\n  bottom: "label"', 'bottom: "j59" bottom: "label"'),
    ]
    found = {finding.rule for finding in check(write(folder, net=net), {}, {})}
    assert "broken-net" in found
    many = [("multibox_loss_param { num_classes: 3", "multibox_loss_param { num_classes: 4294967295")]
    found = {finding.rule: finding for finding in check(write(folder, net=many), {}, {})}
    assert "no name for classes 3, 4, 5, 6, 7 and 4294967287 more" in found["label-map"].message
    assert found["ssd-classes"].message == "num_classes is 3, and 4294967295 in layer 'mbox_loss'"
