"""`caffecompat train` on the digits that the original was recorded on."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.formats import read_solverstate, read_weights
from tests.solver.runs import TRAINING, recorded

RUN = "sgd_step"
PREFIX = "snapshots/digits"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of a user, and the working directory: the run's solver, which shows every iteration, and its net."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "snapshots").mkdir()
    net = (TRAINING / RUN / "train_val.prototxt").read_text()
    (tmp_path / "train_val.prototxt").write_text(net.replace("digits/", f"{TRAINING}/digits/"))
    shutil.copy(TRAINING / RUN / "init.caffemodel", tmp_path / "init.caffemodel")
    write_solver(tmp_path)
    return tmp_path


def write_solver(folder, **fields):
    """The run's solver with other fields; None takes one out."""
    text = (TRAINING / RUN / "solver.prototxt").read_text()
    given = {"display": 1, "snapshot_prefix": f'"{PREFIX}"', **fields}
    for name, value in given.items():
        text = re.sub(rf'\b{name}: (?:"[^"]*"|\S+)', "", text)
        text += "" if value is None else f" {name}: {value}"
    (folder / "solver.prototxt").write_text(text)


def train(*arguments, code=0):
    command = ["train", *map(str, arguments)]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == code, result.stderr
    assert result.stdout == ""
    return result.stderr


def only_log(folder):
    (log,) = folder.rglob("*.log")
    return log


def losses(log):
    found = re.findall(r"solver.cpp:243\] Iteration (\d+), loss = (\S+)", log.read_text())
    return {int(iteration): float(loss) for iteration, loss in found}


def test_a_run_follows_the_original_and_tells_how(folder):
    flags = ("-weights=init.caffemodel", "--sigint_effect=stop", "-sighup_effect", "none")
    said = train("-solver", "solver.prototxt", *flags)
    log = only_log(folder)
    assert re.fullmatch(r"digits_train_\d{8}-\d{6}\.log", log.name)
    assert log.parent.name == "snapshots"
    trace = recorded(RUN)
    found = losses(log)
    assert list(found) == list(range(60))
    np.testing.assert_allclose(list(found.values()), trace["loss"][:60], rtol=1e-4, atol=1e-5)
    lines = said.splitlines()
    state = f"{PREFIX}_iter_60.solverstate"
    assert lines[:5] == [
        f"log: {log.relative_to(folder)}",
        lines[1],
        "train net: digits, 8 layers, 2,082 parameters",
        "test net: digits, 9 layers, 2,082 parameters",
        "weights: init.caffemodel has those of 3 layers",
    ]
    assert re.fullmatch(r"device: cpu, \d+ threads?", lines[1])
    tests = [line for line in lines if ": test accuracy" in line]
    assert [line.split(":")[0] for line in tests] == [f"iteration {place}" for place in (0, 20, 40, 60)]
    assert f"iteration 60: snapshot {state}" in lines
    assert lines[-3].startswith("iteration 60 is reached after 0:")
    assert lines[-2] == "the last " + tests[-1].partition(": ")[2] + ", at iteration 60"
    assert lines[-1] == f"the last snapshot is {state}"
    assert (folder / state).is_file()
    text = log.read_text()
    for line in ("Finetuning from init.caffemodel", "Starting Optimization", "Solving digits", "Optimization Done."):
        assert line in text


def test_it_goes_on_from_a_snapshot_by_name_or_from_the_newest(folder):
    write_solver(folder, snapshot=20, max_iter=40)
    said = train("solver.prototxt", "--snapshot", "auto", "--weights", "init.caffemodel", "--log", "one.log")
    assert "there is no snapshot yet: the run begins anew" in said
    write_solver(folder, snapshot=20)
    whole = {}
    for name, state in (("two", f"{PREFIX}_iter_20.solverstate"), ("three", "auto")):
        said = train("--solver", "solver.prototxt", "--snapshot", state, "--log", f"{name}.log", "--workers", 0)
        whole[name] = losses(folder / f"{name}.log")
        assert f"going on from {PREFIX}_iter_{20 if name == 'two' else 40}.solverstate" in said
        assert "fillers" not in said
        assert read_solverstate(folder / f"{PREFIX}_iter_60.solverstate").iteration == 60
        (folder / f"{PREFIX}_iter_60.solverstate").unlink()
    assert list(whole["two"]) == list(range(20, 60))
    assert list(whole["three"]) == list(range(40, 60))


def test_options_in_the_place_of_what_the_solver_says(folder):
    said = train(
        "solver.prototxt", "--weights", "init.caffemodel", "--max-iter", 20, "--test-iter", 1, "--precision=bf16"
    )
    found, recorded_losses = list(losses(only_log(folder)).values()), recorded(RUN)["loss"]
    assert len(found) == 20
    np.testing.assert_allclose(found, recorded_losses[:20], rtol=0.05)
    # In bfloat16 they are not the same.
    assert abs(found[0] / recorded_losses[0] - 1) > 1e-5
    assert (folder / f"{PREFIX}_iter_20.caffemodel").is_file()
    # One batch of 50 pictures, in float32.
    (accuracy,) = re.findall(r"iteration 0: test accuracy ([0-9.]+)", said)
    assert float(accuracy) * 50 == pytest.approx(round(float(accuracy) * 50), abs=1e-4)


def test_layers_that_weights_lack_or_have_in_vain_are_listed(folder):
    net = (folder / "train_val.prototxt").read_text()
    (folder / "train_val.prototxt").write_text(net.replace('name: "ip2"', 'name: "new"'))
    write_solver(folder, max_iter=0, weights='"init.caffemodel"', snapshot_after_train="false")
    said = train("solver.prototxt", "--log", "none")
    assert "weights: init.caffemodel has those of 2 layers\n" in said
    assert "in init.caffemodel, but not in the net: ip2\n" in said
    assert "not in the weights, left to their fillers: new\n" in said
    assert not list(folder.rglob("*.log"))
    # Those of the command line stand in the place of the solver's, as in Caffe.
    shutil.copy(folder / "init.caffemodel", folder / "other.caffemodel")
    said = train("solver.prototxt", "--log", "none", "--weights", "other.caffemodel, other.caffemodel")
    assert said.count("weights: other.caffemodel has") == 2
    assert "init.caffemodel" not in said
    (folder / "train_val.prototxt").write_text(re.sub('name: "(ip1|ip2|conv1)"', r'name: "my_\1"', net))
    said = train("solver.prototxt", "--log", "none", code=1)
    assert "init.caffemodel: expected weights of the train net's layers, such as 'my_conv1'; got those of" in said


def test_without_weights_the_fillers_are_told(folder):
    write_solver(folder, max_iter=1)
    assert "no weights are given: the parameters come from the net's fillers" in train("solver.prototxt")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no solver: give SOLVER.prototxt"),
        (["solver.prototxt", "--solver", "other.prototxt"], "either as SOLVER.prototxt or with --solver"),
        (["solver.prototxt", "--weights", "a", "--snapshot", "b"], "but not both"),
        (["solver.prototxt", "--gpu", "0,x"], "neither a number"),
        (["solver.prototxt", "--gpu", "0", "--device", "cpu"], "--gpu or --device"),
        (["solver.prototxt", "--device", "abacus"], "expected a device such as cpu"),
        (["solver.prototxt", "--gpu", "99"], "GPUs are here"),
        (["solver.prototxt", "--gpu", "0,99"], "GPUs are here"),
        (["solver.prototxt", "--sigint_effect", "explode"], "'explode' is not one of"),
        (["solver.prototxt", "--allow", "x"], "No such option"),
        (["solver.prototxt", "--plugin", "none.py"], "none.py"),
    ],
)
def test_wrong_usage_is_told(folder, arguments, message):
    assert message in train(*arguments, code=2)
    assert not list(folder.rglob("*.log"))


@pytest.mark.parametrize(
    ("fields", "arguments", "message"),
    [
        ({"snapshot_prefix": '"none/x"'}, [], "must exist"),
        ({"snapshot_prefix": '"none/x"', "snapshot": 10}, [], "must exist"),
        ({}, ["--log", "none/run.log"], "none/run.log: the log cannot be written"),
        ({"net": '"none.prototxt"'}, [], "'none.prototxt' is not there"),
        ({}, ["--snapshot", "none.solverstate"], "none.solverstate: there is no such file"),
        ({}, ["--weights", "none.caffemodel"], "none.caffemodel"),
        ({}, ["--weights", "none.caffemodel", "--snapshot", "auto"], "none.caffemodel: there is no such file"),
        ({}, ["--weights", "solver.prototxt"], "solver.prototxt"),
    ],
)
def test_faults_of_the_input_are_told_before_the_run(folder, fields, arguments, message):
    write_solver(folder, **fields)
    said = train("solver.prototxt", *arguments, code=1)
    assert message in said
    assert "iteration" not in said
    # Nothing has happened that is worth a log.
    assert "log: snapshots" not in said
    assert not list(folder.rglob("*.log"))


def test_a_log_that_was_there_stays_if_a_run_does_not_begin(folder):
    (folder / "run.log").write_text("of an earlier run\n")
    write_solver(folder, net='"none.prototxt"')
    train("solver.prototxt", "--log", "run.log", code=1)
    assert (folder / "run.log").read_text().startswith("of an earlier run\n")


def test_weights_that_are_not_there_are_told_though_a_snapshot_goes_before_them(folder):
    write_solver(folder, max_iter=2)
    train("solver.prototxt", "--weights", "init.caffemodel")
    more = ("solver.prototxt", "--snapshot", "auto", "--max-iter", 3, "--weights")
    assert "going on from" in train(*more, "init.caffemodel")
    assert "none.caffemodel: there is no such file" in train(*more, "init.caffemodel,none.caffemodel", code=1)


def test_a_run_that_is_done_writes_its_snapshot_no_second_time(folder):
    write_solver(folder, max_iter=7, snapshot=5)
    train("solver.prototxt", "--weights", "init.caffemodel", "--log", "none")
    files = [folder / f"{PREFIX}_iter_7.{suffix}" for suffix in ("caffemodel", "solverstate")]
    before = [(file.stat().st_mtime_ns, file.stat().st_ino) for file in files]
    said = train("solver.prototxt", "--snapshot", "auto", "--log", "none")
    assert [(file.stat().st_mtime_ns, file.stat().st_ino) for file in files] == before
    assert "iteration 7 of max_iter 7: nothing is left to train" in said
    assert ": snapshot " not in said
    # Under another prefix there is none yet.
    write_solver(folder, max_iter=7, snapshot_prefix='"snapshots/other"')
    said = train("solver.prototxt", "--snapshot", f"{PREFIX}_iter_7.solverstate", "--log", "none")
    assert "iteration 7: snapshot snapshots/other_iter_7.solverstate" in said


def test_what_ended_a_run_is_in_its_log(folder):
    write_solver(folder, base_lr="1e30", snapshot=1)
    said = train("solver.prototxt", "--log", "run.log", code=1)
    reason = next(line for line in said.splitlines() if line.startswith("Error: ")).removeprefix("Error: ")
    assert "loss" in reason
    assert f"train] {reason}" in (folder / "run.log").read_text()
    assert f"the last snapshot is {PREFIX}_iter_" in said


def test_level_and_stages_choose_layers_of_the_train_net(folder):
    net = (folder / "train_val.prototxt").read_text()
    rule = 'include { phase: TRAIN stage: "a" stage: "b" min_level: 2 }'
    loss = f'layer {{ name: "more" type: "EuclideanLoss" bottom: "label" bottom: "label" top: "more" {rule} }}\n'
    (folder / "train_val.prototxt").write_text(net + loss)
    write_solver(folder, max_iter=1, snapshot_after_train="false", test_iter=None, test_interval=None)
    base = ["solver.prototxt", "--log", "none"]
    assert "8 layers" in train(*base)
    assert "8 layers" in train(*base, "--stage", "a", "--level", 2)
    assert "9 layers" in train(*base, "--stage", "a,b", "-level", 2)
    assert "9 layers" in train(*base, "--stage", "a", "--stage", "b", "-level=3")


def test_verbose_shows_the_log_and_records_passed_over_are_counted(folder):
    from tests.data.records import raw, write_lmdb

    images = [(b"%04d" % place, raw(np.full((1, 8, 8), place, np.uint8), place)) for place in range(9)]
    write_lmdb(folder / "db", [*images, (b"bad", b"\xff\xff")])
    net = (folder / "train_val.prototxt").read_text()
    (folder / "train_val.prototxt").write_text(
        re.sub(r'source: "[^"]*/train_lmdb" batch_size: 32', 'source: "db" batch_size: 5', net)
    )
    write_solver(folder, max_iter=2, snapshot_after_train="false", test_iter=None, test_interval=None)
    said = train("solver.prototxt", "--log", "run.log", "--workers", "0", code=1)
    assert "record 'bad'" in said
    said = train("solver.prototxt", "--log", "run.log", "--workers", "0", "--skip-bad-records", "-v")
    assert "1 bad records were passed over" in said
    assert re.search(r"skipped: .*record 'bad'", said)
    assert re.search(r"^I\d{4} \S+ +\d+ solver.cpp:243\] Iteration 1, loss = ", said, re.MULTILINE)


# --- signals, in processes of their own


class Process:
    """A run that would take hours, in a process of its own."""

    def __init__(self, folder, *arguments, **options):
        self.log = folder / "run.log"
        command = [sys.executable, "-m", "caffecompat", "train", "--solver", "solver.prototxt", "--log", "run.log"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TRAINING.parents[2])}
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        self.process = subprocess.Popen([*command, *arguments], cwd=folder, env=environment, text=True, **options)

    def __enter__(self):
        return self

    def __exit__(self, *found):
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()

    def wait_for(self, pattern):
        """Until the log has such a text; the match."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            match = re.search(pattern, self.log.read_text()) if self.log.exists() else None
            if match:
                return match
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.02)
        raise AssertionError(f"no {pattern} in {self.log.read_text()}")

    def iteration(self):
        return int(re.findall(r"Iteration (\d+), loss", self.log.read_text())[-1])


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="this system has no SIGHUP")
class TestSignals:
    @pytest.fixture(autouse=True)
    def endless(self, folder):
        write_solver(folder, max_iter=100_000_000, test_interval=100_000_000)
        self.folder = folder

    def test_sighup_writes_a_snapshot_and_sigint_stops(self):
        with Process(self.folder) as run:
            run.wait_for("Iteration 5, loss")
            run.process.send_signal(signal.SIGHUP)
            first = int(run.wait_for(rf"solver state to binary proto file {PREFIX}_iter_(\d+)\.solverstate")[1])
            run.wait_for(rf"Iteration {first + 20}, loss")
            run.process.send_signal(signal.SIGINT)
            out, err = run.process.communicate(timeout=60)
        assert run.process.returncode == 0
        assert out == ""
        last = run.iteration() + 1
        assert sorted(path.name for path in (self.folder / "snapshots").iterdir()) == sorted(
            f"digits_iter_{place}.{suffix}" for place in (first, last) for suffix in ("caffemodel", "solverstate")
        )
        assert read_solverstate(self.folder / f"{PREFIX}_iter_{last}.solverstate").iteration == last
        assert read_weights(self.folder / f"{PREFIX}_iter_{first}.caffemodel").layers
        assert "writing a snapshot\n" in err
        assert "stopping after this iteration; Ctrl-C again ends at once\n" in err
        assert f"stopped before max_iter 100000000; --snapshot {PREFIX}_iter_{last}.solverstate goes on\n" in err
        assert "Optimization stopped early." in run.log.read_text()

    def test_effects_may_be_others(self):
        with Process(self.folder, "-sigint_effect", "none", "-sighup_effect=stop") as run:
            run.wait_for("Iteration 5, loss")
            for _ in range(3):
                run.process.send_signal(signal.SIGINT)
            run.wait_for(rf"Iteration {run.iteration() + 20}, loss")
            assert not list((self.folder / "snapshots").iterdir())
            run.process.send_signal(signal.SIGHUP)
            run.process.communicate(timeout=60)
        assert run.process.returncode == 0
        assert (self.folder / f"{PREFIX}_iter_{run.iteration() + 1}.solverstate").is_file()

    def test_a_second_sigint_ends_at_once(self):
        # A layer whose pass never ends: to stop after the iteration would take forever.
        code = (
            "import threading, pathlib, caffecompat\n"
            "@caffecompat.layer('Stuck')\n"
            "class Stuck(caffecompat.Layer):\n"
            "    def shapes(self, x): return (x,)\n"
            "    def forward(self, x):\n"
            "        pathlib.Path('stuck').touch()\n"
            "        threading.Event().wait()\n"
        )
        (self.folder / "stuck.py").write_text(code)
        with (self.folder / "train_val.prototxt").open("a") as net:
            net.write('layer { name: "stuck" type: "Stuck" bottom: "ip2" top: "stuck" include { phase: TRAIN } }')
        with Process(self.folder, "--plugin", "stuck.py") as run:
            run.wait_for("Iteration 0, Testing")
            while not (self.folder / "stuck").exists():
                assert run.process.poll() is None
                time.sleep(0.02)
            run.process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            assert run.process.poll() is None
            run.process.send_signal(signal.SIGINT)
            _, err = run.process.communicate(timeout=60)
        assert run.process.returncode == 130
        assert err.endswith("Interrupted.\n")

    def test_a_terminal_that_is_closed_does_not_end_the_run(self):
        ours, theirs = os.openpty()
        with Process(self.folder, stderr=theirs, start_new_session=True) as run:
            os.close(theirs)
            run.wait_for("Iteration 5, loss")
            os.close(ours)
            run.process.send_signal(signal.SIGHUP)
            first = int(run.wait_for(rf"solver state to binary proto file {PREFIX}_iter_(\d+)\.solverstate")[1])
            run.wait_for(rf"Iteration {first + 200}, loss")
            run.process.send_signal(signal.SIGINT)
            run.process.wait(60)
        assert run.process.returncode == 0
        assert (self.folder / f"{PREFIX}_iter_{run.iteration() + 1}.solverstate").is_file()
