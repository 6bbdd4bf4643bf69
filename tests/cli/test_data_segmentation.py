"""`caffecompat data segmentation`, on small trees that lie as the published data sets do."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat.data.png import voc_palette, write_indexed
from caffecompat.data.source import Reading
from caffecompat.formats import parse_net
from caffecompat.graph import build_graph
from caffecompat.net import Net
from tests.cli.records import call

SIZE = (6, 8)


def write(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.asarray(values, np.uint8))


def picture(path, number=0):
    write(path, np.random.default_rng(number).integers(0, 256, (*SIZE, 3)))


def labels(number, classes):
    found = np.random.default_rng(number + 50).integers(0, classes, SIZE).astype(np.uint8)
    found[0, :3] = 255
    return found


def run(kind, folder, *options, code=0):
    return call("data", "segmentation", kind, folder, "-o", folder.parent / "made", *options, code=code)


def made(folder, split):
    """The pictures that are listed, and the label maps, as a layer reads them."""
    out = folder.parent / "made"
    pictures = (out / f"{split}_images.txt").read_text().splitlines()
    listed = (out / f"{split}_labels.txt").read_text().splitlines()
    return [Path(one) for one in pictures], [cv2.imread(one, cv2.IMREAD_UNCHANGED) for one in listed]


@pytest.fixture
def voc(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    sets = {"train": ("2007_1", "2007_2"), "val": ("2008_1",), "test": ("2009_1", "2009_2")}
    for name, names in sets.items():
        (root / "ImageSets" / "Segmentation").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("".join(f"{one}\n" for one in names))
        for number, one in enumerate(names):
            picture(root / "JPEGImages" / f"{one}.jpg", number)
            if name != "test":
                (root / "SegmentationClass").mkdir(exist_ok=True)
                write_indexed(root / "SegmentationClass" / f"{one}.png", labels(number, 21), voc_palette())
    return tmp_path / "VOCdevkit"


def test_voc(voc):
    result = run("voc", voc)
    assert "test_*.txt: 2 pictures" in result.stderr
    pictures, found = made(voc, "train")
    assert pictures == [voc / "VOC2012" / "JPEGImages" / f"2007_{number}.jpg" for number in (1, 2)]
    assert all(np.array_equal(one, labels(number, 21)) for number, one in enumerate(found))
    out = voc.parent / "made"
    assert (out / "classes.txt").read_text().split()[:2] == ["background", "aeroplane"]
    assert len((out / "classes.txt").read_text().split()) == 21
    names = {path.name for path in out.iterdir()}
    assert names == {"classes.txt", "labels", "test_images.txt"} | {
        f"{split}_{kind}.txt" for split in ("train", "val") for kind in ("images", "labels")
    }
    assert not [path for path in voc.parent.iterdir() if path.name.startswith(".")]


LAYER = """layer {{ name: "data" type: "ImageLabelData" top: "data" top: "label" transform_param {{ crop_size: 6 }}
  image_label_data_param {{ {} batch_size: 2
    label_slice {{ dim: 6 dim: 6 stride: 1 stride: 1 offset: 0 offset: 0 }} }} }}"""


@pytest.mark.parametrize("relative", [False, True])
def test_the_layer_reads_what_is_made(voc, relative):
    result = run("voc", voc / "VOC2012", *(["--relative"] if relative else []))
    out = voc / "made"
    fields = f'image_list_path: "{out}/train_images.txt" label_list_path: "{out}/train_labels.txt" '
    if relative:
        fields += result.stdout.splitlines()[-1]
    net = Net(build_graph(parse_net(LAYER.format(fields)), "TEST"), reading=Reading(workers=0))
    try:
        found = net()["label"].numpy()[:, 0]
    finally:
        net.close()
    assert all(np.array_equal(one, labels(number, 21)[:, 1:7]) for number, one in enumerate(found))


def test_voc_with_other_label_maps(voc):
    """SegmentationClassAug holds grey PNGs."""
    for number, name in enumerate(("2007_1", "2007_2", "2008_1")):
        write(voc / "VOC2012" / "SegmentationClassAug" / f"{name}.png", labels(number, 5))
    run("voc", voc, "--label-folder", "SegmentationClassAug", "--splits", "train")
    assert all(np.array_equal(one, labels(number, 5)) for number, one in enumerate(made(voc, "train")[1]))
    assert not (voc.parent / "made" / "val_images.txt").exists()


def test_bad_files(voc):
    root = voc / "VOC2012"
    names = ("cut", "missing", "small", "strange")
    with (root / "ImageSets" / "Segmentation" / "train.txt").open("a") as file:
        file.write("".join(f"{name}\n" for name in names))
    for number, name in enumerate(names):
        picture(root / "JPEGImages" / f"{name}.jpg", number)
        write_indexed(root / "SegmentationClass" / f"{name}.png", labels(0, 21), voc_palette())
    (root / "JPEGImages" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    (root / "SegmentationClass" / "missing.png").unlink()
    write_indexed(root / "SegmentationClass" / "small.png", labels(0, 21)[:5], voc_palette())
    write_indexed(root / "SegmentationClass" / "strange.png", np.full(SIZE, 77), voc_palette())
    result = run("voc", voc, "--report", voc.parent / "bad.txt")
    assert "warning: left out for bad files: 4 pictures" in result.stderr
    lines = (voc.parent / "bad.txt").read_text().splitlines()
    for name, line in zip(names, lines, strict=True):
        assert f"{name}." in line
        assert f"passed over: {line}" in result.stderr
    assert "as large as its picture, 6x8, got 5x8" in lines[2]
    assert "48 pixels have a number of no class, 77" in lines[3]
    assert len(made(voc, "train")[0]) == 2


def test_nothing_is_left_of_what_fails(voc):
    (voc / "VOC2012" / "JPEGImages" / "2007_2.jpg").unlink()
    assert "2007_2.jpg" in run("voc", voc, "--strict", code=1).stderr
    (voc / "VOC2012" / "JPEGImages" / "2007_1.jpg").unlink()
    assert 'no pair of the split "train" can be read; the first: ' in run("voc", voc, code=1).stderr
    assert [path.name for path in voc.parent.iterdir()] == ["VOCdevkit"]
    (voc.parent / "made").mkdir()
    assert "there is something already" in run("voc", voc, code=2).stderr


def test_camvid_of_segnet(tmp_path):
    """Its sky is 0, building 1, ..., bicyclist 10, void 11; of dilation's order sky is 2, building 0."""
    root = tmp_path / "CamVid"
    numbers = np.arange(48).reshape(SIZE) % 12
    for name in ("train", "val", "test"):
        picture(root / name / "0001TP_1.png")
        write(root / f"{name}annot" / "0001TP_1.png", numbers)
    run("camvid", root)
    classes = (tmp_path / "made" / "classes.txt").read_text().split()
    order = ("sky", "building", "pole", "road", "sidewalk", "tree", "sign", "fence", "car", "pedestrian", "bicyclist")
    _, (found,) = made(root, "val")
    assert [classes[label] for label in found.ravel()[:11]] == list(order)
    assert (found[numbers == 11] == 255).all()


def test_camvid_of_its_authors(tmp_path):
    root = tmp_path / "CamVid"
    picture(root / "701_StillsRaw_full" / "Seq05VD_1.png")
    colours = np.zeros((*SIZE, 3), np.uint8)
    colours[1], colours[2], colours[3], colours[4] = (128, 128, 128), (64, 128, 192), (128, 0, 192), (0, 0, 192)
    write(root / "LabeledApproved_full" / "Seq05VD_1_L.png", colours[:, :, ::-1])
    run("camvid", root)
    classes = (tmp_path / "made" / "classes.txt").read_text().split()
    _, (found,) = made(root, "all")
    assert (found[[0, 5]] == 255).all()
    assert [classes[label] for label in found[1:5, 0]] == ["sky", "car", "road", "sidewalk"]


def test_kitti_of_ros(tmp_path):
    root = tmp_path / "KITTI_SEMANTIC"
    for name in ("Training_00", "Validation_07"):
        picture(root / name / "RGB" / "000001.png")
        colours = np.full((*SIZE, 3), (192, 192, 128), np.uint8)
        colours[0] = (7, 7, 7)
        write(root / name / "GT" / "000001.png", colours[:, :, ::-1])
    assert "8 pixels have colours of no class, the first is R, G, B = (7, 7, 7)" in run("kitti", root, code=1).stderr
    run("kitti", root, "--ignore-unknown")
    classes = (tmp_path / "made" / "classes.txt").read_text().split()
    _, (found,) = made(root, "val")
    assert (found[0] == 255).all()
    assert classes[found[1, 0]] == "pole"
    assert made(root, "train")[0] == [root / "Training_00" / "RGB" / "000001.png"]


IDS = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13, 27: 14}
IDS |= {28: 15, 31: 16, 32: 17, 33: 18}


def test_kitti_of_2018(tmp_path):
    root = tmp_path / "data_semantics"
    picture(root / "training" / "image_2" / "000000_10.png")
    write(root / "training" / "semantic" / "000000_10.png", np.full(SIZE, 33))
    picture(root / "testing" / "image_2" / "000000_10.png")
    run("kitti", root)
    assert (made(root, "train")[1][0] == 18).all()
    assert not (tmp_path / "made" / "test_labels.txt").exists()


def test_cityscapes(tmp_path):
    root = tmp_path / "cityscapes"
    numbers = np.arange(48).reshape(SIZE) % 34
    numbers[5, 7] = 255
    for split, city in (("train", "aachen"), ("train", "bochum"), ("val", "munster"), ("test", "berlin")):
        name = f"{city}_000000_000019"
        picture(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
        for kind in ("gtFine", "gtCoarse"):
            labels_there = numbers if kind == "gtFine" else np.full(SIZE, 7)
            write(root / kind / split / city / f"{name}_{kind}_labelIds.png", labels_there)
            write(root / kind / split / city / f"{name}_{kind}_color.png", np.zeros((*SIZE, 3)))
    run("cityscapes", root)
    pictures, found = made(root, "train")
    assert [path.name for path in pictures] == [
        f"{city}_000000_000019_leftImg8bit.png" for city in ("aachen", "bochum")
    ]
    expected = np.vectorize(lambda number: IDS.get(int(number), 255))(numbers)
    assert np.array_equal(found[1], expected)
    assert not (tmp_path / "made" / "test_labels.txt").exists()
    (tmp_path / "made").rename(tmp_path / "fine")
    run("cityscapes", root, "--coarse", "--splits", "val")
    assert (made(root, "val")[1][0] == 0).all()


@pytest.mark.parametrize("kind", ["voc", "camvid", "kitti", "cityscapes"])
def test_what_is_laid_out_otherwise(tmp_path, kind):
    (tmp_path / "set").mkdir()
    assert "the data set is not laid out as expected" in run(kind, tmp_path / "set", code=1).stderr
    assert "there is no such folder" in run(kind, tmp_path / "none", code=1).stderr


def test_options(voc):
    assert "--coarse is an option of cityscapes, not of voc" in run("voc", voc, "--coarse", code=2).stderr
    error = run("voc", voc, "--splits", "trian", code=2).stderr
    assert "it has: test, train, val" in error
    assert 'did you mean "train"?' in error
    spaced = voc.parent / "with space"
    result = call("data", "segmentation", "voc", voc, "-o", spaced, code=2)
    assert "white space ends a name" in result.stderr
    assert "--relative" in result.stderr
    call("data", "segmentation", "voc", voc, "-o", spaced, "--relative")
    assert (spaced / "val_labels.txt").read_text() == "labels/val/2008_1.png\n"


def test_label_maps_in_colours(voc):
    for number in (1, 2):
        write(voc / "VOC2012" / "SegmentationClass" / f"2007_{number}.png", np.full((*SIZE, 3), (1, 2, 3)))
    told = run("voc", voc, code=1).stderr
    assert "got a picture in colours" in told
    assert "\\n" not in told
    assert "\n  save it as an indexed or grey PNG" in told
