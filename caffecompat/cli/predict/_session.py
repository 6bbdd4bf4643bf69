"""A net made ready for pictures: built, with its weights, on its device, its preprocessing beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, cast

import click
import numpy as np
import torch

from caffecompat.cli.options import named_shapes
from caffecompat.cli.progress import Progress
from caffecompat.data.images import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    Item,
    count_items,
    find_files,
    read_items,
)
from caffecompat.data.preprocessing import Floats, Preprocessing
from caffecompat.errors import CaffeCompatError, FormatError, UnsupportedError, UsageError
from caffecompat.formats import read_net
from caffecompat.graph import build_graph
from caffecompat.graph.passes import data_to_inputs, drop_train_only
from caffecompat.graph.spec import Dialect, Graph, Phase
from caffecompat.net import Net

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


@dataclass(frozen=True)
class Session:
    """What a command works with.

    Attributes:
        net: the net, on `device`.
        preprocessing: how pictures become its input.
        device: where it runs.
    """

    net: Net
    preprocessing: Preprocessing
    device: torch.device

    def forward(self, **inputs: np.ndarray[Any, np.dtype[Any]]) -> Arrays:
        """The outputs, and the blobs that `net.keep` names, of one pass, as arrays on the CPU."""
        names = {name: escaped for escaped, name in self.net.input_names.items()}
        fed = {names.get(name, name): torch.from_numpy(array).to(self.device) for name, array in inputs.items()}
        with torch.inference_mode():
            blobs = {**self.net(**fed), **self.net.blobs}
        return {name: blob.cpu().numpy() for name, blob in blobs.items()}

    def pictures(self, inputs: Floats) -> Arrays:
        """The outputs for prepared pictures, (N, C, H, W)."""
        return self.forward(**{self.preprocessing.input: inputs})


def open_session(
    prototxt: Path,
    weights: Path | None,
    *,
    random_weights: bool = False,
    phase: str = "TEST",
    level: int = 0,
    stages: Sequence[str] = (),
    dialect: str = "ssd",
    ignore_fields: Sequence[str] = (),
    input_shapes: Sequence[tuple[str, tuple[int, ...]]] = (),
    device: str = "cpu",
    **preparing: Any,
) -> Session:
    """A net and its preprocessing from what the command line says; what was replaced is told on stderr.

    Args:
        prototxt: the net; of a training net the data layers become inputs and the losses drop out.
        weights: its weights.
        random_weights: let the fillers give the parameters where no weights are given.
        phase: see `caffecompat.load`, as for level, stages, dialect and ignore_fields.
        level: the level.
        stages: the stages.
        dialect: whose rules count.
        ignore_fields: fields to pass over.
        input_shapes: (name or "", shape) of inputs.
        device: "cpu", "cuda", "mps".
        preparing: the arguments of `Preprocessing.from_graph`.

    Raises:
        UsageError: no weights, or a device that is not here.
        CaffeCompatError: a file is at fault.
    """
    if weights is None and not random_weights:
        raise UsageError("no weights: give --weights FILE", hint="--random-weights takes what the net's fillers give")
    target = _device(device)
    parsed = read_net(prototxt)
    graph = build_graph(
        parsed,
        cast(Phase, phase),
        level=level,
        stages=stages,
        dialect=cast(Dialect, dialect),
        ignore_fields=ignore_fields,
    )
    shapes = named_shapes(input_shapes, [key.name for key in graph.inputs])
    preprocessing = Preprocessing.from_graph(graph, base_dir=prototxt.parent, input_shapes=shapes, **preparing)
    net = Net(_for_prediction(graph, shapes, preprocessing), shapes)
    if weights is not None:
        net.copy_from(weights)
    net.fill()
    if weights is not None and net.filled:
        tell(f"the weights lack {', '.join(net.filled)}: their parameters came from the fillers")
    return Session(net.to(target), preprocessing, target)


def _for_prediction(graph: Graph, shapes: dict[str, tuple[int, ...]], preprocessing: Preprocessing) -> Graph:
    """The graph without losses, its data layers replaced by inputs; what changed is told on stderr.

    Args:
        graph: as the prototxt has it.
        shapes: those of the inputs that are known; the picture's is added where only the record knows it.
        preprocessing: the net's record.
    """
    channels = {"gray": 1, "bgr": 3, "rgb": 3}.get(preprocessing.channels)
    databases = {key.name: spec for spec in graph.layers if spec.row.data and spec.type != "Input" for key in spec.tops}
    if preprocessing.input in databases and preprocessing.net_size is not None and channels is not None:
        shapes.setdefault(preprocessing.input, (1, channels, *preprocessing.net_size))
    graph, changes = drop_train_only(graph)
    for change in changes:
        tell(change)
    graph = data_to_inputs(graph, shapes)
    for key in graph.inputs:
        if key.name in databases and key.name in shapes:
            spec, size = databases[key.name], "x".join(map(str, shapes[key.name]))
            tell(f'layer "{spec.name}" ({spec.type}) becomes an input: "{key.name}" of {size}')
    return graph


def start(prototxt: Path, weights: Path | None, inputs: Sequence[Path], options: Mapping[str, Any]) -> Started:
    """What a command begins with: its session, and the pictures in batches.

    Args:
        prototxt: the net.
        weights: its weights.
        inputs: files, folders and patterns.
        options: the values of the options of `picture_command`, but for -o and --format.
    """
    rest = dict(options)
    batch, every, keep_going = rest.pop("batch"), rest.pop("every"), rest.pop("keep_going")
    files = find_files(inputs, IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    return Started(open_session(prototxt, weights, **rest), Pictures(files, batch, every, keep_going))


class Started(NamedTuple):
    """A session, and what it is to work on."""

    session: Session
    pictures: Pictures


class Pictures:
    """The pictures of files in batches, with progress on stderr; a context manager.

    With `keep_going`, pictures that cannot be read are told on stderr and passed over, and the command exits
    with 1 when the rest is done: leaving the context raises the error, so it stands outside that of the output.
    """

    def __init__(self, files: Sequence[Path], batch: int, every: int, keep_going: bool) -> None:
        self._files = files
        self._batch = batch
        self._every = every
        self._keep_going = keep_going
        self._faults = 0
        self._progress = Progress(count_items(files, every), "images")

    def __enter__(self) -> Pictures:
        self._progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.__exit__(kind, error, trace)
        if error is None and self._faults:
            raise CaffeCompatError(f"{self._faults} of {len(self._files)} files could not be read")

    def __iter__(self) -> Iterator[list[Item]]:
        batch: list[Item] = []
        for item in self._items():
            batch.append(item)
            if len(batch) == self._batch:
                yield batch
                self._progress.add(len(batch))
                batch = []
        if batch:
            yield batch
            self._progress.add(len(batch))

    def _items(self) -> Iterator[Item]:
        for file in self._files:
            yield from self._read(file)

    def _read(self, file: Path) -> Iterator[Item]:
        try:
            yield from read_items([file], self._every)
        except FormatError as error:
            if not self._keep_going:
                raise
            self._faults += 1
            tell(str(error))


def tell(text: str) -> None:
    """Say something on stderr."""
    click.echo(text, err=True)


def _device(name: str) -> torch.device:
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here[name]:
        raise UnsupportedError(f"--device {name}: there is none here, or this build of torch does not use it")
    return torch.device(name)
