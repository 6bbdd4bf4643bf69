"""The layers as PyTorch modules. Importing this package registers every type that is implemented."""

from importlib import import_module

from caffecompat.layers.base import Layer, Shape, build, layer, registered

__all__ = ["Layer", "Shape", "build", "layer", "registered"]

FAMILIES = (
    "accuracy",
    "center_loss",
    "channels",
    "convolution",
    "data",
    "detection",
    "elementwise",
    "flow",
    "fork_neurons",
    "fork_normalization",
    "hdf5_output",
    "infogain",
    "inner_product",
    "joining",
    "losses",
    "memory_data",
    "multibox_loss",
    "neurons",
    "normalization",
    "picture_data",
    "pooling",
    "prior_box",
    "proposal",
    "python",
    "recurrent",
    "resampling",
    "reshape",
    "roi",
    "scale",
    "selecting",
    "softmax",
    "upsampling",
    "yolo",
)
for _family in FAMILIES:
    import_module(f"{__name__}.{_family}")
