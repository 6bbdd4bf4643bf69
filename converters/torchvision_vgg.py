"""Weights of VGG from torchvision to Caffe, or from Caffe to torchvision, each for its own kind of pictures.

torchvision's nets take R, G, B from 0 to 1, less a mean and over a deviation by channel; Caffe's take B, G, R from 0
to 255, less a mean. The first convolution takes that up, so that both give the same. Batch normalization (vgg16_bn) is
folded into the convolutions.

    caffecompat convert VGG_ILSVRC_16_layers_deploy.prototxt --recipe torchvision_vgg \
        --set read=vgg16-397923af.pth -o VGG_ILSVRC_16_layers.caffemodel
    caffecompat convert VGG_ILSVRC_16_layers_deploy.prototxt --weights VGG_ILSVRC_16_layers.caffemodel \
        --recipe torchvision_vgg --set write=vgg16.safetensors -o vgg16.prototxt

Source: torchvision's documentation of its pre-trained models (mean 0.485, 0.456, 0.406; std 0.229, 0.224, 0.225), and
the layout of its module `VGG`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import FormatError, UnsupportedError, UsageError, context, quoted
from caffecompat.formats import atomic_write
from caffecompat.schema import caffe_pb2

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Blobs = dict[str, list[Floats]]
# By channel, R, G, B, of pictures from 0 to 1; and B, G, R of pictures from 0 to 255.
MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
BGR_MEAN, BGR_STD = 255 * MEAN[::-1], 255 * STD[::-1]
# torchvision's `classifier` has its linear layers at these places.
LINEAR = (0, 3, 6)
MAX_BYTES = 1 << 32
_EPS = 1e-5


def convert(
    net: caffe_pb2.NetParameter, weights: Blobs, read: str = "", write: str = "", mean: str = ""
) -> tuple[caffe_pb2.NetParameter, Blobs]:
    """Take the weights of a file of torchvision's, or write one.

    Args:
        net: VGG-11, 13, 16 or 19.
        weights: the blobs of each layer by its name.
        read: torchvision's weights, `.pth` or `.safetensors`, which replace the net's.
        write: the file to write the net's weights to, `.pth` or `.safetensors`; the net stays as it is.
        mean: what the net's pictures are less, B, G, R, such as 104,117,123; else torchvision's own: 103.53, 116.28,
            123.675. With another one, values that padding reaches differ by a little.

    Raises:
        UsageError: neither or both files are given, or the mean is none.
        FormatError: the file cannot be read.
        UnsupportedError: its layers are not those of the net, or the net is no VGG.
    """
    if bool(read) == bool(write):
        raise UsageError("give one of --set read=vgg16.pth and --set write=vgg16.safetensors")
    if read:
        with context(file=read):
            return net, _taken(net, weights, _folded(_arrays(Path(read))), _means(mean))
    _write(Path(write), _state(net, weights, _means(mean)))
    return net, weights


def preprocessing(record: Preprocessing) -> Preprocessing:
    """The record of the new net: with torchvision's mean where the net's own is not known."""
    return replace(record, channels="bgr", mean=record.mean or tuple(round(float(value), 3) for value in BGR_MEAN))


def _means(text: str) -> Doubles:
    if not text:
        return BGR_MEAN
    try:
        values = np.array([float(part) for part in text.split(",")])
    except ValueError:
        values = np.empty(0)
    if values.shape != (3,) or not np.isfinite(values).all():
        raise UsageError(f"expected three values as mean, such as 104,117,123, got {quoted(text)}")
    return values


# --- from torchvision


def _taken(net: caffe_pb2.NetParameter, weights: Blobs, layers: list[tuple[Doubles, Doubles]], mean: Doubles) -> Blobs:
    """The blobs with those of the file in the place of the net's, layer by layer in order."""
    wanted = [layer for layer in net.layer if layer.type in ("Convolution", "InnerProduct")]
    if len(wanted) != len(layers):
        hint = "VGG-11, 13, 16 and 19 have as many as they are called"
        raise UnsupportedError(f"the net has {len(wanted)} layers with weights, the file {len(layers)}", hint=hint)
    weight, bias = layers[0]
    _check_first(weight)
    turned = weight[:, ::-1] / BGR_STD[:, None, None]
    layers = [(turned, bias + (turned.sum((2, 3)) * (mean - BGR_MEAN)).sum(1)), *layers[1:]]
    blobs = dict(weights)
    for layer, (weight, bias) in zip(wanted, layers, strict=True):
        shape = blobs[layer.name][0].shape
        if shape != weight.shape:
            raise UnsupportedError(f"expected weights of shape {shape}, got {weight.shape}", layer=layer.name)
        blobs[layer.name] = [_float(weight), _float(bias)]
    return blobs


def _arrays(path: Path) -> Mapping[str, Doubles]:
    """The arrays of a file, by their names in torchvision's module."""
    import torch

    try:
        if path.stat().st_size > MAX_BYTES:
            raise FormatError(f"expected a file of at most {MAX_BYTES} bytes")
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found = load_file(path)
        else:
            # Only tensors and containers of them are read: nothing in the file is run.
            found = torch.load(path, map_location="cpu", weights_only=True)
    except FormatError:
        raise
    except OSError as error:
        raise FormatError(f"cannot be read: {error.strerror or error}") from error
    except Exception as error:
        raise FormatError(f"expected weights of torchvision's: {quoted(str(error))}") from error
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise FormatError("expected a dictionary of tensors, as torchvision's files hold")
    return {str(name): value.double().numpy() for name, value in found.items()}


def _folded(arrays: Mapping[str, Doubles]) -> list[tuple[Doubles, Doubles]]:
    """Weight and bias of each layer in the module's order, batch normalization folded into what is before it."""
    layers: list[tuple[Doubles, Doubles]] = []
    for prefix in sorted({name.rpartition(".")[0] for name in arrays}, key=_place):
        own = {name.rpartition(".")[2]: value for name, value in arrays.items() if name.rpartition(".")[0] == prefix}
        if not {"weight", "bias"} <= set(own):
            raise UnsupportedError(f"expected a weight and a bias of {quoted(prefix)}, got {', '.join(sorted(own))}")
        if "running_mean" not in own:
            layers.append((own["weight"], own["bias"]))
        elif layers and layers[-1][0].ndim == 4 and len(layers[-1][1]) == len(own["weight"]):
            weight, bias = layers[-1]
            factor = own["weight"] / np.sqrt(own["running_var"] + _EPS)
            layers[-1] = (weight * factor[:, None, None, None], (bias - own["running_mean"]) * factor + own["bias"])
        else:
            raise UnsupportedError(f"expected a convolution before the batch normalization {quoted(prefix)}")
    if not layers:
        raise UnsupportedError("the file has no layers")
    return layers


def _place(prefix: str) -> tuple[bool, int]:
    """Where a module stands: `features.0`, `features.2`, ..., `classifier.0`, ...; safetensors keep no order."""
    part, _, number = prefix.partition(".")
    if part not in ("features", "classifier") or not number.isdigit():
        raise UnsupportedError(f"expected the layers features.N and classifier.N, as VGG has, got {quoted(prefix)}")
    return part == "classifier", int(number)


# --- to torchvision


def _state(net: caffe_pb2.NetParameter, weights: Blobs, mean: Doubles) -> dict[str, Floats]:
    """The state dictionary of torchvision's module."""
    state: dict[str, Floats] = {}
    place = linear = 0
    for layer in net.layer:
        if layer.type == "Pooling":
            place += 1
        if layer.type not in ("Convolution", "InnerProduct"):
            continue
        weight, bias = (np.asarray(blob, np.float64) for blob in weights[layer.name])
        if layer.type == "Convolution":
            if place == 0:
                _check_first(weight)
                bias = bias - (weight.sum((2, 3)) * (mean - BGR_MEAN)).sum(1)
                weight = (weight * BGR_STD[:, None, None])[:, ::-1]
            prefix = f"features.{place}"
            place += 2  # its ReLU is a module of its own
        else:
            if linear >= len(LINEAR):
                raise UnsupportedError(f"expected {len(LINEAR)} inner products, as VGG has, got more")
            prefix = f"classifier.{LINEAR[linear]}"
            linear += 1
        state[f"{prefix}.weight"], state[f"{prefix}.bias"] = _float(weight), _float(bias)
    if linear != len(LINEAR):
        raise UnsupportedError(f"expected {len(LINEAR)} inner products, as VGG has, got {linear}")
    return state


def _write(path: Path, state: dict[str, Floats]) -> None:
    import torch

    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    with atomic_write(path) as file:
        if path.suffix == ".safetensors":
            from safetensors.torch import save

            file.write(save(tensors))
        else:
            torch.save(tensors, file)


def _check_first(weight: Doubles) -> None:
    if weight.ndim != 4 or weight.shape[1] != 3:
        raise UnsupportedError(f"expected a first convolution of three channels, got weights of shape {weight.shape}")


def _float(array: Doubles) -> Floats:
    return np.ascontiguousarray(array, np.float32)
