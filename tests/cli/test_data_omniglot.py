"""`caffecompat data omniglot`, on folders as Omniglot has them."""

from __future__ import annotations

import cv2
import lmdb
import numpy as np
import pytest
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.errors import FormatError
from caffecompat.schema import caffe_pb2


@pytest.fixture
def folder(tmp_path):
    """Two alphabets of two characters and one, each drawn twice: 8x8, a corner black, as large as says which it is."""
    for number, name in enumerate(("Greek/character01", "Greek/character02", "Latin/character01")):
        place = tmp_path / "images_background" / name
        place.mkdir(parents=True)
        for drawing in range(2):
            image = np.full((8, 8), 255, np.uint8)
            image[: 2 * number + 2, :2] = 0
            cv2.imwrite(str(place / f"{number:04d}_{drawing:02d}.png"), image)
    return tmp_path


def run(*arguments):
    done = CliRunner().invoke(main, ["data", "omniglot", *map(str, arguments)], standalone_mode=False)
    if done.exception is not None:
        raise done.exception
    return done.stderr


def records(folder):
    with lmdb.open(str(folder), readonly=True, lock=False) as environment, environment.begin() as transaction:
        return [caffe_pb2.Datum.FromString(value) for _, value in transaction.cursor()]


def test_characters_and_their_turns_are_classes(folder):
    assert "24 records of 12 classes" in run(folder, folder / "db", "--size", 4)
    found = records(folder / "db")
    labels = [datum.label for datum in found]
    assert sorted(labels) == sorted([*range(12)] * 2)
    assert labels != sorted(labels)
    for datum in found:
        character, turn = divmod(datum.label, 4)
        upright = np.full((4, 4), 255)
        upright[: character + 1, :1] = 0
        image = np.frombuffer(datum.data, np.uint8).reshape(datum.channels, datum.height, datum.width)[0]
        np.testing.assert_array_equal(image, np.rot90(upright, turn))


def test_without_turns(folder):
    assert "6 records of 3 classes" in run(folder, folder / "db", "--no-rotations")
    assert {(datum.height, datum.label) for datum in records(folder / "db")} == {(28, 0), (28, 1), (28, 2)}


def test_what_is_not_there_or_broken(folder):
    with pytest.raises(FormatError, match=r"images_evaluation: expected folders Alphabet/character01"):
        run(folder, folder / "db", "--part", "test")
    (folder / "images_background" / "Latin" / "character01" / "x.png").write_bytes(b"no picture")
    with pytest.raises(FormatError, match=r"x\.png"):
        run(folder, folder / "db")
    assert not (folder / "db").exists()
