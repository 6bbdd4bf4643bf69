"""`caffecompat evaluate detections`, on what a net of shapes wrote, and on files made by hand."""

from __future__ import annotations

import json
import re

import pytest

from tests.cli.records import call
from tests.data.test_truth_reading import voc_xml
from tests.support import REFERENCE, shared_file

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
