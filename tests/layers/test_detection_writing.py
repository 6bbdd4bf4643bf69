"""What DetectionOutput writes: the original's files, when, where, and what is refused."""

from __future__ import annotations

import json
import re
import warnings

import cv2
import numpy as np
import pytest
import torch

from caffecompat import Net
from caffecompat.data.source import Reading
from caffecompat.detection.drawing import class_colour
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning
from caffecompat.formats import parse_net
from caffecompat.graph import build_graph
from tests.support import REFERENCE

RECORDED = REFERENCE / "detection_files"
RESIZE = (
    "resize_param { prob: 1 resize_mode: FIT_SMALL_SIZE height: 300 width: 300 height_scale: 300 width_scale: 300 }"
)
IMAGES = 3


@pytest.fixture(scope="module")
def record():
    with np.load(REFERENCE / "layers" / "detout_ssd.npz") as file:
        return dict(file)


def made(record, param, *, phase="TEST", transform="", **reading):
    """The recorded net with these fields, told to read unless `reading` is None."""
    text = str(record["prototxt"]).replace("detection_output_param {", f"detection_output_param {{ {param}")
    text = text.replace('type: "DetectionOutput"', f'type: "DetectionOutput" {transform}')
    told = Reading(**reading) if reading.pop("told", True) else None
    return Net(build_graph(parse_net(text), phase, root=reading.get("root")), reading=told)


def save(folder, format_="VOC", count=IMAGES, more="", **files):
    label_map = files.get("label_map", RECORDED / "labelmap.prototxt")
    name_size = files.get("name_size", RECORDED / "name_size.txt")
    prefix = files.get("prefix", "det_")
    return (
        f'save_output_param {{ output_directory: "{folder}" output_name_prefix: "{prefix}" output_format: "{format_}" '
        f'label_map_file: "{label_map}" name_size_file: "{name_size}" num_test_image: {count} {more} }}'
    )


def run(net, record, images=None):
    """One pass, of the first images if `images` says how many."""
    inputs = {key[3:]: torch.from_numpy(value.copy()) for key, value in record.items() if key.startswith("in/")}
    if images is not None:
        inputs = {key: value if value.shape[0] == 1 else value[:images] for key, value in inputs.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return net(**inputs)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("format_", ["VOC", "COCO", "ILSVRC"])
@pytest.mark.parametrize(("recorded", "more"), [("", ""), ("resize", RESIZE)])
def test_files_are_the_originals_line_by_line(record, tmp_path, format_, recorded, more):
    folder = tmp_path / "a" / "b"
    net = made(record, save(folder, format_, more=more))
    assert not folder.exists()
    run(net, record)
    wanted = contents(RECORDED / recorded / format_)
    assert contents(folder) == wanted
    assert all(wanted.values())
    # The next round writes them again, over whatever is there.
    for name in wanted:
        (folder / name).write_text("old\n")
    (folder / "of the user").write_text("kept")
    run(net, record)
    assert contents(folder) == {**wanted, "of the user": b"kept"}
    net.close()
    assert contents(folder) == {**wanted, "of the user": b"kept"}


def test_rounds_need_not_be_batches(record, tmp_path):
    """Two images to a round: the third of the batch is the first of the next, with the first name (the original)."""
    net = made(record, save(tmp_path, "ILSVRC", count=2))
    run(net, record)
    lines = (RECORDED / "ILSVRC" / "det_.txt").read_text().splitlines()
    first = [line for line in lines if line.startswith(("img_a ", "img_b "))]
    assert (tmp_path / "det_.txt").read_text().splitlines() == first
    run(net, record, images=1)
    again = (tmp_path / "det_.txt").read_text().splitlines()
    # The third image under the first one's name, then the first image under the second one's.
    assert {line.split()[0] for line in again} == {"img_a", "img_b"}
    scores = {name: [x.split()[1:3] for x in lines if x.startswith(name)] for name in ("img_a", "7 ")}
    assert [line.split()[1:3] for line in again] == scores["7 "] + scores["img_a"]
    # What is left over when the net is closed does not replace a complete round.
    run(net, record, images=1)
    net.close()
    assert (tmp_path / "det_.txt").read_text().splitlines() == again


def test_fewer_images_are_a_warning_and_a_shorter_file(record, tmp_path):
    net = made(record, save(tmp_path / "out", "VOC"))
    run(net, record, images=2)
    assert not (tmp_path / "out").exists()
    with pytest.warns(CaffeCompatWarning, match="detections of 2 images, not of 3"):
        net.close()
    net.close()
    for name, text in contents(RECORDED / "VOC").items():
        wanted = [line for line in text.splitlines(keepends=True) if not line.startswith(b"7 ")]
        assert (tmp_path / "out" / name).read_bytes() == b"".join(wanted)


def test_more_images_than_names_is_a_warning(record, tmp_path):
    with pytest.warns(CaffeCompatWarning, match="num_test_image is 4952, and name_size_file has 3 images"):
        net = made(record, save(tmp_path, "VOC", count=4952))
    run(net, record)
    assert contents(tmp_path) == contents(RECORDED / "VOC")


def test_without_num_test_image_all_names_count(record, tmp_path):
    net = made(record, save(tmp_path).replace("num_test_image: 3", ""))
    run(net, record)
    assert contents(tmp_path) == contents(RECORDED / "VOC")


def test_a_net_without_a_reader_a_train_net_and_other_processes_write_nothing(record, tmp_path):
    folder = tmp_path / "out"
    for options in ({"told": False}, {"results": False}, {"phase": "TRAIN"}):
        with pytest.warns(CaffeCompatWarning, match="save_output_param is ignored"):
            net = made(record, save(folder, count=1), **options)
        run(net, record)
        net.close()
    net = made(record, save(folder, count=1), rank=1)
    run(net, record)
    net.close()
    assert not folder.exists()


def test_paths_start_from_the_root(record, tmp_path):
    for name in ("labelmap.prototxt", "name_size.txt"):
        (tmp_path / name).write_bytes((RECORDED / name).read_bytes())
    param = save("results/VOC", label_map="labelmap.prototxt", name_size="name_size.txt")
    run(made(record, param, root=tmp_path), record)
    assert contents(tmp_path / "results" / "VOC") == contents(RECORDED / "VOC")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('output_format: "VOC"', 'output_format: "Voc"'), r"output_format 'Voc' is not known"),
        (('output_format: "VOC"', ""), "output_format '' is not known"),
        (('output_name_prefix: "det_"', 'label_map_file: ""'), "states no label_map_file"),
        (('output_name_prefix: "det_"', 'name_size_file: ""'), "states no name_size_file"),
    ],
)
def test_what_the_original_passes_over_is_a_warning(record, tmp_path, change, message):
    param = save(tmp_path / "out")
    for field in ("label_map_file", "name_size_file"):
        if field in change[1]:
            param = re.sub(f'{field}: "[^"]*"', "", param)
    with pytest.warns(CaffeCompatWarning, match=message):
        net = made(record, param.replace(*change))
    run(net, record)
    net.close()
    assert not (tmp_path / "out").exists()


LABELS = (RECORDED / "labelmap.prototxt").read_text()


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"prefix": "../det_"}, "names of files"),
        ({"prefix": "/tmp/det_"}, "names of files"),
        ({"prefix": "sub/det_"}, "folders belong in output_directory"),
        ({"label_map": LABELS.replace('"2"', '"../2"')}, r"names of files, got 'det_\.\./2\.txt'"),
        ({"label_map": LABELS.replace('"2"', '"a\\\\b"')}, "names of files"),
        ({"label_map": LABELS.replace('"2"', '"a\\000b"')}, "names of files"),
        ({"label_map": LABELS.replace('"2"', '"a\\nb"')}, "names of files"),
        ({"label_map": LABELS.replace('"2"', f'"{"x" * 300}"')}, "at most 200 letters"),
        ({"label_map": LABELS.replace('"2"', '"1"')}, r"two classes of the label map have the file 'det_1\.txt'"),
        ({"label_map": LABELS.replace("label: 2", "label: 1")}, r"label 1 is '1' already, and '2' again"),
        ({"label_map": "item { name: 7 }"}, "map"),
        ({"label_map": "item { name: 'a' colour: 7 }"}, "no field 'colour'"),
        ({"name_size": "a 10 10\nb 10\n"}, "expected a name, a height and a width, got 'b 10'"),
        ({"name_size": "a 10 10 10\n"}, "name_size"),
        ({"name_size": "a 0 10\n"}, "name_size"),
        ({"name_size": "a -1 10\n"}, "name_size"),
        ({"name_size": "a 99999999999999999999 10\n"}, "name_size"),
        ({"name_size": "\0\0\0\0"}, "name_size"),
        ({"name_size": " \n"}, "expected lines, got none"),
    ],
)
def test_hostile_names_and_files_are_refused(record, tmp_path, files, message):
    (tmp_path / "map").write_text(files.get("label_map", LABELS))
    (tmp_path / "sizes").write_text(files.get("name_size", "a 10 10\nb 10 10\nc 10 10\n"))
    param = save(
        tmp_path / "out",
        label_map=tmp_path / "map",
        name_size=tmp_path / "sizes",
        prefix=files.get("prefix", "det_"),
    )
    with pytest.raises(CaffeCompatError, match=message):
        made(record, param)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["map", "sizes"]


def test_names_of_images_are_names_and_no_paths(record, tmp_path):
    (tmp_path / "sizes").write_bytes(b"../../etc/passwd 375 500\n\xff\xfe 500 333\n{} 300 300\n")
    folder = tmp_path / "out"
    run(made(record, save(folder, "ILSVRC", name_size=tmp_path / "sizes")), record)
    lines = (folder / "det_.txt").read_bytes().splitlines()
    assert {line.split()[0] for line in lines} == {b"../../etc/passwd", b"\xff\xfe", b"{}"}
    run(made(record, save(folder, "COCO", name_size=tmp_path / "sizes")), record)
    names = {one["image_id"] for one in json.loads((folder / "det_.json").read_text())}
    assert names == {"../../etc/passwd", "\udcff\udcfe", "{}"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "sizes"]


def test_other_refusals(record, tmp_path):
    (tmp_path / "file").write_text("of the user")
    with pytest.raises(CaffeCompatError, match="expected a folder"):
        made(record, save(tmp_path / "file"))
    with pytest.raises(CaffeCompatError, match="results cannot be written"):
        made(record, save(tmp_path / "file" / "in"))
    with pytest.raises(CaffeCompatError, match="num_test_image of at least 1, got 0"):
        made(record, save(tmp_path, count=0))
    with pytest.raises(CaffeCompatError, match="a height and a width in resize_param"):
        made(record, save(tmp_path, more="resize_param { prob: 1 }"))
    with pytest.raises(CaffeCompatError, match="label_map_file"):
        made(record, save(tmp_path, label_map=tmp_path / "none"))
    with pytest.raises(CaffeCompatError, match="name_size_file"):
        made(record, save(tmp_path, name_size=tmp_path / "none"))
    (tmp_path / "map").write_text(LABELS.replace("label: 3", "label: 9"))
    net = made(record, save(tmp_path / "out", label_map=tmp_path / "map"))
    with pytest.raises(CaffeCompatError, match="class 3 was found, and the label map has no name for it"):
        run(net, record)


# --- visualize

PICTURES = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 3 dim: 3 dim: 40 dim: 60 } } }\n'
MEANS = "transform_param { scale: 0.5 mean_value: 104 mean_value: 117 mean_value: 123 %s }"


def pictured(record, param, resize="", reading=None, fourth=True):
    text = PICTURES + str(record["prototxt"]).replace("detection_output_param {", f"detection_output_param {{ {param}")
    fields = f'bottom: "data" {MEANS % resize}' if fourth else MEANS % resize
    head, tail = text.rsplit("detection_output_param {", 1)
    text = f"{head}{fields} detection_output_param {{{tail}"
    return Net(build_graph(parse_net(text), "TEST"), reading=reading)


def test_visualize_writes_a_video(record, tmp_path):
    wanted = record["out/y"][0, 0]
    resize = "resize_param { prob: 1 resize_mode: WARP height: 300 width: 400 }"
    param = f'visualize: true visualize_threshold: 0.97 save_file: "{tmp_path}/found.avi"'
    net = pictured(record, param, resize, Reading())
    pixels = torch.tensor([30.0, 60, 90]).reshape(1, 3, 1, 1).expand(3, 3, 40, 60)
    data = (pixels - torch.tensor([104.0, 117, 123]).reshape(1, 3, 1, 1)) * 0.5
    run(net, {**record, "in/data": data.numpy()})
    assert not (tmp_path / "found.avi").exists()
    net.close()
    assert [path.name for path in tmp_path.iterdir()] == ["found.avi"]
    video = cv2.VideoCapture(str(tmp_path / "found.avi"))
    frames = [video.read()[1] for _ in range(IMAGES)]
    assert not video.read()[0]
    for index, frame in enumerate(frames):
        assert frame.shape == (300, 400, 3)
        assert np.abs(np.median(frame, axis=(0, 1)) - [30, 60, 90]).max() < 6
        shown = wanted[(wanted[:, 0] == index) & (wanted[:, 2] >= 0.97)]
        corners = shown[:, 3:] * [400, 300, 400, 300]
        left, _, right, bottom = corners[-1].clip(0, 399)
        row, column = min(round(bottom), 299), round((left + right) / 2)
        border = frame[row - 2 : row + 3, column].astype(int)
        assert np.abs(border - class_colour(int(shown[-1, 1]))).max(axis=1).min() < 40


def test_visualize_without_a_file_or_pictures(record, tmp_path):
    with pytest.warns(CaffeCompatWarning, match="visualize opens no window"):
        pictured(record, "visualize: true", reading=Reading())
    with pytest.warns(CaffeCompatWarning, match="visualize is ignored"):
        pictured(record, "visualize: true")
    param = f'visualize: true save_file: "{tmp_path}/found.avi"'
    with pytest.raises(CaffeCompatError, match="a fourth bottom"):
        pictured(record, param, reading=Reading(), fourth=False)
    with pytest.raises(CaffeCompatError, match=r"suffix '\.png'"):
        pictured(record, param.replace(".avi", ".png"), reading=Reading())
    with pytest.raises(CaffeCompatError, match="scale"):
        pictured(record, param, "scale: 0", reading=Reading())
    net = pictured(record, param, reading=Reading())
    net.close()
    assert not list(tmp_path.iterdir())
