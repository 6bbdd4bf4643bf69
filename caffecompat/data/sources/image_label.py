"""ImageLabelData: pictures and their label maps, cut out at the same place.

Source: image_label_data_layer.cpp of fyu/caffe-dilation, whose crops, mirrors and orders a seed gives again. One thing
is better here: `rand_scale` draws from the seeded stream, where the original asks the hardware for its seed. It takes
the number that seeds the original's prefetch thread, which draws nothing: the other draws stay the original's.
"""

from __future__ import annotations

import math
import warnings

import cv2
import numpy as np

from caffecompat.data.augmenting import refuse_own_fields
from caffecompat.data.draws import Draws
from caffecompat.data.geometry import MAX_PIXELS
from caffecompat.data.images import Image, read_image
from caffecompat.data.lists import restore_stream, restored, stream_state
from caffecompat.data.source import Floats, Reading, State
from caffecompat.data.sources.pairs import Names, PairSource
from caffecompat.data.sources.slices import Cut, read_cut
from caffecompat.data.transformer import Transformer
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, ShapeError
from caffecompat.graph.spec import LayerSpec, Shape
from caffecompat.schema import caffe_pb2

# Label of what is beyond the picture: losses ignore it.
BEYOND = 255
# Fields of the SSD branch's transform_param, which the layer's own Caffe does not have.
_FOREIGN = ("resize_param", "noise_param", "distort_param", "expand_param", "emit_constraint", "crop_h", "crop_w")
_PALETTE = 3


class ImageLabelSource(PairSource):
    """What `image_label_data_param` names.

    Args:
        spec: the layer.
        reading: how to read.

    Raises:
        CaffeCompatError: a list cannot be read, or a parameter is missing or makes no sense.
    """

    def __init__(self, spec: LayerSpec, reading: Reading) -> None:
        param = spec.message.image_label_data_param
        either = param.image_dir or param.label_dir
        image_dir, label_dir = (param.image_dir, param.label_dir) if either else (param.data_dir, param.data_dir)
        super().__init__(
            spec,
            reading,
            param,
            Names("image_list_path", param.image_list_path, image_dir, "picture"),
            Names("label_list_path", param.label_list_path, label_dir, "label map"),
        )
        refuse_own_fields(spec)
        for field in _FOREIGN:
            if spec.message.transform_param.HasField(field):
                raise spec.error(f"transform_param: ImageLabelData has no {field}", hint="it crops to crop_size")
        self._transformer = Transformer(spec, reading.root)
        self._crop = _crop(spec)
        self._cut = _cut(spec, self._crop)
        self._reflects = param.padding == caffe_pb2.ImageLabelDataParameter.REFLECT
        self._scales = _scales(spec)
        self._transformer.stream(reading.draws)
        shuffle = self.shuffle_stream()
        self.begin(shuffle, reading.draws() % param.rand_skip if param.rand_skip else 0)
        self._crops = self._transformer.stream(reading.draws)
        thread = Draws(reading.draws())
        self._factors = thread if param.rand_scale else None
        self._warn_of_palette()

    def shapes(self) -> tuple[Shape, ...]:
        data = (self.batch_size, 3, self._crop, self._crop)
        return data, (self.batch_size, 1, *self._cut.dim)

    def draw(self) -> tuple[int, ...]:
        drawn = self._transformer.draw(self._crops)
        return drawn if self._factors is None else (*drawn, self._factors())

    def read_pair(self, item: int, draws: tuple[int, ...]) -> tuple[Floats, Floats]:
        label = self.read_label(item)
        try:
            image = read_image(self.path(0, item))
            return self._made(image, label, draws)
        except CaffeCompatError as error:
            raise self.locate(0, item, error) from error

    def _made(self, image: Image, label: Image, draws: tuple[int, ...]) -> tuple[Floats, Floats]:
        """The tops' values of a picture and its label map."""
        if self._factors is not None:
            low, high = self._scales
            image, label = scaled(image, label, low + (high - low) * draws[-1] / 2**32)
        image = self._padded(image, None if self._reflects else 0)
        label = self._padded(label, BEYOND)
        mirror, rows, columns = self._transformer.place(image.shape[0], image.shape[1], draws)
        if label.shape[0] < rows.stop or label.shape[1] < columns.stop:
            raise ShapeError(
                f"the label map ends within the crop: with their margins the picture is {_by(image)} and the label "
                f"map {_by(label)}, rows {rows.start} to {rows.stop - 1} and columns {columns.start} to "
                f"{columns.stop - 1} are cut out",
                hint="a picture and its label map must have the same size",
            )
        data = np.empty((3, self._crop, self._crop), np.float32)
        self._transformer.picture(image, draws, data)
        labels = label[rows, columns]
        return data, self._cut.of(labels[:, ::-1] if mirror else labels)[None].astype(np.float32)

    def _padded(self, image: Image, value: int | None) -> Image:
        """With its margin, and then grown to the crop; `value` goes around, or if it is None, what is mirrored."""
        down, right = self._cut.offset
        image = _bordered(image, (down, down, right, right), value)
        missing = [max(0, self._crop - size) for size in image.shape[:2]]
        halves = [count // 2 for count in missing]
        # An odd row goes below, but an odd column to the left: the original swaps its arguments.
        around = (halves[0], missing[0] - halves[0], missing[1] - halves[1], halves[1])
        return _bordered(image, around, value)

    def _warn_of_palette(self) -> None:
        """Say it if the first label map has a palette; the original silently reads the grey of its colours."""
        try:
            with open(self.path(1, 0), "rb") as file:
                head = file.read(26)
        except (OSError, CaffeCompatError):
            return
        if head.startswith(b"\x89PNG") and head[25:] == bytes([_PALETTE]):
            warnings.warn(
                f'layer "{self.spec.name}": {self.path(1, 0)} is a PNG with a palette; as in Caffe its labels are the '
                "grey values of its colours, not the numbers of its classes: save label maps as grey PNGs",
                CaffeCompatWarning,
                stacklevel=2,
            )

    def state(self) -> State:
        return {"order": self.order.state(), "crops": stream_state(self._crops), "factors": stream_state(self._factors)}

    def restore(self, state: State) -> None:
        def all_of(state: State) -> None:
            self.order.restore(state["order"])
            restore_stream(self._crops, state["crops"])
            restore_stream(self._factors, state["factors"])

        restored(state, all_of)


def scaled(image: Image, label: Image, factor: float) -> tuple[Image, Image]:
    """A picture and its label map, enlarged or reduced by a factor.

    Raises:
        ShapeError: nothing would be left, or too much would come of it.
    """
    rows, columns = (round(size * factor) for size in image.shape[:2])
    if rows < 1 or columns < 1 or rows * columns > MAX_PIXELS:
        raise ShapeError(f"rand_scale: a picture of {_by(image)} would be scaled to {rows}x{columns}")
    method = cv2.INTER_CUBIC if factor > 1 else cv2.INTER_AREA
    try:
        large = cv2.resize(image, (0, 0), fx=factor, fy=factor, interpolation=method)
        labels = cv2.resize(label, (0, 0), fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    except cv2.error as error:
        raise ShapeError(f"rand_scale: a label map of {_by(label)} cannot be scaled by {factor}") from error
    return np.asarray(large, np.uint8), np.asarray(labels, np.uint8)


def _bordered(image: Image, around: tuple[int, int, int, int], value: int | None) -> Image:
    """With rows above and below and columns left and right; `value` in them, or the image mirrored at its edge."""
    if not any(around):
        return image
    kind = cv2.BORDER_REFLECT_101 if value is None else cv2.BORDER_CONSTANT
    return np.asarray(cv2.copyMakeBorder(image, *around, kind, value=(value or 0,) * 3), np.uint8)


def _crop(spec: LayerSpec) -> int:
    crop = int(spec.message.transform_param.crop_size)
    if not 1 <= crop <= math.isqrt(MAX_PIXELS):
        raise spec.error(f"transform_param: expected a crop_size from 1 to {math.isqrt(MAX_PIXELS)}, got {crop}")
    return crop


def _cut(spec: LayerSpec, crop: int) -> Cut:
    """The label_slice; beyond the crop the original would read other memory."""
    cut = read_cut(spec, "label_slice", spec.message.image_label_data_param.label_slice, pairs=True)
    if max(cut.end) > crop:
        raise spec.error(
            f"label_slice reaches to row {cut.end[0]} and column {cut.end[1]} of a crop of {crop}",
            hint="(dim - 1) * stride + offset must lie within crop_size",
        )
    return cut


def _scales(spec: LayerSpec) -> tuple[float, float]:
    param = spec.message.image_label_data_param
    low, high = float(param.min_scale), float(param.max_scale)
    if param.rand_scale and not 0 < low <= high < math.inf:
        raise spec.error(f"expected min_scale above 0 and max_scale not below it, got {low} and {high}")
    return low, high


def _by(image: Image) -> str:
    return f"{image.shape[0]}x{image.shape[1]}"
