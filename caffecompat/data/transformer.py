"""Transformer: what `transform_param` does to the items of data layers, as Caffe's DataTransformer does it.

An item is resized, gets noise, is cropped, mirrored, and becomes (value - mean) * scale in single precision. The mean
is that of the value's own place, before the crop (data_transformer.cpp of BVLC, in both dialects: the SSD branch reads
the mean at wrong places, or aborts, where it crops). What is ours beside it: `augmenting`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from caffecompat.data.augmenting import ColourShift, Rescaler
from caffecompat.data.draws import Draws
from caffecompat.data.geometry import Size
from caffecompat.data.images import Image, split
from caffecompat.data.noise import add_noise, check_noise
from caffecompat.data.resizing import Resizer, roll_die
from caffecompat.data.source import Floats
from caffecompat.data.transform_settings import crop_of, decode_flag, mean_image
from caffecompat.errors import ShapeError, UnsupportedError
from caffecompat.graph.spec import LayerSpec, Shape

Values = npt.NDArray[np.uint8] | Floats


class Transformer:
    """The transformation of one data layer's items.

    What is random is drawn beforehand: `draw` takes the numbers of an item from the layer's streams, in the
    original's order, and `picture` or `array` transforms the item with them. Both of these change nothing but the
    array they write into, so that several threads may call them at once.

    A layer takes the seed of its stream with `stream`, at the places where the original calls InitRand: every data
    layer does it once while it is set up, and those that prefetch (all but MemoryData) once more right before their
    thread starts; the second stream replaces the first. Then comes `thread`.

        transformer = Transformer(spec, reading.root)
        transformer.stream(reading.draws)
        ...
        crops, thread = transformer.stream(reading.draws), transformer.thread(reading.draws)
        ticket = Ticket(item, transformer.draw(crops, thread))
        ...
        out = np.empty((batch, *transformer.shape((channels, height, width))), np.float32)
        transformer.picture(image, ticket.draws, out[0])

    Args:
        spec: the layer; its `transform_param` and its phase count.
        root: the folder that a relative `mean_file` starts from; None is the working directory.

    Attributes:
        crop: (height, width) that is cut out: at random in TRAIN, else from the middle; None cuts nothing.
        decode_flag: how OpenCV is to decode pictures: as they are, or in colour or grey where that is forced.

    Raises:
        CaffeCompatError: the parameters contradict each other, or the mean cannot be read.
    """

    def __init__(self, spec: LayerSpec, root: Path | None = None) -> None:
        param = spec.message.transform_param
        self._spec = spec
        self._mirrors = param.mirror
        self._scale = np.float32(param.scale)
        if not math.isfinite(param.scale):
            raise spec.error(f"transform_param: expected a scale that is a finite number, got {param.scale}")
        self.decode_flag = decode_flag(spec)
        self.crop = crop_of(spec)
        self._random_crop = self.crop is not None and spec.phase == "TRAIN"
        self._resizer = Resizer(param.resize_param, spec) if param.HasField("resize_param") else None
        self._chooses = self._resizer is not None and self._resizer.choices > 1
        self._noise = param.noise_param if param.HasField("noise_param") else None
        if self._noise is not None:
            check_noise(spec)
        self._rescaler = Rescaler(spec, self.crop) if param.HasField("rescale_param") else None
        shifts = param.HasField("color_shift_param")
        self._shift = ColourShift(spec) if shifts and spec.phase == "TRAIN" else None
        self._means = np.array(param.mean_value, np.float32)
        if not np.isfinite(self._means).all():
            raise spec.error(f"transform_param: expected mean_value to be finite numbers, got {param.mean_value}")
        self._image = mean_image(spec, root)
        self._mirrored = None if self._image is None else np.ascontiguousarray(self._image[:, :, ::-1])

    # --- what is drawn

    def stream(self, draws: Draws) -> Draws | None:
        """DataTransformer::InitRand: a generator seeded with the next of `draws`, or None if no item needs one."""
        return Draws(draws()) if self._mirrors or self._random_crop else None

    def thread(self, draws: Draws, *, augments: bool = False) -> Draws | None:
        """The generator of the layer's thread, seeded with the next of `draws`, or None if no item draws from it.

        Args:
            draws: where the seed comes from.
            augments: the layer itself draws from it.
        """
        seed = draws()
        own = self._noise is not None or self._draws_side or self._shift is not None
        return Draws(seed) if augments or self._chooses or own else None

    @property
    def _draws_side(self) -> bool:
        """Whether a number is drawn for the size of each item."""
        return self._rescaler is not None and self._rescaler.draws

    def draw(self, crops: Draws | None, thread: Draws | None = None) -> tuple[int, ...]:
        """What is drawn for the next item: raw numbers that `picture` and `array` turn into a place.

        Args:
            crops: what `stream` returned: draws for the mirror, then the crop's top, then its left.
            thread: what `thread` returned: a draw for one of several `interp_mode`s, a seed for noise, one for the side
                of `rescale_param`, and a seed for its colours; None takes the first.
        """
        count = self._mirrors + 2 * self._random_crop
        drawn = tuple(crops.many(count)) if crops is not None and count else (0,) * count
        if self._chooses and self._resizer is not None:
            drawn = (*drawn, 0 if thread is None else roll_die(thread, self._resizer.choices))
        for wanted in (self._noise is not None, self._draws_side, self._shift is not None):
            if wanted:
                drawn = (*drawn, 0 if thread is None else thread())
        return drawn

    def _drawn(self, draws: Sequence[int]) -> tuple[int, int, int]:
        """Of what `draw` returned the seed of noise, the draw for the size, the seed of colours; 0 if not drawn."""
        at = self._mirrors + 2 * self._random_crop + self._chooses
        found = []
        for wanted in (self._noise is not None, self._draws_side, self._shift is not None):
            found.append(draws[at] if wanted else 0)
            at += wanted
        return found[0], found[1], found[2]

    # --- what is done

    def shape(self, shape: Shape) -> Shape:
        """The shape (channels, height, width) that an item of such a shape comes to.

        Raises:
            ShapeError: the crop does not fit into it, or the mean is not one for it.
        """
        channels, height, width = shape
        height, width = self._resized(height, width, ())
        self._check(channels, height, width)
        return (channels, *(self.crop or (height, width)))

    def picture(self, image: Image, draws: Sequence[int], out: Floats) -> None:
        """Transform a picture.

        Args:
            image: uint8, (height, width) or (height, width, channels).
            draws: what `draw` returned for it.
            out: float32 of `shape`, contiguous; the result is written here.

        Raises:
            ShapeError: the picture does not fit the parameters, or not `out`.
        """
        noise, side, colours = self._drawn(draws)
        if self._rescaler is not None:
            image = self._rescaler(image, side)
        if self._resizer is not None:
            choice = draws[self._mirrors + 2 * self._random_crop] if self._chooses else 0
            image = self._resizer(image, choice)
        if self._noise is not None:
            image = add_noise(image, self._noise, np.random.default_rng(noise))
        height, width = image.shape[:2]
        channels = 1 if image.ndim == 2 else image.shape[2]
        mirror, rows, columns = self._place(channels, height, width, draws, out)
        cut = image[rows, columns]
        if mirror:
            cut = np.asarray(cv2.flip(cut, 1), np.uint8).reshape(cut.shape)
        planes = cut[None] if cut.ndim == 2 else split(cut)
        self._write(planes, self._shifted(self._mean(mirror, width, rows, columns), colours, channels), out)

    def array(self, values: Values, draws: Sequence[int], out: Floats) -> None:
        """Transform an array; as `picture`, but for its layout.

        Args:
            values: uint8 or float32, (channels, height, width).
            draws: what `draw` returned for it.
            out: float32 of `shape`, contiguous; the result is written here.

        Raises:
            ShapeError: the array does not fit the parameters, or not `out`.
            UnsupportedError: it is to be resized and no picture of bytes.
        """
        if self._resizer is not None or self._noise is not None or self._rescaler is not None:
            if values.dtype != np.uint8:
                raise UnsupportedError(
                    "resize_param, rescale_param and noise_param are for pictures, got an array of floats"
                )
            self.picture(np.ascontiguousarray(values.transpose(1, 2, 0)), draws, out)
            return
        channels, height, width = values.shape
        mirror, rows, columns = self._place(channels, height, width, draws, out)
        cut = values[:, rows, columns]
        mean = self._shifted(self._mean(mirror, width, rows, columns), self._drawn(draws)[2], channels)
        self._write(cut[:, :, ::-1] if mirror else cut, mean, out)

    def _write(self, values: npt.NDArray[np.generic], mean: npt.NDArray[np.float32] | None, out: Floats) -> None:
        """(values - mean) * scale, each step rounded to float32."""
        # Channel by channel: one is still in the processor's cache when the next step needs it.
        for channel, (plane, place) in enumerate(zip(values, out, strict=True)):
            np.copyto(place, plane)
            if mean is not None:
                place -= mean[channel if len(mean) > 1 else 0]
            if self._scale != 1:
                place *= self._scale

    def place(self, height: int, width: int, draws: Sequence[int]) -> tuple[bool, slice, slice]:
        """Whether a (resized) item of this size, into which the crop fits, is mirrored, and what is cut out of it.

        Args:
            height: of the item.
            width: of the item.
            draws: what `draw` returned for it.

        Returns:
            Whether the cut is mirrored left-right; the rows and the columns of the cut.
        """
        rows, columns = self.crop or (height, width)
        top, left = (height - rows) // 2, (width - columns) // 2
        if self._random_crop:
            top = draws[self._mirrors] % (height - rows + 1)
            left = draws[self._mirrors + 1] % (width - columns + 1)
        return self._mirrors and draws[0] % 2 == 1, slice(top, top + rows), slice(left, left + columns)

    def frame(self, height: int, width: int, draws: Sequence[int]) -> tuple[bool, Floats]:
        """What boxes need to know of an item of this size.

        Args:
            height: of the item before it is resized.
            width: of the item before it is resized.
            draws: what `draw` returned for it.

        Returns:
            Whether it is mirrored; and the crop, (xmin, ymin, xmax, ymax) in fractions of the resized item.

        Raises:
            ShapeError: the crop does not fit into it.
        """
        height, width = self._resized(height, width, draws)
        self._check_crop(height, width)
        mirror, rows, columns = self.place(height, width, draws)
        corners = (columns.start / width, rows.start / height, columns.stop / width, rows.stop / height)
        return mirror, np.array(corners, np.float32)

    def _place(
        self, channels: int, height: int, width: int, draws: Sequence[int], out: Floats
    ) -> tuple[bool, slice, slice]:
        """`place`, after checks."""
        self._check(channels, height, width)
        shape = (channels, *(self.crop or (height, width)))
        if out.shape != shape:
            raise ShapeError(
                f"expected an item of shape {out.shape}, as the first of its batch, got {shape}",
                hint="items of different shapes go into batches of 1, or are cropped or resized to one shape",
            )
        return self.place(height, width, draws)

    def _mean(self, mirror: bool, width: int, rows: slice, columns: slice) -> Floats | None:
        """What to subtract from a cut, mirrored if that is: (1 or channels, rows, columns) or (..., 1, 1)."""
        if self._image is None or self._mirrored is None:
            return self._means[:, None, None] if len(self._means) else None
        if mirror:
            return self._mirrored[:, rows, width - columns.stop : width - columns.start]
        return self._image[:, rows, columns]

    def _shifted(self, mean: Floats | None, seed: int, channels: int) -> Floats | None:
        """The mean less the shift of colours that `seed` draws, so that subtracting it adds the shift."""
        if self._shift is None:
            return mean
        shift = self._shift.shift(seed, channels)
        return -shift if mean is None else mean - shift

    def _resized(self, height: int, width: int, draws: Sequence[int]) -> Size:
        """(height, width) of an item of this size when it is resized; without draws as the first would have it."""
        if self._rescaler is not None:
            return self._rescaler.size(height, width, self._drawn(draws)[1] if draws else 0)
        return self._resizer.layout(height, width).padded if self._resizer is not None else (height, width)

    def _check(self, channels: int, height: int, width: int) -> None:
        """Raise if a (resized) item of this shape cannot be transformed."""
        self._check_crop(height, width)
        if self._image is not None and self._image.shape != (channels, height, width):
            raise ShapeError(
                f"mean_file: expected a mean of shape {(channels, height, width)}, that of the item before any crop, "
                f"got {self._image.shape}",
                hint="compute it anew from this data: caffecompat data mean",
            )
        if len(self._means) not in (0, 1, channels):
            raise ShapeError(f"expected one mean_value or {channels}, one a channel, got {len(self._means)}")

    def _check_crop(self, height: int, width: int) -> None:
        """Raise if the crop does not fit into a (resized) item of this size."""
        if self.crop is not None and (height < self.crop[0] or width < self.crop[1]):
            raise ShapeError(
                f"a crop of {self.crop[0]}x{self.crop[1]} does not fit into {height}x{width}",
                hint="give a smaller crop_size, or resize the pictures",
            )
