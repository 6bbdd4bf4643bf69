"""Reports on logs alone, and what is told where there can be no report."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.cli.pages import Page, report
from tests.cli.records import call

# --- logs alone


def test_a_log_without_tests(tmp_path):
    lines = [f"Iteration {n}, loss = {1 / (n + 1)}\nIteration {n}, lr = 0.1" for n in range(0, 300, 10)]
    (tmp_path / "run.log").write_text("\n".join([*lines, "Iteration 300, loss = nan"]))
    page = report(tmp_path / "page.html", tmp_path / "run.log")
    assert "The log shows no test." in page.texts
    assert page.tiles["last loss"] == ("nan", "first 1")
    assert "Learning rate" in page.texts
    assert not page.all("image")


def test_several_logs_and_the_default_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, loss in (("one", 2), ("two", 3)):
        text = f"Iteration 0, loss = {loss}\nIteration 5, Testing net (#0)\nTest net output #0: acc = 0.{loss}\n"
        (tmp_path / f"{name}.log").write_text(text)
    call("report", "one.log", "two.log")
    page = Page((tmp_path / "one.html").read_text())
    assert [row[0] for row in page.table("output", "first")] == ["test acc (one.log)", "test acc (two.log)"]
    assert {"loss (one.log)", "loss (two.log)"} <= set(page.texts)
    assert page.tiles == {}


@pytest.mark.parametrize("values", [["nan"] * 3, ["1e300", "-1e300", "inf"], ["0", "0", "0"], ["-3", "5", "1e-9"]])
def test_losses_of_any_kind_are_drawn(tmp_path, values):
    (tmp_path / "run.log").write_text("\n".join(f"Iteration {n}, loss = {v}" for n, v in enumerate(values)))
    page = report(tmp_path / "page.html", tmp_path / "run.log")
    places = " ".join(path["d"] for path in page.all("path")) + " ".join(str(line["y1"]) for line in page.all("line"))
    assert "nan" not in places
    assert "inf" not in places


@pytest.mark.parametrize(("first", "label"), [(203.7, "loss (logarithmic)"), (2.3, "loss")])
def test_a_first_loss_far_above_all_others_does_not_flatten_them(tmp_path, first, label):
    lines = [f"Iteration {n}, loss = {value}" for n, value in enumerate([first, 4, 3, 2, 1.5])]
    (tmp_path / "run.log").write_text("\n".join(lines))
    page = report(tmp_path / "page.html", tmp_path / "run.log")
    assert label in page.texts


def test_a_long_log_makes_a_light_page(tmp_path):
    chance = np.random.default_rng(1)
    losses = chance.random(60_000) + 1
    losses[31_234] = 9
    (tmp_path / "run.log").write_text("\n".join(f"Iteration {n}, loss = {loss:.6f}" for n, loss in enumerate(losses)))
    page = report(tmp_path / "page.html", tmp_path / "run.log")
    assert len(page.source) < 150_000
    heights = [float(place) for place in re.findall(r"[ L]\d+\.\d (\d+\.\d)", page.all("path")[0]["d"])]
    assert sorted(heights)[0] < sorted(heights)[1] - 100  # the peak is there


# --- faults


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "nothing to report"),
        (["none.log"], 1, "none.log: there is no such file"),
        (["run.log", "--model", "net.prototxt"], 2, "--weights FILE"),
        (["run.log", "--weights", "other.caffemodel"], 2, "--model NET.prototxt"),
        (["run.log", "-o", "run.log"], 2, "run.log is an input"),
        (["run.log", "-o", "none/page.html"], 1, "its folder does not exist"),
        (["--model", "net.prototxt", "-w", "other.caffemodel"], 2, "read from nowhere"),
        (["--model", "data.prototxt", "-w", "other.caffemodel"], 1, "'missing_lmdb'"),
        (["--model", "data.prototxt", "-w", "none.caffemodel"], 1, "none.caffemodel: cannot be read"),
        (["run.log", "--threshold", "2"], 2, "--threshold"),
    ],
)
def test_faults_are_told(tmp_path, monkeypatch, weights, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run.log").write_text("Iteration 0, loss = 1\n")
    (tmp_path / "net.prototxt").write_text(
        'layer { name: "i" type: "Input" top: "data" input_param { shape { dim: 1 } } }'
    )
    (tmp_path / "data.prototxt").write_text(
        'layer { name: "d" type: "Data" top: "data" data_param { source: "missing_lmdb" batch_size: 1 backend: LMDB } }'
    )
    assert message in call("report", *arguments, code=code).stderr
    assert not list(tmp_path.glob("*.html"))
