"""VideoData: a small video against a slow model of video_data_layer.cpp, and a camera that is none."""

from __future__ import annotations

from typing import ClassVar

import cv2
import numpy as np
import pytest

from caffecompat.data.source import EndOfItemsError
from caffecompat.errors import CaffeCompatError
from tests.data.sources.sources import (
    Twister,
    assert_same,
    check_no_state,
    check_restore,
    check_workers,
    keys_of,
    passes,
    reading_net,
)

COUNT = 24
HEIGHT, WIDTH = 32, 48


def prototxt(batch=2, transform="", tops=2, **fields):
    values = {"video_type": "VIDEO", "video_file": '"film.avi"', **fields}
    param = " ".join(f"{name}: {value}" for name, value in values.items() if value is not None)
    named = " ".join(f'top: "{top}"' for top in ("data", "label")[:tops])
    return f"""layer {{ name: "film" type: "VideoData" {named} transform_param {{ {transform} }}
      data_param {{ batch_size: {batch} }} video_data_param {{ {param} }} }}"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A film of noise, each frame brighter than the last."""
    path = tmp_path_factory.mktemp("film")
    rng = np.random.default_rng(2)
    film = cv2.VideoWriter(str(path / "film.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 25, (WIDTH, HEIGHT))
    for number in range(COUNT):
        film.write(rng.integers(5 * number, 5 * number + 100, (HEIGHT, WIDTH, 3)).astype(np.uint8))
    film.release()
    return path


@pytest.fixture(scope="module")
def frames(folder):
    film, read = cv2.VideoCapture(str(folder / "film.avi")), []
    while True:
        good, frame = film.read()
        if not good:
            break
        read.append(frame)
    assert len(read) == COUNT
    return read


def model(frames, seed, batches, batch, crop, phase):
    """Each frame is transformed twice, with draws of its own; the second result stays."""
    net = Twister(seed)
    net()
    places = Twister(net())
    tops = []
    for index in range(batches):
        data = []
        for frame in frames[index * batch : (index + 1) * batch]:
            for _ in range(2):
                flip = places() % 2
                top, left = (HEIGHT - crop) // 2, (WIDTH - crop) // 2
                if phase == "TRAIN":
                    top, left = places() % (HEIGHT - crop + 1), places() % (WIDTH - crop + 1)
            cut = frame[top : top + crop, left : left + crop]
            data.append((cut[:, ::-1] if flip else cut).transpose(2, 0, 1).astype(np.float32) - np.float32(3.5))
        tops.append({"data": np.stack(data), "label": np.zeros(batch, np.float32)})
    return tops


@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
@pytest.mark.parametrize("workers", [0, 3])
def test_as_the_original(folder, frames, phase, workers):
    text = prototxt(3, "crop_size: 20 mirror: true mean_value: 3.5")
    with reading_net(text, folder, phase, seed=9, workers=workers) as net:
        assert_same(passes(net, 8), model(frames, 9, 8, 3, 20, phase))


def test_the_end(folder, frames):
    text = prototxt(5, tops=1)
    with reading_net(text, folder, workers=1) as net:
        got = passes(net, 4)
        for _ in range(2):
            with pytest.raises(EndOfItemsError, match=r"film.avi: layer \"film\": the video ends after 24 frames"):
                net()
    assert [sorted(tops) for tops in got] == [["data"]] * 4
    np.testing.assert_array_equal(got[3]["data"], np.stack(frames[15:20]).transpose(0, 3, 1, 2))


def test_skipped_frames(folder, frames):
    with reading_net(prototxt(3, skip_frames=2), folder) as net:
        assert keys_of(net, 2) == [f"film.avi#{number}" for number in (2, 5, 8, 11, 14, 17)]
        np.testing.assert_array_equal(net.readers[0].batch.tops[0][0], frames[11].transpose(2, 0, 1))


def test_workers_and_restore(folder):
    text = prototxt(transform="crop_size: 20 mirror: true")
    check_workers(text, folder)
    check_restore(text, folder, before=2, after=6)
    check_no_state(text, folder)


def test_ranks(folder):
    for rank in range(3):
        with reading_net(prototxt(), folder, rank=rank, world=3) as net:
            assert keys_of(net, 4) == [f"film.avi#{number}" for number in range(rank, COUNT, 3)]
    with reading_net(prototxt(), folder, "TEST", rank=1, world=3) as net:
        assert keys_of(net, 1) == ["film.avi#0", "film.avi#1"]


class Camera:
    """Frames that hold their number, from 0; no more than `last`."""

    opened: ClassVar[list[Camera]] = []
    last = 1000

    def __init__(self, device):
        self.device, self.number, self.released = device, -1, False
        self.opened.append(self)

    def isOpened(self):  # noqa: N802 - OpenCV's name
        return self.device == 1

    def grab(self):
        self.number += 1
        return True

    def read(self):
        self.number += 1
        good = self.number <= self.last
        return good, np.full((4, 6, 3), self.number, np.uint8) if good else None

    def release(self):
        self.released = True


def test_a_camera(monkeypatch, tmp_path):
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(Camera, "opened", [])
    text = prototxt(video_type=None, video_file=None, device_id=1)
    with reading_net(text, tmp_path, workers=2) as net:
        # The first frame told the size.
        numbers = [tops["data"][:, 0, 0, 0].tolist() for tops in passes(net, 3)]
        assert numbers == [[1, 2], [3, 4], [5, 6]]
        assert net.readers[0].batch.keys == ("camera 1#4", "camera 1#5")
        assert net()["data"].shape == (2, 3, 4, 6)
    assert [camera.released for camera in Camera.opened] == [True]
    skipping = prototxt(video_type="WEBCAM", video_file=None, device_id=1, skip_frames=2)
    with reading_net(skipping, tmp_path) as net:
        assert [tops["data"][:, 0, 0, 0].tolist() for tops in passes(net, 2)] == [[5, 8], [11, 14]]
    monkeypatch.setattr(Camera, "last", 3)
    with reading_net(text, tmp_path) as net:
        net()
        with pytest.raises(CaffeCompatError, match='layer "film": camera 1 gives no frame'):
            net()
    with (
        pytest.raises(CaffeCompatError, match="camera 0 cannot be opened"),
        reading_net(prototxt(video_type="WEBCAM"), tmp_path),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (prototxt(batch=0), "batch_size of at least 1, got 0"),
        (prototxt(video_file=None), "video_data_param: video_file is missing"),
        (prototxt(video_file='"no.avi"'), "video_file 'no.avi' is not there"),
        (prototxt(video_file='"text.avi"'), 'text.avi: layer "film": not a video that OpenCV can read'),
        (prototxt(video_file='"cut.avi"'), 'cut.avi: layer "film": '),
        (prototxt(transform="crop_size: 33"), "a crop of 33x33 does not fit into 32x48"),
        (prototxt(transform="mean_value: 1 mean_value: 2"), "one mean_value or 3"),
    ],
)
def test_faults(folder, text, message):
    (folder / "text.avi").write_text("no film")
    (folder / "cut.avi").write_bytes((folder / "film.avi").read_bytes()[:1000])
    with pytest.raises(CaffeCompatError, match=message), reading_net(text, folder):
        pass


def test_skipping_more_than_there_is(folder):
    text = prototxt(skip_frames=4294967295)
    with reading_net(text, folder) as net, pytest.raises(EndOfItemsError, match="ends after 24 frames"):
        net()
