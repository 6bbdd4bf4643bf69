"""`caffecompat verify`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from caffecompat.cli.errors import tell
from caffecompat.cli.files import tell_written
from caffecompat.cli.options import net_argument, net_options, python_option

if TYPE_CHECKING:
    import numpy as np

    from caffecompat.cli.opening import Opened
    from caffecompat.cli.predict._session import Session
    from caffecompat.errors import CaffeCompatError
    from caffecompat.net import Net

DEPARTS = 3
PROGRAMS = ("opencv", "onnxruntime", "openvino", "caffe")


@click.command("verify")
@net_argument
@click.option(
    "--against",
    required=True,
    metavar="|".join((*PROGRAMS, "FILE.npz")),
    help="What to compare with: a program that is installed here, or the answers recorded elsewhere.",
)
@click.option(
    "--input",
    "given",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The input: .npy of the first, .npz of all by name. Else it is drawn, or what the recorded answers are to.",
)
@click.option(
    "--tolerance",
    type=click.FloatRange(0),
    default=1e-4,
    show_default=True,
    help="The largest difference that is allowed, as a share of a blob's largest magnitude.",
)
@click.option("--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write the result there.")
@click.option("--junit", "junit_file", type=click.Path(path_type=Path), metavar="FILE", help="As JUnit's XML.")
@net_options
@python_option
def command(
    net: Path,
    weights: Path | None,
    *,
    against: str,
    given: Path | None,
    tolerance: float,
    json_file: Path | None,
    junit_file: Path | None,
    **options: Any,
) -> int:
    """Compare a net with another program, blob by blob, and name the first blob that departs.

    A line is printed for each blob in the order of the layers; `!` marks one that departs, `?` one that the other
    program does not have. The exit status is 0 if no blob departs, 3 if one does, 1 if a file is at fault or the other
    program refuses it, and 2 for wrong usage.

    The answers of an old Caffe are recorded where it runs, by converters/record_reference.py.
    """
    from caffecompat.errors import UsageError
    from caffecompat.formats import atomic_write
    from caffecompat.verify.comparing import compare
    from caffecompat.verify.reports import as_json, as_junit, as_text, first_departing, sentence

    if weights is None:
        raise UsageError("no weights: give --weights FILE", hint="two programs fill a net differently")
    session, inputs, theirs = _answers(net, weights, against, given, options)
    session.net.keep = "all"
    rows = compare(session.net.graph, session.forward(**inputs), theirs, tolerance)
    first = first_departing(rows)
    click.echo(as_text(rows))
    if json_file is not None:
        with atomic_write(json_file) as file:
            file.write(as_json(rows, against, tolerance).encode() + b"\n")
        tell_written(json_file)
    if junit_file is not None:
        with atomic_write(junit_file) as file:
            file.write(as_junit(rows, f"{net.name} against {against}"))
        tell_written(junit_file)
    compared = sum(row.verdict != "missing" for row in rows)
    if not compared:
        raise UsageError(f"{against} has none of the net's blobs", hint="is it of another net?")
    if first is None:
        tell(f"{compared} of {len(rows)} blobs compared, all equal")
        return 0
    tell(f'the first that departs, of layer "{first.layer}": {sentence(first)}')
    return DEPARTS


def _answers(
    prototxt: Path, weights: Path, against: str, given: Path | None, options: Mapping[str, Any]
) -> tuple[Session, dict[str, np.ndarray[Any, Any]], Mapping[str, np.ndarray[Any, Any]]]:
    """The net to be run, the input of both, and what the other program computes."""
    import torch

    from caffecompat.cli.predict._session import Session
    from caffecompat.errors import UsageError, quoted
    from caffecompat.export.axes import fed
    from caffecompat.formats.arrays import read_arrays
    from caffecompat.verify import peers
    from caffecompat.verify.reference import read_reference

    rest = dict(options)
    shapes = list(rest.pop("input_shapes"))
    recorded, arrays = None, {}
    if against.endswith(".npz"):
        if given is not None:
            raise UsageError("--input is not for recorded answers: they are to an input of their own")
        recorded = read_reference(against)
        arrays = recorded.inputs
    elif against not in PROGRAMS:
        raise UsageError(f"--against: expected {', '.join(PROGRAMS)} or a .npz file, got {quoted(against)}")
    elif given is not None:
        arrays = read_arrays(given)
    opened = _opened_for(arrays, given or Path(against), prototxt, weights, shapes, rest)
    for note in opened.notes:
        tell(note)
    net = opened.net
    session = Session(net, opened.preprocessing, torch.device("cpu"))
    inputs = {name or net.inputs[0]: array for name, array in arrays.items()}
    if not arrays:
        inputs = peers.drawn_inputs({key.name: net.blob_shapes[key] for key in fed(net)})
    if recorded is not None:
        return session, inputs, recorded.blobs
    if against == "caffe":
        return session, inputs, peers.caffe_answers(prototxt, weights, inputs)
    if against == "onnxruntime":
        return session, inputs, peers.onnxruntime_answers(net, inputs)
    if against == "openvino":
        return session, inputs, peers.openvino_answers(net, inputs)
    return session, inputs, peers.opencv_answers(net.graph, prototxt, weights, inputs)


def _opened_for(
    arrays: Mapping[str, np.ndarray[Any, Any]],
    file: Path,
    prototxt: Path,
    weights: Path,
    asked: Sequence[tuple[str, tuple[int, ...]]],
    rules: Mapping[str, Any],
) -> Opened:
    """The net, built for the inputs that a file has; where there are none, for the shapes asked for or stated.

    Raises:
        ShapeError: the net does not take them.
        UsageError: an input is missing, or is none of the net's, or another shape is asked for than the file has.
        CaffeCompatError: a file of the net is at fault.
    """
    from caffecompat.cli.opening import open_net
    from caffecompat.errors import CaffeCompatError, UsageError, quoted
    from caffecompat.export.axes import fed

    shapes = _shapes_of(arrays, file, asked)
    try:
        opened = open_net(prototxt, weights, shapes, rules, {})
    except CaffeCompatError as error:
        if not arrays:
            raise
        try:
            net = open_net(prototxt, weights, asked, rules, {}).net
        except CaffeCompatError:
            raise error from None
        raise _misfit(net, arrays, file, error) from error
    missing = [key.name for key in fed(opened.net) if key.name not in arrays] if arrays and "" not in arrays else []
    if missing:
        raise UsageError(f"there is no array for input {quoted(missing[0])}", file=file)
    return opened


def _misfit(
    net: Net, arrays: Mapping[str, np.ndarray[Any, Any]], file: Path, error: CaffeCompatError
) -> CaffeCompatError:
    """What to say where a net that opens as stated does not open for the arrays of a file."""
    from caffecompat.errors import ShapeError, UsageError, did_you_mean, quoted

    stated = {key.name: net.blob_shapes[key] for key in net.graph.inputs}
    for given, array in arrays.items():
        name = given or next(iter(stated), "")
        if name not in stated:
            known = ", ".join(stated) or "none"
            hint = did_you_mean(name, stated)
            return UsageError(f"the net has no input {quoted(name)}; its inputs are {known}", file=file, hint=hint)
        if array.shape != stated[name]:
            wanted, got = ("x".join(map(str, shape)) or "scalar" for shape in (stated[name], array.shape))
            return ShapeError(
                f"input {quoted(name)}: expected {wanted}, as the net states, or what its layers take; got {got}",
                file=file,
                hint=f'layer "{error.layer}" refuses it: {error.message}' if error.layer else error.message,
            )
    return error


def _shapes_of(
    arrays: Mapping[str, np.ndarray[Any, Any]], file: Path, asked: Sequence[tuple[str, tuple[int, ...]]]
) -> list[tuple[str, tuple[int, ...]]]:
    """The shapes of the inputs that a file has, and of others those asked for.

    Raises:
        UsageError: another one is asked for than the file has.
    """
    from caffecompat.errors import UsageError, quoted

    for name, shape in asked:
        if name in arrays and arrays[name].shape != shape:
            found, wanted = ("x".join(map(str, sizes)) for sizes in (arrays[name].shape, shape))
            raise UsageError(
                f"--input-shape: {file} has an input {quoted(name)} of {found}, not of {wanted}", hint="leave it out"
            )
    return [*((name, array.shape) for name, array in arrays.items()), *(one for one in asked if one[0] not in arrays)]
