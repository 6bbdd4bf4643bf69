"""`caffecompat data`: a group of commands on databases, each in a module of its own."""

from __future__ import annotations

import click

from caffecompat.cli.lazy import LazyGroup

COMMANDS = {
    "annoset": "Make a database of images with boxes that a list names (convert_annoset).",
    "coco": "Make SSD's databases of MS COCO's annotations.",
    "csv": "Make SSD's database of boxes in a table.",
    "imageset": "Make a database of the images that a list names (convert_imageset).",
    "inspect": "Look into a database: counts, shapes, labels, and a page of thumbnails.",
    "labelme": "Make SSD's database of LabelMe's annotations.",
    "omniglot": "Make a database of a part of Omniglot, turned characters as further classes.",
    "mean": "Compute the mean image of a database (compute_image_mean).",
    "segmentation": "Make lists and label maps of data sets for segmentation: VOC, CamVid, KITTI, Cityscapes.",
    "voc": "Make SSD's databases of PASCAL VOC's devkits.",
    "yolo": "Make SSD's databases of a data set of YOLO.",
}


@click.group("data", cls=LazyGroup, package="caffecompat.cli.data", table=COMMANDS)
def command() -> None:
    """Make databases of images, look into them, compute their means."""
