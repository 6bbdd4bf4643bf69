"""Options that several commands share, as decorators: how a net is built, and how its input is prepared."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from caffecompat.engines.registry import AUTO, ENGINES, PRECISIONS, Precision, engine_row
from caffecompat.errors import UsageError, quoted

F = TypeVar("F", bound=Callable[..., Any])
MAX_AXES = 32


def _input_shapes(
    context: click.Context, option: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """`1,3,300,300` or `data=1,3,300,300` as (name, sizes); the name is "" if not given."""
    shapes = []
    for value in values:
        name, _, sizes = value.rpartition("=")
        parts = sizes.split(",")[: MAX_AXES + 1]
        if len(parts) > MAX_AXES or not all(re.fullmatch(r" *[1-9][0-9]{0,9} *", part) for part in parts):
            raise click.BadParameter(f"{quoted(value)} is not a shape such as 1,3,300,300 or data=1,3,300,300")
        shapes.append((name, tuple(int(part) for part in parts)))
    return tuple(shapes)


def net_argument(function: F) -> F:
    """`NET`, the prototxt (argument `net`), and `--weights FILE` (argument `weights`, a Path or None)."""
    function = click.option(
        "-w",
        "--weights",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="The weights: .caffemodel or .caffemodel.h5.",
    )(function)
    return click.argument("net", type=click.Path(path_type=Path), metavar="NET.prototxt")(function)


def _load_plugins(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> None:
    """Run the plug-ins asked for, before anything is read."""
    if not values or context.resilient_parsing:
        return
    from caffecompat.layers.plugins import load_plugin

    for value in values:
        load_plugin(value)


def _stages(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """The names, those that stand in one text apart."""
    return tuple(name for value in values for name in value.split(",") if name)


def net_options(function: F, phase: str = "TEST") -> F:
    """Which net is built from the prototxt: phase, level, stage, dialect, ignore_field, input_shape; and plugin.

    Args:
        function: what is decorated.
        phase: the phase where `--phase` is not given.
    """
    phases = click.option(
        "--phase",
        type=click.Choice(["TEST", "TRAIN"], case_sensitive=False),
        default=phase,
        show_default=True,
        help="The phase whose layers are taken.",
    )
    shapes = click.option(
        "--input-shape",
        "input_shapes",
        callback=_input_shapes,
        multiple=True,
        metavar="[NAME=]N,C,H,W",
        help="The shape of an input, where the prototxt states none or another is wanted.",
    )
    return phases(rule_options(shapes(function)))


def dialect_option(function: F) -> F:
    """`--dialect`: whose rules count."""
    return click.option(
        "--dialect",
        type=click.Choice(["ssd", "bvlc"]),
        default="ssd",
        show_default=True,
        help="The Caffe whose rules count where the two differ.",
    )(function)


def rule_options(function: F) -> F:
    """How a prototxt is understood: level, stage, dialect, ignore_field; and plugin."""
    options = (
        click.option("--level", type=int, default=0, show_default=True, help="The level that the rules are given."),
        click.option(
            "--stage",
            "stages",
            callback=_stages,
            multiple=True,
            metavar="NAME[,...]",
            help="Stages that the rules are given.",
        ),
        dialect_option,
        click.option(
            "--ignore-field",
            "ignore_fields",
            multiple=True,
            metavar="NAME",
            help="Compute layers as if this unknown field were not there; a warning says so.",
        ),
        click.option(
            "--plugin",
            callback=_load_plugins,
            expose_value=False,
            multiple=True,
            metavar="MODULE|FILE.py",
            help="Python code that registers layers of your own: it is run.",
        ),
    )
    return _decorate(function, options)


def _allow_python(context: click.Context, option: click.Parameter, value: bool) -> None:
    """Let the command's nets run Python layers; their modules are looked for in the working directory too."""
    if not value or context.resilient_parsing:
        return
    from caffecompat.layers.python import allow_python_layers
    from caffecompat.pycaffe._python_layer import find_python_layer

    sys.path.append(os.getcwd())
    allow_python_layers(find_python_layer)


def python_option(function: F) -> F:
    """`--allow-python`: run the Python layers that a prototxt names."""
    return click.option(
        "--allow-python",
        is_flag=True,
        callback=_allow_python,
        expose_value=False,
        help="Run the net's Python layers: programs of their own, which see `import caffe`. Only if you trust them.",
    )(function)


def engine_options(function: F) -> F:
    """What runs the net: engine (None for the net itself), precision and calibration."""
    options = (
        click.option(
            "--engine",
            type=click.Choice([AUTO, *ENGINES]),
            help="Let this engine run the net; auto: the fastest of those installed, by measuring them once.",
        ),
        click.option(
            "--precision",
            type=click.Choice(PRECISIONS),
            default="float32",
            show_default=True,
            help="What the engine computes in.",
        ),
        click.option(
            "--calibration",
            type=click.Path(path_type=Path),
            metavar="DIR|LIST|DB",
            help="For int8: some dozen typical pictures, of which the ranges of values are taken; by a quarter of them "
            "it is measured what int8 costs.",
        ),
    )
    return _decorate(function, options)


def check_engine(engine: str | None, precision: Precision, calibration: Path | None) -> None:
    """Whether the values of `engine_options` go together.

    Raises:
        UsageError: a precision without an engine, or that the engine lacks, int8 without a calibration, or a
            calibration without int8.
    """
    if engine is None and precision != "float32":
        raise UsageError(f"--precision {precision} goes with --engine", hint="--engine auto takes the fastest")
    if engine is not None and engine != AUTO:
        engine_row(engine, precision)
    if precision == "int8" and calibration is None:
        raise UsageError("--precision int8 needs --calibration", hint="--calibration DIR: some dozen typical pictures")
    if precision != "int8" and calibration is not None:
        raise UsageError("--calibration goes with --precision int8")


def root_option(function: F) -> F:
    """`--root`: where the paths in prototxts start."""
    return click.option(
        "--root",
        type=click.Path(path_type=Path),
        metavar="FOLDER",
        help="Where relative paths in the prototxts start; else the working directory.",
    )(function)


def reading_options(function: F) -> F:
    """How data layers read: root, workers, skip_bad_records."""
    options = (
        root_option,
        click.option(
            "--workers",
            type=click.IntRange(0, 256),
            default=2,
            show_default=True,
            help="How many threads read batches ahead for each data layer; 0 reads each when it is its turn.",
        ),
        click.option("--skip-bad-records", is_flag=True, help="Take the next record for one that cannot be read."),
    )
    return _decorate(function, options)


def start_weights_option(function: F) -> F:
    """`--weights FILE[,...]`: what a run starts from, one text or None."""
    return click.option(
        "-w", "--weights", metavar="FILE[,...]", help="Weights to start from, in the place of those of the solver."
    )(function)


def preprocessing_options(function: F) -> F:
    """How the input is prepared: mean, scale, channels, labels; each None where it is not given."""
    options = (
        click.option(
            "--mean",
            metavar="B,G,R|FILE",
            help="Mean to subtract: values by channel, .binaryproto, .npy, or the .json of a dilation net.",
        ),
        click.option("--scale", type=float, help="Multiplies the values after the mean is subtracted."),
        click.option(
            "--channels",
            type=click.Choice(["bgr", "rgb", "gray"], case_sensitive=False),
            help="The order of channels that the net wants.",
        ),
        click.option("--labels", type=click.Path(path_type=Path), help="The classes' names: a label map or a text."),
    )
    return _decorate(function, options)


def named_shapes(shapes: Sequence[tuple[str, tuple[int, ...]]], inputs: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """The shapes of `--input-shape` by input; a shape without a name belongs to the net's first input.

    Raises:
        UsageError: a name that is no input of the net, or an input named twice.
    """
    named: dict[str, tuple[int, ...]] = {}
    for given, shape in shapes:
        name = given or (inputs[0] if inputs else "")
        if name not in inputs:
            known = ", ".join(inputs) or "none"
            raise UsageError(f"--input-shape names {quoted(name)}; the net's inputs are: {known}")
        if name in named:
            raise UsageError(f"--input-shape gives the shape of {quoted(name)} twice")
        named[name] = shape
    return named


def _decorate(function: F, options: Sequence[Callable[[F], F]]) -> F:
    for option in reversed(options):
        function = option(function)
    return function
