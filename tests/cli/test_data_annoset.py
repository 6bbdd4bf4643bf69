"""`caffecompat data annoset`, against the databases that the original's convert_annoset wrote, record by record."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.schema import caffe_pb2
from tests.cli.records import call, read_lmdb
from tests.data.annoset.shapes import SHAPES, recorded, write_shapes
from tests.support import shared_file

DETECTION = ("--anno_type", "detection", "--label_map_file", SHAPES / "labelmap.prototxt")
ENCODED = ("--encoded", "--encode_type", "jpg")


def convert(root, listed, out, *options, code=0):
    result = call("data", "annoset", root, listed, out, *options, code=code)
    return read_lmdb(out) if code == 0 else result


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    """The set's files: its images are those of the recorded database, which are those of the files it was made of."""
    folder = write_shapes(tmp_path_factory.mktemp("shapes"))
    for split in ("trainval", "test"):
        for key, value in recorded(split, folder).items():
            image = caffe_pb2.AnnotatedDatum.FromString(value).datum.data
            (folder / key.decode().split("_", 1)[1]).write_bytes(image)
    return folder


@pytest.mark.parametrize("split", ["trainval", "test"])
@pytest.mark.parametrize("workers", [0, 3])
def test_the_originals_records(shapes, tmp_path, split, workers):
    options = (*DETECTION, *ENCODED, "--check_label", "--workers", workers)
    found = convert(f"{shapes}/", shapes / f"{split}_list.txt", tmp_path / "db", *options)
    expected = recorded(split, tmp_path)
    assert len(expected) == {"trainval": 160, "test": 48}[split]
    assert found == expected
    assert list(found) == list(expected)


@pytest.mark.parametrize("split", ["trainval", "test"])
def test_the_originals_files(tmp_path, split):
    root = shared_file("data/shapes")
    found = convert(root, root / f"{split}_list.txt", tmp_path / "db", *DETECTION, *ENCODED)
    assert found == recorded(split, tmp_path)


def test_an_image_encoded_anew_differs_only_itself(shapes, tmp_path):
    found = convert(shapes, shapes / "test_list.txt", tmp_path / "db", *DETECTION, "--encode-type", "png")
    for (key, value), (name, wanted) in zip(found.items(), recorded("test", tmp_path).items(), strict=True):
        assert key == name
        got, expected = (caffe_pb2.AnnotatedDatum.FromString(record) for record in (value, wanted))
        images = [cv2.imdecode(np.frombuffer(item.datum.data, np.uint8), 1) for item in (got, expected)]
        np.testing.assert_array_equal(*images)
        assert got.datum.data[1:4] == b"PNG"
        got.datum.data = expected.datum.data
        assert got == expected


def test_as_the_authors_script_calls_it(shapes, tmp_path):
    """create_annoset.py spells every flag out."""
    options = f"""--anno_type=detection --label_type=xml --label_map_file={SHAPES}/labelmap.prototxt --check_label=True
        --min_dim=0 --max_dim=0 --resize_height=0 --resize_width=0 --backend=lmdb --shuffle=False --check_size=False
        --encode_type=jpg --encoded=True --gray=False""".split()
    target = tmp_path / "db"
    call("data", "annoset", *options, f"{shapes}/", shapes / "test_list.txt", target)
    assert read_lmdb(target) == recorded("test", tmp_path)


@pytest.fixture
def folder(tmp_path):
    """Three pictures, and annotations of two."""
    root = tmp_path / "set"
    root.mkdir()
    for number, (name, height, width) in enumerate([("a.png", 20, 30), ("b.JPG", 40, 24), ("c.png", 16, 50)]):
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
        assert cv2.imwrite(str(root / name), pixels)
    box = (
        "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"
    )
    (root / "a.xml").write_text(f"<annotation>{box.format('square', 3, 4, 15, 10)}</annotation>")
    (root / "b.xml").write_text(f"<annotation>{box.format('circle', 6, 4, 25, 10)}</annotation>")
    (tmp_path / "list.txt").write_text("a.png a.xml\nb.JPG b.xml\nc.png c.xml\n")
    return root


def message(record):
    return caffe_pb2.AnnotatedDatum.FromString(record)


def box_of(record):
    box = message(record).annotation_group[0].annotation[0].bbox
    return [box.xmin, box.ymin, box.xmax, box.ymax]


def run(folder, *options, out="db", code=0, kind=DETECTION):
    return convert(folder, folder.parent / "list.txt", folder.parent / out, *kind, *options, code=code)


def test_problems_are_told(folder, tmp_path):
    (folder / "d.png").write_bytes(b"no picture")
    (folder / "e.xml").write_text("<annotation><object>")
    with open(tmp_path / "list.txt", "a") as listed:
        listed.write("d.png a.xml\nb.JPG e.xml\nnone.png a.xml\na.png a.xml\n")
    report = tmp_path / "report.txt"
    result = call(
        "data", "annoset", folder, tmp_path / "list.txt", tmp_path / "db", *DETECTION, "--encoded", "--report", report
    )
    found = read_lmdb(tmp_path / "db")
    # The others keep the numbers of their lines; without an annotation an image has no boxes.
    assert list(found) == [b"00000000_a.png", b"00000001_b.JPG", b"00000002_c.png", b"00000006_a.png"]
    assert message(found[b"00000002_c.png"]).type == caffe_pb2.AnnotatedDatum.BBOX
    assert message(found[b"00000002_c.png"]).HasField("type")
    assert not message(found[b"00000002_c.png"]).annotation_group
    assert box_of(found[b"00000001_b.JPG"]) == pytest.approx([6 / 24, 0.1, 25 / 24, 0.25])
    expected = [
        ("box", f"{folder}/b.xml: box 1 (circle): it reaches beyond the image: 6, 4, 25, 10 in 24x40"),
        ("missing", f"{folder}/c.xml: there is no such annotation; c.png has no boxes"),
        ("image", f"{folder}/d.png: not an image that OpenCV can read; it begins with b'no picture'"),
        ("annotation", f"{folder}/e.xml:1:21: not XML: no element found"),
        ("image", f"{folder}/none.png: cannot read the image: No such file or directory"),
    ]
    lines = [tuple(line.split("\t")) for line in report.read_text().splitlines()]
    assert lines == expected
    for kind, text in expected:
        assert (f"passed over: {text}" if kind in ("image", "annotation") else text) in result.stderr
    assert "not in the database: 3 of the images" in result.stderr
    assert result.stdout == ""
    assert result.stderr.endswith(f"wrote {tmp_path / 'db'}: 4 records, 3 boxes\n")


def test_strict_stops(folder, tmp_path):
    told = run(folder, "--strict", code=1).stderr
    assert "b.xml: box 1 (circle): it reaches beyond the image" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["list.txt", "set"]


def test_bad_boxes_are_clipped_or_left_out(folder):
    found = run(folder, "--bad-boxes", "clip", "--encoded")
    assert box_of(found[b"00000001_b.JPG"]) == pytest.approx([6 / 24, 0.1, 1, 0.25])
    found = run(folder, "--bad-boxes", "drop", "--encoded", out="dropped")
    assert not message(found[b"00000001_b.JPG"]).annotation_group


def test_a_class_that_is_not_known_stops(folder, tmp_path):
    (folder / "b.xml").write_text("<annotation><object><name>sqare</name><bndbox/></object></annotation>")
    told = run(folder, code=1).stderr
    assert "b.xml: the label map has no class 'sqare'" in told
    assert 'did you mean "square"?' in told
    assert not (tmp_path / "db").exists()
    assert not message(run(folder, "--skip-unknown", "--encoded")[b"00000001_b.JPG"]).annotation_group


def test_xml_rules(folder):
    (folder / "a.xml").write_text(
        "<annotation><object><name>square</name><bndbox><xmin>3.0</xmin><ymin>4</ymin><xmax>15</xmax><ymax>10</ymax>"
        "</bndbox><difficult>1</difficult></object></annotation>"
    )
    result = call("data", "annoset", folder, folder.parent / "list.txt", folder.parent / "o", *DETECTION, "--encoded")
    found = read_lmdb(folder.parent / "o")[b"00000000_a.png"]
    assert box_of(found) == pytest.approx([0, 0.2, 0.5, 0.5])
    assert not message(found).annotation_group[0].annotation[0].bbox.difficult
    assert "xmin '3.0': read as 0, as in the original" in result.stderr
    found = run(folder, "--encoded", "--xml-rules", "meant")[b"00000000_a.png"]
    assert box_of(found) == pytest.approx([0.1, 0.2, 0.5, 0.5])
    assert message(found).annotation_group[0].annotation[0].bbox.difficult


def test_json_and_text(folder, tmp_path):
    annotation = [{"category_id": "circle", "bbox": [3, 4, 12, 6], "iscrowd": 1}]
    for name in "abc":
        (folder / f"{name}.json").write_text(json.dumps({"annotation": annotation}))
        (folder / f"{name}.txt").write_text("2 3 4 15 10\n")
    (tmp_path / "list.txt").write_text("a.png a.json\n")
    found = message(run(folder, "--label_type=json", "--encoded")[b"00000000_a.png"])
    assert box_of(found.SerializeToString()) == pytest.approx([0.1, 0.2, 0.5, 0.5])
    assert found.annotation_group[0].group_label == 1
    assert found.annotation_group[0].annotation[0].bbox.difficult
    (tmp_path / "list.txt").write_text("a.png a.txt\n")
    # Labels are numbers: there is no label map.
    kind = ("--anno_type", "detection", "--label_type", "txt")
    found = message(run(folder, "--encoded", out="text", kind=kind)[b"00000000_a.png"])
    assert found.annotation_group[0].group_label == 2
    assert box_of(found.SerializeToString()) == pytest.approx([0.1, 0.2, 0.5, 0.5])


def test_classification(folder, tmp_path):
    (tmp_path / "list.txt").write_text("a.png 7\nc.png 0\n")
    found = run(folder, kind=())
    pixels = cv2.imread(str(folder / "a.png"))
    expected = caffe_pb2.AnnotatedDatum()
    datum = expected.datum
    datum.channels, datum.height, datum.width = 3, 20, 30
    datum.data, datum.label, datum.encoded = pixels.transpose(2, 0, 1).tobytes(), 7, False
    assert found[b"00000000_a.png"] == expected.SerializeToString()
    assert not message(found[b"00000000_a.png"]).HasField("type")
    assert message(found[b"00000001_c.png"]).datum.label == 0


# Of each of the pictures of 20x30, 40x24 and 16x50: its size, by ReadImageToCVMat's rules.
SIZES = [
    (("--min_dim", 20), [(20, 30), (40, 24), (20, 62)]),
    (("--max_dim", 40), [(20, 30), (40, 24), (13, 40)]),
    (("--min_dim", 32, "--max_dim", 50), [(32, 48), (50, 30), (16, 50)]),
    (("--resize_width", 11, "--resize_height", 9), [(9, 11)] * 3),
    # min_dim comes before the size.
    (("--resize_width", 11, "--resize_height", 9, "--min_dim", 1), [(20, 30), (40, 24), (16, 50)]),
]


@pytest.mark.parametrize(("options", "sizes"), SIZES)
def test_sizes(folder, options, sizes):
    found = run(folder, *options, *ENCODED)
    for record, (height, width) in zip(found.values(), sizes, strict=True):
        datum = message(record).datum
        assert (datum.channels, datum.height, datum.width) == (3, height, width)
        # Each is compressed anew, whether it was resized or not.
        assert cv2.imdecode(np.frombuffer(datum.data, np.uint8), -1).shape == (height, width, 3)
        assert datum.data[:2] == b"\xff\xd8"
    # Boxes are fractions of the picture as it was.
    assert box_of(found[b"00000000_a.png"]) == pytest.approx([0.1, 0.2, 0.5, 0.5])
    raw = message(run(folder, *options, "--gray", out="raw")[b"00000002_c.png"]).datum
    assert (raw.channels, len(raw.data)) == (1, sizes[2][0] * sizes[2][1])


def test_sizes_without_end(folder):
    cv2.imwrite(str(folder / "a.png"), np.zeros((2, 3000, 3), np.uint8))
    told = run(folder, "--min_dim", 60_000, code=1).stderr
    assert f"{folder}/a.png: an image of 3000x2 pixels, times 30000, would have 5.4e+12" in told
    # Its height would be less than a pixel.
    assert list(run(folder, "--max_dim", 300)) == [b"00000001_b.JPG", b"00000002_c.png"]


def test_check_size(folder):
    told = run(folder, "--check_size", code=1).stderr
    assert "expected an image of 30x20 pixels and 3 channels as the first, got 24x40 pixels" in told
    assert len(run(folder, "--check-size", "--resize-width", 3, "--resize-height", 3)) == 3


def test_shuffled_by_a_seed(folder):
    orders = [list(run(folder, "--shuffle", "--seed", seed, out=f"db{n}")) for n, seed in enumerate((1, 1, 2, 3, 4))]
    assert orders[0] == orders[1]
    assert len(set(map(tuple, orders))) > 1
    assert all(sorted(key[9:] for key in order) == [b"a.png", b"b.JPG", b"c.png"] for order in orders)


def test_names_with_spaces(folder, tmp_path):
    (folder / "a.png").rename(folder / "a b.png")
    (tmp_path / "list.txt").write_text("a b.png\ta.xml\n")
    assert list(run(folder)) == [b"00000000_a b.png"]
    (tmp_path / "list.txt").write_text("c.png c.xml\na b.png a.xml\n")
    told = run(folder, code=1, out="none").stderr
    assert "list.txt:2" in told
    assert "a tab" in told


def test_a_list_of_boxes_without_its_type(folder, tmp_path):
    (tmp_path / "list").write_text("one.png one.xml\n")
    told = call("data", "annoset", folder, tmp_path / "list", tmp_path / "db", code=1).stderr
    assert "expected a whole number as label after the last space, got 'one.xml'\n" in told
    assert "--anno_type detection reads them" in told
    assert "HDF5" not in told


def test_wrong_usage(folder, tmp_path):
    kind = ("--anno_type", "detection")
    assert "--label_map_file" in run(folder, code=2, kind=kind).stderr
    assert "belong together" in run(folder, "--resize_width", 8, code=2).stderr
    assert "leveldb" in run(folder, "--backend", "leveldb", code=2).stderr
    run(folder)
    assert "something already" in run(folder, code=2).stderr
    (tmp_path / "list.txt").write_text("\n")
    assert "empty list" in run(folder, code=1, out="none").stderr
    (tmp_path / "list.txt").write_text("nobody.png a.xml\n")
    told = run(folder, code=1, out="none").stderr
    assert "none of 1 images could be read" in told
    assert "nobody.png" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db", "list.txt", "set"]


def test_an_annotated_data_layer_reads_what_was_made(shapes, tmp_path):
    from caffecompat import load
    from caffecompat.data.source import Reading

    convert(shapes, shapes / "test_list.txt", tmp_path / "db", *DETECTION, *ENCODED)
    net = tmp_path / "net.prototxt"
    net.write_text(
        'layer { name: "d" type: "AnnotatedData" top: "data" top: "label" data_param { source: "db" batch_size: 2 '
        "backend: LMDB } transform_param { resize_param { prob: 1 resize_mode: WARP height: 32 width: 32 } } "
        f'annotated_data_param {{ label_map_file: "{Path(SHAPES) / "labelmap.prototxt"}" }} }}'
    )
    made = load(net, reading=Reading(root=tmp_path, workers=0))
    outputs = made()
    made.close()
    labels = outputs["label"][0, 0]
    # The boxes of test_0000: triangle, circle, square.
    np.testing.assert_allclose(labels[:3, :3], [[0, 3, 0], [0, 1, 0], [0, 2, 0]])
    np.testing.assert_allclose(labels[0, 3:7], [0.17, 70 / 119, 0.58, 111 / 119], rtol=1e-6)
