"""What the table of the zoo is made of: a net that can be asked for, what is asked, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from caffecompat.schema import caffe_pb2


@dataclass(frozen=True)
class Asked:
    """What a builder is asked for. Paths are as the prototxts are to have them; None: those of the original.

    Attributes:
        dataset: whose published settings.
        classes: of the output, the background of detection and segmentation included.
        variant: which of the net's variants, "" if it has none.
        data: what it trains on: a database, or a list of files.
        test_data: what it is tested on.
        labels: the list of label maps beside `data`.
        test_labels: the list of label maps beside `test_data`.
        mean: a file of the mean image.
        label_map: the names of the labels.
        name_sizes: the names and sizes of the images of the test data.
        embedding: what a matching network embeds pictures with: a name, or PROTOTXT:BLOB.
        width: by how much the channels are multiplied.
        size: the side of the pictures that the net takes, in pixels; None is the paper's.
    """

    dataset: str
    classes: int
    variant: str = ""
    data: str | None = None
    test_data: str | None = None
    labels: str | None = None
    test_labels: str | None = None
    mean: str | None = None
    label_map: str | None = None
    name_sizes: str | None = None
    embedding: str | None = None
    width: float = 1.0
    size: int | None = None


@dataclass(frozen=True)
class Nets:
    """The files of a net, without the paths among them.

    Attributes:
        nets: by the names of their files without suffix: train_val or train and test, and deploy.
        solver: without the paths of nets and snapshots.
        prefix: the name of the snapshots.
        weights: what training starts from, or None.
        notes: what else a reader has to know, a sentence each.
    """

    nets: dict[str, caffe_pb2.NetParameter]
    solver: caffe_pb2.SolverParameter
    prefix: str
    weights: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Model:
    """A row of the table of nets.

    Attributes:
        name: as it is asked for.
        summary: what it is.
        source: who published it.
        build: makes its files.
        datasets: how many classes each dataset has; the first is taken if none is asked for.
        max_classes: how many there can be.
        min_classes: and at least.
        variants: the first is taken if none is asked for.
        files: further attributes of `Asked` that name files which it reads.
        scales: which of its width and the size of its pictures can be asked for.
        episodic: it is tested on episodes drawn at random, from held-out classes of `data` if there is no test data.
    """

    name: str
    summary: str
    source: str
    build: Callable[[Asked], Nets]
    datasets: Mapping[str, int]
    max_classes: int = 100_000
    min_classes: int = 1
    variants: tuple[str, ...] = ()
    files: tuple[str, ...] = field(default=())
    scales: tuple[str, ...] = ()
    episodic: bool = False
