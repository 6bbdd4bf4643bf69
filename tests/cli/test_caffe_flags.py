"""Options in the spelling of gflags, as Caffe's tools and scripts have them."""

from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from caffecompat.cli.caffe_flags import CaffeCommand


@click.command(cls=CaffeCommand)
@click.argument("names", nargs=-1)
@click.option("--a-model", default="")
@click.option("--gray", is_flag=True)
@click.option("--shuffle/--no-shuffle", default=None)
@click.option("-o", "--out", default="")
def command(names, a_model, gray, shuffle, out):
    click.echo(repr((names, a_model, gray, shuffle, out)))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("x -a_model m --gray y", (("x", "y"), "m", True, None, "")),
        ("--a_model=m=_n", ((), "m=_n", False, None, "")),
        ("-gray -o out_dir", ((), "", True, None, "out_dir")),
        ("--gray=True --shuffle=1", ((), "", True, True, "")),
        ("--gray=false --shuffle=False x", (("x",), "", False, False, "")),
        ("--nogray --noshuffle", ((), "", False, False, "")),
        ("--no-shuffle", ((), "", False, False, "")),
        ("-- --gray=true -a_model", (("--gray=true", "-a_model"), "", False, None, "")),
    ],
)
def test_spellings(given, expected):
    result = CliRunner().invoke(command, given.split())
    assert result.output == f"{expected!r}\n"


@pytest.mark.parametrize("given", ["--gray=perhaps", "--noa_model", "--no_gray", "--nothing"])
def test_no_spellings(given):
    assert CliRunner().invoke(command, [given]).exit_code == 2
