"""ACNet's nets are the plain nets of the zoo, trained in branches."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

import caffecompat
from caffecompat import Net
from caffecompat.schema import caffe_pb2
from caffecompat.zoo import MODELS
from tests.zoo.made import built, made

# The plain net; the side of small pictures; the convolutions that become three, and those that stay.
NETS = {
    "acnet-cifar-quick": ("cifar10-quick", 32, 3, 0),
    "acnet-vgg-16": ("vgg-d", 32, 13, 0),
    # The first one is not padded.
    "acnet-alexnet": ("alexnet", 67, 4, 1),
    "acnet-resnet-18": ("resnet-18", 64, 17, 3),
    "acnet-resnet-50": ("resnet-50", 64, 17, 36),
}


def small(name: str, file: str, side: int) -> caffe_pb2.NetParameter:
    """A file of a net, for ten classes, with an eighth of the channels, for small pictures."""
    size = {"size": side} if "size" in MODELS[name].scales else {}
    message = made(name, classes=10, **size).nets[file]
    for layer in message.layer:
        param = {"Convolution": layer.convolution_param, "InnerProduct": layer.inner_product_param}.get(layer.type)
        if param is not None and param.num_output > 10:
            param.num_output //= 8
        if layer.type == "Input":
            layer.input_param.shape[0].dim[:] = [2, 3, side, side]
    return message


def trained(message: caffe_pb2.NetParameter) -> Net:
    """The net with weights and statistics as training might leave them."""
    random = torch.Generator().manual_seed(1)
    net = built(message, "TEST")
    net.fill()
    for layer in net.layers:
        for number, blob in enumerate(layer.blobs):
            if layer.spec.type == "BatchNorm":
                drawn = torch.rand(blob.shape, generator=random) + 0.5
                layer.set_blob(number, drawn if number < 2 else torch.ones(1))
            elif layer.spec.type == "Scale":
                layer.set_blob(number, 0.3 * torch.rand(blob.shape, generator=random) + 0.3)
            elif number == 0:
                fan = blob.shape[1:].numel()
                layer.set_blob(0, torch.randn(blob.shape, generator=random) * fan**-0.5)
    return net


@pytest.mark.parametrize("name", NETS)
def test_fuses_to_the_plain_net(name):
    plain, side, blocks, others = NETS[name]
    net = trained(small(name, "deploy", side))
    kinds = Counter(layer.spec.type for layer in net.layers)
    assert kinds["Convolution"] == 3 * blocks + others
    fused = caffecompat.fuse(net)
    wanted = caffecompat.fuse(trained(small(plain, "deploy", side)))
    assert [layer.spec.type for layer in fused.layers] == [layer.spec.type for layer in wanted.layers]
    assert [[tuple(blob.shape) for blob in layer.blobs] for layer in fused.layers] == [
        [tuple(blob.shape) for blob in layer.blobs] for layer in wanted.layers
    ]
    data = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        before, after = (one(data=data)["prob"].numpy() for one in (net, fused))
    # Probabilities that say something.
    assert before.std() > 1e-3
    np.testing.assert_allclose(after, before, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_branches_learn(name):
    """What training adds to the plain net: kernels of which one side is 1, without biases; else it is the same net."""
    plain, side, blocks, _ = NETS[name]
    ours, theirs = (small(one, "train_val", side) for one in (name, plain))
    thin = [layer for layer in ours.layer if layer.name.endswith(("_vertical", "_horizontal"))]
    assert len(thin) == 2 * blocks
    for layer in thin:
        param = layer.convolution_param
        assert sorted((param.kernel_h, param.kernel_w))[0] == 1
        assert (param.kernel_h == 1) == layer.name.endswith("_horizontal")
        assert not param.bias_term
        assert param.weight_filler.type == "msra"
    assert {layer.name for layer in theirs.layer if layer.type == "Convolution"} <= {layer.name for layer in ours.layer}
    behind = ("ReLU", "Pooling", "LRN", "Dropout", "InnerProduct", "Accuracy", "SoftmaxWithLoss")
    kept = [[layer for layer in net.layer if layer.type in behind] for net in (ours, theirs)]
    assert kept[0] == kept[1]
