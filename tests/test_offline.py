"""Nothing calls out: with sockets blocked, the commands do their work."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = """
import socket, sys

def refuse(*arguments, **keywords):
    raise AssertionError(f"a connection was tried: {arguments}")

class Blocked(socket.socket):
    def __init__(self, *arguments, **keywords):
        refuse(*arguments)

socket.socket = Blocked
socket.create_connection = socket.getaddrinfo = socket.gethostbyname = refuse
from caffecompat.cli.main import main
main(sys.argv[1:])
"""
NET = """
name: "tiny"
input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 2 kernel_size: 3 } }
"""


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}


def run(folder, code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


def test_the_block_blocks(tmp_path):
    code = BLOCKED.replace("main(sys.argv[1:])", "socket.socket()")
    done = run(tmp_path, code)
    assert done.returncode == 1
    assert "a connection was tried" in done.stderr


@pytest.mark.slow
def test_commands(tmp_path):
    (tmp_path / "net.prototxt").write_text(NET)
    for arguments in (
        ("--help",),
        ("inspect", "net.prototxt"),
        ("draw", "net.prototxt", "-o", "net.html"),
        ("convert", "net.prototxt", "-o", "net.caffemodel"),
        ("convert", "net.prototxt", "-w", "net.caffemodel", "-o", "net.pt2"),
        ("convert", "net.prototxt", "-w", "net.caffemodel", "-o", "net.safetensors", "--recipe", "bgr_to_rgb"),
        ("upgrade", "net.prototxt", "new.prototxt"),
        ("recipes",),
    ):
        done = run(tmp_path, BLOCKED, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stdout or "wrote" in done.stderr
