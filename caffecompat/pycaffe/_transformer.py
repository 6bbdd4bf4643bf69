"""caffe.io.Transformer: how an image becomes what a net takes, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from caffecompat.errors import UsageError, did_you_mean, quoted
from caffecompat.pycaffe._images import Array, ArrayError, Floats, resize_image


class Transformer:
    """Brings images to the form of a net's inputs.

    Args:
        inputs: the shape (num, channels, height, width) of each input, by its name.

    Attributes:
        inputs: those.
        transpose: the order of the axes, by the input's name; so the others, which `set_...` sets.
        channel_swap: the order of the channels.
        raw_scale: what multiplies the raw values.
        mean: what is subtracted from these.
        input_scale: what multiplies the rest.
    """

    def __init__(self, inputs: Mapping[str, Sequence[int]]) -> None:
        self.inputs = inputs
        self.transpose: dict[str, Sequence[int]] = {}
        self.channel_swap: dict[str, Sequence[int]] = {}
        self.raw_scale: dict[str, Any] = {}
        self.mean: dict[str, Array] = {}
        self.input_scale: dict[str, Any] = {}

    def _shape(self, in_: str) -> tuple[int, ...]:
        """The shape of an input."""
        if in_ not in self.inputs:
            names = ", ".join(map(str, self.inputs))
            hint = did_you_mean(in_, self.inputs)
            raise UsageError(f"{quoted(in_)} is not one of the net's inputs: {names}", hint=hint)
        return tuple(self.inputs[in_])

    def preprocess(self, in_: str, data: Array) -> Floats:
        """An image as the net takes it: resized, transposed, swapped, scaled, mean subtracted, scaled again.

        Args:
            in_: the input.
            data: (height, width, channels); it stays as it is.

        Returns:
            float32 (channels, height, width) of the input's size.

        Raises:
            UsageError: there is no such input.
            ArrayError: the image is none, or the mean does not fit it.
        """
        size = self._shape(in_)[2:]
        image: Floats = np.array(data, dtype=np.float32)
        if image.shape[:2] != size:
            image = resize_image(image, size)
        transpose, swap = self.transpose.get(in_), self.channel_swap.get(in_)
        if transpose is not None:
            image = image.transpose(transpose)
        if swap is not None:
            image = image[list(swap)]
        if in_ in self.raw_scale:
            image *= self.raw_scale[in_]
        if in_ in self.mean:
            try:
                image -= self.mean[in_]
            except ValueError as error:
                shapes = f"the mean has shape {self.mean[in_].shape}, the image {image.shape}"
                raise ArrayError(f"{shapes}: {error}") from error
        if in_ in self.input_scale:
            image *= self.input_scale[in_]
        return image

    def deprocess(self, in_: str, data: Array) -> Array:
        """What `preprocess` made an image to, as an image again, of the input's size.

        Args:
            in_: the input.
            data: floats (channels, height, width); axes of size 1 are dropped.

        Returns:
            (height, width, channels) in the dtype of `data`.

        Raises:
            UsageError: there is no such input.
        """
        self._shape(in_)
        image: Array = data.copy().squeeze()
        transpose, swap = self.transpose.get(in_), self.channel_swap.get(in_)
        if in_ in self.input_scale:
            image /= self.input_scale[in_]
        if in_ in self.mean:
            image += self.mean[in_]
        if in_ in self.raw_scale:
            image /= self.raw_scale[in_]
        if swap is not None:
            image = image[np.argsort(swap)]
        if transpose is not None:
            image = image.transpose(np.argsort(transpose))
        return image

    def set_transpose(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of the axes: (2, 0, 1) makes (height, width, channels) to (channels, height, width).

        Raises:
            UsageError: there is no such input, or the order has not one axis less than the input.
        """
        axes = len(self._shape(in_)) - 1
        if len(order) != axes:
            raise UsageError(f"expected an order of {axes} axes, got {quoted(order)}")
        self.transpose[in_] = order

    def set_channel_swap(self, in_: str, order: Sequence[int]) -> None:
        """Set the order of the channels, the first axis after transposing: (2, 1, 0) makes R, G, B to B, G, R.

        Raises:
            UsageError: there is no such input, or it has another number of channels.
        """
        channels = self._shape(in_)[1]
        if len(order) != channels:
            raise UsageError(f"expected an order of {channels} channels, got {quoted(order)}")
        self.channel_swap[in_] = order

    def set_raw_scale(self, in_: str, scale: Any) -> None:
        """Set what multiplies the values before the mean is subtracted: 255 for nets that expect bytes.

        Raises:
            UsageError: there is no such input.
        """
        self._shape(in_)
        self.raw_scale[in_] = scale

    def set_mean(self, in_: str, mean: Array) -> None:
        """Set what is subtracted after `raw_scale`.

        Args:
            in_: the input.
            mean: one value for each channel, or an image (height, width) or (channels, height, width). One of
                another size than the input's is resized (BVLC; the SSD branch refused it).

        Raises:
            UsageError: there is no such input.
            ArrayError: the mean has another number of channels, or of axes.
        """
        shape = self._shape(in_)
        if mean.ndim == 1:
            if len(mean) != shape[1]:
                raise ArrayError(f"expected a mean of {shape[1]} channels, got {len(mean)}")
            mean = mean[:, np.newaxis, np.newaxis]
        elif mean.ndim not in (2, 3):
            raise ArrayError(f"expected a mean of 1, 2 or 3 axes, got shape {mean.shape}")
        elif mean.shape[-2:] != shape[2:]:
            image = mean.reshape(-1, *mean.shape[-2:]).transpose(1, 2, 0)
            mean = resize_image(image, shape[2:]).transpose(2, 0, 1)
        self.mean[in_] = mean

    def set_input_scale(self, in_: str, scale: Any) -> None:
        """Set what multiplies the values after the mean is subtracted.

        Raises:
            UsageError: there is no such input.
        """
        self._shape(in_)
        self.input_scale[in_] = scale
