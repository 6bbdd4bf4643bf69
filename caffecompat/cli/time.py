"""`caffecompat time`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffecompat.cli.caffe_flags import CaffeCommand
from caffecompat.cli.errors import tell
from caffecompat.cli.options import (
    check_engine,
    engine_options,
    net_options,
    preprocessing_options,
    python_option,
    reading_options,
)
from caffecompat.cli.progress import Progress
from caffecompat.cli.reading import (
    device_of,
    gpu_option,
    model_argument,
    open_reading_net,
    tell_skipped,
)
from caffecompat.errors import shown

if TYPE_CHECKING:
    import torch

    from caffecompat.cli.timing import Timer
    from caffecompat.engines.registry import Precision
    from caffecompat.net import Net

COLUMNS = ("layer", "type", "forward ms", "backward ms", "percent")


@click.command("time", cls=CaffeCommand)
@model_argument
@partial(net_options, phase="TRAIN")
@python_option
@gpu_option
@reading_options
@engine_options
@preprocessing_options
@click.option(
    "--iterations", type=click.IntRange(1), default=50, show_default=True, help="How many passes are measured."
)
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the figures here as well."
)
def command(
    net: Path,
    weights: Path | None,
    *,
    gpu: str | None,
    iterations: int,
    json_file: Path | None,
    engine: str | None,
    precision: Precision,
    calibration: Path | None,
    mean: str | None,
    scale: float | None,
    channels: str | None,
    labels: Path | None,
    **options: Any,
) -> None:
    """Measure how long each layer of a net takes, forward and backward, in milliseconds.

    As `caffe time`: the means over many passes, after one that is not counted. No weights are needed. Data layers
    read; where what they name is not there, and for Input layers, made-up values of the same shapes are taken.

    With --engine the whole net is measured in that engine, forward only, on made-up values, and beside it the plain
    net, in phase TEST; losses drop out. --mean, --scale, --channels and --labels say how pictures of --calibration
    become its input, where the prototxt does not.
    """
    from contextlib import closing

    from caffecompat.cli.files import keep_inputs
    from caffecompat.cli.timing import Timer, made_up

    keep_inputs(json_file, [net, weights])
    check_engine(engine, precision, calibration)
    preparing = {"mean": mean, "scale": scale, "channels": channels, "labels": labels}
    if calibration is None:
        _check_unprepared(preparing)
    device = device_of(gpu)
    if engine is not None:
        result: dict[str, Any] = _engine_result(
            net, weights, engine, precision, calibration, preparing, iterations, device, options
        )
        _give(_engine_text(result), result, json_file, net, device)
        return
    with closing(open_reading_net(net, weights, device=device, unread=True, **options)) as made:
        fed = made_up(made)
        if fed:
            tell("made-up values are taken for: " + ", ".join(_blob(made, key) for key in fed))
        timer = Timer(made, {key: blob.to(device) for key, blob in fed.items()}, device)
        tell(f"Initial loss: {timer.run():.6g}")
        timer.clear()
        with Progress(iterations, "passes") as progress:
            for _ in range(iterations):
                timer.run()
                progress.add()
        tell_skipped(made)
    result = _result(made, timer)
    _give(_text(result), result, json_file, net, device)


def _check_unprepared(preparing: dict[str, Any]) -> None:
    """Whether nothing is said of pictures where none are read.

    Raises:
        UsageError: one of the options is given.
    """
    from caffecompat.errors import UsageError

    for name, value in preparing.items():
        if value is not None:
            raise UsageError(f"--{name} goes with --calibration: made-up values are not prepared")


def _give(text: str, result: dict[str, Any], json_file: Path | None, net: Path, device: torch.device) -> None:
    from caffecompat.cli.predict._writers import output, write_json

    click.echo(text)
    if json_file is not None:
        with output(json_file) as stream:
            write_json(stream, {"net": str(net), "device": str(device), **result})


def _engine_result(
    net: Path,
    weights: Path | None,
    engine: str,
    precision: Precision,
    calibration: Path | None,
    preparing: dict[str, Any],
    iterations: int,
    device: torch.device,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Milliseconds of a pass of the engine and of the plain net, as JSON holds them."""
    from contextlib import closing

    from caffecompat.cli.timing_engine import calibrated, measured
    from caffecompat.errors import UsageError

    if device.type != "cpu":
        raise UsageError(f"--engine runs on the CPU, not on {device.type}", hint="leave --gpu out")
    options = {**options, "phase": _engine_phase(net, options)}
    with closing(open_reading_net(net, weights, device=device, unread=True, **options)) as made:
        pictures = None if calibration is None else calibrated(made, net, calibration, preparing)
        return measured(made, engine, precision, pictures, iterations)


def _engine_phase(net: Path, options: dict[str, Any]) -> str:
    """The phase whose layers an engine runs: TEST, unless the layers make a net in TRAIN only.

    Raises:
        UsageError: TRAIN is asked for.
    """
    from click.core import ParameterSource

    from caffecompat.cli.opening import read_graph
    from caffecompat.errors import UsageError

    given = click.get_current_context().get_parameter_source("phase") is not ParameterSource.DEFAULT
    if given and options["phase"] == "TRAIN":
        raise UsageError("--engine runs a net in phase TEST, not in TRAIN", hint="leave --phase out, or --engine")
    rules = {name: options[name] for name in ("level", "stages", "dialect", "ignore_fields")}
    graph, notes = read_graph(net, "TEST", **rules)
    for note in notes:
        tell(note)
    return graph.phase


def _engine_text(result: dict[str, Any]) -> str:
    """The lines that `caffe time` ends with, of an engine."""
    return "\n".join(
        [
            f"Engine: {result['engine']} ({result['precision']}, {result['threads']} threads)",
            f"Average Forward pass: {result['forward_ms']:.6g} ms.",
            f"Average Forward pass of the plain net: {result['plain_forward_ms']:.6g} ms.",
        ]
    )


def _blob(net: Net, key: Any) -> str:
    return f"{shown(key.name)} {'x'.join(map(str, net.blob_shapes[key]))}"


def _result(net: Net, timer: Timer) -> dict[str, Any]:
    """The means in milliseconds, as JSON holds them."""
    import torch

    times = timer.times
    scale = 1000 / times.passes
    whole = (times.forward_pass + times.backward_pass) * scale
    layers = [
        {
            "name": spec.name,
            "type": spec.type,
            "forward_ms": forward * scale,
            "backward_ms": backward * scale,
            "percent": 100 * (forward + backward) * scale / whole if whole else 0.0,
        }
        for spec, forward, backward in zip(net.graph.layers, times.forward, times.backward, strict=True)
    ]
    return {
        "phase": net.graph.phase,
        "threads": torch.get_num_threads(),
        "iterations": times.passes,
        "layers": layers,
        "forward_ms": times.forward_pass * scale,
        "backward_ms": times.backward_pass * scale,
        "forward_backward_ms": whole,
    }


def _text(result: dict[str, Any]) -> str:
    """A table of the layers, and below it the lines that `caffe time` ends with."""
    rows = [COLUMNS] + [
        (
            shown(layer["name"]),
            layer["type"],
            f"{layer['forward_ms']:.3f}",
            f"{layer['backward_ms']:.3f}",
            f"{layer['percent']:.1f}",
        )
        for layer in result["layers"]
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    whole = result["forward_backward_ms"]
    return "\n".join(
        [
            *lines,
            "",
            f"Average Forward pass: {result['forward_ms']:.6g} ms.",
            f"Average Backward pass: {result['backward_ms']:.6g} ms.",
            f"Average Forward-Backward: {whole:.6g} ms.",
            f"Total Time: {whole * result['iterations']:.6g} ms.",
        ]
    )
