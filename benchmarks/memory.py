"""Memory that SSD300 takes: how resident memory grows from before loading to after the first forward.

    python benchmarks/memory.py [--opencv-python .venv-peers/bin/python] [--runs 3] [--engines torch onnxruntime]

Each figure is from a process of its own, which has imported what it needs (for ours also `import caffecompat`'s lazy
parts: torch and the layers) before the first reading. VmRSS counts every page; PSS counts those of files that other
processes map too in parts. Read from /proc/self/smaps_rollup, medians of the runs. "net" is `caffecompat.load` and a
call; the others are `caffecompat.optimize` and a call besides.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

SIDE = 300
READING = """
import json, sys
import numpy as np

def resident():
    with open("/proc/self/smaps_rollup") as file:
        lines = dict(line.split()[:2] for line in file)
    return [int(lines[name]) / 1024 for name in ("Rss:", "Pss:")]

data = np.random.default_rng(0).standard_normal((1, 3, {side}, {side}), dtype=np.float32) * 60
"""
OURS = """
import torch, warnings
warnings.simplefilter("ignore")
torch.set_num_threads(2)
sys.path.insert(0, {root!r})
import caffecompat, caffecompat.net, caffecompat.engines.optimizing
before = resident()
net = caffecompat.load({prototxt!r}, {weights!r})
engine = {engine!r}
with torch.inference_mode():
    if engine == "net":
        net(data=torch.from_numpy(data))
    else:
        run = caffecompat.optimize(net, engine, example=dict(data=data))
        run(data=data)
"""
OPENCV = """
import cv2
cv2.setNumThreads(2)
before = resident()
net = cv2.dnn.readNetFromCaffe({prototxt!r}, {weights!r})
net.setInput(data)
net.forward()
"""
END = "\nprint(json.dumps([after - first for after, first in zip(resident(), before)]))"


def growth(python: str, code: str) -> tuple[float, float]:
    """MiB by which VmRSS and PSS grow, in one process."""
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    rss, pss = json.loads(done.stdout.splitlines()[-1])
    return rss, pss


def main() -> None:
    """Measure and print one table."""
    from inference_files import cases, make_files

    from tests.support import SHARED

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opencv-python", help="a Python that has OpenCV 4 (see requirements.txt)")
    parser.add_argument("--engines", nargs="*", default=["torch", "onnxruntime", "openvino", "opencv"])
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files, _ = make_files("SSD300", cases(None)["SSD300"], SHARED, Path(folder))
        place = {"side": SIDE, "root": str(ROOT), **files}
        codes = {
            name: (sys.executable, READING.format(**place) + OURS.format(**place, engine=name) + END)
            for name in ("net", *args.engines)
        }
        if args.opencv_python:
            codes["cv2.dnn 4"] = (args.opencv_python, READING.format(**place) + OPENCV.format(**place) + END)
        print(f"{'program':12} {'VmRSS MiB':>10} {'PSS MiB':>10}")
        for name, (python, code) in codes.items():
            found = [growth(python, code) for _ in range(args.runs)]
            print(
                f"{name:12} {median(rss for rss, _ in found):10.0f} {median(pss for _, pss in found):10.0f}", flush=True
            )


if __name__ == "__main__":
    main()
