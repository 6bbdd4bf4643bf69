"""`caffecompat plot`: the log of a run as a picture."""

from __future__ import annotations

from pathlib import Path

import click

from caffecompat.cli.errors import tell


@click.command("plot")
@click.argument("logs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="LOG...")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Where to: .png, .svg or .pdf. Default: the first LOG's name with .png, in the current folder.",
)
def command(logs: tuple[Path, ...], output: Path | None) -> None:
    """Draw the LOG of a run, Caffe's or that of `caffecompat train`; of several, over each other.

    On the left axis stand the losses of training and testing, on the right the test nets' other outputs, such as
    accuracies, and the learning rate. An axis is logarithmic where its values lie far apart.
    """
    from caffecompat.cli.files import keep_inputs, tell_written
    from caffecompat.solver.log_reader import read_log
    from caffecompat.solver.plot import plot_logs

    target = output or Path(logs[0].with_suffix(".png").name)
    keep_inputs(target, logs)
    for note in plot_logs([read_log(log) for log in logs], target):
        tell(note)
    tell_written(target)
