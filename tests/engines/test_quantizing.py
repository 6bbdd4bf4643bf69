"""int8: trained nets keep their accuracy, in both programs, and it is told what that costs."""

from __future__ import annotations

import cv2
import lmdb
import numpy as np
import pytest
import torch

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.detection.average_precision import AveragePrecisions, mean_of
from caffecompat.engines import Calibration, optimize
from caffecompat.engines.base import Settings
from caffecompat.engines.comparing import others_of, reference
from caffecompat.engines.measuring import measure
from caffecompat.errors import UsageError
from caffecompat.formats import read_mean
from caffecompat.schema import caffe_pb2
from tests.support import REFERENCE, make_net, shared_file

SSD = REFERENCE / "ssd_training"
BOTH = pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])


def accuracy_by_hand(call, inputs, labels, items, size=50):
    """Top-1 of some items."""
    right = 0
    for start in range(0, len(items), size):
        part = items[start : start + size]
        filled = (part + part[:1] * size)[:size]
        found = call(data=torch.from_numpy(inputs[filled]))["prob"][: len(part)]
        right += int((found.argmax(1).numpy() == labels[part]).sum())
    return right / len(items)


@BOTH
def test_lenet(engine):
    folder = shared_file("models/lenet_v1")
    shapes = {"data": (50, 1, 28, 28)}
    net = caffecompat.load(folder / "lenet.prototxt", folder / "lenet_iter_10000.caffemodel", input_shapes=shapes)
    with np.load(shared_file("data/mnist_10000.npz")) as mnist:
        pictures, labels = mnist["X"][:2400].astype(np.float32) / 256, mnist["y"][:2400]
    calibration = Calibration({"data": pictures}, labels=labels, limit=100, held_out=330)
    told = []
    made = optimize(net, engine, "int8", calibration=calibration, tell=told.append)
    accuracy = made.report.accuracy
    assert accuracy.items == 330
    assert told[-1] == str(accuracy)
    assert (made.report.chosen, made.report.trials) == (engine, ())
    assert str(accuracy) in str(made.report)
    for precision, call in (("float32", net), ("int8", made)):
        by_hand = accuracy_by_hand(call, pictures, labels, calibration.held_out)
        assert getattr(accuracy, precision)["top-1"] == pytest.approx(by_hand)
    assert accuracy.float32["top-1"] > 0.97
    assert accuracy.drop["top-1"] <= 0.004
    assert accuracy.agreement["same top-1"] >= 0.995
    assert 1e-3 < accuracy.agreement["largest difference"] < 0.2


@pytest.mark.slow
@BOTH
def test_cifar10(engine):
    """1,250 pictures that took no part in calibration."""
    folder = shared_file("models/cifar10_quick_encodings")
    weights = folder / "cifar10_quick_v1_unpacked.caffemodel"
    net = caffecompat.load(folder / "cifar10_quick.prototxt", weights, input_shapes={"data": (50, 3, 32, 32)})
    mean = np.asarray(read_mean(folder / "mean.binaryproto"), np.float32).reshape(3, 32, 32)
    with np.load(shared_file("data/cifar10_5000.npz")) as cifar:
        pictures, labels = cifar["X"].astype(np.float32) - mean, cifar["y"]
    calibration = Calibration({"data": pictures}, labels=labels, limit=200, held_out=1250)
    accuracy = optimize(net, engine, "int8", calibration=calibration).report.accuracy
    assert accuracy.float32["top-1"] > 0.72
    assert accuracy.drop["top-1"] <= 0.005
    assert abs(accuracy.drop["top-5"]) <= 0.003
    assert accuracy.agreement["same top-1"] >= 0.975


def test_a_database_of_digits():
    """Another size and scale than LeNet's: it is right in most, as often in int8; one without labels is told to be."""
    folder = shared_file("models/lenet_v1")
    net = caffecompat.load(folder / "lenet.prototxt", folder / "lenet_iter_10000.caffemodel")
    record = Preprocessing(channels="gray", scale=1 / 256)
    digits = Calibration(shared_file("data/digits/train_lmdb"), record, limit=40, held_out=100)
    made = optimize(net, "onnxruntime", "int8", calibration=digits)
    assert made.input_shapes == {"data": (64, 1, 28, 28)}
    accuracy = made.report.accuracy
    assert accuracy.items == 100
    assert accuracy.float32["top-1"] > 0.6
    assert abs(accuracy.drop["top-1"]) <= 0.03
    assert accuracy.float32["top-5"] > accuracy.float32["top-1"]


def test_a_calibration_serves_several_nets():
    """The ranges are those of each net: values of a thousandth would all be 0 in those of the first."""
    text = (
        'layer {{ name: "x" type: "Input" top: "x" input_param {{ shape {{ dim: 4 dim: 6 }} }} }}'
        'layer {{ name: "a" type: "InnerProduct" bottom: "x" top: "a" inner_product_param {{ num_output: 5 '
        'weight_filler {{ type: "gaussian" std: {0} }} }} }}'
        'layer {{ name: "b" type: "InnerProduct" bottom: "a" top: "b" inner_product_param {{ num_output: 3 '
        'weight_filler {{ type: "gaussian" std: 1 }} }} }}'
    )
    calibration = Calibration({"x": np.random.default_rng(0).standard_normal((40, 6), np.float32)})
    torch.manual_seed(1)
    for deviation in (1, 1e-3):
        net = make_net(text.format(deviation))
        found = optimize(net, "onnxruntime", "int8", calibration=calibration)
        assert found.report.accuracy.agreement["largest difference"] < 0.1


def test_a_net_that_labels_pixels():
    torch.manual_seed(0)
    net = make_net(
        'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 12 dim: 16 } } }'
        'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 5 '
        'kernel_size: 3 weight_filler { type: "xavier" } } }'
        'layer { name: "prob" type: "Softmax" bottom: "c" top: "prob" }'
    )
    pictures = np.random.default_rng(0).standard_normal((30, 3, 12, 16), np.float32)
    accuracy = optimize(net, "onnxruntime", "int8", calibration={"data": pictures}).report.accuracy
    assert accuracy.items == 7
    assert 0.95 < accuracy.agreement["same pixels"] < 1
    assert not accuracy.float32


# --- detectors


@pytest.fixture(scope="module")
def shapes_ssd():
    """The SSD of drawn shapes, as the original trained it."""
    run = SSD / "ssd_shapes"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(SSD)
        given = {"data": (8, 3, 96, 96)}
        return caffecompat.load(run / "test.prototxt", run / "final.caffemodel", input_shapes=given)


@pytest.fixture(scope="module")
def test_set(shapes_ssd):
    return Calibration(SSD / "shapes" / "test_lmdb", shapes_ssd.preprocessing)


def by_layer(found, version="Integral", **options):
    """The mean average precision of detections by the layer that the original evaluates with."""
    path = SSD / "shapes" / "test_lmdb"
    rows = []
    with lmdb.open(str(path), readonly=True, lock=False) as environment, environment.begin() as transaction:
        for image, (_, value) in enumerate(transaction.cursor()):
            for group in caffe_pb2.AnnotatedDatum.FromString(bytes(value)).annotation_group:
                for one in group.annotation:
                    box = one.bbox
                    corners = (box.xmin, box.ymin, box.xmax, box.ymax)
                    rows.append((image, group.group_label, one.instance_id, *corners, box.difficult))
    inputs = "".join(
        f'layer {{ name: "{name}" type: "Input" top: "{name}" input_param {{ shape {{ dim: 1 dim: 1 dim: {count} '
        f"dim: {width} }} }} }} "
        for name, count, width in (("found", len(found), 7), ("label", len(rows), 8))
    )
    more = " ".join(f'{name}: "{value}"' for name, value in options.items())
    net = make_net(
        inputs + 'layer { name: "e" type: "DetectionEvaluate" bottom: "found" bottom: "label" top: "e" '
        "detection_evaluate_param { num_classes: 4 background_label_id: 0 overlap_threshold: 0.5 "
        f"evaluate_difficult_gt: false {more} }} }}"
    )
    precisions = AveragePrecisions(version)
    blobs = net(found=found[None, None], label=torch.tensor(rows)[None, None])
    precisions.add(blobs["e"].numpy())
    return mean_of(precisions.by_label())


def detections(call, calibration, count=48):
    """The detections of all items, (K, 7)."""
    found = []
    example = {"data": torch.zeros(8, 3, 96, 96)}
    for number, batch in enumerate(calibration.batches(range(count), example)):
        rows = call(batch.inputs)["detection_out"].reshape(-1, 7).clone()
        rows[:, 0] += 8 * number
        found.append(rows)
    return torch.cat(found)


@BOTH
def test_a_detector(engine, shapes_ssd, test_set):
    """The mAP of float32 is the original's; int8's is as the evaluating layer says, and not less by half a point."""
    train = Calibration(SSD / "shapes" / "trainval_lmdb", shapes_ssd.preprocessing)
    made = optimize(shapes_ssd, engine, "int8", calibration=train)
    assert made.report.accuracy.drop["mAP"] <= 0.005
    settings = Settings("int8", {"data": torch.zeros(8, 3, 96, 96)}, 1, test_set)
    accuracy = measure(made, settings, lambda text: None, range(48))
    plain = detections(lambda inputs: reference(made.net, inputs), test_set)
    sizes = SSD / "shapes" / "test_name_size.txt"
    # The last line of the original's log.
    assert by_layer(plain, "11point", name_size_file=sizes) == pytest.approx(0.875998, abs=2e-4)
    assert accuracy.float32["mAP"] == pytest.approx(by_layer(plain), abs=1e-5)
    assert accuracy.int8["mAP"] == pytest.approx(by_layer(detections(made.run, test_set)), abs=1e-5)
    assert accuracy.drop["mAP"] <= 0.005
    assert accuracy.agreement["matched detections"] >= 0.95
    assert accuracy.agreement["mean overlap"] >= 0.95
    assert accuracy.agreement["mean score difference"] <= 0.02


def test_bfloat16_finds_the_same(shapes_ssd, test_set):
    """All detections above 0.1 have their like, their boxes within 2 pixels of 300, their scores within 0.02."""
    made = optimize(shapes_ssd, "torch", "bfloat16", example={"data": torch.zeros(8, 3, 96, 96)})
    found = detections(made.run, test_set)
    wanted = detections(lambda inputs: reference(made.net, inputs), test_set)
    assert not torch.equal(found, wanted)
    sure = [rows[rows[:, 2] > 0.1] for rows in (found, wanted)]
    assert len(sure[1]) > 150
    assert others_of(*sure, "bfloat16") <= 0.01
    assert others_of(*(rows[rows[:, 2] > 0.3] for rows in sure), "bfloat16") == 0
    assert by_layer(found) == pytest.approx(by_layer(wanted), abs=0.003)


@pytest.mark.slow
def test_a_detector_of_codes(tmp_path):
    """Its own picture, turned and scaled, in a folder: the codes are found where float32 finds them."""
    folder = shared_file("models/wechat_detect")
    picture = cv2.imread(str(shared_file("photos/coffee_qr.png")))
    height, width = picture.shape[:2]
    random = np.random.default_rng(0)
    for number in range(16):
        turned = cv2.getRotationMatrix2D((width / 2, height / 2), random.uniform(-20, 20), random.uniform(0.8, 1.3))
        cv2.imwrite(str(tmp_path / f"{number}.png"), cv2.warpAffine(picture, turned, (width, height)))
    net = caffecompat.load(
        folder / "detect.prototxt", folder / "detect.caffemodel", input_shapes={"data": (1, 1, 256, 384)}
    )
    record = Preprocessing(channels="gray", scale=1 / 255, size=(256, 384))
    made = optimize(net, "openvino", "int8", calibration=Calibration(tmp_path, record))
    accuracy = made.report.accuracy
    assert accuracy.items == 4
    assert accuracy.agreement["matched detections"] == 1
    assert accuracy.agreement["mean overlap"] > 0.9


def test_without_calibration():
    net = make_net(
        'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 6 } } }'
        'layer { name: "y" type: "InnerProduct" bottom: "x" top: "y" inner_product_param { num_output: 2 } }'
    )
    for engine in ("onnxruntime", "auto"):
        with pytest.raises(UsageError, match="int8 needs calibration"):
            optimize(net, engine, "int8")
