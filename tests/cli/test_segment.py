from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from caffecompat.cli.main import main
from caffecompat.cli.predict._segment import Segmenter, overlay
from caffecompat.cli.predict._session import Session
from caffecompat.data.png import voc_palette
from caffecompat.data.preprocessing import Preprocessing, Segmentation
from caffecompat.data.segmentation.crf import Crf
from caffecompat.errors import ShapeError
from caffecompat.formats import parse_net, write_caffemodel
from caffecompat.graph import build_graph
from caffecompat.net import Net
from tests.support import shared_file

# An output place for 2 x 2 input pixels, without the 5 pixels on each side: (input - 10) / 2.
NET = """
name: "small"
input: "data" input_shape { dim: 1 dim: 3 dim: %d dim: %d }
layer { name: "c1" type: "Convolution" bottom: "data" top: "c1"
  convolution_param { num_output: 6 kernel_size: 3 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "r1" type: "ReLU" bottom: "c1" top: "c1" }
layer { name: "p1" type: "Pooling" bottom: "c1" top: "p1" pooling_param { pool: MAX kernel_size: 2 stride: 2 } }
layer { name: "c2" type: "Convolution" bottom: "p1" top: "c2"
  convolution_param { num_output: 4 kernel_size: 3 dilation: 2 weight_filler { type: "gaussian" std: 0.4 } } }
layer { name: "prob" type: "Softmax" bottom: "c2" top: "prob" }
"""
MEAN = (100.0, 110.0, 120.0)
MARGIN, ZOOM = 5, 2


@pytest.fixture(scope="module")
def picture():
    noise = np.random.default_rng(5).integers(0, 256, (9, 13, 3), dtype=np.uint8)
    return cv2.resize(noise, (73, 47), interpolation=cv2.INTER_CUBIC)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(3)
    net = Net(build_graph(parse_net(NET % (26, 34))))
    net.fill()
    path = tmp_path_factory.mktemp("net") / "small.caffemodel"
    blobs = [[blob.detach().numpy() for blob in layer.blobs] for layer in net.layers]
    write_caffemodel(path, net.graph.message, blobs)
    return path


def session(weights, height, width, segmentation=None):
    net = Net(build_graph(parse_net(NET % (height, width))))
    net.copy_from(weights)
    record = Preprocessing(mean=MEAN, size=(height, width), segmentation=segmentation)
    return Session(net.eval(), record, torch.device("cpu"))


def scores_of_the_whole(weights, picture):
    """One pass over the picture with its mirrored margin, in a net as large as that."""
    height, width = (-(-size // ZOOM) * ZOOM for size in picture.shape[:2])
    bordered = cv2.copyMakeBorder(
        picture,
        MARGIN,
        MARGIN + height - picture.shape[0],
        MARGIN,
        MARGIN + width - picture.shape[1],
        cv2.BORDER_REFLECT_101,
    )
    values = (bordered.astype(np.float32) - np.float32(MEAN)).transpose(2, 0, 1)[None]
    made = session(weights, *bordered.shape[:2])
    return made.forward(data=values)["prob"][0]


@pytest.mark.parametrize("size", [(26, 34), (30, 22), (70, 100)])
@pytest.mark.parametrize("batch", [1, 4])
def test_tiles_equal_one_pass_over_the_whole(weights, picture, size, batch):
    """And predict.py's interpolation, written out."""
    scores = scores_of_the_whole(weights, picture)
    labels = Segmenter(session(weights, *size), "prob", None, None, batch).label(picture)
    assert labels.shape == picture.shape[:2]
    # Beyond the last output place predict.py reads past its array; there the last value holds here.
    height, width = (size - ZOOM for size in picture.shape[:2])
    for y in range(height):
        for x in range(width):
            r, c, rt, ct = y // ZOOM, x // ZOOM, y % ZOOM / ZOOM, x % ZOOM / ZOOM
            left = rt * scores[:, r + 1, c] + (1 - rt) * scores[:, r, c]
            right = rt * scores[:, r + 1, c + 1] + (1 - rt) * scores[:, r, c + 1]
            mixed = (1 - ct) * left + ct * right
            best = np.sort(mixed)
            assert labels[y, x] == mixed.argmax() or best[-1] - best[-2] < 1e-5
    assert len(np.unique(labels)) > 2


def test_zoom_and_margin_follow_from_the_net(weights):
    settings = Segmenter(session(weights, 26, 34), "prob", None, None, 1).settings
    assert (settings.zoom, settings.label_margin) == (ZOOM, MARGIN)
    recorded = session(weights, 26, 34, Segmentation(zoom=2, label_margin=4))
    with pytest.raises(ShapeError, match="means an input of 24x32; the net's is 26x34"):
        Segmenter(recorded, "prob", None, None, 1)
    assert Segmenter(recorded, "prob", None, 5, 1).settings.label_margin == 5


def test_without_a_margin_the_whole_picture_goes_through(picture):
    text = 'input: "data" input_shape { dim: 1 dim: 3 dim: 32 dim: 48 } layer { name: "p" type: "Pooling" '
    text += 'bottom: "data" top: "p" pooling_param { pool: AVE kernel_size: 4 stride: 4 } }'
    net = Net(build_graph(parse_net(text)))
    made = Session(net.eval(), Preprocessing(size=(32, 48)), torch.device("cpu"))
    segmenter = Segmenter(made, "p", None, None, 1)
    assert (segmenter.settings.zoom, segmenter.settings.label_margin) == (4, 0)
    blocks = np.zeros((64, 96, 3), np.uint8)
    blocks[:, :48, 2] = 200
    blocks[:32, 48:, 1] = 200
    labels = segmenter.label(blocks)
    assert (labels[:, :44] == 2).all()
    assert (labels[:28, 52:] == 1).all()
    assert (labels[36:, 52:] == 0).all()


def call(*arguments, code=0):
    result = CliRunner().invoke(main, ["segment", *[str(argument) for argument in arguments]])
    assert result.exit_code == code, result.stderr
    return result


@pytest.fixture
def files(tmp_path, picture, weights):
    (tmp_path / "net.prototxt").write_text(NET % (26, 34))
    (tmp_path / "in").mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / "in" / f"{name}.png"), picture)
    return tmp_path


def test_indexed_and_overlaid_pictures(files, weights, picture):
    options = ("--mean", "100,110,120", "--save-images", files / "out", "--overlay", "--opacity", 0.25)
    result = call(files / "net.prototxt", "-w", weights, files / "in", *options, "--format", "jsonl")
    names = sorted(path.name for path in (files / "out").iterdir())
    assert names == ["a.png", "a_overlay.png", "b.png", "b_overlay.png"]
    assert result.stderr.endswith(f"wrote 4 files into {files / 'out'}\n")
    labels = Segmenter(session(weights, 26, 34), "prob", None, None, 1).label(picture)
    colours = np.array(voc_palette(), np.uint8)[labels]
    assert np.array_equal(cv2.imread(str(files / "out" / "b.png"))[:, :, ::-1], colours)
    mixed = 0.75 * picture + 0.25 * colours[:, :, ::-1]
    assert abs(cv2.imread(str(files / "out" / "a_overlay.png")) - mixed).max() <= 0.5 + 1e-6
    (first, second) = map(json.loads, result.stdout.splitlines())
    assert first["classes"] == second["classes"]
    classes, counts = np.unique(labels, return_counts=True)
    assert {row["class"]: row["pixels"] for row in first["classes"]} == dict(
        zip(classes.tolist(), counts.tolist(), strict=True)
    )
    assert sum(row["share"] for row in first["classes"]) == pytest.approx(1)


def test_one_picture_to_a_file_and_all_to_arrays(files, weights, picture):
    palette = files / "small.json"
    colours = [[10, 20, 30], [40, 50, 60], [70, 80, 90], [1, 2, 3]]
    palette.write_text(json.dumps({"palette": colours, "mean": MEAN, "dilation": 2, "zoom": 2}))
    net = (files / "net.prototxt", "-w", weights)
    call(*net, files / "in" / "a.png", "--mean", palette, "--label-margin", 5, "-o", files / "a.png")
    labels = Segmenter(session(weights, 26, 34), "prob", None, None, 1).label(picture)
    assert np.array_equal(cv2.imread(str(files / "a.png"))[:, :, ::-1], np.array(colours, np.uint8)[labels])
    call(*net, files / "in", "--mean", "100,110,120", "-o", files / "all.npz")
    with np.load(files / "all.npz") as saved:
        assert len(saved.files) == 2
        assert all(np.array_equal(saved[name], labels) for name in saved.files)
    assert "holds the labels of one image" in call(*net, files / "in", "-o", files / "x.png", code=2).stderr
    assert not (files / "x.png").exists()
    assert "--save-images" in call(*net, files / "in", "--overlay", code=2).stderr
    # The authors' margin of 186 does not fit this net.
    assert "means an input of" in call(*net, files / "in", "--mean", palette, code=1).stderr


def test_overlay_takes_classes_beyond_the_palette():
    image = np.full((1, 2, 3), 100, np.uint8)
    made = overlay(image, np.array([[0, 9]], np.int32), ((255, 0, 0),), 1.0)
    assert made.tolist() == [[[0, 0, 255], [0, 0, 0]]]


@pytest.mark.slow
def test_dilation_net_at_a_small_size(tmp_path, picture):
    folder = shared_file("prototxt/dilation")
    image = tmp_path / "picture.png"
    cv2.imwrite(str(image), picture)
    result = call(
        folder / "dilation8_pascal_voc_deploy.prototxt",
        image,
        *("--random-weights", "--input-shape", "1,3,412,404", "--mean", folder / "pascal_voc.json"),
        *("--format", "jsonl"),
    )
    assert sum(row["pixels"] for row in json.loads(result.stdout)["classes"]) == 73 * 47


def test_crf(files, weights, picture):
    net = (files / "net.prototxt", "-w", weights, files / "in" / "a.png", "--mean", "100,110,120")
    call(*net, "--crf", "--crf-bilateral", "5,10,20", "--crf-iterations", 4, "-o", files / "crf.png")
    made = Segmenter(session(weights, 26, 34), "prob", None, None, 1)
    scores = made.scores(picture)
    labels = made.label(picture)
    assert np.array_equal(scores.values(0, 47).argmax(0), labels)
    assert scores.log_probabilities(3, 9) == pytest.approx(np.log(scores.values(3, 9)))
    refined = scores.refined(picture, Crf(4, (5, 10, 20)))
    assert np.array_equal(cv2.imread(str(files / "crf.png"))[:, :, ::-1], np.array(voc_palette(), np.uint8)[refined])
    # Neighbours agree more often than before.
    assert np.count_nonzero(np.diff(refined, axis=1)) < 0.8 * np.count_nonzero(np.diff(labels, axis=1))
    # Without iterations the labels are those of the scores.
    call(*net, "--crf", "--crf-iterations", 0, "-o", files / "none.npz")
    with np.load(files / "none.npz") as saved:
        assert np.array_equal(next(iter(saved.values())), labels)


def test_scores_that_are_no_probabilities(picture):
    text = 'input: "data" input_shape { dim: 1 dim: 3 dim: 8 dim: 8 } layer { name: "p" type: "Power" '
    text += 'bottom: "data" top: "p" power_param { scale: 0.1 } }'
    net = Net(build_graph(parse_net(text)))
    made = Session(net.eval(), Preprocessing(size=(8, 8)), torch.device("cpu"))
    scores = Segmenter(made, "p", None, None, 1).scores(picture)
    found = scores.log_probabilities(0, 47)
    assert np.exp(found).sum(0) == pytest.approx(np.ones((47, 73)), rel=1e-5)
    assert found - found[:1] == pytest.approx(scores.values(0, 47) - scores.values(0, 47)[:1], abs=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--crf-iterations", 3), "--crf-iterations goes with --crf"),
        (("--crf", "--crf-bilateral", "5,10"), "is not 3 numbers such as 4,49,5"),
        (("--crf", "--crf-bilateral", "5,0,3"), "widths above 0"),
        (("--crf", "--crf-smoothness", "nan,3"), "is not 2 numbers such as 3,3"),
        (("--crf", "--crf-smoothness", "-1,3"), "a weight, then widths above 0"),
        (("--crf", "--crf-smoothness", "1e30,3"), "none beyond a million"),
        (("--crf", "--crf-bilateral", "1,1e-300,3"), "widths above 0"),
    ],
)
def test_faulty_settings_of_the_crf(files, weights, options, message):
    error = call(files / "net.prototxt", "-w", weights, files / "in", *options, code=2).stderr
    assert message in " ".join(error.replace("│", " ").split())


def test_a_crf_too_fine_for_the_picture(files, weights):
    options = ("--crf", "--crf-bilateral", "1,1e-4,1e-4")
    error = call(files / "net.prototxt", "-w", weights, files / "in", *options, code=1).stderr
    assert "too large for a Gaussian" in error


def test_a_classifier_is_wrong_usage():
    folder = shared_file("models/lenet_v1")
    command = ["segment", folder / "lenet.prototxt", "-w", folder / "lenet_iter_10000.caffemodel"]
    command.append(shared_file("photos/coffee_qr.png"))
    result = CliRunner().invoke(main, [str(argument) for argument in command])
    assert result.exit_code == 2
    assert "expected (N, classes, height, width)" in result.stderr
    assert "caffecompat classify" in result.stderr
