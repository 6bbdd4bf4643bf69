"""Python layers in the style of Faster R-CNN's, with NumPy: pictures, targets of anchors, proposals, their labels."""

from __future__ import annotations

import numpy as np

import caffecompat.pycaffe as caffe

SIZE, STRIDE = 16, 2
# (x1, y1, x2, y2) around the place of a feature.
ANCHORS = np.array([[-3, -3, 4, 4], [-2, -5, 3, 6]], np.float32)


def shifted_anchors(height, width):
    """The anchors of all places, (height * width * anchors, 4), a place's anchors one after the other."""
    x, y = np.meshgrid(np.arange(width) * STRIDE, np.arange(height) * STRIDE)
    shifts = np.stack([x.ravel(), y.ravel(), x.ravel(), y.ravel()], 1)
    return (shifts[:, np.newaxis] + ANCHORS).reshape(-1, 4)


def overlaps(boxes, others):
    """Intersection over union of boxes (n, 4) and (m, 4): (n, m)."""
    first = np.maximum(boxes[:, np.newaxis, :2], others[:, :2])
    last = np.minimum(boxes[:, np.newaxis, 2:4], others[:, 2:4])
    both = np.prod(np.maximum(last - first + 1, 0), 2)
    sizes = [np.prod(b[:, 2:4] - b[:, :2] + 1, 1) for b in (boxes, others)]
    return both / (sizes[0][:, np.newaxis] + sizes[1] - both)


class Pictures(caffe.Layer):
    """A grey picture with one bright square, its size, and the square as a box with its class."""

    def setup(self, bottom, top):
        self.random = np.random.RandomState(int(self.param_str))

    def reshape(self, bottom, top):
        top[0].reshape(1, 1, SIZE, SIZE)
        top[1].reshape(1, 3)
        top[2].reshape(1, 5)

    def forward(self, bottom, top):
        x, y = self.random.randint(0, SIZE - 8, 2)
        kind = self.random.randint(1, 3)
        top[0].data[...] = self.random.uniform(-0.1, 0.1, top[0].data.shape)
        top[0].data[0, 0, y : y + 8, x : x + 8] += 1 if kind == 1 else -1
        top[1].data[...] = SIZE, SIZE, 1
        top[2].data[...] = x, y, x + 7, y + 7, kind


class AnchorTargets(caffe.Layer):
    """For each anchor 1, 0, or -1 for neither, by its overlap with the boxes."""

    def reshape(self, bottom, top):
        height, width = bottom[0].data.shape[-2:]
        top[0].reshape(1, 1, len(ANCHORS) * height, width)

    def forward(self, bottom, top):
        height, width = bottom[0].data.shape[-2:]
        best = overlaps(shifted_anchors(height, width), bottom[1].data).max(1)
        labels = np.where(best >= min(0.6, best.max()), 1, np.where(best < 0.3, 0, -1))
        labels = labels.reshape(1, height, width, len(ANCHORS)).transpose(0, 3, 1, 2)
        top[0].data[...] = labels.reshape(1, 1, len(ANCHORS) * height, width)


class Proposals(caffe.Layer):
    """The best anchors, moved by their deltas, without those that overlap a better one."""

    def reshape(self, bottom, top):
        top[0].reshape(1, 5)

    def forward(self, bottom, top):
        count = len(ANCHORS)
        height, width = bottom[1].data.shape[-2:]
        scores = bottom[0].data[0, count:].transpose(1, 2, 0).ravel()
        deltas = bottom[1].data[0].transpose(1, 2, 0).reshape(-1, 4)
        anchors = shifted_anchors(height, width)
        sizes = anchors[:, 2:] - anchors[:, :2] + 1
        centres = anchors[:, :2] + 0.5 * sizes + deltas[:, :2] * sizes
        sizes = sizes * np.exp(deltas[:, 2:])
        boxes = np.hstack([centres - 0.5 * sizes, centres + 0.5 * sizes]).clip(0, bottom[2].data[0, 0] - 1)
        order, kept = list(np.argsort(-scores, kind="stable")[:40]), []
        while order:
            kept.append(order[0])
            same = overlaps(boxes[order[:1]], boxes[order])[0] > 0.5
            order = [index for index, out in zip(order, same, strict=True) if not out]
        blob = np.hstack([np.zeros((len(kept), 1)), boxes[kept]]).astype(np.float32, copy=False)
        top[0].reshape(*blob.shape)
        top[0].data[...] = blob

    def backward(self, top, propagate_down, bottom):
        pass


class ProposalTargets(caffe.Layer):
    """The proposals and the boxes themselves, and the class of each."""

    def reshape(self, bottom, top):
        top[0].reshape(1, 5)
        top[1].reshape(1)

    def forward(self, bottom, top):
        boxes = bottom[1].data
        rois = np.vstack([bottom[0].data, np.hstack([np.zeros((len(boxes), 1)), boxes[:, :4]])])
        shares = overlaps(rois[:, 1:], boxes)
        labels = np.where(shares.max(1) >= 0.5, boxes[shares.argmax(1), 4], 0)
        for blob, values in zip(top, (rois, labels), strict=True):
            blob.reshape(*values.shape)
            blob.data[...] = values

    def backward(self, top, propagate_down, bottom):
        pass
