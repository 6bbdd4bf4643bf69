"""The language task of matching networks on a small text, from `new` by `train` to `evaluate fewshot`."""

from __future__ import annotations

import json
import random
from itertools import combinations

import pytest

from caffecompat.formats import read_net
from caffecompat.schema.plugins import parameters
from tests.zoo.test_fewshot import run


def write_text(path, sentences):
    """Fifty words, each of which comes with its own four of eight companions."""
    draws = random.Random(0)
    companions = [f"near{number}" for number in range(8)]
    near = dict(zip(range(50), draws.sample(list(combinations(companions, 4)), 50), strict=True))
    lines = []
    for _ in range(sentences):
        topic = draws.randrange(50)
        words = [f"topic{topic}", *near[topic]]
        draws.shuffle(words)
        lines.append(" ".join(words))
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.parametrize(("shots", "iterations"), [(1, 2), (2, 2), (3, 30)])
def test_from_new_to_evaluate(shots, iterations, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_text(tmp_path / "text.txt", 6000)
    run("new", "matching-net-text", "-o", "net", "--data", "text.txt", "--variant", f"{shots}-shot")
    data = read_net("net/train_val.prototxt").message.layer[1]
    # A tenth of the 58 words would be too few for episodes of five.
    assert parameters(data, "sentence_data_param").held_out_words == 10
    solver = tmp_path / "net" / "solver.prototxt"
    text = solver.read_text().replace("max_iter: 40000", f"max_iter: {iterations}")
    text = text.replace("test_iter: 200", "test_iter: 1").replace("GPU", "CPU")
    solver.write_text(text + "random_seed: 1\n")
    run("train", solver)
    weights = f"net/matching_net_text_iter_{iterations}.caffemodel"
    arguments = ("net/train_val.prototxt", "--weights", weights, "--episodes", 30, "--json", "found.json")
    assert run("evaluate", "fewshot", *arguments).endswith("(95 % of 30 episodes of 5 classes)\n")
    found = json.loads((tmp_path / "found.json").read_text())
    if iterations > 2:
        # Before any training it is 0.48 here: companions stand in both sentences. Chance is 0.2.
        assert found["accuracy"] > 0.6
