"""Nets of one sum, whose branches start from a blob with any number of readers."""

from __future__ import annotations

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.schema import caffe_pb2
from tests.graph.passes.nets import net_of

SIZES = [(5, 5), (6, 9), (9, 6), (10, 11)]
AVE = {"pool": caffe_pb2.PoolingParameter.AVE}
FLOOR = {**AVE, "round_mode": caffe_pb2.PoolingParameter.FLOOR}
CHANNELS = 12


def source(n: NetSpec):
    """A blob of 12 channels that may have any number of readers."""
    n.data = L.Input(shape={"dim": [2, 3, 8, 7]})
    n.before = L.Convolution(n.data, num_output=CHANNELS, kernel_size=1)
    n.x = L.ReLU(n.before)
    return n.x


def conv(x, kernel, pad=0, outputs=CHANNELS, **more):
    return L.Convolution(x, num_output=outputs, kernel_size=kernel, pad=pad, **more)


def total(*make, coeff=()):
    """A net of a sum; each function makes a branch from the source."""
    n = NetSpec()
    x = source(n)
    branches = [branch(n, x) for branch in make]
    n.total = L.Eltwise(*branches, **({"coeff": list(coeff)} if coeff else {}))
    n.relu = L.ReLU(n.total)
    return net_of(n)
