"""SSD300's augmentation: the data layer, and a straightforward implementation of the same steps to compare it with."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import lmdb
import numpy as np

HEIGHT, WIDTH, SIDE, BATCH = 375, 500, 300, 8
QUALITY = 95
MEAN = (104.0, 117.0, 123.0)
MAX_EXPAND = 4.0
OVERLAPS: tuple[dict[str, float], ...] = (
    {"min": 0.1},
    {"min": 0.3},
    {"min": 0.5},
    {"min": 0.7},
    {"min": 0.9},
    {"max": 1.0},
)
INTERPOLATIONS = (cv2.INTER_LINEAR, cv2.INTER_AREA, cv2.INTER_NEAREST, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
SAMPLER = """batch_sampler {{
    sampler {{ min_scale: 0.3 max_scale: 1 min_aspect_ratio: 0.5 max_aspect_ratio: 2 }}
    sample_constraint {{ {bound}_jaccard_overlap: {value} }} max_sample: 1 max_trials: 50 }}"""
# What SSD's authors state for the training on VOC.
LAYER = """
layer {{ name: "data" type: "AnnotatedData" top: "data" top: "label" include {{ phase: TRAIN }}
  transform_param {{
    mirror: true mean_value: 104 mean_value: 117 mean_value: 123
    resize_param {{ prob: 1 resize_mode: WARP height: {side} width: {side}
      interp_mode: LINEAR interp_mode: AREA interp_mode: NEAREST interp_mode: CUBIC interp_mode: LANCZOS4 }}
    emit_constraint {{ emit_type: CENTER }}
    distort_param {{ brightness_prob: 0.5 brightness_delta: 32 contrast_prob: 0.5 contrast_lower: 0.5
      contrast_upper: 1.5 hue_prob: 0.5 hue_delta: 18 saturation_prob: 0.5 saturation_lower: 0.5 saturation_upper: 1.5
      random_order_prob: 0 }}
    expand_param {{ prob: 0.5 max_expand_ratio: 4 }} }}
  data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }}
  annotated_data_param {{ batch_sampler {{ max_sample: 1 max_trials: 1 }} {samplers} }} }}
"""


def layer_text(source: Path, batch: int = BATCH) -> str:
    """The data layer of SSD300's training, on another database."""
    samplers = " ".join(
        SAMPLER.format(bound=bound, value=value) for overlap in OVERLAPS for bound, value in overlap.items()
    )
    return LAYER.format(source=source, batch=batch, side=SIDE, samplers=samplers)


@dataclass(frozen=True)
class Labelled:
    """A JPEG file and its boxes: tuples (label, xmin, ymin, xmax, ymax), in fractions of its sides."""

    file: Any
    boxes: list[tuple[float, ...]]


def pictures(count: int) -> list[Labelled]:
    """Pictures as hard to encode as photographs, with one to five boxes, from a fixed seed."""
    random = np.random.default_rng(1)
    found = []
    for _ in range(count):
        values = np.zeros((HEIGHT, WIDTH, 3), np.float32)
        for scale in (4, 8, 16, 32, 64, 128, 256, 512):
            noise = random.normal(0, 90 / scale**0.5, (scale, scale, 3)).astype(np.float32)
            values += cv2.resize(noise, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
        boxes = []
        for _ in range(int(random.integers(1, 6))):
            sides = random.uniform(0.1, 0.8, 2)
            low = random.uniform(0, 1 - sides)
            boxes.append((float(random.integers(1, 21)), *low.tolist(), *(low + sides).tolist()))
            corners = (np.array(boxes[-1][1:]) * (WIDTH, HEIGHT, WIDTH, HEIGHT)).astype(int).tolist()
            cv2.ellipse(
                values,
                ((corners[0] + corners[2]) // 2, (corners[1] + corners[3]) // 2),
                ((corners[2] - corners[0]) // 2, (corners[3] - corners[1]) // 2),
                0,
                0,
                360,
                tuple(random.normal(0, 50, 3)),
                9,
            )
        picture = np.clip(values + 120, 0, 255).astype(np.uint8)
        found.append(Labelled(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1], boxes))
    return found


def write(folder: Path, items: list[Labelled]) -> Path:
    """An LMDB of the pictures."""
    from caffecompat.data.databases import LmdbWriter
    from caffecompat.data.lmdb_writer import record_key
    from caffecompat.schema import caffe_pb2

    with LmdbWriter(folder / "lmdb") as writer:
        for number, item in enumerate(items):
            record = caffe_pb2.AnnotatedDatum(type=caffe_pb2.AnnotatedDatum.BBOX)
            record.datum.data, record.datum.encoded = item.file.tobytes(), True
            record.datum.channels, record.datum.height, record.datum.width = 3, HEIGHT, WIDTH
            for label, *corners in item.boxes:
                one = record.annotation_group.add(group_label=int(label)).annotation.add()
                one.bbox.xmin, one.bbox.ymin, one.bbox.xmax, one.bbox.ymax = corners
            writer.put(record_key(number, f"{number}.jpg"), record.SerializeToString())
    return folder / "lmdb"


def data_layer(database: Path, batches: int) -> Callable[[], object]:
    """The layer, by one thread: a call reads so many batches."""
    from caffecompat import Net
    from caffecompat.data.draws import Draws
    from caffecompat.data.source import Reading
    from caffecompat.formats import parse_net
    from caffecompat.graph import build_graph

    graph = build_graph(parse_net(layer_text(database)), "TRAIN")
    net = Net(graph, reading=Reading(draws=Draws(1), workers=0))

    def run() -> None:
        for _ in range(batches):
            net()

    return run


def plain(environment: lmdb.Environment, batches: int, jpegs: bool) -> Callable[[], object]:
    """The straightforward implementation: a call makes so many batches.

    Args:
        environment: the LMDB that `write` made.
        batches: how many.
        jpegs: encode and decode after the distortion and the expansion too, as the original does; else only after the
            crop.
    """
    with environment.begin() as transaction:
        # As ours, a call goes on where the last one ended: in a few pictures over and over, caches would help.
        keys = itertools.cycle(list(transaction.cursor().iternext(values=False)))
    random = np.random.RandomState(1)
    data = np.empty((BATCH, 3, SIDE, SIDE), np.float32)

    def run() -> None:
        with environment.begin() as transaction:
            for _ in range(batches):
                rows = []
                for place in range(BATCH):
                    boxes = augment(read(transaction.get(next(keys))), random, data[place], jpegs)
                    rows += [(place, *box) for box in boxes]
                np.array(rows or [(-1,) * 6], np.float32)

    return run


def read(record: bytes) -> Labelled:
    """The picture and the boxes in a record."""
    from caffecompat.schema import caffe_pb2

    found = caffe_pb2.AnnotatedDatum.FromString(record)
    boxes = [
        (float(group.group_label), one.bbox.xmin, one.bbox.ymin, one.bbox.xmax, one.bbox.ymax)
        for group in found.annotation_group
        for one in group.annotation
    ]
    return Labelled(np.frombuffer(found.datum.data, np.uint8), boxes)


def augment(item: Labelled, random: np.random.RandomState, out: Any, jpegs: bool) -> list[tuple[float, ...]]:
    """Distort, expand, sample, crop, resize, mirror, subtract the mean: the boxes that are left."""
    image, boxes = cv2.imdecode(item.file, cv2.IMREAD_COLOR), item.boxes
    image = distort(image, random)
    image = through_jpeg(image) if jpegs else image
    if random.rand() <= 0.5:
        image, boxes = expand(image, boxes, random)
        image = through_jpeg(image) if jpegs else image
    frames = sampled(boxes, random)
    if frames:
        frame = frames[random.randint(len(frames))]
        height, width = image.shape[:2]
        left, top = int(frame[0] * width), int(frame[1] * height)
        right, bottom = left + int((frame[2] - frame[0]) * width), top + int((frame[3] - frame[1]) * height)
        image = through_jpeg(np.ascontiguousarray(image[top:bottom, left:right]))
        boxes = projected(boxes, frame)
    image = cv2.resize(image, (SIDE, SIDE), interpolation=INTERPOLATIONS[random.randint(len(INTERPOLATIONS))])
    if random.randint(2):
        image = image[:, ::-1]
        boxes = [(label, 1 - xmax, ymin, 1 - xmin, ymax) for label, xmin, ymin, xmax, ymax in boxes]
    out[...] = (image.astype(np.float32) - np.float32(MEAN)).transpose(2, 0, 1)
    return boxes


def through_jpeg(image: Any) -> Any:
    """The picture after it was encoded and decoded."""
    return cv2.imdecode(cv2.imencode(".jpg", image)[1], cv2.IMREAD_COLOR)


def distort(image: Any, random: np.random.RandomState) -> Any:
    """The whole picture in changed colours."""
    contrast_first = random.rand() > 0.5
    if random.rand() < 0.5:
        image = cv2.addWeighted(image, 1, image, 0, random.uniform(-32, 32))
    if contrast_first and random.rand() < 0.5:
        image = cv2.addWeighted(image, random.uniform(0.5, 1.5), image, 0, 0)
    if random.rand() < 0.5:
        hsv = list(cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2HSV)))
        hsv[1] = cv2.addWeighted(hsv[1], random.uniform(0.5, 1.5), hsv[1], 0, 0)
        image = cv2.cvtColor(cv2.merge(hsv), cv2.COLOR_HSV2BGR)
    if random.rand() < 0.5:
        hsv = list(cv2.split(cv2.cvtColor(image, cv2.COLOR_BGR2HSV)))
        hsv[0] = cv2.addWeighted(hsv[0], 1, hsv[0], 0, random.uniform(-18, 18))
        image = cv2.cvtColor(cv2.merge(hsv), cv2.COLOR_HSV2BGR)
    if not contrast_first and random.rand() < 0.5:
        image = cv2.addWeighted(image, random.uniform(0.5, 1.5), image, 0, 0)
    return image


def expand(
    image: Any, boxes: list[tuple[float, ...]], random: np.random.RandomState
) -> tuple[Any, list[tuple[float, ...]]]:
    """The picture at a random place of a canvas of the mean's colour."""
    ratio = random.uniform(1, MAX_EXPAND)
    height, width = int(HEIGHT * ratio), int(WIDTH * ratio)
    top, left = int(random.uniform(0, height - HEIGHT)), int(random.uniform(0, width - WIDTH))
    canvas = cv2.copyMakeBorder(
        image, top, height - HEIGHT - top, left, width - WIDTH - left, cv2.BORDER_CONSTANT, value=MEAN
    )
    moved = [
        (
            label,
            (xmin * WIDTH + left) / width,
            (ymin * HEIGHT + top) / height,
            (xmax * WIDTH + left) / width,
            (ymax * HEIGHT + top) / height,
        )
        for label, xmin, ymin, xmax, ymax in boxes
    ]
    return canvas, moved


def sampled(boxes: list[tuple[float, ...]], random: np.random.RandomState) -> list[tuple[float, ...]]:
    """The frames that the samplers find."""
    frames: list[tuple[float, ...]] = [(0.0, 0.0, 1.0, 1.0)]
    for overlap in OVERLAPS:
        low, high = overlap.get("min", -1.0), overlap.get("max", 2.0)
        for _ in range(50):
            scale, aspect = random.uniform(0.3, 1), random.uniform(0.5, 2)
            aspect = min(max(aspect, scale**2), 1 / scale**2)
            width, height = scale * math.sqrt(aspect), scale / math.sqrt(aspect)
            left, top = random.uniform(0, 1 - width), random.uniform(0, 1 - height)
            frame = (left, top, left + width, top + height)
            if any(low <= jaccard(frame, box) <= high for box in boxes):
                frames.append(frame)
                break
    return frames


def jaccard(frame: tuple[float, ...], box: tuple[float, ...]) -> float:
    """The overlap of a frame and a box (label, corners)."""
    _, xmin, ymin, xmax, ymax = box
    width = min(frame[2], xmax) - max(frame[0], xmin)
    height = min(frame[3], ymax) - max(frame[1], ymin)
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((frame[2] - frame[0]) * (frame[3] - frame[1]) + (xmax - xmin) * (ymax - ymin) - both)


def projected(boxes: list[tuple[float, ...]], frame: tuple[float, ...]) -> list[tuple[float, ...]]:
    """The boxes whose centre is in the frame, clipped to it."""
    width, height = frame[2] - frame[0], frame[3] - frame[1]
    found = []
    for label, xmin, ymin, xmax, ymax in boxes:
        x, y = (xmin + xmax) / 2, (ymin + ymax) / 2
        if frame[0] <= x <= frame[2] and frame[1] <= y <= frame[3]:
            corners = ((xmin - frame[0]) / width, (ymin - frame[1]) / height)
            corners += ((xmax - frame[0]) / width, (ymax - frame[1]) / height)
            found.append((label, *(min(max(value, 0.0), 1.0) for value in corners)))
    return found
