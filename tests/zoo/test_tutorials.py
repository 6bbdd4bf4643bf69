"""The commands of the tutorials run, in their order, on a handful of pictures and for two iterations."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from caffecompat.cli.main import main
from tests.zoo.shapes import CLASSES, SIDE, paint, write_shapes

DOCS = Path(__file__).resolve().parents[2] / "docs"
# What stands for the length of a run.
LENGTHS = {"vgg": "1600", "repvgg": "500", "ssd": "600"}


def commands(page: str) -> list[str]:
    blocks = re.findall(r"^```sh\n(.*?)^```", (DOCS / f"{page}.md").read_text(), re.DOTALL | re.MULTILINE)
    text = "".join(blocks).replace(LENGTHS[page], "2").replace("batch_size: 32", "batch_size: 4")
    text = text.replace("--test-iter 13", "--test-iter 2")
    return text.splitlines()


def run(line: str) -> str:
    words = shlex.split(line)
    if words[0] == "sed":
        before = Path(words[-1]).read_text()
        subprocess.run(words, check=True)
        # An edit that finds nothing to edit is out of date.
        assert Path(words[-1]).read_text() != before, line
        return ""
    assert words[0] == "caffecompat"
    done = CliRunner().invoke(main, words[1:])
    assert done.exit_code == 0, f"{line}\n{done.output}"
    return done.stdout


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    for part in ("train", "test"):
        names = [f"{part}{index}.png" for index in range(10)]
        for name in names:
            cv2.imwrite(f"pictures/{name}", random.integers(0, 256, (32, 32, 3), np.uint8))
        (tmp_path / f"{part}.txt").write_text("".join(f"{name} {index}\n" for index, name in enumerate(names)))


@pytest.mark.slow
def test_vgg(pictures):
    told = {line: run(line) for line in commands("vgg")}
    assert Path("curve.png").stat().st_size
    assert Path("vgg-a.onnx").stat().st_size
    (scores,) = [text for line, text in told.items() if "evaluate" in line]
    assert {row.split()[0] for row in scores.splitlines()[1:]} >= {"ten", "dense", "all"}


@pytest.mark.slow
def test_repvgg(pictures):
    for line in commands("vgg")[:2]:
        run(line)
    told = {line: run(line) for line in commands("repvgg")}
    scores = [text for line, text in told.items() if "evaluate" in line]
    assert len(scores) == 2
    assert scores[0] == scores[1]
    (spread,) = [text for line, text in told.items() if "inspect" in line]
    assert "deviation" in spread.splitlines()[0]


@pytest.mark.slow
def test_ssd(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_shapes(Path("shapes"), 8, 18)
    told = {line: run(line) for line in commands("ssd")}
    for name in ("priors.png", "curve.png", "found.jpg", "ssd.onnx"):
        assert Path(name).stat().st_size
    (evaluated,) = [text for line, text in told.items() if "evaluate" in line]
    assert [row.split()[0] for row in evaluated.splitlines()[1:4]] == ["circle", "square", "triangle"]
    assert "18 images" in evaluated


def test_the_boxes_of_shapes_fit():
    """What is drawn lies within its box and reaches each side of it."""
    random = np.random.default_rng(3)
    for kind in CLASSES:
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        left, top, side = (int(number) for number in random.integers(50, 120, 3))
        paint(image, kind, (left, top, left + side, top + side), (255, 255, 255))
        rows, columns = np.nonzero(image[:, :, 0] > 127)
        found = columns.min(), rows.min(), columns.max(), rows.max()
        np.testing.assert_allclose(found, (left, top, left + side, top + side), atol=2)
