"""A run that is killed at any moment goes on from its last whole snapshot."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="forks"),
    pytest.mark.skipif(sys.platform == "darwin", reason="what torch uses does not bear a fork there"),
]


@pytest.mark.parametrize("options", [["--runs", "15"], ["--runs", "5", "--hdf5"]])
def test_runs_that_are_killed_go_on(options):
    """In a process of its own, which may fork: no thread runs in it. Run `tests.solver.kill` for more."""
    if "--hdf5" in options:
        pytest.importorskip("h5py")
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    command = [sys.executable, "-m", "tests.solver.kill", *options]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **one}, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAULT" not in done.stdout
    assert done.stdout.startswith(f"{options[1]} runs killed")
    # Some were killed while they wrote.
    assert re.search("weights|state|sidecar", done.stdout)
