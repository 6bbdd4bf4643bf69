"""BatchNorm, Scale and Bias behind one another, that no layer with a weight took up, become one Scale."""

from __future__ import annotations

import numpy as np

from caffecompat.graph.passes.affine import Affine, affine_of
from caffecompat.graph.passes.linear import as_floats
from caffecompat.graph.passes.sketch import Blobs, Floats, Node, Sketch, listed
from caffecompat.graph.spec import Graph
from caffecompat.schema import caffe_pb2


def join_scales(graph: Graph, blobs: Blobs) -> tuple[Graph, Blobs, list[str]]:
    """Make one Scale layer of layers behind one another that multiply and shift channels (ResNet v2, DenseNet).

    It has the name of the last of them.

    Args:
        graph: the net, as it computes at test time.
        blobs: the parameters of each layer by its name.

    Returns:
        The graph, its blobs, and a sentence on what was joined.
    """
    sketch = Sketch(graph, blobs)
    joined: list[str] = []
    count = 0
    looked_at: set[Node] = set()
    for node in sketch:
        if node in looked_at:
            continue
        chain, affine = _chain(sketch, node)
        looked_at.update(chain)
        arrays = None if affine is None or len(chain) < 2 else _arrays(affine)
        if arrays is None:
            continue
        *gone, last = chain
        bottom = node.bottoms[0]
        sketch.replace(last, gone, _layer(last.layer, bottom.name, biased=len(arrays) > 1), bottom, arrays)
        joined.append(last.layer.name)
        count += len(chain)
    notes = [f"joined {count} BatchNorm, Scale and Bias to {len(joined)} Scale: {listed(joined)}"] if joined else []
    return *sketch.finish(), notes


def _chain(sketch: Sketch, node: Node) -> tuple[list[Node], Affine | None]:
    """The layers from here on that come to one factor and one summand for each channel, and these."""
    chain: list[Node] = []
    whole: Affine | None = None
    following: Node | None = node
    while following is not None:
        # The number of axes is not known here: only an axis counted from the front is understood.
        affine = affine_of(sketch, following, axes=0)
        both = affine if whole is None or affine is None else whole.then(affine)
        if affine is None or both is None:
            break
        whole = both
        chain.append(following)
        following = sketch.sole_reader(following.tops[0])
    return chain, whole


def _arrays(affine: Affine) -> list[Floats] | None:
    """The blobs of the Scale; None where it is one value for all channels, whose number is not known."""
    channels = max(affine.scale.size, affine.shift.size)
    whole = affine.over(channels) if affine.scale.ndim or affine.shift.ndim else None
    if whole is None:
        return None
    return as_floats([whole.scale, whole.shift] if np.any(whole.shift) else [whole.scale])


def _layer(last: caffe_pb2.LayerParameter, bottom: str, *, biased: bool) -> caffe_pb2.LayerParameter:
    layer = caffe_pb2.LayerParameter(name=last.name, type="Scale", bottom=[bottom], top=last.top)
    layer.scale_param.bias_term = biased
    return layer
