"""What nets that classify images have in common: their data, their losses, and how their deploy nets are made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.builders.blocks import Params
from caffecompat.zoo.model import Asked

# Adds the layers from "data" to the scores of the classes, whose name it gives.
Body = Callable[[NetSpec, int], str]

ILSVRC = ("examples/imagenet/ilsvrc12_train_lmdb", "examples/imagenet/ilsvrc12_val_lmdb")
# Images of a training epoch of ILSVRC 2012.
ILSVRC_IMAGES = 1_281_167
MEAN_BGR = [104, 117, 123]


def widened(channels: int, width: float) -> int:
    """So many times the channels, one at least."""
    return max(1, round(channels * width))


@dataclass(frozen=True)
class Images:
    """The data of a net.

    Attributes:
        sources: the databases of the original, for training and tests.
        batches: images of a batch, for training and tests.
        transform: `transform_param` of both.
        mirror: whether training mirrors at random; None leaves it out.
        layer: the name of the layers.
    """

    sources: tuple[str, str]
    batches: tuple[int, int]
    transform: Params = field(default_factory=dict)
    mirror: bool | None = True
    layer: str = "data"


def train_val(name: str, asked: Asked, images: Images, layers: Callable[[NetSpec], None]) -> caffe_pb2.NetParameter:
    """A net of both phases.

    Args:
        name: its name.
        asked: names the databases.
        images: its data.
        layers: adds the layers behind "data" and "label".
    """
    net = NetSpec()
    net.data, net.label = _data(asked, images, 0)
    layers(net)
    message = net.to_proto()
    # A NetSpec has one layer for each blob: the one that tests is put beside.
    test = NetSpec()
    test.data, test.label = _data(asked, images, 1)
    behind = list(message.layer)
    return caffe_pb2.NetParameter(name=name, layer=[behind[0], test.to_proto().layer[0], *behind[1:]])


def _data(asked: Asked, images: Images, index: int) -> Any:
    given = (asked.data, asked.test_data)[index]
    transform = dict(images.transform)
    if images.mirror is not None:
        transform["mirror"] = images.mirror and index == 0
    if asked.mean is not None:
        transform["mean_file"] = asked.mean
    return L.Data(
        name=images.layer,
        ntop=2,
        include={"phase": (caffe_pb2.TRAIN, caffe_pb2.TEST)[index]},
        transform_param=transform,
        data_param={
            "source": given or images.sources[index],
            "batch_size": images.batches[index],
            "backend": P.Data.LMDB,
        },
    )


def deploy(name: str, shape: Sequence[int], body: Body, classes: int, layer: str = "data") -> caffe_pb2.NetParameter:
    """A net from images to the probabilities of classes.

    Args:
        name: its name.
        shape: that of the input.
        body: adds the layers.
        classes: how many.
        layer: the name of the input layer.
    """
    net = NetSpec()
    net.data = L.Input(name=layer, shape={"dim": list(shape)})
    scores = body(net, classes)
    net.prob = L.Softmax(net[scores])
    message = net.to_proto()
    message.name = name
    return message


def bare(message: caffe_pb2.NetParameter, rates: bool = False) -> caffe_pb2.NetParameter:
    """A net without fillers, which one that is given weights does not need; weights that never learn keep theirs.

    Args:
        message: the net, which is changed.
        rates: keep the multipliers of learning rates.
    """
    for layer in message.layer:
        fixed = layer.param and not any(param.lr_mult for param in layer.param)
        if not rates:
            layer.ClearField("param")
        for name in () if fixed else ("convolution_param", "inner_product_param"):
            if layer.HasField(name):
                getattr(layer, name).ClearField("weight_filler")
                getattr(layer, name).ClearField("bias_filler")
    return message


def accuracy(net: NetSpec, scores: str, name: str = "accuracy", **param: Any) -> None:
    """How often the best classes have the right one among them, in tests."""
    net[name] = L.Accuracy(net[scores], net.label, include={"phase": caffe_pb2.TEST}, **param)


def accuracy_and_loss(body: Body, classes: int) -> Callable[[NetSpec], None]:
    """The layers of a body, how often its best class is right, and the loss."""

    def layers(net: NetSpec) -> None:
        scores = body(net, classes)
        accuracy(net, scores)
        net.loss = L.SoftmaxWithLoss(net[scores], net.label)

    return layers


def top_1_and_5(body: Body, classes: int) -> Callable[[NetSpec], None]:
    """The layers of a body, how often the right class is among the best one and the best five, and the loss."""

    def layers(net: NetSpec) -> None:
        scores = body(net, classes)
        for best in (1, 5):
            if best <= classes:
                accuracy(net, scores, f"accuracy_at_{best}", accuracy_param={"top_k": best})
        net.loss = L.SoftmaxWithLoss(net[scores], net.label)

    return layers
