"""Data layers without readers: the shapes they state, what the user gives, and DummyData."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from caffecompat import Net
from caffecompat.errors import SchemaError, ShapeError, UsageError
from caffecompat.formats import read_net
from caffecompat.graph import build_graph
from caffecompat.layers import registered
from caffecompat.layers.data import DataLayer
from tests.layers.single import single
from tests.support import make_net, shared_file

MEANS = "mean_value: 1 mean_value: 2 mean_value: 3 mean_value: 4"


def layer_of(type_, body, tops=2, **options):
    layer = single(type_, body, tops=tops, **options)
    assert isinstance(layer, DataLayer)
    return layer


@pytest.mark.parametrize(
    ("type_", "body", "shapes"),
    [
        ("Input", "input_param { shape { dim: 2 dim: 3 } }", [(2, 3), (2, 3)]),
        ("Input", "input_param { shape { dim: 2 dim: 3 } shape { dim: 2 } }", [(2, 3), (2,)]),
        ("Input", "input_param { shape { } }", [(), ()]),
        ("DummyData", "dummy_data_param { num: 2 channels: 3 channels: 1 height: 4 width: 5 }", None),
        ("DummyData", "dummy_data_param { shape { dim: 2 } shape { dim: 0 dim: 3 } }", [(2,), (0, 3)]),
        ("MemoryData", "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }", [(2, 3, 4, 5), (2,)]),
        ("Data", "data_param { batch_size: 8 } transform_param { crop_size: 227 }", [(8, 3, 227, 227), (8,)]),
        ("Data", "data_param { batch_size: 8 } transform_param { crop_h: 5 crop_w: 6 }", [(8, 3, 5, 6), (8,)]),
        (
            "Data",
            f"data_param {{ batch_size: 8 }} transform_param {{ crop_size: 9 {MEANS} }}",
            [(8, 4, 9, 9), (8,)],
        ),
        ("Data", "data_param { batch_size: 8 } transform_param { crop_size: 9 mean_value: 1 }", [(8, 3, 9, 9), (8,)]),
        (
            "Data",
            "data_param { batch_size: 8 } transform_param { crop_size: 9 force_gray: true }",
            [(8, 1, 9, 9), (8,)],
        ),
        (
            "Data",
            f"data_param {{ batch_size: 8 }} transform_param {{ crop_size: 9 force_color: true {MEANS} }}",
            [(8, 3, 9, 9), (8,)],
        ),
        (
            "AnnotatedData",
            "data_param { batch_size: 4 } transform_param { resize_param { height: 300 width: 200 } }",
            [(4, 3, 300, 200), (1, 1, 1, 8)],
        ),
        (
            "AnnotatedData",
            "data_param { batch_size: 4 } transform_param { crop_size: 50 resize_param { height: 300 width: 200 } }",
            [(4, 3, 50, 50), (1, 1, 1, 8)],
        ),
        (
            "VideoData",
            "data_param { batch_size: 4 } transform_param { resize_param "
            "{ height: 30 width: 20 resize_mode: FIT_LARGE_SIZE_AND_PAD } }",
            [(4, 3, 30, 20), (4,)],
        ),
        (
            "ImageData",
            "image_data_param { batch_size: 6 new_height: 30 new_width: 20 is_color: false }",
            [(6, 1, 30, 20), (6,)],
        ),
        (
            "ImageData",
            "image_data_param { new_height: 30 new_width: 20 } transform_param { crop_size: 12 }",
            [(1, 3, 12, 12), (1,)],
        ),
        (
            "ImageData",
            "image_data_param { new_height: 30 new_width: 20 } transform_param { resize_param { height: 7 width: 8 } }",
            [(1, 3, 7, 8), (1,)],
        ),
        (
            "WindowData",
            "window_data_param { batch_size: 128 } transform_param { crop_size: 227 }",
            [(128, 3, 227, 227), (128,)],
        ),
        (
            "ImageLabelData",
            "image_label_data_param { batch_size: 2 label_slice { dim: 16 dim: 15 } } "
            "transform_param { crop_size: 500 }",
            [(2, 3, 500, 500), (2, 1, 16, 15)],
        ),
    ],
)
def test_shapes_that_the_prototxt_states(type_, body, shapes):
    expected = shapes or [(2, 3, 4, 5), (2, 1, 4, 5)]
    layer = layer_of(type_, body)
    assert layer.shapes() == tuple(expected)
    assert layer.declared == {"y0": expected[0], "y1": expected[1]}


@pytest.mark.parametrize(
    ("type_", "body", "hint"),
    [
        ("Input", "", 'input_shapes={"y0": (1, C, H, W)} (--input-shape y0=1,C,H,W)'),
        ("Data", "data_param { batch_size: 8 }", 'input_shapes={"y0": (1, C, H, W)} (--input-shape y0=1,C,H,W)'),
        ("Data", "data_param { batch_size: 8 } transform_param { force_gray: true }", "(--input-shape y0=1,1,H,W)"),
        ("Data", "transform_param { force_color: true }", "(--input-shape y0=1,3,H,W)"),
        ("Data", "transform_param { mean_value: 1 mean_value: 2 }", "(--input-shape y0=1,2,H,W)"),
        ("Data", "transform_param { crop_size: 9 }", "(--input-shape y0=1,C,H,W)"),
        (
            "AnnotatedData",
            "data_param { batch_size: 1 } transform_param "
            "{ resize_param { height: 300 width: 300 resize_mode: FIT_SMALL_SIZE } }",
            "y0=1,C,H,W",
        ),
        ("HDF5Data", "hdf5_data_param { batch_size: 8 }", 'input_shapes={"y0": (N, ...)} (--input-shape y0=N,...)'),
        ("BinLabelData", "bin_label_data_param { label_slice { dim: 6 dim: 6 } }", "y0=N,C,H,W"),
        ("ImageLabelData", "transform_param { crop_size: 9 }", "y1=N,1,H,W"),
    ],
)
def test_a_size_that_is_not_stated(type_, body, hint):
    with pytest.raises(ShapeError, match='states no input size: the shape of "y[01]" is not known') as caught:
        layer_of(type_, body)
    assert caught.value.layer == "l"
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("type_", "body", "given", "shapes"),
    [
        ("Data", "", {"y0": (2, 1, 28, 28)}, [(2, 1, 28, 28), (2,)]),
        (
            "Data",
            "data_param { batch_size: 8 } transform_param { crop_size: 9 }",
            {"y0": (2, 3, 5, 6)},
            [(2, 3, 5, 6), (2,)],
        ),
        (
            "Data",
            "data_param { batch_size: 8 } transform_param { crop_size: 9 }",
            {"y1": (8, 1)},
            [(8, 3, 9, 9), (8, 1)],
        ),
        ("AnnotatedData", "", {"y0": (2, 3, 5, 6)}, [(2, 3, 5, 6), (1, 1, 1, 8)]),
        (
            "BinLabelData",
            "bin_label_data_param { batch_size: 8 label_slice { dim: 6 dim: 7 } }",
            {"y0": (2, 21, 66, 66)},
            [(2, 21, 66, 66), (2, 1, 6, 7)],
        ),
        (
            "MemoryData",
            "memory_data_param { batch_size: 2 channels: 3 height: 4 width: 5 }",
            {"y0": (1, 3, 9, 9)},
            [(1, 3, 9, 9), (1,)],
        ),
        ("HDF5Data", "", {"y0": (2, 5), "y1": (2,)}, [(2, 5), (2,)]),
        ("Input", "input_param { shape { dim: 2 } }", {"y1": (3, 4)}, [(2,), (3, 4)]),
        ("ImageLabelData", "", {"y0": (2, 3, 9, 9), "y1": (2, 1, 1, 1)}, [(2, 3, 9, 9), (2, 1, 1, 1)]),
    ],
)
def test_shapes_that_the_user_gives(type_, body, given, shapes):
    assert layer_of(type_, body, input_shapes=given).shapes_given(given) == tuple(shapes)


def test_labels_are_left_out_with_one_top():
    layer = layer_of("Data", "data_param { batch_size: 8 } transform_param { crop_size: 9 }", tops=1)
    assert layer.shapes() == ((8, 3, 9, 9),)


@pytest.mark.parametrize(
    ("type_", "body", "message"),
    [
        ("Input", "input_param { shape { } shape { } shape { } }", "for each of the 2 tops or not at all, got 3"),
        ("Input", "input_param { shape { dim: -1 } }", '"y0" would have shape (-1,)'),
        ("Input", "input_param { shape { dim: 65536 dim: 65536 } }", "2147483647 values are possible"),
        ("Input", "input_param { shape { " + "dim: 1 " * 33 + "} }", "at most 32 axes"),
        ("DummyData", "", "shape must be stated once or for each of the 2 tops, got 0"),
        ("DummyData", "dummy_data_param { num: 1 }", "channels must be stated once or for each of the 2 tops, got 0"),
        (
            "DummyData",
            "dummy_data_param { num: 1 shape { dim: 2 } }",
            "shape and num, channels, height, width are both",
        ),
        (
            "DummyData",
            "dummy_data_param { shape { dim: 2 } data_filler { } data_filler { } data_filler { } }",
            "data_filler must be stated not at all, once or for each of the 2 tops",
        ),
        ("MemoryData", "", "batch_size, channels, height and width must be positive, got (0, 0, 0, 0)"),
        ("ImageData", "image_data_param { new_height: 3 }", "must be stated together, got 3 and 0"),
    ],
)
def test_refused(type_, body, message):
    with pytest.raises(ShapeError, match=re.escape(message)):
        layer_of(type_, body)


def test_a_layer_without_a_reader_says_how_to_feed_it():
    net = make_net(
        """
        layer { name: "d" type: "Data" top: "data" top: "label" data_param { batch_size: 2 }
                transform_param { crop_size: 4 } }
        layer { name: "f" type: "Flatten" bottom: "data" top: "f" }
        """
    )
    with pytest.raises(UsageError, match="Data reads a database, and was not told to") as caught:
        net()
    assert caught.value.hint.startswith("feed its tops: net(data=..., label=...)")
    with pytest.raises(UsageError, match="its tops are not fed"):
        single("Input", "input_param { shape { dim: 1 } }")()


def test_dummy_data_fills_constants_once_and_the_rest_anew():
    layer = single(
        "DummyData",
        'dummy_data_param { shape { dim: 2 dim: 3 } data_filler { value: 7 } data_filler { type: "gaussian" std: 1 } }',
        tops=2,
    )
    assert layer.refill == (False, True)
    first, second = layer(), layer()
    assert torch.equal(first[0], torch.full((2, 3), 7.0))
    assert first[0] is second[0]
    assert not torch.equal(first[1], second[1])
    assert layer.state_dict() == {}


def test_dummy_data_without_a_filler_is_zero():
    assert torch.equal(single("DummyData", "dummy_data_param { shape { dim: 2 } }")()[0], torch.zeros(2))


def test_dummy_data_refuses_an_unknown_filler():
    layer = single("DummyData", 'dummy_data_param { shape { dim: 2 } data_filler { type: "gausian" } }')
    with pytest.raises(SchemaError, match="gausian"):
        layer()


def test_dummy_data_follows_the_net_to_its_device():
    layer = single("DummyData", "dummy_data_param { shape { dim: 2 } }")
    layer()
    assert layer.to("meta")()[0].is_meta


NO_SIZE = {
    "bvlc/mnist__lenet_train_test.prototxt": (1, 28, 28),
    "bvlc/siamese__mnist_siamese_train_test.prototxt": (2, 28, 28),
    "bvlc/cifar10__cifar10_full_train_test.prototxt": (3, 32, 32),
    "dilation/train_context/train_net.prototxt": (21, 66, 66),
    "dilation/train_context/test_net.prototxt": (21, 66, 66),
    "legacy/cifar10_quick_train.prototxt": (3, 32, 32),
    "legacy/cifar10_full_train.prototxt": (3, 32, 32),
    "legacy/lenet_train.prototxt": (1, 28, 28),
    "legacy/lenet_test.prototxt": (1, 28, 28),
}
DATA = [name for name, cls in registered().items() if issubclass(cls, DataLayer)]


def states_its_sizes(spec):
    layer = registered()[spec.type](spec, ())
    return set(layer.declared) == {key.name for key in spec.tops}


@pytest.mark.filterwarnings("ignore:.*unknown field 'version' is ignored")
def test_nine_published_nets_state_no_input_size():
    found = set()
    for path in shared_file("prototxt").rglob("*.prototxt"):
        if "solver" not in path.name and path.name != "VGG_19_layers_train_val.prototxt":  # that one is malformed
            parsed = read_net(path)
            for phase in {"train": ["TRAIN"], "test": ["TEST"]}.get(path.stem, ["TRAIN", "TEST"]):
                sources = [spec for spec in build_graph(parsed, phase).layers if spec.type in DATA]
                if not all(map(states_its_sizes, sources)):
                    found.add(path.relative_to(shared_file("prototxt")).as_posix())
    assert found == set(NO_SIZE)


@pytest.mark.parametrize("name", NO_SIZE)
def test_they_build_with_a_shape(name):
    path = shared_file("prototxt") / name
    for phase in ("TRAIN", "TEST"):
        graph = build_graph(read_net(Path(path)), phase)
        net = Net(graph, {graph.inputs[0].name: (5, *NO_SIZE[name])})
        assert {net.blob_shapes[key][0] for key in graph.inputs} == {5}
