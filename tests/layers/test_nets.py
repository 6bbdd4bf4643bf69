"""Whole published nets with seeded weights, against what the original Caffe computed."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from caffecompat import Net
from caffecompat.formats import read_net
from caffecompat.graph import build_graph
from tests.reference.make_nets import seeded, seeded_input
from tests.support import REFERENCE, shared_file

NETS = {
    "alexnet": "bvlc/bvlc_alexnet__deploy.prototxt",
    "cifar10_full": "bvlc/cifar10__cifar10_full.prototxt",
    "dilation7_kitti": "dilation/dilation7_kitti_deploy.prototxt",
    "googlenet": "bvlc/bvlc_googlenet__deploy.prototxt",
    "lenet": "bvlc/mnist__lenet.prototxt",
    "ssd300_voc": "ssd/SSD300_VOC0712/deploy.prototxt",
    "vgg16": "vgg/VGG_ILSVRC_16_layers_deploy.prototxt",
}
SLOW = {"dilation7_kitti", "ssd300_voc", "vgg16"}


def run(prototxt, blobs, device="cpu"):
    """The blobs, of the seeded net on the seeded input."""
    graph = build_graph(read_net(shared_file(f"prototxt/{prototxt}")), "TEST")
    (data,) = graph.inputs
    shape = (1, *Net(graph).blob_shapes[data][1:])
    net = Net(graph, {data.name: shape})
    for layer in net.layers:
        if layer.spec.type != "Deconvolution":  # a bilinear upsampler keeps its filler
            for index, blob in enumerate(layer.blobs):
                layer.give(index, torch.from_numpy(seeded(layer.spec.name, layer.spec.type, index, tuple(blob.shape))))
    net.fill()
    net.to(device)
    net.keep = set(blobs)
    with torch.no_grad():
        net(**{data.name: torch.from_numpy(seeded_input(shape)).to(device)})
    return {name: net.blobs[name].cpu().numpy() for name in blobs}


def compare(name, device="cpu"):
    """Fail if a recorded blob of the net differs."""
    with np.load(REFERENCE / "nets" / f"{name}.npz") as record:
        expected = dict(record)
    blobs = [key[4:] for key in expected if key.startswith("out/")]
    for blob, ours in run(NETS[name], blobs, device).items():
        theirs = expected[f"out/{blob}"]
        assert list(ours.shape) == expected[f"shape/{blob}"].tolist()
        ours = ours.reshape(-1)[:: max(1, -(-ours.size // 20000))]
        if blob == "detection_out":
            # Rows of (image, label, score, xmin, ymin, xmax, ymax), best first.
            ours, theirs = ours.reshape(-1, 7), theirs.reshape(-1, 7)
            np.testing.assert_array_equal(ours[:, :2], theirs[:, :2])
            np.testing.assert_allclose(ours[:, 2:], theirs[:, 2:], rtol=0, atol=1e-4)
            continue
        tolerance = 1e-5 if blob.startswith("mbox_") else 1e-4
        assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max(), blob


@pytest.mark.filterwarnings("ignore:.*save_output_param is ignored:caffecompat.errors.CaffeCompatWarning")
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NETS])
def test_as_recorded(name):
    compare(name)


def test_every_record_is_compared():
    assert {path.stem for path in (REFERENCE / "nets").glob("*.npz")} == set(NETS)
