"""The nets of the ablations: what they lack, and nothing else."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

import caffecompat
from caffecompat.zoo.classifying import MEAN_BGR
from tests.support import shared_file
from tests.zoo import repvgg, vgg
from tests.zoo.cifar import FILE, pictures, write_cifar
from tests.zoo.made import built

DATA = ("train", "test")


def kernels(net):
    return [tuple(layer.blobs[0].shape) for layer in net.layers if layer.spec.type == "Convolution"]


def test_one_window_of_5x5_for_two_of_3x3():
    """Section 4.1 of VGG: of B's ten convolutions five, as wide, with 25/18 of the weights of pairs of equal width."""
    pairs, single = (built(vgg.net_of(name, DATA, 0.25), "TRAIN") for name in ("b", "b-5x5"))
    assert len(kernels(pairs)) == 10
    assert kernels(single) == [(*shape[:2], 5, 5) for shape in kernels(pairs)[::2]]
    assert [layer.spec.type for layer in pairs.layers].count("Pooling") == 5
    assert Counter(layer.spec.type for layer in single.layers) == {
        **Counter(layer.spec.type for layer in pairs.layers),
        "Convolution": 5,
        "ReLU": 7,
    }


@pytest.mark.parametrize(
    ("form", "branches"), [("branches", 3), ("no-identity", 2), ("no-1x1", 2), ("3x3", 1), ("kernel-decay", 3)]
)
def test_branches(form, branches):
    """A block of 3x3 after another of the same width: the second of the second stage."""
    nets = repvgg.nets_of(form, DATA, 0.25, 2)
    (block,) = [layer for layer in nets.nets["train_val"].layer if layer.name == "stage2_2"]
    assert len(block.bottom) == branches
    trained = built(nets.nets["train_val"], "TRAIN")
    assert sum(shape[-1] == 3 for shape in kernels(trained)) == 8
    assert any(shape[-1] == 1 for shape in kernels(trained)) == (form not in ("no-1x1", "3x3"))
    assert any("identity" in layer.spec.name for layer in trained.layers) == (form not in ("no-identity", "3x3"))


@pytest.mark.parametrize("form", repvgg.FORMS)
def test_all_forms_are_one_plain_net_in_the_end(form):
    net = built(repvgg.nets_of(form, DATA, 0.125, 2).nets["deploy"], "TEST")
    net.fill()
    fused = caffecompat.fuse(net)
    widths = [3, 6, 6, 6, 12, 12, 24, 24, 160]
    assert kernels(fused) == [(after, before, 3, 3) for before, after in pairwise(widths)]
    kinds = {"Input", "Convolution", "ReLU", "Pooling", "InnerProduct", "Softmax"}
    assert {layer.spec.type for layer in fused.layers} == kinds


@pytest.mark.slow
def test_fusing_leaves_the_accuracy(tmp_path):
    """Trained for a moment; "plain" begins with the factors that "search" found."""
    shared_file(FILE)
    data = write_cifar(tmp_path, 200, 20)
    images, labels = pictures(range(4000, 4200), MEAN_BGR, repvgg.SCALE)
    calibration, _ = pictures(range(40), MEAN_BGR, repvgg.SCALE)
    forms = {}
    for form in ("branches", "search", "plain"):
        deploy, weights = repvgg.run(tmp_path, form, data, 0.125, 1, 4, 1)
        forms[form] = found = repvgg.score(deploy, weights, images, labels, calibration)
        assert found.trained == found.fused
        assert found.apart < 1e-5
        assert len(found.before) == len(found.after) == 5
    repvgg.plot(tmp_path / "deviations.png", forms)
    assert (tmp_path / "deviations.png").read_bytes().startswith(b"\x89PNG")
