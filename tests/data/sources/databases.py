"""What the tests of the Data layer share."""

from __future__ import annotations

from caffecompat.data.draws import Draws
from caffecompat.data.source import Reading
from caffecompat.data.sources.database import DatabaseSource
from tests.data.records import layer

TEXT = """name: "n"
layer {{ name: "data" type: "Data" top: "data" top: "label"
  transform_param {{ {transform} }}
  data_param {{ source: "{source}" batch_size: {batch} {more} }} }}
"""


def text_of(source: object, batch: int = 4, transform: str = "", more: str = "backend: LMDB") -> str:
    return TEXT.format(source=source, batch=batch, transform=transform, more=more)


def open_source(
    source: object,
    batch: int = 4,
    transform: str = "",
    more: str = "backend: LMDB",
    phase="TRAIN",
    dialect="ssd",
    **options,
) -> DatabaseSource:
    spec = layer(text_of(source, batch, transform, more), phase, dialect)
    return DatabaseSource(spec, Reading(**{"draws": Draws(1), **options}))


def batches(source: DatabaseSource, count: int) -> list:
    found = [source.load(source.tickets()) for _ in range(count)]
    source.close()
    return found
