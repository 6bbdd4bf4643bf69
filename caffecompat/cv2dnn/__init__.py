"""OpenCV's importer of Caffe's nets, which OpenCV 5 dropped: `cv2.dnn.readNetFromCaffe` and its Net.

>>> from caffecompat import cv2dnn
>>> cv2dnn.install()
>>> net = cv2.dnn.readNetFromCaffe("deploy.prototxt", "net.caffemodel")

Or `from caffecompat import cv2dnn as dnn`: what is not here (`blobFromImage`, `NMSBoxes`, the constants) is that of
`cv2.dnn`.
"""

from __future__ import annotations

from typing import Any

import cv2

from caffecompat.cv2dnn._layer import Layer
from caffecompat.cv2dnn._net import Net
from caffecompat.cv2dnn._reading import CONSTANTS, install, readNet, readNetFromCaffe

__all__ = ["Layer", "Net", "install", "readNet", "readNetFromCaffe"]


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return CONSTANTS[name] if name in CONSTANTS else getattr(cv2.dnn, name)


def __dir__() -> list[str]:
    return sorted({*__all__, *CONSTANTS, *(name for name in dir(cv2.dnn) if not name.startswith("_"))})
