"""The layers as PyTorch modules. Importing this package registers every type that is implemented."""

from caffecompat.layers import (
    accuracy,
    convolution,
    data,
    detection,
    elementwise,
    infogain,
    inner_product,
    joining,
    losses,
    multibox_loss,
    neurons,
    normalization,
    picture_data,
    pooling,
    prior_box,
    recurrent,
    reshape,
    scale,
    selecting,
    softmax,
)
from caffecompat.layers.base import Layer, Shape, build, layer, registered

FAMILIES = (
    accuracy,
    convolution,
    data,
    detection,
    elementwise,
    infogain,
    inner_product,
    joining,
    losses,
    multibox_loss,
    neurons,
    normalization,
    picture_data,
    pooling,
    prior_box,
    recurrent,
    reshape,
    scale,
    selecting,
    softmax,
)

__all__ = ["Layer", "Shape", "build", "layer", "registered"]
