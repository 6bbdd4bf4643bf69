"""Matching networks learn: from `new` by `train` to `evaluate fewshot`, and better than they began."""

from __future__ import annotations

import json
import math

import pytest
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.errors import UsageError
from caffecompat.zoo.fewshot import summary
from tests.zoo.fewshot import CONTEXT, MATCHING, NEAREST, PLAIN, compare, ends, gains, plot, report
from tests.zoo.glyphs import write_glyphs


def run(*arguments: object) -> str:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stdout


def test_the_interval_of_a_mean():
    mean, half = summary([0.2, 0.4, 0.9])
    assert mean == pytest.approx(0.5)
    assert half == pytest.approx(1.96 * math.sqrt(0.13 / 3))


@pytest.mark.slow
def test_held_out_glyphs_are_told_better_by_training(tmp_path):
    curves = compare(tmp_path, classes=200, iterations=60, stops=1, episodes=100, seeds=[1], filters=16)
    assert curves.keys() == {NEAREST, PLAIN, MATCHING, CONTEXT}
    found = {name: summary(ends(several)) for name, several in curves.items()}
    # By chance a fifth; of an embedding that has learnt nothing 0.35.
    assert found[MATCHING][0] - found[MATCHING][1] > 0.55
    assert all(mean - half > 0.35 for mean, half in found.values())
    # What the page says of its longer run. Here the gain is 15.6 points; with seeds 2 and 3 it is 8 and more.
    mean, half = summary(gains(curves[MATCHING], curves[NEAREST]))
    assert mean - half > 0.05
    # So does full context.
    assert found[CONTEXT][0] > found[NEAREST][0]
    # The paper's attention is nearly flat over cosines of rectified embeddings.
    mean, half = summary(gains(curves[MATCHING], curves[PLAIN]))
    assert mean > half
    assert report(curves)[-4].startswith("matching over matching, scale 1: ")
    plot(tmp_path / "curves.png", curves, 60)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_from_new_to_evaluate(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_glyphs(tmp_path / "db", range(40), 8)
    run("new", "matching-net", "-o", "net", "--data", "db", "--variant", "1-shot-fce")
    solver = tmp_path / "net" / "solver.prototxt"
    text = solver.read_text().replace("max_iter: 40000", "max_iter: 2").replace("test_iter: 200", "test_iter: 1")
    solver.write_text(text.replace("solver_mode: GPU", "solver_mode: CPU"))
    run("train", solver)
    arguments = ("net/train_val.prototxt", "--weights", "net/matching_net_iter_2.caffemodel", "--episodes", 4)
    told = [run("evaluate", "fewshot", *arguments, "--seed", seed, "--json", "found.json") for seed in (1, 1, 2)]
    assert told[0] == told[1]
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found["accuracies"]) == 4
    assert told[2].startswith(f"accuracy = {found['accuracy']:.4f} +- {found['interval']:.4f} (95 % of 4 episodes")


def test_a_net_without_a_matching_loss(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "n.prototxt").write_text(
        'layer { name: "d" type: "DummyData" top: "d" dummy_data_param { shape { dim: 1 dim: 2 } } } '
        'layer { name: "i" type: "InnerProduct" bottom: "d" top: "i" inner_product_param { num_output: 1 } }'
    )
    run("convert", "n.prototxt", "-o", "n.caffemodel")
    with pytest.raises(UsageError, match="expected a net with one MatchingLoss, got 0"):
        run("evaluate", "fewshot", "n.prototxt", "--weights", "n.caffemodel")
