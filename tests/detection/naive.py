"""The rules of SSD's Caffe written down box by box, in float32 as there: slow, and to be read beside the original."""

from __future__ import annotations

import numpy as np

F = np.float32


def size(box, normalized=True):
    if box[2] < box[0] or box[3] < box[1]:
        return F(0)
    more = F(0) if normalized else F(1)
    return (box[2] - box[0] + more) * (box[3] - box[1] + more)


def overlap(a, b, normalized=True):
    if b[0] > a[2] or b[2] < a[0] or b[1] > a[3] or b[3] < a[1]:
        shared = np.zeros(4, F)
    else:
        shared = np.array([max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])], F)
    more = F(0) if normalized else F(1)
    width, height = shared[2] - shared[0] + more, shared[3] - shared[1] + more
    if not (width > 0 and height > 0):
        return F(0)
    inter = width * height
    return inter / (size(a, normalized) + size(b, normalized) - inter)


def nms(boxes, threshold, eta=1.0):
    """Indices that are kept, of boxes sorted by falling score."""
    kept, limit = [], F(threshold)
    for index in range(len(boxes)):
        if all(overlap(boxes[index], boxes[other]) <= limit for other in kept):
            kept.append(index)
            if eta < 1 and limit > 0.5:
                limit = F(limit * F(eta))
    return kept


def match(boxes, truth, threshold, per_prediction, ignore_cross_boundary):
    index, best = [-1] * len(boxes), [F(0)] * len(boxes)
    if not len(truth):
        return index, best
    overlaps = {}
    for i, box in enumerate(boxes):
        if ignore_cross_boundary and any(value < 0 or value > 1 for value in box):
            index[i] = -2
            continue
        for j, other in enumerate(truth):
            value = overlap(box, other)
            if value > 1e-6:
                best[i] = max(best[i], value)
                overlaps[i, j] = value
    pool = list(range(len(truth)))
    while pool:
        pair, greatest = None, F(-1)
        for (i, j), value in overlaps.items():
            if index[i] == -1 and j in pool and value > greatest:
                pair, greatest = (i, j), value
        if pair is None:
            break
        index[pair[0]], best[pair[0]] = pair[1], greatest
        pool.remove(pair[1])
    if per_prediction:
        for i in range(len(boxes)):
            if index[i] != -1:
                continue
            greatest = F(-1)
            for j in range(len(truth)):
                value = overlaps.get((i, j))
                if value is not None and value >= threshold and value > greatest:
                    index[i], greatest = j, value
    return index, best


def detect(boxes, scores, background, threshold, nms_threshold, eta, top_k, keep_top_k):
    """Rows for boxes (N, P, 4) shared by all classes and scores (N, P, C)."""
    rows = []
    for image in range(len(boxes)):
        found = []
        for label in range(scores.shape[2]):
            if label == background:
                continue
            chosen = [p for p in range(scores.shape[1]) if scores[image, p, label] > F(threshold)]
            chosen.sort(key=lambda p: -scores[image, p, label])
            chosen = chosen if top_k < 0 else chosen[:top_k]
            kept = nms(boxes[image, chosen], nms_threshold, eta)
            found += [(scores[image, chosen[k], label], label, chosen[k]) for k in kept]
        if 0 <= keep_top_k < len(found):
            found = sorted(found, key=lambda row: -row[0])[:keep_top_k]
            found.sort(key=lambda row: row[1])
        rows += [[image, label, score, *boxes[image, prior]] for score, label, prior in found]
    if not rows:
        rows = [[image, -1, -1, -1, -1, -1, -1] for image in range(len(boxes))]
    return np.array(rows, F)


def mine(losses, eligible, count, boxes=None, threshold=0.0, top_k=-1):
    """The places that are chosen in one image."""
    places = [p for p in range(len(losses)) if eligible[p]]
    places.sort(key=lambda p: -losses[p])
    if boxes is not None:
        places = places if top_k < 0 else places[:top_k]
        places = [p for p in places if size(boxes[p]) >= 1e-5]
        places = [places[k] for k in nms(boxes[places], threshold)]
    return set(places[:count])


def evaluate(detections, truth, threshold, evaluate_difficult):
    """(image, label, score, true positive, false positive) of the rows of detections, in order."""
    rows = []
    for image in sorted({row[0] for row in detections}):
        for label in sorted({row[1] for row in detections if row[0] == image}):
            own = [row for row in detections if row[0] == image and row[1] == label]
            targets = [row for row in truth if row[0] == image and row[1] == label]
            if targets:
                own.sort(key=lambda row: -row[2])
            visited = set()
            for row in own:
                values = [overlap(row[3:7], target[3:7]) for target in targets]
                true, false = 0, 1
                if values and max(values) >= F(threshold):
                    best = values.index(max(values))
                    if not evaluate_difficult and targets[best][7]:
                        true, false = 0, 0
                    elif best not in visited:
                        true, false = 1, 0
                        visited.add(best)
                rows.append([image, label, row[2], true, false])
    return np.array(rows, F).reshape(-1, 5)
