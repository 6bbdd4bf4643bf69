"""What SSD's nets depend on: the data set, the base net and the size of images."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Dataset:
    """What a script of the authors states of its data set.

    Attributes:
        folder: its name in paths and nets.
        classes: with the background.
        train: the database to train on.
        test: the database to test on.
        label_map: the names of the labels.
        name_sizes: names and sizes of the test images.
        test_images: how many there are.
        test_batch: how many of them make a batch.
        results: the folder of results, with the size of images left open.
        result_prefix: how their names begin, likewise.
        result_format: what is written.
        difficult: whether training takes objects that are marked difficult.
        force_color: whether grey images are read as coloured ones.
        steps: where the learning rate falls; the last is the end.
        snapshot: iterations between two snapshots.
        ap_version: how average precision is counted.
        smallest: by size of images, the smallest prior boxes' sides in percent of the image: of the first source
            layer, of the second.
    """

    folder: str
    classes: int
    train: str
    test: str
    label_map: str
    name_sizes: str
    test_images: int
    test_batch: int
    results: str
    result_prefix: str
    result_format: str
    difficult: bool
    force_color: bool
    steps: tuple[int, ...]
    snapshot: int
    ap_version: str
    smallest: dict[int, tuple[int, int]]


DATASETS = {
    "voc": Dataset(
        folder="VOC0712",
        classes=21,
        train="examples/VOC0712/VOC0712_trainval_lmdb",
        test="examples/VOC0712/VOC0712_test_lmdb",
        label_map="data/VOC0712/labelmap_voc.prototxt",
        name_sizes="data/VOC0712/test_name_size.txt",
        test_images=4952,
        test_batch=8,
        results="data/VOCdevkit/results/VOC2007/SSD_{size}x{size}/Main",
        result_prefix="comp4_det_test_",
        result_format="VOC",
        difficult=True,
        force_color=False,
        steps=(80_000, 100_000, 120_000),
        snapshot=80_000,
        ap_version="11point",
        smallest={300: (10, 20), 512: (7, 15)},
    ),
    "coco": Dataset(
        folder="coco",
        classes=81,
        train="examples/coco/coco_train_lmdb",
        test="examples/coco/coco_minival_lmdb",
        label_map="data/coco/labelmap_coco.prototxt",
        name_sizes="data/coco/minival2014_name_size.txt",
        test_images=5000,
        test_batch=8,
        results="data/mscoco/results/SSD_{size}x{size}",
        result_prefix="detections_minival_ssd{size}_results",
        result_format="COCO",
        difficult=False,
        force_color=True,
        steps=(280_000, 360_000, 400_000),
        snapshot=40_000,
        ap_version="11point",
        smallest={300: (7, 15), 512: (4, 10)},
    ),
    "ilsvrc": Dataset(
        folder="ILSVRC2016",
        classes=201,
        train="examples/ILSVRC2016/ILSVRC2016_trainval1_lmdb",
        test="examples/ILSVRC2016/ILSVRC2016_val2_lmdb",
        label_map="data/ILSVRC2016/labelmap_ilsvrc_det.prototxt",
        name_sizes="data/ILSVRC2016/val2_name_size.txt",
        test_images=9917,
        test_batch=1,
        results="data/ILSVRC2016/results/SSD_{size}x{size}",
        result_prefix="val2_ssd{size}_results",
        result_format="ILSVRC",
        difficult=False,
        force_color=True,
        steps=(320_000, 400_000, 440_000),
        snapshot=30_000,
        ap_version="MaxIntegral",
        smallest={300: (10, 20), 512: (7, 15)},
    ),
}
_NAMES = {"vgg": "VGG", "zf": "ZF", "resnet-101": "ResNet"}


@dataclass(frozen=True)
class Setting:
    """One of SSD's nets."""

    dataset: Dataset
    base: str
    size: int

    @property
    def name(self) -> str:
        """As the authors name it."""
        return f"{_NAMES[self.base]}_{self.dataset.folder}_SSD_{self.size}x{self.size}"

    @property
    def distorts(self) -> bool:
        """Whether training distorts colours and shrinks images (the script for ResNet is an older one)."""
        return self.base != "resnet-101"

    @property
    def test_batch(self) -> int:
        """Images of a batch in tests."""
        return 1 if self.base == "resnet-101" else self.dataset.test_batch
