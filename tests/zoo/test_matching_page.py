"""The commands and the program of docs/matching.md run, in their order, on a handful of drawings and few iterations."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.zoo.glyphs import drawn, strokes
from tests.zoo.test_embedding import SMALL
from tests.zoo.test_fewshot import run
from tests.zoo.test_matching_text import write_text

PAGE = Path(__file__).resolve().parents[2] / "docs" / "matching.md"


def blocks(language: str) -> str:
    text = "".join(re.findall(rf"^```{language}\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))
    return re.sub(r"(max-iter |_iter_)\d+", r"\g<1>1", text)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the page takes as given: Omniglot, a text, and a net."""
    monkeypatch.chdir(tmp_path)
    for part in ("images_background", "images_evaluation"):
        for number in range(5):
            random = np.random.default_rng(number)
            glyph, place = strokes(random), tmp_path / "omniglot" / part / "Latin" / f"character{number:02d}"
            place.mkdir(parents=True)
            for drawing in range(6):
                cv2.imwrite(str(place / f"{number:04d}_{drawing:02d}.png"), drawn(glyph, random)[0])
    write_text(tmp_path / "text.txt", 6000)
    (tmp_path / "own.prototxt").write_text(SMALL)
    return tmp_path


@pytest.mark.slow
def test_the_page(folder):
    for line in blocks("sh").splitlines():
        words = shlex.split(line)
        assert words.pop(0) == "caffecompat"
        if words[0] == "new":
            run(*words)
            solver = Path(words[words.index("-o") + 1]) / "solver.prototxt"
            solver.write_text(re.sub(r"^test_iter: .*", "test_iter: 1", solver.read_text(), flags=re.MULTILINE))
            continue
        told = run(*words, *(("--episodes", 4) if words[0] == "evaluate" else ()))
        if words[0] == "evaluate":
            assert told.endswith("(95 % of 4 episodes of 5 classes)\n")
    assert Path("curve.png").stat().st_size
    names: dict[str, torch.Tensor] = {}
    exec(blocks("python"), names)
    probabilities = names["probabilities"]
    assert probabilities.shape == (2, 5)
    np.testing.assert_allclose(probabilities.detach().numpy().sum(1), 1, rtol=1e-5)
