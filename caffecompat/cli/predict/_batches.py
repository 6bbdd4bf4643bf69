"""Blobs by name for the batches that a net's own data layers read, as arrays or as databases."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch

from caffecompat.cli.errors import tell
from caffecompat.cli.files import keep_inputs
from caffecompat.cli.predict import _writers
from caffecompat.cli.predict._features import Array, keep, pooled
from caffecompat.cli.predict._session import Arrays, device_named
from caffecompat.cli.progress import Progress
from caffecompat.cli.reading import check_read, open_reading_net, tell_skipped
from caffecompat.data.databases import LmdbWriter
from caffecompat.errors import CaffeCompatError, ShapeError, UsageError, shown
from caffecompat.net import Net
from caffecompat.schema import caffe_pb2

# Caffe's legacy accessors, from which a Datum has its sizes, know so many.
MAX_AXES = 4
NET_OPTIONS = frozenset(
    ("dialect", "ignore_fields", "input_shapes", "level", "phase", "root", "skip_bad_records", "stages", "workers")
)


def write(
    prototxt: Path,
    weights: Path | None,
    batches: int,
    blobs: Sequence[str],
    pool: str,
    kind: str,
    output: Path | None,
    options: Mapping[str, Any],
) -> None:
    """Pass batches, and write the blobs.

    Args:
        prototxt: the net.
        weights: its weights.
        batches: how many batches.
        blobs: the names.
        pool: "none", or "avg" or "max" over height and width.
        kind: "npy", "npz", "jsonl" or "lmdb".
        output: the value of -o.
        options: the values of the other options.

    Raises:
        CaffeCompatError: a file is at fault, or the blobs do not fit what is to be written.
    """
    if weights is None and not options["random_weights"]:
        raise UsageError("no weights: give --weights FILE", hint="--random-weights takes what the net's fillers give")
    keep_inputs(output, [prototxt, weights])
    targets = _targets(output, blobs) if kind == "lmdb" else []
    rules = {name: value for name, value in options.items() if name in NET_OPTIONS}
    device = device_named(options["device"])
    with closing(open_reading_net(prototxt, weights, device=device, **rules)) as net:
        check_read(net)
        keep(net, blobs)
        passes = _passes(net, batches, blobs, pool)
        if kind == "lmdb":
            _write_databases(passes, dict(zip(blobs, targets, strict=True)))
        else:
            _write_arrays(passes, blobs, kind, output)
        tell_skipped(net)


def _passes(net: Net, batches: int, blobs: Sequence[str], pool: str) -> Iterator[tuple[Sequence[str], Arrays]]:
    """For each batch what its items are called, as far as they have names, and the values of the blobs."""
    with Progress(batches, "batches") as progress:
        for _ in range(batches):
            with torch.inference_mode():
                found = {**net(), **net.blobs}
            names = next((reader.batch.keys for reader in net.readers if reader.batch is not None), ())
            yield names, {blob: pooled(blob, found[blob].cpu().numpy(), pool) for blob in blobs}
            progress.add()


def _write_arrays(
    passes: Iterator[tuple[Sequence[str], Arrays]], blobs: Sequence[str], kind: str, output: Path | None
) -> None:
    with _writers.output(output) as stream:
        if kind == "jsonl":
            rows = (
                {"image": name, **{blob: values[blob][index] for blob in blobs}}
                for names, values in _named(passes)
                for index, name in enumerate(names)
            )
            _writers.write_rows(stream, rows, kind, ())
            return
        parts = list(_named(passes))
        arrays = {blob: _joined(blob, [values[blob] for _, values in parts]) for blob in blobs}
        if kind == "npz":
            arrays["images"] = np.array([name for names, _ in parts for name in names])
        _writers.write_arrays(stream, arrays, kind)


def _named(passes: Iterator[tuple[Sequence[str], Arrays]]) -> Iterator[tuple[Sequence[str], Arrays]]:
    """The batches with a name for each item: what its reader calls it, else its number.

    Raises:
        ShapeError: a blob has no row for each item.
    """
    count = 0
    for names, values in passes:
        rows = len(names) or next(array.shape[0] if array.ndim else 0 for array in values.values())
        for blob, array in values.items():
            if array.shape[:1] != (rows,):
                raise ShapeError(f'blob "{shown(blob)}" has shape {array.shape} for {rows} items', hint="see `run`")
        yield names or [f"{number:010d}" for number in range(count, count + rows)], values
        count += rows


def _joined(blob: str, arrays: Sequence[Array]) -> Array:
    shapes = {array.shape[1:] for array in arrays}
    if len(shapes) > 1:
        raise ShapeError(f'blob "{shown(blob)}" comes out in {len(shapes)} shapes: {sorted(shapes)}', hint="see --pool")
    return np.concatenate(arrays)


def _targets(output: Path | None, blobs: Sequence[str]) -> list[Path]:
    """The database of each blob.

    Raises:
        UsageError: there is no -o, or it does not name one for each.
    """
    if output is None:
        raise UsageError("--format lmdb writes databases: give a folder with -o")
    parts = str(output).split(",")
    if len(parts) == len(blobs):
        targets = [Path(part) for part in parts]
    elif len(parts) == 1:
        targets = [output / (re.sub(r"[^\w.-]", "_", blob).lstrip(".") or "_") for blob in blobs]
    else:
        raise UsageError(f"-o names {len(parts)} databases for {len(blobs)} blobs")
    if len({target.absolute() for target in targets}) < len(targets):
        raise UsageError("two blobs would be written into one database", hint="name them: -o FIRST.lmdb,SECOND.lmdb")
    return targets


def _write_databases(passes: Iterator[tuple[Sequence[str], Arrays]], targets: Mapping[str, Path]) -> None:
    """Write each blob's rows as Datums with float_data, their number as key. (Caffe: extract_features.)."""
    counts = dict.fromkeys(targets, 0)
    with ExitStack() as stack:
        for target in targets.values():
            _make_folder(target.parent, stack)
        writers = {blob: stack.enter_context(LmdbWriter(target)) for blob, target in targets.items()}
        for _, values in passes:
            for blob, array in values.items():
                for row in np.atleast_1d(array):
                    writers[blob].put(f"{counts[blob]:010d}".encode(), _datum(blob, row).SerializeToString())
                    counts[blob] += 1
    for blob, target in targets.items():
        tell(f"wrote {target}: {counts[blob]:,} records of {shown(blob)}")


def _make_folder(folder: Path, stack: ExitStack) -> None:
    """Make a folder that is not there; it is gone again if it is left empty."""
    if folder.exists():
        return
    try:
        folder.mkdir()
    except OSError as error:
        raise CaffeCompatError(f"cannot make the folder: {error.strerror or error}", file=folder) from error

    def remove() -> None:
        with suppress(OSError):
            folder.rmdir()

    stack.callback(remove)


def _datum(blob: str, row: Array) -> caffe_pb2.Datum:
    if row.ndim >= MAX_AXES:
        raise ShapeError(f'blob "{shown(blob)}" has {row.ndim + 1} axes; a Datum holds {MAX_AXES}', hint="see --pool")
    channels, height, width = (*row.shape, 1, 1, 1)[:3]
    return caffe_pb2.Datum(channels=channels, height=height, width=width, float_data=row.ravel())
