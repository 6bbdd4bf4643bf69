"""How long a pass of a net takes in an engine, beside the plain net."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from caffecompat.cli.errors import tell
from caffecompat.cli.opening import is_guessed, tell_guess
from caffecompat.cli.progress import Progress
from caffecompat.cli.timing import made_up
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.engines import Calibration, optimize
from caffecompat.engines.registry import Precision
from caffecompat.net import Net


def calibrated(net: Net, prototxt: Path, pictures: Path, preparing: Mapping[str, Any]) -> Calibration:
    """What int8 is calibrated with; a note on stderr if nothing says how pictures become the net's input.

    Args:
        net: the net.
        prototxt: its file, beside which files that it names are looked for too.
        pictures: pictures or a database.
        preparing: mean, scale, channels and labels, as `Preprocessing.from_graph` takes them; None: the net says it.

    Raises:
        CaffeCompatError: a file cannot be read, or there are no pictures.
    """
    shapes = {key.name: net.blob_shapes[key] for key in net.graph.inputs}
    record = Preprocessing.from_graph(net.graph, base_dir=prototxt.parent, input_shapes=shapes, **preparing)
    if is_guessed(net.graph, record, preparing):
        tell_guess()
    return Calibration(pictures, record)


def measured(
    net: Net, engine: str, precision: Precision, calibration: Calibration | None, iterations: int
) -> dict[str, Any]:
    """Milliseconds of a pass, the mean of many after one that is not counted, the two taking turns.

    Args:
        net: the net.
        engine: its name, or "auto".
        precision: what it computes in.
        calibration: for int8; the result says what int8 costs on some of its items.
        iterations: how many passes.

    Raises:
        CaffeCompatError: the engine cannot be made.
    """
    fed = {key.name: value for key, value in made_up(net).items()}
    # int8 is tried on pictures, for its ranges are theirs.
    example = fed if calibration is None else None
    made = optimize(net.eval(), engine, precision, example, calibration=calibration, tell=tell)
    inputs = {name: value for name, value in fed.items() if name in made.inputs}
    plain = {made.keywords.get(name, name): value for name, value in inputs.items()}
    calls: dict[str, Callable[[], object]] = {
        "forward_ms": lambda: made.run(dict(inputs)),
        "plain_forward_ms": lambda: made.net(**plain),
    }
    sums = dict.fromkeys(calls, 0.0)
    with torch.inference_mode(), Progress(iterations, "passes") as progress:
        for call in calls.values():
            call()
        for _ in range(iterations):
            for name, call in calls.items():
                start = time.perf_counter()
                call()
                sums[name] += time.perf_counter() - start
            progress.add()
    figures = {name: total * 1000 / iterations for name, total in sums.items()}
    accuracy = made.report.accuracy if made.report is not None else None
    return {
        "engine": made.name,
        "precision": made.precision,
        "threads": torch.get_num_threads(),
        "iterations": iterations,
        **figures,
        **({} if accuracy is None else {"accuracy": accuracy.values()}),
    }
