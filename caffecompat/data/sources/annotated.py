"""What the AnnotatedData layer reads: pictures with boxes from a database, augmented as SSD's authors did it.

Source: annotated_data_layer.cpp of the SSD branch. The labels of a batch are rows (1, 1, boxes, 8): item, label,
instance, xmin, ymin, xmax, ymax, difficult; a batch without boxes has one row of -1. Each item's augmentation follows
a number drawn for it, so that it does not depend on which thread makes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from caffecompat.data.annotated import Annotated, Augmenter, Plan, read_annotated
from caffecompat.data.annotations import extrapolated, mirrored, project, resized
from caffecompat.data.databases import key_text
from caffecompat.data.distortion import check_distortion
from caffecompat.data.geometry import Size
from caffecompat.data.images import Image
from caffecompat.data.lists import read_items
from caffecompat.data.sampling import check_samplers
from caffecompat.data.source import Batch, Floats, Reading, Ticket
from caffecompat.data.sources.database import DatabaseSource
from caffecompat.errors import CaffeCompatError, FormatError
from caffecompat.graph.spec import LayerSpec, Shape
from caffecompat.schema import caffe_pb2

LABEL_ROW = 8


class _Item(NamedTuple):
    """An item of a batch: its ticket, its key, its record, and what is to become of its picture, if that is decided."""

    ticket: Ticket
    key: bytes
    record: Annotated
    plan: Plan | None


class AnnotatedSource(DatabaseSource):
    """The batches of an AnnotatedData layer.

    Args:
        spec: the layer.
        reading: how to read.

    Raises:
        CaffeCompatError: the database or the mean cannot be read, or the parameters make no sense.
    """

    augments = True

    def __init__(self, spec: LayerSpec, reading: Reading) -> None:
        super().__init__(spec, reading)
        param, own = spec.message.transform_param, spec.message.annotated_data_param
        check_samplers(spec)
        check_distortion(spec)
        expands = param.HasField("expand_param")
        if expands and not 1 < param.expand_param.max_expand_ratio < np.inf:
            raise spec.error(
                f"expand_param: expected max_expand_ratio above 1, got {param.expand_param.max_expand_ratio}"
            )
        self._param = param
        fits_small = param.resize_param.resize_mode == caffe_pb2.ResizeParameter.FIT_SMALL_SIZE
        if param.HasField("resize_param") and fits_small and self._batch_size != 1:
            raise spec.error(
                f"FIT_SMALL_SIZE gives pictures of different sizes: expected batch_size 1, got {self._batch_size}"
            )
        self._augment = Augmenter(param, own.batch_sampler)
        self._boxes = own.HasField("anno_type") or self._first().typed

    def _first(self) -> Annotated:
        """The first record that can be read."""

        def read(_: int, ticket: Ticket) -> Annotated:
            return self.stored(ticket.item)[1]

        found, _ = read_items([Ticket(self._item())], read, self._following, self.reading.skip_bad_records)
        return found[0]

    def shapes(self) -> tuple[Shape, ...]:
        """Those of the first batch; of its labels, the boxes of its first record."""
        first = self._first()
        data = (self._batch_size, *self._transformer.shape(_shape(_picture(first, self._decode_flag))))
        label = (1, 1, max(len(first.rows), 1), LABEL_ROW) if self._boxes else (self._batch_size,)
        return (data, label)[: len(self.spec.tops)]

    def tickets(self) -> tuple[Ticket, ...]:
        """Those of the next batch; the last number drawn is the seed of the item's augmentation."""
        assert self._thread is not None
        return tuple(Ticket(ticket.item, (*ticket.draws, self._thread())) for ticket in super().tickets())

    def load(self, tickets: Sequence[Ticket]) -> Batch:
        """The batch of these tickets."""
        data: list[Floats] = []
        rows: list[Floats] = [np.empty((0, LABEL_ROW), np.float32)] * len(tickets)
        labels = np.empty(len(tickets), np.float32)
        # All decisions in a row: between pictures, which fill the processor's caches, they take twice as long.
        generators = [_generator(ticket) for ticket in tickets]
        foreseen = [self._foreseen(*pair) for pair in zip(tickets, generators, strict=True)]

        def read(place: int, ticket: Ticket) -> tuple[str, int]:
            ahead = foreseen[place]
            item = ahead if ahead is not None and ahead.ticket is ticket else self._look(ticket, _generator(ticket))
            try:
                image = _picture(item.record, self._decode_flag)
                plan = item.plan
                if plan is None or plan.size != image.shape[:2]:
                    plan = self._plan(item.record, (image.shape[0], image.shape[1]), ticket, _generator(ticket))
                image = self._augment.cut(image, plan)
                if not data:
                    data.append(self._empty((len(tickets), *self._transformer.shape(_shape(image)))))
                self._transformer.picture(image, ticket.draws[:-1], data[0][place])
            except CaffeCompatError as error:
                raise self._fault(item.key, error) from error
            if self._boxes:
                rows[place] = np.empty((len(plan.rows), LABEL_ROW), np.float32)
                rows[place][:, 0], rows[place][:, 1:] = place, plan.rows
            labels[place] = item.record.datum.label
            return key_text(item.key), ticket.item

        found, skipped = read_items(tickets, read, self._following, self.reading.skip_bad_records)
        label = _label_blob(rows) if self._boxes else labels
        keys, items = tuple(key for key, _ in found), tuple(item for _, item in found)
        return Batch((data[0], label)[: len(self.spec.tops)], keys, skipped, items)

    def _foreseen(self, ticket: Ticket, random: np.random.Generator) -> _Item | None:
        """What `_look` finds; None of a bad record, which is reported when its turn comes."""
        try:
            return self._look(ticket, random)
        except CaffeCompatError:
            return None

    def _look(self, ticket: Ticket, random: np.random.Generator) -> _Item:
        """The item of a ticket, and what is to become of it if its size is known without decoding it."""
        key, record = self._record(ticket.item)
        try:
            item = read_annotated(record)
            if self._boxes and not item.typed and not self.spec.message.annotated_data_param.HasField("anno_type"):
                raise FormatError("the record has no annotations, as the first one has")
            size = item.datum.size()
            return _Item(ticket, key, item, None if size is None else self._plan(item, size, ticket, random))
        except CaffeCompatError as error:
            raise self._fault(key, error) from error

    def _plan(self, record: Annotated, size: Size, ticket: Ticket, random: np.random.Generator) -> Plan:
        """What is to become of a picture of this size; its boxes are those after it was transformed."""
        plan = self._augment.plan(*size, record.rows, random)
        if not self._boxes:
            return plan
        return plan._replace(rows=self._followed(plan.rows, plan.height, plan.width, ticket.draws[:-1]))

    def stored(self, item: int) -> tuple[str, Annotated]:
        """The key of an item, and its record as the database holds it.

        Raises:
            CaffeCompatError: it cannot be read.
        """
        key, record = self._record(item)
        try:
            return key_text(key), read_annotated(record)
        except CaffeCompatError as error:
            raise self._fault(key, error) from error

    def _followed(self, rows: Floats, height: int, width: int, draws: Sequence[int]) -> Floats:
        """The boxes after the picture, of this size, was transformed."""
        param = self._param
        if param.HasField("resize_param"):
            rows = resized(rows, param.resize_param, height, width)
        emit = param.emit_constraint if param.HasField("emit_constraint") else None
        mirror, frame = self._transformer.frame(height, width, draws)
        rows = project(rows, frame, emit)
        if mirror:
            rows = mirrored(rows)
        if param.HasField("resize_param"):
            rows = extrapolated(rows, param.resize_param, height, width, frame)
        return rows


def _generator(ticket: Ticket) -> np.random.Generator:
    """What the augmentation of an item draws from."""
    return np.random.default_rng(ticket.draws[-1])


def _picture(item: Annotated, flag: int) -> Image:
    """The picture of a record, (height, width) or (height, width, channels)."""
    if item.datum.encoded:
        return item.datum.picture(flag)
    values = item.datum.values()
    if values.dtype != np.uint8:
        raise FormatError("expected a picture of bytes, got floats")
    return np.ascontiguousarray(values.transpose(1, 2, 0), np.uint8)


def _shape(image: Image) -> Shape:
    return (image.shape[2] if image.ndim == 3 else 1, image.shape[0], image.shape[1])


def _label_blob(rows: Sequence[Floats]) -> Floats:
    """The boxes of a batch, (1, 1, N, 8)."""
    joined = np.concatenate(rows)
    if not len(joined):
        joined = np.full((1, LABEL_ROW), -1, np.float32)
    return joined[None, None]
