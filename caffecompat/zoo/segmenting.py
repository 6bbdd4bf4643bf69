"""What nets that label each pixel have in common: lists of images and label maps, the loss, and enlarging."""

from __future__ import annotations

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.zoo.builders.blocks import Params
from caffecompat.zoo.model import Asked

# Label maps are bytes, of which 255 is not counted.
MAX_CLASSES = 255
IGNORED = 255


def lists(asked: Asked, training: bool, kind: str = "images") -> tuple[str, str]:
    """The lists of files and of their label maps.

    Args:
        asked: names them, or the data set.
        training: those to train on, else those to test on.
        kind: what the files are, for the lists' usual names.
    """
    given = (asked.data, asked.labels) if training else (asked.test_data, asked.test_labels)
    folder, phase = f"data/{asked.dataset}", "train" if training else "val"
    usual = f"{folder}/{phase}_{kind}.txt", f"{folder}/{phase}_labels.txt"
    return given[0] or usual[0], given[1] or usual[1]


def image_label_data(
    net: NetSpec,
    asked: Asked,
    training: bool,
    *,
    batch: int,
    crop: int,
    mean: list[float],
    labels: Params,
    mirror: bool = True,
    shuffled_tests: bool = False,
    padding: int | None = None,
) -> None:
    """The blobs "data" and "label", of crops of images and of their label maps.

    Args:
        net: the net, which gets the layer.
        asked: names the lists.
        training: for training, else for tests.
        batch: images of a batch.
        crop: their height and width.
        mean: of blue, green and red.
        labels: which of the crop's labels are taken: `label_slice`.
        mirror: whether training mirrors at random.
        shuffled_tests: whether tests take images in random order.
        padding: what is stated of what lies around images; without it they are mirrored there.
    """
    images, maps = lists(asked, training)
    padded = {} if padding is None else {"padding": padding}
    net.data, net.label = L.ImageLabelData(
        ntop=2,
        transform_param={"mirror": mirror and training, "mean_value": mean, "crop_size": crop},
        image_label_data_param={
            "image_list_path": images,
            "label_list_path": maps,
            "shuffle": training or shuffled_tests,
            "batch_size": batch,
            "label_slice": labels,
            **padded,
        },
    )


def square(dim: int, stride: int, offset: int = 0) -> Params:
    """A `label_slice` with the same numbers for height and width."""
    return {"dim": [dim, dim], "stride": [stride, stride], "offset": [offset, offset]}


def loss_and_accuracy(net: NetSpec, scores: str, training: bool) -> None:
    """The mean loss of the labels that count, and in tests how many are right."""
    loss = {"ignore_label": IGNORED, "normalization": P.Loss.VALID}
    net.loss = L.SoftmaxWithLoss(net[scores], net.label, loss_param=loss)
    if not training:
        net.accuracy = L.Accuracy(net[scores], net.label, accuracy_param={"ignore_label": IGNORED})


def enlarged(net: NetSpec, bottom: str, name: str, classes: int, factor: int, pad: int) -> str:
    """A blob that is enlarged bilinearly by weights that do not learn.

    Args:
        net: the net, which gets the layer.
        bottom: the blob.
        name: of the new one.
        classes: channels of both.
        factor: how much larger it is.
        pad: what is cut off at each side.
    """
    net[name] = L.Deconvolution(
        net[bottom],
        param=[{"lr_mult": 0, "decay_mult": 0}],
        convolution_param={
            "bias_term": False,
            "num_output": classes,
            "kernel_size": 2 * factor,
            "stride": factor,
            "group": classes,
            "pad": pad,
            "weight_filler": {"type": "bilinear"},
        },
    )
    return name
