"""Published nets as PyTorch source, run in a process that cannot import this package."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffecompat
from caffecompat import Net
from caffecompat.formats import read_net
from caffecompat.graph import build_graph
from tests.export.onnx_cases import assert_same, run_net
from tests.export.onnx_published import WEIGHTS, randomize
from tests.export.source_cases import assert_tidy, run_apart, written
from tests.export.test_onnx_published import assert_rows
from tests.reference.make_nets import seeded, seeded_input
from tests.support import REFERENCE, shared_file

INPUT_SHAPES = {
    "lenet_v1": (1, 1, 28, 28),
    "cifar10": (1, 3, 32, 32),
    "wechat": (1, 1, 96, 128),
}


def with_weights(name):
    path = shared_file(f"models/{name}")
    shape = next((shape for part, shape in INPUT_SHAPES.items() if part in name), None)
    shapes = None if shape is None else {"data": shape}
    return caffecompat.load(path, path.with_name(WEIGHTS[name]), input_shapes=shapes)


def compare_apart(nets, folder, threads=1):
    """Every net's source gives what the net gives; the paths."""
    random = np.random.default_rng(0)
    runs, wanted = [], []
    for number, net in enumerate(nets):
        arrays = [random.standard_normal(net.blob_shapes[key], np.float32) for key in net.graph.inputs]
        runs.append((written(net, folder, f"net{number}"), arrays))
        wanted.append(run_net(net, {key.name: array for key, array in zip(net.graph.inputs, arrays, strict=True)}))
    for found, ours in zip(run_apart(runs, threads), wanted, strict=True):
        assert_same(dict(zip(ours, found, strict=True)), ours)
        assert all(np.abs(value).max() > 0 for value in ours.values())
    paths = [path for path, _ in runs]
    assert_tidy(*paths)
    return paths


def test_trained_models(tmp_path):
    """Classifiers, MTCNN's cascade, a regressor, and WeChat's detector on the photograph that OpenCV recorded."""
    names = [name for name in WEIGHTS if "wechat" not in name]
    compare_apart([with_weights(name) for name in names], tmp_path)
    with np.load(shared_file("models/wechat_detect/opencv_ref_coffee_qr.npz")) as record:
        data, rows = record["input"], record["detection_output"].reshape(-1, 7)
    path = written(with_weights("wechat_detect/detect.prototxt"), tmp_path, "wechat")
    assert_tidy(path)
    ((found,),) = run_apart([(path, [data])])
    assert_rows(found, rows[rows[:, 2] > 0])  # OpenCV fills up to keep_top_k rows with zeros


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*save_output_param is ignored:caffecompat.errors.CaffeCompatWarning")
def test_ssd300(tmp_path):
    """The detections of the net and of the original Caffe, with seeded weights on a seeded picture."""
    net = Net(build_graph(read_net(shared_file("prototxt/ssd/SSD300_VOC0712/deploy.prototxt")), "TEST"))
    for layer in net.layers:
        for index, blob in enumerate(layer.blobs):
            layer.give(index, torch.from_numpy(seeded(layer.spec.name, layer.spec.type, index, tuple(blob.shape))))
    path = written(net, tmp_path)
    assert_tidy(path)
    picture = seeded_input((1, 3, 300, 300))
    ((found,),) = run_apart([(path, [picture])], 2)
    assert_rows(found, run_net(net.eval(), {"data": picture})["detection_out"])
    with np.load(REFERENCE / "nets" / "ssd300_voc.npz") as record:
        assert_rows(found, record["out/detection_out"])
    code = path.read_text()
    assert "nn.ModuleList" in code
    assert code.count("PriorBox(") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shape", "lines"),
    [
        ("vgg/VGG_ILSVRC_16_layers_deploy", (1, 3, 224, 224), 119),
        ("bvlc/bvlc_googlenet__deploy", (1, 3, 224, 224), 145),
        # The smallest picture that it takes.
        ("dilation/dilation8_pascal_voc_deploy", (1, 3, 380, 380), 124),
    ],
)
def test_large_nets(name, shape, lines, tmp_path):
    net = Net(build_graph(read_net(shared_file(f"prototxt/{name}.prototxt")), "TEST"), {"data": shape})
    net.fill()
    randomize(net)
    (path,) = compare_apart([net], tmp_path, 2)
    assert len(path.read_text().splitlines()) <= lines
