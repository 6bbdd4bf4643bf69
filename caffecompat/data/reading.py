"""Where a Preprocessing record comes from: the transform_param of a net's data layers, files, and arguments."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from caffecompat.data.geometry import Resize, Size
from caffecompat.data.labels import read_labels
from caffecompat.data.means import Mean, parse_mean, read_mean_image
from caffecompat.data.preprocessing import Channels, Interpolation, Pad, Preprocessing, Segmentation
from caffecompat.errors import CaffeCompatWarning, SchemaError, ShapeError, UsageError, quoted
from caffecompat.graph.spec import Graph, LayerSpec
from caffecompat.schema import caffe_pb2

_RESIZES: dict[int, Resize] = {1: "warp", 2: "fit_small", 3: "fit_large_pad"}
_PADS: dict[int, Pad] = {1: "constant", 2: "mirrored", 3: "repeat_nearest"}
_INTERPOLATIONS: dict[int, Interpolation] = {1: "linear", 2: "area", 3: "nearest", 4: "cubic", 5: "lanczos4"}


@dataclass(frozen=True)
class Given:
    """What the caller says; None leaves it to the net. See `Preprocessing.from_graph`."""

    mean: str | Sequence[float] | None = None
    scale: float | None = None
    channels: Channels | None = None
    labels: str | os.PathLike[str] | Sequence[str] | None = None
    size: Size | None = None
    resize: Resize | None = None
    interpolation: Interpolation | None = None


def preprocessing_of(
    graph: Graph,
    given: Given,
    *,
    base_dir: str | os.PathLike[str] | None,
    input_shapes: Mapping[str, Sequence[int]],
) -> Preprocessing:
    """The record of a net; see `Preprocessing.from_graph`."""
    base = None if base_dir is None else Path(base_dir)
    spec, blob = _picture_source(graph, input_shapes)
    transform = spec.message.transform_param if spec is not None else caffe_pb2.TransformationParameter()
    mean = parse_mean(given.mean) if given.mean is not None else _own_mean(spec, transform, base)
    shape = _shape(spec, blob, input_shapes)
    channels = given.channels or _channels(shape, transform, mean)
    _check_channels(blob, channels, shape, mean)
    record = Preprocessing(
        input=blob,
        channels=channels,
        mean=mean.values,
        mean_image=mean.image,
        scale=_scale(spec, transform, given.scale),
        labels=_labels(graph, given.labels, base),
        variances=_variances(graph),
        segmentation=mean.segmentation or _segmentation(graph),
    )
    return _with_sizes(record, transform, shape, given)


def _picture_source(graph: Graph, shapes: Mapping[str, Sequence[int]]) -> tuple[LayerSpec | None, str]:
    """The layer and the blob that take the picture: of the inputs the first of 4 axes and 1 or 3 channels."""
    tops = [(spec, key) for spec in graph.layers if spec.row.data for key in spec.tops]
    for spec, key in tops:
        shape = _shape(spec, key.name, shapes)
        if shape is not None and len(shape) == 4 and shape[1] in (1, 3):
            return spec, key.name
    for spec, key in tops:
        if spec.message.HasField("transform_param"):
            return spec, key.name
    return (tops[0][0], tops[0][1].name) if tops else (None, graph.inputs[0].name if graph.inputs else "data")


def _shape(spec: LayerSpec | None, blob: str, shapes: Mapping[str, Sequence[int]]) -> tuple[int, ...] | None:
    """The shape of an input, as far as it is stated without opening a database."""
    if blob in shapes:
        return tuple(int(size) for size in shapes[blob])
    if spec is None:
        return None
    index = [key.name for key in spec.tops].index(blob)
    message = spec.message
    if spec.type in ("Input", "DummyData"):
        stated = message.input_param.shape if spec.type == "Input" else message.dummy_data_param.shape
        if len(stated) in (1, len(spec.tops)):
            return tuple(stated[index if len(stated) > 1 else 0].dim)
        old = message.dummy_data_param
        if spec.type == "DummyData" and len(old.num) > index:
            return tuple(int(sizes[index]) for sizes in (old.num, old.channels, old.height, old.width))
    if spec.type == "MemoryData" and index == 0:
        memory = message.memory_data_param
        return (memory.batch_size, memory.channels, memory.height, memory.width)
    return None


def _channels(shape: tuple[int, ...] | None, transform: caffe_pb2.TransformationParameter, mean: Mean) -> Channels:
    if shape is not None and len(shape) == 4:
        return {1: "gray", 3: "bgr"}.get(shape[1], "none")  # type: ignore[return-value]
    if shape is not None:
        return "none"
    if transform.force_gray or (mean.image is not None and mean.image.shape[0] == 1):
        return "gray"
    return "bgr"


def _scale(spec: LayerSpec | None, transform: caffe_pb2.TransformationParameter, given: float | None) -> float:
    scale = given if given is not None else _float(transform.scale)
    if math.isfinite(scale):
        return scale
    if given is not None:
        raise UsageError(f"expected a scale that is a finite number, got {given}")
    error = SchemaError(f"transform_param: expected a scale that is a finite number, got {scale}")
    if spec is not None:
        spec.locate(error)
    raise error


def _check_channels(blob: str, channels: Channels, shape: tuple[int, ...] | None, mean: Mean) -> None:
    wanted = {"gray": 1, "bgr": 3, "rgb": 3}.get(channels)
    if wanted is None:
        return
    if shape is not None and len(shape) == 4 and shape[1] != wanted:
        raise UsageError(f'channels {channels} means {wanted}, and input "{blob}" has shape {shape}')
    if mean.image is not None and mean.image.shape[0] != wanted:
        raise ShapeError(f'input "{blob}" has {wanted} channels ({channels}), the mean image {mean.image.shape[0]}')
    if len(mean.values) not in (0, 1, wanted):
        raise ShapeError(
            f'input "{blob}" has {wanted} channels ({channels}); expected one mean value or {wanted}, '
            f"got {len(mean.values)}"
        )


def _own_mean(spec: LayerSpec | None, transform: caffe_pb2.TransformationParameter, base: Path | None) -> Mean:
    if transform.mean_value:
        return Mean(values=tuple(_float(value) for value in transform.mean_value))
    if not transform.HasField("mean_file"):
        return Mean()
    path = _find(transform.mean_file, base)
    if path is None:
        where = f'layer "{spec.name}": ' if spec is not None else ""
        _note(
            f"{where}mean_file {quoted(transform.mean_file)} is not here; nothing is subtracted unless a mean is given"
        )
        return Mean()
    return Mean(image=read_mean_image(path))


def _labels(graph: Graph, given: str | os.PathLike[str] | Sequence[str] | None, base: Path | None) -> tuple[str, ...]:
    """The names given, or those of the label map that a DetectionOutput layer names; background included."""
    outputs = [spec.message.detection_output_param for spec in graph.layers if spec.type == "DetectionOutput"]
    if given is None:
        names = [output.save_output_param.label_map_file for output in outputs]
        files = [path for path in (_find(name, base) for name in names if name) if path is not None]
        labels = read_labels(files[0]) if files else ()
    elif isinstance(given, (str, os.PathLike)):
        labels = read_labels(given)
    else:
        labels = tuple(given)
    if labels and outputs and outputs[0].num_classes == len(labels) + 1 and outputs[0].background_label_id == 0:
        labels = ("background", *labels)
    return labels


def _variances(graph: Graph) -> tuple[float, ...]:
    """The variances of the prior boxes if all have the same; 0.1 where the prototxt states none, as in Caffe."""
    found = {
        tuple(_float(value) for value in spec.message.prior_box_param.variance) or (0.1,)
        for spec in graph.layers
        if spec.type == "PriorBox"
    }
    return found.pop() if len(found) == 1 else ()


def _segmentation(graph: Graph) -> Segmentation | None:
    """The offset and stride of the labels that the dilation authors' training nets state; else not known."""
    for spec in graph.layers:
        if spec.type == "ImageLabelData":
            labels = spec.message.image_label_data_param.label_slice
            if labels.offset and labels.stride:
                return Segmentation(zoom=max(1, labels.stride[0]), label_margin=labels.offset[0])
    return None


def _with_sizes(
    record: Preprocessing,
    transform: caffe_pb2.TransformationParameter,
    shape: tuple[int, ...] | None,
    given: Given,
) -> Preprocessing:
    """The record with its rule of resizing and its crop.

    The input's size is that of its shape, else the crop. What is resized to a larger size (asked for, stated by
    resize_param together with a crop, or the mean image's) is cropped to it.
    """
    net = (shape[2], shape[3]) if shape is not None and len(shape) == 4 else None
    crop_size = (transform.crop_h, transform.crop_w) if transform.crop_h else (transform.crop_size,) * 2
    crop = crop_size if all(crop_size) else None
    resizes = transform.HasField("resize_param") and transform.resize_param.prob > 0
    if resizes:
        record = _with_resize(record, transform.resize_param)
    if transform.HasField("rescale_param"):
        low = transform.rescale_param.min_side
        side = (low + (transform.rescale_param.max_side or low)) // 2
        record = replace(record, size=(side, side) if side else None, resize="fit_small")
    record = replace(
        record,
        resize=given.resize or record.resize,
        interpolation=given.interpolation or record.interpolation,
    )
    mean_size = None if record.mean_image is None else cast(Size, record.mean_image.shape[1:])
    stated = record.size if crop is not None or net is None else None
    size = given.size or stated or mean_size
    net = net or crop or size
    if size is None or net is None or size == net:
        covers = record.resize == "fit_small" and net is not None
        return replace(record, size=net, crop=net if covers else None)
    if size[0] >= net[0] and size[1] >= net[1]:
        return replace(record, size=size, crop=net)
    if size == given.size:
        hint = "a fully convolutional net takes another input shape: --input-shape"
        raise UsageError(f"size {_by(size)} is smaller than the net's input, {_by(net)}", hint=hint)
    if size == mean_size:
        raise ShapeError(f"the mean image, {_by(size)}, is smaller than the net's input, {_by(net)}")
    return replace(record, size=net)


def _with_resize(record: Preprocessing, resize: caffe_pb2.ResizeParameter) -> Preprocessing:
    interpolations = list(resize.interp_mode)
    return replace(
        record,
        size=(resize.height, resize.width) if resize.height and resize.width else None,
        resize=_RESIZES[resize.resize_mode],
        interpolation=_INTERPOLATIONS[interpolations[0]] if len(interpolations) == 1 else "linear",
        pad=_PADS[resize.pad_mode],
        pad_values=tuple(_float(value) for value in resize.pad_value),
    )


def _find(name: str, base: Path | None) -> Path | None:
    """A file that a prototxt names: as it is named, or from the prototxt's folder, or in it."""
    places = [Path(name)] if base is None else [Path(name), base / name, base / Path(name).name]
    return next((place for place in places if os.path.isfile(place)), None)


def _by(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def _float(value: float) -> float:
    """A float32 of a message as the shortest decimal that means the same float32."""
    return float(str(np.float32(value)))


def _note(text: str) -> None:
    warnings.warn(text, CaffeCompatWarning, stacklevel=2)
