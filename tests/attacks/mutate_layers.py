"""Hostile layers: the recorded nets of one layer with other parameters, shapes and blobs, loaded and run for once.

What loads must give tops of the shapes that the net announced.
"""

from __future__ import annotations

import random
import tempfile
import warnings
from functools import cache
from math import prod
from pathlib import Path

import numpy as np
import torch
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from caffecompat import load
from caffecompat.errors import CaffeCompatWarning
from caffecompat.formats import parse_net, write_text
from caffecompat.layers import registered
from caffecompat.net import Net
from caffecompat.schema import LAYER_TYPES, caffe_pb2
from tests.attacks.mutate import Outcome, attack
from tests.support import REFERENCE

# A net whose blobs and parameters have more values is loaded, but not run.
MOST_VALUES = 1 << 20
INTEGERS = (0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 7, 8, 9, 12, 30, 1000, 65536, 2**31 - 1)
SIZES = (0, 1, 1, 1, 2, 2, 3, 4, 4, 5, 7, 8, 9, 12, 24, 100, 70000)
NEGATIVE = (-1, -1, -2, -3, -(2**31))
UNSIGNED = (2**31, 2**32 - 1)
FLOATS = (0.0, 1.0, -1.0, 0.5, 0.1, 2.0, 3.0, 30.0, 1e-9, 1e-45, 3e38, float("nan"), float("inf"), float("-inf"))
STRINGS = ("", "x", "constant", "uniform", "gaussian", "positive_unitball", "xavier", "msra", "bilinear", "identity")
# Types whose tops have as many rows as the data says.
DATA_DEPENDENT = {"DetectionOutput", "DetectionEvaluate", "Filter", "Proposal"}
# Fields that name files: what these hold is another attack's.
FILES = {"source", "name_size_file", "output_directory", "label_map_file", "mean_file", "file_name"}


# Layers of which no answers are recorded: type, fields, shapes of the bottoms.
OTHERS: tuple[tuple[str, str, tuple[tuple[int, ...], ...]], ...] = (
    ("Axpy", "", ((2, 3, 1, 1), (2, 3, 4, 5), (2, 3, 4, 5))),
    ("BN", "bn_param { eps: 0.001 }", ((2, 3, 4, 5),)),
    ("CenterLoss", "center_loss_param { num_output: 4 }", ((2, 3), (2,))),
    ("ConvolutionDepthwise", "convolution_param { kernel_size: 3 num_output: 4 }", ((1, 4, 6, 6),)),
    ("Correlation", "correlation_param { kernel_size: 1 max_displacement: 2 pad: 2 }", ((1, 3, 6, 6), (1, 3, 6, 6))),
    ("DepthwiseConvolution", "convolution_param { kernel_size: 3 stride: 2 }", ((1, 4, 6, 6),)),
    ("DummyData", "dummy_data_param { shape { dim: 2 dim: 3 } data_filler { type: 'uniform' } }", ()),
    ("DummyData", "dummy_data_param { num: 2 channels: 3 height: 4 width: 1 data_filler { value: 2 } }", ()),
    ("FlowWarp", "flow_warp_param { fill_value: ZERO }", ((1, 3, 6, 6), (1, 2, 6, 6))),
    ("HardSwish", "", ((2, 3),)),
    ("Interp", "interp_param { shrink_factor: 2 pad_beg: -1 }", ((1, 3, 7, 9),)),
    ("MaxUnpool", "pooling_param { kernel_size: 2 stride: 2 }", ((1, 3, 4, 4), (1, 3, 4, 4))),
    ("Mish", "", ((2, 3),)),
    ("Normalize", "normalize_param { }", ((2, 3, 4, 5),)),
    ("NormalizeBBox", "norm_param { across_spatial: false }", ((2, 3, 4, 5),)),
    ("PSROIPooling", "psroi_pooling_param { spatial_scale: 0.5 output_dim: 2 group_size: 2 }", ((1, 8, 6, 6), (3, 5))),
    ("Padding", "padding_param { }", ((1, 3, 4, 5),)),
    ("Proposal", "proposal_param { feat_stride: 16 }", ((1, 18, 4, 5), (1, 36, 4, 5), (1, 3))),
    ("ROIPooling", "roi_pooling_param { pooled_h: 2 pooled_w: 3 spatial_scale: 0.5 }", ((1, 3, 6, 6), (3, 5))),
    ("ReLU6", "relu6_param { }", ((2, 3),)),
    ("Region", "region_param { classes: 4 coords: 4 num: 2 softmax: 1 }", ((1, 18, 4, 4),)),
    ("Reorg", "reorg_param { stride: 2 }", ((1, 4, 4, 6),)),
    ("Resample", "resample_param { height: 5 width: 7 }", ((1, 3, 4, 4),)),
    ("Resize", "resize_param { height: 5 width: 7 }", ((1, 3, 4, 4),)),
    ("ShuffleChannel", "shuffle_channel_param { group: 2 }", ((1, 4, 3, 3),)),
    ("Sign", "", ((2, 3),)),
    ("Upsample", "upsample_param { scale: 2 }", ((1, 3, 4, 4),)),
    ("SmoothL1Loss", "smooth_l1_loss_param { sigma: 3 }", ((2, 4), (2, 4), (2, 4), (2, 4))),
)


def alone(kind: str, fields: str, shapes: tuple[tuple[int, ...], ...]) -> str:
    """The prototxt of one layer on inputs of these shapes."""
    lines = [
        f"layer {{ name: 'x{index}' type: 'Input' top: 'x{index}' input_param {{ shape {{ dim: {list(shape)} }} }} }}"
        for index, shape in enumerate(shapes)
    ]
    bottoms = " ".join(f"bottom: 'x{index}'" for index in range(len(shapes)))
    return "\n".join([*lines, f"layer {{ name: 'l' type: '{kind}' {bottoms} top: 'y' {fields} }}"])


@cache
def recorded() -> tuple[bytes, ...]:
    """The prototxts of the recorded layers, and of the others, upgraded."""
    texts = [write_text(parse_net(alone(*other)).message).encode() for other in OTHERS] * 4
    for path in sorted(REFERENCE.glob("layers*/*.npz")):
        with np.load(path) as record:
            texts.append(write_text(parse_net(str(record["prototxt"])).message).encode())
    return tuple(texts)


def random_value(rng: random.Random, field: FieldDescriptor, depth: int) -> object:
    """A value that this field can hold; a message's fields are changed in place by the caller."""
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return rng.random() < 0.5
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return rng.choice(list(field.enum_type.values)).number
    if kind == FieldDescriptor.CPPTYPE_STRING:
        return rng.choice(STRINGS)
    if kind in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE):
        return rng.choice(FLOATS)
    if kind in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64):
        return rng.choice(NEGATIVE if rng.random() < 0.2 else INTEGERS)
    return rng.choice(UNSIGNED if rng.random() < 0.1 else INTEGERS)


def is_list(message: Message, field: FieldDescriptor) -> bool:
    value = getattr(message, field.name)
    return hasattr(value, "append") or hasattr(value, "add")


def change_field(rng: random.Random, message: Message, depth: int = 0) -> None:
    """Set, clear or change one field of a message, or of a message within it."""
    fields = [field for field in message.DESCRIPTOR.fields if field.name not in FILES]
    stated = [field for field, _ in message.ListFields() if field.name not in FILES]
    if not fields:
        return
    field = rng.choice(stated if stated and rng.random() < 0.6 else fields)
    inside = field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE
    if rng.random() < 0.15:
        message.ClearField(field.name)
    elif is_list(message, field):
        values = getattr(message, field.name)
        if inside:
            entries = [*values] or [values.add()]
            change_field(rng, rng.choice(entries), depth + 1) if rng.random() < 0.8 else values.add()
        elif values and rng.random() < 0.6:
            values[rng.randrange(len(values))] = random_value(rng, field, depth)
        else:
            values.extend(random_value(rng, field, depth) for _ in range(rng.choice((1, 1, 2, 4, 40))))
    elif inside:
        change_field(rng, getattr(message, field.name), depth + 1)
    else:
        setattr(message, field.name, random_value(rng, field, depth))


def change_shape(rng: random.Random, layer: caffe_pb2.LayerParameter) -> None:
    """Another shape for an Input: a size changed, an axis more or less."""
    if not layer.input_param.shape:
        return
    dim = rng.choice(layer.input_param.shape).dim
    kind = rng.randrange(5)
    if kind < 3 and dim:
        dim[rng.randrange(len(dim))] = rng.choice(SIZES)
    elif kind == 3 and dim:
        del dim[rng.randrange(len(dim))]
    else:
        dim.insert(rng.randint(0, len(dim)), rng.choice(SIZES))


def change_blobs(rng: random.Random, layer: caffe_pb2.LayerParameter, names: list[str]) -> None:
    """A bottom or a top more, less or exchanged."""
    blobs = rng.choice((layer.bottom, layer.top))
    name = rng.choice(names) if blobs is layer.bottom or rng.random() < 0.2 else f"t{rng.randrange(1000)}"
    if blobs and rng.random() < 0.3:
        del blobs[rng.randrange(len(blobs))]
    elif blobs and rng.random() < 0.4:
        blobs[rng.randrange(len(blobs))] = name
    else:
        blobs.append(name)


def changed(rng: random.Random, text: bytes) -> bytes:
    """A net with a few changes; at times its last layer becomes one of another type."""
    net = parse_net(text).message
    layers = [layer for layer in net.layer if layer.type != "Input"]
    names = [name for layer in net.layer for name in layer.top]
    for _ in range(rng.choice((1, 1, 2, 3, 5))):
        layer = rng.choice(layers)
        kind = rng.random()
        if kind < 0.55:
            row = LAYER_TYPES[layer.type]
            if row.params:
                change_field(rng, getattr(layer, rng.choice((row.param, *row.params))))
        elif kind < 0.85:
            change_shape(rng, rng.choice([layer for layer in net.layer if layer.type == "Input"] or [layer]))
        elif kind < 0.92:
            change_blobs(rng, layer, names)
        elif kind < 0.97:
            layer.type = rng.choice(sorted(registered()))
        else:
            change_field(rng, layer.param.add())
    return write_text(net).encode()


def values_of(net: Net) -> int:
    blobs = sum(prod(shape) for shape in net.blob_shapes.values())
    return blobs + sum(blob.numel() for layer in net.layers for blob in layer.blobs)


def run(net: Net, rng: random.Random) -> None:
    """One pass on numbers that may be labels; the tops must have the shapes that the net announced."""
    generator = torch.Generator().manual_seed(rng.randrange(1 << 30))
    whole = rng.random() < 0.5
    inputs = {}
    for key in net.graph.inputs:
        x = torch.rand(net.blob_shapes[key], generator=generator) * rng.choice((0, 1, 3, -5))
        inputs[key.name] = x.floor() if whole else x
    net.keep = "all"
    with torch.no_grad():
        net.forward(**{name: inputs[name] for name in net.inputs})
    follows: set[str] = set()
    for spec in net.graph.layers:
        if spec.type in DATA_DEPENDENT or any(key.name in follows for key in spec.bottoms):
            follows.update(key.name for key in spec.tops)
    for name, blob in net.blobs.items():
        announced = net.blob_shapes[net.graph.last[name]]
        assert name in follows or tuple(blob.shape) == announced, f"{name} has {tuple(blob.shape)}, not {announced}"


def layers(count: int, seed: int = 0, first: int = 0) -> Outcome:
    """Attack `caffecompat.load` and a pass of the net with layers of every type."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hostile.prototxt"

        def attempt(data: bytes) -> None:
            path.write_bytes(data)
            rng = random.Random(data)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CaffeCompatWarning)
                net = load(path, phase=rng.choice(("TEST", "TEST", "TRAIN")), dialect=rng.choice(("ssd", "bvlc")))
                if values_of(net) <= MOST_VALUES:
                    run(net, rng)

        return attack(recorded(), attempt, count, seed, first, change=changed)
