"""Data layers of detection nets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2


def CreateAnnotatedDataLayer(  # noqa: N802
    source: str,
    batch_size: int = 32,
    backend: int = P.Data.LMDB,
    output_label: bool = True,
    train: bool = True,
    label_map_file: str = "",
    anno_type: int | None = None,
    transform_param: Mapping[str, Any] | None = None,
    batch_sampler: Sequence[Mapping[str, Any]] = ({},),
) -> Any:
    """An AnnotatedData layer named "data".

    Args:
        source: the database.
        batch_size: images of a batch.
        backend: the kind of database, `P.Data.LMDB` or `P.Data.LEVELDB`.
        output_label: with the boxes as a second top.
        train: for phase TRAIN, else for TEST.
        label_map_file: names of the labels, a prototxt.
        anno_type: kind of the annotations, or None if the database says it.
        transform_param: preprocessing, as in `TransformationParameter`.
        batch_sampler: how training samples patches, each as in `BatchSampler`.

    Returns:
        The top, or both tops in a tuple.
    """
    annotated: dict[str, Any] = {"label_map_file": label_map_file, "batch_sampler": batch_sampler}
    if anno_type is not None:
        annotated["anno_type"] = anno_type
    return L.AnnotatedData(
        name="data",
        annotated_data_param=annotated,
        data_param={"batch_size": batch_size, "backend": backend, "source": source},
        ntop=2 if output_label else 1,
        include={"phase": caffe_pb2.TRAIN if train else caffe_pb2.TEST},
        transform_param=transform_param or {},
    )
