"""`caffecompat caffe`: the original's flags, and its log on stderr."""

from __future__ import annotations

import re
import shutil

import pytest
import torch
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.cli.tools.gflags import parse
from caffecompat.errors import UsageError
from tests.solver.runs import TRAINING

RUN = "sgd_step"
GLOG = re.compile(r"I\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [a-z_]+\.cpp:\d+\] ")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The working directory: the recorded run's solver, which shows every tenth iteration, and its net."""
    monkeypatch.chdir(tmp_path)
    net = (TRAINING / RUN / "train_val.prototxt").read_text()
    (tmp_path / "train_val.prototxt").write_text(net.replace("digits/", f"{TRAINING}/digits/"))
    shutil.copy(TRAINING / RUN / "init.caffemodel", tmp_path)
    solver = (TRAINING / RUN / "solver.prototxt").read_text()
    solver = re.sub(r'snapshot_prefix: "[^"]*"', 'snapshot_prefix: "digits"', solver)
    (tmp_path / "solver.prototxt").write_text(solver.replace("display: 0", "display: 10"))
    return tmp_path


def caffe(*arguments, code=0):
    done = CliRunner().invoke(main, ["caffe", *map(str, arguments)])
    assert done.exit_code == code, done.stderr
    assert done.stdout == ""
    return done.stderr


def lines(log):
    """The lines of a log without their prefix, which all have."""
    assert all(GLOG.match(line) for line in log.splitlines()), log
    return [GLOG.sub("", line) for line in log.splitlines()]


def test_train(folder):
    log = lines(caffe("train", "--solver=solver.prototxt", "-weights", "init.caffemodel", "-logtostderr", "-v=1"))
    assert "Finetuning from init.caffemodel" in log
    assert "Solving digits" in log
    assert "Iteration 0, loss = 2.31221" in log
    assert "Iteration 40, lr = 0.025" in log
    assert any(line.startswith("    Test net output #0: accuracy = 0.") for line in log)
    assert (folder / "digits_iter_60.caffemodel").exists()
    assert not list(folder.glob("*.log"))

    again = lines(caffe("train", "-snapshot", "digits_iter_60.solverstate", "-solver", "solver.prototxt"))
    assert "Resuming from digits_iter_60.solverstate" in again


def test_a_gpu_that_is_not_here_is_told_and_the_cpu_taken(folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    text = (folder / "solver.prototxt").read_text().replace("max_iter: 60", "max_iter: 1")
    (folder / "solver.prototxt").write_text(text.replace("solver_mode: CPU", "solver_mode: GPU"))
    log = lines(caffe("train", "-solver", "solver.prototxt", "-gpu", "0,1"))
    assert "-gpu 0,1: no GPU is here, or this build of torch does not use it. Use CPU." in log
    assert "each of 2 GPUs would take a batch of its own; -processes 2 does that on the CPU" in log
    assert any(line.startswith("device: cpu") for line in log)


def test_log_dir_has_a_file_named_as_glog_names_it(folder):
    (folder / "logs").mkdir()
    caffe("train", "-solver", "solver.prototxt", "-log_dir", "logs", "-max_iter", "2")
    (log,) = (folder / "logs").iterdir()
    assert re.fullmatch(r"caffe\..*\.log\.INFO\.\d{8}-\d{6}\.\d+", log.name)
    assert "Iteration 0, loss" in log.read_text()


def test_test(folder):
    log = lines(caffe("test", "-model=train_val.prototxt", "--weights", "init.caffemodel", "-iterations", "7"))
    assert "Running for 7 iterations." in log
    assert sum(line.startswith("Batch 6, ") for line in log) == 2
    # The original's first test in this run.
    assert log[-2:] == ["accuracy = 0.105714", "loss = 2.31427 (* 1 = 2.31427 loss)"]


def test_time(folder):
    log = lines(caffe("time", "-model", "train_val.prototxt", "-iterations", "2", "-phase", "TEST"))
    start = log.index("Average time per layer:")
    assert re.fullmatch(r"      data\tforward: \S+ ms\.", log[start + 1])
    assert re.fullmatch(r"      data\tbackward: \S+ ms\.", log[start + 2])
    assert "  accuracy\tforward" in "\n".join(log)
    assert re.fullmatch(r"Average Forward-Backward: \S+ ms\.", log[-3])
    assert log[-1] == "*** Benchmark ends ***"


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a GPU")
def test_device_query_without_a_gpu(folder):
    assert "expected a GPU, got none" in caffe("device_query", "-gpu", "all", code=1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tset"], "expected one action, of device_query, test, time, train; got 'tset'"),
        (["train", "test"], "got 'train test'"),
        (["-gpu", "0"], "got none"),
        (["train"], "expected -solver"),
        (["test", "-model", "m"], "expected -weights"),
        (["time"], "expected -model"),
        (["train", "-slover", "s"], "expected a flag of this tool, got '-slover'"),
        (["train", "-solver"], "expected a value after -solver"),
        (["train", "-solver", "s", "-weights", "w", "-snapshot", "x"], "but not both"),
        (["train", "-solver", "s", "-sigint_effect", "boom"], "boom"),
    ],
)
def test_wrong_usage(arguments, said):
    assert said in caffe(*arguments, code=2)


def test_flags_in_all_spellings(tmp_path):
    known = {"solver": False, "shuffle": True, "gpu": False, "nice": True}
    (tmp_path / "flags").write_text("# a comment\n--gpu=3\n-noshuffle\n\n")
    for arguments, flags in {
        "-solver a": {"solver": "a"},
        "--solver a": {"solver": "a"},
        "-solver=a=b": {"solver": "a=b"},
        "--solver=": {"solver": ""},
        "-solver -1": {"solver": "-1"},
        "-shuffle x": {"shuffle": "true"},
        "--noshuffle": {"shuffle": "false"},
        "--shuffle=False": {"shuffle": "false"},
        "-shuffle=Y": {"shuffle": "true"},
        "-nice": {"nice": "true"},
        "-nonice": {"nice": "false"},
        "-gpu 0 -gpu 1": {"gpu": "1"},
        "--logtostderr=1 -alsologtostderr -stderrthreshold 0 -nolog_prefix": {},
        "-- -gpu": {},
        f"-flagfile {tmp_path}/flags": {"gpu": "3", "shuffle": "false"},
    }.items():
        assert parse(arguments.split(), known).flags == flags, arguments
    assert parse(["a", "-gpu", "0", "b", "--", "-c"], known).names == ["a", "b", "-c"]
    assert parse(["-help"], known).help
    for wrong in (["-shuffle=perhaps"], ["-nogpu"], ["-gpu"], ["-x"]):
        with pytest.raises(UsageError):
            parse(wrong, known)


def test_a_file_of_flags_that_names_itself(tmp_path):
    (tmp_path / "flags").write_text(f"-flagfile={tmp_path}/flags\n")
    with pytest.raises(UsageError, match="name each other"):
        parse(["-flagfile", str(tmp_path / "flags")], {})
