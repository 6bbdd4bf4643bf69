from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.solver.lint import RULES
from tests.solver.lint.examples import NET, databases, edited, write


@pytest.fixture
def folder(tmp_path, monkeypatch):
    databases(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def lint(*arguments):
    return CliRunner().invoke(main, ["lint", *map(str, arguments)])


def test_what_is_right_passes(folder):
    write(folder)
    result = lint("solver.prototxt")
    assert result.exit_code == 0
    assert result.stdout == (
        'net.prototxt:2: info: layer "data": 20 records, 4 an iteration: all of them once in 5 iterations, '
        "20 times in the run of 100 [run-size]\n"
    )
    assert result.stderr == "0 errors, 0 warnings, 1 info\n"


def test_an_error_is_told_with_its_place_and_the_status_is_1(folder):
    write(folder, net=[("kernel_size: 2", "kernel_size: 2 dilate: 2"), ('source: "test"', 'source: "tests"')])
    result = lint("solver.prototxt", "--ignore", "run-size")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert lines[0] == "net.prototxt:5: error: layer \"data\": source 'tests' is not there [missing-source]"
    assert lines[-2].startswith("net.prototxt:9: error: layer \"conv\": unknown field 'dilate' [unknown-field]")
    assert result.stderr == "2 errors, 0 warnings, 1 info\n"


def test_warnings_count_if_strict(folder):
    write(folder, [("momentum: 0.9", "momentum: 1")])
    assert lint("solver.prototxt").exit_code == 0
    result = lint("solver.prototxt", "--strict")
    assert result.exit_code == 1
    assert "solver.prototxt:5: warning: momentum is 1; expected 0 to below 1 [momentum]\n" in result.stdout
    assert lint("solver.prototxt", "--strict", "--ignore", "momentum,display").exit_code == 0


def test_json(folder):
    write(folder, [("momentum: 0.9", "momentum: 1")])
    result = lint("solver.prototxt", "--json")
    told = json.loads(result.stdout)
    assert (told["errors"], told["warnings"], told["infos"]) == (0, 1, 1)
    assert told["findings"][0] == {
        "rule": "momentum",
        "severity": "warning",
        "message": "momentum is 1; expected 0 to below 1",
        "file": "solver.prototxt",
        "line": 5,
        "layer": None,
        "hint": None,
    }
    assert told["findings"][1]["rule"] == "run-size"
    assert result.stderr == ""


def test_nets_and_several_files(folder):
    write(folder)
    (folder / "deploy.prototxt").write_text(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 2 } } }'
        'layer { name: "ip" type: "InnerProduct" bottom: "date" top: "ip" inner_product_param { num_output: 2 } }'
    )
    result = lint("net.prototxt", "deploy.prototxt", "missing.prototxt", "solver.prototxt")
    assert result.exit_code == 1
    lines = [line for line in result.stdout.splitlines() if not line.startswith(" ")]
    assert "deploy.prototxt:1: error: layer \"ip\": unknown bottom 'date' [broken-net]" in lines
    assert "missing.prototxt: error: there is no such file [unreadable]" in lines
    assert len(lines) == 3


def test_the_phases_of_a_net(folder):
    """A net whose rules tell no phases apart is one of TRAIN if it has a loss."""
    data = NET[NET.index("layer") : NET.index("layer", NET.index("data_param"))].replace("include { phase: TRAIN }", "")
    rest = NET[NET.index('layer { name: "conv"') :].replace("include { phase: TEST }", "")
    (folder / "a.prototxt").write_text(data + rest)
    assert "random-test" not in lint("a.prototxt").stdout
    assert "random-test" not in lint("a.prototxt", "--phase", "TRAIN").stdout
    assert "random-test" in lint("a.prototxt", "--phase", "TEST").stdout
    without_loss = rest[: rest.index('layer { name: "loss"')]
    (folder / "b.prototxt").write_text(data + without_loss)
    assert "random-test" in lint("b.prototxt").stdout


def test_relative_paths_start_in_the_root(folder, tmp_path_factory, monkeypatch):
    """Or beside the file that names them, as in a run."""
    write(folder)
    other = tmp_path_factory.mktemp("other")
    monkeypatch.chdir(other)
    (other / "solver.prototxt").write_text((folder / "solver.prototxt").read_text())
    assert lint("solver.prototxt").exit_code == 1
    assert lint("solver.prototxt", "--root", folder).exit_code == 0


def test_nothing_is_written(folder):
    write(folder, [("", "random_seed: 1")])
    before = {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*")}
    lint("solver.prototxt")
    assert {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*")} == before


def test_weights_of_the_command_take_the_place_of_the_solvers(folder):
    write(folder, [("", 'weights: "nothing.caffemodel"')])
    assert "weights 'nothing.caffemodel' is not there" in lint("solver.prototxt").stdout
    result = lint("solver.prototxt", "-w", "one.caffemodel, two.caffemodel")
    assert "nothing.caffemodel" not in result.stdout
    assert "one.caffemodel: error: weights that are not there [missing-weights]\n" in result.stdout
    assert "two.caffemodel: error: weights that are not there [missing-weights]\n" in result.stdout


def test_help_imports_no_torch():
    command = [sys.executable, "-X", "importtime", "-m", "caffecompat", "lint", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert result.stdout.startswith("Usage:")
    imported = {line.rsplit("|", 1)[1].strip() for line in result.stderr.splitlines() if "|" in line}
    assert "click" in imported
    assert not imported & {"torch", "cv2", "numpy"}


def test_list_rules():
    result = lint("--list-rules")
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()] == sorted(RULES)
    told = json.loads(lint("--list-rules", "--json").stdout)
    assert [(rule["rule"], rule["severity"]) for rule in told] == [
        (name, RULES[name].severity) for name in sorted(RULES)
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [([], "no FILE"), (["x", "--ignore", "base_lr"], "base-lr"), (["x", "--processes", "0"], "0 is not in the range")],
)
def test_wrong_usage(arguments, says):
    result = lint(*arguments)
    assert result.exit_code != 0
    assert says in result.output or says in str(getattr(result.exception, "hint", ""))


def test_a_net_of_neither_kind(folder):
    (folder / "x.prototxt").write_text('item { name: "a" label: 1 }')
    result = lint("x.prototxt")
    assert result.exit_code == 1
    assert "x.prototxt: error: expected a net or a solver" in result.stdout


def test_names_cannot_write_to_the_terminal(folder):
    write(folder, net=[('name: "conv"', r'name: "\033[31mconv"'), ("kernel_size: 2", "kernel_size: 2 dilate: 2")])
    result = lint("solver.prototxt")
    assert "unknown-field" in result.stdout
    assert "\033" not in result.stdout


def test_edits_apply():
    with pytest.raises(AssertionError):
        edited("abc", [("x", "y")])
