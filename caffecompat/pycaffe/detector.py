"""caffe.Detector: a net that classifies windows of images, as R-CNN does."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from caffecompat.errors import UnsupportedError
from caffecompat.pycaffe._arguments import TEST
from caffecompat.pycaffe._images import Array, ArrayError, load_image, resize_image
from caffecompat.pycaffe._net import Net
from caffecompat.pycaffe.classifier import PathLike, input_transformer

_SELECTIVE_SEARCH = "selective_search_ijcv_with_python"


class Detector(Net):
    """A net in phase TEST that classifies windows of images.

    Args:
        model_file: the prototxt.
        pretrained_file: its weights.
        mean: see `Transformer.set_mean`.
        input_scale: see `Transformer.set_input_scale`.
        raw_scale: see `Transformer.set_raw_scale`.
        channel_swap: see `Transformer.set_channel_swap`.
        context_pad: how many pixels of the net's input, on each side, show what is around the window.

    Attributes:
        transformer: what brings images to the form of the net's first input.
        crop_dims: (height, width, channels) of that input.
        crop_mean: with a context_pad, what stands for the outside of an image.
    """

    def __init__(
        self,
        model_file: PathLike,
        pretrained_file: PathLike,
        mean: Array | None = None,
        input_scale: Any = None,
        raw_scale: Any = None,
        channel_swap: Sequence[int] | None = None,
        context_pad: int | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = input_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.configure_crop(context_pad)

    def detect_windows(self, images_windows: Iterable[tuple[PathLike, Iterable[Any]]]) -> list[dict[str, Any]]:
        """What the net's first output says of windows, each warped to the net's size.

        Args:
            images_windows: for each image its file and its windows (ymin, xmin, ymax, xmax), in pixels.

        Returns:
            For each window `window` and `filename` as they were given, and `prediction`.

        Raises:
            FormatError: an image cannot be read.
            ArrayError: a window is empty, or outside its image.
        """
        name = self.inputs[0]
        detections: list[dict[str, Any]] = []
        crops = []
        for file, windows in images_windows:
            image = load_image(file)
            for window in windows:
                crops.append(self.transformer.preprocess(name, self.crop(image, window)))
                detections.append({"window": window, "prediction": None, "filename": file})
        if crops:
            predictions = self.forward_all(**{name: np.stack(crops)})[self.outputs[0]]
            for detection, prediction in zip(detections, predictions, strict=True):
                detection["prediction"] = prediction
        return detections

    def detect_selective_search(self, image_fnames: Iterable[PathLike]) -> list[dict[str, Any]]:
        """As `detect_windows`, over the windows that selective search proposes.

        Args:
            image_fnames: the images.

        Raises:
            UnsupportedError: selective_search_ijcv_with_python, which needs MATLAB, cannot be imported.
        """
        try:
            selective_search = import_module(_SELECTIVE_SEARCH)
        except ImportError as error:
            hint = f"put {_SELECTIVE_SEARCH} on PYTHONPATH, or give windows to detect_windows"
            raise UnsupportedError(
                f"selective search needs the module {_SELECTIVE_SEARCH}: {error}", hint=hint
            ) from error
        # MATLAB looks from another folder.
        files = [os.path.abspath(name) for name in image_fnames]
        windows = selective_search.get_windows(files, cmd="selective_search_rcnn")
        return self.detect_windows(zip(files, windows, strict=True))

    def crop(self, im: Array, window: Sequence[float] | Array) -> Array:
        """A window of an image, with what is around it if there is a context_pad.

        Args:
            im: (height, width, channels).
            window: (ymin, xmin, ymax, xmax), the last ones excluded.

        Returns:
            (height, width, channels): the window, or with a context_pad the net's size.

        Raises:
            ArrayError: the window is empty, or outside the image.
        """
        top, left, bottom, right = (int(value) for value in window)
        if not im[top:bottom, left:right].size:
            raise ArrayError(f"the window {top, left, bottom, right} has no pixel of an image of shape {im.shape}")
        return self._with_context(im, window) if self.context_pad else im[top:bottom, left:right]

    def _with_context(self, im: Array, window: Sequence[float] | Array) -> Array:
        """The window in the middle of the net's size, around it what is around it in the image, or the mean."""
        size = self.blobs[self.inputs[0]].width
        ymin, xmin, ymax, xmax = window
        half = np.array([ymax - ymin + 1, xmax - xmin + 1]) / 2.0
        centre = np.array([ymin, xmin]) + half
        half *= size / (size - 2.0 * self.context_pad)
        first, last = np.round(centre - half), np.round(centre + half)
        scale = size / (last - first + 1)
        pad = [_rounded(value) for value in np.maximum(0, -first) * scale]
        first, last = first.clip(0, im.shape[:2]), last.clip(0, im.shape[:2])
        inner = [
            min(_rounded(value), size - before) for value, before in zip((last - first + 1) * scale, pad, strict=True)
        ]
        context = im[int(first[0]) : int(last[0]), int(first[1]) : int(last[1])]
        crop: Array = np.ones(self.crop_dims, np.float32) * self.crop_mean
        crop[pad[0] : pad[0] + inner[0], pad[1] : pad[1] + inner[1]] = resize_image(context, inner)
        return crop

    def configure_crop(self, context_pad: int | None) -> None:
        """Set how much of what is around a window is taken with it.

        Args:
            context_pad: how many pixels of the net's input, on each side; None or 0 for none.
        """
        name = self.inputs[0]
        transformer = self.transformer
        order = transformer.transpose[name]
        back = [order[axis] for axis in order]
        self.crop_dims = np.array(self.blobs[name].shape[1:])[back]
        self.context_pad = context_pad or 0
        if not self.context_pad:
            return
        mean = transformer.mean.get(name)
        if mean is None:
            self.crop_mean: Array = np.zeros(self.crop_dims, np.float32)
            return
        self.crop_mean = mean.transpose(back)
        swap = transformer.channel_swap.get(name)
        if swap is not None:
            self.crop_mean = self.crop_mean[:, :, np.argsort(swap)]
        if name in transformer.raw_scale:
            self.crop_mean = self.crop_mean / transformer.raw_scale[name]


def _rounded(value: float) -> int:
    """The nearest whole number, halves upwards, as Python 2 rounds what is not negative."""
    return math.floor(value + 0.5)
