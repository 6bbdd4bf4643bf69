"""caffe.Classifier: a net that is given images and says their classes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from caffecompat.errors import UsageError
from caffecompat.pycaffe._arguments import TEST
from caffecompat.pycaffe._images import Array, Floats, oversample, resize_image
from caffecompat.pycaffe._net import Net
from caffecompat.pycaffe._transformer import Transformer

PathLike = str | os.PathLike[str]


class Classifier(Net):
    """A net in phase TEST that classifies images.

    Args:
        model_file: the prototxt.
        pretrained_file: its weights.
        image_dims: (height, width) to which images are resized, before the net's size is cut out of them; the net's
            own if it is not given.
        mean: see `Transformer.set_mean`.
        input_scale: see `Transformer.set_input_scale`.
        raw_scale: see `Transformer.set_raw_scale`.
        channel_swap: see `Transformer.set_channel_swap`.

    Attributes:
        transformer: what brings images to the form of the net's first input.
        crop_dims: (height, width) of that input.
        image_dims: (height, width) to which images are resized.
    """

    def __init__(
        self,
        model_file: PathLike,
        pretrained_file: PathLike,
        image_dims: Sequence[int] | Array | None = None,
        mean: Array | None = None,
        input_scale: Any = None,
        raw_scale: Any = None,
        channel_swap: Sequence[int] | None = None,
    ) -> None:
        super().__init__(model_file, TEST, weights=pretrained_file)
        self.transformer = input_transformer(self, mean, input_scale, raw_scale, channel_swap)
        self.crop_dims = np.array(self.blobs[self.inputs[0]].shape[2:])
        self.image_dims = self.crop_dims if image_dims is None or not len(image_dims) else image_dims

    def predict(self, inputs: Sequence[Array], oversample: bool = True) -> Floats:
        """What the net's first output says of images.

        Args:
            inputs: images (height, width, channels), as `load_image` gives them.
            oversample: take the mean over ten crops (corners, centre, each mirrored) instead of the centre alone.

        Returns:
            float32: (images, values) over crops, else (images, ...) as the output is.

        Raises:
            UsageError: there is no image.
            ShapeError: the crop is larger than the images, or an image has another number of channels than the net.
        """
        if not len(inputs):
            raise UsageError("expected one image or more, got none")
        images = [resize_image(image, self.image_dims) for image in inputs]
        crops = _ten_crops(images, self.crop_dims) if oversample else [self._centre(image) for image in images]
        name = self.inputs[0]
        batch = np.stack([self.transformer.preprocess(name, crop) for crop in crops])
        predictions = self.forward_all(**{name: batch})[self.outputs[0]]
        if not oversample:
            return predictions
        averaged: Floats = predictions.reshape(len(predictions) // 10, 10, -1).mean(1)
        return averaged

    def _centre(self, image: Floats) -> Floats:
        """The middle of a resized image."""
        size = np.array(self.image_dims)
        first = (size / 2.0 - self.crop_dims / 2.0).astype(int)
        last = (size / 2.0 + self.crop_dims / 2.0).astype(int)
        return image[first[0] : last[0], first[1] : last[1]]


# The method has an argument of that name.
_ten_crops = oversample


def input_transformer(
    net: Net, mean: Array | None, input_scale: Any, raw_scale: Any, channel_swap: Sequence[int] | None
) -> Transformer:
    """What brings images to the form of a net's first input; None leaves a step out.

    Raises:
        UsageError: the net has no input.
        ShapeError: the mean or the order of channels does not fit it.
    """
    if not net.inputs:
        raise UsageError("the net has no input", hint="its data come from data layers; take its deploy.prototxt")
    name = net.inputs[0]
    transformer = Transformer({name: net.blobs[name].shape})
    transformer.set_transpose(name, (2, 0, 1))
    if mean is not None:
        transformer.set_mean(name, mean)
    if input_scale is not None:
        transformer.set_input_scale(name, input_scale)
    if raw_scale is not None:
        transformer.set_raw_scale(name, raw_scale)
    if channel_swap is not None:
        transformer.set_channel_swap(name, channel_swap)
    return transformer
