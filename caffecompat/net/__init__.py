"""Net, an ordinary `torch.nn.Module` over a Graph, and `load`, which makes one from Caffe's files."""

from caffecompat.net.executor import Env, Hooks
from caffecompat.net.learnable import Learnable
from caffecompat.net.load import load
from caffecompat.net.net import Net, Outputs

__all__ = ["Env", "Hooks", "Learnable", "Net", "Outputs", "load"]
