"""`caffecompat train` in several processes: how they end."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.solver.runs import TRAINING

pytestmark = [pytest.mark.slow, pytest.mark.skipif(shutil.which("ps") is None, reason="looks for processes by ps")]

# No end takes longer than this, even where a test machine is busy.
SECONDS = 20.0
LAUNCHED = ["-m", "caffecompat", "train", "--processes", "2"]
TORCHRUN = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "--", "caffecompat", "train"]
# A run that takes hours.
SETTINGS = {"max_iter": 1000000, "test_interval": 1000000, "lr_policy": '"fixed"', "snapshot_prefix": '"x"'}


class Run:
    """A run in the background, and what it writes to stderr."""

    def __init__(self, folder: Path, start: list[str], *options: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.getcwd(), "PYTHONFAULTHANDLER": ""}
        for name in ("WORLD_SIZE", "RANK", "OMP_NUM_THREADS"):
            environment.pop(name, None)
        command = [sys.executable, *start, "--solver", "solver.prototxt", "--log", "none", *options]
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.text = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stderr:
            self.text += line

    def wait_for(self, text: str) -> None:
        end = time.monotonic() + 120
        while text not in self.text and time.monotonic() < end and self.process.poll() is None:
            time.sleep(0.05)
        assert text in self.text, self.text

    def workers(self) -> list[int]:
        """The ids of the two processes, by rank."""
        listed = subprocess.run(
            ["ps", "-A", "-ww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=True
        )
        found = []
        for line in listed.stdout.splitlines():
            pid, parent, command = line.split(None, 2)
            if int(parent) == self.process.pid and re.search(r"spawn_main|caffecompat train", command):
                found.append(int(pid))
        assert len(found) == 2
        return sorted(found)

    def end(self, seconds: float = SECONDS) -> int:
        """Wait for the end, at most so long; the exit status."""
        status = self.process.wait(seconds)
        self._reader.join(seconds)
        return status

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(SECONDS)
        self.process.stderr.close()


@pytest.fixture
def folder(tmp_path):
    net = (TRAINING / "sgd_step" / "train_val.prototxt").read_text()
    (tmp_path / "train_val.prototxt").write_text(net.replace("digits/", f"{TRAINING}/digits/"))
    text = (TRAINING / "sgd_step" / "solver.prototxt").read_text()
    for name, value in SETTINGS.items():
        text = re.sub(rf'\b{name}: (?:"[^"]*"|\S+)', "", text) + f" {name}: {value}"
    (tmp_path / "solver.prototxt").write_text(text)
    return tmp_path


@pytest.fixture
def start(folder):
    """Start a run, and see to it that it ends."""
    runs = []

    def begin(start: list[str], *options: str) -> Run:
        run = Run(folder, start, *options)
        runs.append(run)
        return run

    yield begin
    for run in runs:
        run.close()


def gone(pids: list[int]) -> bool:
    """Whether the processes end within some seconds; zombies that nobody waits for count as ended."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        states = subprocess.run(["ps", "-o", "stat=", "-p", ",".join(map(str, pids))], capture_output=True, text=True)
        if all(state.startswith("Z") for state in states.stdout.split()):
            return True
        time.sleep(0.1)
    return False


def test_one_that_is_killed_ends_all(start):
    run = start(LAUNCHED)
    run.wait_for("iteration 0: test")
    workers = run.workers()
    os.kill(workers[1], signal.SIGKILL)
    assert run.end() == 1
    assert run.text.count("Error") == 1
    assert "Error: worker 1 was ended by SIGKILL, and the others with it\n" in run.text
    assert "Traceback" not in run.text
    assert gone(workers)


@pytest.mark.parametrize("killed", [0, 1])
def test_one_that_is_killed_under_torchrun_ends_all(start, killed):
    run = start(TORCHRUN)
    run.wait_for("iteration 0: test")
    workers = run.workers()
    os.kill(workers[killed], signal.SIGKILL)
    assert run.end() == 1
    assert run.text.count(f"Error: worker {killed} ended, and the others with it\n") == 1
    assert "RuntimeError" not in run.text
    assert gone(workers)


def test_ctrl_c_stops_all_with_one_snapshot(start, folder):
    run = start(LAUNCHED)
    run.wait_for("iteration 0: test")
    workers = run.workers()
    # As the terminal does: to the processes of the terminal's foreground group.
    run.process.send_signal(signal.SIGINT)
    assert run.end() == 0
    assert run.text.count("stopping after this iteration") == 1
    assert run.text.count("snapshot x_iter") >= 1
    assert len(list(folder.glob("x_iter_*.solverstate"))) == 1
    assert "Error" not in run.text
    assert gone(workers)


def test_the_processes_end_with_the_one_that_started_them(start):
    run = start(LAUNCHED)
    run.wait_for("iteration 0: test")
    workers = run.workers()
    run.process.kill()
    run.end()
    assert gone(workers)
    assert "Error" not in run.text


def test_an_error_of_all_is_told_once(start, folder):
    net = (folder / "train_val.prototxt").read_text()
    (folder / "train_val.prototxt").write_text(net.replace("train_lmdb", "no_lmdb"))
    run = start(LAUNCHED)
    assert run.end(120) == 1
    assert run.text.count("no_lmdb' is not there") == 1
    assert run.text.count("Error") == 1


def test_an_error_of_one_is_told_by_the_first_with_its_name(start, folder):
    """The second process's half of a list of pictures has one that is not there."""
    records = "".join(f"{number}.png 0\n" for number in range(4))
    (folder / "list.txt").write_text(records)
    for number in (0, 1, 2):
        cv2.imwrite(str(folder / f"{number}.png"), np.zeros((4, 4), np.uint8))
    (folder / "train_val.prototxt").write_text(
        """layer { name: "data" type: "ImageData" top: "data" top: "label"
        image_data_param { source: "list.txt" batch_size: 2 is_color: false } }
        layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 2 } }
        layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss" }"""
    )
    run = start(LAUNCHED, "--workers", "0")
    assert run.end(120) == 1
    assert "3.png" in run.text
    assert run.text.count("Error") == 1
