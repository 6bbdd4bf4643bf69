"""What is known of the boxes that a MultiBoxLoss was given: the batch, its records, the database, the priors."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from caffecompat.data.source import Batch, Floats
from caffecompat.data.sources.annotated import AnnotatedSource
from caffecompat.detection.label_map import read_label_map
from caffecompat.errors import CaffeCompatError, shown
from caffecompat.layers.data import DataLayer
from caffecompat.net import Net
from caffecompat.solver.examine import Batches
from caffecompat.solver.multibox import BOX, ITEM, BoxLoss, best_overlaps, box_losses, priors_of
from caffecompat.solver.stored_boxes import StoredBoxes

# So many records of a database are looked at, from its start.
SURVEYED = 1000


@dataclass
class Evidence:
    """What is known of the boxes of one MultiBoxLoss.

    Attributes:
        loss: the layer.
        net: its net.
        batch: what the data layer read that its boxes come from, or None.
    """

    loss: BoxLoss
    net: Net
    batch: Batch | None

    @property
    def label(self) -> Floats:
        """(N, 8) the rows of the batch's label blob; none if it is not known."""
        top = self.batch.tops[self.loss.top] if self.batch is not None else np.empty(0, np.float32)
        return top.reshape(-1, 8) if top.size % 8 == 0 else np.empty((0, 8), np.float32)

    @cached_property
    def rows(self) -> Floats:
        """(N, 8) those of them that the loss takes for boxes."""
        return self.loss.rows(self.label)

    def record(self, rows: Floats) -> str:
        """` (record k)` for the first of some rows, if its record is known."""
        keys = self.batch.keys if self.batch is not None else ()
        item = int(rows[0, ITEM])
        return f" (record {shown(keys[item])})" if 0 <= item < len(keys) else ""

    @cached_property
    def stored(self) -> StoredBoxes | None:
        """The boxes of the batch's records as the database holds them; None if that cannot be seen."""
        return self._read(self.batch.items) if self.batch is not None and self.batch.items else None

    @cached_property
    def surveyed(self) -> StoredBoxes | None:
        """Those of the database's first records."""
        source = self._source
        count = source.count() if source is not None else None
        return self._read(range(SURVEYED if count is None else min(count, SURVEYED)))

    @property
    def _source(self) -> AnnotatedSource | None:
        layer = self.net.layers[self.loss.data.index] if self.loss.data is not None else None
        reader = layer.reader if isinstance(layer, DataLayer) else None
        return reader.source if reader is not None and isinstance(reader.source, AnnotatedSource) else None

    def _read(self, items: Iterable[int]) -> StoredBoxes | None:
        source = self._source
        if source is None:
            return None
        # By their keys: beyond the last record come the first ones again.
        records = {}
        for item in items:
            with suppress(CaffeCompatError):
                key, record = source.stored(item)
                records[key] = record.rows
        return StoredBoxes.of(records.items())

    @cached_property
    def priors(self) -> Floats | None:
        """(P, 4) the prior boxes, or None."""
        return priors_of(self.net, self.loss)

    @cached_property
    def overlaps(self) -> Floats | None:
        """(N,) how much each box of the batch overlaps the prior that it overlaps most."""
        return None if self.priors is None else best_overlaps(self.rows[:, BOX], self.priors)

    @cached_property
    def named_labels(self) -> frozenset[int] | None:
        """The labels that the data layer's label map names; None if it states none that can be read."""
        data = self.loss.data
        name = data.message.annotated_data_param.label_map_file if data is not None else ""
        if data is None or not name:
            return None
        try:
            return frozenset(read_label_map(data.find(name, "label_map_file")).names)
        except CaffeCompatError:
            return None


def evidence(net: Net, batches: Batches) -> list[Evidence]:
    """What is known of each MultiBoxLoss of a net.

    Args:
        net: the net.
        batches: what its data layers read.
    """
    return [
        Evidence(loss, net, batches.get(loss.data.index) if loss.data is not None else None)
        for loss in box_losses(net.graph)
    ]
