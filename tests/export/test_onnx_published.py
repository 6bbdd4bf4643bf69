"""Published nets as ONNX against recorded answers; `onnx_published.py` has all of them, and the figures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffecompat
from caffecompat import Net
from caffecompat.errors import FormatError
from caffecompat.export.onnx.exporting import export_onnx
from caffecompat.export.onnx.options import OnnxOptions
from caffecompat.formats import read_net
from caffecompat.graph import build_graph
from tests.export.onnx_cases import assert_same, run_model, run_net
from tests.export.onnx_published import MALFORMED, compared, in_opencv, published
from tests.reference.make_nets import seeded, seeded_input
from tests.support import REFERENCE, SHARED, shared_file

# Those of `published` that take a second or less; the others are left to the program.
CHEAP = (
    "models/cifar10_full_h5/cifar10_full",
    "models/cifar10_full_h5/cifar10_full_sigmoid_deploy_made_bn",
    "models/cifar10_full_h5/cifar10_full_sigmoid_train_test_bn",
    "models/cifar10_full_h5/cifar10_full_train_test",
    "models/cifar10_quick_encodings/cifar10_quick",
    "models/cifar10_quick_encodings/cifar10_quick_test",
    "models/cifar10_quick_encodings/cifar10_quick_train",
    "models/hyperlpr_fp16/HorizonalFinemapping",
    "models/lenet_v1/lenet",
    "models/lenet_v1/lenet_train_test",
    "models/mtcnn/det1",
    "models/mtcnn/det2",
    "models/mtcnn/det3",
    "models/wechat_detect/detect",
    "prototxt/bvlc/cifar10__cifar10_full",
    "prototxt/bvlc/cifar10__cifar10_full_train_test",
    "prototxt/bvlc/mnist__lenet",
    "prototxt/bvlc/mnist__lenet_train_test",
    "prototxt/bvlc/siamese__mnist_siamese_train_test",
    "prototxt/dilation/train_context/test_net",
    "prototxt/dilation/train_context/train_net",
    "prototxt/legacy/cifar10_full",
    "prototxt/legacy/cifar10_full_train",
    "prototxt/legacy/cifar10_quick",
    "prototxt/legacy/cifar10_quick_train",
    "prototxt/legacy/lenet",
    "prototxt/legacy/lenet_test",
    "prototxt/legacy/lenet_train",
    "prototxt/legacy/lenet_v1_version1_interim_20140323",
)


def model(name, weights, folder, shape=None, **options):
    """A published model, converted."""
    path = shared_file(f"models/{name}")
    net = caffecompat.load(path, path.with_name(weights), input_shapes=None if shape is None else {"data": shape})
    export_onnx(net, folder / "net.onnx", OnnxOptions(**options), {})
    return net


def assert_rows(found, wanted):
    """Detections: the same images, labels and order; scores and boxes within 1e-5 of their largest magnitudes."""
    assert found.size == wanted.size
    found, wanted = found.reshape(-1, 7), wanted.reshape(-1, 7)
    np.testing.assert_array_equal(found[:, :2], wanted[:, :2])
    for columns in (slice(2, 3), slice(3, 7)):
        tolerance = 1e-5 * np.abs(wanted[:, columns]).max(initial=0)
        np.testing.assert_allclose(found[:, columns], wanted[:, columns], rtol=0, atol=tolerance)


@pytest.mark.parametrize("dynamic", [False, True])
def test_a_detector_on_a_photograph(dynamic, tmp_path):
    """Rows as OpenCV 4 recorded them; with a height and width that vary the prior boxes are computed in the model."""
    with np.load(shared_file("models/wechat_detect/opencv_ref_coffee_qr.npz")) as record:
        data, rows = record["input"], record["detection_output"].reshape(-1, 7)
    rows = rows[rows[:, 2] > 0]  # OpenCV fills up to keep_top_k rows with zeros
    shape = (1, 1, 128, 192) if dynamic else data.shape
    model("wechat_detect/detect.prototxt", "detect.caffemodel", tmp_path, shape, dynamic_size=dynamic)
    assert_rows(run_model(tmp_path / "net.onnx", {"data": data})["detection_output"], rows)
    assert_rows(in_opencv(tmp_path / "net.onnx", {"data": data}), rows)


@pytest.mark.parametrize("name", ["det1", "det2", "det3"])
def test_cascades(name, tmp_path):
    net = model(f"mtcnn/{name}.prototxt", f"{name}.caffemodel", tmp_path)
    shape = net.blob_shapes[net.graph.inputs[0]][1:]
    inputs = {"data": np.random.default_rng(0).standard_normal((5, *shape), np.float32)}
    assert_same(run_model(tmp_path / "net.onnx", inputs), run_net(net, inputs))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*save_output_param is ignored:caffecompat.errors.CaffeCompatWarning")
def test_ssd300_in_onnx_runtime_and_opencv(tmp_path):
    """The detections of the original Caffe, with seeded weights on a seeded picture."""
    graph = build_graph(read_net(shared_file("prototxt/ssd/SSD300_VOC0712/deploy.prototxt")), "TEST")
    net = Net(graph)
    for layer in net.layers:
        for index, blob in enumerate(layer.blobs):
            layer.give(index, torch.from_numpy(seeded(layer.spec.name, layer.spec.type, index, tuple(blob.shape))))
    export_onnx(net, tmp_path / "net.onnx", OnnxOptions(verify=False), {})
    inputs = {"data": seeded_input((1, 3, 300, 300))}
    with np.load(REFERENCE / "nets" / "ssd300_voc.npz") as record:
        rows = record["out/detection_out"]
    assert len(rows.reshape(-1, 7)) > 10
    assert_rows(run_model(tmp_path / "net.onnx", inputs)["detection_out"], rows)
    assert_rows(in_opencv(tmp_path / "net.onnx", inputs), rows)


@pytest.mark.filterwarnings("ignore::caffecompat.errors.CaffeCompatWarning")
@pytest.mark.parametrize("name", CHEAP)
def test_small_nets(name, tmp_path):
    """As the program compares all: by the conversion itself, and from outside, on other values."""
    rows = list(compared(shared_file(f"{name}.prototxt"), tmp_path))
    assert rows
    for row in rows:
        assert row.inside is not None
        assert max(row.inside, row.outside, row.opencv or 0) <= 1e-4, row


def test_the_program_knows_the_nets():
    shared_file("prototxt")
    names = {str(path.relative_to(SHARED).with_suffix("")) for path in published([])}
    assert len(names) > 40
    assert not any("solver" in name for name in names)
    assert names.issuperset(CHEAP)


def test_the_malformed_one():
    """As it was found, it begins with a bare name."""
    path = shared_file(f"prototxt/vgg/{MALFORMED}")
    with pytest.raises(FormatError, match='expected ":" or "{" after VGG_ILSVRC_19_layers_train_val') as caught:
        read_net(path)
    assert (caught.value.file, caught.value.line) == (str(path), 1)
