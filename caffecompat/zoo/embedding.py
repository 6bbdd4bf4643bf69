"""What a matching network embeds pictures with: four blocks of its own, or any net up to one of its blobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from caffecompat.errors import UsageError, did_you_mean, quoted
from caffecompat.formats import read_net
from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo import googlenet, vgg
from caffecompat.zoo.builders.blocks import Params
from caffecompat.zoo.model import Asked, Model

FILTERS = 64
# Omniglot's black strokes on white become 1 on 0.
_STROKES: Params = {"mean_value": [255], "scale": -1 / 255}
# BatchNorm's own 0.999 remembers thousands of steps: with weights that change by Adam's steps its averages would belong
# to a net that is no more.
_REMEMBERED = 0.9
# Of the names that may be asked for: the net of the zoo, its blob, the file of its published weights.
_PUBLISHED: dict[str, tuple[Model, str, str]] = {
    "vgg-fc7": (
        next(model for model in vgg.MODELS if model.name == "vgg-d"),
        "fc7",
        "VGG_ILSVRC_16_layers.caffemodel",
    ),
    "googlenet": (googlenet.MODELS[0], "pool5/7x7_s1", "bvlc_googlenet.caffemodel"),
}


@dataclass(frozen=True)
class Embedding:
    """Layers from the blob "data" to one with a row for each picture.

    Attributes:
        layers: they read no data.
        blob: the embeddings.
        shape: that of a picture: channels, height, width.
        transform: what is done to pictures before: `transform_param`.
        episodes: of how many episodes a batch is.
        scale: what the cosines are multiplied by. The paper's 1 suits embeddings of both signs; of rectified ones it
            leaves the attention nearly flat: see `layers.matching`.
        weights: what training starts from.
        notes: what else a reader has to know.
    """

    layers: Sequence[caffe_pb2.LayerParameter]
    blob: str
    shape: tuple[int, int, int]
    transform: Params
    episodes: int = 1
    scale: int = 20
    weights: str | None = None
    notes: tuple[str, ...] = ()


def embed_pictures(net: NetSpec) -> str:
    """Four blocks of 64 filters of 3x3, normalised, rectified and pooled to half: 28x28 pixels become 64 values."""
    last = "data"
    for index in range(1, 5):
        conv, pool = f"conv{index}", f"pool{index}"
        net[conv] = L.Convolution(
            net[last], num_output=FILTERS, kernel_size=3, pad=1, bias_term=False, weight_filler={"type": "msra"}
        )
        net[f"bn{index}"] = L.BatchNorm(
            net[conv], in_place=True, batch_norm_param={"moving_average_fraction": _REMEMBERED}
        )
        net[f"scale{index}"] = L.Scale(net[f"bn{index}"], in_place=True, bias_term=True)
        net[f"relu{index}"] = L.ReLU(net[f"scale{index}"], in_place=True)
        net[pool] = L.Pooling(
            net[f"relu{index}"], pool=P.Pooling.MAX, kernel_size=2, stride=2, round_mode=P.Pooling.FLOOR
        )
        last = pool
    return last


def behind_inputs(net: NetSpec) -> list[caffe_pb2.LayerParameter]:
    """The layers of a net but those that stand for blobs of another."""
    return [layer for layer in net.to_proto().layer if layer.type != "Input"]


def find_embedding(asked: str | None) -> Embedding:
    """The embedding of a name; None: the paper's of Omniglot.

    Args:
        asked: "vgg-fc7", "googlenet", or PROTOTXT:BLOB.

    Raises:
        CaffeCompatError: the file is no net.
        UsageError: it is none of these, or the net has no such blob, or takes no pictures.
    """
    if asked is None:
        net = NetSpec()
        net.data = L.Input()
        blob = embed_pictures(net)
        return Embedding(behind_inputs(net), blob, (1, 28, 28), _STROKES, episodes=4)
    if asked in _PUBLISHED:
        return _published(asked)
    path, _, blob = asked.rpartition(":")
    if not path or not blob:
        raise UsageError(
            f"there is no embedding {quoted(asked)}",
            hint=did_you_mean(asked.lower(), _PUBLISHED) or f"{', '.join(_PUBLISHED)} or PROTOTXT:BLOB",
        )
    return _of_file(path, blob)


def _published(name: str) -> Embedding:
    model, blob, weights = _PUBLISHED[name]
    nets = model.build(
        Asked(next(iter(model.datasets)), next(iter(model.datasets.values())), next(iter(model.variants), ""))
    )
    net = nets.nets["train_val"]
    # The first layer is the data layer.
    transform = net.layer[0].transform_param
    pictures = {"crop_size": transform.crop_size, "mean_value": list(transform.mean_value)}
    layers, _ = _until(net, blob, name)
    return Embedding(layers, blob, (3, transform.crop_size, transform.crop_size), pictures, weights=weights)


def _of_file(path: str, blob: str) -> Embedding:
    net = read_net(path).message
    layers, source = _until(net, blob, path)
    sizes = [list(shape.dim) for shape in source.input_param.shape]
    if source.type != "Input" or len(sizes) not in (1, len(source.top)) or len(sizes[0]) != 4:
        raise UsageError(
            f"expected a net whose input of pictures states its shape, got {path} with {quoted(source.type)} layer "
            f"{quoted(source.name)}",
            hint="give the deploy prototxt: an Input layer with a shape of four sizes",
        )
    _, channels, height, width = sizes[0]
    crop: Params = {"crop_size": height} if height == width else {}
    note = "training starts from --weights of the net of the embedding, if given; set transform_param as they need it"
    renamed = [_with_input(layer, source.top[0]) for layer in layers]
    return Embedding(renamed, blob, (channels, height, width), crop, notes=(note,))


def _until(
    net: caffe_pb2.NetParameter, blob: str, what: str
) -> tuple[list[caffe_pb2.LayerParameter], caffe_pb2.LayerParameter]:
    """The layers that a blob takes, and the one layer without bottoms that they start from.

    Raises:
        UsageError: there is no such blob, or it takes several inputs or none.
    """
    known = dict.fromkeys(top for layer in net.layer for top in layer.top)
    if blob not in known:
        hint = did_you_mean(blob, known) or "`caffecompat draw` shows the blobs of a net"
        raise UsageError(f"{what} has no blob {quoted(blob)}", hint=hint)
    wanted, kept, sources = {blob}, [], []
    for layer in reversed(net.layer):
        if wanted.isdisjoint(layer.top):
            continue
        if layer.bottom:
            wanted.update(layer.bottom)
            kept.append(layer)
        else:
            sources.append(layer)
    inputs = wanted & {top for layer in sources for top in layer.top}
    if not kept or len(inputs) != 1:
        raise UsageError(
            f"expected an embedding of one input, got blob {quoted(blob)} of {what}, which takes {len(inputs)}"
            if kept
            else f"expected a blob that a layer makes of pictures, got {quoted(blob)}, an input of {what}"
        )
    return kept[::-1], sources[-1]


def _with_input(layer: caffe_pb2.LayerParameter, name: str) -> caffe_pb2.LayerParameter:
    """The layer, where the blob `name` is called "data"."""
    renamed = caffe_pb2.LayerParameter()
    renamed.CopyFrom(layer)
    for field in (renamed.bottom, renamed.top):
        field[:] = ["data" if blob == name else blob for blob in field]
    return renamed
