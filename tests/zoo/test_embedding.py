"""Matching networks on embeddings by any net: its layers up to the blob, and its weights, found by name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat import Net
from caffecompat.errors import CaffeCompatError, UsageError
from caffecompat.formats import parse_net, read_net
from caffecompat.graph import build_graph
from caffecompat.zoo import MODELS, ask
from tests.zoo.made import built, made, shape
from tests.zoo.test_fewshot import run, write_glyphs

SMALL = """
input: "pixels" input_dim: 2 input_dim: 1 input_dim: 28 input_dim: 28
layer { name: "conv" type: "Convolution" bottom: "pixels" top: "conv"
        convolution_param { num_output: 3 kernel_size: 5 stride: 4 weight_filler { type: "gaussian" std: 0.1 } } }
layer { name: "side" type: "Pooling" bottom: "pixels" top: "side" pooling_param { kernel_size: 28 } }
layer { name: "feature" type: "InnerProduct" bottom: "conv" top: "feature"
        inner_product_param { num_output: 6 weight_filler { type: "xavier" } } }
layer { name: "tanh" type: "TanH" bottom: "feature" top: "feature" }
layer { name: "label" type: "InnerProduct" bottom: "feature" top: "label" inner_product_param { num_output: 9 } }
"""


@pytest.mark.parametrize(
    ("embedding", "values", "weights", "last"),
    [
        ("vgg-fc7", 4096, "VGG_ILSVRC_16_layers.caffemodel", ("fc7", "relu7", "drop7")),
        ("googlenet", 1024, "bvlc_googlenet.caffemodel", ("pool5/7x7_s1", "pool5/drop_7x7_s1")),
    ],
)
def test_published_nets(embedding, values, weights, last):
    nets = made("matching-net", embedding=embedding)
    assert nets.weights == weights
    net = built(nets.nets["train_val"], "TRAIN")
    assert shape(net, "data") == (30, 3, 224, 224)
    assert (shape(net, "support"), shape(net, "query")) == ((5, *shape(net, "query")[1:]), shape(net, "query"))
    assert np.prod(shape(net, "query")) == 25 * values
    names = [spec.name for spec in net.graph.layers]
    before = names.index("support")
    assert tuple(names[before - len(last) : before]) == last
    # The published net's own layers, which its weights are found by; no loss and no classifier of it.
    original = built(made("googlenet" if embedding == "googlenet" else "vgg-d").nets["train_val"], "TRAIN")
    theirs = {layer.spec.name: [tuple(blob.shape) for blob in layer.blobs] for layer in original.layers}
    kept = {layer.spec.name: [tuple(blob.shape) for blob in layer.blobs] for layer in net.layers if layer.blobs}
    assert kept == {name: theirs[name] for name in kept}
    missing = {name for name in theirs.keys() - kept.keys() if theirs[name]}
    assert missing == {name for name in missing if name.startswith(("loss", "fc8"))}


@pytest.fixture
def small(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.prototxt").write_text(SMALL)
    run("convert", "small.prototxt", "-o", "small.caffemodel")
    return tmp_path


def test_a_blob_of_a_prototxt(small):
    write_glyphs(small / "db", range(30), 6)
    run("new", "matching-net", "-o", "net", "--data", "db", "--embedding", "small.prototxt:feature")
    message = read_net("net/train_val.prototxt").message
    assert [layer.name for layer in message.layer[2:5]] == ["conv", "feature", "tanh"]
    pictures = torch.randn(30, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    original = Net(build_graph(parse_net(SMALL.replace("input_dim: 2", "input_dim: 30", 1))))
    net = Net(build_graph(read_net("net/deploy.prototxt")))
    for one in (original, net):
        one.copy_from("small.caffemodel")
        one.fill()
        one.keep = {"feature"}
    told = net(data=pictures, support_label=torch.arange(5.0))["prob"]
    original(pixels=pictures)
    feature = original.blobs["feature"].detach()
    assert torch.equal(net.blobs["feature"], feature)
    cosines = torch.nn.functional.cosine_similarity(feature[5:, None], feature[None, :5], dim=2)
    torch.testing.assert_close(told, (20 * cosines).softmax(1))
    arguments = ("net/train_val.prototxt", "--weights", "small.caffemodel", "--episodes", 2)
    assert run("evaluate", "fewshot", *arguments).startswith("accuracy = 0.")


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ("vgg-fc8", "no embedding 'vgg-fc8'\n.*did you mean \"vgg-fc7\""),
        ("", "expected a path for --embedding"),
        ("small.prototxt:", "no embedding"),
        ("small.prototxt:featur", "small.prototxt has no blob 'featur'\n.*did you mean \"feature\""),
        ("small.prototxt:pixels", "'pixels', an input of small.prototxt"),
        ("small.prototxt:label", "the embedding has 'label', a name that the matching network needs"),
        ("data.prototxt:y", "an Input layer with a shape of four sizes"),
        ("two.prototxt:y", "of one input, got blob 'y' of two.prototxt, which takes 2"),
        ("absent.prototxt:y", "absent.prototxt"),
    ],
)
def test_refused(asked, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small.prototxt").write_text(SMALL)
    data = (
        'layer { name: "d" type: "DummyData" top: "a" top: "b" dummy_data_param { shape { dim: 1 } shape { dim: 1 } } }'
    )
    for name, bottoms in (("data", 'bottom: "a"'), ("two", 'bottom: "a" bottom: "b"')):
        (tmp_path / f"{name}.prototxt").write_text(f'{data} layer {{ name: "y" type: "Concat" {bottoms} top: "y" }}')
    with pytest.raises(CaffeCompatError, match=says):
        made("matching-net", embedding=asked)


def test_other_nets_have_none():
    with pytest.raises(UsageError, match="lenet has no --embedding"):
        ask(MODELS["lenet"], embedding="vgg-fc7")
