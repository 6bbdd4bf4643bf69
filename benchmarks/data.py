"""Images/s of the Data layer, against a plain loop of cv2.imdecode and NumPy.

    python benchmarks/data.py [--images 512] [--batch 64] [--batches 12] [--pairs 9] [--workers 2]

Both read the same 256x256 JPEGs in colour (quality 90), cut 227x227 out at random, mirror half of them, subtract a
mean image in single precision and put them into a batch, channels first.

* The Data layer: `Data` with crop_size 227, mirror and mean_file, on an LMDB, by its prefetching threads.
* The loop: one thread, JPEGs in memory; cuts before it converts, and writes into one batch over and over.

The pictures are made from a fixed seed: noise of many scales, as photographs have, and edges. OpenCV keeps its own
number of threads in both, which JPEG decoding does not use. Pairs of runs are interleaved; the ratio is the median of
the pairs' ratios.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

SIDE, CROP = 256, 227
QUALITY = 90
NET = """
layer {{ name: "data" type: "Data" top: "data" top: "label"
  transform_param {{ crop_size: {crop} mirror: true mean_file: "{folder}/mean.binaryproto" }}
  data_param {{ source: "{folder}/lmdb" backend: LMDB batch_size: {batch} }} }}
"""


def picture(random: np.random.Generator) -> np.ndarray:
    """A picture that is as hard to decode as a photograph: uint8 (side, side, 3)."""
    values = np.zeros((SIDE, SIDE, 3), np.float32)
    for scale in (4, 8, 16, 32, 64, 128, 256):
        noise = random.normal(0, 60 / scale**0.5, (scale, scale, 3)).astype(np.float32)
        values += cv2.resize(noise, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    for _ in range(8):
        corners = random.integers(0, SIDE, (3, 2)).astype(np.int32)
        cv2.fillConvexPoly(values, corners, tuple(random.normal(0, 50, 3)))
    return np.clip(values + 120, 0, 255).astype(np.uint8)


def make(folder: Path, count: int) -> list[np.ndarray]:
    """Write the LMDB and the mean into a folder; the JPEGs."""
    from caffecompat.data.databases import LmdbWriter
    from caffecompat.data.lmdb_writer import record_key
    from caffecompat.formats import write_mean
    from caffecompat.schema import caffe_pb2

    random = np.random.default_rng(1)
    files, total = [], np.zeros((3, SIDE, SIDE))
    with LmdbWriter(folder / "lmdb") as writer:
        for number in range(count):
            pixels = picture(random)
            total += pixels.transpose(2, 0, 1)
            files.append(cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1])
            datum = caffe_pb2.Datum(data=files[-1].tobytes(), label=number % 1000, encoded=True)
            writer.put(record_key(number, f"{number}.jpg"), datum.SerializeToString())
    write_mean(folder / "mean.binaryproto", total / count)
    return files


def plain(files: list[np.ndarray], folder: Path, batch: int, batches: int) -> Callable[[], object]:
    """The loop, as a call."""
    from caffecompat.formats import read_mean

    mean = np.ascontiguousarray(read_mean(folder / "mean.binaryproto").transpose(1, 2, 0))
    data, labels = np.empty((batch, 3, CROP, CROP), np.float32), np.empty(batch, np.float32)
    random = np.random.RandomState(1)

    def run() -> None:
        number = 0
        for _ in range(batches):
            for place in range(batch):
                image = cv2.imdecode(files[number % len(files)], cv2.IMREAD_UNCHANGED)
                top, left = random.randint(SIDE - CROP + 1, size=2)
                cut = image[top : top + CROP, left : left + CROP] - mean[top : top + CROP, left : left + CROP]
                if random.randint(2):
                    cut = cut[:, ::-1]
                data[place] = cut.transpose(2, 0, 1)
                labels[place] = number % 1000
                number += 1

    return run


def layer(folder: Path, batch: int, batches: int, workers: int) -> Callable[[], object]:
    """The Data layer, as a call."""
    from caffecompat import Net
    from caffecompat.data.draws import Draws
    from caffecompat.data.source import Reading
    from caffecompat.formats import parse_net
    from caffecompat.graph import build_graph

    graph = build_graph(parse_net(NET.format(crop=CROP, folder=folder, batch=batch)), "TRAIN")
    net = Net(graph, reading=Reading(draws=Draws(1), workers=workers))

    def run() -> None:
        for _ in range(batches):
            net()

    return run


def seconds(call: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main() -> None:
    """Measure and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 512), ("batch", 64), ("batches", 12), ("pairs", 9), ("workers", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = make(folder, options.images)
        loop = plain(files, folder, options.batch, options.batches)
        data = layer(folder, options.batch, options.batches, options.workers)
        loop(), data()
        pairs = [(seconds(loop), seconds(data)) for _ in range(options.pairs)]
    count = options.batch * options.batches
    size = sum(map(len, files)) / len(files) / 1024
    print(
        f"OpenCV {cv2.__version__}, {options.images} JPEGs of {SIDE}x{SIDE}, {size:.0f} KiB each, batch {options.batch}"
    )
    print(f"{'images/s':38} {'median':>8} {'best':>8}")
    for what, times in zip(
        ("plain loop", f"Data layer, {options.workers} threads"), zip(*pairs, strict=True), strict=True
    ):
        print(f"{what:38} {count / median(times):8.0f} {count / min(times):8.0f}")
    print(f"{'ratio, median of the pairs':38} {median(plain / ours for plain, ours in pairs):8.2f}")


if __name__ == "__main__":
    main()
