"""Data layers, without their readers: what shapes they state, and DummyData, which fills its tops itself.

A net is fed their tops like inputs. The shape of a picture comes from the prototxt (crop, resize) or from
the user; a database is not opened for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import prod

import torch
from torch import Tensor

from caffecompat.errors import UnsupportedError, UsageError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import MAX_VALUES, Layer, Shape, layer
from caffecompat.layers.fillers import fill
from caffecompat.schema import caffe_pb2

MAX_AXES = 32
Size = tuple[int, int]


class DataLayer(Layer):
    """A layer whose tops come from outside the net.

    Attributes:
        declared: the shapes of those tops that the prototxt states by itself, by name.
    """

    source = "a file"

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.declared: dict[str, Shape] = {
            key.name: shape for key, shape in zip(spec.tops, self.stated(), strict=False) if shape is not None
        }

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

    def shapes_given(self, given: Mapping[str, Shape]) -> tuple[Shape, ...]:
        """The shapes of the tops: those that the user gives, then those of the prototxt.

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
                sizes = self.advice(index)
                argument, option = f'{{"{name}": ({", ".join(sizes)})}}', f"{name}={','.join(sizes)}"
                raise self.error(
                    f'states no input size: the shape of "{name}" is not known',
                    hint=f"pass input_shapes={argument} (--input-shape {option})",
                )
            shapes.append(self._checked(name, shape))
        return tuple(shapes)

    def _checked(self, name: str, shape: Shape) -> Shape:
        if min(shape, default=0) < 0 or len(shape) > MAX_AXES or prod(shape) > MAX_VALUES:
            raise self.error(
                f'"{name}" would have shape {shape}; at most {MAX_AXES} axes and {MAX_VALUES} values are possible'
            )
        return shape

    def forward(self) -> tuple[Tensor, ...]:
        fed = ", ".join(f"{key.name}=..." for key in self.spec.tops)
        raise self.error(
            f"{self.spec.type} reads {self.source}; there is no reader for it here",
            hint=f"feed its tops: net({fed})",
            kind=UnsupportedError,
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
        return ("1", "3", "H", "W")

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
        self._constants: dict[int, Tensor] = {}
        self.register_buffer("_place", torch.empty(0), persistent=False)

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
        return tuple(self._top(index) for index in range(len(self.spec.tops)))

    def _top(self, index: int) -> Tensor:
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


@layer("MemoryData")
class MemoryData(DataLayer):
    """Pictures (N, C, H, W) and labels (N,) from memory; the prototxt states all sizes."""

    source = "arrays in memory"

    def stated(self) -> Sequence[Shape | None]:
        param = self.spec.message.memory_data_param
        shape = (param.batch_size, param.channels, param.height, param.width)
        if min(shape) < 1:
            raise self.error(f"batch_size, channels, height and width must be positive, got {shape}")
        return shape, shape[:1]

    def follows(self, top: int, data: Shape) -> Shape | None:
        return data[:1]


@layer("HDF5Data")
class HDF5Data(DataLayer):
    """Data sets of HDF5 files, named as the tops; only the files state their shapes."""

    source = "HDF5 files"


class PictureData(DataLayer):
    """Pictures (N, C, H, W), and if a second top asks for them, labels (N,).

    Caffe takes the size from the first picture it reads. The prototxt states it where it crops or resizes:
    a crop wins over `resize_param`, that over the layer's own size. C is 3 unless the prototxt says grey or
    states several `mean_value`s (one serves any number of channels).
    """

    def batch_size(self) -> int:
        """The number of pictures in a batch; 0 if the prototxt does not state it."""
        return self.spec.message.data_param.batch_size

    def channels(self) -> int:
        """The number of channels, as far as it can be known."""
        param = self.spec.message.transform_param
        if param.force_gray or param.force_color:
            return 1 if param.force_gray else 3
        return len(param.mean_value) if len(param.mean_value) > 1 else 3

    def size(self) -> Size:
        """(height, width) of a picture before any crop, 0 where the prototxt does not state it."""
        param = self.spec.message.transform_param.resize_param
        # FIT_SMALL_SIZE keeps the picture's aspect, so one side depends on the picture.
        fits = param.resize_mode == caffe_pb2.ResizeParameter.FIT_SMALL_SIZE
        return (0, 0) if fits else (param.height, param.width)

    def label(self, batch: int) -> Shape | None:
        """The shape of the labels of so many pictures."""
        return (batch,)

    def stated(self) -> Sequence[Shape | None]:
        param, batch = self.spec.message.transform_param, self.batch_size()
        height, width = self.size()
        height = param.crop_size or param.crop_h or height
        width = param.crop_size or param.crop_w or width
        if not batch:
            return ()
        picture = (batch, self.channels(), height, width) if height and width else None
        return picture, self.label(batch)

    def follows(self, top: int, data: Shape) -> Shape | None:
        return self.label(data[0]) if top == 1 and data else super().follows(top, data)

    def advice(self, top: int) -> tuple[str, ...]:
        return ("1", str(self.channels()), "H", "W") if top == 0 else super().advice(top)


@layer("Data")
class Data(PictureData):
    """Pictures and labels from a database."""

    source = "a database"


@layer("AnnotatedData")
class AnnotatedData(PictureData):
    """Pictures and their boxes from a database: labels (1, 1, boxes, 8), stated here as one box. (SSD branch.)."""

    source = "a database"

    def label(self, batch: int) -> Shape | None:
        return (1, 1, 1, 8)


@layer("VideoData")
class VideoData(PictureData):
    """The frames of a video or a camera. (SSD branch.)."""

    source = "a video"


@layer("ImageData")
class ImageData(PictureData):
    """Pictures from files, and labels from the list that names them."""

    source = "picture files"

    def batch_size(self) -> int:
        return self.spec.message.image_data_param.batch_size

    def channels(self) -> int:
        return super().channels() if self.spec.message.image_data_param.is_color else 1

    def size(self) -> Size:
        param = self.spec.message.image_data_param
        if bool(param.new_height) != bool(param.new_width):
            raise self.error(
                f"new_height and new_width must be stated together, got {param.new_height} and {param.new_width}"
            )
        resized = super().size() if self.spec.message.transform_param.HasField("resize_param") else None
        return resized or (param.new_height, param.new_width)


@layer("WindowData")
class WindowData(PictureData):
    """Windows of pictures, warped to the crop, and their classes."""

    source = "windows of picture files"

    def batch_size(self) -> int:
        return self.spec.message.window_data_param.batch_size


@layer("ImageLabelData")
class ImageLabelData(PictureData):
    """Pictures (N, 3, crop, crop) and label maps (N, 1, dim, dim) cut out by `label_slice`. (Dilation.)."""

    source = "picture files"

    def batch_size(self) -> int:
        return self.spec.message.image_label_data_param.batch_size

    def channels(self) -> int:
        return 3

    def label(self, batch: int) -> Shape | None:
        return _label_map(batch, self.spec.message.image_label_data_param.label_slice)

    def advice(self, top: int) -> tuple[str, ...]:
        return super().advice(top) if top != 1 else ("N", "1", "H", "W")


@layer("BinLabelData")
class BinLabelData(PictureData):
    """Arrays (N, C, H, W) from files of floats, and label maps (N, 1, dim, dim). (Dilation.)."""

    source = "files of floats"

    def batch_size(self) -> int:
        return self.spec.message.bin_label_data_param.batch_size

    def stated(self) -> Sequence[Shape | None]:
        return None, self.label(self.batch_size())

    def label(self, batch: int) -> Shape | None:
        return _label_map(batch, self.spec.message.bin_label_data_param.label_slice)

    def advice(self, top: int) -> tuple[str, ...]:
        return ("N", "1" if top == 1 else "C", "H", "W")


def _label_map(batch: int, cut: caffe_pb2.Slice) -> Shape | None:
    return (batch, 1, *cut.dim) if len(cut.dim) == 2 else None
