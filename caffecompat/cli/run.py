"""`caffecompat run`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from caffecompat.cli.predict._options import picture_command

COLUMNS = ("input", "blob", "shape", "min", "max", "mean")


@click.command("run")
@picture_command("table jsonl csv npz")
@click.option("--blob", "blobs", multiple=True, metavar="NAME", help='Show this blob, not the outputs; "all" for all.')
def command(
    net: Path,
    weights: Path | None,
    inputs: tuple[Path, ...],
    *,
    blobs: tuple[str, ...],
    format_: str | None,
    output: Path | None,
    **options: Any,
) -> None:
    """Pass images or arrays through a net, and show or save its outputs as they come.

    INPUT is an image, a folder, a pattern, a video, or an array: .npy for the net's first input, .npz for inputs
    by name; arrays are taken as they are, without preprocessing. Shown is a line for each output: its shape,
    least and greatest value and mean. With `-o FILE.npz` the values are saved by blob name; of several passes as
    `name/0`, `name/1`, ...
    """
    from caffecompat.cli.files import keep_inputs
    from caffecompat.cli.predict import _features, _session, _writers
    from caffecompat.errors import UsageError

    known = {"table": (), "jsonl": (".jsonl", ".json"), "csv": (".csv",), "npz": (".npz",)}
    kind = _writers.choose_format(format_, output, known)
    arrays = [path for path in inputs if path.suffix.lower() in _features.ARRAY_SUFFIXES]
    if arrays and len(arrays) < len(inputs):
        raise UsageError("give either arrays or images, not both")
    keep_inputs(output, arrays)
    session, pictures = _session.start(net, weights, [] if arrays else inputs, output, options)
    _features.keep(session.net, blobs, every=True)

    def passes() -> Iterator[tuple[str, Any]]:
        for path in arrays:
            yield str(path), session.forward(**_features.read_inputs(path, session.net.inputs))
        for items in pictures:
            yield (
                ", ".join(item.name for item in items),
                session.pictures(session.preprocessing.apply([item.image for item in items])),
            )

    def chosen() -> Iterator[tuple[str, str, Any]]:
        for source, found in passes():
            names = list(session.net.graph.last) if "all" in blobs else blobs or session.net.outputs
            yield from ((source, name, found[name]) for name in names)

    with pictures, _writers.output(output) as stream:
        if kind == "npz":
            saved: dict[str, list[Any]] = {}
            for _, name, array in chosen():
                saved.setdefault(name, []).append(array)
            named = {
                (name if len(several) == 1 else f"{name}/{index}"): array
                for name, several in saved.items()
                for index, array in enumerate(several)
            }
            _writers.write_arrays(stream, named, kind)
        else:
            rows = ({"input": source, **_features.summary(name, array)} for source, name, array in chosen())
            _writers.write_rows(stream, rows, kind, COLUMNS)
