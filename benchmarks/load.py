"""Loading: from prototxt and weight file to a module of which every parameter has been read once (a sum).

    python benchmarks/load.py [--opencv-python PYTHON] [--runs 7]

Makes a seeded VGG-16 file (about 528 MiB) and SSD300's (100 MiB) in a temporary folder and measures, in
interleaved fresh processes with the files in the page cache:

* ours: `caffecompat.load`, and the sum;
* torch: the same net in plain PyTorch (built on the meta device, `safetensors.torch.load_file`,
  `load_state_dict(assign=True)`), and the sum;
* opencv: `cv2.dnn.readNetFromCaffe` of an OpenCV 4, if its Python is given (no sum).

"first" is the first load in a process that has imported torch (or cv2), "warm" the median of five more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[1]
PROTOTXTS = {
    "VGG-16": "vgg/VGG_ILSVRC_16_layers_deploy.prototxt",
    "SSD300": "ssd/SSD300_VOC0712/deploy.prototxt",
}

CHILD = """
import json, resource, sys, time
sys.path[:0] = {path!r}
def resident():
    return [int(l.split()[1]) for l in open("/proc/self/status") if l.startswith("VmRSS")][0] * 1024
{setup}
before = resident()
times, growth = [], 0
for _ in range({repeats}):
    start = time.perf_counter()
    net = load()
    times.append((time.perf_counter() - start) * 1e3)
    growth = growth or resident() - before
    del net
print(json.dumps(dict(first=times[0], warm=sorted(times[1:])[len(times[1:]) // 2], growth=growth)))
"""

OURS = """
import torch
import caffecompat
def load():
    net = caffecompat.load({prototxt!r}, {weights!r})
    sum(float(p.detach().sum()) for p in net.parameters())
    return net
"""

TORCH = """
import torch
import safetensors.torch
from load_peer import MODELS
def load():
    with torch.device("meta"):
        net = MODELS[{name!r}]()
    net.load_state_dict(safetensors.torch.load_file({safetensors!r}), assign=True)
    sum(float(p.detach().sum()) for p in net.parameters())
    return net
"""

OPENCV = """
import cv2
def load():
    return cv2.dnn.readNetFromCaffe({prototxt!r}, {weights!r})
"""


def make_files(name: str, prototxt: Path, folder: Path) -> dict[str, str]:
    """Seeded weights as a caffemodel and as the peer's safetensors, both read once into the page cache."""
    import safetensors.torch
    import torch

    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
    from load_peer import MODELS

    import caffecompat
    from caffecompat.export import export

    torch.manual_seed(1)
    net = caffecompat.load(prototxt)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.01)
    weights, peer = folder / f"{name}.caffemodel", folder / f"{name}.safetensors"
    export(net, weights)
    values = [blob for layer in net.layers for blob in layer.blobs]
    with torch.device("meta"):
        keys = list(MODELS[name]().state_dict())
    assert len(keys) == len(values), (len(keys), len(values))
    safetensors.torch.save_file({k: v.detach().reshape_as(v) for k, v in zip(keys, values, strict=True)}, peer)
    for path in (weights, peer):
        path.read_bytes()
    return {"prototxt": str(prototxt), "weights": str(weights), "safetensors": str(peer), "name": name}


def measure(python: str, setup: str, repeats: int) -> dict[str, float]:
    """Times in ms and growth of resident memory in bytes, from one fresh process."""
    code = CHILD.format(path=[str(ROOT), str(ROOT / "benchmarks")], setup=setup, repeats=repeats)
    # Compiled modules are kept, as an installed package has them.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True, env=environment)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    """Measure and print one table; bars are those of the project's plan."""
    sys.path.insert(0, str(ROOT))
    from tests.support import SHARED

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prototxts", type=Path, default=SHARED / "prototxt", help="the folder of published nets")
    parser.add_argument("--opencv-python", help="a Python that has OpenCV 4 (see requirements.txt)")
    parser.add_argument("--runs", type=int, default=7)
    args = parser.parse_args()
    print(f"{'net':8} {'loader':8} {'first ms':>9} {'warm ms':>9} {'memory / file':>14}")
    with tempfile.TemporaryDirectory() as folder:
        for name, where in PROTOTXTS.items():
            files = make_files(name, args.prototxts / where, Path(folder))
            size = Path(files["weights"]).stat().st_size
            loaders = {"ours": (sys.executable, OURS, 6), "torch": (sys.executable, TORCH, 6)}
            if args.opencv_python:
                loaders["opencv"] = (args.opencv_python, OPENCV, 2)
            results: dict[str, list[dict[str, float]]] = {loader: [] for loader in loaders}
            for run in range(args.runs + 1):
                for loader, (python, setup, repeats) in loaders.items():
                    figures = measure(python, setup.format(**files), repeats)
                    # The first run of all may have compiled modules.
                    if run:
                        results[loader].append(figures)
            middle = {
                loader: {key: median(run[key] for run in runs) for key in runs[0]} for loader, runs in results.items()
            }
            for loader, values in middle.items():
                print(
                    f"{name:8} {loader:8} {values['first']:9.1f} {values['warm']:9.1f} {values['growth'] / size:14.3f}"
                )
            ours, peer = middle["ours"], middle["torch"]
            print(
                f"{name:8} ours - torch: warm {ours['warm'] - peer['warm']:+.1f} ms "
                f"(bar {30 if name == 'VGG-16' else 60:+d}), first {ours['first'] - peer['first']:+.1f} ms (bar +150)"
            )
            if "opencv" in middle:
                ratio = middle["opencv"]["warm"] / ours["warm"]
                print(f"{name:8} opencv / ours: {ratio:.1f}x (bar {20 if name == 'VGG-16' else 1.5}x)")


if __name__ == "__main__":
    main()
