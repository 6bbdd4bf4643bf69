"""Data layers of pictures: what shapes they state, and what reads them.

The size of a picture comes from the prototxt (crop, resize) or from the user; unless the net is told to read, no
database is opened for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from caffecompat.layers.base import Shape, layer
from caffecompat.layers.data import DataLayer
from caffecompat.schema import caffe_pb2

if TYPE_CHECKING:
    from caffecompat.data.source import Reading, Source

Size = tuple[int, int]


class PictureData(DataLayer):
    """Pictures (N, C, H, W), and if a second top asks for them, labels (N,).

    Caffe takes the size from the first picture it reads. The prototxt states it where it crops or resizes:
    a crop wins over `resize_param`, that over the layer's own size. C is 3 unless the prototxt says grey or
    states several `mean_value`s (one serves any number of channels).
    """

    def batch_size(self) -> int:
        """The number of pictures in a batch; 0 if the prototxt does not state it."""
        return self.spec.message.data_param.batch_size

    def channels_stated(self) -> int:
        """The number of channels; 0 if the prototxt does not state it."""
        param = self.spec.message.transform_param
        if param.force_gray or param.force_color:
            return 1 if param.force_gray else 3
        return len(param.mean_value) if len(param.mean_value) > 1 else 0

    def channels(self) -> int:
        """The number of channels, as far as it can be known."""
        return self.channels_stated() or 3

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
        return ("1", str(self.channels_stated() or "C"), "H", "W") if top == 0 else super().advice(top)


@layer("Data")
class Data(PictureData):
    """Pictures and labels from a database."""

    reads = "a database"

    def open_source(self, reading: Reading) -> Source | None:
        from caffecompat.data.sources.database import DatabaseSource

        return DatabaseSource(self.spec, reading)


@layer("AnnotatedData")
class AnnotatedData(PictureData):
    """Pictures and their boxes from a database: labels (1, 1, boxes, 8), stated here as one box. (SSD branch.)."""

    reads = "a database"

    def label(self, batch: int) -> Shape | None:
        return (1, 1, 1, 8)

    def open_source(self, reading: Reading) -> Source | None:
        from caffecompat.data.sources.annotated import AnnotatedSource

        return AnnotatedSource(self.spec, reading)


@layer("VideoData")
class VideoData(PictureData):
    """The frames of a video or a camera. (SSD branch.)."""

    reads = "a video"

    def open_source(self, reading: Reading) -> Source:
        from caffecompat.data.sources.video import VideoSource

        return VideoSource(self.spec, reading)


@layer("ImageData")
class ImageData(PictureData):
    """Pictures from files, and labels from the list that names them."""

    reads = "picture files"

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

    def open_source(self, reading: Reading) -> Source:
        from caffecompat.data.sources.image import ImageSource

        return ImageSource(self.spec, reading)


@layer("WindowData")
class WindowData(PictureData):
    """Windows of pictures, warped to the crop, and their classes."""

    reads = "windows of picture files"

    def batch_size(self) -> int:
        return self.spec.message.window_data_param.batch_size

    def open_source(self, reading: Reading) -> Source:
        from caffecompat.data.sources.window import WindowSource

        return WindowSource(self.spec, reading)


@layer("ImageLabelData")
class ImageLabelData(PictureData):
    """Pictures (N, 3, crop, crop) and label maps (N, 1, dim, dim) cut out by `label_slice`. (Dilation.)."""

    reads = "picture files"

    def batch_size(self) -> int:
        return self.spec.message.image_label_data_param.batch_size

    def channels(self) -> int:
        return 3

    def label(self, batch: int) -> Shape | None:
        return _label_map(batch, self.spec.message.image_label_data_param.label_slice)

    def open_source(self, reading: Reading) -> Source:
        from caffecompat.data.sources.image_label import ImageLabelSource

        return ImageLabelSource(self.spec, reading)

    def advice(self, top: int) -> tuple[str, ...]:
        return super().advice(top) if top != 1 else ("N", "1", "H", "W")


@layer("BinLabelData")
class BinLabelData(PictureData):
    """Arrays (N, C, H, W) from files of floats, and label maps (N, 1, dim, dim). (Dilation.)."""

    reads = "files of floats"

    def batch_size(self) -> int:
        return self.spec.message.bin_label_data_param.batch_size

    def stated(self) -> Sequence[Shape | None]:
        return None, self.label(self.batch_size())

    def label(self, batch: int) -> Shape | None:
        return _label_map(batch, self.spec.message.bin_label_data_param.label_slice)

    def open_source(self, reading: Reading) -> Source:
        from caffecompat.data.sources.bin_label import BinLabelSource

        return BinLabelSource(self.spec, reading)

    def advice(self, top: int) -> tuple[str, ...]:
        return ("N", "1" if top == 1 else "C", "H", "W")


def _label_map(batch: int, cut: caffe_pb2.Slice) -> Shape | None:
    return (batch, 1, *cut.dim) if len(cut.dim) == 2 else None
