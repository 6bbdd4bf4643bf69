from __future__ import annotations

import os
import signal
import sys

import pytest

from caffecompat.cli.launch import _environment, _silent, launch


def test_what_is_told_of_one_that_ended_without_a_word():
    assert str(_silent(3, -signal.SIGKILL)).startswith("worker 3 was ended by SIGKILL, and the others with it\n")
    assert "memory" in str(_silent(3, -signal.SIGKILL))
    assert str(_silent(0, -signal.SIGSEGV)).startswith("worker 0 was ended by SIGSEGV")
    assert "memory" not in str(_silent(0, -signal.SIGSEGV))
    assert str(_silent(0, -120)).startswith("worker 0 was ended by signal 120")
    assert str(_silent(1, 7)).startswith("worker 1 ended with status 7")


def test_each_process_is_told_its_place_as_torchrun_tells_it():
    stated = _environment(2, 4, "/tmp/x")
    assert {name: stated[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")} == {
        "RANK": "2",
        "LOCAL_RANK": "2",
        "WORLD_SIZE": "4",
        "LOCAL_WORLD_SIZE": "4",
    }


@pytest.mark.slow
@pytest.mark.parametrize(("arguments", "status"), [(["--version"], 0), (["no-such-command"], 2)])
def test_the_status_is_that_of_the_processes(arguments, status):
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    environment = dict(os.environ)
    assert launch(arguments, 2) == status
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert dict(os.environ) == environment
    assert "torch.distributed.run" not in sys.modules
