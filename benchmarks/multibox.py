"""SSD's own layers at SSD300's size (8,732 priors, 21 classes): median and least time in ms.

    python benchmarks/multibox.py [--runs 30]

* MultiBoxLoss, forward and backward, on 8 images with 2 and with 8 boxes each, at the settings of SSD300's training;
* DetectionOutput, an image of which 600 and of which 90,000 scores lie above the confidence threshold.

Ground truth and predictions are random with a fixed seed; the priors are SSD300's. The first pass, which loads and
compiles, is not counted. OMP_NUM_THREADS sets the number of threads.
"""

from __future__ import annotations

import argparse
import sys
from math import sqrt
from pathlib import Path

import torch
from timing import milliseconds
from torch import Tensor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CLASSES = 21
IMAGES = 8
# Of each source of SSD300: places a side, step in pixels, least and greatest side of its boxes, more aspect ratios.
SOURCES = (
    (38, 8, 30, 60, (2,)),
    (19, 16, 60, 111, (2, 3)),
    (10, 32, 111, 162, (2, 3)),
    (5, 64, 162, 213, (2, 3)),
    (3, 100, 213, 264, (2,)),
    (1, 300, 264, 315, (2,)),
)
VARIANCES = (0.1, 0.1, 0.2, 0.2)
LOSS = """
layer {{ name: "in" type: "Input" top: "loc" top: "conf" top: "priors" top: "truth"
  input_param {{ shape {{ dim: {images} dim: {loc} }} shape {{ dim: {images} dim: {conf} }}
    shape {{ dim: 1 dim: 2 dim: {loc} }} shape {{ dim: 1 dim: 1 dim: {boxes} dim: 8 }} }} }}
layer {{ name: "loss" type: "MultiBoxLoss" bottom: "loc" bottom: "conf" bottom: "priors" bottom: "truth" top: "loss"
  loss_param {{ normalization: VALID }}
  multibox_loss_param {{ {param} }} }}
"""
# As in SSD300's training.
LOSS_PARAM = """loc_loss_type: SMOOTH_L1 conf_loss_type: SOFTMAX num_classes: {classes}
  match_type: PER_PREDICTION overlap_threshold: 0.5 use_difficult_gt: true neg_pos_ratio: 3 neg_overlap: 0.5
  code_type: CENTER_SIZE mining_type: MAX_NEGATIVE"""
DETECTION = """
layer {{ name: "in" type: "Input" top: "loc" top: "conf" top: "priors"
  input_param {{ shape {{ dim: 1 dim: {loc} }} shape {{ dim: 1 dim: {conf} }} shape {{ dim: 1 dim: 2 dim: {loc} }} }} }}
layer {{ name: "out" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "priors" top: "out"
  detection_output_param {{ num_classes: {classes} nms_param {{ nms_threshold: 0.45 top_k: 400 }}
    code_type: CENTER_SIZE keep_top_k: 200 confidence_threshold: 0.01 }} }}
"""


def priors() -> Tensor:
    """SSD300's prior boxes and their variances, (1, 2, 34928)."""
    boxes = []
    for places, step, least, greatest, ratios in SOURCES:
        sides = [(least, least), (sqrt(least * greatest),) * 2]
        for ratio in ratios:
            sides += [(least * sqrt(ratio), least / sqrt(ratio)), (least / sqrt(ratio), least * sqrt(ratio))]
        for y in range(places):
            for x in range(places):
                cx, cy = (x + 0.5) * step, (y + 0.5) * step
                boxes += [(cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2) for w, h in sides]
    corners = torch.tensor(boxes) / 300
    return torch.stack([corners.flatten(), torch.tensor(VARIANCES).repeat(len(boxes))])[None]


def truth(boxes: int) -> Tensor:
    """Ground truth of `boxes` boxes an image, (1, 1, rows, 8)."""
    rows = torch.zeros(IMAGES * boxes, 8)
    rows[:, 0] = torch.arange(IMAGES).repeat_interleave(boxes)
    rows[:, 1] = torch.randint(1, CLASSES, (len(rows),))
    side = 0.1 + 0.4 * torch.rand(len(rows), 2)
    rows[:, 3:5] = torch.rand(len(rows), 2) * (1 - side)
    rows[:, 5:7] = rows[:, 3:5] + side
    return rows[None, None]


def scores(places: int, above: int) -> Tensor:
    """Scores of an image, (1, places * classes), of which `above`, none of them the background's, reach 0.01."""
    found = torch.full((places, CLASSES), 0.001)
    chosen = torch.randperm(places * (CLASSES - 1))[:above]
    found[chosen // (CLASSES - 1), 1 + chosen % (CLASSES - 1)] = 0.01 + 0.9 * torch.rand(above)
    return found.reshape(1, -1)


def show(what: str, taken: tuple[float, float]) -> None:
    """Print a row of the table."""
    print(f"{what:38} {taken[0]:8.1f} {taken[1]:8.1f}")


def main() -> None:
    """Measure and print one table."""
    from caffecompat import Net
    from caffecompat.formats import parse_net
    from caffecompat.graph import build_graph

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    runs = parser.parse_args().runs
    torch.manual_seed(1)
    boxes = priors()
    width = boxes.shape[2]
    sizes = {"loc": width, "conf": width // 4 * CLASSES, "classes": CLASSES}
    param = LOSS_PARAM.format(classes=CLASSES)

    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {width // 4:,} priors")
    print(f"{'ms':38} {'median':>8} {'least':>8}")
    for count in (2, 8):
        net = Net(
            build_graph(parse_net(LOSS.format(images=IMAGES, boxes=IMAGES * count, param=param, **sizes)), "TRAIN")
        )
        inputs = {"loc": torch.randn(IMAGES, width), "conf": torch.randn(IMAGES, sizes["conf"])}
        for tensor in inputs.values():
            tensor.requires_grad_()
        labels = truth(count)

        def train() -> None:
            net.loss(net(**inputs, priors=boxes, truth=labels)).backward()  # type: ignore[no-untyped-call]  # noqa: B023
            for tensor in inputs.values():  # noqa: B023
                tensor.grad = None

        show(f"MultiBoxLoss, {IMAGES} images, {count} boxes each", milliseconds(train, runs))

    net = Net(build_graph(parse_net(DETECTION.format(**sizes))))
    loc = 0.5 * torch.randn(1, width)
    for above in (600, 90_000):
        conf = scores(width // 4, above)
        with torch.inference_mode():
            taken = milliseconds(lambda: net(loc=loc, conf=conf, priors=boxes), runs)  # noqa: B023
        show(f"DetectionOutput, {above:,} candidates", taken)


if __name__ == "__main__":
    main()
