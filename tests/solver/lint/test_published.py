"""Published solvers and nets: what is said of them is true, and nothing else is said."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import pytest

from caffecompat.solver.lint import lint
from tests.support import SHARED, shared_file

# What published files lack here, and what they say of the machine.
ABSENT = {
    "label-map",
    "missing-file",
    "missing-mean",
    "missing-net",
    "missing-source",
    "no-gpu",
    "not-checked",
    "snapshot-prefix",
}
# The solver's net by the name that it has in the collection, if it is in the same folder.
SOLVERS = {
    "bvlc/bvlc_alexnet__solver.prototxt": {
        "models/bvlc_alexnet/train_val.prototxt": "bvlc_alexnet__train_val.prototxt"
    },
    "bvlc/cifar10__cifar10_full_solver.prototxt": {
        "examples/cifar10/cifar10_full_train_test.prototxt": "cifar10__cifar10_full_train_test.prototxt"
    },
    "bvlc/mnist__lenet_solver.prototxt": {
        "examples/mnist/lenet_train_test.prototxt": "mnist__lenet_train_test.prototxt"
    },
    "vgg/vgg_16_solver.prototxt": {"models/vgg16/train_val.prototxt": "VGG_ILSVRC_16_layers_train_val.prototxt"},
    "dilation/train_frontend/solver.prototxt": {
        "frontend/frontend_vgg_train_net.txt": "train_net.prototxt",
        "frontend/frontend_vgg_test_net.txt": "test_net.prototxt",
    },
    "dilation/train_context/solver.prototxt": {
        "context/context_train_net.txt": "train_net.prototxt",
        "context/context_test_net.txt": "test_net.prototxt",
    },
    **{
        f"ssd/{name}/solver.prototxt": {
            f"models/VGGNet/{folder}/train.prototxt": "train.prototxt",
            f"models/VGGNet/{folder}/test.prototxt": "test.prototxt",
        }
        for name, folder in (
            ("SSD300_VOC0712", "VOC0712/SSD_300x300"),
            ("SSD512_VOC0712", "VOC0712/SSD_512x512"),
            ("SSD300_coco", "coco/SSD_300x300"),
        )
    },
}
# What else is true of them: dilation's nets start from VGG's weights, which the command line gives, and shuffle in
# tests; SSD's solvers are for four GPUs, and start from a reduced VGG-16, which the command line gives; its deploy nets
# write no files of detections; a file of the collection begins with a line that is no prototxt.
SSD = {"ssd-batch": 1, "ssd-weights": 1}
TRUE = {
    "dilation/train_frontend/solver.prototxt": {"random-test": 1, "zero-weights": 1},
    "dilation/train_context/solver.prototxt": {"random-test": 1},
    **{f"ssd/{name}/solver.prototxt": SSD for name in ("SSD300_VOC0712", "SSD512_VOC0712", "SSD300_coco")},
}
NETS = {
    "vgg/VGG_19_layers_train_val.prototxt": {"unreadable": 1},
    # 32 x 32 labels for scores of 256 x 256.
    "dilation/train_joint10_up/train_net.prototxt": {"broken-net": 1},
    "dilation/train_joint10_up/test_net.prototxt": {"broken-net": 1},
    "legacy/lenet_v1_version1_interim_20140323.prototxt": {"passed-over": 1},
}
PROTOTXTS = sorted(str(path.relative_to(SHARED / "prototxt")) for path in (SHARED / "prototxt").rglob("*.prototxt"))


@pytest.mark.parametrize("name", SOLVERS)
def test_solvers(name, tmp_path, monkeypatch):
    source = shared_file("prototxt") / name
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    for place, net in SOLVERS[name].items():
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source.parent / net, place)
    found = Counter(finding.rule for finding in lint(source))
    assert {rule: count for rule, count in found.items() if rule not in ABSENT} == TRUE.get(name, {})
    assert "missing-net" not in found
    assert found["no-gpu"] == 1


@pytest.mark.parametrize("name", PROTOTXTS)
def test_every_file(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = Counter(finding.rule for finding in lint(shared_file("prototxt") / name))
    told = {"told"} if "ssd/" in name and "deploy" in name else set()
    assert {rule: count for rule, count in found.items() if rule not in ABSENT | told} == NETS.get(name, {})


@pytest.mark.parametrize("run", sorted(path.name for path in (SHARED / "golden" / "training").glob("*")))
def test_recorded_runs_have_no_error(run, monkeypatch):
    """They ran; their tests take a part of the test data, and the log of most shows no losses."""
    monkeypatch.chdir(shared_file("data"))
    found = lint(SHARED / "golden" / "training" / run / "solver.prototxt")
    assert not [finding.text() for finding in found if finding.severity == "error"]
    allowed = {"display", "run-size", "test-coverage", "test-interval"}
    assert {finding.rule for finding in found} <= allowed
