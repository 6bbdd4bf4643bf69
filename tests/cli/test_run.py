from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from click.testing import CliRunner

from caffecompat.cli.main import main
from tests.support import shared_file


def run(*arguments, code=0):
    folder = shared_file("models/mtcnn")
    command = ["run", folder / "det1.prototxt", "-w", folder / "det1.caffemodel", *arguments]
    result = CliRunner().invoke(main, [str(argument) for argument in command])
    assert result.exit_code == code, result.stderr
    return result


@pytest.fixture(scope="module")
def reference():
    return np.load(shared_file("models/mtcnn/opencv_ref_det1_astronaut.npz"))


@pytest.mark.parametrize("form", ["npy", "npz"])
def test_arrays_give_the_recorded_outputs(reference, tmp_path, form):
    if form == "npy":
        np.save(tmp_path / "in.npy", reference["input"])
    else:
        np.savez(tmp_path / "in.npz", data=reference["input"])
    run(tmp_path / f"in.{form}", "-o", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as saved:
        assert sorted(saved.files) == ["conv4-2", "prob1"]
        for name in saved.files:
            largest = abs(reference[name]).max()
            assert abs(saved[name] - reference[name]).max() <= 1e-4 * largest


def test_summary_of_outputs_and_of_all_blobs(reference, tmp_path):
    np.save(tmp_path / "in.npy", reference["input"])
    rows = list(csv.DictReader(io.StringIO(run(tmp_path / "in.npy", "--format", "csv").stdout)))
    assert [row["blob"] for row in rows] == ["conv4-2", "prob1"]
    assert [row["shape"] for row in rows] == ["1x4x23x23", "1x2x23x23"]
    assert float(rows[0]["max"]) == pytest.approx(float(reference["conv4-2"].max()), abs=1e-4)
    table = run(tmp_path / "in.npy", "--blob", "all").stdout.splitlines()
    assert table[0].split() == ["input", "blob", "shape", "min", "max", "mean"]
    assert [line.split()[1] for line in table[1:3]] == ["data", "conv1"]


def test_pictures_are_prepared(tmp_path):
    photo = shared_file("photos/astronaut.png")
    options = ("--channels", "rgb", "--mean", "127.5", "--scale", 1 / 128, "--input-shape", "1,3,20,30")
    run(photo, photo, *options, "--blob", "data", "-o", tmp_path / "out.npz")
    with np.load(tmp_path / "out.npz") as saved:
        assert saved.files == ["data/0", "data/1"]
        assert saved["data/0"].shape == (1, 3, 20, 30)
        assert abs(saved["data/0"]).max() <= 127.5 / 128


@pytest.mark.parametrize(
    "data",
    [b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f4', ", b"PK\x03\x04" + b"\0" * 60, b"\0" * 200],
)
def test_broken_arrays_are_refused_by_name(tmp_path, data):
    (tmp_path / "in.npy").write_bytes(data)
    result = run(tmp_path / "in.npy", code=1)
    assert "in.npy" in result.stderr
    assert result.stdout == ""


def test_arrays_that_lie_or_are_none_are_refused(tmp_path):
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3, 100000, 100000), }"
    (tmp_path / "lie.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    assert "lie.npy" in run(tmp_path / "lie.npy", code=1).stderr
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object), allow_pickle=True)
    assert "pickle.npy" in run(tmp_path / "pickle.npy", code=1).stderr
    np.save(tmp_path / "text.npy", np.array(["a"]))
    assert "numbers" in run(tmp_path / "text.npy", code=1).stderr
    np.savez(tmp_path / "other.npz", image=np.zeros((1, 3, 12, 12), np.float32))
    assert "no input 'image'" in run(tmp_path / "other.npz", code=2).stderr
    np.save(tmp_path / "shape.npy", np.zeros((1, 4, 12, 12), np.float32))
    assert "conv1" in run(tmp_path / "shape.npy", code=1).stderr
    assert "not both" in run(tmp_path / "shape.npy", shared_file("photos/astronaut.png"), code=2).stderr
