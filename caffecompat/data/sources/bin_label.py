"""BinLabelData: arrays from files of floats, and the label maps that belong to them; such files written.

Source: bin_label_data_layer.cpp of fyu/caffe-dilation. A file is a type code (int32, 5: float32), the number of axes
(int32, 3), their sizes (int32) and the values, all little-endian. Where the original keeps old values for a file of
another shape than its batch, or reads beyond an array, there is an error here.
"""

from __future__ import annotations

import math
import os
import stat
import struct

import numpy as np

from caffecompat.data.draws import Draws
from caffecompat.data.lists import read_items, restored
from caffecompat.data.source import Floats, Reading, State, Ticket
from caffecompat.data.sources.pairs import Names, PairSource
from caffecompat.data.sources.slices import Cut, read_cut
from caffecompat.errors import CaffeCompatError, FormatError, ShapeError
from caffecompat.formats import atomic_write
from caffecompat.graph.spec import LayerSpec, Shape

# OpenCV's CV_32F, one channel.
FLOAT32 = 5
AXES = 3
BEYOND = 255
_HEAD = struct.Struct("<5i")


class BinLabelSource(PairSource):
    """What `bin_label_data_param` names; `transform_param` does nothing.

    Args:
        spec: the layer.
        reading: how to read.

    Raises:
        CaffeCompatError: a list or its first file cannot be read, or a parameter is missing or makes no sense.
    """

    def __init__(self, spec: LayerSpec, reading: Reading) -> None:
        param = spec.message.bin_label_data_param
        super().__init__(
            spec,
            reading,
            param,
            Names("bin_list_path", param.bin_list_path, param.bin_dir, "file of floats"),
            Names("label_list_path", param.label_list_path, param.label_dir, "label map"),
        )
        self._mirrors = param.mirror
        self._label_cut = read_cut(spec, "label_slice", param.label_slice, pairs=False)
        cuts = param.bin_slice.ByteSize() > 0
        self._bin_cut = read_cut(spec, "bin_slice", param.bin_slice, pairs=False, one_dim=True) if cuts else None
        transform = spec.message.transform_param
        # The transformer is not used, but takes its seed, as in every layer that prefetches.
        seeds = int(transform.mirror or (spec.phase == "TRAIN" and transform.crop_size > 0))
        reading.draws.many(seeds)
        self.begin(self.shuffle_stream())
        self._draws = Draws(reading.draws())
        # The transformer again, and the thread.
        reading.draws.many(seeds + 1)

    def shapes(self) -> tuple[Shape, ...]:
        def read(_: int, ticket: Ticket) -> Shape:
            try:
                shape = read_bin_shape(self.path(0, ticket.item))
                return shape if self._bin_cut is None else (shape[0], *_fitting(self._bin_cut, shape))
            except CaffeCompatError as error:
                raise self.locate(0, ticket.item, error) from error

        first = [Ticket(self.order.peek())]
        found, _ = read_items(first, read, self.order.following, self.reading.skip_bad_records)
        return (self.batch_size, *found[0]), (self.batch_size, 1, *self._label_cut.dim)

    def draw(self) -> tuple[int, ...]:
        return (self._draws(),) if self._mirrors else ()

    def read_pair(self, item: int, draws: tuple[int, ...]) -> tuple[Floats, Floats]:
        try:
            values = read_bin(self.path(0, item))
            if self._bin_cut is not None:
                _fitting(self._bin_cut, values.shape)
                values = self._bin_cut.of(values)
        except CaffeCompatError as error:
            raise self.locate(0, item, error) from error
        labels = np.full((1, *self._label_cut.dim), BEYOND, np.float32)
        inside = self._label_cut.of(self.read_label(item))
        labels[0, : inside.shape[0], : inside.shape[1]] = inside
        mirror = self._mirrors and draws[0] % 2 == 1
        return (values[..., ::-1], labels[..., ::-1]) if mirror else (values, labels)

    def state(self) -> State:
        return {"order": self.order.state(), "draws": self._draws.state()}

    def restore(self, state: State) -> None:
        def all_of(state: State) -> None:
            self.order.restore(state["order"])
            self._draws.restore(state["draws"])

        restored(state, all_of)


def read_bin_shape(path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """The sizes (channels, rows, columns) of a file of floats, which is long enough for them.

    Raises:
        FormatError: it is no such file, or cut short.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise FormatError("expected a file of floats, got a folder or a device", file=path)
        with open(path, "rb") as file:
            head = file.read(_HEAD.size)
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror or error}", file=path) from error
    code, axes = struct.unpack("<2i", head[:8]) if len(head) >= 8 else (FLOAT32, AXES)
    if code != FLOAT32 or axes != AXES:
        raise FormatError(
            f"expected type code {FLOAT32} (float32) and {AXES} axes, got {code} and {axes}",
            file=path,
            hint="a file of floats starts with the int32 5, 3, channels, rows, columns",
        )
    if len(head) < _HEAD.size:
        raise FormatError(f"expected a head of {_HEAD.size} bytes, got {len(head)}", file=path)
    channels, rows, columns = struct.unpack("<3i", head[8:])
    expected = math.prod((channels, rows, columns)) * 4 + _HEAD.size
    if min(channels, rows, columns) < 1 or expected > status.st_size:
        raise FormatError(
            f"the sizes {(channels, rows, columns)} need {expected} bytes, the file has {status.st_size}",
            file=path,
            hint="the file is cut short or damaged",
        )
    return channels, rows, columns


def read_bin(path: str | os.PathLike[str]) -> Floats:
    """The values of a file of floats: float32 (channels, rows, columns). What follows them is ignored.

    Raises:
        FormatError: it is no such file, or cut short.
    """
    shape = read_bin_shape(path)
    values = np.fromfile(path, "<f4", math.prod(shape), offset=_HEAD.size)
    if values.size != math.prod(shape):
        raise FormatError(f"expected {math.prod(shape)} values, got {values.size}", file=path)
    return values.reshape(shape)


def write_bin(path: str | os.PathLike[str], values: Floats) -> None:
    """Write a file of floats, as test.py of fyu/dilation does: values (channels, rows, columns) as float32.

    Raises:
        CaffeCompatError: the file cannot be written.
    """
    with atomic_write(path) as file:
        file.write(_HEAD.pack(FLOAT32, AXES, *values.shape))
        file.write(np.ascontiguousarray(values, "<f4").tobytes())


def _fitting(cut: Cut, shape: Shape) -> tuple[int, int]:
    """The size of what `bin_slice` keeps of an array of this shape.

    Raises:
        ShapeError: it reaches beyond it, where the original reads on into the next row.
    """
    if cut.end[0] > shape[1] or cut.end[1] > shape[2]:
        raise ShapeError(
            f"bin_slice reaches to row {cut.end[0]} and column {cut.end[1]} of an array of {shape[1]}x{shape[2]}",
            hint="(dim - 1) * stride + offset must lie within the array",
        )
    return cut.dim
