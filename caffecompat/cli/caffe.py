"""`caffecompat caffe`: what Caffe's own program `caffe` did, with its flags."""

from __future__ import annotations

import json
import os
import platform
import tempfile
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from datetime import datetime
from io import StringIO
from pathlib import Path

import click

from caffecompat.cli.errors import tell
from caffecompat.errors import UnsupportedError, UsageError, quoted, shown

USAGE = """\
Usage: caffecompat caffe <command> <flags>

commands:
  train         train or finetune a model: -solver [-weights | -snapshot] [-gpu]
  test          score a model: -model -weights [-iterations] [-gpu]
  device_query  show the GPUs: [-gpu]
  time          measure a model layer by layer: -model [-iterations] [-phase] [-gpu]

Flags are spelled -x v, -x=v, --x v or --x=v. All commands take -level and -stage, and the options of
`caffecompat train`, `test` and `time`; train takes -sigint_effect, -sighup_effect and -log_dir.
--help shows this."""
FLAGS: Mapping[str, bool] = {
    "gpu": False,
    "iterations": False,
    "level": False,
    "log_dir": False,
    "model": False,
    "phase": False,
    "sighup_effect": False,
    "sigint_effect": False,
    "snapshot": False,
    "solver": False,
    "stage": False,
    "weights": False,
}
PLACE = "caffe.cpp:1"


@click.command(
    "caffe", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}, add_help_option=False
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> None:
    """Run train, test, time or device_query as Caffe's own `caffe` does, with its flags, its log on stderr."""
    from caffecompat.cli.tools.calls import command_of
    from caffecompat.cli.tools.gflags import parse, switches_of

    action = next((argument for argument in arguments if argument in ACTIONS), None)
    if action is None and arguments and not arguments[0].startswith("-"):
        raise _no_action(arguments[0])
    more = {} if action in (None, "device_query") else switches_of(command_of(str(action)))
    given = parse(arguments, {**more, **FLAGS})
    if given.help or not arguments:
        click.echo(USAGE)
        return
    if len(given.names) != 1 or action is None:
        raise _no_action(" ".join(given.names))
    from caffecompat.cli.tools.glog import as_glog

    with as_glog(PLACE):
        # What means the same to all commands, and options of our own.
        ACTIONS[action](given.flags, given.options(*(set(FLAGS) - {"level", "stage"})))


def _no_action(got: str) -> UsageError:
    return UsageError(f"expected one action, of {', '.join(sorted(ACTIONS))}; got {quoted(got) if got else 'none'}")


def _needed(flags: Mapping[str, str], name: str, what: str) -> str:
    if not flags.get(name):
        raise UsageError(f"expected -{name}, {what}; got none")
    return flags[name]


def _gpu(flags: Mapping[str, str], training: bool = False) -> list[str]:
    """`--gpu`, if there are GPUs: scripts name some wherever they run."""
    import torch

    gpu = flags.get("gpu", "")
    if not gpu:
        return []
    if gpu != "all" and not all(number.strip().isdecimal() for number in gpu.split(",")):
        raise UsageError(f"-gpu: expected numbers such as 0,1, or all; got {quoted(gpu)}")
    if torch.cuda.is_available():
        tell(f"Using GPUs {gpu}")
        return [f"--gpu={gpu}"]
    tell(f"-gpu {gpu}: no GPU is here, or this build of torch does not use it. Use CPU.")
    if training and "," in gpu:
        count = gpu.count(",") + 1
        tell(f"each of {count} GPUs would take a batch of its own; -processes {count} does that on the CPU")
    return ["--device=cpu"] if training else []


def _train(flags: Mapping[str, str], others: list[str]) -> None:
    from caffecompat.cli.tools.calls import call

    solver = _needed(flags, "solver", "the solver's prototxt")
    kept = [
        f"--{name.replace('_', '-')}={flags[name]}"
        for name in ("weights", "snapshot", "sigint_effect", "sighup_effect")
        if flags.get(name)
    ]
    where = [] if any(option.startswith("--device=") for option in others) else _gpu(flags, training=True)
    call("train", [*others, *kept, *where, *_log(flags), "--verbose", "--", solver])


def _log(flags: Mapping[str, str]) -> list[str]:
    """Where the log goes besides stderr: with -log_dir into a file that is named as glog names it."""
    if "log" in flags:
        return []
    if not flags.get("log_dir"):
        return ["--log=none"]
    user = os.environ.get("USER", "unknown")
    name = f"caffe.{platform.node()}.{user}.log.INFO.{datetime.now():%Y%m%d-%H%M%S}.{os.getpid()}"
    return [f"--log={Path(flags['log_dir']) / name}"]


def _test(flags: Mapping[str, str], others: list[str]) -> None:
    from caffecompat.cli.tools.calls import call

    model = _needed(flags, "model", "the net's prototxt")
    weights = _needed(flags, "weights", "a .caffemodel")
    iterations = flags.get("iterations", "50")
    tell(f"Running for {iterations} iterations.")
    call("test", [*others, *_gpu(flags), f"--weights={weights}", f"--iterations={iterations}", "--", model])


def _time(flags: Mapping[str, str], others: list[str]) -> None:
    from caffecompat.cli.tools.calls import call

    model = _needed(flags, "model", "the net's prototxt")
    iterations = flags.get("iterations", "50")
    phase = [f"--phase={flags['phase']}"] if flags.get("phase") else []
    tell("*** Benchmark begins ***")
    tell(f"Testing for {iterations} iterations.")
    with tempfile.TemporaryDirectory(prefix="caffecompat-") as folder:
        figures = Path(folder) / "figures.json"
        with redirect_stdout(StringIO()):
            call(
                "time", [*others, *_gpu(flags), *phase, f"--iterations={iterations}", f"--json={figures}", "--", model]
            )
        found = json.loads(figures.read_text(encoding="utf-8"))
    tell("Average time per layer: ")
    for layer in found["layers"]:
        for way in ("forward", "backward"):
            click.echo(f"{shown(layer['name']):>10}\t{way}: {layer[f'{way}_ms']:.6g} ms.")
    tell(f"Average Forward pass: {found['forward_ms']:.6g} ms.")
    tell(f"Average Backward pass: {found['backward_ms']:.6g} ms.")
    tell(f"Average Forward-Backward: {found['forward_backward_ms']:.6g} ms.")
    tell(f"Total Time: {found['forward_backward_ms'] * found['iterations']:.6g} ms.")
    tell("*** Benchmark ends ***")


def _device_query(flags: Mapping[str, str], others: list[str]) -> None:
    import torch

    gpu, count = flags.get("gpu", ""), torch.cuda.device_count()
    tell(f"Querying GPUs {gpu}")
    wanted = list(map(str, range(count))) if gpu == "all" else gpu.split(",") if gpu else []
    if gpu and not count:
        raise UnsupportedError("expected a GPU, got none that this build of torch uses")
    for number in wanted:
        if not number.isdecimal() or int(number) >= count:
            raise UsageError(f"-gpu: expected numbers below {count}, or all; got {quoted(number)}")
        found = torch.cuda.get_device_properties(int(number))
        for name, value in (
            ("Device id:", number),
            ("Major revision number:", found.major),
            ("Minor revision number:", found.minor),
            ("Name:", found.name),
            ("Total global memory:", found.total_memory),
            ("Number of multiprocessors:", found.multi_processor_count),
        ):
            tell(f"{name:<31}{value}")


ACTIONS: Mapping[str, Callable[[Mapping[str, str], list[str]], None]] = {
    "device_query": _device_query,
    "test": _test,
    "time": _time,
    "train": _train,
}
