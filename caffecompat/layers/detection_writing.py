"""What DetectionOutput writes beside its top, where its net reads its own data: files of results, and a video.

Source of the rules: detection_output_layer.cpp, VisualizeBBox and DataTransformer::TransformInv of the SSD branch.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from torch import Tensor

from caffecompat.detection.label_map import LabelMap, read_label_map
from caffecompat.detection.name_sizes import read_name_sizes
from caffecompat.detection.result_files import FORMATS, ResultFiles, Target
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, SchemaError, UsageError, did_you_mean, quoted
from caffecompat.graph.spec import LayerSpec

if TYPE_CHECKING:
    from caffecompat.data.source import Reading

# What is told where a layer that states files of results writes none.
NOT_WRITTEN = "detections are returned, not written or shown"
VISUALIZE_THRESHOLD = 0.6
VISUALIZE_RATE = 30.0


class Writer(Protocol):
    """Takes the detections of each pass.

    Attributes:
        place: how many images of a round have passed, where it counts them.
    """

    @property
    def place(self) -> int | None: ...

    def go_on(self, place: int) -> None:
        """Go on where so many images of a round had passed.

        Raises:
            ValueError: a round has not so many.
        """

    def add(self, rows: Tensor, images: int, data: Tensor | None) -> None:
        """Take the rows (K, 7) of a batch of so many images; `data` is what the layer's fourth bottom held."""

    def close(self) -> None:
        """Finish what is written."""


def open_writers(spec: LayerSpec, reading: Reading | None) -> list[Writer]:
    """What a DetectionOutput layer writes to.

    Args:
        spec: the layer.
        reading: how its net reads; None if it is fed. Only a net of phase TEST that reads and is let write, in the
            first of several processes, writes anything: what others state is told in a warning.

    Raises:
        CaffeCompatError: a file that the layer names cannot be read, or the fields make no sense.
    """
    param = spec.message.detection_output_param
    if reading is None or not reading.results or spec.phase != "TEST":
        for field, wanted in (
            ("save_output_param", param.save_output_param.output_directory),
            ("visualize", param.visualize),
        ):
            if wanted:
                hint = "`caffecompat test` and solvers write them, and nets loaded with reading=Reading()"
                _warn(spec, f"{field} is ignored: {NOT_WRITTEN}", hint)
        return []
    if reading.rank != 0:
        return []
    writers = [_result_files(spec, reading), _video(spec, reading)]
    return [writer for writer in writers if writer is not None]


def _warn(spec: LayerSpec, text: str, hint: str | None = None) -> None:
    warnings.warn(str(spec.error(text, hint=hint)), CaffeCompatWarning, stacklevel=2)


# --- files of results


class _Results:
    """The files of `save_output_param`."""

    def __init__(self, spec: LayerSpec, files: ResultFiles) -> None:
        self._spec = spec
        self.files = files

    @property
    def place(self) -> int:
        return self.files.place

    def go_on(self, place: int) -> None:
        self.files.go_on(place)

    def add(self, rows: Tensor, images: int, data: Tensor | None) -> None:
        try:
            self.files.add(rows, images)
        except CaffeCompatError as error:
            raise self._spec.locate(error) from None

    def close(self) -> None:
        fewer = self.files.close()
        if fewer is not None:
            _warn(self._spec, fewer)


def _result_files(spec: LayerSpec, reading: Reading) -> Writer | None:
    param = spec.message.detection_output_param
    save = param.save_output_param
    if not save.output_directory:
        return None
    for field in ("label_map_file", "name_size_file"):
        if not getattr(save, field):
            _warn(spec, f"save_output_param states no {field}: no results are written")
            return None
    if save.output_format not in FORMATS:
        hint = did_you_mean(save.output_format, FORMATS) or f"output_format is one of {', '.join(FORMATS)}"
        _warn(spec, f"output_format {quoted(save.output_format)} is not known: no results are written", hint)
        return None
    if save.HasField("resize_param") and min(save.resize_param.height, save.resize_param.width) < 1:
        raise spec.error("save_output_param: expected a height and a width in resize_param", kind=SchemaError)
    if "\0" in save.output_directory:
        raise spec.error(f"expected a folder as output_directory, got {quoted(save.output_directory)}")
    try:
        names = _label_map(spec).names
        images = read_name_sizes(spec.find(save.name_size_file, "name_size_file"))
    except CaffeCompatError as error:
        if not reading.optional_results:
            raise
        _warn(spec, f"{error.message}: no results are written")
        return None
    categories = {
        label: names[label]
        for label in range(param.num_classes)
        if label != param.background_label_id and label in names
    }
    try:
        target = Target(
            Path(reading.root or ".") / save.output_directory,
            save.output_name_prefix,
            save.output_format,
            categories,
            images,
            _round(spec, len(images)),
            save.resize_param if save.HasField("resize_param") else None,
        )
        files = ResultFiles(target)
        _check_writable(target.folder)
    except CaffeCompatError as error:
        raise spec.locate(error) from None
    return _Results(spec, files)


def _label_map(spec: LayerSpec) -> LabelMap:
    file = spec.message.detection_output_param.save_output_param.label_map_file
    return read_label_map(spec.find(file, "label_map_file")) if file else LabelMap({}, {})


def _round(spec: LayerSpec, named: int) -> int:
    """After how many images the files are written."""
    save = spec.message.detection_output_param.save_output_param
    if not save.HasField("num_test_image"):
        return named
    if save.num_test_image < 1:
        raise spec.error(f"expected num_test_image of at least 1, got {save.num_test_image}", kind=SchemaError)
    if save.num_test_image > named:
        _warn(spec, f"num_test_image is {save.num_test_image}, and name_size_file has {named} images: so many count")
    return min(named, int(save.num_test_image))


def _check_writable(folder: Path) -> None:
    """Whether files can be made in a folder that may be missing yet: that shows now, not after a day of training."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        hint = "give another output_directory in save_output_param, or none to write no results"
        raise CaffeCompatError(f"results cannot be written: {there} is no folder where you may write", hint=hint)


# --- pictures


class _Video:
    """The pictures with their boxes, as a video file: a resumed run begins another one."""

    place = None

    def __init__(self, spec: LayerSpec, reading: Reading) -> None:
        from caffecompat.data.undoing import Untransformer
        from caffecompat.data.videos import VideoFile

        param = spec.message.detection_output_param
        self._names = _label_map(spec).display_names
        self._threshold = param.visualize_threshold if param.HasField("visualize_threshold") else VISUALIZE_THRESHOLD
        self._undo = Untransformer(spec, reading.root)
        try:
            self._file = VideoFile(Path(reading.root or ".") / param.save_file, VISUALIZE_RATE)
            _check_writable(self._file.path.parent)
        except CaffeCompatError as error:
            raise spec.locate(error) from None

    def add(self, rows: Tensor, images: int, data: Tensor | None) -> None:
        from caffecompat.detection.drawing import DrawnBox, draw_boxes

        if data is None:
            return
        found = rows.detach().cpu().float().numpy()
        found = found[(found[:, 1] >= 0) & (found[:, 2] >= self._threshold)]
        for index, image in enumerate(data.detach().cpu().float().numpy()[:images]):
            picture = self._undo(image)
            height, width = picture.shape[:2]
            own = found[found[:, 0] == index]
            corners = (own[:, 3:] * np.array([width, height] * 2, np.float32)).tolist()
            boxes = [
                DrawnBox(int(label), self._names.get(int(label), "Unknown"), score, (left, top, right, bottom))
                for (label, score), (left, top, right, bottom) in zip(own[:, 1:3].tolist(), corners, strict=True)
            ]
            self._file.write(draw_boxes(picture, boxes))

    def go_on(self, place: int) -> None:
        pass

    def close(self) -> None:
        self._file.close()


def _video(spec: LayerSpec, reading: Reading) -> Writer | None:
    param = spec.message.detection_output_param
    if not param.visualize:
        return None
    if not param.save_file:
        hint = 'save_file: "found.avi" writes a video; or `caffecompat detect --draw` draws on any pictures'
        _warn(spec, "visualize opens no window here, and nothing is drawn", hint)
        return None
    if len(spec.bottoms) < 4:
        raise spec.error("visualize needs a fourth bottom, the pictures", kind=UsageError)
    return _Video(spec, reading)
