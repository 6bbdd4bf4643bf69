"""`caffecompat data voc`, on devkits made of the drawn set, against what the original made of it."""

from __future__ import annotations

import os
import shutil

import pytest

from caffecompat.data.annoset.class_map import voc_classes
from caffecompat.schema import caffe_pb2
from tests.cli.records import call, read_lmdb
from tests.data.annoset.shapes import NAMES, SHAPES, recorded, write_shapes

CLASSES = ("--classes", ",".join(NAMES))


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = write_shapes(tmp_path_factory.mktemp("shapes") / "shapes")
    for split in ("trainval", "test"):
        for key, value in recorded(split, folder.parent).items():
            image = caffe_pb2.AnnotatedDatum.FromString(value).datum.data
            (folder / key.decode().split("_", 1)[1]).write_bytes(image)
    return folder


@pytest.fixture(scope="module")
def devkit(shapes, tmp_path_factory):
    """VOC2007 with 20 images of trainval and 10 of test; VOC2012 with 8 of trainval, and a test without annotations."""
    root = tmp_path_factory.mktemp("voc") / "VOCdevkit"
    for year, split, names in (
        ("2007", "trainval", range(20)),
        ("2007", "test", range(10)),
        ("2012", "trainval", range(20, 28)),
        ("2012", "test", range(10, 14)),
    ):
        folder = root / f"VOC{year}"
        for inner in ("Annotations", "JPEGImages", "ImageSets/Main"):
            (folder / inner).mkdir(parents=True, exist_ok=True)
        stems = [f"{split}_{number:04d}" for number in names]
        # The lists of classes have a second column.
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(f"{stem}  1\n" for stem in stems))
        for stem in stems:
            shutil.copy(shapes / "JPEGImages" / f"{stem}.jpg", folder / "JPEGImages")
            if (year, split) != ("2012", "test"):
                shutil.copy(shapes / "Annotations" / f"{stem}.xml", folder / "Annotations")
    return root


def expected(split, names, tmp_path, year=""):
    """The recorded records of these images, numbered anew."""
    found = {key.decode().rsplit("/", 1)[1]: value for key, value in recorded(split, tmp_path).items()}
    prefix = f"VOC{year}/" if year else ""
    return {f"{prefix}JPEGImages/{name}.jpg": found[f"{name}.jpg"] for name in names}


def numbered(records):
    return {f"{number:08d}_{name}".encode(): value for number, (name, value) in enumerate(records.items())}


def test_a_folder_like_vocs_gives_the_originals_databases(shapes, tmp_path):
    call("data", "voc", shapes, "-o", tmp_path / "out", *CLASSES, "--no-shuffle")
    for split in ("trainval", "test"):
        assert read_lmdb(tmp_path / "out" / f"shapes_{split}_lmdb") == recorded(split, tmp_path)
        assert (tmp_path / "out" / f"{split}.txt").read_text() == (shapes / f"{split}_list.txt").read_text()
        sizes = (tmp_path / "out" / f"{split}_name_size.txt").read_text()
        assert sizes == (shapes / f"{split}_name_size.txt").read_text()
    assert (tmp_path / "out" / "test_name_size.txt").read_bytes() == (SHAPES / "test_name_size.txt").read_bytes()
    assert (
        caffe_pb2.LabelMap() != _map(tmp_path / "out" / "labelmap_voc.prototxt") == _map(SHAPES / "labelmap.prototxt")
    )


def _map(path):
    from google.protobuf import text_format

    return text_format.Parse(path.read_text(), caffe_pb2.LabelMap())


def stems(split, numbers):
    return [f"{split}_{number:04d}" for number in numbers]


def test_years_follow_one_another(devkit, tmp_path):
    out = tmp_path / "out"
    result = call("data", "voc", devkit, "-o", out, *CLASSES, "--no-shuffle")
    assert "the test of VOC2012 is passed over" in result.stderr
    trainval = expected("trainval", stems("trainval", range(20)), tmp_path, "2007")
    trainval |= expected("trainval", stems("trainval", range(20, 28)), tmp_path, "2012")
    assert read_lmdb(out / "VOC0712_trainval_lmdb") == numbered(trainval)
    test = expected("test", stems("test", range(10)), tmp_path, "2007")
    assert read_lmdb(out / "VOC0712_test_lmdb") == numbered(test)
    lines = [f"{name} {name.replace('JPEGImages', 'Annotations').replace('jpg', 'xml')}\n" for name in trainval]
    assert (out / "trainval.txt").read_text() == "".join(lines)
    sizes = (SHAPES / "test_name_size.txt").read_text().splitlines(keepends=True)
    assert (out / "test_name_size.txt").read_text() == "".join(sizes[:10])
    boxes = sum(
        len(g.annotation) for v in test.values() for g in caffe_pb2.AnnotatedDatum.FromString(v).annotation_group
    )
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == f"wrote {out / 'VOC0712_test_lmdb'}: 10 records, {boxes} boxes"
    assert sorted(os.listdir(out)) == [
        "VOC0712_test_lmdb",
        "VOC0712_trainval_lmdb",
        "labelmap_voc.prototxt",
        "test.txt",
        "test_name_size.txt",
        "trainval.txt",
        "trainval_name_size.txt",
    ]
    assert sorted(os.listdir(out / "VOC0712_test_lmdb")) == ["data.mdb", "lock.mdb"]


def test_training_is_in_random_order(devkit, tmp_path):
    found = []
    for number, seed in enumerate((1, 1, 2)):
        out = tmp_path / f"out{number}"
        call("data", "voc", devkit, "-o", out, *CLASSES, "--seed", seed)
        found.append([key[9:] for key in read_lmdb(out / "VOC0712_trainval_lmdb")])
        listed = (out / "trainval.txt").read_text().splitlines()
        assert [line.split()[0].encode() for line in listed] == found[-1]
        # A test keeps its order.
        test = [key[9:].decode() for key in read_lmdb(out / "VOC0712_test_lmdb")]
        assert test == [f"VOC2007/JPEGImages/{stem}.jpg" for stem in stems("test", range(10))]
    assert found[0] == found[1] != found[2]
    assert sorted(found[0]) == sorted(found[2]) != found[0]


def test_as_prototxts_name_it(devkit, tmp_path):
    out = tmp_path / "root"
    call("data", "voc", devkit, "-o", out, *CLASSES, "--layout", "caffe")
    for name in (
        "examples/VOC0712/VOC0712_trainval_lmdb/data.mdb",
        "examples/VOC0712/VOC0712_test_lmdb/data.mdb",
        "data/VOC0712/labelmap_voc.prototxt",
        "data/VOC0712/test_name_size.txt",
    ):
        assert (out / name).is_file()


@pytest.mark.parametrize("place", [".", "VOC2007"])
def test_one_year_and_split(devkit, tmp_path, place):
    out = tmp_path / "out"
    call("data", "voc", devkit / place, "-o", out, *CLASSES, "--years", "2007", "--splits", "test")
    assert sorted(os.listdir(out)) == ["VOC07_test_lmdb", "labelmap_voc.prototxt", "test.txt", "test_name_size.txt"]
    assert len(read_lmdb(out / "VOC07_test_lmdb")) == 10


def test_the_labels_of_voc(tmp_path):
    folder = tmp_path / "VOC2007"
    for inner in ("Annotations", "JPEGImages", "ImageSets/Main"):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    shutil.copy(write_shapes(tmp_path / "s") / "JPEGImages" / "test_0000.jpg", folder / "JPEGImages" / "000005.jpg")
    box = "<bndbox><xmin>10.5</xmin><ymin>20</ymin><xmax>50</xmax><ymax>60</ymax></bndbox>"
    (folder / "Annotations" / "000005.xml").write_text(
        "<annotation><size><width>100</width><height>119</height></size>"
        f"<object><name>tvmonitor</name>{box}<difficult>1</difficult></object>"
        f"<object><name>aeroplane</name><difficult>0</difficult>{box}</object></annotation>"
    )
    (folder / "ImageSets" / "Main" / "trainval.txt").write_text("000005\n")
    result = call("data", "voc", tmp_path, "-o", tmp_path / "out")
    assert "has no split test" in result.stderr
    found = caffe_pb2.AnnotatedDatum.FromString(read_lmdb(tmp_path / "out" / "VOC07_trainval_lmdb").popitem()[1])
    first, second = found.annotation_group
    assert (first.group_label, second.group_label) == (20, 1)
    # As it is meant, unless the original's reading is asked for.
    assert (first.annotation[0].bbox.difficult, second.annotation[0].bbox.difficult) == (True, False)
    assert first.annotation[0].bbox.xmin == pytest.approx(0.105)
    assert (tmp_path / "out" / "labelmap_voc.prototxt").read_text() == voc_classes().text
    call("data", "voc", tmp_path, "-o", tmp_path / "original", "--xml-rules", "original")
    found = caffe_pb2.AnnotatedDatum.FromString(read_lmdb(tmp_path / "original" / "VOC07_trainval_lmdb").popitem()[1])
    bbox = found.annotation_group[0].annotation[0].bbox
    assert (bbox.difficult, bbox.xmin) == (False, 0)


def test_it_goes_on_after_a_fault(devkit, tmp_path):
    """The first database is complete, the second is not: only that is made when it goes on."""
    copy = tmp_path / "kit"
    shutil.copytree(devkit, copy)
    broken = copy / "VOC2007" / "JPEGImages" / "test_0003.jpg"
    image = broken.read_bytes()
    broken.write_bytes(b"broken")
    arguments = ("data", "voc", copy, "-o", tmp_path / "out", *CLASSES, "--strict")
    result = call(*arguments, code=1)
    assert "test_0003.jpg" in result.stderr
    assert "the same command goes on from there" in result.stderr
    assert not (tmp_path / "out").exists()
    broken.write_bytes(image)
    result = call(*arguments)
    assert "going on after 28 of 28 images" in result.stderr
    call("data", "voc", devkit, "-o", tmp_path / "whole", *CLASSES)
    for name in ("VOC0712_trainval_lmdb", "VOC0712_test_lmdb"):
        assert read_lmdb(tmp_path / "out" / name) == read_lmdb(tmp_path / "whole" / name)
    for name in ("trainval_name_size.txt", "test_name_size.txt"):
        assert (tmp_path / "out" / name).read_text() == (tmp_path / "whole" / name).read_text()


def test_an_image_without_a_record_has_no_size(devkit, tmp_path):
    copy = tmp_path / "kit"
    shutil.copytree(devkit, copy)
    (copy / "VOC2007" / "JPEGImages" / "test_0003.jpg").unlink()
    call("data", "voc", copy, "-o", tmp_path / "out", *CLASSES)
    # What reads the sizes takes them one for each record.
    sizes = (tmp_path / "out" / "test_name_size.txt").read_text()
    assert len(sizes.splitlines()) == len(read_lmdb(tmp_path / "out" / "VOC0712_test_lmdb")) == 9
    assert "test_0003" not in sizes


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--years", "2011"), 2, "no year '2011' is there: 2007, 2012"),
        (("--splits", "trainva"), 1, 'there is no such list (did you mean "trainval"?)'),
        (("--splits", "../x"), 2, "without slashes"),
        (("--name", "a/b"), 2, "without slashes"),
        (("--classes", "circle,square"), 1, "the label map has no class 'triangle'"),
        (("--classes", "a,a"), 2, "stands twice"),
        (("--label-map-file", SHAPES / "labelmap.prototxt", "--classes", "a"), 2, "exclude each other"),
        ((), 1, "the label map has no class"),
    ],
)
def test_wrong_usage(devkit, tmp_path, options, code, message):
    result = call("data", "voc", devkit, "-o", tmp_path / "out", "--no-shuffle", *options, code=code)
    assert message in result.stderr
    assert os.listdir(tmp_path) == []


def test_no_devkit(tmp_path):
    assert "no folder of VOC is in it" in call("data", "voc", tmp_path, "-o", tmp_path / "out", code=1).stderr
    assert "no such folder" in call("data", "voc", tmp_path / "none", "-o", tmp_path / "out", code=1).stderr
    (tmp_path / "mine" / "ImageSets" / "Main").mkdir(parents=True)
    assert "mine itself" in call("data", "voc", tmp_path, "-o", tmp_path / "out", code=1).stderr
