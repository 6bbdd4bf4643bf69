"""Scripts as they were written for Caffe, run in a tree that `caffecompat shim` prepared, from data to detections."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from caffecompat.cli.main import main
from caffecompat.formats import read_net, read_solver, read_weights
from tests.legacy import scripts

ITERATION = re.compile(r"Iteration (\d+), loss = (\S+)")


def call(tree, *arguments, **options):
    """What a program prints that is called in the tree, where `python` is the tree's."""
    path = f"{tree / 'build' / 'tools'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*map(str, arguments)],
        cwd=tree,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree with databases, and the scripts."""
    tree = tmp_path_factory.mktemp("tree")
    done = CliRunner().invoke(main, ["shim", str(tree)])
    assert done.exit_code == 0, done.stderr
    for name, text in (("draw", scripts.DRAW), ("train", scripts.TRAIN), ("detect", scripts.DETECT)):
        (tree / f"{name}.py").write_text(text)
    (tree / "segment.py").write_text(scripts.SEGMENT)
    (tree / "create.sh").write_text(scripts.CREATE)
    call(tree, "python", "draw.py")
    _, said = call(tree, "sh", "create.sh")
    assert "4 records, 8 boxes" in said
    assert "8 records, 16 boxes" in said
    assert (tree / "data" / "test_name_size.txt").read_text().splitlines()[:2] == ["test_00 64 72", "test_01 64 72"]
    return tree


@pytest.fixture(scope="module")
def trained(tree):
    """The tree, its detector trained; what training printed."""
    return tree, call(tree, "python", "train.py")[0]


@pytest.mark.slow
def test_a_script_that_writes_nets_and_a_job_trains(trained):
    tree, said = trained
    found = {int(iteration): float(loss) for iteration, loss in ITERATION.findall(said)}
    # After the last update it is shown once more.
    assert sorted(found) == [0, 1, 2, 3]
    assert 0 < found[3] < found[0] < 100
    assert "-gpu 0,1: no GPU is here" in said or "Using GPUs 0,1" in said
    folder = tree / "models" / "small"
    assert sorted(path.name for path in folder.iterdir()) == [
        *("SMALL.log", "SMALL_iter_3.caffemodel", "SMALL_iter_3.solverstate", "deploy.prototxt", "job.sh"),
        *("solver.prototxt", "test.prototxt", "train.prototxt"),
    ]
    assert (folder / "SMALL.log").read_text() == said
    assert read_solver(folder / "solver.prototxt").message.stepvalue == [2, 100]
    layers = read_net(folder / "deploy.prototxt").message.layer
    assert [layer.type for layer in (layers[0], layers[1], layers[-1])] == ["Input", "Convolution", "DetectionOutput"]
    weights = read_weights(folder / "SMALL_iter_3.caffemodel")
    blobs = {layer.name: [blob.array for blob in layer.blobs] for layer in weights.layers}
    assert blobs["conv3_relu_norm_mbox_conf"][0].shape == (4 * 3, 16, 3, 3)
    assert np.isfinite(blobs["conv4_mbox_loc"][0]).all()


@pytest.mark.slow
def test_a_script_that_scores_the_newest_snapshot(trained):
    tree, _ = trained
    said, _ = call(tree, "python", "train.py", "score")
    assert "Finetuning from models/small/SMALL_iter_3.caffemodel" in said
    score = re.search(r"Test net output #0: detection_eval = (\S+)", said)
    assert score is not None
    assert 0 <= float(score[1]) <= 1
    assert sorted(path.name for path in (tree / "found").iterdir()) == [
        "comp4_det_test_bar.txt",
        "comp4_det_test_square.txt",
    ]


@pytest.mark.slow
def test_a_script_of_python_2_that_detects(trained):
    tree, _ = trained
    weights = "models/small/SMALL_iter_3.caffemodel"
    said, _ = call(tree, "python", "detect.py", "models/small/deploy.prototxt", weights, "JPEGImages/test_00.jpg")
    first, *others = said.splitlines()
    assert first == "72 64 7 True"
    assert 1 <= len(others) <= 5
    assert all(re.fullmatch("(square|bar) True", line) for line in others)
    with Image.open(tree / "detect_result.jpg") as image:
        assert image.size == (72, 64)


@pytest.mark.slow
def test_a_script_that_is_given_caffes_path(tree):
    """By the Python that is here, as the script is Python 3's as well."""
    random = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(random.integers(0, 255, (24, 26, 3), np.uint8)).save(tree / f"image{number}.png")
        Image.fromarray(random.integers(0, 3, (24, 26), np.uint8)).save(tree / f"label{number}.png")
    for name in ("image", "label"):
        (tree / f"{name}s.txt").write_text("".join(f"{name}{number}.png\n" for number in range(3)))
    options = {**os.environ, "PYTHONPATH": str(tree / "python"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "segment.py", "--caffe", "build/tools/caffe"],
        cwd=tree,
        env=options,
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    assert done.stdout == "Writing train_net.txt\nWriting solver.txt\n"
    assert [int(iteration) for iteration, _ in ITERATION.findall(done.stderr)] == [0, 1, 2, 3]
    assert (tree / "joint_iter_3.caffemodel").is_file()
