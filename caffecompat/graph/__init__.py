"""From a net's message to its Graph: the layers of one phase, joined by blobs; `passes` change graphs."""

from caffecompat.graph.builder import build_graph
from caffecompat.graph.spec import BlobKey, Dialect, Graph, LayerSpec, ParamRef, Phase, Shape, message_param

__all__ = ["BlobKey", "Dialect", "Graph", "LayerSpec", "ParamRef", "Phase", "Shape", "build_graph", "message_param"]
