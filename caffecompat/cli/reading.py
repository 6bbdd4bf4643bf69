"""Nets whose data layers read by themselves, as `caffe` runs them: the options, and the net they ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from caffecompat.cli.errors import tell
from caffecompat.cli.options import named_shapes
from caffecompat.errors import CaffeCompatError, UsageError, quoted

if TYPE_CHECKING:
    import torch

    from caffecompat.data.draws import Draws
    from caffecompat.net import Net

F = TypeVar("F", bound=Callable[..., Any])
SHOWN_SKIPS = 20


def _net_file(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    """The value of `--model`, kept for `_chosen`."""
    context.meta["caffecompat.model"] = value
    return value


def _chosen(context: click.Context, argument: click.Parameter, value: Path | None) -> Path | None:
    """NET, or the value of `--model`."""
    model = context.meta.get("caffecompat.model")
    if context.resilient_parsing:
        return value
    if value is not None and model is not None and value != model:
        raise click.UsageError("give the net either as NET.prototxt or with --model", context)
    if value is None and model is None:
        raise click.UsageError("no net: give NET.prototxt, or --model NET.prototxt", context)
    return value if model is None else model


def model_argument(function: F) -> F:
    """The net (argument `net`), positional or as Caffe's `--model`, and its `--weights` (a Path or None)."""
    path = click.Path(path_type=Path)
    function = click.option(
        "-w", "--weights", type=path, metavar="FILE", help="The weights: .caffemodel or .caffemodel.h5."
    )(function)
    function = click.option(
        "--model",
        type=path,
        metavar="NET.prototxt",
        callback=_net_file,
        is_eager=True,
        expose_value=False,
        help="The net, in the place of the argument.",
    )(function)
    return click.argument("net", type=path, metavar="[NET.prototxt]", required=False, callback=_chosen)(function)


def gpu_option(function: F) -> F:
    """Where the net runs: `--gpu`, as Caffe's."""
    help_text = "Run on this GPU; of several the first. Without it on the CPU."
    return click.option("--gpu", metavar="N", help=help_text)(function)


def device_of(gpu: str | None) -> torch.device:
    """The device of `--gpu`: "0", of "0,1" the first, of "all" the first there is; None is the CPU.

    Raises:
        UsageError: it names no GPU, or one that is not here.
    """
    import torch

    from caffecompat.net.precision import keep_float32

    if gpu is None:
        return torch.device("cpu")
    first = "0" if gpu == "all" else gpu.split(",")[0].strip()
    if not first.isdecimal() or len(first) > 4:
        raise UsageError(f"--gpu: expected the number of a GPU, got {quoted(gpu)}")
    count = torch.cuda.device_count()
    if int(first) >= count:
        raise UsageError(f"--gpu {gpu}: {count or 'no'} GPUs are here, or this build of torch does not use them")
    device = torch.device("cuda", int(first))
    keep_float32(device)
    return device


def open_reading_net(
    prototxt: Path,
    weights: Path | None,
    *,
    device: torch.device,
    root: Path | None,
    workers: int,
    skip_bad_records: bool,
    input_shapes: Sequence[tuple[str, tuple[int, ...]]],
    unread: bool = False,
    results: bool = False,
    draws: Draws | None = None,
    **rules: Any,
) -> Net:
    """The net of a command, on its device, its data layers reading; what there is to know is told on stderr.

    Args:
        prototxt: the net.
        weights: its weights; None leaves the parameters to the fillers.
        device: where the net is to be.
        root: see `Reading`, as for the next ones.
        workers: how many threads load ahead.
        skip_bad_records: pass over what cannot be read.
        input_shapes: the values of --input-shape.
        unread: where a data layer cannot read, none does, and the net is to be fed.
        results: layers write the files of results that the prototxt states.
        draws: where data layers take their seeds from; None is the operating system.
        rules: phase, level, stages, dialect and ignore_fields.

    Raises:
        CaffeCompatError: a file cannot be read, the layers make no net, or the weights do not fit.
    """
    from caffecompat.cli.opening import build_rules, take_weights
    from caffecompat.data.draws import Draws
    from caffecompat.data.source import Reading
    from caffecompat.formats import read_net, read_weights
    from caffecompat.net import Net
    from caffecompat.net.meanings import state_meanings
    from caffecompat.solver.devices import own_parameters

    graph = build_rules(read_net(prototxt), root=root, **rules)
    source = read_weights(weights) if weights is not None else None
    state_meanings(graph, [source] if source is not None else [])
    shapes = named_shapes(input_shapes, [key.name for key in graph.inputs])
    reading = Reading(
        root=root,
        draws=draws or Draws(),
        workers=workers,
        skip_bad_records=skip_bad_records,
        pin=device.type == "cuda",
        results=results,
    )
    try:
        net = Net(graph, shapes, reading=reading)
    except CaffeCompatError as error:
        if not unread:
            raise
        try:
            net = Net(graph, shapes)
        except CaffeCompatError as fed:
            # What keeps it from being read is why it is to be fed at all; another layer's fault feeding does not mend.
            if any(spec.name == error.layer and spec.row.data for spec in graph.layers):
                error.hint = "; or feed it: ".join(hint for hint in (error.hint, fed.hint) if hint)
            raise error from fed
        tell(f"its data layers are fed, for they cannot read: {error}")
    for note in take_weights(net, source):
        tell(note)
    own_parameters(net, device)
    return net


def tell_skipped(net: Net, who: str = "") -> None:
    """Say on stderr which records were passed over; `who` stands before each line."""
    skipped = [text for reader in net.readers for text in reader.skipped]
    for text in skipped[:SHOWN_SKIPS]:
        tell(f"{who}skipped: {text}")
    if skipped:
        tell(f"{who}{len(skipped)} bad records were passed over")


def check_read(net: Net) -> None:
    """Whether the net needs nothing but what its data layers read or make.

    Raises:
        UsageError: it has an Input layer.
    """
    for spec in net.graph.layers:
        if spec.type == "Input":
            raise spec.error(
                f"input {quoted(spec.tops[0].name)} is read from nowhere",
                hint="give a net with data layers, such as a train_val prototxt",
                kind=UsageError,
            )
