"""What the detections of a net come to: right and wrong ones, boxes taken for others and missed ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice

from torch import Tensor

from caffecompat.cli.report.matched import Matched
from caffecompat.cli.report.names import Names
from caffecompat.cli.report.pictures import Mark, Pictures, Thumbnail
from caffecompat.cli.report.ranking import Best
from caffecompat.cli.report.style import COLOURS
from caffecompat.detection.average_precision import AveragePrecisions
from caffecompat.detection.confusion import pair_up
from caffecompat.detection.evaluate import Boxes, count_positives, read_ground_truth
from caffecompat.graph.spec import LayerSpec

# On a picture so many boxes of each kind beside the one that it is about.
MAX_BOXES = 30


@dataclass(frozen=True)
class Example:
    """A detection or a missed box, on its picture.

    Attributes:
        picture: the picture, or None.
        marks: the boxes on it.
        key: what the picture is called.
        label: the class that was detected, or missed.
        score: of the detection; of a missed box that of what found it, or None.
        overlap: of a detection with a box of its class.
        over: the class of the box that a wrong detection lies on, or None.
    """

    picture: Thumbnail | None
    marks: tuple[Mark, ...]
    key: str
    label: int
    score: float | None
    overlap: float = 0.0
    over: int | None = None


@dataclass(frozen=True)
class Settings:
    """How detections are looked at.

    Attributes:
        version: how average precision is computed.
        threshold: the least score of a detection that counts in the confusion, and is drawn beside an example.
        examples: how many examples of each kind are kept.
    """

    version: str
    threshold: float
    examples: int


class Detections:
    """Gathers what a DetectionEvaluate layer is given and gives, pass by pass.

    Args:
        spec: the layer.
        pictures: those that detections are found in.
        names: what the classes are called.
        settings: how it looks.

    Attributes:
        blobs: the blobs that `add` wants.
        precisions: what the rows of all passes come to.
        confusion: how often a box of a class, or nothing (None), was taken for a class, or missed (None).
        images: how many pictures there were.
        wrong: the wrong detections of the highest scores.
        missed: boxes that nothing found, large ones first, and those found with the lowest scores.
        right: the right detections of the highest scores.
    """

    def __init__(self, spec: LayerSpec, pictures: Pictures, names: Names, settings: Settings) -> None:
        self.spec = spec
        self.param = spec.message.detection_evaluate_param
        self.pictures = pictures
        self.names = names
        self.settings = settings
        self.blobs = tuple(key.name for key in (*spec.bottoms, *spec.tops))
        self.precisions = AveragePrecisions(settings.version)
        self.confusion: Counter[tuple[int | None, int | None]] = Counter()
        self.images = 0
        self.wrong: Best[Example] = Best(settings.examples)
        self.missed: Best[Example] = Best(settings.examples)
        self.right: Best[Example] = Best(settings.examples)

    def add(self, blobs: Mapping[str, Tensor], items: int | None = None) -> None:
        """Take the blobs of a pass, of so many pictures if not of all."""
        found, truth, rows = (blobs[name].detach().cpu().float() for name in self.blobs)
        if items is not None:
            found, truth, rows = self._cut(found, truth, rows, items)
        self.precisions.add(rows.numpy())
        batch = Matched(found, truth, rows)
        self.images += len(self.pictures.keys[:items]) or len(set(batch.truth.image.tolist()))
        self._confuse(batch)
        self._keep_detections(batch)
        self._keep_missed(batch)

    def _cut(self, found: Tensor, truth: Tensor, rows: Tensor, items: int) -> tuple[Tensor, Tensor, Tensor]:
        """The rows of the first pictures; the numbers of boxes to find are counted anew."""
        found, truth, rows = (blob.reshape(-1, blob.shape[-1]) for blob in (found, truth, rows))
        found, truth, rows = (blob[blob[:, 0] < items] for blob in (found, truth, rows))
        stated = rows[:, 0] == -1
        counts = count_positives(
            read_ground_truth(truth), self.param.num_classes, evaluate_difficult=self.param.evaluate_difficult_gt
        )
        rows[stated, 2] = counts[rows[stated, 1].long()].to(rows.dtype)
        return found, truth, rows

    def _skipped(self, truth: Boxes) -> list[bool]:
        """Which boxes need not be found."""
        skipped: list[bool] = (truth.difficult & (not self.param.evaluate_difficult_gt)).tolist()
        return skipped

    def _confuse(self, batch: Matched) -> None:
        sure = batch.sure(self.settings.threshold)
        pairs: list[int] = pair_up(sure, batch.truth, self.param.overlap_threshold).tolist()
        skipped, labels = self._skipped(batch.truth), batch.truth.label.tolist()
        for label, place in zip(sure.label.tolist(), pairs, strict=True):
            if place < 0 or not skipped[place]:
                self.confusion[labels[place] if place >= 0 else None, label] += 1
        for place in set(range(len(labels))).difference(pairs):
            if not skipped[place]:
                self.confusion[labels[place], None] += 1

    def _keep_detections(self, batch: Matched) -> None:
        scores = batch.found.score.tolist()
        for index, score in enumerate(scores):
            if batch.right[index]:
                self.right.offer(score, partial(self._detection, batch, index, score))
            elif batch.wrong[index]:
                self.wrong.offer(score, partial(self._detection, batch, index, score))

    def _keep_missed(self, batch: Matched) -> None:
        finders = batch.finders()
        sides = batch.truth.boxes[:, 2:] - batch.truth.boxes[:, :2]
        areas = sides.prod(1).tolist()
        for place, skipped in enumerate(self._skipped(batch.truth)):
            score = finders.get(place)
            if skipped or (score is not None and score >= self.settings.threshold):
                continue
            # What nothing found comes before what was found with a low score.
            rank = 2 + areas[place] if score is None else -score
            self.missed.offer(rank, partial(self._miss, batch, place, score))

    def _detection(self, batch: Matched, index: int, score: float) -> Example:
        image, label = int(batch.found.image[index]), int(batch.found.label[index])
        text = f"{self.names(label)} {score:.2f}"
        own = Mark(batch.found.boxes[index].tolist(), text, colour=class_colour(label))
        marks = (*self._truth(batch, image), *self._found(batch, image, but=index), own)
        over = batch.lies_on(index, self.param.overlap_threshold) if batch.wrong[index] else None
        key = self.pictures.key(image)
        return Example(self._picture(image), marks, key, label, score, batch.overlap[index], over)

    def _miss(self, batch: Matched, place: int, score: float | None) -> Example:
        image, label = int(batch.truth.image[place]), int(batch.truth.label[place])
        own = Mark(batch.truth.boxes[place].tolist(), self.names(label), truth=True)
        others = (Mark(mark.box, truth=True, thin=True) for mark in self._truth(batch, image, but=place))
        marks = (*others, *self._found(batch, image, named=True), own)
        return Example(self._picture(image), marks, self.pictures.key(image), label, score)

    def _picture(self, image: int) -> Thumbnail | None:
        picture = self.pictures[image]
        return None if picture is None else Thumbnail(picture)

    def _truth(self, batch: Matched, image: int, but: int | None = None) -> list[Mark]:
        """The boxes to find in a picture."""
        places = islice((place for place in batch.truth_in(image) if place != but), MAX_BOXES)
        return [
            Mark(batch.truth.boxes[place].tolist(), self.names(int(batch.truth.label[place])), truth=True)
            for place in places
        ]

    def _found(self, batch: Matched, image: int, but: int | None = None, named: bool = False) -> list[Mark]:
        """The detections in a picture, thin."""
        places = (place for place in batch.found_in(image, self.settings.threshold) if place != but)
        marks = []
        for place in islice(places, MAX_BOXES):
            label = int(batch.found.label[place])
            text = f"{self.names(label)} {float(batch.found.score[place]):.2f}" if named else ""
            marks.append(Mark(batch.found.boxes[place].tolist(), text, colour=class_colour(label), thin=True))
        return marks


def class_colour(label: int) -> int:
    """The number of the colour of a class; the last colour, grey, is no class's."""
    return label % (COLOURS - 1)
