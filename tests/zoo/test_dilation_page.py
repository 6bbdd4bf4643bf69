"""The commands of docs/dilation.md run, in their order, with few channels, on two pictures and for one iteration."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from caffecompat import Net
from caffecompat.data.png import voc_palette, write_indexed
from caffecompat.formats import parse_net, read_net, read_solver, read_weights, write_caffemodel, write_text
from caffecompat.graph import build_graph
from caffecompat.schema import caffe_pb2
from tests.zoo.made import made
from tests.zoo.segmentation import run

PAGE = Path(__file__).resolve().parents[2] / "docs" / "dilation.md"
# 48 pixels are 6 places; with the margins on both sides the input has 420.
SIDE, PLACES, INPUT, CROP = 48, 6, 420, 380


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    lines = "".join(blocks).replace("\\\n", " ").replace(" --gpu 0", "").replace("900,900", f"{INPUT},{INPUT}")
    return [shlex.split(line) for line in lines.splitlines()]


def smaller(net: caffe_pb2.NetParameter) -> None:
    """Few channels, and inputs of the size of our pictures."""
    for layer in net.layer:
        if layer.type == "Convolution":
            layer.convolution_param.num_output = min(layer.convolution_param.num_output, 21)
        if layer.type == "ImageLabelData":
            layer.transform_param.crop_size = CROP
            layer.image_label_data_param.batch_size = 1
            layer.image_label_data_param.label_slice.dim[:] = [1, 1]
        elif layer.type == "BinLabelData":
            layer.bin_label_data_param.batch_size = 2
            layer.bin_label_data_param.label_slice.dim[:] = [PLACES] * 2
        elif layer.type == "Input":
            layer.input_param.shape[0].dim[2:] = [INPUT] * 2


def shrink(folder: Path) -> None:
    """The files of `new`, for one iteration of a smaller net."""
    for path in folder.glob("*.prototxt"):
        if path.name == "solver.prototxt":
            solver = read_solver(path).message
            solver.max_iter, solver.solver_mode, solver.test_iter[:] = (
                1,
                caffe_pb2.SolverParameter.CPU,
                [1] * len(solver.test_iter),
            )
            path.write_text(write_text(solver))
        else:
            net = read_net(path).message
            smaller(net)
            path.write_text(write_text(net))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """What the page takes as given: VOC, the description of its net, and a VGG-16, which is narrow."""
    monkeypatch.chdir(tmp_path)
    root, random = tmp_path / "VOCdevkit" / "VOC2012", np.random.default_rng(0)
    for inner in ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass"):
        (root / inner).mkdir(parents=True)
    for split, names in (("train", "ab"), ("val", "cd")):
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names))
        for name in names:
            cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), random.integers(0, 256, (SIDE, SIDE, 3), np.uint8))
            labels = random.integers(0, 21, (SIDE, SIDE))
            write_indexed(root / "SegmentationClass" / f"{name}.png", labels, voc_palette())
    described = {"palette": voc_palette()[:21], "mean": [102.93, 111.36, 116.52], "dilation": 8, "zoom": 8}
    (tmp_path / "pascal_voc.json").write_text(json.dumps(described))
    write_vgg(tmp_path)
    return tmp_path


def write_vgg(folder: Path) -> None:
    """VGG-16 with as many channels as `smaller` leaves, and drawn weights."""
    message = made("vgg-d").nets["deploy"]
    for layer in message.layer:
        param = layer.inner_product_param if layer.type == "InnerProduct" else layer.convolution_param
        if param.num_output:
            param.num_output = min(param.num_output, 21)
            param.weight_filler.type = "msra"
    (folder / "vgg16_deploy.prototxt").write_text(write_text(message))
    net = Net(build_graph(parse_net(write_text(message))))
    net.fill()
    blobs = [[blob.detach().numpy() for blob in layer.blobs] for layer in net.layers]
    write_caffemodel(folder / "vgg16.caffemodel", net.graph.message, blobs)


@pytest.mark.slow
def test_the_commands_of_the_page(folder):
    done = []
    for _, *words in commands():
        run(*words)
        done.append(words[0])
        if words[0] == "new":
            shrink(folder / words[words.index("-o") + 1])
        elif words[0] == "train":
            name = Path(words[1]).parent.name
            (snapshot,) = (folder / name).rglob("*_iter_1.caffemodel")
            shutil.copy(snapshot, folder / f"{name}.caffemodel")
    assert done == ["data", "convert", "new", "train", "features", "new", "train", "new", "train", "evaluate"]
    # One iteration changes the weights by little: the front end began with VGG-16's.
    given, trained = (
        {layer.name: layer.blobs[0].array for layer in read_weights(folder / file).layers if layer.blobs}
        for file in ("vgg16.caffemodel", "front.caffemodel")
    )
    for name in ("conv1_1", "conv5_3", "fc6", "fc7"):
        np.testing.assert_allclose(trained[name].ravel(), given[name].ravel(), atol=0.2 * given[name].std())
    values = np.fromfile(folder / "features" / "a.bin", "<i4", 5)
    assert values.tolist() == [5, 3, 21, PLACES, PLACES]
