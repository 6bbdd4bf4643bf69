"""Data layers: DataLayer, and those of arrays. They read by themselves if asked to; else a net is fed their tops."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from caffecompat.errors import UnsupportedError, UsageError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import MAX_AXES, MAX_FILLED, MAX_VALUES, Layer, Shape, layer
from caffecompat.layers.fillers import fill
from caffecompat.schema import caffe_pb2

if TYPE_CHECKING:
    from caffecompat.data.prefetch import Prefetcher
    from caffecompat.data.source import Reading, Source


class DataLayer(Layer):
    """A layer whose tops come from outside the net.

    Attributes:
        declared: the shapes of those tops that the prototxt states by itself, by name.
        reader: what reads its batches, once it was told to read.
    """

    reads = "a file"

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.declared: dict[str, Shape] = {
            key.name: shape for key, shape in zip(spec.tops, self.stated(), strict=False) if shape is not None
        }
        self.reader: Prefetcher | None = None
        self.register_buffer("_place", torch.empty(0), persistent=False)

    def open_source(self, reading: Reading) -> Source | None:
        """What it reads, or None if it makes its tops itself or is always fed.

        Raises:
            CaffeCompatError: what the prototxt names cannot be read.
        """
        raise self.error(f"{self.spec.type} reads {self.reads}; there is no reader for it here", kind=UnsupportedError)

    def read(self, reading: Reading) -> None:
        """Open what it reads; from now on a pass takes the next batch, and the shapes are those of the first one.

        Raises:
            CaffeCompatError: what the prototxt names cannot be read.
        """
        from caffecompat.data.prefetch import Prefetcher

        source = self.open_source(reading)
        if source is None:
            return
        self.declared = dict(zip((key.name for key in self.spec.tops), source.shapes(), strict=True))
        self.reader = Prefetcher(source)

    def stated(self) -> Sequence[Shape | None]:
        """The shape of each top, as far as the prototxt states it."""
        return ()

    def follows(self, top: int, data: Shape) -> Shape | None:
        """The shape of top `top` if the user gives only that of the first, `data`."""
        return self.declared.get(self.spec.tops[top].name)

    def advice(self, top: int) -> tuple[str, ...]:
        """The sizes of a top as a hint writes them."""
        return ("N", "...")

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        return self.shapes_given({})

    def shapes_given(self, given: Mapping[str, Shape], channels: Mapping[str, int] | None = None) -> tuple[Shape, ...]:
        """The shapes of the tops: those that the user gives, then those of the prototxt.

        Args:
            given: the user's, by top.
            channels: how many channels a top has, where that is known from elsewhere; for the hint.

        Raises:
            ShapeError: a top is in neither, or a shape is impossible.
        """
        names = [key.name for key in self.spec.tops]
        shapes = []
        for index, name in enumerate(names):
            shape = given.get(name)
            if shape is None:
                first = given.get(names[0])
                shape = self.declared.get(name) if first is None else self.follows(index, first)
            if shape is None:
                known = (channels or {}).get(name)
                sizes = [str(known) if size == "C" and known else size for size in self.advice(index)]
                argument, option = f'{{"{name}": ({", ".join(sizes)})}}', f"{name}={','.join(sizes)}"
                raise self.error(
                    f'states no input size: the shape of "{name}" is not known',
                    hint=f"pass input_shapes={argument} (--input-shape {option})",
                )
            shapes.append(self._checked(name, shape))
        return tuple(shapes)

    def _checked(self, name: str, shape: Shape) -> Shape:
        if min(shape, default=0) < 0 or len(shape) > MAX_AXES or prod(size or 1 for size in shape) > MAX_VALUES:
            raise self.error(
                f'"{name}" would have shape {shape}; at most {MAX_AXES} axes and {MAX_VALUES} values are possible'
            )
        return shape

    def forward(self) -> tuple[Tensor, ...]:
        if self.reader is not None:
            device = self.get_buffer("_place").device
            return tuple(top.to(device, non_blocking=True) for top in self.reader.next())
        fed = ", ".join(f"{key.name}=..." for key in self.spec.tops)
        raise self.error(
            f"{self.spec.type} reads {self.reads}, and was not told to",
            hint=f"feed its tops: net({fed}); or let it read: caffecompat.load(..., reading=Reading())",
            kind=UsageError,
        )


def _shape(sizes: Iterable[int]) -> Shape:
    return tuple(int(size) for size in sizes)


@layer("Input")
class Input(DataLayer):
    """Tops that the caller feeds. `input_param.shape` is stated once for all tops, for each, or not at all."""

    def stated(self) -> Sequence[Shape | None]:
        shapes, tops = self.spec.message.input_param.shape, len(self.spec.tops)
        if len(shapes) not in (0, 1, tops):
            raise self.error(f"shape must be stated once, for each of the {tops} tops or not at all, got {len(shapes)}")
        stated = [_shape(shape.dim) for shape in shapes]
        return stated * tops if len(stated) == 1 else stated

    def advice(self, top: int) -> tuple[str, ...]:
        return ("1", "C", "H", "W")

    def open_source(self, reading: Reading) -> Source | None:
        return None

    def forward(self) -> tuple[Tensor, ...]:
        fed = ", ".join(f"{key.name}=..." for key in self.spec.tops)
        raise self.error("its tops are not fed", hint=f"call net({fed})", kind=UsageError)


@layer("DummyData")
class DummyData(DataLayer):
    """Tops filled by `data_filler`s: none (zeros), one for all tops, or one for each.

    Their shapes are stated once or for each top, by `shape` or by num, channels, height and width. Caffe
    fills constants once and everything else anew on every pass.

    Attributes:
        refill: for each top, whether every pass fills it anew.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        fillers, tops = list(spec.message.dummy_data_param.data_filler), len(spec.tops)
        if len(fillers) not in (0, 1, tops):
            raise self.error(f"data_filler must be stated not at all, once or for each of the {tops} tops")
        self._filler = fillers * tops if len(fillers) == 1 else fillers or [caffe_pb2.FillerParameter()] * tops
        self.refill = tuple(filler.type != "constant" for filler in self._filler)
        values = sum(prod(shape) for shape in self.declared.values() if len(shape) <= MAX_AXES)
        if values > MAX_FILLED:
            raise self.error(f"{values} values are to be filled; at most {MAX_FILLED} are")
        self._constants: dict[int, Tensor] = {}

    def open_source(self, reading: Reading) -> Source | None:
        return None

    def stated(self) -> Sequence[Shape | None]:
        param, tops = self.spec.message.dummy_data_param, len(self.spec.tops)
        legacy = {name: list(getattr(param, name)) for name in ("num", "channels", "height", "width")}
        if any(legacy.values()):
            if param.shape:
                raise self.error("shape and num, channels, height, width are both stated", hint="keep shape")
            for name, values in legacy.items():
                if len(values) not in (1, tops):
                    raise self.error(f"{name} must be stated once or for each of the {tops} tops, got {len(values)}")
            columns = [values * tops if len(values) == 1 else values for values in legacy.values()]
            return [_shape(sizes) for sizes in zip(*columns, strict=True)]
        if len(param.shape) not in (1, tops):
            raise self.error(f"shape must be stated once or for each of the {tops} tops, got {len(param.shape)}")
        stated = [_shape(shape.dim) for shape in param.shape]
        return stated * tops if len(stated) == 1 else stated

    def forward(self) -> tuple[Tensor, ...]:
        return tuple(self.top(index) for index in range(len(self.spec.tops)))

    def top(self, index: int) -> Tensor:
        """The values of a top: drawn anew where the filler draws; else the same tensor each time."""
        device = self.get_buffer("_place").device
        kept = self._constants.get(index)
        if kept is not None and kept.device == device:
            return kept
        blob = torch.empty(self.declared[self.spec.tops[index].name])
        fill(blob, self._filler[index], self.spec)
        blob = blob.to(device)
        if not self.refill[index]:
            self._constants[index] = blob
        return blob


@layer("HDF5Data")
class HDF5Data(DataLayer):
    """Data sets of HDF5 files, named as the tops; only the files state their shapes."""

    reads = "HDF5 files"

    def open_source(self, reading: Reading) -> Source:
        from caffecompat.data.sources.hdf5 import Hdf5Source

        return Hdf5Source(self.spec, reading)
