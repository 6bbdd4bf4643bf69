"""Every net of the zoo in every setting: it makes a net in both phases, and has the sizes that its paper states."""

from __future__ import annotations

import pytest

from caffecompat.zoo import MODELS
from tests.zoo.made import built, made, multiply_adds, parameters, shape

SETTINGS = [
    (name, dataset, variant)
    for name, model in MODELS.items()
    for dataset in model.datasets
    for variant in model.variants or (None,)
]


@pytest.mark.parametrize(("name", "dataset", "variant"), SETTINGS)
def test_every_net_can_be_built(name, dataset, variant):
    nets = made(name, dataset=dataset, variant=variant).nets
    assert nets.keys() in ({"train_val", "deploy"}, {"train", "test", "deploy"})
    whole = nets.get("train_val")
    train = built(whole if whole is not None else nets["train"], "TRAIN")
    test = built(whole if whole is not None else nets["test"], "TEST")
    deploy = built(nets["deploy"], "TEST")
    # What one learns the others use.
    learnt = {layer.spec.name: [tuple(blob.shape) for blob in layer.blobs] for layer in train.layers if layer.blobs}
    for net in (test, deploy):
        for layer in net.layers:
            if layer.blobs and layer.spec.type != "Deconvolution":
                assert learnt[layer.spec.name] == [tuple(blob.shape) for blob in layer.blobs]


@pytest.mark.parametrize(("name", "dataset"), list(dict.fromkeys(setting[:2] for setting in SETTINGS)))
def test_other_numbers_of_classes(name, dataset):
    for file, net in made(name, dataset=dataset, classes=7).nets.items():
        built(net, "TRAIN" if file.startswith("train") else "TEST")


@pytest.mark.parametrize(
    ("name", "millions"),
    [("vgg-a", 133), ("vgg-a-lrn", 133), ("vgg-b", 133), ("vgg-c", 134), ("vgg-d", 138), ("vgg-e", 144)],
)
def test_vgg_table_2(name, millions):
    assert round(parameters(built(made(name).nets["deploy"], "TEST")) / 1e6) == millions


# Millions of weights and of multiply-adds at the net's own size.
SIZES = {
    "lenet": (0.43, 2.29),
    "alexnet": (60.97, 724),
    "googlenet": (7.0, 1582),
    "vgg-d": (138.36, 15470),
    "vgg-e": (143.67, 19632),
}


@pytest.mark.parametrize("name", SIZES)
def test_sizes(name):
    weights, work = SIZES[name]
    net = built(made(name).nets["deploy"], "TEST")
    assert parameters(net) / 1e6 == pytest.approx(weights, rel=0.005)
    assert multiply_adds(net) / 1e6 == pytest.approx(work, rel=0.005)


def test_the_last_blob_of_classifiers():
    for name in ("vgg-a", "lenet", "googlenet"):
        assert shape(built(made(name, classes=7).nets["deploy"], "TEST"), "prob")[1] == 7
