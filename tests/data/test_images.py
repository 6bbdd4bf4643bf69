from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.data.images import count_items, find_files, read_image, read_items, write_image
from caffecompat.data.png import encode_indexed, voc_palette, write_indexed
from caffecompat.errors import CaffeCompatError, FormatError, UsageError

IMAGE = np.random.default_rng(3).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "below").mkdir()
    for name in ("b.png", "a.PNG", "below/c.bmp"):
        cv2.imwrite(str(tmp_path / name), IMAGE)
    (tmp_path / "notes.txt").write_text("no image")
    return tmp_path


def test_colours_are_blue_green_red(tmp_path):
    write_image(tmp_path / "x.png", IMAGE)
    assert np.array_equal(read_image(tmp_path / "x.png"), IMAGE)
    assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


def test_alpha_is_dropped_and_grey_repeated(tmp_path):
    cv2.imwrite(str(tmp_path / "alpha.png"), np.dstack([IMAGE, IMAGE[:, :, 0]]))
    cv2.imwrite(str(tmp_path / "grey.png"), IMAGE[:, :, 0])
    assert np.array_equal(read_image(tmp_path / "alpha.png"), IMAGE)
    assert np.array_equal(read_image(tmp_path / "grey.png"), np.dstack([IMAGE[:, :, 0]] * 3))


@pytest.mark.parametrize("data", [b"", b"\0" * 100, b"P6 999999999 999999999 255\n", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_what_is_no_image_is_refused_by_name(tmp_path, data):
    path = tmp_path / "broken.png"
    path.write_bytes(data)
    with pytest.raises(FormatError, match=r"broken\.png"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".bmp"])
@pytest.mark.parametrize("part", [0.02, 0.5])
def test_truncated_image_is_refused_by_name(tmp_path, suffix, part):
    data = cv2.imencode(suffix, IMAGE)[1].tobytes()
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(FormatError, match="cut"):
        read_image(path)


def test_no_file_and_a_folder_are_no_images(tmp_path):
    with pytest.raises(FormatError, match="none"):
        read_image(tmp_path / "none.png")
    with pytest.raises(FormatError, match=str(tmp_path)):
        read_image(tmp_path)


def test_files_folders_and_patterns(folder):
    names = [path.name for path in find_files([folder])]
    assert names == ["a.PNG", "b.png", "c.bmp"]
    assert [path.name for path in find_files([str(folder / "*.png"), folder / "notes.txt"])] == ["b.png", "notes.txt"]
    assert [path.name for path in find_files([str(folder / "**" / "*.bmp")])] == ["c.bmp"]
    with pytest.raises(FormatError, match="no such file"):
        find_files([folder / "absent.png"])
    with pytest.raises(FormatError, match="nothing to work on"):
        find_files([str(folder / "*.jpg")])


def test_every_nth_frame_of_a_video(tmp_path):
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    if not writer.isOpened():
        pytest.skip("this OpenCV writes no video")
    for number in range(7):
        writer.write(np.full((48, 64, 3), number * 30, np.uint8))
    writer.release()
    items = list(read_items([path], every=3))
    assert [item.frame for item in items] == [0, 3, 6]
    assert [item.name for item in items] == [f"{path}#0", f"{path}#3", f"{path}#6"]
    assert [round(float(item.image.mean()) / 30) for item in items] == [0, 3, 6]
    assert count_items([path], every=3) == 3
    assert items[1].stem == "film_000003"
    with pytest.raises(UsageError):
        list(read_items([path], every=0))


def test_what_is_no_video_is_refused(tmp_path):
    path = tmp_path / "film.avi"
    path.write_bytes(b"RIFF nothing")
    with pytest.raises(FormatError, match=r"film\.avi"):
        list(read_items([path]))


def test_unknown_suffix_is_refused(tmp_path):
    with pytest.raises(UsageError, match="suffix"):
        write_image(tmp_path / "x.nosuch", IMAGE)
    with pytest.raises(CaffeCompatError):
        write_image(tmp_path / "no" / "such" / "folder.png", IMAGE)


def test_voc_palette_is_the_dilation_authors(tmp_path):
    # datasets/pascal_voc.json of fyu/dilation, its 21 classes.
    known = ((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128))
    known += ((128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128))
    known += ((64, 128, 128), (192, 128, 128), (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128))
    assert voc_palette()[:21] == known
    assert voc_palette()[255] == (224, 224, 192)


def test_indexed_png_opens_in_its_colours(tmp_path):
    labels = np.arange(12, dtype=np.int32).reshape(3, 4)
    labels[2, 3] = 255
    palette = voc_palette()
    write_indexed(tmp_path / "labels.png", labels, palette)
    colours = read_image(tmp_path / "labels.png")
    assert np.array_equal(colours[:, :, ::-1], np.array(palette, np.uint8)[labels])
    raw = (tmp_path / "labels.png").read_bytes()
    assert raw[25] == 3  # the colour type: palette
    # A palette too short leaves the others black.
    assert np.array_equal(
        cv2.imdecode(np.frombuffer(encode_indexed(labels[:2], [(9, 8, 7)]), np.uint8), cv2.IMREAD_COLOR).reshape(-1, 3),
        [[7, 8, 9]] + [[0, 0, 0]] * 7,
    )
    with pytest.raises(UsageError, match="256"):
        encode_indexed(np.array([[256]]), palette)
