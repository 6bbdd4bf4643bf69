"""A net for pictures in the order B, G, R becomes one for R, G, B.

Caffe's nets want blue first, because OpenCV reads pictures so; most of PyTorch's tools give red first. This turns
round the input channels of the weights that read the picture, so that the new net's outputs for a picture in the
order R, G, B are the old net's for the same picture in the order B, G, R. The mean values turn round with them.

Source: Caffe's example "Classification: Instant Recognition with Caffe" (examples/00-classification.ipynb), which
swaps the channels of the picture instead.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import CaffeCompatError, UnsupportedError, quoted
from caffecompat.schema import caffe_pb2

Blobs = dict[str, list[npt.NDArray[np.float32]]]
COLOURS = 3
# Layers that treat every channel alike.
CHANNELS_ALIKE = {
    *("AbsVal", "BNLL", "Clip", "Dropout", "ELU", "Eltwise", "Exp", "Log", "Pooling", "Power", "ReLU", "Sigmoid"),
    *("Split", "Swish", "TanH", "Threshold"),
}
# Layers that have values of their own for each channel.
CHANNELS_APART = {"BatchNorm", "Bias", "PReLU", "Scale"}
SIZE_ONLY = {"PriorBox", "Silence"}


def convert(net: caffe_pb2.NetParameter, weights: Blobs) -> tuple[caffe_pb2.NetParameter, Blobs]:
    """Turn round the channels that read the net's inputs of three channels.

    Args:
        net: a net with the shapes of its inputs.
        weights: the blobs of each layer by its name.

    Raises:
        UnsupportedError: the net has no such input, or a layer reads it whose channels cannot be turned round.
    """
    made = caffe_pb2.NetParameter()
    made.CopyFrom(net)
    blobs = dict(weights)
    pictures: set[str] = set()  # blobs whose channels are the picture's
    for layer in made.layer:
        if len(layer.transform_param.mean_value) == COLOURS:
            layer.transform_param.mean_value[:] = layer.transform_param.mean_value[::-1]
        if layer.type == "Input":
            shapes = layer.input_param.shape
            pictures.update(top for top, shape in zip(layer.top, shapes, strict=True) if _is_picture(shape.dim))
            continue
        reads = [bottom in pictures for bottom in layer.bottom]
        pictures.difference_update(layer.top)
        if not any(reads) or layer.type in SIZE_ONLY:
            continue
        if layer.type in ("Convolution", "InnerProduct"):
            blobs[layer.name] = _turned(layer, blobs[layer.name])
        elif layer.type in CHANNELS_ALIKE | CHANNELS_APART and all(reads):
            if layer.type in CHANNELS_APART:
                blobs[layer.name] = [_first_axis_turned(blob) for blob in blobs[layer.name]]
            pictures.update(layer.top)
        else:
            raise _refusal(layer, f"a layer of type {layer.type} reads the picture")
    if not any(_is_picture(shape.dim) for layer in made.layer for shape in layer.input_param.shape):
        raise UnsupportedError("the net has no input of three channels")
    return made, blobs


def preprocessing(record: Preprocessing) -> Preprocessing:
    """The record of the new net.

    Raises:
        UnsupportedError: the net does not want its channels in the order B, G, R.
    """
    if record.channels != "bgr":
        raise UnsupportedError(f"the net does not take B, G, R: its channels are {quoted(record.channels)}")
    return replace(
        record,
        channels="rgb",
        mean=record.mean[::-1],
        mean_image=None if record.mean_image is None else np.ascontiguousarray(record.mean_image[::-1]),
        pad_values=record.pad_values[::-1],
    )


def _is_picture(sizes: object) -> bool:
    dims = list(sizes)  # type: ignore[call-overload]
    return len(dims) == 4 and dims[1] == COLOURS


def _first_axis_turned(blob: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return blob[::-1] if blob.ndim and blob.shape[0] == COLOURS else blob


def _turned(layer: caffe_pb2.LayerParameter, blobs: list[npt.NDArray[np.float32]]) -> list[npt.NDArray[np.float32]]:
    """The blobs of a Convolution or InnerProduct layer, the weight's input channels turned round."""
    weight = blobs[0]
    if layer.type == "Convolution":
        if layer.convolution_param.group != 1:
            raise _refusal(layer, "a convolution in groups reads the picture")
        return [weight[:, ::-1], *blobs[1:]]
    if layer.inner_product_param.axis not in (1, -3):
        raise _refusal(layer, "an inner product over another axis than 1 reads the picture")
    if layer.inner_product_param.transpose:
        rows = weight.reshape(COLOURS, -1, weight.shape[1])[::-1]
    else:
        rows = weight.reshape(weight.shape[0], COLOURS, -1)[:, ::-1]
    return [rows.reshape(weight.shape), *blobs[1:]]


def _refusal(layer: caffe_pb2.LayerParameter, message: str) -> CaffeCompatError:
    return UnsupportedError(f"{message}; its channels cannot be turned round", layer=layer.name)
