"""The ranges of int8 are found once for a net and what it is calibrated with, and kept on disk."""

from __future__ import annotations

import pytest
import torch

from caffecompat import optimize
from caffecompat.engines import Calibration
from tests.engines.engine_nets import classifier, pictures

quantizing = pytest.importorskip("caffecompat.engines.quantizing")
VALUES = 50 * pictures(6, 3, 21, 18)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CAFFECOMPAT_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


@pytest.fixture
def found(monkeypatch, cache):
    """The ranges that were found and not taken from disk."""
    taken = []
    find = quantizing._best_ranges
    monkeypatch.setattr(quantizing, "_best_ranges", lambda *given: taken.append(find(*given)) or taken[-1])
    return taken


def made(net=None, values=VALUES, **options):
    calibration = Calibration({"data": values}, held_out=0)
    return optimize(net or classifier(), "onnxruntime", "int8", calibration=calibration, **options)


def test_they_are_found_once(found, cache):
    """With those that are kept the outputs are the same, bit by bit."""
    first, again = made(), made()
    assert len(found) == 1
    assert again.settings.made["ranges"] == first.settings.made["ranges"] == found[0]
    assert torch.equal(again(data=VALUES[:2])["prob"], first(data=VALUES[:2])["prob"])
    (path,) = cache.iterdir()
    assert path.suffixes == [".ranges", ".json"]


def test_what_they_hang_on(found, cache):
    other = classifier()
    with torch.no_grad():
        other.layer("c1").bias[0] += 1
    for options in ({}, {"net": other}, {"values": VALUES + 1}, {"values": VALUES[:5]}, {"example": VALUES[:3]}):
        made(**options)
    assert len(found) == len(list(cache.iterdir())) == 5


def test_without_a_cache(found, cache):
    made(cache=False)
    made(cache=False)
    assert len(found) == 2
    assert not cache.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1, 2",
        b"[]",
        b"5",
        b'{"data": 1}',
        b'{"data": [1]}',
        b'{"data": [0, NaN]}',
        b'{"data": [2, 3]}',
        b"\xff" * 9,
    ],
)
def test_a_spoilt_file_is_written_anew(content, found, cache):
    made()
    (path,) = cache.iterdir()
    whole = path.read_bytes()
    path.write_bytes(content)
    made()
    assert len(found) == 2
    assert path.read_bytes() == whole
