"""From a Net's blobs and its NetParameter, changed, to a Net again."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from caffecompat.errors import UnsupportedError, WeightsError, quoted
from caffecompat.formats.parsed import Parsed
from caffecompat.formats.weights import LayerWeights, WeightBlob, Weights
from caffecompat.graph import Phase, build_graph
from caffecompat.net import Net
from caffecompat.net.saving import net_blobs
from caffecompat.schema import caffe_pb2

Blobs = dict[str, list[npt.NDArray[np.float32]]]


def blobs_by_name(net: Net) -> Blobs:
    """The parameters of the layers that have any, by the layer's name.

    Raises:
        UnsupportedError: two layers with parameters have one name.
    """
    named: Blobs = {}
    for layer, blobs in zip(net.layers, net_blobs(net), strict=True):
        if not blobs:
            continue
        if layer.spec.name in named:
            raise layer.error(
                f"two layers with parameters are called {quoted(layer.spec.name)}; only one could be changed",
                kind=UnsupportedError,
            )
        named[layer.spec.name] = blobs
    return named


def rebuild(net: Net, message: caffe_pb2.NetParameter, blobs: Blobs, phase: Phase | None = None) -> Net:
    """A new net from a changed NetParameter and changed blobs, in the phase (unless given) and dialect of `net`.

    Layers of which `blobs` has nothing start from their fillers.

    Raises:
        CaffeCompatError: the layers make no net, or the blobs do not fit them.
    """
    old = net.graph
    graph = build_graph(Parsed(message, file=old.file), phase or old.phase, dialect=old.dialect, root=old.root)
    return _assigned(Net(graph), blobs).train(net.training)


def make_net(message: caffe_pb2.NetParameter, blobs: Blobs) -> Net:
    """A net of phase TEST from a NetParameter and blobs; layers of which `blobs` has nothing start from their fillers.

    Raises:
        CaffeCompatError: the layers make no net, or the blobs do not fit them.
    """
    return _assigned(Net(build_graph(Parsed(message), "TEST")), blobs)


def _assigned(net: Net, blobs: Blobs) -> Net:
    """The net with these blobs by name, and with fillers for the rest."""
    layers = tuple(
        LayerWeights(name, "", tuple(WeightBlob(np.asarray(blob, np.float32, order="C")) for blob in theirs))
        for name, theirs in blobs.items()
    )
    unused = net.copy_from(Weights(layers)).unused
    if unused:
        raise WeightsError(f"there are blobs for layers that the new net lacks: {', '.join(unused)}")
    net.fill()
    return net
