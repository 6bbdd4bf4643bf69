"""`caffecompat train`: the options; what they start is in `cli.training`."""

from __future__ import annotations

import os
import re
import warnings
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffecompat.cli.caffe_flags import CaffeCommand
from caffecompat.cli.options import python_option, reading_options, rule_options, start_weights_option
from caffecompat.errors import CaffeCompatWarning

if TYPE_CHECKING:
    from caffecompat.solver.group import Group

EFFECT = click.Choice(["stop", "snapshot", "none"])
MAX_ITER = 2**31 - 1
_GPU = re.compile(r"all|[0-9]{1,4}(?:,[0-9]{1,4})*")


def _solver_file(argument: Path | None, option: Path | None) -> Path:
    if argument is not None and option is not None and argument != option:
        raise click.UsageError("give the solver either as SOLVER.prototxt or with --solver")
    solver = argument or option
    if solver is None:
        raise click.UsageError("no solver: give SOLVER.prototxt, or --solver SOLVER.prototxt")
    return solver


def _gpu(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _GPU.fullmatch(value):
        raise click.BadParameter(f"{value!r} is neither a number, nor numbers such as 0,1, nor all")
    return value


@click.command("train", cls=CaffeCommand)
@click.argument("argument", required=False, type=click.Path(path_type=Path), metavar="[SOLVER.prototxt]")
@click.option(
    "--solver", "option", type=click.Path(path_type=Path), metavar="FILE", help="The solver, in place of the argument."
)
@start_weights_option
@click.option(
    "--snapshot", metavar="STATE|auto", help="Go on from this .solverstate, or from the newest one if there is any."
)
@click.option("--gpu", callback=_gpu, metavar="N[,...]|all", help="GPUs to run on; each takes a batch of its own.")
@click.option(
    "--processes",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="How many processes train together on this machine; each takes a batch of its own.",
)
@click.option("--device", metavar="cpu|cuda[:N]", help="Where to run, whatever the solver's solver_mode says.")
@click.option(
    "--sigint-effect", type=EFFECT, default="stop", show_default=True, help="What SIGINT does; a second one ends all."
)
@click.option("--sighup-effect", type=EFFECT, default="snapshot", show_default=True, help="What SIGHUP does.")
@click.option("--exact-resume", is_flag=True, help="Keep random state and the readers' places beside each snapshot.")
@click.option(
    "--on-nan",
    type=click.Choice(["stop", "skip"]),
    default="stop",
    show_default=True,
    help="When the loss is not finite: stop, or skip the update.",
)
@click.option(
    "--on-zero-loss",
    type=click.Choice(["stop", "continue"]),
    default="stop",
    show_default=True,
    help="When a MultiBoxLoss is 0 in 20 iterations in a row: stop and say why, or continue.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "tf32", "bf16"]),
    default="float32",
    show_default=True,
    help="tf32: NVIDIA GPUs round what they multiply to TF32. bf16: train in bfloat16 where that is faster; "
    "parameters, snapshots and tests stay float32.",
)
@click.option(
    "--max-iter", type=click.IntRange(0, MAX_ITER), metavar="N", help="Train up to N, whatever max_iter says."
)
@click.option(
    "--test-iter", type=click.IntRange(1, MAX_ITER), metavar="N", help="Test N batches, whatever test_iter says."
)
@reading_options
@click.option(
    "--log", metavar="FILE|none", help="Where the log goes. Default: beside the snapshots, PREFIX_train_TIME.log."
)
@click.option("--tensorboard", type=click.Path(path_type=Path), metavar="FOLDER", help="Write scalars there.")
@click.option("-v", "--verbose", is_flag=True, help="Show the lines of the log on stderr too.")
@rule_options
@python_option
def command(
    argument: Path | None,
    option: Path | None,
    *,
    weights: str | None,
    snapshot: str | None,
    gpu: str | None,
    processes: int | None,
    device: str | None,
    **options: Any,
) -> None:
    """Train a net as SOLVER.prototxt says, which is used as it is.

    Snapshots and the log are written where the solver's snapshot_prefix says. Progress goes to stderr, nothing to
    stdout. Options may be spelled as Caffe spells them: `-solver x`, `--sigint_effect=stop`. A run that a signal
    stopped exits with 0.
    """
    if weights is not None and snapshot not in (None, "auto"):
        raise click.UsageError("give a snapshot to go on from or weights to start from, but not both")
    if gpu is not None and device is not None:
        raise click.UsageError("give --gpu or --device, not both")
    if gpu is not None and processes is not None:
        raise click.UsageError("give --gpu or --processes, not both: each GPU has a process")
    solver = _solver_file(argument, option)
    group = _group(gpu, processes)

    from caffecompat.cli.training import Wanted, train

    wanted = Wanted(solver=solver, weights=weights, snapshot=snapshot, gpu=gpu, device=device, **options)
    with closing(group), group.together():
        train(wanted, group)


def _group(gpu: str | None, processes: int | None) -> Group:
    """The processes that train together; where several are asked for and nobody has started them, that is done here.

    Raises:
        UsageError: torchrun has started them, and `--processes` asks for more; or `--gpu` names one that is not here.
        WorkerError: a process that was started ended without a word.
    """
    started = os.environ.get("WORLD_SIZE", "") not in ("", "1")
    if not started:
        count = processes or _count(gpu)
        if count > 1:
            from caffecompat.cli.launch import launch
            from caffecompat.cli.main import ARGUMENTS

            context = click.get_current_context()
            context.exit(launch(context.meta[ARGUMENTS], count))
        from caffecompat.solver.group import Group

        return Group()
    if processes is not None and "CAFFECOMPAT_STORE" not in os.environ:
        raise click.UsageError("--processes starts processes, and torchrun has started them already: leave it out")

    from caffecompat.solver.distributed import join

    group = join()
    if group.rank:
        # The first process gives the same warnings.
        warnings.simplefilter("ignore", CaffeCompatWarning)
    return group


def _count(gpu: str | None) -> int:
    """How many GPUs are named.

    Raises:
        UsageError: they are several, and not all of them are here.
    """
    if gpu != "all" and "," not in (gpu or ""):
        return 1
    import torch

    here = torch.cuda.device_count()
    if gpu is None or gpu == "all":
        return here
    numbers = [int(number) for number in gpu.split(",")]
    if max(numbers) >= here:
        raise click.UsageError(f"--gpu {gpu}: {here or 'no'} GPUs are here, or this build of torch does not use them")
    return len(numbers)
