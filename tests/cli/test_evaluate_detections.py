"""`caffecompat evaluate detections`, on what a net of shapes wrote, and on files made by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.records import call
from tests.data.test_truth_reading import voc_xml
from tests.support import REFERENCE, shared_file

CORNERS = ("xmin", "ymin", "xmax", "ymax")
SAVE = """save_output_param {{ output_directory: "{}" output_name_prefix: "comp4_det_test_" output_format: "{}"
  label_map_file: "shapes/labelmap.prototxt" name_size_file: "shapes/test_name_size.txt" num_test_image: 48 }}"""


@pytest.fixture
def shapes_results(tmp_path):
    """Makes the files of results of the original's final weights, in a format, from so many batches of 8."""

    def make(format_, batches=6):
        run = shared_file("golden/training/ssd_shapes")
        text = (run / "test.prototxt").read_text()
        param = SAVE.format(tmp_path / format_, format_)
        net = tmp_path / f"{format_}.prototxt"
        net.write_text(text.replace("detection_output_param {", f"detection_output_param {{ {param}"))
        options = ("--iterations", batches, "--root", shared_file("data"))
        done = call("test", net, "-w", run / "final.caffemodel", *options)
        return tmp_path / format_, done

    return make


def test_what_a_net_of_shapes_wrote(shapes_results, tmp_path):
    """`caffecompat test` writes the files; their score is that of the net itself, but for pixels cut to integers."""
    folder, tested = shapes_results("VOC")
    assert sorted(path.name for path in folder.iterdir()) == [
        f"comp4_det_test_{name}.txt" for name in ("circle", "square", "triangle")
    ]
    options = ("--annotations", shared_file("data/shapes"), "--image-set", "test", "--ap-version", "Integral")
    result = call("evaluate", "detections", folder, *options, "--json", tmp_path / "x.json")
    table = [line.split() for line in result.stdout.splitlines()[:4]]
    assert table[0] == ["class", "boxes", "detections", "AP"]
    assert [row[0] for row in table[1:]] == ["circle", "square", "triangle"]
    whole = json.loads((tmp_path / "x.json").read_text())
    assert (whole["metric"], whole["images"], whole["ap_version"]) == ("voc", 48, "Integral")
    assert f"mAP = {whole['mAP']:.6g} (VOC, Integral, overlap 0.5, 48 images)" in result.stdout
    by_net = [float(value) for value in re.findall(r"class\d: (\S+)", tested.stdout)]
    by_files = [one["AP"] for one in whole["classes"]]
    # Two of the classes do not feel the cut at all.
    assert by_files[0] == pytest.approx(by_net[0], abs=1e-4)
    assert by_files[2] == pytest.approx(by_net[2], abs=1e-4)
    assert by_files[1] == pytest.approx(by_net[1], abs=0.1)


def test_the_same_in_other_formats(shapes_results, tmp_path):
    data = shared_file("data/shapes")
    annotations = ("--annotations", data, "--image-set", "test")
    labels = ("--label-map", data / "labelmap.prototxt")
    texts, _ = shapes_results("ILSVRC")
    voc, _ = shapes_results("VOC")
    same = ("--metric", "voc", *annotations)
    wanted = call("evaluate", "detections", voc, *same).stdout
    assert call("evaluate", "detections", texts, *labels, *same).stdout == wanted
    assert "(ILSVRC, MaxIntegral" in call("evaluate", "detections", texts, *labels, *annotations).stdout
    assert "label map" in call("evaluate", "detections", texts, *annotations, code=1).stderr
    pytest.importorskip("pycocotools")
    values, _ = shapes_results("COCO")
    done = call("evaluate", "detections", values, "--metric", "coco", *annotations, "--json", tmp_path / "x.json")
    assert re.search(r"^AP50 = 0\.8\d+ \(overlap 0\.50\)$", done.stdout, re.MULTILINE)
    whole = json.loads((tmp_path / "x.json").read_text())
    assert whole["summary"]["AP"] == pytest.approx(sum(one["AP"] for one in whole["classes"]) / 3)
    assert whole["summary"]["APl"] is None
    assert "APl = none" in done.stdout


@pytest.fixture(scope="module")
def detected(tmp_path_factory):
    """What `caffecompat detect` writes of the pictures of the test, by format."""
    folder = tmp_path_factory.mktemp("detected")
    data, run = shared_file("data/shapes"), shared_file("golden/training/ssd_shapes")
    names = (data / "ImageSets" / "Main" / "test.txt").read_text().split()
    # Not in the order of their names: ids are places, or numbers in names.
    pictures = [data / "JPEGImages" / f"{name}.jpg" for name in names[::-1]]
    common = ("detect", run / "test.prototxt", "-w", run / "final.caffemodel", *pictures, "--threshold", 0.01)
    for suffix in ("json", "csv", "jsonl"):
        call(*common, "--labels", data / "labelmap.prototxt", "-o", folder / f"x.{suffix}")
    return folder


def shapes_as_coco(path):
    """The annotations of the test as COCO's, with ids of their own for images and classes."""
    data = shared_file("data/shapes")
    classes = {"circle": 3, "square": 1, "triangle": 2}
    images, annotations = [], []
    for index, name in enumerate((data / "ImageSets" / "Main" / "test.txt").read_text().split()):
        images.append({"id": 50 - index, "file_name": f"{name}.jpg"})
        for one in ElementTree.parse(data / "Annotations" / f"{name}.xml").getroot().iter("object"):
            left, top, right, bottom = (float(one.find(f"bndbox/{side}").text) for side in CORNERS)
            box, difficult = [left, top, right - left, bottom - top], int(one.find("difficult").text)
            values = {"bbox": box, "area": box[2] * box[3], "iscrowd": difficult, "id": len(annotations) + 1}
            annotations.append({"image_id": 50 - index, "category_id": classes[one.find("name").text], **values})
    categories = [{"id": label, "name": name} for name, label in classes.items()]
    path.write_text(json.dumps({"images": images, "annotations": annotations, "categories": categories}))
    return path


def test_what_detect_wrote_against_voc(detected):
    """Its score is that of the net: nothing is cut to integers on this way."""
    options = ("--annotations", shared_file("data/shapes"), "--image-set", "test", "--metric", "voc")
    means = []
    for suffix in ("json", "csv", "jsonl"):
        done = call("evaluate", "detections", detected / f"x.{suffix}", *options, "--ap-version", "Integral")
        assert "warning" not in done.stderr
        means.append(float(re.search(r"^mAP = (\S+) \(VOC, Integral", done.stdout, re.MULTILINE)[1]))
    assert len(set(means)) == 1
    assert means[0] == pytest.approx(0.876, abs=0.02)


def test_what_detect_wrote_against_coco(detected, tmp_path):
    """The ids of both differ; pycocotools, to which they are translated by hand, says the same."""
    coco = pytest.importorskip("pycocotools.coco")
    cocoeval = pytest.importorskip("pycocotools.cocoeval")
    annotations = shapes_as_coco(tmp_path / "instances.json")
    summaries = []
    for suffix in ("json", "csv", "jsonl"):
        options = ("--annotations", annotations, "--json", tmp_path / "x.json")
        done = call("evaluate", "detections", detected / f"x.{suffix}", *options)
        assert "warning" not in done.stderr
        summaries.append(json.loads((tmp_path / "x.json").read_text())["summary"])
    assert summaries[0] == summaries[1] == summaries[2]

    made = json.loads((detected / "x.json").read_text())
    truth = coco.COCO(str(annotations))
    ids = {image["file_name"]: image["id"] for image in truth.imgs.values()}
    labels = {category["name"]: category["id"] for category in truth.cats.values()}
    images = {image["id"]: ids[Path(image["file_name"]).name] for image in made["images"]}
    classes = {category["id"]: labels.get(category["name"]) for category in made["categories"]}
    rows = [
        {**row, "image_id": images[row["image_id"]], "category_id": classes[row["category_id"]]}
        for row in made["annotations"]
    ]
    # The ids that `detect` gave are those of other images, which is what the translation is for.
    assert sum(old in ids.values() and old != new for old, new in images.items()) > 10
    scored = cocoeval.COCOeval(truth, truth.loadRes(rows), "bbox")
    scored.evaluate()
    scored.accumulate()
    scored.summarize()
    assert summaries[0]["AP"] == pytest.approx(scored.stats[0], abs=1e-6)
    assert summaries[0]["AP50"] == pytest.approx(scored.stats[1], abs=1e-6)
    assert summaries[0]["AP50"] > 0.8


def test_results_of_other_images_are_told(detected, tmp_path):
    made = json.loads((detected / "x.json").read_text())
    for index, image in enumerate(made["images"]):
        image["file_name"] = f"other_{index}.jpg" if index < 9 else image["file_name"]
    some = tmp_path / "some.json"
    some.write_text(json.dumps(made))
    options = ("--annotations", shared_file("data/shapes"), "--image-set", "test")
    told = call("evaluate", "detections", some, *options).stderr
    assert "9 images of the results, such as 'other_0.jpg', are not annotated: left out" in told
    assert "9 of 48 images of the annotations, such as 'test_0039', are not among those of the results" in told
    for index, image in enumerate(made["images"]):
        image["file_name"] = f"other_{index}.jpg"
    some.write_text(json.dumps(made))
    none = call("evaluate", "detections", some, *options, code=1).stderr
    assert "none of the images of the results is one of the annotations: 'other_0.jpg' is not, 'test_0000' is" in none


def test_fewer_images_than_the_files_want(shapes_results, tmp_path):
    folder, done = shapes_results("ILSVRC", batches=2)
    assert "detections of 16 images, not of 48" in done.stderr
    names = {line.split()[0] for line in (folder / "comp4_det_test_.txt").read_text().splitlines()}
    assert names == {f"test_{index:04d}" for index in range(16)}


def test_time_and_features_write_nothing(shapes_results, tmp_path):
    folder, _ = shapes_results("VOC", batches=1)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    run = shared_file("golden/training/ssd_shapes")
    common = (tmp_path / "VOC.prototxt", "-w", run / "final.caffemodel", "--root", shared_file("data"))
    ignored = "save_output_param is ignored"
    assert ignored in call("time", *common, "--phase", "TEST", "--iterations", 1).stderr
    target = ("--blob", "conv1", "-o", tmp_path / "x.jsonl")
    assert ignored in call("features", *common, "--batches", 1, *target).stderr
    assert not folder.exists()


@pytest.fixture
def voc2007(tmp_path):
    """Two images with a cat each, one of them difficult; and a dog."""
    folder = tmp_path / "VOC2007"
    (folder / "Annotations").mkdir(parents=True)
    (folder / "Annotations" / "1.xml").write_text(voc_xml(("cat", (1, 1, 10, 10), 0), ("dog", (1, 1, 5, 5), 0)))
    (folder / "Annotations" / "2.xml").write_text(voc_xml(("cat", (1, 1, 10, 10), 1)))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "x_cat.txt").write_text("1 0.9 1 1 10 10\n1 0.8 1 1 10 10\n2 0.7 1 1 10 10\n3 0.99 1 1 1 1\n")
    return folder


def test_by_hand(voc2007, tmp_path):
    """The cat is found, again, and a difficult one does not count; the dog is not found; image 3 is no one's."""
    done = call("evaluate", "detections", tmp_path / "out", "--annotations", voc2007)
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[1:3] == [["cat", "1", "3", "1.0000"], ["dog", "1", "0", "0.0000"]]
    assert done.stdout.splitlines()[3] == "mAP = 0.5 (VOC, 11point, overlap 0.5, 2 images)"
    assert "1 images of the results, such as '3', are not annotated" in done.stderr
    assert "no detections of 1 classes, such as dog" in done.stderr
    done = call("evaluate", "detections", tmp_path / "out", "--annotations", voc2007 / "Annotations", "--overlap", 1)
    assert "(VOC, 11point, overlap 1, 2 images)" in done.stdout


def test_faults(voc2007, tmp_path):
    out = tmp_path / "out"
    common = ("evaluate", "detections")
    assert "Missing option" in call(*common, out, code=2).stderr
    assert "no such file" in call(*common, out / "none.txt", "--annotations", voc2007, code=1).stderr
    assert "no such file" in call(*common, out, "--annotations", tmp_path / "none", code=1).stderr
    inside = call(*common, out, "--annotations", voc2007, "--json", out / "x_cat.txt", code=2).stderr
    assert "is an input" in inside
    (out / "x_cat.txt").write_text("1 0.9 1 1\n")
    assert "columns" in call(*common, out, "--annotations", voc2007, code=1).stderr
    recorded = REFERENCE / "detection_files" / "VOC"
    assert "called by a class" in call(*common, recorded, "--annotations", voc2007, code=1).stderr
