"""DetectionOutput and DetectionEvaluate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from caffecompat.detection.boxes import CodeType
from caffecompat.detection.evaluate import (
    Boxes,
    count_positives,
    in_order,
    match_detections,
    read_detections,
    read_ground_truth,
)
from caffecompat.detection.name_sizes import NameSizes, read_name_sizes
from caffecompat.detection.output import FLT_MAX, DetectionOptions, detect
from caffecompat.detection.placement import boxes_in_image
from caffecompat.errors import CaffeCompatError, SchemaError, ShapeError
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers.base import Layer, Shape, layer
from caffecompat.layers.detection_writing import Writer, open_writers
from caffecompat.schema import caffe_pb2

if TYPE_CHECKING:
    from caffecompat.data.source import Reading

CODE_TYPES: dict[int, CodeType] = {
    caffe_pb2.PriorBoxParameter.CORNER: "CORNER",
    caffe_pb2.PriorBoxParameter.CENTER_SIZE: "CENTER_SIZE",
    caffe_pb2.PriorBoxParameter.CORNER_SIZE: "CORNER_SIZE",
}


def check_predictions(spec: LayerSpec, bottoms: Sequence[Shape], classes: int, loc_classes: int) -> int:
    """The number of priors, where predictions of locations and confidences fit them.

    Args:
        spec: the layer, for the error.
        bottoms: location predictions (N, P * loc_classes * 4, ...), confidences (N, P * classes, ...), and priors
            (1, 2, P * 4).
        classes: the number of classes.
        loc_classes: for how many of them locations are predicted.

    Raises:
        ShapeError: they do not fit.
    """
    loc, conf, prior = (tuple(bottom) for bottom in bottoms[:3])
    if len(prior) < 3 or prior[:2] != (1, 2) or prior[2] % 4 or any(size != 1 for size in prior[3:]):
        raise spec.error(f"expected priors of shape (1, 2, priors * 4), got {prior}", kind=ShapeError)
    priors = prior[2] // 4
    for what, shape, values in (("location", loc, loc_classes * 4), ("confidence", conf, classes)):
        if len(shape) < 2 or shape[1] != priors * values or any(size != 1 for size in shape[2:]):
            raise spec.error(
                f"expected {what} predictions of shape (N, {priors * values}) for {priors} priors, got {shape}",
                hint="num_classes and share_location say how many predictions belong to a prior",
                kind=ShapeError,
            )
    if loc[0] != conf[0]:
        raise spec.error(f"location predictions for {loc[0]} images, confidences for {conf[0]}", kind=ShapeError)
    return priors


@layer("DetectionOutput")
class DetectionOutput(Layer):
    """Decoded boxes of each class after non-maximum suppression.

    The top is (1, 1, K, 7), K depending on the data: image, label, score, xmin, ymin, xmax, ymax, by image, label
    and falling score. If no image has any, there is a row (image, -1, ..., -1) for each. In a net of phase TEST that
    reads its own data, `save_output_param` writes files of results, and `visualize` with `save_file` a video.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        param = spec.message.detection_output_param
        nms_param = param.nms_param
        self.classes = param.num_classes
        self.loc_classes = 1 if param.share_location else self.classes
        if self.classes < 1:
            raise self.error("num_classes is missing or 0", kind=SchemaError)
        if not nms_param.nms_threshold >= 0 or not 0 < nms_param.eta <= 1:
            raise self.error(
                f"expected nms_threshold of at least 0 and eta above 0 and up to 1, got {nms_param.nms_threshold} "
                f"and {nms_param.eta}",
                kind=SchemaError,
            )
        self.options = DetectionOptions(
            background=param.background_label_id,
            code_type=CODE_TYPES[param.code_type],
            variance_encoded_in_target=param.variance_encoded_in_target,
            confidence_threshold=param.confidence_threshold if param.HasField("confidence_threshold") else -FLT_MAX,
            nms_threshold=nms_param.nms_threshold,
            eta=nms_param.eta,
            top_k=nms_param.top_k if nms_param.HasField("top_k") else -1,
            keep_top_k=param.keep_top_k,
        )
        self.priors = check_predictions(spec, bottoms, self.classes, self.loc_classes)
        self._writers: list[Writer] = []

    def open_writers(self, reading: Reading | None) -> None:
        """From now on write what `save_output_param` and `visualize` state, where the net reads its own data.

        Args:
            reading: how the net reads; None if it is fed, which writes nothing.

        Raises:
            CaffeCompatError: a file that the layer names cannot be read, or the fields make no sense.
        """
        self._writers = open_writers(self.spec, reading)

    @property
    def place(self) -> int:
        """How many images of `name_size_file` have passed in the round under way; 0 where it writes none."""
        return next((writer.place for writer in self._writers if writer.place is not None), 0)

    def go_on(self, place: int) -> None:
        """Go on where so many images had passed.

        Raises:
            ValueError: a round has not so many.
        """
        for writer in self._writers:
            writer.go_on(place)

    def close(self) -> None:
        """Finish the files that it writes.

        Raises:
            CaffeCompatError: one cannot be written.
        """
        for writer in self._writers:
            writer.close()

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """(1, 1, 1, 7): the number of rows is known only after a pass, and 1 as in Caffe until then."""
        check_predictions(self.spec, bottoms, self.classes, self.loc_classes)
        return ((1, 1, 1, 7),)

    @torch.no_grad()
    def forward(self, loc: Tensor, conf: Tensor, priors: Tensor, data: Tensor | None = None) -> Tensor:
        count = priors.shape[2] // 4
        boxes, variances = priors.reshape(2, count, 4).unbind(0)
        rows = detect(
            loc.reshape(-1, count, self.loc_classes, 4),
            conf.reshape(-1, count, self.classes),
            boxes,
            variances,
            self.options,
        )
        for writer in self._writers:
            writer.add(rows, loc.shape[0], data)
        return rows[None, None]


@layer("DetectionEvaluate")
class DetectionEvaluate(Layer):
    """Detections (1, 1, K, 7) against ground truth (1, 1, G, 8).

    The top is (1, 1, classes + K, 5): first (-1, label, number of boxes to find, -1, -1) for each class but the
    background, then (image, label, score, true positive, false positive) for each detection. With
    `name_size_file` boxes are compared in pixels: the n-th image with detections has the file's n-th size.
    """

    def __init__(self, spec: LayerSpec, bottoms: Sequence[Shape]) -> None:
        super().__init__(spec, bottoms)
        self.param = spec.message.detection_evaluate_param
        if self.param.num_classes < 1 or not self.param.overlap_threshold > 0:
            raise self.error(
                f"expected num_classes and overlap_threshold above 0, got {self.param.num_classes} and "
                f"{self.param.overlap_threshold}",
                kind=SchemaError,
            )
        self._sizes: NameSizes | None = None
        self._place = 0

    @property
    def place(self) -> int:
        """Of which image of `name_size_file` the next one with detections has the size; 0 without the file."""
        return self._place

    def go_on(self, place: int) -> None:
        """Go on at this image.

        Raises:
            ValueError: it is none.
        """
        if place < 0:
            raise ValueError(f"expected the place of an image, got {place}")
        self._place = place

    def shapes(self, *bottoms: Shape) -> tuple[Shape, ...]:
        """(1, 1, classes + K, 5), if all K rows are detections."""
        for bottom, width in zip(bottoms, (7, 8), strict=True):
            if len(bottom) != 4 or bottom[:2] != (1, 1) or bottom[3] != width:
                raise self.error(f"expected a bottom of shape (1, 1, rows, {width}), got {bottom}")
        classes = self.param.num_classes - (0 <= self.param.background_label_id < self.param.num_classes)
        return ((1, 1, classes + bottoms[0][2], 5),)

    @torch.no_grad()
    def forward(self, detections: Tensor, labels: Tensor) -> Tensor:
        self.shapes(tuple(detections.shape), tuple(labels.shape))
        found, truth = read_detections(detections), read_ground_truth(labels)
        for what, boxes in (("detection", found), ("ground truth", truth)):
            if (boxes.label == self.param.background_label_id).any():
                raise self.error(f"a {what} has the background's label, {self.param.background_label_id}")
        if self.param.name_size_file:
            images = sorted(set(detections[0, 0, :, 0].long().tolist()))
            found, truth = self._in_pixels(found, truth, [image for image in images if image != -1])
        found = found[in_order(found, truth)]
        difficult = self.param.evaluate_difficult_gt
        marks = match_detections(found, truth, self.param.overlap_threshold, evaluate_difficult=difficult)
        counts = count_positives(truth, self.param.num_classes, evaluate_difficult=difficult)
        counted = [label for label in range(self.param.num_classes) if label != self.param.background_label_id]
        rows = detections.new_full((len(counted), 5), -1.0)
        rows[:, 1] = rows.new_tensor(counted)
        rows[:, 2] = counts[counted].to(rows.dtype)
        columns = [found.image.to(rows.dtype), found.label.to(rows.dtype), found.score]
        return torch.cat([rows, torch.cat([torch.stack(columns, 1), marks], 1)])[None, None]

    def _in_pixels(self, found: Boxes, truth: Boxes, images: Sequence[int]) -> tuple[Boxes, Boxes]:
        """Both in pixels of their images, whose sizes are the file's next ones (from its start again at its end)."""
        sizes = (self._sizes or self._read_sizes()).sizes
        resize = self.param.resize_param if self.param.HasField("resize_param") else None
        results = []
        for boxes in (found, truth):
            placed, areas = boxes.boxes.clone(), torch.zeros_like(boxes.score)
            for offset, image in enumerate(images):
                height, width = sizes[(self._place + offset) % len(sizes)]
                own = boxes.image == image
                placed[own], areas[own] = boxes_in_image(boxes.boxes[own], height, width, resize)
            results.append(replace(boxes, boxes=placed, pixel_areas=areas))
        self._place = (self._place + len(images)) % len(sizes)
        return results[0], results[1]

    def _read_sizes(self) -> NameSizes:
        try:
            self._sizes = read_name_sizes(self.spec.find(self.param.name_size_file, "name_size_file"))
        except CaffeCompatError as error:
            raise self.spec.locate(error) from None
        return self._sizes
