from __future__ import annotations

import warnings

import numpy as np
import pytest

from caffecompat.data.preprocessing import Preprocessing, Segmentation
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, FormatError, SchemaError, ShapeError, UsageError
from caffecompat.formats import parse_net, read_net, write_mean
from caffecompat.graph import build_graph
from tests.support import shared_file

REST = 'layer { name: "flat" type: "Flatten" bottom: "data" top: "out" }'


def record(transform="", *, layer='type: "Data" top: "label"', rest=REST, **given):
    text = f'layer {{ name: "src" top: "data" {layer} transform_param {{ {transform} }} }} {rest}'
    return Preprocessing.from_graph(build_graph(parse_net(text)), **given)


def of_shared(name, **given):
    path = shared_file(name)
    return Preprocessing.from_graph(build_graph(read_net(path)), base_dir=path.parent, **given)


INPUT = 'type: "Input" input_param { shape { dim: 1 dim: 3 dim: 20 dim: 30 } }'


def test_ssd_test_net():
    made = of_shared("prototxt/ssd/SSD300_VOC0712/test.prototxt")
    assert made.input == "data"
    assert made.channels == "bgr"
    assert made.mean == (104.0, 117.0, 123.0)
    assert (made.size, made.resize, made.interpolation, made.crop) == ((300, 300), "warp", "linear", None)
    assert made.variances == (0.1, 0.1, 0.2, 0.2)
    assert made.labels == ()


def test_ssd_deploy_net_knows_its_size_only():
    made = of_shared("prototxt/ssd/SSD300_VOC0712/deploy.prototxt", mean="104,117,123")
    assert (made.size, made.mean, made.scale, made.crop) == ((300, 300), (104.0, 117.0, 123.0), 1.0, None)


def test_alexnet_train_val_misses_its_mean_file_and_says_so():
    with pytest.warns(CaffeCompatWarning, match=r"imagenet_mean\.binaryproto' is not here"):
        made = of_shared("prototxt/bvlc/bvlc_alexnet__train_val.prototxt")
    assert (made.mean_image, made.size, made.crop) == (None, (227, 227), None)


def test_alexnet_with_its_mean_image_resizes_to_it_and_cuts():
    mean = str(shared_file("models/ilsvrc_2012_mean.binaryproto"))
    for name in ("train_val", "deploy"):
        made = of_shared(f"prototxt/bvlc/bvlc_alexnet__{name}.prototxt", mean=mean)
        assert made.mean_image.shape == (3, 256, 256)
        assert (made.size, made.crop, made.net_size) == ((256, 256), (227, 227), (227, 227))


@pytest.mark.parametrize("place", ["there", "beside", "named"])
def test_mean_file_is_looked_for_where_named_and_beside_the_prototxt(tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "net" / "data").mkdir()
    files = {"there": "data/mean.binaryproto", "named": "net/data/mean.binaryproto", "beside": "net/mean.binaryproto"}
    mean = np.random.default_rng(0).uniform(0, 255, (3, 20, 30)).astype(np.float32)
    write_mean(tmp_path / files[place], mean)
    made = record('mean_file: "data/mean.binaryproto" crop_size: 16', base_dir=tmp_path / "net")
    assert np.array_equal(made.mean_image, mean)
    assert (made.size, made.crop) == ((20, 30), (16, 16))


def test_transform_param():
    made = record("mean_value: 10 mean_value: 20.5 mean_value: 30 scale: 0.00390625 crop_size: 24")
    assert (made.mean, made.scale, made.size, made.crop) == ((10.0, 20.5, 30.0), 0.00390625, (24, 24), None)
    made = record("scale: 0.017 crop_h: 8 crop_w: 9 force_gray: true")
    assert (made.scale, made.size, made.channels) == (0.017, (8, 9), "gray")


def test_resize_param():
    text = "resize_param { prob: 1 resize_mode: %s height: 40 width: 50 interp_mode: CUBIC "
    text += "pad_mode: MIRRORED pad_value: 7 }"
    made = record(text % "FIT_LARGE_SIZE_AND_PAD")
    assert (made.size, made.resize, made.interpolation) == ((40, 50), "fit_large_pad", "cubic")
    assert (made.pad, made.pad_values) == ("mirrored", (7.0,))
    made = record(text % "FIT_SMALL_SIZE" + " crop_size: 40")
    assert (made.size, made.resize, made.crop) == ((40, 50), "fit_small", (40, 40))
    made = record(text % "WARP" + " crop_size: 32")
    assert (made.size, made.crop) == ((40, 50), (32, 32))
    made = record("resize_param { prob: 0 height: 40 width: 50 }")
    assert made.size is None


def test_what_is_given_wins():
    text = "mean_value: 10 scale: 0.5 crop_size: 24"
    made = record(text, mean="1,2,3", scale=2.0, channels="rgb", labels=["a", "b"], size=(32, 40), interpolation="area")
    assert (made.mean, made.scale, made.channels, made.labels) == ((1.0, 2.0, 3.0), 2.0, "rgb", ("a", "b"))
    assert (made.size, made.crop, made.interpolation) == ((32, 40), (24, 24), "area")
    made = record(text, input_shapes={"data": (1, 1, 10, 12)})
    assert (made.size, made.channels) == ((10, 12), "gray")
    made = record("", layer=INPUT, size=(30, 40), resize="fit_small")
    assert (made.size, made.resize, made.crop) == ((30, 40), "fit_small", (20, 30))


def test_shapes_of_other_layers():
    dummy = 'type: "DummyData" top: "b" dummy_data_param { num: 1 num: 2 channels: 1 channels: 3 height: 5 height: 6 '
    dummy += "width: 7 width: 8 }"
    made = record("", layer=dummy)
    assert (made.channels, made.size) == ("gray", (5, 7))
    memory = 'type: "MemoryData" top: "b" memory_data_param { batch_size: 2 channels: 1 height: 9 width: 8 }'
    assert record("", layer=memory).size == (9, 8)
    features = 'type: "Input" input_param { shape { dim: 1 dim: 21 dim: 20 dim: 30 } }'
    assert record("", layer=features).channels == "none"


def test_the_picture_is_the_input_of_an_images_shape():
    text = (
        'layer { name: "i" type: "Input" top: "rois" top: "image" '
        "input_param { shape { dim: 1 dim: 5 } shape { dim: 1 dim: 3 dim: 8 dim: 9 } } }"
        'layer { name: "a" type: "Flatten" bottom: "rois" top: "x" }'
        'layer { name: "b" type: "Flatten" bottom: "image" top: "y" }'
    )
    made = Preprocessing.from_graph(build_graph(parse_net(text)))
    assert (made.input, made.size) == ("image", (8, 9))


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(UsageError, match="channels gray means 1"):
        record("", layer=INPUT, channels="gray")
    with pytest.raises(ShapeError, match="expected one mean value or 3, got 2"):
        record("", layer=INPUT, mean="1,2")
    with pytest.raises(UsageError, match="size 10x10 is smaller than the net's input, 20x30"):
        record("", layer=INPUT, size=(10, 10))
    write_mean(tmp_path / "m.npy", np.zeros((3, 10, 10), np.float32))
    with pytest.raises(ShapeError, match="the mean image, 10x10, is smaller"):
        record("", layer=INPUT, mean=str(tmp_path / "m.npy"))
    write_mean(tmp_path / "g.npy", np.zeros((1, 20, 30), np.float32))
    with pytest.raises(ShapeError, match="3 channels"):
        record("", layer=INPUT, mean=str(tmp_path / "g.npy"))
    for mean in ("1,nan,3", "1,inf,2", "no such file", "1;2;3"):
        with pytest.raises(UsageError):
            record("", layer=INPUT, mean=mean)


@pytest.mark.parametrize("scale", ["nan", "inf", "-inf"])
def test_a_scale_that_is_no_finite_number_is_refused(scale):
    with pytest.raises(UsageError, match="expected a scale that is a finite number"):
        record(scale=float(scale))
    with pytest.raises(SchemaError, match='layer "[^"]+": transform_param: expected a scale'):
        record(f"scale: {scale}")


def test_broken_mean_file_is_refused_by_name(tmp_path):
    (tmp_path / "mean.binaryproto").write_bytes(b"\xff" * 50)
    with pytest.raises(CaffeCompatError, match=r"mean\.binaryproto"):
        record('mean_file: "mean.binaryproto"', base_dir=tmp_path)


def test_mean_file_names_that_are_no_paths_are_not_found():
    for name in (r"a\000b", "x" * 5000, "/dev/null", ".."):
        with pytest.warns(CaffeCompatWarning, match="is not here"):
            assert record(f'mean_file: "{name}"').mean_image is None


def test_dilation_json():
    path = shared_file("prototxt/dilation/pascal_voc.json")
    made = record("", layer=INPUT, mean=str(path))
    assert made.mean == (102.93, 111.36, 116.52)
    assert isinstance(made.segmentation, Segmentation)
    assert (made.segmentation.zoom, made.segmentation.dilation, made.segmentation.label_margin) == (8, 8, 186)
    assert made.segmentation.palette[1] == (128, 0, 0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "[" * 5000,
        '{"palette": 3, "mean": [1], "zoom": 1, "dilation": 1}',
        '{"palette": [[0, 0, 300]], "mean": [1], "zoom": 1, "dilation": 1}',
        '{"palette": [], "mean": ["x"], "zoom": 1, "dilation": 1}',
        '{"palette": [], "mean": [], "zoom": -1, "dilation": 1}',
    ],
)
def test_broken_dilation_json_is_refused(tmp_path, text):
    path = tmp_path / "net.json"
    path.write_text(text)
    with pytest.raises(FormatError, match=r"net\.json"):
        record("", layer=INPUT, mean=str(path))


DETECTION = """
layer { name: "i" type: "Input" top: "data" top: "loc" top: "conf" top: "prior" input_param {
  shape { dim: 1 dim: 3 dim: 20 dim: 30 } shape { dim: 1 dim: 8 }
  shape { dim: 1 dim: 6 } shape { dim: 1 dim: 2 dim: 8 } } }
layer { name: "f" type: "Flatten" bottom: "data" top: "f" }
layer { name: "d" type: "DetectionOutput" bottom: "loc" bottom: "conf" bottom: "prior" top: "out"
  detection_output_param { num_classes: 3 nms_param { nms_threshold: 0.5 }
    save_output_param { label_map_file: "data/map.prototxt" } } }
"""


def test_label_map_of_the_detection_output_layer(tmp_path):
    graph = build_graph(parse_net(DETECTION))
    assert Preprocessing.from_graph(graph, base_dir=tmp_path).labels == ()
    (tmp_path / "map.prototxt").write_text('item { label: 0 name: "bg" } item { label: 2 name: "b" }')
    assert Preprocessing.from_graph(graph, base_dir=tmp_path).labels == ("bg", "", "b")
    # Names without the background get it.
    assert Preprocessing.from_graph(graph, labels=["a", "b"]).labels == ("background", "a", "b")


def test_a_net_without_inputs_has_a_record():
    graph = build_graph(
        parse_net('layer { name: "p" type: "Parameter" top: "p" parameter_param { shape { dim: 2 } } }')
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Preprocessing.from_graph(graph).input == "data"
