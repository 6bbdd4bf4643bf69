"""VideoData: the frames of a video file or of a camera, read by OpenCV, one after the other.

Source: video_data_layer.cpp of the SSD branch. Its draws, in order: one if something in the transformation is random,
whose stream is thrown away; one if something is random, which seeds the mirrors and the crops; one for the thread. It
transforms each frame twice and keeps the second: so much is drawn here too. All labels are 0. `skip_frames` passes over
so many frames before each that is taken; the original aborts where it is not 0. At the end of a file the original
interrupts its own process; here `EndOfItemsError` is raised, by the batch that the file is too short for.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import cv2
import numpy as np

from caffecompat.data.images import Image
from caffecompat.data.lists import checked_batch_size, find, restore_stream, restored, stream_state
from caffecompat.data.source import Batch, EndOfItemsError, Floats, Reading, Source, State, Ticket
from caffecompat.data.transformer import Transformer
from caffecompat.errors import CaffeCompatError, FormatError, context
from caffecompat.graph.spec import LayerSpec, Shape
from caffecompat.schema import caffe_pb2

MAX_FRAME = 1 << 53


class VideoSource(Source):
    """What `video_data_param` names.

    Args:
        spec: the layer.
        reading: how to read; of several processes that train each takes every `world`-th of the frames.

    Raises:
        CaffeCompatError: the video or the camera cannot be opened, or a parameter makes no sense.
    """

    sequential = True

    def __init__(self, spec: LayerSpec, reading: Reading) -> None:
        super().__init__(spec, reading)
        self._batch_size = checked_batch_size(spec, spec.message.data_param.batch_size)
        self._frames = _frames(spec, reading)
        self._rank, self._world = (reading.rank, reading.world) if spec.phase == "TRAIN" else (0, 1)
        self._transformer = Transformer(spec, reading.root)
        self._transformer.stream(reading.draws)
        self._crops = self._transformer.stream(reading.draws)
        self._thread = self._transformer.thread(reading.draws)
        self._next = 0

    def shapes(self) -> tuple[Shape, ...]:
        with context(layer=self.spec.name):
            frame = self._frames.read(0)
            shape = self._transformer.shape((frame.shape[2], *frame.shape[:2]))
        return ((self._batch_size, *shape), (self._batch_size,))[: len(self.spec.tops)]

    def tickets(self) -> tuple[Ticket, ...]:
        return tuple(self._ticket() for _ in range(self._batch_size))

    def _ticket(self) -> Ticket:
        skip = self.spec.message.video_data_param.skip_frames
        frame = (self._next * self._world + self._rank) * (skip + 1) + skip
        self._next += 1
        self._transformer.draw(self._crops, self._thread)
        return Ticket(frame, self._transformer.draw(self._crops, self._thread))

    def load(self, tickets: Sequence[Ticket]) -> Batch:
        data: list[Floats] = []
        with context(layer=self.spec.name):
            for place, ticket in enumerate(tickets):
                frame = self._frames.read(ticket.item)
                if not data:
                    shape = self._transformer.shape((frame.shape[2], *frame.shape[:2]))
                    data.append(np.empty((len(tickets), *shape), np.float32))
                self._transformer.picture(frame, ticket.draws, data[0][place])
        labels = np.zeros(len(tickets), np.float32)
        keys = tuple(f"{self._frames.name}#{ticket.item}" for ticket in tickets)
        return Batch((data[0], labels)[: len(self.spec.tops)], keys)

    def state(self) -> State:
        return {"frame": self._next, "crops": stream_state(self._crops), "thread": stream_state(self._thread)}

    def restore(self, state: State) -> None:
        def all_of(state: State) -> None:
            if type(state["frame"]) is not int or not 0 <= state["frame"] < MAX_FRAME:
                raise ValueError("it lacks the number of a frame")
            restore_stream(self._crops, state["crops"])
            restore_stream(self._thread, state["thread"])
            self._next = state["frame"]

        restored(state, all_of)

    def close(self) -> None:
        self._frames.close()


class _File:
    """The frames of a video file, by their numbers from 0.

    Attributes:
        name: what the prototxt calls it.
    """

    def __init__(self, spec: LayerSpec, reading: Reading, name: str) -> None:
        self.name = name
        self._path = str(find(spec, reading, name, "video_file"))
        self._video: cv2.VideoCapture | None = None
        self._lock = Lock()
        # The number of the frame that comes next.
        self._at = 0

    def read(self, number: int) -> Image:
        """Frame `number`: uint8 (height, width, 3), B, G, R.

        Raises:
            EndOfItemsError: the video has fewer frames.
            FormatError: it is no video.
        """
        with self._lock:
            if self._video is None or number < self._at:
                self._open()
            while self._at < number and self._video is not None and self._video.grab():
                self._at += 1
            good, frame = self._video.read() if self._video is not None and self._at == number else (False, None)
            if not good or frame is None:
                raise self._ended()
            self._at += 1
            return np.asarray(frame, np.uint8)

    def _open(self) -> None:
        """Begin at the first frame."""
        if self._video is not None:
            self._video.release()
        self._video, self._at = cv2.VideoCapture(self._path), 0
        if not self._video.isOpened():
            raise FormatError("not a video that OpenCV can read", file=self._path)

    def _ended(self) -> CaffeCompatError:
        if self._at == 0:
            return FormatError("the video has no frame that OpenCV can read", file=self._path)
        return EndOfItemsError(
            f"the video ends after {self._at} frames, within the next batch",
            file=self._path,
            hint="so many passes are possible: frames / (1 + skip_frames) / batch_size, rounded down",
        )

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._video is not None:
                self._video.release()
            self._video = None


class _Camera:
    """The frames of a camera: whichever comes next, after those to skip."""

    def __init__(self, spec: LayerSpec) -> None:
        param = spec.message.video_data_param
        self.name = f"camera {param.device_id}"
        self._skip = param.skip_frames
        self._lock = Lock()
        self._video = cv2.VideoCapture(param.device_id)
        if not self._video.isOpened():
            raise spec.error(
                f"{self.name} cannot be opened", hint="state video_type: VIDEO and a video_file, or another device_id"
            )

    def read(self, number: int) -> Image:
        """The next frame: uint8 (height, width, 3), B, G, R; its number does not matter.

        Raises:
            CaffeCompatError: the camera gives none.
        """
        with self._lock:
            for _ in range(self._skip):
                self._video.grab()
            good, frame = self._video.read()
        if not good or frame is None:
            raise CaffeCompatError(f"{self.name} gives no frame")
        return np.asarray(frame, np.uint8)

    def close(self) -> None:
        """Let go of the camera."""
        with self._lock:
            self._video.release()


def _frames(spec: LayerSpec, reading: Reading) -> _File | _Camera:
    """What the frames come from."""
    param = spec.message.video_data_param
    if param.video_type != caffe_pb2.VideoDataParameter.VIDEO:
        return _Camera(spec)
    if not param.video_file:
        raise spec.error("video_data_param: video_file is missing")
    return _File(spec, reading, param.video_file)
