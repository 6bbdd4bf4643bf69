"""readNetFromCaffe and readNet, and putting them back into `cv2.dnn`."""

# ruff: noqa: N802, N803 (functions and arguments have OpenCV's names, for scripts call them by keyword)

from __future__ import annotations

import os
from typing import Any

import cv2

from caffecompat.cv2dnn._errors import cv2_errors
from caffecompat.cv2dnn._importer import Buffer, Source, import_net, in_order, is_caffe
from caffecompat.cv2dnn._net import Net
from caffecompat.cv2dnn._nets import Nets

# Names of OpenCV 4 that scripts for Caffe's nets use, gone from OpenCV 5.
CONSTANTS = {"DNN_BACKEND_HALIDE": 1}
_opencv_read_net = cv2.dnn.readNet


@cv2_errors()
def readNetFromCaffe(
    prototxt: Source = "",
    caffeModel: Source = "",
    *,
    bufferProto: Buffer | None = None,
    bufferModel: Buffer | None = None,
) -> Net:
    """Read a net that Caffe trained.

    Args:
        prototxt: the path of the prototxt, or its bytes: `bytes`, `bytearray`, or a NumPy array of uint8.
        caffeModel: the path of the weights, or their bytes; without them no layer has weights until they are set.
        bufferProto: the bytes of the prototxt, by OpenCV's name for them.
        bufferModel: the bytes of the weights, likewise.

    Raises:
        CaffeCompatError: a file cannot be read, or the layers make no net; it is a `cv2.error`, too.
    """
    net = prototxt if bufferProto is None else bufferProto
    weights = caffeModel if bufferModel is None else bufferModel
    return Net(Nets(import_net(net, weights)))


@cv2_errors()
def readNet(*args: Any, **kwargs: Any) -> Any:
    """Read a net of any format: `readNet(model, config="", framework="")`, or `readNet(framework, bytes, bytes)`.

    Caffe's files are told by `framework` or by their names, in either order, and make a `Net` of ours; everything
    else goes to OpenCV's own `readNet`.

    Raises:
        CaffeCompatError: as `readNetFromCaffe`.
        cv2.error: what OpenCV raises for other formats.
    """
    second = args[1] if len(args) > 1 else ""
    buffers = bool({"bufferModel", "bufferConfig"} & kwargs.keys()) or not (
        second is None or isinstance(second, (str, os.PathLike))
    )
    names = ("framework", "bufferModel", "bufferConfig") if buffers else ("model", "config", "framework")
    given = {**dict(zip(names, args, strict=False)), **kwargs}
    if buffers and str(given.get("framework", "")).lower() == "caffe":
        return readNetFromCaffe(given.get("bufferConfig", b""), given.get("bufferModel", b""))
    if buffers:
        return _opencv_read_net(*args, **kwargs)
    model, config = (os.fspath(given.get(name) or "") for name in ("model", "config"))
    if not is_caffe(model, config, given.get("framework") or ""):
        return _opencv_read_net(*args, **kwargs)
    return readNetFromCaffe(*in_order(model, config))


def install(*, replace: bool = False) -> None:
    """Put `readNetFromCaffe`, `readNet` and the constants of OpenCV 4 into a `cv2.dnn` that lacks them.

    Args:
        replace: do so in an OpenCV that has its own importer, too. Without it such an OpenCV stays as it is.
    """
    if replace or not hasattr(cv2.dnn, "readNetFromCaffe"):
        vars(cv2.dnn).update(readNetFromCaffe=readNetFromCaffe, readNet=readNet)
    vars(cv2.dnn).update({name: value for name, value in CONSTANTS.items() if not hasattr(cv2.dnn, name)})
