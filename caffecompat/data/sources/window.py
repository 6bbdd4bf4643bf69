"""WindowData: windows of pictures, warped to the crop, so many with an object and so many without in each batch.

Source: window_data_layer.cpp, the same in both dialects, whose windows and mirrors a seed gives again. Its draws, in
order: one if mirrors are random or the phase is TRAIN, whose stream is thrown away; one that seeds the windows and the
mirrors; again the first; one for the thread. `scale` is that of `window_data_param`; what `transform_param` scales by
is not asked, as in the original.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import cv2
import numpy as np

from caffecompat.data.augmenting import refuse_own_fields
from caffecompat.data.draws import Draws
from caffecompat.data.geometry import MAX_PIXELS
from caffecompat.data.images import Image, decode_image, read_encoded
from caffecompat.data.lists import checked_batch_size, find, read_items, restored
from caffecompat.data.means import read_mean_image
from caffecompat.data.order import share
from caffecompat.data.source import Batch, Floats, Reading, Source, State, Ticket
from caffecompat.data.window_file import CHANNELS, WindowFile, Windows
from caffecompat.data.windows import Placed, Window, expanded
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, ShapeError
from caffecompat.graph.spec import LayerSpec, Shape


class WindowSource(Source):
    """What `window_data_param` names.

    An item is a window: those of the background are counted first, then those of the foreground.

    Args:
        spec: the layer.
        reading: how to read; of several processes each has every `world`-th window of either kind for its own.

    Raises:
        CaffeCompatError: the window file or the mean cannot be read, or a parameter makes no sense.
    """

    def __init__(self, spec: LayerSpec, reading: Reading) -> None:
        super().__init__(spec, reading)
        param, transform = spec.message.window_data_param, spec.message.transform_param
        refuse_own_fields(spec)
        self._batch_size = checked_batch_size(spec, param.batch_size)
        self._crop = int(transform.crop_size)
        self._pad, self._square = int(param.context_pad), param.crop_mode == "square"
        self._mirrors, self._scale = transform.mirror, np.float32(param.scale)
        self._check()
        self._foreground = int(np.float32(self._batch_size) * np.float32(param.fg_fraction))
        self._mean = self._read_mean()
        self._file = self._read_windows()
        self._kinds = (self._file.background, self._file.foreground)
        self._rank, self._world = share(spec, reading, min(map(len, self._kinds)))
        self._cached: dict[int, Image] | None = {} if param.cache_images else None
        seeds = int(transform.mirror or spec.phase == "TRAIN")
        reading.draws.many(seeds)
        self._draws = Draws(reading.draws())
        reading.draws.many(seeds + 1)

    def _check(self) -> None:
        """Raise if a parameter makes no sense, warn of what does nothing."""
        spec, param = self.spec, self.spec.message.window_data_param
        if not 1 <= self._crop <= math.isqrt(MAX_PIXELS):
            raise spec.error(f"transform_param: expected a crop_size from 1 on, got {self._crop}")
        if 2 * self._pad >= self._crop:
            raise spec.error(f"expected a context_pad of less than half of the crop {self._crop}, got {self._pad}")
        if not (0 <= param.fg_fraction <= 1 and math.isfinite(param.scale)):
            raise spec.error(
                f"expected fg_fraction from 0 to 1 and a finite scale, got {param.fg_fraction} and {param.scale}"
            )
        ignored = []
        if spec.message.transform_param.scale != 1:
            ignored.append("scale of transform_param is ignored, as in Caffe: that of window_data_param counts")
        if param.crop_mode not in ("warp", "square"):
            ignored.append(f'crop_mode "{param.crop_mode}" is taken for "warp", as in Caffe')
        for text in ignored:
            warnings.warn(f'layer "{spec.name}": {text}', CaffeCompatWarning, stacklevel=4)

    def _read_windows(self) -> WindowFile:
        param = self.spec.message.window_data_param
        if not param.source:
            raise self.spec.error("window_data_param: source is missing")
        path = find(self.spec, self.reading, param.source, "source")
        file = WindowFile(path, param.fg_threshold, param.bg_threshold)
        if not len(file.foreground) or not len(file.background):
            raise self.spec.error(
                f"expected windows with an object and without, got {len(file.foreground)} of an overlap of at least "
                f"{param.fg_threshold} and {len(file.background)} below {param.bg_threshold} in {path}",
                hint="see fg_threshold and bg_threshold",
            )
        return file

    def _read_mean(self) -> Floats | None:
        """What is subtracted: (channels, crop, crop) or (channels or 1, 1, 1)."""
        param = self.spec.message.transform_param
        if not param.HasField("mean_file"):
            if len(param.mean_value) not in (0, 1, CHANNELS):
                raise self.spec.error(f"expected one mean_value or {CHANNELS}, got {len(param.mean_value)}")
            return np.array(param.mean_value, np.float32).reshape(-1, 1, 1) if param.mean_value else None
        if param.mean_value:
            raise self.spec.error("transform_param: mean_file and mean_value are both set", hint="keep one of them")
        path = find(self.spec, self.reading, param.mean_file, "mean_file")
        image = read_mean_image(path)
        # One offset serves both axes.
        start = (image.shape[2] - self._crop) // 2
        cut = image[:, start : start + self._crop, start : start + self._crop]
        if start < 0 or cut.shape != (CHANNELS, self._crop, self._crop):
            raise ShapeError(
                f"expected a mean of {CHANNELS} channels that holds a crop of {self._crop} from row and column {start} "
                f"on, got the shape {image.shape}",
                file=path,
            )
        return cut

    def shapes(self) -> tuple[Shape, ...]:
        return (self._batch_size, CHANNELS, self._crop, self._crop), (self._batch_size,)

    def tickets(self) -> tuple[Ticket, ...]:
        tickets = []
        for place in range(self._batch_size):
            # The background comes first.
            kind = int(place >= self._batch_size - self._foreground)
            own = range(self._rank, len(self._kinds[kind]), self._world)
            item = own[self._draws() % len(own)] + kind * len(self._kinds[0])
            tickets.append(Ticket(item, (self._draws(),) if self._mirrors else ()))
        return tuple(tickets)

    def _window(self, item: int) -> list[int]:
        """Picture, class, x1, y1, x2, y2 of a window."""
        behind = item - len(self._kinds[0])
        row = self._kinds[0][item] if behind < 0 else self._kinds[1][behind]
        return [int(value) for value in row]

    def load(self, tickets: Sequence[Ticket]) -> Batch:
        data = np.zeros((len(tickets), CHANNELS, self._crop, self._crop), np.float32)
        labels = np.empty(len(tickets), np.float32)

        def read(place: int, ticket: Ticket) -> str:
            picture, label, *corners = self._window(ticket.item)
            mirror = self._mirrors and ticket.draws[0] % 2 == 1
            try:
                self._cut(self._image(picture), (corners[0], corners[1], corners[2], corners[3]), mirror, data[place])
            except CaffeCompatError as error:
                raise self._fault(picture, error) from error
            labels[place] = label
            return f"{self._file.pictures[picture]}#{','.join(map(str, corners))}"

        keys, skipped = read_items(tickets, read, self._following, self.reading.skip_bad_records)
        return Batch((data, labels), tuple(keys), skipped)

    def _fault(self, picture: int, error: CaffeCompatError) -> CaffeCompatError:
        place = "" if error.file is None else f"{error.file}: "
        line = self._file.lines[picture]
        message = place + error.message
        return type(error)(message, file=self._file.path, line=line, layer=self.spec.name, hint=error.hint)

    def _following(self, item: int) -> int:
        """The next window of the same kind, of this process, and of another picture."""
        kind = int(item >= len(self._kinds[0]))
        before = kind * len(self._kinds[0])
        own: Windows = self._kinds[kind][self._rank :: self._world]
        # They are in the order of the pictures.
        next_one = int(np.searchsorted(own[:, 0], self._kinds[kind][item - before, 0], "right")) % len(own)
        return self._rank + next_one * self._world + before

    def _image(self, picture: int) -> Image:
        """A picture; `cache_images` keeps the bytes of its file."""
        name = self.spec.message.window_data_param.root_folder + self._file.pictures[picture]
        encoded = None if self._cached is None else self._cached.get(picture)
        if encoded is None:
            path = find(self.spec, self.reading, name, "picture")
            encoded = read_encoded(path)
            if self._cached is not None:
                self._cached[picture] = encoded
            return decode_image(encoded, path)
        return decode_image(encoded, name)

    def _cut(self, image: Image, window: Window, mirror: bool, out: Floats) -> None:
        """Warp a window into `out`, float32 (channels, crop, crop), which is zero."""
        height, width = image.shape[:2]
        (x1, y1, x2, y2), placed = window, None
        if x1 <= x2 and y1 <= y2:
            placed = Placed(window, (self._crop, self._crop))
            if self._pad > 0 or self._square:
                placed = expanded(window, self._crop, self._pad, self._square, (height, width), mirror)
            x1, y1, x2, y2 = placed.window
        if placed is None or not (0 <= x1 <= x2 < width and 0 <= y1 <= y2 < height) or min(placed.size) < 1:
            raise ShapeError(
                f"the window {window} does not lie in the picture of {height}x{width}, or nothing is left of it",
                hint="a window is x1 y1 x2 y2, counted from 0, both ends included",
            )
        rows, columns = placed.size
        warped = cv2.resize(image[y1 : y2 + 1, x1 : x2 + 1], (columns, rows), interpolation=cv2.INTER_LINEAR)
        values = np.asarray(cv2.flip(warped, 1) if mirror else warped).transpose(2, 0, 1).astype(np.float32)
        place = slice(placed.top, placed.top + rows), slice(placed.left, placed.left + columns)
        if self._mean is not None:
            values -= self._mean[:, place[0], place[1]] if self._mean.shape[1] > 1 else self._mean
        out[:, place[0], place[1]] = values * self._scale

    def state(self) -> State:
        return {"draws": self._draws.state()}

    def restore(self, state: State) -> None:
        restored(state, lambda state: self._draws.restore(state["draws"]))
