from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "cv2", "google", "h5py", "lmdb"}


def run(*arguments, **options):
    command = [sys.executable, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **options)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["-h"], [], ["nosuch"]])
def test_start_imports_nothing_heavy(arguments):
    result = run("-X", "importtime", "-m", "caffecompat", *arguments)
    imported = {
        line.rsplit("|", 1)[1].strip() for line in result.stderr.splitlines() if line.startswith("import time:")
    }
    assert "click" in imported
    assert not {name for name in imported if name.split(".")[0] in HEAVY}


@pytest.mark.parametrize(
    "command",
    [
        *("caffe", "classify", "detect", "draw", "features", "inspect", "plot", "python", "run", "segment", "shim"),
        *("test", "time", "tool", "train", "upgrade", "tool convert_imageset", "caffe train"),
        *("data", "data annoset", "data coco", "data csv", "data imageset", "data inspect", "data labelme"),
        *("data mean", "data voc", "data yolo"),
    ],
)
def test_a_commands_help_imports_no_torch(command):
    result = run("-X", "importtime", "-m", "caffecompat", *command.split(), "--help")
    assert result.returncode == 0
    assert result.stdout.startswith("Usage:")
    imported = {
        line.rsplit("|", 1)[1].strip() for line in result.stderr.splitlines() if line.startswith("import time:")
    }
    assert not imported & {"torch", "cv2", "numpy"}


def test_help_takes_three_tenths_of_a_second_at_most():
    """In time of the processor, its own and the system's: other work on the machine does not count."""
    times = []
    for _ in range(5):
        before = os.times()
        assert run("-m", "caffecompat", "--help").returncode == 0
        after = os.times()
        times.append(after.children_user - before.children_user + after.children_system - before.children_system)
    assert min(times) < 0.3


def test_closed_pipe_ends_quietly():
    script = f"{sys.executable} -m caffecompat --help | true; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in result.stderr
    assert "Exception" not in result.stderr


def test_interrupt_exits_with_130():
    code = (
        "import caffecompat.cli.main as m, click\n"
        "def stop(): raise KeyboardInterrupt\n"
        "from caffecompat.cli.errors import run_guarded\n"
        "run_guarded(stop)\n"
    )
    result = run("-c", code)
    assert (result.returncode, result.stderr) == (130, "Interrupted.\n")


def test_only_an_asked_for_traceback_is_shown():
    code = "from caffecompat.cli.errors import run_guarded\nrun_guarded(lambda: {}['key'])\n"
    result = run("-c", code)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "KeyError" in result.stderr
    result = run("-c", code, env={**os.environ, "CAFFECOMPAT_TRACEBACK": "1"})
    assert "Traceback" in result.stderr
