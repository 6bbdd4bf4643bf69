"""A large drawn detection set: how fast it is converted, and whether training on it ever waits for data.

    python benchmarks/ssd_starvation.py [--pictures 20000] [--small 300] [--ssd300 5]

* draw: pictures of 200x200 to 375x500 with one to six shapes of 20 classes (five shapes in four colours) on a textured
  ground, as JPEGs with XML files, in a temporary folder.
* convert: `caffecompat data annoset` makes the LMDB of them. Per core is by the processor time that it took, all of its
  threads and its start included.
* train: SSD300 with its authors' augmentation and batch size, 8, and the small net of tests/reference/ssd_training,
  with its own data layer and with that augmentation. The data layer has two threads. Stated are how many batches were
  ready when they were asked for, and what of the time the iterations spent in asking: a batch that is ready is handed
  over at once, but there may be more threads than cores, and Python runs one at a time.
"""

from __future__ import annotations

import argparse
import re
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import ssd_data  # noqa: E402
from ssd_net import net_text  # noqa: E402

from caffecompat.solver import Solver  # noqa: E402

SMALL = ROOT / "tests" / "reference" / "ssd_training" / "ssd_shapes" / "train.prototxt"
SHAPES = ("circle", "square", "triangle", "diamond", "bar")
COLOURS = {"red": (40, 40, 230), "green": (40, 200, 40), "blue": (230, 80, 40), "yellow": (40, 220, 230)}
CLASSES = [f"{colour}_{shape}" for colour in COLOURS for shape in SHAPES]
SOLVER = """train_net: "{net}" base_lr: 0.0005 lr_policy: "fixed" momentum: 0.9 weight_decay: 0.0005
  type: "SGD" snapshot_after_train: false solver_mode: CPU random_seed: 1
"""
OBJECT = """<object><name>{}</name><difficult>0</difficult>
<bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>
"""
PROCESSES = 2
# These iterations start the threads and fill what is ahead.
FIRST = 3


def shape(kind: str, left: int, top: int, side: int) -> np.ndarray:
    """The corners of a shape, int32 (N, 2), in a square."""
    half, third = side // 2, side // 3
    right, bottom = left + side, top + side
    corners = {
        "square": [(left, top), (right, top), (right, bottom), (left, bottom)],
        "triangle": [(left + half, top), (left, bottom), (right, bottom)],
        "diamond": [(left + half, top), (right, top + half), (left + half, bottom), (left, top + half)],
        "bar": [(left, top), (right, top), (right, top + third), (left, top + third)],
    }
    return np.array(corners[kind], np.int32)


def draw(folder: Path, number: int) -> None:
    """Write one picture and its boxes."""
    random = np.random.default_rng(number)
    height, width = int(random.integers(200, 376)), int(random.integers(200, 501))
    ground = random.integers(60, 200, (12, 12, 3), dtype=np.uint8)
    picture = cv2.resize(ground, (width, height), interpolation=cv2.INTER_CUBIC)
    picture = cv2.add(
        picture, cv2.resize(random.integers(0, 40, (height // 3, width // 3, 3), np.uint8), (width, height))
    )
    objects = []
    for _ in range(int(random.integers(1, 7))):
        side = int(random.integers(30, 180))
        left, top = int(random.integers(0, width - side)), int(random.integers(0, height - side))
        name = CLASSES[random.integers(len(CLASSES))]
        colour, kind = name.split("_")
        if kind == "circle":
            half = side // 2
            cv2.circle(picture, (left + half, top + half), half, COLOURS[colour], -1, cv2.LINE_AA)
        else:
            cv2.fillPoly(picture, [shape(kind, left, top, side)], COLOURS[colour], cv2.LINE_AA)
        bottom = top + (side // 3 if kind == "bar" else side)
        objects.append(OBJECT.format(name, left + 1, top + 1, left + side + 1, bottom + 1))
    cv2.imwrite(str(folder / f"{number:05d}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    size = f"<size><width>{width}</width><height>{height}</height><depth>3</depth></size>"
    (folder / f"{number:05d}.xml").write_text(f"<annotation>{size}{''.join(objects)}</annotation>\n")


def draw_all(folder: Path, count: int) -> None:
    """Write the set: pictures, boxes, list.txt and labelmap.prototxt."""
    start = time.perf_counter()
    with ProcessPoolExecutor(PROCESSES) as pool:
        for _ in pool.map(partial(draw, folder), range(count), chunksize=100):
            pass
    (folder / "list.txt").write_text("".join(f"{number:05d}.jpg {number:05d}.xml\n" for number in range(count)))
    names = ["none_of_the_above", *CLASSES]
    (folder / "labelmap.prototxt").write_text(
        "".join(
            f'item {{ name: "{name}" label: {label} display_name: "{name}" }}\n' for label, name in enumerate(names)
        )
    )
    size = sum(path.stat().st_size for path in folder.glob("*.jpg")) / count / 1024
    print(f"draw: {count} pictures of {size:.0f} KiB, in {time.perf_counter() - start:.0f} s", flush=True)


def convert(folder: Path, count: int) -> Path:
    """The LMDB of the set."""
    command = [sys.executable, "-m", "caffecompat", "data", "annoset", "--anno-type", "detection", "--encoded"]
    command += ["--label-map-file", "labelmap.prototxt", ".", "list.txt", "lmdb"]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    print(f"convert: {wall:.1f} s, {count / wall:.0f} images/s; {count / used:.0f} images/s per core", flush=True)
    return folder / "lmdb"


def small_net(database: Path, augmented: bool) -> str:
    """The small net of the tests, made for these classes."""
    layers = SMALL.read_text()
    layers = layers.replace("num_classes: 4", f"num_classes: {len(CLASSES) + 1}")
    # Four priors at each place.
    outputs = 4 * (len(CLASSES) + 1)
    layers = re.sub(r"(_mbox_conf\" param .*?num_output: )\d+", rf"\g<1>{outputs}", layers)
    data, rest = layers.split("\n\n", 1)
    if augmented:
        data = ssd_data.layer_text(database).replace(
            f"height: {ssd_data.SIDE} width: {ssd_data.SIDE}", "height: 96 width: 96"
        )
    else:
        data = data.replace("shapes/trainval_lmdb", str(database))
        data = data.replace('label_map_file: "shapes/labelmap.prototxt"', "")
    return f"{data}\n{rest}"


def train(folder: Path, name: str, text: str, iterations: int) -> None:
    """Measure how long the iterations wait for their data."""
    (folder / "train.prototxt").write_text(text)
    (folder / "solver.prototxt").write_text(SOLVER.format(net=folder / "train.prototxt"))
    solver = Solver.from_prototxt(folder / "solver.prototxt")
    (reader,) = solver.net.readers
    following, ready, waits, times = reader.next, [], [], []

    def timed() -> tuple[torch.Tensor, ...]:
        ready.append(bool(reader._ahead) and reader._ahead[0][0].done())
        start = time.perf_counter()
        tops = following()
        waits.append(time.perf_counter() - start)
        return tops

    reader.next = timed  # type: ignore[method-assign]
    try:
        for _ in range(FIRST + iterations):
            start = time.perf_counter()
            solver.step(1)
            times.append(time.perf_counter() - start)
    finally:
        solver.close()
    ready, times, waits = ready[FIRST:], times[FIRST:], waits[FIRST:]
    print(
        f"train {name}: {median(times) * 1e3:.1f} ms an iteration; {sum(ready)} of {iterations} batches were ready; "
        f"asking took {median(waits) * 1e3:.2f} ms, {median(waits) / median(times):.2%} of an iteration",
        flush=True,
    )


def main() -> None:
    """Draw, convert, train, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--small", type=int, default=300, help="iterations of the small net")
    parser.add_argument("--ssd300", type=int, default=5, help="iterations of SSD300")
    given = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_all(folder, given.pictures)
        database = convert(folder, given.pictures)
        train(folder, "the small net, its own data layer", small_net(database, augmented=False), given.small)
        train(folder, "the small net, SSD300's augmentation", small_net(database, augmented=True), given.small)
        train(folder, "SSD300", net_text(ssd_data.layer_text(database)), given.ssd300)


if __name__ == "__main__":
    main()
