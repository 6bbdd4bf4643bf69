"""The classic failures of SSD: each is planted, and the run ends and says what it is."""

from __future__ import annotations

import math
from dataclasses import replace

import h5py
import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning
from caffecompat.formats import parse_net, write_caffemodel
from caffecompat.graph import build_graph
from caffecompat.net import Net
from caffecompat.schema import caffe_pb2
from caffecompat.solver import Solver
from caffecompat.solver.box_causes import USUAL
from caffecompat.solver.faults import NotFiniteError
from caffecompat.solver.group import Group
from caffecompat.solver.multibox import best_overlaps, box_losses, prior_layers, priors_of
from caffecompat.solver.zero_loss import MAX_ZERO, ZeroLossError
from tests.solver.boxes import GOOD, LABEL_MAP, SSD, write_boxes
from tests.solver.lint.ssd_examples import databases, write
from tests.solver.test_faults import make

SIZES = "min_size: 10 max_size: 14"


def scaled(factor):
    """The good boxes, in other units."""
    return [(label, *(factor * corner for corner in corners)) for label, *corners in GOOD]


def spoiled(*changes):
    """The net, with changes."""
    net = SSD
    for old, new in changes:
        assert old in net
        net = net.replace(old, new)
    return net


@pytest.fixture
def solver(tmp_path):
    made = []

    def build(records, net=SSD, settings="", label_map=LABEL_MAP, **options):
        write_boxes(tmp_path / "train", records)
        (tmp_path / "map.prototxt").write_text(label_map)
        made.append(make(tmp_path, net, settings, **options))
        return made[-1]

    yield build
    for each in made:
        each.close()


def stopped(solver, kind=ZeroLossError, steps=2 * MAX_ZERO):
    """The error that ends the run; it fits into what a terminal shows."""
    with pytest.raises(kind) as caught:
        solver.step(steps)
    assert " ... " not in str(caught.value)
    return caught.value


def test_a_sound_run_goes_on(solver):
    made = solver([GOOD] * 8)
    first = made.step(1)
    made.step(2 * MAX_ZERO)
    assert math.isfinite(first)
    assert 0 < made.smoothed.value < first


# --- labels


def test_labels_at_or_above_num_classes(solver):
    error = stopped(solver([*[GOOD] * 5, [(3, 0.1, 0.1, 0.5, 0.5)], GOOD, [(6, 0, 0, 1, 1)]]), CaffeCompatError)
    assert error.layer == "mbox_loss"
    assert "a ground truth box has label 3" in error.message
    assert '3 (record 00000005) where layer "mbox_loss" knows 0..2 without the background\'s, 0; ' in error.hint
    assert "num_classes must be 7 or more" in error.hint
    assert "records of the batch: 00000004, 00000005, 00000006, 00000007" in error.hint


def test_a_label_map_that_is_not_the_databases(solver):
    error = stopped(solver([[(label, 0.1, 0.1, 0.5, 0.5)] for label in (1, 2, 5, 9)]), CaffeCompatError)
    assert (
        "the label map: map.prototxt has labels 0..2, and the database boxes of label 5, 9: it was made" in error.hint
    )
    larger = LABEL_MAP + 'item { name: "cow" label: 3 } item { name: "hen" label: 4 } item { name: "pig" label: 5 }'
    error = stopped(solver([[(5, 0.1, 0.1, 0.5, 0.5)]] * 4, label_map=larger), CaffeCompatError)
    assert "the label map: map.prototxt has labels 0..5, and num_classes is 3" in error.hint
    assert "made with another map" not in error.hint


def test_objects_with_the_backgrounds_label(solver):
    error = stopped(solver([[(0, 0.1, 0.1, 0.5, 0.5)]] * 4), CaffeCompatError)
    assert "0 (record 00000000)" in error.hint
    assert "the background has no boxes, objects have other labels" in error.hint


def test_errors_of_other_layers_say_nothing_of_boxes(solver):
    made = solver([GOOD] * 8)
    layer = made.net.layer("conf_perm")
    layer.forward = lambda *_: (_ for _ in ()).throw(layer.error("broken"))
    made.net.graph.layers[0].message.annotated_data_param.label_map_file = "nothing"
    error = stopped(made, CaffeCompatError)
    assert error.hint == "records of the batch: 00000000, 00000001, 00000002, 00000003"


# --- a loss of 0


def test_a_database_without_boxes(solver):
    error = stopped(solver([[]] * 6))
    assert (error.layer, error.iteration) == ("mbox_loss", MAX_ZERO - 1)
    assert (
        error.message == f'"mbox_loss" is 0 for {MAX_ZERO} iterations in a row, the last of them 19: nothing is learnt'
    )
    assert error.keys == ("00000004", "00000005", "00000000", "00000001")
    assert error.causes[0].startswith("the database: none of its first 6 records has a box")
    assert "records of the batch: 00000004, 00000005, 00000000, 00000001" in error.hint
    assert error.hint.endswith("if that is meant: --on-zero-loss continue")


def test_a_stretch_of_pictures_without_boxes(solver):
    records = [*[GOOD] * 8, *[[]] * (4 * MAX_ZERO)]
    error = stopped(solver(records))
    assert error.iteration == MAX_ZERO + 1
    assert error.causes == (
        "the database: the 4 records of the batch have no box; of its first 88 have 8. "
        "Pictures without boxes should not stand together",
    )
    made = solver(records, on_zero_loss="continue")
    made.step(MAX_ZERO + 5)
    assert made.iteration == MAX_ZERO + 5


def test_a_box_in_time_lets_the_run_go_on(solver):
    records = [*[[]] * (4 * (MAX_ZERO - 1)), *[GOOD] * 4]
    made = solver(records)
    made.step(2 * MAX_ZERO + 1)
    assert made.iteration == 2 * MAX_ZERO + 1
    # Of two passes only one has boxes.
    made = solver([*[[]] * 4, *[GOOD] * 4], settings="iter_size: 2")
    made.step(MAX_ZERO + 2)
    assert made.iteration == MAX_ZERO + 2


def test_boxes_in_pixels(solver):
    error = stopped(solver([scaled(32)] * 8))
    assert error.causes == (
        "the boxes: 8 of 8 in the batch's records are no fractions of the picture, as (3.2, 6.4, 12.8, 16) in record "
        "'00000004'; pixels are to be divided by its width and height",
    )


def test_boxes_outside_of_the_picture(solver):
    error = stopped(solver([[(1, 1.2, 0.1, 1.4, 0.5), (1, 0.1, -0.5, 0.3, -0.1)]] * 8))
    assert error.causes[0].startswith(
        "the boxes: all 8 in the batch's records are outside of the picture, 0..1, as (1.2,"
    )


def test_boxes_without_an_area(solver):
    error = stopped(solver([[(1, 0.5, 0.6, 0.2, 0.3)]] * 8))
    assert (
        "of 4 in the batch's records none has an area, as (0.5, 0.6, 0.2, 0.3) in record '00000004'" in error.causes[0]
    )


def test_boxes_that_were_normalized_twice(solver):
    """So small that they overlap no prior; less so, they match, and the loss is large."""
    error = stopped(solver([scaled(1 / 5e4)] * 8))
    assert error.causes[0].startswith("the boxes: of 8 in the batch the largest has a side of 8e-06 of the picture's")
    error = stopped(solver([scaled(1 / 500)] * 8, settings="base_lr: 1"), NotFiniteError)
    assert error.causes[0].startswith("the boxes: of 8 in the batch the largest has a side of 0.0008 of the picture's")
    assert error.causes[1].startswith("the rate, 1 in the last update")


def test_boxes_that_are_all_difficult(solver):
    net = spoiled(("num_classes: 3", "num_classes: 3 use_difficult_gt: false"))
    error = stopped(solver([[(*box, 1) for box in GOOD]] * 8, net))
    assert error.causes == ("the boxes: all 8 of the batch are difficult ones, and use_difficult_gt is false",)


def test_boxes_that_cropping_leaves_out(solver):
    emit = "transform_param { crop_size: 8 emit_constraint { emit_type: MIN_OVERLAP emit_overlap: 0.99 }"
    error = stopped(solver([GOOD] * 8, spoiled(("transform_param {", emit))))
    assert error.causes[0].startswith(
        "the boxes: of 8 in the batch's records none is left after cropping; emit_constraint"
    )


@pytest.mark.parametrize(
    ("sizes", "says"),
    [
        ("min_size: 0.3 max_size: 0.4", "the priors: those of priors have no area; min_size is in pixels"),
        (f"{SIZES} step: 800", "the priors: those of priors are all outside of the picture; step and img_size"),
        (f"{SIZES} img_size: 32 step: 8 offset: 90", "the priors: those of priors are all outside of the picture"),
    ],
)
def test_priors_that_are_nowhere(solver, sizes, says):
    error = stopped(solver([GOOD] * 8, spoiled((SIZES, sizes))))
    assert error.causes[0].startswith(says)


def test_priors_that_all_reach_outside(solver):
    net = spoiled(
        (SIZES, "min_size: 60 max_size: 90"), ("num_classes: 3", "num_classes: 3 ignore_cross_boundary_bbox: 1")
    )
    error = stopped(solver([GOOD] * 8, net))
    assert error.causes == (
        "the priors: those of priors all reach outside of the picture, and ignore_cross_boundary_bbox is true",
    )


def test_no_box_where_a_prior_is(solver):
    """Priors of two pixels in the middles of cells of eight, boxes at the edges of the cells."""
    net = spoiled((SIZES, "min_size: 2 max_size: 3"))
    error = stopped(solver([[(1, 0.2, 0.2, 0.28, 0.28)]] * 8, net))
    assert error.causes == (
        "no match: none of 4 boxes in the batch, the first (0.2, 0.2, 0.28, 0.28), overlaps a prior; those of priors "
        "have sides of 0.0625 to 0.0765465 of the picture's",
    )


def test_nothing_is_propagated(solver):
    stated = 'top: "mbox_loss" ' + "propagate_down: false " * 4
    error = stopped(solver([GOOD] * 8, spoiled(('top: "mbox_loss"', stated))))
    assert error.causes[0] == "propagate_down is false for locations and confidences: neither counts"


class Two(Group):
    """One of two processes, whose losses are 0; those of the other are in the first `zero` iterations."""

    world = 2

    def __init__(self, zero):
        self.zero = zero

    def greatest(self, value):
        # Of the numbers of iterations in a row, or of those less than 0.
        other = abs(value) if abs(value) <= self.zero else 0
        return max(value, other if value > 0 else -other)


def test_a_loss_is_0_where_it_is_in_all_processes(solver):
    made = solver([[]] * 8, group=Two(MAX_ZERO - 1))
    with pytest.warns(CaffeCompatWarning, match='"mbox_loss" is 0 in some of the 2 processes for 20 ') as told:
        made.step(2 * MAX_ZERO)
    assert len(told) == 1
    assert made.iteration == 2 * MAX_ZERO
    assert stopped(solver([[]] * 8, group=Two(MAX_ZERO))).iteration == MAX_ZERO - 1


def test_another_loss_does_not_hide_it(solver):
    other = """
    layer { name: "mean" type: "Pooling" bottom: "conv" top: "mean" pooling_param { pool: AVE global_pooling: true } }
    layer { name: "zero" type: "DummyData" top: "zero" dummy_data_param { shape { dim: 4 dim: 4 dim: 1 dim: 1 } } }
    layer { name: "other" type: "EuclideanLoss" bottom: "mean" bottom: "zero" top: "other" }
    """
    made = solver([[]] * 8, SSD + other)
    error = stopped(made)
    assert error.layer == "mbox_loss"
    assert float(made.outputs["other"].detach()) > 0


def test_other_nets_may_have_a_loss_of_0(tmp_path):
    net = """
    layer { name: "x" type: "DummyData" top: "x" top: "y" dummy_data_param { shape { dim: 2 dim: 3 } } }
    layer { name: "ip" type: "InnerProduct" bottom: "x" top: "ip" inner_product_param { num_output: 3 } }
    layer { name: "loss" type: "EuclideanLoss" bottom: "ip" bottom: "y" top: "loss" }
    """
    made = make(tmp_path, net)
    made.step(2 * MAX_ZERO)
    made.close()
    assert made.smoothed.value == 0


@pytest.mark.parametrize(
    ("corners", "says"),
    [
        (
            (0.5, 0.5, 0.2, 0.2),
            "the boxes: of 1 in the batch none has an area, as (0.5, 0.5, 0.2, 0.2); xmin is to be below",
        ),
        (
            (40, 40, 60, 60),
            "the boxes: (40, 40, 60, 60) (record a.h5#1) is not in fractions of the picture; pixels are",
        ),
        ((0.2, 0.2, 0.28, 0.28), "no match: none of 1 box in the batch, the first (0.2, 0.2, 0.28, 0.28), overlaps"),
        (None, "the boxes: the batch has none"),
    ],
)
def test_boxes_from_another_source(tmp_path, corners, says):
    """Nothing is known of what is stored; the batch says what is wrong."""
    row = [-1] * 8 if corners is None else [0, 1, 0, *corners, 0]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros((2, 3, 32, 32), np.float32)
        file["label"] = np.array(row, np.float32).reshape(1, 1, 1, 8).repeat(2, 0)
    (tmp_path / "list").write_text("a.h5\n")
    data = """layer { name: "data" type: "HDF5Data" top: "data" top: "label"
                      hdf5_data_param { source: "list" batch_size: 1 } }"""
    net = SSD[SSD.index('layer { name: "conv"') :].replace(SIZES, "min_size: 2 max_size: 3")
    error = stopped(make(tmp_path, data + net))
    assert error.causes[0].startswith(says)


def test_boxes_that_are_not_known(tmp_path):
    data = """layer { name: "data" type: "DummyData" top: "data" top: "label" dummy_data_param {
      shape { dim: 4 dim: 3 dim: 32 dim: 32 } shape { dim: 1 dim: 1 dim: 2 dim: 8 } data_filler { value: -1 } } }"""
    error = stopped(make(tmp_path, data + SSD[SSD.index('layer { name: "conv"') :]))
    assert error.causes == (USUAL,)


# --- a loss that is not finite


def test_a_rate_that_is_too_high(solver):
    error = stopped(solver([GOOD] * 8, settings="base_lr: 1e20"), NotFiniteError)
    assert len(error.causes) == 1
    assert error.causes[0].startswith("the rate, 1e+20 in the last update")


def test_pixels_that_begin_in_the_corner(solver):
    """They are cut to the picture, and taken for objects as large as it."""
    error = stopped(solver([[(1, 0, 0, 20, 20)]] * 8, settings="base_lr: 1e20"), NotFiniteError)
    assert "4 of 4 in the batch's records are no fractions of the picture, as (0, 0, 20, 20)" in error.causes[0]
    assert error.causes[1].startswith("the rate")


VGG = [f"conv{block}_{layer}" for block in range(1, 6) for layer in range(1, 4 if block > 2 else 3)]


def vgg():
    """The net behind layers of VGG's names."""
    net, bottom = SSD, "data"
    layers = ""
    for name in VGG:
        layers += (
            f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" convolution_param {{ '
            'num_output: 3 kernel_size: 1 weight_filler { type: "xavier" } } }\n'
        )
        bottom = name
    start = net.index('layer { name: "conv"')
    return net[:start] + layers + net[start:].replace('bottom: "data" top: "conv"', f'bottom: "{bottom}" top: "conv"')


def weights(path, *names):
    """A weight file with these layers."""
    message = caffe_pb2.NetParameter()
    for name in names:
        message.layer.add(name=name, type="Convolution")
    blobs = [np.full((3, 3, 1, 1), 0.3, np.float32), np.zeros(3, np.float32)]
    write_caffemodel(path / "w.caffemodel", message, [blobs] * len(names))
    return path / "w.caffemodel"


def test_weights_that_were_not_given(solver, tmp_path):
    fast = {"settings": "base_lr: 1e20"}
    error = stopped(solver([GOOD] * 4, vgg(), **fast), NotFiniteError)
    assert error.causes[-1] == (
        "the weights: conv1_1, conv1_2, conv2_1 and 10 more of VGG started from fillers, as no weights were given; SSD "
        "starts from those of a reduced VGG-16"
    )
    some = weights(tmp_path, *VGG[:5], "other")
    error = stopped(solver([GOOD] * 4, vgg(), weights=[some], **fast), NotFiniteError)
    assert error.causes[-1].startswith(
        "the weights: conv3_2, conv3_3, conv4_1 and 5 more of VGG started from fillers, as "
    )
    assert "as the weight file has none for them" in error.causes[-1]
    error = stopped(solver([GOOD] * 4, vgg(), weights=[weights(tmp_path, "other")], **fast), NotFiniteError)
    assert error.causes[-1] == "the weights: no layer of the net is in the weight file, which has other"


def test_layers_that_are_new_are_no_cause(solver, tmp_path):
    """Of an SSD those behind VGG always start from fillers; and without VGG's names all may."""
    fast = {"settings": "base_lr: 1e20"}
    error = stopped(solver([GOOD] * 4, vgg(), weights=[weights(tmp_path, *VGG)], **fast), NotFiniteError)
    assert not any("weights" in cause for cause in error.causes)
    error = stopped(solver([GOOD] * 4, **fast), NotFiniteError)
    assert not any("weights" in cause for cause in error.causes)


def test_a_resumed_run_has_its_weights(solver, tmp_path):
    first = solver([GOOD] * 4, vgg())
    first.step(1)
    prefix = f'snapshot_prefix: "{tmp_path}/run"'
    parsed = replace(first.parsed)
    parsed.message.snapshot_prefix = prefix.split('"')[1]
    state = type(first)(parsed, options=first.options).snapshot()
    second = solver([GOOD] * 4, vgg(), settings="base_lr: 1e20")
    assert second.net.filled
    second.restore(state)
    assert second.net.filled == ()
    assert not any("weights" in cause for cause in stopped(second, NotFiniteError).causes)


# --- tests


def test_detections_have_no_mean(tmp_path):
    """As many rows as there are detections: eval_type says that they are none to be averaged."""
    databases(tmp_path)
    path = write(tmp_path, [('eval_type: "detection"', "")], [('output_directory: "results"', "")])
    made = Solver.from_prototxt(path, root=tmp_path, workers=0)
    with pytest.raises(CaffeCompatError) as caught:
        made.test()
    made.close()
    assert caught.value.layer == "eval"
    assert "values in pass 2, and" in caught.value.message
    assert 'eval_type: "detection"' in caught.value.hint


# --- what is looked at


def test_priors_are_known_without_a_pass():
    net = Net(build_graph(parse_net(SSD), "TRAIN"), {"data": (4, 3, 32, 32), "label": (1, 1, 1, 8)})
    (loss,) = box_losses(net.graph)
    assert (loss.spec.name, loss.data.name, loss.top) == ("mbox_loss", "data", 1)
    priors = priors_of(net, loss)
    assert priors.shape == (32, 4)
    np.testing.assert_allclose(priors[0], [-1 / 32, -1 / 32, 9 / 32, 9 / 32], atol=1e-6)
    assert [spec.name for spec in prior_layers(net.graph, loss.spec.bottoms[2])] == ["priors"]


def test_best_overlaps_are_those_of_a_loop():
    random = np.random.default_rng(3)
    boxes, priors = (np.sort(random.random((count, 2, 2), np.float32), 1).reshape(-1, 4) for count in (50, 40))
    expected = []
    for box in boxes:
        best = 0.0
        for prior in priors:
            sides = np.minimum(box[2:], prior[2:]) - np.maximum(box[:2], prior[:2])
            common = float(np.prod(sides.clip(0)))
            areas = float(np.prod(box[2:] - box[:2]) + np.prod(prior[2:] - prior[:2]))
            best = max(best, common / (areas - common))
        expected.append(best)
    np.testing.assert_allclose(best_overlaps(boxes, priors), expected, rtol=1e-4)
