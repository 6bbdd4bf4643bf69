"""fuse: whole nets become the nets they should, compute the same, and files for Caffe say so too."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest
import torch

import caffecompat
from caffecompat.errors import CaffeCompatError, UnsupportedError, UsageError
from caffecompat.export import export, fusing
from caffecompat.graph.passes import fused
from tests.graph.passes.nets import assert_equal, bn_inception, net_of, repvgg_a0, resnet_50, trained_net, types
from tests.support import shared_file

SMALL = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 12 dim: 12 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" convolution_param { num_output: 4 kernel_size: 3 } }
layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "relu" }
layer { name: "drop" type: "Dropout" bottom: "relu" top: "drop" }
layer { name: "fc" type: "InnerProduct" bottom: "drop" top: "fc" inner_product_param { num_output: 5 } }
"""


def fuse(net, **options):
    """The fused net, and what was told."""
    told = []
    return caffecompat.fuse(net, tell=told.append, **options), told


def apart(notes) -> float:
    """The difference that was verified, with the net's own parameters and with random ones."""
    (note,) = (note for note in notes if note.startswith("verified on random input"))
    own, drawn = re.fullmatch(r"[^:]*: outputs [^\d]* (\S+) of [a-z ]*, with random parameters by (\S+)", note).groups()
    return max(float(own), float(drawn))


def test_a_small_net():
    net = trained_net(SMALL)
    before = net.graph.message.SerializeToString()
    new, notes = fuse(net)
    assert types(new) == ["Convolution", "ReLU", "InnerProduct"]
    assert notes[:-1] == [
        'took out 1 Dropout: "drop"',
        'folded 1 BatchNorm into the layer before: "bn"',
        '1 activations work in place: "relu"',
    ]
    assert apart(notes) < 1e-5
    assert types(net) == ["Convolution", "BatchNorm", "ReLU", "Dropout", "InnerProduct"]
    assert net.graph.message.SerializeToString() == before
    assert not new.training
    assert_equal(net, new)
    again, notes = fuse(new)
    assert notes == ["nothing to fuse was found"]
    assert types(again) == types(new)


def test_repvgg_a0():
    """22 convolutions and nothing beside them; the whole net's 61 branches are gone."""
    net = net_of(repvgg_a0(64))
    new, notes = fuse(net)
    kinds = Counter(types(new))
    assert kinds == {"Convolution": 22, "ReLU": 22, "Pooling": 1, "InnerProduct": 1}
    assert "22 sums of 61 branches became one convolution each" in notes[1]
    assert apart(notes) < 1e-5
    assert_equal(net, new, [(96, 80)])
    kernels = {layer.window.kernel for layer in new.layers if layer.spec.type == "Convolution"}
    assert kernels == {(3, 3)}


@pytest.mark.parametrize(("make", "convolutions"), [(resnet_50, 53), (bn_inception, 69)])
def test_no_batch_norm_remains(make, convolutions):
    net = net_of(make(64))
    new, notes = fuse(net)
    kinds = Counter(types(new))
    assert kinds["Convolution"] == Counter(types(net))["Convolution"]
    assert kinds["Convolution"] == convolutions
    assert not kinds.keys() & {"BatchNorm", "Scale"}
    assert apart(notes) < 1e-5
    assert_equal(net, new)


def test_files_for_caffe(tmp_path):
    net = trained_net(SMALL)
    new, _ = fuse(net)
    for name in ("net.prototxt", "net.caffemodel"):
        export(new, tmp_path / name)
    again = caffecompat.load(tmp_path / "net.prototxt", tmp_path / "net.caffemodel")
    assert again.filled == ()
    assert_equal(net, again)


def test_a_training_net_in_evaluation():
    """Losses drop out, data layers become inputs, and BatchNorm has its kept statistics, whatever the phase."""
    text = SMALL.replace('top: "data" input_param', 'top: "data" top: "label" input_param').replace(
        "shape { dim: 1 dim: 3 dim: 12 dim: 12 }", "shape { dim: 1 dim: 3 dim: 12 dim: 12 } shape { dim: 1 }"
    )
    text += 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" }\n'
    net = trained_net(text, phase="TRAIN")
    new, notes = fuse(net)
    assert types(new) == ["Convolution", "ReLU", "InnerProduct", "Softmax"]
    assert new.outputs == ["prob"]
    assert new.graph.phase == "TEST"
    assert 'SoftmaxWithLoss "loss" became Softmax' in notes[0]
    net.keep = ["fc"]
    data = torch.from_numpy(np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32))
    with torch.no_grad():
        net(data=data, label=torch.zeros(1))
        torch.testing.assert_close(new(data=data)["prob"], net.blobs["fc"].softmax(1))


def test_depthwise_convolutions_say_their_groups():
    """fuse knows them from the built net."""
    text = SMALL[: SMALL.index('layer { name: "conv"')]
    text += 'layer { name: "one" type: "DepthwiseConvolution" bottom: "data" top: "one" '
    text += "convolution_param { kernel_size: 3 pad: 1 } }\n"
    text += 'layer { name: "sum" type: "Eltwise" bottom: "data" bottom: "one" top: "sum" }\n'
    net = trained_net(text)
    new, _ = fuse(net)
    assert types(new) == ["DepthwiseConvolution"]
    assert_equal(net, new)


def test_the_preprocessing_of_a_data_layer_stays():
    """The layer itself becomes an input."""
    data = """layer { name: "data" type: "Data" top: "data" top: "label"
    transform_param { mean_value: 104 mean_value: 117 mean_value: 123 scale: 0.5 crop_size: 12 } }
"""
    net = trained_net(data + SMALL[SMALL.index('layer { name: "conv"') :], input_shapes={"data": (1, 3, 12, 12)})
    new, _ = fuse(net)
    assert new.inputs == ["data"]
    assert new.preprocessing.mean == (104.0, 117.0, 123.0)
    assert new.preprocessing == net.preprocessing


def test_what_remains_is_told():
    net = trained_net(
        SMALL.replace('type: "BatchNorm"', 'type: "BatchNorm" batch_norm_param { use_global_stats: false }')
    )
    new, notes = fuse(net)
    assert '1 BatchNorm remain: "bn"' in notes
    assert "BatchNorm" in types(new)


def test_a_net_in_training():
    with pytest.raises(UsageError, match="only a net in evaluation can be fused") as caught:
        caffecompat.fuse(trained_net(SMALL, phase="TRAIN").train())
    assert "net.eval()" in caught.value.hint


def test_two_layers_of_one_name():
    with pytest.raises(UnsupportedError, match="two layers with parameters are called 'conv'"):
        caffecompat.fuse(trained_net(SMALL.replace('name: "fc"', 'name: "conv"')))


def test_what_differs_is_refused(monkeypatch):
    """With a pass that is wrong."""

    def wrong(graph, blobs):
        graph, blobs, notes = fused(graph, blobs)
        return graph, {**blobs, "conv": [blobs["conv"][0] * 1.001, *blobs["conv"][1:]]}, notes

    monkeypatch.setattr(fusing, "fused", wrong)
    net = trained_net(SMALL)
    with pytest.raises(
        CaffeCompatError, match=r"the fused net is not the net: blob 'fc' differs by \d\.\de-0[34]"
    ) as caught:
        caffecompat.fuse(net)
    assert "--no-verify" in caught.value.hint
    assert types(caffecompat.fuse(net, verify=False)) == ["Convolution", "ReLU", "InnerProduct"]


def test_a_net_that_is_not_finite():
    net = trained_net(SMALL)
    net.layer("fc").bias.data.fill_(float("inf"))
    with pytest.raises(CaffeCompatError, match="blob 'fc' is not finite on random input"):
        caffecompat.fuse(net)


def test_layers_that_choose():
    """Equal values are not chosen alike after rounding: what is read is compared, and then the same is chosen from."""
    text = SMALL + 'layer { name: "best" type: "ArgMax" bottom: "fc" top: "best" }\n'
    net = trained_net(text)
    net.layer("fc").weight.data[1:] = net.layer("fc").weight[:1] * (1 + 1e-7)
    net.layer("fc").bias.data[:] = 0
    _, notes = fuse(net)
    assert apart(notes) < 1e-5


@pytest.mark.slow
@pytest.mark.filterwarnings("default:.*save_output_param is ignored")
def test_ssd_300(recwarn):
    """The scale of conv4_3_norm goes into the convolutions that read it; detections are chosen from the same values."""
    net = caffecompat.load(shared_file("prototxt/ssd/SSD300_VOC0712/deploy.prototxt"))
    with torch.no_grad():
        for layer in net.layers:
            if layer.spec.type == "Convolution":
                layer.weight.normal_(
                    0, (2 / layer.weight[0].numel()) ** 0.5, generator=torch.Generator().manual_seed(0)
                )
    assert len(recwarn) == 1
    new, notes = fuse(net)
    assert len(recwarn) == 1, "what was said of the net is not said again"
    assert torch.equal(new.layer("conv4_3_norm").weight, torch.ones(512))
    assert any("the scale of 1 Normalize" in note for note in notes)
    assert apart(notes) < 1e-5
