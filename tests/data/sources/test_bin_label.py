"""BinLabelData: what the records, which `test_image_label.py` compares with, do not tell."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError
from tests.data.sources.sources import (
    check_no_state,
    check_ranks,
    check_restore,
    check_workers,
    keys_of,
    passes,
    reading_net,
)

COUNT = 9


def write_bin(path, array, code=5, axes=None, sizes=None):
    sizes = array.shape if sizes is None else sizes
    head = struct.pack(f"<{2 + len(sizes)}i", code, len(sizes) if axes is None else axes, *sizes)
    path.write_bytes(head + array.astype("<f4").tobytes())


def prototxt(batch=3, label_slice="{ dim: 2 dim: 3 }", **fields):
    values = {"bin_list_path": '"bins.txt"', "label_list_path": '"labels.txt"', **fields}
    param = " ".join(f"{name}: {value}" for name, value in values.items())
    return f"""layer {{ name: "bins" type: "BinLabelData" top: "data" top: "label"
      bin_label_data_param {{ batch_size: {batch} label_slice {label_slice} {param} }} }}"""


@pytest.fixture
def folder(tmp_path):
    """Arrays and label maps that hold ten times their number, and from left to right 0, 1, 2 more."""
    (tmp_path / "labels").mkdir()
    for item in range(COUNT):
        row = np.arange(3) + 10 * item
        write_bin(tmp_path / f"{item}.bin", np.broadcast_to(row, (1, 2, 3)))
        cv2.imwrite(str(tmp_path / "labels" / f"{item}.png"), np.broadcast_to(row, (2, 3)).astype(np.uint8))
    (tmp_path / "bins.txt").write_text(" ".join(f"{item}.bin" for item in range(COUNT)))
    (tmp_path / "labels.txt").write_text("\n".join(f"labels/{item}.png" for item in range(COUNT)))
    return tmp_path


def test_pairs_stay_paired_and_are_mirrored_together(folder):
    with reading_net(prototxt(shuffle="true"), folder) as net:
        taken, mirrored = [], 0
        for tops in passes(net, 40):
            assert (tops["data"] == tops["label"]).all()
            taken += [int(item[0, 0, 1]) // 10 for item in tops["data"]]
            mirrored += sum(int(item[0, 0, 0] > item[0, 0, 2]) for item in tops["data"])
    rounds = [taken[start : start + COUNT] for start in range(0, len(taken) - COUNT, COUNT)]
    assert all(sorted(items) == list(range(COUNT)) for items in rounds)
    assert 40 < mirrored < 80


def test_workers_restore_and_ranks(folder):
    text = prototxt(shuffle="true")
    check_workers(text, folder)
    check_restore(text, folder)
    check_no_state(text, folder)
    check_ranks(text, folder, {f"{item}.bin" for item in range(COUNT)}, per_rank=1)


def test_what_follows_the_values_is_ignored(folder):
    with (folder / "0.bin").open("ab") as file:
        file.write(b"more")
    with reading_net(prototxt(mirror="false"), folder) as net:
        assert net()["data"][0, 0, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a head of 20 bytes, got 0"),
        (struct.pack("<4i", 5, 3, 1, 2), "expected a head of 20 bytes, got 16"),
        (struct.pack("<5i", 6, 3, 1, 1, 1) + bytes(8), r"expected type code 5 \(float32\) and 3 axes, got 6 and 3"),
        (struct.pack("<4i", 5, 2, 1, 1) + bytes(4), "got 5 and 2"),
        (struct.pack("<5i", 5, 2**30, 1, 1, 1), "got 5 and 1073741824"),
        (
            struct.pack("<5i", 5, 3, 2**31 - 1, 2**31 - 1, 2**31 - 1),
            "need 39614081201791936601413124112 bytes, the file has",
        ),
        (struct.pack("<5i", 5, 3, -1, -1, 4), r"the sizes \(-1, -1, 4\)"),
        (struct.pack("<5i", 5, 3, 0, 1, 1), r"the sizes \(0, 1, 1\)"),
        (struct.pack("<5i", 5, 3, 1, 1, 2) + bytes(7), "need 28 bytes, the file has 27"),
    ],
)
def test_broken_files(folder, content, message):
    (folder / "1.bin").write_bytes(content)
    with reading_net(prototxt(), folder) as net, pytest.raises(CaffeCompatError, match=message) as error:
        net()
    assert 'bins.txt:1: layer "bins": ' in str(error.value)
    assert "1.bin: " in str(error.value)
    with reading_net(prototxt(), folder, skip_bad_records=True) as net:
        assert keys_of(net, 1) == ["0.bin", "2.bin", "2.bin"]
        assert len(net.readers[0].skipped) == 1


def test_a_bad_first_file(folder):
    (folder / "0.bin").unlink()
    with pytest.raises(CaffeCompatError, match="file of floats '0.bin' is not there"), reading_net(prototxt(), folder):
        pass
    with reading_net(prototxt(), folder, skip_bad_records=True) as net:
        assert keys_of(net, 1) == ["1.bin", "1.bin", "2.bin"]


def test_another_shape_in_a_batch(folder):
    # As many values: the original takes it and keeps what its place held before.
    write_bin(folder / "1.bin", np.zeros((1, 3, 2)))
    message = r"expected an array of shape \(1, 2, 3\), as the first of its batch, got \(1, 3, 2\)"
    with reading_net(prototxt(), folder) as net, pytest.raises(CaffeCompatError, match=message):
        net()
    with reading_net(prototxt(batch=1), folder) as net:
        assert [tops["data"].shape for tops in passes(net, 3)] == [(1, 1, 2, 3), (1, 1, 3, 2), (1, 1, 2, 3)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            prototxt(bin_slice="{ dim: 2 dim: 3 offset: 1 }"),
            "reaches to row 3 and column 4 of an array of 2x3",
        ),
        (prototxt(bin_slice="{ dim: 2 stride: 4000000000 }"), "bin_slice reaches to row 4000000001"),
        (prototxt(bin_slice="{ offset: 1 }"), "expected 1 or 2 values of bin_slice.dim .* got 0"),
        (prototxt(bin_slice="{ dim: 0 }"), r"at least 1, got \(0, 0\)"),
        (prototxt(label_slice="{ dim: 2 }"), "expected 2 values of label_slice.dim .* got 1"),
        (prototxt(label_slice="{ dim: 2 dim: 2 offset: 1 offset: 2 offset: 3 }"), "0 or 1 or 2 values of .*offset"),
        (prototxt(batch=0), "batch_size of at least 1, got 0"),
        (prototxt(bin_dir='"else"'), "'else0.bin' is not there"),
    ],
)
def test_faults_of_the_prototxt(folder, text, message):
    with pytest.raises(CaffeCompatError, match=message), reading_net(text, folder) as net:
        net()


def test_labels_far_beyond_the_picture(folder):
    text = prototxt(label_slice="{ dim: 2 dim: 3 stride: 4294967295 offset: 4294967295 offset: 1 }", mirror="false")
    with reading_net(text, folder) as net:
        assert (net()["label"] == 255).all()
