"""For each rule what it finds, and what it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from caffecompat.formats import write_caffemodel, write_mean
from caffecompat.schema import caffe_pb2
from tests.solver.databases import datum, pictures, write_lmdb
from tests.solver.lint.examples import Case

SOURCE = ('source: "train"', 'source: "other"')
LAST = 'layer { name: "loss"'
GOOD = {"conv": [(2, 1, 2, 2), (2,)], "ip": [(3, 18), (3,)]}


def weights(**layers: list[tuple[int, ...]]):
    """Writes w.caffemodel with blobs of these shapes."""

    def write(folder: Path) -> None:
        net = caffe_pb2.NetParameter()
        for name in layers:
            net.layer.add(name=name, type="InnerProduct")
        write_caffemodel(
            folder / "w.caffemodel", net, [[np.ones(shape, np.float32) for shape in blobs] for blobs in layers.values()]
        )

    return write


def records(*made):
    """Writes the database `other`."""
    return lambda folder: write_lmdb(folder / "other", made)


def labelled(*labels: int):
    """Records of these labels, written as the database `other`."""
    made = pictures(len(labels))
    for record, label in zip(made, labels, strict=True):
        record.label = label
    return records(*made)


def mean(*shape: int):
    """Writes the mean image mean.binaryproto."""
    return lambda folder: write_mean(folder / "mean.binaryproto", np.ones(shape, np.float32))


def before_loss(layers: str) -> tuple[str, str]:
    """More layers, before the loss."""
    return LAST, layers + LAST


def x_layer(phase: str, outputs: int) -> str:
    """A layer "x" of one phase."""
    return (
        f'layer {{ name: "x" type: "InnerProduct" bottom: "ip" top: "x" include {{ phase: {phase} }}\n'
        f"  inner_product_param {{ num_output: {outputs} }} }}\n"
    )


def _sentences(files: str) -> str:
    """A layer that reads a text."""
    tops = 'top: "words" top: "cont" top: "answer"'
    return f'layer {{ name: "s" type: "SentenceData" {tops} sentence_data_param {{ {files} }} }}\n'


GPU = ("solver_mode: CPU", "solver_mode: GPU")
MEAN = ("scale: 0.004 mirror: true", 'scale: 0.004 mean_file: "mean.binaryproto"')
TEST_TRANSFORM = ("transform_param { scale: 0.004 }", "transform_param { scale: 0.004 mirror: true }")
IP2 = """layer { name: "ip2" type: "InnerProduct" bottom: "ip" top: "ip2"
  inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
"""
SPLIT = 'layer { name: "split" type: "Split" bottom: "data" top: "a" top: "b" }\n'
SILENCE = 'layer { name: "silence" type: "Silence" bottom: "a" bottom: "b" }\n'
FILE_CASES = [
    Case("missing-net", "net 'n.prototxt' is not there", solver=[("net.prototxt", "n.prototxt")]),
    Case(
        "missing-net",
        "test_net 'n.prototxt' is not there",
        solver=[('net: "net', 'test_net: "n.prototxt" train_net: "net')],
        good_solver=[('net: "net', 'test_net: "net.prototxt" train_net: "net')],
    ),
    Case("missing-source", "source 'other' is not there", net=[SOURCE]),
    Case("missing-source", "source 'text.txt' is not there", net=[("", _sentences('source: "text.txt"'))]),
    Case(
        "missing-source",
        "vocabulary_source 'words.txt' is not there",
        net=[("", _sentences('source: "text.txt" vocabulary_source: "words.txt"'))],
        good_net=[("", _sentences('source: "text.txt" vocabulary_source: "text.txt"'))],
        prepare=lambda folder: (folder / "text.txt").write_text("one word\n" * 20),
    ),
    Case(
        "missing-source",
        "source 'other' is not there",
        net=[("", 'layer { name: "e" type: "EpisodeData" top: "episodes" data_param { source: "other" } }\n')],
    ),
    Case("missing-mean", "mean_file 'nothing' is not there", net=[("mirror: true", 'mean_file: "nothing"')]),
    Case("missing-weights", "w.caffemodel: error: weights that are not there", asked={"weights": ["w.caffemodel"]}),
    Case(
        "missing-weights",
        "weights 'w.caffemodel' is not there",
        solver=[("", 'weights: "v.caffemodel, w.caffemodel"')],
        good_solver=[("", 'weights: "v.caffemodel"')],
        prepare=lambda folder: (weights(**GOOD)(folder), (folder / "w.caffemodel").rename(folder / "v.caffemodel")),
    ),
    Case(
        "missing-weights", "weights 's.caffemodel' is not there", solver=[("", 'rep_optimizer_scales: "s.caffemodel"')]
    ),
    Case(
        "missing-file",
        "source 'h.binaryproto' is not there",
        net=[
            before_loss(
                'layer { name: "i" type: "InfogainLoss" bottom: "ip" bottom: "label" '
                'infogain_loss_param { source: "h.binaryproto" } }\n'
            )
        ],
    ),
    Case("snapshot-prefix", "the folder", solver=[("snapshots/net", "nowhere/net")]),
    Case("snapshot-prefix", "snapshot_prefix is not", solver=[('snapshot_prefix: "snapshots/net"', "")]),
    Case(
        "unreadable",
        'a "}" too many',
        net=[("scale: 0.004 mirror: true }", "scale: 0.004 mirror: true } } }")],
    ),
    Case("unreadable", "got 'x'", solver=[("momentum: 0.9", "momentum: x")]),
    Case(
        "unreadable",
        "w.caffemodel",
        asked={"weights": ["w.caffemodel"]},
        prepare=lambda folder: (folder / "w.caffemodel").write_bytes(b"\x00\x01 no weights"),
    ),
    Case("unknown-field", "unknown field 'dilate'", net=[("kernel_size: 2", "kernel_size: 2 dilate: 2")]),
    Case("passed-over", "unknown field 'momentun' is ignored", solver=[("momentum:", "momentun:")]),
    Case("passed-over", "unknown field 'sauce' is ignored", net=[("backend: LMDB", "backend: LMDB sauce: 1")]),
    Case(
        "passed-over",
        "unknown field 'dilate' is ignored",
        net=[("kernel_size: 2", "kernel_size: 2 dilate: 2")],
        options={"ignore_fields": ("dilate",)},
    ),
    Case("bad-solver", "got net and train_net", solver=[("", 'train_net: "net.prototxt"')]),
    Case("bad-solver", "expected a test_interval above 0", solver=[("test_interval: 50", "")]),
    Case("broken-net", "unknown bottom 'conf'", net=[('bottom: "conv" top: "ip"', 'bottom: "conf" top: "ip"')]),
    Case("broken-net", "kernel", net=[("kernel_size: 2", "kernel_size: 9")]),
    Case("not-checked", "that of 'data' is not known", net=[SOURCE]),
    Case("told", "states no backend", net=[("batch_size: 4 backend: LMDB", "batch_size: 4")]),
]
SETTING_CASES = [
    Case("bad-setting", "iter_size must be at least 1, got 0", solver=[("", "iter_size: 0")]),
    Case("bad-setting", "lr_policy 'stepp' is not known", solver=[('"step"', '"stepp"')]),
    Case("bad-setting", "solver type 'Sgd' is not known", solver=[("", 'type: "Sgd"')]),
    Case("max-iter", "nothing is trained", solver=[("max_iter: 100", "")]),
    Case("base-lr", "is not stated, and so 0", solver=[("base_lr: 0.01", "")]),
    Case(
        "base-lr",
        "base_lr 0.1 is more than is usual for Adam",
        solver=[("base_lr: 0.01", 'base_lr: 0.1 type: "Adam"')],
        good_solver=[("base_lr: 0.01", 'base_lr: 0.001 type: "Adam"')],
    ),
    Case(
        "base-lr",
        "multiplies steps that AdaDelta chooses",
        solver=[("base_lr: 0.01", 'base_lr: 0.001 type: "AdaDelta"')],
        good_solver=[("base_lr: 0.01", 'base_lr: 1 type: "AdaDelta"')],
    ),
    Case("momentum", "momentum is 1; expected 0 to below 1", solver=[("momentum: 0.9", "momentum: 1")]),
    Case("momentum", "momentum is -0.9", solver=[("momentum: 0.9", "momentum: -0.9")]),
    Case(
        "momentum",
        "Adam's beta1",
        solver=[("momentum: 0.9", 'type: "Adam"')],
        good_solver=[("momentum: 0.9", 'momentum: 0.9 type: "Adam"')],
    ),
    Case("momentum", "momentum2 is 9", solver=[("", 'momentum2: 9 type: "Adam"')], good_solver=[("", 'type: "Adam"')]),
    Case("weight-decay", "weight_decay is 0.5", solver=[("0.0005", "0.5")]),
    Case("weight-decay", "weight_decay is -0.0005", solver=[("0.0005", "-0.0005")], good_solver=[("0.0005", "0")]),
    Case(
        "clip-gradients",
        "nothing is learnt",
        solver=[("", "clip_gradients: 0")],
        good_solver=[("", "clip_gradients: 9")],
    ),
    Case("test-interval", "only the test at the beginning", solver=[("test_interval: 50", "test_interval: 500")]),
    Case(
        "test-interval",
        "no test is made",
        solver=[("test_interval: 50", "test_interval: 500 test_initialization: false")],
        good_solver=[("test_interval: 50", "test_interval: 100 test_initialization: false")],
    ),
    Case(
        "no-snapshots",
        "leaves nothing",
        solver=[("snapshot: 50", "snapshot_after_train: false")],
        good_solver=[("snapshot: 50", "snapshot: 50 snapshot_after_train: false")],
    ),
    Case("no-snapshots", "none is written", solver=[("snapshot: 50", "snapshot: 500 snapshot_after_train: false")]),
    Case("late-snapshot", "only that at the end", solver=[("snapshot: 50", "snapshot: 500")]),
    Case("display", "display is 0", solver=[("display: 10", "")]),
    Case("no-gpu", "no GPU is here", solver=[GPU]),
    Case("no-h5py", "h5py is not installed", solver=[("", "snapshot_format: HDF5")]),
    Case(
        "lr-fields",
        'gamma is 0 for lr_policy "step": the rate is 0 from the first step on',
        solver=[("gamma: 0.1", "gamma: 0")],
    ),
    Case("lr-fields", 'no stepvalue is stated for lr_policy "multistep"', solver=[('"step"', '"multistep"')]),
    Case(
        "lr-fields",
        'no power is stated for lr_policy "inv"',
        solver=[('"step"', '"inv"')],
        good_solver=[('"step"', '"inv" power: 0.75')],
    ),
    Case("lr-unused", 'power is stated, and lr_policy "step" does not read it', solver=[("", "power: 0.5")]),
    Case("lr-steps", "stepsize 100 is not below max_iter 100", solver=[("stepsize: 40", "stepsize: 100")]),
    Case(
        "lr-steps",
        "stepvalue 20 follows 30",
        solver=[('"step"', '"multistep" stepvalue: 30 stepvalue: 20')],
        good_solver=[('"step"', '"multistep" stepvalue: 20 stepvalue: 30 stepvalue: 100')],
    ),
    Case("lr-steps", "stepvalue 101 is beyond max_iter 100", solver=[('"step"', '"multistep" stepvalue: 101')]),
    Case(
        "lr-vanishes",
        "from about iteration 8 of 100 on the rate is below 1e-09",
        solver=[('"step"', '"exp"')],
        good_solver=[('"step"', '"exp"'), ("gamma: 0.1", "gamma: 0.95")],
    ),
    Case("lr-grows", "the rate grows from 0.01 to 1", solver=[("gamma: 0.1", "gamma: 10")]),
    Case(
        "lr-grows",
        "to inf at iteration",
        solver=[('"step"', '"exp"'), ("gamma: 0.1", "gamma: 1e30")],
        good_solver=[('"step"', '"poly" power: 0.9')],
    ),
]
STRUCTURE_CASES = [
    Case(
        "no-loss",
        "no loss in phase TRAIN",
        net=[
            (
                'layer { name: "loss" type: "SoftmaxWithLoss"',
                'layer { name: "loss" type: "SoftmaxWithLoss" include { phase: TEST }',
            )
        ],
    ),
    Case(
        "no-label",
        "its labels, 'best', are computed by layers that learn",
        net=[
            before_loss('layer { name: "best" type: "ArgMax" bottom: "ip" top: "best" }\n'),
            ('bottom: "ip" bottom: "label" top: "loss"', 'bottom: "ip" bottom: "best" top: "loss"'),
        ],
    ),
    Case(
        "dead-end",
        "no layer reads 'ip2'",
        net=[before_loss(IP2)],
        good_net=[before_loss(IP2 + 'layer { name: "s" type: "Silence" bottom: "ip2" }\n')],
    ),
    Case(
        "unread-data",
        "no layer reads 'label'",
        net=[
            ('"SoftmaxWithLoss" bottom: "ip" bottom: "label"', '"EuclideanLoss" bottom: "ip" bottom: "ip"'),
            (
                'bottom: "label" top: "accuracy" include { phase: TEST }',
                'bottom: "label" top: "accuracy" include { phase: TEST }',
            ),
        ],
    ),
    Case(
        "dropout-last",
        "it drops the scores that layer 'loss' compares",
        net=[before_loss('layer { name: "drop" type: "Dropout" bottom: "ip" top: "ip" }\n')],
        good_net=[
            (
                'layer { name: "ip"',
                'layer { name: "drop" type: "Dropout" bottom: "conv" top: "conv" }\nlayer { name: "ip"',
            )
        ],
    ),
    Case(
        "squashed-twice",
        "it takes the softmax of 'prob', and does one itself",
        net=[
            before_loss('layer { name: "prob" type: "Softmax" bottom: "ip" top: "prob" }\n'),
            ('bottom: "ip" bottom: "label" top: "loss"', 'bottom: "prob" bottom: "label" top: "loss"'),
        ],
    ),
    Case(
        "in-place-split",
        "works in place on 'a', which is the memory of 'b' in Caffe",
        net=[before_loss(SPLIT + 'layer { name: "in" type: "ReLU" bottom: "a" top: "a" }\n' + SILENCE)],
        good_net=[before_loss(SPLIT + SILENCE)],
    ),
    Case(
        "in-place-split",
        "works in place on 'a', which is the memory of 'data' in Caffe",
        net=[
            before_loss(
                'layer { name: "flat" type: "Flatten" bottom: "data" top: "a" }\n'
                'layer { name: "in" type: "ReLU" bottom: "a" top: "a" }\n' + SILENCE.replace('"b"', '"data"')
            )
        ],
        good_net=[
            before_loss(
                'layer { name: "flat" type: "Flatten" bottom: "data" top: "a" }\n' + SILENCE.replace('"b"', '"data"')
            )
        ],
    ),
    Case(
        "same-name",
        "another layer with parameters has this name",
        net=[before_loss(IP2.replace('name: "ip2"', 'name: "ip"'))],
        good_net=[before_loss(IP2)],
    ),
    Case(
        "batch-norm",
        "use_global_stats: true in TRAIN",
        net=[
            (
                'layer { name: "relu"',
                'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" '
                'batch_norm_param { use_global_stats: true } }\nlayer { name: "relu"',
            )
        ],
        good_net=[
            (
                'layer { name: "relu"',
                'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" }\nlayer { name: "relu"',
            )
        ],
    ),
    Case(
        "batch-norm",
        "use_global_stats: false in TEST",
        net=[
            (
                'layer { name: "relu"',
                'layer { name: "bn" type: "BatchNorm" bottom: "conv" top: "conv" '
                'batch_norm_param { use_global_stats: false } }\nlayer { name: "relu"',
            )
        ],
    ),
]
DATA_CASES = [
    Case(
        "unreadable-data",
        "record '00000000'",
        net=[SOURCE],
        prepare=records(caffe_pb2.Datum(channels=1, height=4, width=4)),
    ),
    Case(
        "data-shape",
        "a crop of 5x5 does not fit into 4x4",
        net=[("mirror: true", "crop_size: 5")],
        good_net=[("mirror: true", "crop_size: 4")],
    ),
    Case(
        "data-shape",
        "expected one mean_value or 1",
        net=[("mirror: true", "mean_value: 1 mean_value: 2")],
        good_net=[("mirror: true", "mean_value: 1")],
    ),
    Case("data-shape", "mean_file: expected a mean of shape (1, 4, 4)", net=[MEAN], prepare=mean(1, 3, 3)),
    Case(
        "data-shape",
        "as the first of its batch",
        net=[SOURCE],
        prepare=records(*pictures(2), *pictures(2, shape=(1, 5, 5))),
    ),
    Case(
        "not-finite",
        "first in record '00000001'",
        net=[SOURCE],
        prepare=records(datum(np.ones((1, 4, 4))), datum(np.full((1, 4, 4), np.nan)), *pictures(4)[2:]),
    ),
    Case("random-test", "transform_param states mirror in phase TEST", net=[TEST_TRANSFORM]),
    Case(
        "random-test",
        "states shuffle in phase TEST",
        net=[
            before_loss(
                'layer { name: "im" type: "ImageData" top: "im" top: "l" include { phase: TEST } '
                'image_data_param { source: "list" shuffle: true } }\n'
            )
        ],
        good_net=[
            before_loss(
                'layer { name: "im" type: "ImageData" top: "im" top: "l" include { phase: TRAIN } '
                'image_data_param { source: "list" shuffle: true } }\n'
            )
        ],
    ),
    Case(
        "mean-units",
        "mean_value 0.5 with scale 0.004: the mean is subtracted first",
        net=[("mirror: true", "mean_value: 0.5")],
        good_net=[("mirror: true", "mean_value: 127")],
    ),
    Case(
        "train-test-differ",
        "mean_value is not stated, and 127 in TRAIN",
        net=[("mirror: true", "mean_value: 127")],
        good_net=[("mirror: true", "mean_value: 127"), ("{ scale: 0.004 }", "{ scale: 0.004 mean_value: 127 }")],
    ),
    Case("train-test-differ", "scale is 0.5, and 0.004 in TRAIN", net=[("{ scale: 0.004 }", "{ scale: 0.5 }")]),
    Case(
        "large-data",
        "'data' holds values up to 2",
        net=[("scale: 0.004 mirror", "mirror")],
        good_net=[("scale: 0.004 mirror", "mean_value: 127 mirror")],
    ),
    Case(
        "run-size",
        "20 records, batch_size 4 x iter_size 2 x 2 processes = 16 an iteration: all of them once in 2 "
        "iterations, 80 times in the run of 100",
        solver=[("", "iter_size: 2")],
        asked={"processes": 2},
        good_net=[SOURCE],
    ),
    Case(
        "short-run",
        "the run of 3 iterations takes 12 of 20 records",
        solver=[("max_iter: 100", "max_iter: 3")],
        good_solver=[("max_iter: 100", "max_iter: 5")],
    ),
    Case(
        "test-coverage",
        "test_iter 4 x batch_size 2 = 8 of 10 records: a test takes a part",
        solver=[("test_iter: 5", "test_iter: 4")],
    ),
    Case(
        "test-coverage",
        "test_iter 6 x batch_size 2 = 12 of 10 records: 2 count more than once",
        solver=[("test_iter: 5", "test_iter: 6")],
    ),
    Case(
        "large-batch",
        "batch_size 21 is more than the 20 records",
        net=[("batch_size: 4", "batch_size: 21")],
        good_net=[("batch_size: 4", "batch_size: 20")],
    ),
    Case("few-records", "20 records for 21 processes", asked={"processes": 21}, good_asked={"processes": 20}),
    Case("same-source", "it tests on 'train', which is trained on", net=[('source: "test"', 'source: "train"')]),
    Case(
        "label-range",
        "record '00000002' of layer 'data' has label 3; classes are 0..2",
        net=[SOURCE],
        prepare=labelled(0, 1, 3, 2),
    ),
    Case(
        "label-range",
        "has label -1",
        net=[SOURCE],
        prepare=labelled(0, -1, 2),
        good_net=[SOURCE, ('top: "loss" }', 'top: "loss" loss_param { ignore_label: -1 } }')],
    ),
    Case("label-gap", "1 of 3 classes have no record in layer 'data'", net=[SOURCE], prepare=labelled(0, 1, 0, 1)),
    Case(
        "unmixed",
        "the first 8 records all have label 0",
        net=[SOURCE],
        prepare=labelled(*[0] * 8, 1, 2, 1, 2),
        asked={"records": 8},
        good_asked={"records": 9},
        good_net=[SOURCE],
    ),
]
WEIGHT_CASES = [
    Case(
        "weights-shape",
        "expected shape (2, 1, 2, 2) for blob 0 (weight), got (2, 1, 3, 3)",
        asked={"weights": ["w.caffemodel"]},
        prepare=weights(conv=[(2, 1, 3, 3), (2,)], ip=[(3, 18)]),
    ),
    Case(
        "weights-shape",
        "expected 2 blobs, got 1",
        asked={"weights": ["w.caffemodel"]},
        prepare=weights(conv=[(2, 1, 3, 3), (2,)], ip=[(3, 18)]),
    ),
    Case(
        "weights-unused",
        "1 layers are not in the net: 'old'",
        asked={"weights": ["w.caffemodel"]},
        prepare=weights(**GOOD, old=[(1,)]),
    ),
    Case(
        "weights-none",
        "no layer of the net is in it; it has 'old'",
        asked={"weights": ["w.caffemodel"]},
        prepare=weights(old=[(1,)]),
    ),
    Case(
        "left-to-filler",
        "w.caffemodel has no weights for it",
        asked={"weights": ["w.caffemodel"]},
        prepare=weights(conv=GOOD["conv"]),
    ),
    Case(
        "frozen-random",
        "come from the filler 'xavier': they stay random",
        net=[('top: "conv"\n', 'top: "conv" param { lr_mult: 0 }\n')],
        good_net=[('top: "conv"\n', 'top: "conv" param { lr_mult: 0 }\n')],
        good_asked={"weights": ["w.caffemodel"]},
        prepare=weights(**GOOD),
    ),
    Case(
        "zero-weights",
        "the weights of 'conv', 'ip' start at 0",
        net=[('weight_filler { type: "xavier" }', ""), ('weight_filler { type: "xavier" }', "")],
        good_net=[('weight_filler { type: "xavier" }', "")],
    ),
    Case(
        "nothing-learns",
        "nothing is learnt",
        net=[
            ('top: "conv"\n', 'top: "conv" param { lr_mult: 0 } param { lr_mult: 0 }\n'),
            ('top: "ip"\n', 'top: "ip" param { lr_mult: 0 } param { lr_mult: 0 }\n'),
        ],
        good_net=[('top: "conv"\n', 'top: "conv" param { lr_mult: 0 } param { lr_mult: 0 }\n')],
    ),
    Case(
        "test-only",
        "the train net has no layer of this name",
        net=[before_loss(IP2.replace('type: "Inner', 'include { phase: TEST } type: "Inner'))],
    ),
    Case(
        "test-shape",
        "those of the train net's layer",
        net=[before_loss(x_layer("TRAIN", 2) + x_layer("TEST", 3))],
        good_net=[before_loss(x_layer("TRAIN", 2) + x_layer("TEST", 2))],
    ),
]
CASES = [*FILE_CASES, *SETTING_CASES, *STRUCTURE_CASES, *DATA_CASES, *WEIGHT_CASES]
