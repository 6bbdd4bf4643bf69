"""Record what OpenCV 4's importer answers to `programs`: `.venv-peers/bin/python -m tests.cv2dnn.record`.

It needs an OpenCV that still has `readNetFromCaffe` (`make bench-peers`), the published models, and for the face
detector `make demo`. Each becomes `tests/reference/cv2dnn/<name>.npz`.
"""

from __future__ import annotations

import sys

import cv2
import numpy as np

from tests.cv2dnn.programs import MODELS, PROGRAMS, REFERENCE, published


def main() -> None:
    wanted = sys.argv[1:] or [*PROGRAMS, *MODELS]
    for name in wanted:
        found = PROGRAMS[name](cv2.dnn) if name in PROGRAMS else published(cv2.dnn, MODELS[name])
        np.savez_compressed(REFERENCE / f"{name}.npz", **found, opencv=np.array(cv2.__version__))
        print(name, (REFERENCE / f"{name}.npz").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
