"""A net made ready for pictures: built, with its weights, on its device, its preprocessing beside it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import torch

from caffecompat.cli.errors import tell
from caffecompat.cli.files import keep_inputs
from caffecompat.cli.opening import GivenShapes, open_net, tell_guess
from caffecompat.cli.options import check_engine
from caffecompat.cli.progress import Progress
from caffecompat.data.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, Item, count_items, find_files, read_items
from caffecompat.data.lists import read_names
from caffecompat.data.preprocessing import Floats, Preprocessing
from caffecompat.errors import CaffeCompatError, FormatError, UsageError
from caffecompat.formats import paths
from caffecompat.net import Net
from caffecompat.net.precision import keep_float32

if TYPE_CHECKING:
    from caffecompat.cli.predict._engine import LateEngine
    from caffecompat.engines.registry import Precision

Arrays = dict[str, np.ndarray[Any, np.dtype[Any]]]


@dataclass(frozen=True)
class Session:
    """What a command works with.

    Attributes:
        net: the net, on `device`.
        preprocessing: how pictures become its input.
        device: where it runs.
        engine: what runs the net, if not the net itself.
    """

    net: Net
    preprocessing: Preprocessing
    device: torch.device
    engine: LateEngine | None = None

    def forward(self, **inputs: np.ndarray[Any, np.dtype[Any]]) -> Arrays:
        """The outputs, and the blobs that `net.keep` names, of one pass, as arrays on the CPU."""
        if self.engine is not None:
            found = self.engine({name: torch.from_numpy(array) for name, array in inputs.items()})
            return {name: blob.numpy() for name, blob in found.items()}
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
    random_weights: bool,
    device: str,
    input_shapes: GivenShapes,
    mean: str | None,
    scale: float | None,
    channels: str | None,
    labels: Path | None,
    size: tuple[int, int] | None,
    resize: str | None,
    interpolation: str | None,
    engine: str | None = None,
    precision: Precision = "float32",
    calibration: Path | None = None,
    pictures: bool = True,
    **rules: Any,
) -> Session:
    """A net and its preprocessing from what the command line says; what was substituted is told on stderr.

    Args:
        prototxt: the net.
        weights: its weights.
        random_weights: let the fillers give the parameters where no weights are given.
        device: "cpu", "cuda" or "mps".
        input_shapes: the values of --input-shape.
        mean: see `Preprocessing.from_graph`, as for the next ones.
        scale: multiplies what remains.
        channels: the order of channels.
        labels: the file of names.
        size: what pictures are resized to.
        resize: the rule.
        interpolation: the method.
        engine: what runs the net; None for the net itself.
        precision: what the engine computes in.
        calibration: for int8, pictures or a database.
        pictures: pictures are to be passed; it is told if nothing says how they become the input.
        rules: phase, level, stages, dialect and ignore_fields.

    Raises:
        UsageError: no weights, or the device is not here.
        CaffeCompatError: a file is at fault.
    """
    if weights is None and not random_weights:
        raise UsageError("no weights: give --weights FILE", hint="--random-weights takes what the net's fillers give")
    check_engine(engine, precision, calibration)
    target = device_named(device)
    preparing = {"mean": mean, "scale": scale, "channels": channels, "labels": labels}
    resizing = {"size": size, "resize": resize, "interpolation": interpolation}
    opened = open_net(prototxt, weights, input_shapes, rules, {**preparing, **resizing})
    for note in opened.notes:
        tell(note)
    if opened.guessed and (pictures or calibration is not None):
        tell_guess()
    net = opened.net.to(target)
    record = opened.preprocessing
    runner = None if engine is None else _late_engine(net, engine, precision, target, calibration, record)
    return Session(net, record, target, runner)


def _late_engine(
    net: Net, name: str, precision: Precision, device: torch.device, pictures: Path | None, record: Preprocessing
) -> LateEngine:
    from caffecompat.cli.predict._engine import LateEngine

    return LateEngine(net, name, precision, device, pictures, record)


def start(
    prototxt: Path, weights: Path | None, inputs: Sequence[Path], output: Path | None, options: Mapping[str, Any]
) -> Started:
    """What a command begins with: its session, and the pictures in batches.

    Args:
        prototxt: the net.
        weights: its weights.
        inputs: files, folders, patterns and lists.
        output: the value of -o.
        options: the values of the other options of `picture_command`, but for --format.

    Raises:
        UsageError: `output` is one of the files that are read.
    """
    rest = dict(options)
    batch, every, keep_going = rest.pop("batch"), rest.pop("every"), rest.pop("keep_going")
    # OpenCV says on stderr what is wrong with an image; the error that follows says it with the file's name.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    files = find_files([*_listed(inputs)], IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    keep_inputs(output, [prototxt, weights, *files])
    session = open_session(prototxt, weights, pictures=bool(files), **rest)
    pictures = Pictures(files, batch, every, keep_going)
    if session.engine is not None:
        session.engine.when_made = pictures.progress.restart
    return Started(session, pictures)


def _listed(inputs: Sequence[Path]) -> Iterator[Path]:
    """The inputs; in the place of a list (.txt) the files that it names, as they lie here or beside it."""
    for path in inputs:
        if path.suffix.lower() == ".txt" and path.is_file():
            yield from (paths.find(name, "file", beside=str(path)) for name in read_names(path).names)
        else:
            yield path


class Started(NamedTuple):
    """A session, and what it is to work on."""

    session: Session
    pictures: Pictures


class Pictures:
    """The pictures of files in batches, with progress on stderr; a context manager.

    With `keep_going`, pictures that cannot be read are told on stderr and passed over, and the command exits
    with 1 when the rest is done: leaving the context raises the error, so it stands outside that of the output.

    Attributes:
        files: the files.
        progress: how far they are.
    """

    def __init__(self, files: Sequence[Path], batch: int, every: int, keep_going: bool) -> None:
        self.files = files
        self._batch = batch
        self._every = every
        self._keep_going = keep_going
        self._faults = 0
        self.progress = Progress(count_items(files, every), "images")

    def __enter__(self) -> Pictures:
        self.progress.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.progress.__exit__(kind, error, trace)
        if error is None and self._faults:
            raise CaffeCompatError(f"{self._faults} of {len(self.files)} files could not be read")

    def __iter__(self) -> Iterator[list[Item]]:
        batch: list[Item] = []
        for item in self._items():
            batch.append(item)
            if len(batch) == self._batch:
                yield batch
                self.progress.add(len(batch))
                batch = []
        if batch:
            yield batch
            self.progress.add(len(batch))

    def _items(self) -> Iterator[Item]:
        for file in self.files:
            yield from self._read(file)

    def _read(self, file: Path) -> Iterator[Item]:
        try:
            yield from read_items([file], self._every)
        except FormatError as error:
            if not self._keep_going:
                raise
            self._faults += 1
            tell(str(error))


def device_named(name: str) -> torch.device:
    """The device of `--device`.

    Raises:
        UsageError: it is not here.
    """
    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not here[name]:
        raise UsageError(f"--device {name}: there is none here, or this build of torch does not use it")
    device = torch.device(name)
    keep_float32(device)
    return device
