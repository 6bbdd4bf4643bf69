"""vgg_start: deeper nets take what the paper names of net A, and nothing else."""

from __future__ import annotations

import pytest
import torch

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import UnsupportedError
from caffecompat.export import export
from caffecompat.export.applying import apply_recipe
from caffecompat.export.recipes import find_recipe
from caffecompat.formats import write_text
from tests.zoo.made import made

# Simonyan and Zisserman, section 3.1: the first four convolutions and the last three layers.
TAKEN = {"conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8"}


def loaded(folder, name):
    path = folder / f"{name}.prototxt"
    path.write_text(write_text(made(name, width=1 / 32, size=32, classes=4).nets["deploy"]))
    torch.manual_seed(len(name) + ord(name[-1]))
    net = caffecompat.load(path)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_()
    return net


@pytest.mark.parametrize("name", ["vgg-b", "vgg-d", "vgg-e"])
def test_what_deeper_nets_take(name, tmp_path):
    first, deeper = loaded(tmp_path, "vgg-a"), loaded(tmp_path, name)
    before = {layer.spec.name: layer.blobs[0].clone() for layer in deeper.layers if layer.blobs}
    start, _ = apply_recipe(first, find_recipe("vgg_start"), {}, Preprocessing())
    export(start, tmp_path / "start.caffemodel")
    deeper.copy_from(tmp_path / "start.caffemodel")
    for layer_name, old in before.items():
        new = deeper.layer(layer_name).blobs[0]
        if layer_name in TAKEN:
            assert torch.equal(new, first.layer(layer_name).blobs[0])
        else:
            assert torch.equal(new, old)
    assert before.keys() >= TAKEN


def test_another_net(tmp_path):
    (tmp_path / "net.prototxt").write_text(write_text(made("lenet").nets["deploy"]))
    with pytest.raises(UnsupportedError, match=r"there are none of conv1_1, .*, fc8"):
        apply_recipe(caffecompat.load(tmp_path / "net.prototxt"), find_recipe("vgg_start"), {}, Preprocessing())
