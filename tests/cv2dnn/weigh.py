"""Make the weights of the tiny nets of `tests/reference/cv2dnn`: `python -m tests.cv2dnn.weigh`.

They are drawn so that each net's answers differ from place to place. Layers that a sample's program sets by itself
have none in the file.
"""

from __future__ import annotations

import numpy as np

from caffecompat import load
from caffecompat.formats import write_caffemodel
from caffecompat.layers.base import Layer
from caffecompat.net.saving import net_message
from tests.cv2dnn.programs import PROGRAMS, REFERENCE

SET_BY_THE_PROGRAM = {"class8_ab", "conv8_rh"}


def values(layer: Layer, random: np.random.RandomState) -> list[np.ndarray]:
    if layer.spec.name in SET_BY_THE_PROGRAM:
        return []
    shapes = [tuple(blob.shape) for blob in layer.blobs]
    if layer.spec.type == "BatchNorm":
        mean, variance = random.normal(0, 0.3, shapes[0]), random.uniform(0.5, 2, shapes[1])
        return [(2 * mean).astype(np.float32), (2 * variance).astype(np.float32), np.full(1, 2, np.float32)]
    spread = [np.sqrt(3 / max(np.prod(shape[1:]), 1)) if len(shape) > 1 else 0.5 for shape in shapes]
    return [random.normal(0, size, shape).astype(np.float32) for size, shape in zip(spread, shapes, strict=True)]


def main() -> None:
    for number, name in enumerate(PROGRAMS):
        shapes = {"image": (1, 3, 46, 46)} if name == "openpose" else None
        net = load(REFERENCE / f"{name}.prototxt", input_shapes=shapes)
        random = np.random.RandomState(number)
        blobs = [values(layer, random) for layer in net.layers]
        write_caffemodel(REFERENCE / f"{name}.caffemodel", net_message(net), blobs)


if __name__ == "__main__":
    main()
