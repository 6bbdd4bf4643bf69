from __future__ import annotations

import importlib
import warnings

import click
import pytest
from click.testing import CliRunner

import caffecompat
from caffecompat.cli.errors import run_guarded
from caffecompat.cli.main import COMMANDS, main
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, UsageError


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_is_there_and_has_help(name):
    command = importlib.import_module(f"caffecompat.cli.{name}").command
    assert isinstance(command, click.Command)
    result = CliRunner().invoke(main, [name, "--help"])
    assert result.exit_code == 0
    assert "--help" in result.stdout


def test_version():
    assert CliRunner().invoke(main, ["--version"]).stdout == f"caffecompat {caffecompat.__version__}\n"


def test_unknown_command_is_wrong_usage():
    result = CliRunner().invoke(main, ["clasify"])
    assert result.exit_code == 2
    assert "clasify" in result.stderr
    assert result.stdout == ""


def fails(call, capsys):
    with pytest.raises(SystemExit) as stop:
        run_guarded(call)
    out, err = capsys.readouterr()
    assert out == ""
    return stop.value.code, err


def raising(error):
    def call():
        raise error

    return call


def test_faults_become_messages_and_statuses(capsys):
    fault = CaffeCompatError("expected 3, got 4", file="net.prototxt", line=7, hint="try 3")
    assert fails(raising(fault), capsys) == (1, "Error: net.prototxt:7: expected 3, got 4\n  try 3\n")
    assert fails(raising(UsageError("no such option")), capsys) == (2, "Error: no such option\n")
    assert fails(raising(PermissionError(13, "Permission denied", "x")), capsys) == (1, "Error: x: Permission denied\n")
    assert fails(raising(click.Abort()), capsys)[0] == 130
    assert fails(raising(MemoryError()), capsys)[0] == 1
    code, text = fails(raising(RuntimeError("DefaultCPUAllocator: not enough memory")), capsys)
    assert (code, "--batch" in text) == (1, True)


def test_warnings_are_said_once_on_stderr(capsys):
    def call():
        for _ in range(2):
            warnings.warn("field ignored", CaffeCompatWarning, stacklevel=1)

    assert fails(call, capsys) == (0, "warning: field ignored\n")


def test_exit_status_of_a_command_is_handed_on(capsys):
    assert fails(raising(click.exceptions.Exit(3)), capsys)[0] == 3
    assert fails(lambda: 4, capsys)[0] == 4
