"""The MultiBoxLoss layers of a net: which boxes each is given, and against which prior boxes it holds them."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt
import torch

from caffecompat.data.source import Floats
from caffecompat.detection.boxes import crosses_boundary, jaccard_overlap
from caffecompat.graph.spec import BlobKey, Graph, LayerSpec
from caffecompat.layers.prior_box import PriorBox
from caffecompat.net import Net
from caffecompat.schema import caffe_pb2

# A row of ground truth: item, label, instance, xmin, ymin, xmax, ymax, difficult.
ITEM, LABEL, DIFFICULT = 0, 1, 7
BOX = slice(3, 7)
# Layers that give the values that they get, in another order or on another scale.
PASSING = frozenset(("Flatten", "Permute", "Reshape", "Sigmoid", "Softmax", "Split"))
# SSD's nets join a dozen layers, and have some 25,000 priors of 8 values.
MAX_LEAVES = 1000
MAX_PRIOR_VALUES = 1 << 23
# Overlaps are computed for so many boxes at once.
TOGETHER = 32
# What the layers are called of the net that SSD's authors start from, and that its weight file has.
VGG = frozenset(
    (*(f"conv{block}_{layer}" for block in range(1, 6) for layer in range(1, 4 if block > 2 else 3)), "fc6", "fc7")
)


@dataclass(frozen=True)
class BoxLoss:
    """A MultiBoxLoss layer.

    Attributes:
        spec: the layer.
        data: the data layer whose top its boxes are, or None if they come from elsewhere.
        top: which of the tops of that layer.
    """

    spec: LayerSpec
    data: LayerSpec | None
    top: int

    @property
    def param(self) -> caffe_pb2.MultiBoxLossParameter:
        """Its parameters."""
        return self.spec.message.multibox_loss_param

    def refused(self, labels: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
        """Which labels of boxes (N,) are no class, or the background."""
        param, whole = self.param, np.trunc(labels)
        bad: npt.NDArray[np.bool_] = (whole < 0) | (whole == param.background_label_id)
        return bad if param.map_object_to_agnostic else bad | (whole >= param.num_classes)

    @property
    def known(self) -> str:
        """The labels that it knows, as a sentence says them."""
        param = self.param
        return f"0..{param.num_classes - 1} without the background's, {param.background_label_id}"

    def rows(self, label: Floats) -> Floats:
        """Those of the rows (N, 8) of a label blob that it takes for boxes."""
        kept = label[:, ITEM] != -1
        taken: Floats = label[kept if self.param.use_difficult_gt else kept & (label[:, DIFFICULT] == 0)]
        return taken


def box_losses(graph: Graph) -> list[BoxLoss]:
    """The MultiBoxLoss layers of a net, in order."""
    makers = {key: (spec, top) for spec in graph.layers for top, key in enumerate(spec.tops)}
    found = []
    for spec in graph.layers:
        if spec.type == "MultiBoxLoss" and len(spec.bottoms) > 3:
            maker, top = makers.get(spec.bottoms[3], (None, 0))
            found.append(BoxLoss(spec, maker if maker is not None and maker.row.data else None, top))
    return found


@dataclass(frozen=True)
class Leaf:
    """A layer that a part of a blob comes from.

    Attributes:
        spec: the layer.
        passed: what its values pass before they are joined, from the layer on.
    """

    spec: LayerSpec
    passed: tuple[LayerSpec, ...]


def leaves(graph: Graph, key: BlobKey) -> tuple[Leaf, ...]:
    """The layers that a blob is joined from, in the order of its values; none if they are very many."""
    makers = {top: spec for spec in graph.layers for top in spec.tops}
    found = []
    waiting: list[tuple[BlobKey, tuple[LayerSpec, ...]]] = [(key, ())]
    while waiting:
        at, passed = waiting.pop()
        spec = makers.get(at)
        if spec is None:
            continue
        if spec.type == "Concat":
            waiting += [(bottom, passed) for bottom in reversed(spec.bottoms)]
        elif spec.type in PASSING and len(spec.bottoms) == 1:
            waiting.append((spec.bottoms[0], (spec, *passed)))
        else:
            found.append(Leaf(spec, passed))
        if len(waiting) + len(found) > MAX_LEAVES:
            return ()
    return tuple(found)


def prior_layers(graph: Graph, priors: BlobKey) -> list[LayerSpec]:
    """The PriorBox layers that a blob of priors is joined from, in their order."""
    return [leaf.spec for leaf in leaves(graph, priors) if leaf.spec.type == "PriorBox"]


def priors_of(net: Net, loss: BoxLoss) -> Floats | None:
    """The prior boxes (P, 4) of a loss; None if they are not all made by PriorBox layers of the net, or very many.

    They depend on nothing but the sizes of blobs, so that no pass is needed.
    """
    shape = net.blob_shapes[loss.spec.bottoms[2]]
    if prod(shape) > MAX_PRIOR_VALUES:
        return None
    boxes = []
    for spec in prior_layers(net.graph, loss.spec.bottoms[2]):
        layer = net.layers[spec.index]
        shapes = [net.blob_shapes[key] for key in spec.bottoms]
        if not isinstance(layer, PriorBox) or len(shapes) < 2:
            return None
        # Blobs of these sizes that take no memory.
        top = layer(*(torch.zeros(()).expand(shape) for shape in shapes))
        boxes.append(top[0, 0].reshape(-1, 4).numpy())
    if 2 * sum(map(np.size, boxes)) != prod(shape):
        return None
    return np.concatenate(boxes)


def best_overlaps(boxes: Floats, priors: Floats) -> Floats:
    """(N,) the greatest overlap of each box (N, 4) with a prior (P, 4)."""
    best = np.zeros(len(boxes), np.float32)
    # Boxes last in memory: the comparisons run along them.
    planes = torch.from_numpy(priors).T.contiguous().T
    for start in range(0, len(boxes), TOGETHER):
        some = torch.from_numpy(np.ascontiguousarray(boxes[start : start + TOGETHER]))
        best[start : start + TOGETHER] = jaccard_overlap(some[:, None], planes[None]).amax(1).numpy()
    return best


def crossing(priors: Floats) -> npt.NDArray[np.bool_]:
    """(P,) which priors reach outside the picture."""
    return np.asarray(crosses_boundary(torch.from_numpy(priors)).numpy())
