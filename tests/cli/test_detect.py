from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.cli.predict._detect import coco
from caffecompat.data.images import Item
from caffecompat.data.videos import VideoFile
from caffecompat.detection.drawing import class_colour
from tests.support import shared_file

# The picture is 600 x 400; the reference was made at 384 x 256 with OpenCV's cubic interpolation.
OPTIONS = ("--scale", 1 / 255, "--input-shape", "1,1,256,384", "--interpolation", "cubic")


def detect(*arguments, code=0):
    folder = shared_file("models/wechat_detect")
    command = ["detect", folder / "detect.prototxt", "-w", folder / "detect.caffemodel", *arguments, *OPTIONS]
    result = CliRunner().invoke(main, [str(argument) for argument in command])
    assert result.exit_code == code, result.stderr
    return result


@pytest.fixture(scope="module")
def reference():
    """The recorded code: class, score, box in pixels."""
    rows = np.load(shared_file("models/wechat_detect/opencv_ref_coffee_qr.npz"))["detection_output"][0, 0]
    row = rows[rows[:, 2] > 0.5][0]
    return int(row[1]), float(row[2]), row[3:] * [600, 400, 600, 400]


def test_code_is_found_where_it_is(reference):
    result = detect(shared_file("photos/coffee_qr.png"), "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(result.stdout))
    assert int(row["class"]) == reference[0]
    assert float(row["score"]) == pytest.approx(reference[1], abs=1e-3)
    box = [float(row[name]) for name in ("xmin", "ymin", "xmax", "ymax")]
    np.testing.assert_allclose(box, reference[2], atol=0.6)


def test_other_formats_say_the_same(reference, tmp_path):
    photos = shared_file("photos")
    names = tmp_path / "names.txt"
    names.write_text("code\n")
    lines = detect(photos, "--format", "jsonl", "--labels", names, "--batch", 1).stdout.splitlines()
    found = {Path(row["image"]).name: row["objects"] for row in map(json.loads, lines)}
    assert found["astronaut.png"] == []
    (one,) = found["coffee_qr.png"]
    assert (one["class"], one["name"]) == (1, "code")

    detect(photos, "-o", tmp_path / "boxes.npy")
    boxes = np.load(tmp_path / "boxes.npy")
    assert boxes.shape == (1, 7)
    np.testing.assert_allclose(boxes[0, 3:], reference[2], atol=0.6)
    assert boxes[0, 0] == 1  # the second image

    detect(photos, "-o", tmp_path / "boxes.json", "--labels", names)
    made = json.loads((tmp_path / "boxes.json").read_text())
    assert [Path(image["file_name"]).name for image in made["images"]] == ["astronaut.png", "coffee_qr.png"]
    (annotation,) = made["annotations"]
    x, y, width, height = annotation["bbox"]
    np.testing.assert_allclose([x, y, x + width, y + height], reference[2], atol=0.6)
    assert annotation["image_id"] == made["images"][1]["id"]
    assert made["categories"] == [{"id": 0, "name": "background"}, {"id": 1, "name": "code"}]


def test_batch_of_pictures_gives_each_its_own(reference, tmp_path):
    one = detect(shared_file("photos"), "--format", "csv").stdout
    two = detect(shared_file("photos"), "--format", "csv", "--batch", 2).stdout
    assert [line.split(",")[:3] for line in one.splitlines()] == [line.split(",")[:3] for line in two.splitlines()]


def border(picture, box):
    """The pixels of the lower edge of a box, where no text is, in (columns, 3)."""
    xmin, _, xmax, ymax = (round(float(value)) for value in box)
    return picture[ymax, xmin + 5 : xmax - 5].astype(int)


def test_pictures_get_the_boxes(reference, tmp_path):
    photo = shared_file("photos/coffee_qr.png")
    told = detect(photo, photo, "--draw", tmp_path / "drawn", "--threshold", 0.9).stderr
    assert told.endswith(f"wrote 2 files into {tmp_path / 'drawn'}\n")
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["coffee_qr-2.png", "coffee_qr.png"]
    drawn, original = cv2.imread(str(tmp_path / "drawn" / "coffee_qr.png")), cv2.imread(str(photo))
    assert (border(drawn, reference[2]) == class_colour(reference[0])).all()
    changed = np.argwhere((drawn != original).any(axis=2))
    xmin, _, xmax, ymax = reference[2]
    assert abs(changed[:, 1].min() - xmin) < 4
    assert abs(changed[:, 1].max() - xmax) < 4
    assert abs(changed[:, 0].max() - ymax) < 4
    # Nothing is drawn inside, but the text where it has no room above.
    assert (drawn == original)[round(ymax) - 40 : round(ymax) - 5, round(xmin) + 5 : round(xmax) - 5].all()


def test_one_picture_into_a_file(reference, tmp_path):
    photo = shared_file("photos/coffee_qr.png")
    told = detect(photo, "--draw", tmp_path / "x.jpg", "-o", tmp_path / "x.csv").stderr
    files = [tmp_path / name for name in ("x.csv", "x.jpg")]
    assert told.endswith("".join(f"wrote {file} ({file.stat().st_size:,} bytes)\n" for file in files))
    drawn = cv2.imread(str(tmp_path / "x.jpg"))
    assert np.abs(border(drawn, reference[2]).mean(axis=0) - class_colour(reference[0])).max() < 40
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.csv", "x.jpg"]
    detect(photo, "--draw", f"{tmp_path / 'x.foo'}/")
    assert (tmp_path / "x.foo" / "coffee_qr.png").exists()


@pytest.fixture
def film(tmp_path):
    """Seven frames of the photo with the code, 14 a second."""
    path = tmp_path / "film.avi"
    frame = cv2.imread(str(shared_file("photos/coffee_qr.png")))
    with VideoFile(path, 14) as video:
        for _ in range(7):
            video.write(frame)
    return path


def frames(path):
    video = cv2.VideoCapture(str(path))
    found = []
    while (frame := video.read())[0]:
        found.append(frame[1])
    return found, video.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize(
    ("target", "every", "name", "count"),
    [("x.mp4", 1, "x.mp4", 7), ("x.avi", 3, "x.avi", 3), ("drawn", 3, "drawn/film.avi", 3)],
)
def test_a_video_becomes_a_video(reference, film, tmp_path, target, every, name, count):
    before = film.read_bytes()
    result = detect(film, "--draw", tmp_path / target, "--every", every, "--format", "csv")
    assert len(result.stdout.splitlines()) == 1 + count
    found, rate = frames(tmp_path / name)
    assert len(found) == count
    assert rate == pytest.approx(14 / every, rel=1e-3)
    original, _ = frames(film)
    for frame in found:
        edge = border(frame, reference[2])
        # Codecs mix the colours of neighbours: what is drawn shows against what was there.
        there = border(original[0], reference[2])
        assert np.abs(edge - class_colour(reference[0])).mean() < np.abs(there - class_colour(reference[0])).mean() / 2
    assert film.read_bytes() == before


def test_pictures_and_videos_into_a_folder(film, tmp_path):
    detect(film, shared_file("photos/coffee_qr.png"), film, "--draw", tmp_path / "drawn", "--every", 4)
    assert {path.name: len(frames(path)[0]) for path in (tmp_path / "drawn").glob("*.avi")} == {
        "film.avi": 2,
        "film-2.avi": 2,
    }
    assert (tmp_path / "drawn" / "coffee_qr.png").exists()


def test_drawings_that_cannot_be(film, tmp_path):
    photo = shared_file("photos/coffee_qr.png")
    assert "one file for 2 inputs" in detect(photo, photo, "--draw", tmp_path / "x.jpg", code=2).stderr
    assert "would be a video" in detect(photo, "--draw", tmp_path / "x.mp4", code=2).stderr
    assert "would be an image" in detect(film, "--draw", tmp_path / "x.png", code=2).stderr
    unknown = detect(photo, "--draw", tmp_path / "x.foo", code=2).stderr
    assert "'.foo' is no suffix of an image or a video" in unknown
    assert ".jpg" in unknown
    assert not (tmp_path / "x.foo").exists()
    assert "'.wmv' can be written" in detect(film, "--draw", tmp_path / "x.wmv", code=2).stderr
    assert "is an input" in detect(film, "--draw", film, code=2).stderr
    assert "is an input" in detect(film, "--draw", tmp_path, code=2).stderr
    (tmp_path / "file").write_text("of the user")
    assert "folder" in detect(photo, "--draw", tmp_path / "file", code=1).stderr
    assert "No such file" in detect(film, "--draw", tmp_path / "none" / "x.avi", code=1).stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "film.avi"]


def items(*names):
    return [(Item(name, np.zeros((4, 5, 3), np.uint8), Path(name)), []) for name in names]


@pytest.mark.parametrize(
    ("names", "ids"),
    [
        (("000000000139.jpg", "000000000285.jpg"), [139, 285]),
        (("COCO_val2014_000000000042.jpg",), [42]),
        (("a1.jpg", "b1.jpg"), [1, 2]),
        (("7.jpg", "b.jpg"), [1, 2]),
    ],
)
def test_coco_ids_are_the_numbers_of_the_files_if_they_tell_them_apart(names, ids):
    made = coco(iter(items(*names)), ())
    assert [image["id"] for image in made["images"]] == ids
    assert made["images"][0]["width"] == 5


def test_a_net_without_detections_is_wrong_usage():
    folder = shared_file("models/lenet_v1")
    command = ["detect", folder / "lenet.prototxt", "-w", folder / "lenet_iter_10000.caffemodel"]
    command.append(shared_file("photos/coffee_qr.png"))
    result = CliRunner().invoke(main, [str(argument) for argument in command])
    assert result.exit_code == 2
    assert "no DetectionOutput layer" in result.stderr
