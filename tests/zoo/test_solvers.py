"""The files of the zoo as `caffecompat lint` sees them: what it finds is that there is no data, and no more."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from caffecompat.solver.lint import Asked, lint
from caffecompat.solver.options import Options
from caffecompat.zoo import MODELS, ask, make, write
from tests.zoo.made import made

# Of data that is not here, and of a machine without a GPU.
ABSENT = {"missing-source", "missing-file", "missing-mean", "label-map", "not-checked", "no-gpu"}
# Batches are of four GPUs; weights are to be given; tests are shuffled in the original.
SSD = {"ssd-batch", "ssd-weights"}
GIVEN = {"zero-weights"}
SHUFFLED = {"random-test"}


def rules(name, folder, **asked):
    model = MODELS[name]
    solver = write(model, make(model, ask(model, **asked)), folder / "net")[-1]
    return {finding.rule for finding in lint(solver, Asked(Options(), None, 1, None, 10), [])}


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("lenet", set()),
        ("ssd300", SSD),
        ("dilation-context", SHUFFLED),
        ("dilation-joint", SHUFFLED | GIVEN),
        ("fcn-8s", GIVEN),
        ("repvgg-a0", set()),
        ("mobilenet-v1", set()),
        ("shufflenet-v2", set()),
        ("matching-net", set()),
        ("matching-net-text", set()),
    ],
)
def test_nothing_but_the_data_is_missing(name, wanted, tmp_path):
    assert rules(name, tmp_path) - ABSENT == wanted


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """An image of 40x50 with its label map, and lists that have each thirty times."""
    folder = tmp_path_factory.mktemp("lists")
    random = np.random.default_rng(0)
    cv2.imwrite(str(folder / "image.png"), random.integers(0, 255, (40, 50, 3), np.uint8))
    cv2.imwrite(str(folder / "label.png"), random.integers(0, 4, (40, 50), np.uint8))
    for kind in ("image", "label"):
        (folder / f"{kind}s.txt").write_text(f"{folder / kind}.png\n" * 30)
    images, labels = (str(folder / f"{kind}s.txt") for kind in ("image", "label"))
    return {"data": images, "labels": labels, "test_data": images, "test_labels": labels}


@pytest.mark.parametrize(
    ("name", "wanted"), [("deeplab-largefov", GIVEN), ("fcn-8s", GIVEN), ("dilation-frontend", GIVEN | SHUFFLED)]
)
def test_lists_of_images_are_read(name, wanted, lists, tmp_path):
    assert rules(name, tmp_path, classes=4, **lists) - {"no-gpu", "run-size"} == wanted


def test_deeplab_trains_as_its_paper_says():
    """Chen et al. 2015, training: batches of 20, rates of 0.001 and of 0.01 for the classifier, a tenth every 2,000."""
    nets = made("deeplab-largefov")
    (data, *_, classifier) = [
        layer for layer in nets.nets["train"].layer if layer.type in ("ImageLabelData", "Convolution")
    ]
    solver = nets.solver
    assert data.image_label_data_param.batch_size * max(solver.iter_size, 1) == 20
    assert (solver.base_lr, classifier.param[0].lr_mult) == (pytest.approx(0.001), 10)
    assert (solver.lr_policy, solver.gamma, solver.stepsize) == ("step", pytest.approx(0.1), 2000)
    assert (solver.momentum, solver.weight_decay) == (pytest.approx(0.9), pytest.approx(0.0005))


def fields(message):
    for field, value in message.ListFields():
        yield field
        if field.message_type is not None:
            for one in value if isinstance(value, (list, tuple)) or hasattr(value, "add") else [value]:
                yield from fields(one)


# Beyond BVLC's Caffe: what the SSD branch has, the data layers and the filler of the authors of dilation, and the
# layers of matching networks, which are ours.
DETECTION = {
    *("AnnotatedData", "Normalize", "Permute", "PriorBox", "MultiBoxLoss", "DetectionOutput", "DetectionEvaluate"),
}
BEYOND = {"ssd300": DETECTION, "ssd512": DETECTION, "shufflenet-v2": {"Permute"}}
MATCHING = {"Matching", "MatchingLoss", "SupportContext", "QueryContext"}
BEYOND |= {"matching-net": MATCHING | {"EpisodeData"}, "matching-net-text": MATCHING | {"SentenceData"}}
BVLC = {
    *("Accuracy", "BatchNorm", "Concat", "Convolution", "Crop", "Data", "Deconvolution", "Dropout", "Eltwise"),
    *("Flatten", "InnerProduct", "Input", "LRN", "Pooling", "ReLU", "Reshape", "Scale", "Slice", "Softmax"),
    *("Embed", "LSTM", "Silence", "SoftmaxWithLoss"),
}
DILATION = {"ImageLabelData", "BinLabelData"}


@pytest.mark.parametrize("name", MODELS)
def test_the_original_caffe_has_all_layers(name):
    """Layers and fields: forks' own fields have high numbers in the schema."""
    nets = made(name).nets
    beyond = DILATION if "labels" in MODELS[name].files else BEYOND.get(name, set())
    for net in nets.values():
        assert {layer.type for layer in net.layer} <= BVLC | beyond
        own = {field.full_name for field in fields(net) if field.number >= 20_000}
        # The parameters of plug-ins are extensions of LayerParameter.
        assert not own or name.startswith("matching-net")
    assert max(field.number for field in fields(make(MODELS[name], ask(MODELS[name])).solver)) < 20_000
