"""AnnotatedData: pictures with boxes from a database, augmented as the SSD branch does."""

from __future__ import annotations

import json
import re
import struct

import cv2
import lmdb
import numpy as np
import pytest
from google.protobuf import text_format

from caffecompat.data.annotated import Augmenter, Margins, as_jpeg, read_annotated
from caffecompat.errors import CaffeCompatError, FormatError, GraphError, ShapeError, UnsupportedError
from caffecompat.schema import caffe_pb2
from tests.data.sources.sources import assert_same, check_ranks, check_restore, check_workers, passes, reading_net
from tests.support import REFERENCE, shared_file

ROOT = REFERENCE / "ssd_training"
PLAIN = """
layer {{ name: "data" type: "AnnotatedData" top: "data" top: "label" {phase}
  transform_param {{ {transform} }}
  data_param {{ source: "{source}" batch_size: {batch} backend: LMDB }}
  annotated_data_param {{ {own} }} }}
"""


def text(transform="", own="", source="shapes/test_lmdb", batch=4, phase=""):
    return PLAIN.format(transform=transform, own=own, source=source, batch=batch, phase=phase)


AUGMENTED = text(
    """mirror: true mean_value: 104 mean_value: 117 mean_value: 123
       resize_param { resize_mode: WARP height: 60 width: 50 interp_mode: LINEAR interp_mode: AREA }
       emit_constraint { emit_type: CENTER } expand_param { prob: 0.5 max_expand_ratio: 3 }
       distort_param { brightness_prob: 0.5 brightness_delta: 32 hue_prob: 0.5 hue_delta: 18 }""",
    "batch_sampler { max_sample: 1 max_trials: 1 } "
    "batch_sampler { sampler { min_scale: 0.3 min_aspect_ratio: 0.5 max_aspect_ratio: 2 } "
    "sample_constraint { min_jaccard_overlap: 0.5 } max_sample: 1 max_trials: 50 }",
    source="shapes/trainval_lmdb",
    batch=8,
)


def records(name):
    with lmdb.open(str(ROOT / name), readonly=True, lock=False) as env, env.begin() as transaction:
        return [caffe_pb2.AnnotatedDatum.FromString(value) for _, value in transaction.cursor()]


def rows_of(found, item):
    return [
        (item, group.group_label, one.instance_id, *box(one.bbox), one.bbox.difficult)
        for group in found.annotation_group
        for one in group.annotation
    ]


def box(message):
    return (message.xmin, message.ymin, message.xmax, message.ymax)


WARP = "resize_param { height: 40 width: 30 }"


def test_without_augmentation_the_records_themselves():
    expected = records("shapes/test_lmdb")
    with reading_net(text(WARP), ROOT, "TEST") as net:
        assert net.readers[0].source.shapes() == ((4, 3, 40, 30), (1, 1, len(rows_of(expected[0], 0)), 8))
        for start, found in zip(range(0, 12, 4), passes(net, 3), strict=True):
            for item, record in enumerate(expected[start : start + 4]):
                picture = cv2.imdecode(np.frombuffer(record.datum.data, np.uint8), cv2.IMREAD_UNCHANGED)
                warped = cv2.resize(picture, (30, 40)).transpose(2, 0, 1)
                np.testing.assert_array_equal(found["data"][item], warped)
            rows = [row for item in range(4) for row in rows_of(expected[start + item], item)]
            assert found["label"].shape == (1, 1, len(rows), 8)
            np.testing.assert_allclose(found["label"][0, 0], rows, atol=1e-6)


def test_what_is_stored_of_each_item():
    expected = records("shapes/test_lmdb")
    with reading_net(text(WARP, batch=5), ROOT, "TEST") as net:
        reader = net.readers[0]
        for _ in range(10):
            net()
        # The database has 48 records.
        assert reader.batch.items == (45, 46, 47, 48, 49)
        for item, key in zip(reader.batch.items, reader.batch.keys, strict=True):
            name, stored = reader.source.stored(item)
            assert name == key
            np.testing.assert_allclose(stored.rows, np.array(rows_of(expected[item % 48], 0))[:, 1:], atol=1e-6)


def test_a_sampler_of_the_whole_picture_encodes_it_as_the_original_does():
    record = records("shapes/test_lmdb")[0]
    picture = cv2.imdecode(np.frombuffer(record.datum.data, np.uint8), cv2.IMREAD_UNCHANGED)
    again = cv2.imdecode(cv2.imencode(".jpg", picture)[1], cv2.IMREAD_UNCHANGED)
    assert (again != picture).any()
    with reading_net(text(WARP, "batch_sampler { }", batch=1), ROOT, "TEST") as net:
        (found,) = passes(net, 1)
    np.testing.assert_array_equal(found["data"][0], cv2.resize(again, (30, 40)).transpose(2, 0, 1))


def test_only_a_part_of_large_margins_is_encoded_and_nobody_can_tell():
    random = np.random.default_rng(0)
    for number in range(300):
        channels = () if number % 4 == 0 else (3,)
        part = random.integers(0, 256, (*random.integers(1, 60, 2), *channels), dtype=np.uint8)
        margins = Margins(*(random.integers(0, 90, 4) * (random.random(4) < 0.7)).tolist())
        colour = random.integers(0, 256, 3 if channels else 1, dtype=np.uint8)
        whole = np.empty((sum(margins[:2]) + part.shape[0], sum(margins[2:]) + part.shape[1], *channels), np.uint8)
        whole[...] = colour
        whole[margins.top :, margins.left :][: part.shape[0], : part.shape[1]] = part
        expected = cv2.imdecode(cv2.imencode(".jpg", whole)[1], cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(as_jpeg(part, margins, colour), expected)


def test_a_canvas_too_large():
    param = caffe_pb2.TransformationParameter(expand_param={"prob": 1, "max_expand_ratio": 1e7})
    with pytest.raises(ShapeError, match=r"30x40 would be expanded to \d+x\d+"):
        Augmenter(param, [])(np.zeros((30, 40, 3), np.uint8), np.empty((0, 7), np.float32), np.random.default_rng(1))


def test_a_picture_too_long_for_a_jpeg():
    sampler = caffe_pb2.BatchSampler(max_trials=1)
    augment = Augmenter(caffe_pb2.TransformationParameter(), [sampler])
    with pytest.raises(FormatError, match="a picture of 70000x1 pixels cannot be encoded as JPEG"):
        augment(np.zeros((70000, 1, 3), np.uint8), np.empty((0, 7), np.float32), np.random.default_rng(1))


def test_however_many_threads_read_and_from_wherever_it_goes_on():
    check_workers(AUGMENTED, ROOT, 3)
    check_restore(AUGMENTED, ROOT, 2, 3)
    with reading_net(AUGMENTED, ROOT, seed=1) as one, reading_net(AUGMENTED, ROOT, seed=2) as other:
        assert (passes(one, 1)[0]["data"] != passes(other, 1)[0]["data"]).any()


def test_processes_share_the_records():
    keys = set()
    with lmdb.open(str(ROOT / "shapes/test_lmdb"), readonly=True, lock=False) as env, env.begin() as transaction:
        keys = {key.decode() for key, _ in transaction.cursor()}
    check_ranks(text(WARP), ROOT, keys, 4)


def test_mirrored_pictures_have_mirrored_boxes():
    plain, turned = text(WARP, batch=48), text(WARP + " mirror: true", batch=48)
    with reading_net(plain, ROOT) as one, reading_net(turned, ROOT) as other:
        (plain,), (turned,) = passes(one, 1), passes(other, 1)
    mirrored = 0
    for item in range(48):
        before, after = (top["label"][0, 0][top["label"][0, 0][:, 0] == item] for top in (plain, turned))
        if (plain["data"][item] == turned["data"][item]).all():
            np.testing.assert_array_equal(before, after)
        else:
            mirrored += 1
            np.testing.assert_array_equal(plain["data"][item][:, :, ::-1], turned["data"][item])
            np.testing.assert_allclose(after[:, [3, 5]], 1 - before[:, [5, 3]], atol=1e-6)
            np.testing.assert_array_equal(after[:, [4, 6]], before[:, [4, 6]])
    assert 12 <= mirrored <= 36


def test_a_crop_takes_its_boxes_along():
    with reading_net(text("crop_size: 60"), ROOT, "TEST") as net:
        (found,) = passes(net, 1)
    for item, record in enumerate(records("shapes/test_lmdb")[:4]):
        picture = cv2.imdecode(np.frombuffer(record.datum.data, np.uint8), cv2.IMREAD_UNCHANGED)
        top, left = (picture.shape[0] - 60) // 2, (picture.shape[1] - 60) // 2
        np.testing.assert_array_equal(found["data"][item], picture[top : top + 60, left : left + 60].transpose(2, 0, 1))
        scale = np.array([picture.shape[1], picture.shape[0]] * 2)
        expected = []
        for row in rows_of(record, item):
            corners = (np.array(row[3:7]) * scale - [left, top, left, top]) / 60
            clipped = np.clip(corners, 0, 1)
            if (clipped[2:] > clipped[:2]).all():
                expected.append([*row[:3], *clipped, row[7]])
        rows = found["label"][0, 0]
        np.testing.assert_allclose(rows[rows[:, 0] == item], np.reshape(expected, (-1, 8)), atol=1e-5)


def test_boxes_still_lie_on_their_shapes():
    """What is inside each box has the colours that it had, whatever was expanded, sampled, mirrored and resized."""
    transform = """mirror: true resize_param { height: 96 width: 96 } emit_constraint { emit_type: CENTER }
                   mean_value: 0 expand_param { prob: 1 max_expand_ratio: 2 }"""
    picture = np.zeros((80, 100, 3), np.uint8)
    picture[:] = (0, 90, 0)
    picture[20:50, 30:70] = (0, 0, 250)
    rows = np.array([[1, 0, 0.3, 0.25, 0.7, 0.625, 0]], np.float32)
    param = text_format.Parse(transform, caffe_pb2.TransformationParameter())
    sampler = text_format.Parse(
        "sampler { min_scale: 0.4 min_aspect_ratio: 0.5 max_aspect_ratio: 2 } max_trials: 5", caffe_pb2.BatchSampler()
    )
    augment = Augmenter(param, [sampler])
    kept = 0
    for seed in range(200):
        image, boxes = augment(picture, rows, np.random.default_rng(seed))
        height, width = image.shape[:2]
        red = (image[:, :, 2] > 150) & (image[:, :, 1] < 60)
        for xmin, ymin, xmax, ymax in boxes[:, 2:6] * [width, height, width, height]:
            kept += 1
            inside = red[round(ymin + 2) : round(ymax - 2), round(xmin + 2) : round(xmax - 2)]
            assert inside.size == 0 or inside.mean() > 0.9
            outside = red.copy()
            outside[max(round(ymin - 2), 0) : round(ymax + 2), max(round(xmin - 2), 0) : round(xmax + 2)] = False
            assert outside.mean() < 0.01
    assert kept > 60


def database(path, messages):
    with lmdb.open(str(path), map_size=1 << 22) as env, env.begin(write=True) as transaction:
        for index, message in enumerate(messages):
            value = message if isinstance(message, bytes) else message.SerializeToString()
            transaction.put(f"{index:04d}".encode(), value)


def annotated(boxes=(), typed=True, label=0, size=(8, 10)):
    message = caffe_pb2.AnnotatedDatum()
    message.datum.encoded = True
    message.datum.data = cv2.imencode(".png", np.full((*size, 3), 9, np.uint8))[1].tobytes()
    message.datum.label = label
    if typed:
        message.type = caffe_pb2.AnnotatedDatum.BBOX
    for label, corners in boxes:
        one = message.annotation_group.add(group_label=label).annotation.add()
        one.bbox.xmin, one.bbox.ymin, one.bbox.xmax, one.bbox.ymax = corners
    return message


def test_a_batch_without_boxes_has_one_row_of_minus_one(tmp_path):
    database(tmp_path / "db", [annotated(), annotated([(2, (0.1, 0.1, 0.5, 0.5))])])
    with reading_net(text(source="db", batch=1), tmp_path) as net:
        first, second = passes(net, 2)
    np.testing.assert_array_equal(first["label"], np.full((1, 1, 1, 8), -1))
    np.testing.assert_allclose(second["label"][0, 0], [[0, 2, 0, 0.1, 0.1, 0.5, 0.5, 0]])


def test_records_without_a_type_have_the_labels_of_their_datums(tmp_path):
    database(tmp_path / "db", [annotated(typed=False, label=index + 5) for index in range(3)])
    with reading_net(text(source="db", batch=3), tmp_path) as net:
        (found,) = passes(net, 1)
    np.testing.assert_array_equal(found["label"], [5, 6, 7])


def test_raw_pictures_are_read_like_encoded_ones(tmp_path):
    raw, encoded = annotated([(1, (0, 0, 1, 1))]), annotated([(1, (0, 0, 1, 1))])
    raw.datum.encoded, raw.datum.data = False, np.full((3, 8, 10), 9, np.uint8).tobytes()
    raw.datum.channels, raw.datum.height, raw.datum.width = 3, 8, 10
    database(tmp_path / "raw", [raw])
    database(tmp_path / "encoded", [encoded])
    with (
        reading_net(text(WARP, source="raw", batch=1), tmp_path) as one,
        reading_net(text(WARP, source="encoded", batch=1), tmp_path) as other,
    ):
        assert_same(passes(one, 1), passes(other, 1))


def test_pictures_whose_head_does_not_tell_their_size(tmp_path):
    """A JPEG that EXIF turns when it is forced to colour, and a BMP of what it is then, become the same."""
    found = np.random.default_rng(1).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    encoded = cv2.imencode(".jpg", found)[1].tobytes()
    tiff = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x112, 3, 1, 6, 0, 0)
    segment = b"Exif\0\0" + tiff
    encoded = encoded[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + encoded[2:]
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (50, 30, 3)
    for name, data in (("turned", encoded), ("plain", cv2.imencode(".bmp", decoded)[1].tobytes())):
        record = annotated([(1, (0.1, 0.2, 0.9, 0.7))])
        record.datum.data = data
        database(tmp_path / name, [record])
    forced = AUGMENTED.replace("mirror: true", "mirror: true force_color: true")
    one, other = (forced.replace("shapes/trainval_lmdb", name) for name in ("turned", "plain"))
    with reading_net(one, tmp_path) as first, reading_net(other, tmp_path) as second:
        assert_same(passes(first, 6), passes(second, 6))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (b"\x0a\x7f", "claims 127 bytes"),
        (b"", "expected an AnnotatedDatum"),
        (caffe_pb2.Datum(data=b"x", label=1), "expected an AnnotatedDatum"),
        (annotated().SerializeToString() + b"\x1a\x02\x0a\x05", "a group of annotations is broken"),
        (annotated([(1, (0.1, float("nan"), 0.5, 0.5))]), "finite numbers"),
        (annotated(typed=False), "has no annotations, as the first one has"),
        (annotated(size=(9, 9)), "shape"),
    ],
)
def test_a_bad_record(tmp_path, bad, message):
    database(tmp_path / "db", [annotated(), bad, annotated()])
    with (
        reading_net(text(source="db", batch=2), tmp_path) as net,
        pytest.raises(CaffeCompatError, match=message) as caught,
    ):
        net()
    assert "0001" in str(caught.value)
    assert "db" in str(caught.value)
    with reading_net(text(source="db", batch=2), tmp_path, skip_bad_records=True) as net:
        net()
        assert net.readers[0].batch.keys == ("0000", "0002")
        assert "0001" in net.readers[0].skipped[0]


def test_other_kinds_of_annotation():
    with pytest.raises(UnsupportedError, match="annotations of type 3"):
        read_annotated(annotated(typed=False).SerializeToString() + b"\x10\x03")
    with pytest.raises(FormatError, match="expected an AnnotatedDatum"):
        read_annotated(caffe_pb2.Datum(data=b"x", label=2).SerializeToString())


@pytest.mark.parametrize(
    ("transform", "own", "message"),
    [
        ("expand_param { max_expand_ratio: 1 }", "", "expected max_expand_ratio above 1, got 1"),
        ("resize_param { resize_mode: FIT_SMALL_SIZE height: 5 width: 5 }", "", "expected batch_size 1, got 4"),
        ("", "batch_sampler { sampler { min_scale: 0 } }", "min_scale"),
    ],
)
def test_settings_that_make_no_sense(transform, own, message):
    with pytest.raises(GraphError, match=message), reading_net(text(transform, own), ROOT):
        pass


@pytest.mark.slow
def test_the_distribution_of_ssd300s_augmentation():
    from scipy.stats import ks_2samp

    whole = shared_file("prototxt/ssd/SSD300_VOC0712/train.prototxt").read_text()
    layer = whole[: whole.index("layer {", whole.index("layer {") + 7)]
    layer = re.sub(r'source: "[^"]*"', 'source: "shapes/trainval_lmdb"', layer)
    layer = re.sub(r"batch_size: \d+", "batch_size: 16", layer)
    recorded = np.load(ROOT / "augmentation.npz")
    boxes, pixels = [], {"mean": [], "std": [], "blank": [], "count": []}
    with reading_net(layer, ROOT, seed=11, workers=2) as net:
        for start in range(0, 4800, 16):
            data, rows = (top.numpy() for top in net.readers[0].next())
            rows = rows[0, 0].copy()
            pixels["count"].append([(rows[:, 0] == item).sum() for item in range(16)])
            rows = rows[rows[:, 0] >= 0]
            rows[:, 0] += start
            boxes.append(rows)
            pixels["mean"].append(data.mean((2, 3)))
            pixels["std"].append(data.std((2, 3)))
            pixels["blank"].append((np.abs(data).max(1) < 4).mean((1, 2)))
    found = np.concatenate(boxes)
    for column in range(1, 8):
        assert ks_2samp(found[:, column], recorded["gt"][:, column]).statistic < 0.04, column

    def area(rows):
        return (rows[:, 5] - rows[:, 3]) * (rows[:, 6] - rows[:, 4])

    assert ks_2samp(area(found), area(recorded["gt"])).statistic < 0.04
    for name, parts in pixels.items():
        ours = np.concatenate(parts).reshape(4800, -1)
        theirs = recorded[name].reshape(4800, -1)
        for column in range(ours.shape[1]):
            assert ks_2samp(ours[:, column], theirs[:, column]).statistic < 0.04, (name, column)


def test_the_state_is_json():
    with reading_net(AUGMENTED, ROOT) as net:
        json.dumps(net.readers[0].state())
