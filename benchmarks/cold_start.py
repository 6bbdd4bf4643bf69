"""Cold start: from the start of a process to the first detections of SSD300 on a picture.

    python benchmarks/cold_start.py [--runs 5] [--engine torch]

Three kinds of process take turns, with all files in the page cache and compiled modules kept:

* imports: `python -c "import torch, cv2"`;
* detect: `python -m caffecompat detect` on one PNG;
* forward: `caffecompat.load` and two forward passes, of which the second is timed inside: one plain forward.

What is printed last is what detect adds to the first and one plain forward; the bar is 0.7 s.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

BAR = 0.7
FORWARD = """
import time, torch, caffecompat, warnings
warnings.simplefilter("ignore")
net = caffecompat.load({prototxt!r}, {weights!r})
data = torch.zeros(1, 3, 300, 300)
with torch.inference_mode():
    net(data=data)
    start = time.perf_counter()
    net(data=data)
    print(time.perf_counter() - start)
"""


def seconds(command: list[str]) -> tuple[float, str]:
    """How long a process takes, and what it prints."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    environment["PYTHONPATH"] = str(ROOT)
    start = time.perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return time.perf_counter() - start, done.stdout


def main() -> None:
    """Measure and print."""
    from inference_files import cases, make_files

    from tests.support import SHARED

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--engine", help="let this engine run the net")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files, _ = make_files("SSD300", cases(None)["SSD300"], SHARED, Path(folder))
        picture = Path(folder) / "picture.png"
        pixels = np.random.default_rng(0).integers(0, 256, (375, 500, 3), dtype=np.uint8)
        picture.write_bytes(cv2.imencode(".png", pixels)[1].tobytes())
        detect = [sys.executable, "-m", "caffecompat", "detect", files["prototxt"], "-w", files["weights"]]
        detect += [str(picture), "--threshold", "0.01"] + (["--engine", args.engine] if args.engine else [])
        times: dict[str, list[float]] = {"imports": [], "detect": [], "forward": []}
        for run in range(args.runs + 1):
            found = {
                "imports": seconds([sys.executable, "-c", "import torch, cv2"])[0],
                "detect": seconds(detect)[0],
                "forward": float(seconds([sys.executable, "-c", FORWARD.format(**files)])[1]),
            }
            # The first run of all may have compiled modules.
            for name, value in found.items():
                times[name] += [value] if run else []
    middle = {name: median(values) for name, values in times.items()}
    for name, value in middle.items():
        print(f"{name:8} {value:6.2f} s (least {min(times[name]):.2f})")
    added = median(d - i - f for d, i, f in zip(times["detect"], times["imports"], times["forward"], strict=True))
    print(f"detect adds {added:.2f} s; the bar is {BAR} s")


if __name__ == "__main__":
    main()
