"""`import cv2` in an old script: OpenCV 5's `cv2.dnn` gets back what it lacks to read Caffe's files.

`caffecompat.cv2dnn` is known here by its name only, and imported when a script imports `cv2`.
"""

from __future__ import annotations

import importlib
from types import ModuleType

from caffecompat.legacy.completing import complete_when_imported

IMPORTER = "caffecompat.cv2dnn"


def offer_importer() -> None:
    """Complete `cv2` when it is imported, if this OpenCV has no importer of Caffe's files."""
    complete_when_imported("cv2", _complete)


def _complete(cv2: ModuleType) -> None:
    dnn = getattr(cv2, "dnn", None)
    if dnn is not None and not hasattr(dnn, "readNetFromCaffe"):
        importlib.import_module(IMPORTER).install()
