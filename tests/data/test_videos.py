from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.data.videos import WRITTEN_SUFFIXES, VideoFile
from caffecompat.errors import CaffeCompatError, UsageError


def frames(path):
    video = cv2.VideoCapture(str(path))
    found = []
    while (frame := video.read())[0]:
        found.append(frame[1])
    return found, video.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize("suffix", sorted(WRITTEN_SUFFIXES))
def test_frames_come_back(tmp_path, suffix):
    path = tmp_path / f"film{suffix}"
    with VideoFile(path, 12) as video:
        for value in (10, 120, 240):
            video.write(np.full((48, 64, 3), value, np.uint8))
        video.write(np.full((96, 64, 3), 80, np.uint8))
        assert not path.exists()
    found, rate = frames(path)
    assert rate == 12
    assert [frame.shape for frame in found] == [(48, 64, 3)] * 4
    assert [round(float(frame.mean()), -1) for frame in found] == [10, 120, 240, 80]
    assert list(tmp_path.iterdir()) == [path]


def one_frame_and_a_fault(video, frame):
    video.write(frame)
    raise IndexError


def test_a_video_that_is_not_finished_leaves_what_was_there(tmp_path):
    path = tmp_path / "film.avi"
    path.write_bytes(b"of the user")
    frame = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(IndexError), VideoFile(path) as video:
        one_frame_and_a_fault(video, frame)
    assert path.read_bytes() == b"of the user"
    with VideoFile(path):
        pass
    assert path.read_bytes() == b"of the user"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("rate", [0, -1, float("nan"), float("inf"), 1e9])
def test_rates_that_are_none(tmp_path, rate):
    with VideoFile(tmp_path / "film.avi", rate) as video:
        video.write(np.zeros((48, 64, 3), np.uint8))
    assert frames(tmp_path / "film.avi")[1] == 25


def test_refused(tmp_path):
    frame = np.zeros((48, 64, 3), np.uint8)
    with pytest.raises(UsageError, match=r"suffix '\.txt'"):
        VideoFile(tmp_path / "film.txt")
    with pytest.raises(CaffeCompatError, match="No such file"), VideoFile(tmp_path / "none" / "film.avi") as video:
        video.write(frame)
    (tmp_path / "folder.avi").mkdir()
    with pytest.raises(CaffeCompatError, match="a directory"), VideoFile(tmp_path / "folder.avi") as video:
        video.write(frame)
