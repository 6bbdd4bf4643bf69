"""Nets with random parameters, and the check that holds for every pass: the same outputs at every size."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from caffecompat import Net
from caffecompat.export.rebuild import blobs_by_name, rebuild
from caffecompat.formats.parsed import Parsed
from caffecompat.graph import build_graph
from caffecompat.graph.passes.sketch import Pass
from caffecompat.net.saving import net_message
from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.schema import caffe_pb2
from tests.support import make_net

TOLERANCE = 1e-5


def trained(net: Net, seed: int = 0) -> Net:
    """The net with parameters as training leaves them: running means and variances, with a factor, and scales."""
    random = np.random.default_rng(seed)

    def give(layer, index, values):
        blob = layer.blobs[index]
        layer.set_blob(index, torch.from_numpy(np.asarray(values, np.float32)).reshape(blob.shape))

    for layer in net.layers:
        if any(ref.owner is not None for ref in layer.spec.params):
            continue
        for index, blob in enumerate(layer.blobs):
            name = layer.blob_names[index]
            values = random.standard_normal(blob.shape)
            if name == "variance":
                values = random.uniform(0.3, 2.5, blob.shape)
            elif name == "weight" and blob.dim() < 2:
                values = random.uniform(0.5, 1.5, blob.shape)
            elif name == "weight" and blob[0].numel() > 1:
                values *= (2 / blob[0].numel()) ** 0.5
            give(layer, index, 0.5 * values if name in ("bias", "mean") else values)
        if layer.spec.type == "BatchNorm" and len(layer.blobs) == 3:
            for index in (0, 1):
                give(layer, index, layer.blobs[index].numpy() * 7)
            give(layer, 2, [7.0])
    return net.eval()


def trained_net(text: str, seed: int = 0, **options) -> Net:
    return trained(make_net(text, **options), seed)


def net_of(spec: NetSpec, seed: int = 0) -> Net:
    net = Net(build_graph(Parsed(spec.to_proto())))
    net.fill()
    return trained(net, seed)


def passed(net: Net, *passes: Pass) -> tuple[Net, list[str]]:
    """The net after passes, and what they said."""
    graph = build_graph(Parsed(net_message(net)), net.graph.phase, dialect=net.graph.dialect)
    before = graph.message.SerializeToString()
    blobs = blobs_by_name(net)
    copies = {name: [blob.copy() for blob in own] for name, own in blobs.items()}
    notes = []
    new, changed = graph, blobs
    for one in passes:
        new, changed, said = one(new, changed)
        notes += said
    assert graph.message.SerializeToString() == before
    assert all(
        np.array_equal(a, b, equal_nan=True)
        for name, own in blobs.items()
        for a, b in zip(own, copies[name], strict=True)
    )
    return rebuild(net, new.message, changed), notes


def types(net: Net) -> list[str]:
    return [layer.spec.type for layer in net.layers if layer.spec.type != "Input"]


def assert_equal(net: Net, other: Net, sizes: Sequence[Sequence[int]] = ()) -> None:
    """The same outputs, by name, at the size that the net was built for and at further heights and widths."""
    assert net.outputs == other.outputs
    shapes = {key.name: net.blob_shapes[key] for key in net.graph.inputs}
    random = np.random.default_rng(3)
    for size in ((), *sizes):
        inputs = {
            name: torch.from_numpy(random.standard_normal((*shape[: len(shape) - len(size)], *size)).astype(np.float32))
            for name, shape in shapes.items()
        }
        with torch.no_grad():
            wanted, found = net(**inputs), other(**inputs)
        for name in net.outputs:
            assert wanted[name].shape == found[name].shape
            apart = (found[name] - wanted[name]).abs().max()
            assert apart <= TOLERANCE * wanted[name].abs().max(), (name, size, apart)


def assert_left_alone(net: Net, one: Callable) -> None:
    """A pass changes nothing of the net, and says nothing."""
    new, notes = passed(net, one)
    assert notes == []
    assert net_message(new) == net_message(net)


# --- layers and whole nets


def bn(n: NetSpec, name: str, x):
    n[f"{name}_bn"] = L.BatchNorm(x)
    n[f"{name}_scale"] = L.Scale(n[f"{name}_bn"], bias_term=True)
    return n[f"{name}_scale"]


def conv_bn(n: NetSpec, name: str, x, outputs: int, kernel: int, stride: int = 1, pad: int = 0, **more):
    n[name] = L.Convolution(x, num_output=outputs, kernel_size=kernel, stride=stride, pad=pad, bias_term=False, **more)
    return bn(n, name, n[name])


def conv_bn_relu(n: NetSpec, name: str, *arguments, **more):
    n[f"{name}_relu"] = L.ReLU(conv_bn(n, name, *arguments, **more))
    return n[f"{name}_relu"]


def image(n: NetSpec, size: int):
    n.data = L.Input(shape={"dim": [1, 3, size, size]})
    return n.data


def head(n: NetSpec, x, classes: int) -> NetSpec:
    n.pool = L.Pooling(x, pool=caffe_pb2.PoolingParameter.AVE, global_pooling=True)
    n.fc = L.InnerProduct(n.pool, num_output=classes)
    return n


def repvgg_block(n: NetSpec, name: str, x, outputs: int, stride: int, *, identity: bool, group: int = 1):
    branches = [
        conv_bn(n, f"{name}_3x3", x, outputs, 3, stride, 1, group=group),
        conv_bn(n, f"{name}_1x1", x, outputs, 1, stride, group=group),
    ]
    if identity:
        branches.append(bn(n, f"{name}_id", x))
    n[f"{name}_sum"] = L.Eltwise(*branches)
    n[name] = L.ReLU(n[f"{name}_sum"])
    return n[name]


def repvgg_a0(size: int) -> NetSpec:
    """Ding et al. 2021, table 2: 1, 2, 4, 14, 1 layers of 48, 48, 96, 192, 1280 channels, the first of each halving."""
    n = NetSpec()
    x, channels, number = image(n, size), 3, 0
    for width, depth in ((48, 1), (48, 2), (96, 4), (192, 14), (1280, 1)):
        for place in range(depth):
            stride = 1 if place else 2
            x = repvgg_block(n, f"block{number}", x, width, stride, identity=stride == 1 and channels == width)
            channels, number = width, number + 1
    return head(n, x, 1000)


def resnet_50(size: int) -> NetSpec:
    """He et al. 2016, table 1."""
    n = NetSpec()
    x = conv_bn_relu(n, "conv1", image(n, size), 64, 7, 2, 3)
    n.pool1 = L.Pooling(x, kernel_size=3, stride=2)
    x = n.pool1
    for stage, (width, depth) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), 2):
        for block in range(depth):
            name = f"res{stage}{'abcdef'[block]}"
            stride = 2 if stage > 2 and not block else 1
            short = x if block else conv_bn(n, f"{name}_branch1", x, 4 * width, 1, stride)
            x = conv_bn_relu(n, f"{name}_2a", x, width, 1, stride)
            x = conv_bn_relu(n, f"{name}_2b", x, width, 3, 1, 1)
            n[name] = L.Eltwise(short, conv_bn(n, f"{name}_2c", x, 4 * width, 1))
            n[f"{name}_relu"] = L.ReLU(n[name], in_place=True)
            x = n[f"{name}_relu"]
    return head(n, x, 1000)


# 1x1; 3x3 and what goes before; two 3x3 and what goes before; pooling and what follows. A stride of 2 drops 1x1.
INCEPTIONS = (
    ("3a", 64, (64, 64), (64, 96), ("AVE", 32)),
    ("3b", 64, (64, 96), (64, 96), ("AVE", 64)),
    ("3c", 0, (128, 160), (64, 96), ("MAX", 0)),
    ("4a", 224, (64, 96), (96, 128), ("AVE", 128)),
    ("4b", 192, (96, 128), (96, 128), ("AVE", 128)),
    ("4c", 160, (128, 160), (128, 160), ("AVE", 128)),
    ("4d", 96, (128, 192), (160, 192), ("AVE", 128)),
    ("4e", 0, (128, 192), (192, 256), ("MAX", 0)),
    ("5a", 352, (192, 320), (160, 224), ("AVE", 128)),
    ("5b", 352, (192, 320), (192, 224), ("MAX", 128)),
)


def bn_inception(size: int) -> NetSpec:
    """Ioffe and Szegedy 2015, figure 5."""
    n = NetSpec()
    x = conv_bn_relu(n, "conv1", image(n, size), 64, 7, 2, 3)
    n.pool1 = L.Pooling(x, kernel_size=3, stride=2)
    x = conv_bn_relu(n, "conv2_reduce", n.pool1, 64, 1)
    n.pool2 = L.Pooling(conv_bn_relu(n, "conv2", x, 192, 3, 1, 1), kernel_size=3, stride=2)
    x = n.pool2
    for name, single, once, twice, (method, behind) in INCEPTIONS:
        stride = 1 if single else 2
        parts = [conv_bn_relu(n, f"{name}_1x1", x, single, 1)] if single else []
        y = conv_bn_relu(n, f"{name}_3x3_reduce", x, once[0], 1)
        parts.append(conv_bn_relu(n, f"{name}_3x3", y, once[1], 3, stride, 1))
        y = conv_bn_relu(n, f"{name}_double_reduce", x, twice[0], 1)
        y = conv_bn_relu(n, f"{name}_double_1", y, twice[1], 3, 1, 1)
        parts.append(conv_bn_relu(n, f"{name}_double_2", y, twice[1], 3, stride, 1))
        pool = getattr(caffe_pb2.PoolingParameter, method)
        n[f"{name}_pool"] = L.Pooling(x, pool=pool, kernel_size=3, stride=stride, **({"pad": 1} if single else {}))
        y = n[f"{name}_pool"]
        parts.append(conv_bn_relu(n, f"{name}_pool_proj", y, behind, 1) if behind else y)
        n[f"{name}_output"] = L.Concat(*parts)
        x = n[f"{name}_output"]
    return head(n, x, 1000)
