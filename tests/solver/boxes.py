"""A small SSD and databases of pictures with boxes, for tests that spoil them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from caffecompat.schema import caffe_pb2
from tests.solver.databases import datum, write_lmdb

SIDE = 32
# A box: label, xmin, ymin, xmax, ymax, and whether it is difficult.
Box = tuple[float, ...]
GOOD: tuple[Box, ...] = ((1, 0.1, 0.2, 0.4, 0.5), (2, 0.5, 0.5, 0.9, 0.8))
LABEL_MAP = "".join(
    f'item {{ name: "{name}" label: {label} display_name: "{name}" }}\n'
    for label, name in enumerate(("none_of_the_above", "cat", "dog"))
)

SSD = """
layer { name: "data" type: "AnnotatedData" top: "data" top: "label" include { phase: TRAIN }
  transform_param { scale: 0.004 resize_param { height: 32 width: 32 interp_mode: LINEAR } }
  data_param { source: "train" batch_size: 4 backend: LMDB }
  annotated_data_param { batch_sampler { } label_map_file: "map.prototxt" } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param { num_output: 4 kernel_size: 8 stride: 8 weight_filler { type: "xavier" } } }
layer { name: "loc" type: "Convolution" bottom: "conv" top: "loc"
  convolution_param { num_output: 8 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "loc_perm" type: "Permute" bottom: "loc" top: "loc_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_flat" type: "Flatten" bottom: "loc_perm" top: "loc_flat" }
layer { name: "conf" type: "Convolution" bottom: "conv" top: "conf"
  convolution_param { num_output: 6 kernel_size: 1 weight_filler { type: "xavier" } } }
layer { name: "conf_perm" type: "Permute" bottom: "conf" top: "conf_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf_flat" type: "Flatten" bottom: "conf_perm" top: "conf_flat" }
layer { name: "priors" type: "PriorBox" bottom: "conv" bottom: "data" top: "priors"
  prior_box_param { min_size: 10 max_size: 14 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
layer { name: "mbox_loss" type: "MultiBoxLoss" bottom: "loc_flat" bottom: "conf_flat" bottom: "priors" bottom: "label"
  top: "mbox_loss" loss_param { normalization: VALID }
  multibox_loss_param { num_classes: 3 code_type: CENTER_SIZE overlap_threshold: 0.5 } }
"""


def record(boxes: Iterable[Box], seed: int = 1, side: int = SIDE) -> Any:
    """An AnnotatedDatum of a picture (3, side, side) and boxes, a group for each."""
    values = np.random.default_rng(seed).integers(0, 256, (3, side, side), np.uint8)
    made = caffe_pb2.AnnotatedDatum(type=caffe_pb2.AnnotatedDatum.BBOX, datum=datum(values))
    for label, xmin, ymin, xmax, ymax, *difficult in boxes:
        annotation = made.annotation_group.add(group_label=int(label)).annotation.add()
        annotation.bbox.xmin, annotation.bbox.ymin, annotation.bbox.xmax, annotation.bbox.ymax = xmin, ymin, xmax, ymax
        annotation.bbox.difficult = bool(difficult)
    return made


def write_boxes(path: Path, records: Sequence[Iterable[Box]]) -> Path:
    """An LMDB of pictures with these boxes, with keys 00000000, 00000001, ..."""
    return write_lmdb(path, [record(boxes, seed) for seed, boxes in enumerate(records)])
