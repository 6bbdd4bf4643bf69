"""Average precision, against the original's loops written out in plain Python."""

from __future__ import annotations

import numpy as np
import pytest

from caffecompat.detection.average_precision import AP_VERSIONS, average_precision, precision_recall
from caffecompat.errors import UsageError


def naive(scores, true, positives, version):
    """The loops of ComputeAP."""
    rows = sorted(zip(scores, true, strict=True), key=lambda row: -row[0])
    precision, recall, right = [], [], 0
    for count, (_, hit) in enumerate(rows, 1):
        right += hit
        precision.append(right / count)
        recall.append(right / positives)
    total = 0.0
    if version == "11point":
        for level in range(11):
            reached = [p for p, r in zip(precision, recall, strict=True) if np.float32(r) >= level / 10]
            total += max(reached, default=0.0) / 11
        return total
    if version == "Integral":
        before = 0.0
        for p, r in zip(precision, recall, strict=True):
            total += p * (r - before)
            before = r
        return total
    current_recall, current = recall[-1], precision[-1]
    for p, r in list(zip(precision, recall, strict=True))[-2::-1]:
        current = max(p, current)
        total += current * (current_recall - r)
        current_recall = r
    return total + current_recall * current


@pytest.mark.parametrize("version", AP_VERSIONS)
@pytest.mark.parametrize("seed", range(6))
def test_as_the_original(version, seed):
    random = np.random.RandomState(seed)
    count = random.randint(1, 60)
    scores = np.round(random.rand(count), 1 if seed % 2 else 6).astype(np.float32)
    true = random.rand(count) < 0.6
    positives = int(true.sum()) + random.randint(0, 5) or 1
    found = average_precision(scores, true, positives, version)
    assert found == pytest.approx(naive(scores, true, positives, version), abs=1e-6)


def test_known_values():
    scores, true = np.array([0.9, 0.8, 0.7]), np.array([True, False, True])
    precision, recall = precision_recall(scores, true, 2)
    np.testing.assert_allclose(precision, [1, 0.5, 2 / 3], rtol=1e-6)
    np.testing.assert_allclose(recall, [0.5, 0.5, 1])
    assert average_precision(scores, true, 2, "Integral") == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert average_precision(scores, true, 2, "11point") == pytest.approx((6 + 5 * 2 / 3) / 11)
    assert average_precision(scores, ~true, 5, "MaxIntegral") == pytest.approx(0.2 * 0.5)


@pytest.mark.parametrize("version", AP_VERSIONS)
def test_nothing_found_or_nothing_to_find(version):
    assert average_precision(np.array([]), np.array([]), 3, version) == 0
    assert average_precision(np.array([0.5]), np.array([False]), 0, version) == 0


def test_an_unknown_version():
    with pytest.raises(UsageError, match=r"ap_version '11points' is not known") as caught:
        average_precision(np.array([1.0]), np.array([True]), 1, "11points")
    assert caught.value.hint == 'did you mean "11point"?'
