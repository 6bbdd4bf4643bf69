"""The original scripts, unmodified, in their own trees, which `caffecompat shim` prepared.

They may not be committed: the environment variable CAFFE_SOURCES names a folder with checkouts of them: of Caffe's
branch `ssd` (weiliu89/caffe), of BVLC/caffe, of fyu/dilation, by whatever names.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import caffecompat.pycaffe as caffe
from caffecompat.cli.main import main
from caffecompat.formats import read_net, read_solver
from tests.support import shared_file

pytestmark = pytest.mark.slow
# By which file each is known, and what is not copied of it.
KNOWN = {
    "ssd": "examples/ssd/ssd_pascal.py",
    "bvlc": "python/train.py",
    "dilation": "datasets/camvid.json",
}
SMALL_NET = """
name: "small" input: "data" input_shape { dim: 10 dim: 3 dim: 24 dim: 24 }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 4 kernel_size: 5 stride: 3 weight_filler { type: "xavier" } } }
layer { name: "fc" type: "InnerProduct" bottom: "conv" top: "fc"
        inner_product_param { num_output: 7 weight_filler { type: "xavier" } } }
layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }
"""


def sources(name):
    folder = os.environ.get("CAFFE_SOURCES")
    if not folder:
        pytest.skip("needs the original scripts; CAFFE_SOURCES names the folder with their checkouts")
    found = next(iter(sorted(Path(folder).glob(f"*/{KNOWN[name]}"))), None)
    if found is None:
        pytest.skip(f"needs {KNOWN[name]} of {name} in a folder below {folder}")
    return found.parents[len(Path(KNOWN[name]).parts) - 1]


def prepared(tmp_path_factory, name):
    tree = tmp_path_factory.mktemp(name) / "tree"
    shutil.copytree(sources(name), tree, ignore=shutil.ignore_patterns(".git", "src", "include", "docs", "matlab"))
    dialect = "bvlc" if name == "bvlc" else "ssd"
    done = CliRunner().invoke(main, ["shim", str(tree), "--force", "--dialect", dialect])
    assert done.exit_code == 0, done.stderr
    return tree


@pytest.fixture(scope="module")
def ssd(tmp_path_factory):
    return prepared(tmp_path_factory, "ssd")


@pytest.fixture(scope="module")
def bvlc(tmp_path_factory):
    return prepared(tmp_path_factory, "bvlc")


@pytest.fixture(scope="module")
def dilation(tmp_path_factory):
    return prepared(tmp_path_factory, "dilation")


def call(tree, *arguments, code=0, **variables):
    """What a program prints; `python` is the tree's."""
    path = f"{tree / 'build' / 'tools'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [*map(str, arguments)],
        cwd=tree,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == code, done.stdout
    return done.stdout


def needs(*modules):
    for module in modules:
        if find_spec(module) is None:
            pytest.skip(f"the script needs {module}, which is not here")


@pytest.fixture(scope="module")
def databases(ssd):
    """VOC's databases of shapes, made by data/VOC0712/create_list.sh and create_data.sh."""
    home = ssd.parent / "home"
    shapes = shared_file("data/shapes")
    for year in ("VOC2007", "VOC2012"):
        shutil.copytree(shapes, home / "data" / "VOCdevkit" / year)
    label_map = (shapes / "labelmap.prototxt").read_text()
    more = "".join(f'item {{ name: "n{label}" label: {label} display_name: "n{label}" }}\n' for label in range(4, 21))
    (ssd / "data" / "VOC0712" / "labelmap_voc.prototxt").write_text(label_map + more)
    call(ssd, "bash", "data/VOC0712/create_list.sh", HOME=str(home))
    said = call(ssd, "bash", "data/VOC0712/create_data.sh", HOME=str(home))
    assert "48 records, 101 boxes" in said
    assert "320 records" in said
    return home


@pytest.fixture(scope="module")
def started(ssd, databases):
    """What ssd_pascal.py says; its training ends where it looks for weights to begin with, which are not there."""
    return call(ssd, "python", "examples/ssd/ssd_pascal.py", HOME=str(databases))


def test_ssd_pascal(ssd, databases, started):
    assert "VGG_ILSVRC_16_layers_fc_reduced.caffemodel: there is no such file" in started
    home = f"{databases}/"
    for name in ("train", "test", "deploy"):
        written = str(read_net(ssd / "models/VGGNet/VOC0712/SSD_300x300" / f"{name}.prototxt").message)
        expected = shared_file(f"prototxt/ssd/SSD300_VOC0712/{name}.prototxt")
        assert written.replace(home, "") == str(read_net(expected).message)
    written = read_solver(ssd / "models/VGGNet/VOC0712/SSD_300x300/solver.prototxt").message
    assert written == read_solver(shared_file("prototxt/ssd/SSD300_VOC0712/solver.prototxt")).message


@pytest.mark.usefixtures("started")
def test_ssd_detect(ssd, databases):
    """With the fillers' weights."""
    deploy = ssd / "models/VGGNet/VOC0712/SSD_300x300/deploy.prototxt"
    weights = deploy.with_name("VGG_VOC0712_SSD_300x300_iter_120000.caffemodel")
    (ssd / "make.py").write_text("import caffe, sys\ncaffe.Net(sys.argv[1], caffe.TEST).save(sys.argv[2])\n")
    call(ssd, "python", "make.py", deploy, weights)
    said = call(ssd, "python", "examples/ssd/ssd_detect.py", HOME=str(databases))
    assert "481 323" in said
    with Image.open(ssd / "detect_result.jpg") as image:
        assert image.size == (481, 323)


@pytest.fixture(scope="module")
def small_net(bvlc):
    (bvlc / "small.prototxt").write_text(SMALL_NET)
    caffe.Net(str(bvlc / "small.prototxt"), caffe.TEST).save(str(bvlc / "small.caffemodel"))
    return "--model_def", "small.prototxt", "--pretrained_model", "small.caffemodel", "--mean_file", ""


def test_classify(bvlc, small_net):
    options = (*small_net, "--images_dim", "32,32")
    said = call(bvlc, "python", "python/classify.py", *options, "examples/images/cat.jpg", "found.npy")
    assert "Classifying 1 inputs." in said
    found = np.load(bvlc / "found.npy")
    assert found.shape == (1, 7)
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)


def test_detect(bvlc, small_net):
    needs("pandas", "tables")
    rows = "filename,xmin,ymin,xmax,ymax\nexamples/images/cat.jpg,10,20,200,220\nexamples/images/cat.jpg,5,5,50,80\n"
    (bvlc / "windows.csv").write_text(rows)
    options = (*small_net, "--crop_mode", "list", "--context_pad", "4")
    said = call(bvlc, "python", "python/detect.py", *options, "windows.csv", "found.h5")
    assert "Processed 2 windows" in said
    assert (bvlc / "found.h5").is_file()


def test_draw_net(bvlc):
    needs("pydot")
    call(bvlc, "python", "python/draw_net.py", "examples/mnist/lenet_train_test.prototxt", "net.dot")
    assert 'digraph "LeNet"' in (bvlc / "net.dot").read_text()


def test_logs(bvlc):
    digits = shared_file("data/digits")
    examples = bvlc / "examples" / "mnist"
    shutil.copytree(digits / "train_lmdb", examples / "mnist_train_lmdb")
    shutil.copytree(digits / "test_lmdb", examples / "mnist_test_lmdb")
    # The digits are 8x8.
    net = examples / "lenet_train_test.prototxt"
    net.write_text(net.read_text().replace("kernel_size: 5", "kernel_size: 3").replace("stride: 2", "stride: 1"))
    solver = examples / "lenet_solver.prototxt"
    settings = re.sub("display: .*", "display: 5", solver.read_text())
    solver.write_text(re.sub("test_interval: .*", "test_interval: 20", settings))
    options = ("-max_iter", "20", "-test_iter", "2")
    (bvlc / "lenet.log").write_text(call(bvlc, "sh", "examples/mnist/train_lenet.sh", *options))
    call(bvlc, "python", "tools/extra/parse_log.py", "lenet.log", ".")
    assert (bvlc / "lenet.log.train").read_text().startswith("NumIters,Seconds,LearningRate,loss\n0.0,")
    header, first, last = (bvlc / "lenet.log.test").read_text().splitlines()
    assert header == "NumIters,Seconds,LearningRate,accuracy,loss"
    assert (first[:4], last[:5]) == ("0.0,", "20.0,")
    call(bvlc, "bash", "tools/extra/parse_log.sh", "lenet.log")
    assert (bvlc / "lenet.log.test").read_text().startswith("#Iters Seconds TestAccuracy TestLoss\n0 ")
    needs("matplotlib")
    shutil.copy(bvlc / "tools/extra/plot_training_log.py.example", bvlc / "tools/extra/plot.py")
    call(bvlc, "python", "tools/extra/plot.py", "6", "plot.png", "lenet.log")
    assert (bvlc / "plot.png").read_bytes()[1:4] == b"PNG"
    train = (bvlc, "python", "python/train.py", "--timing", "--solver")
    solver.write_text(re.sub("max_iter: .*", "max_iter: 2", solver.read_text()))
    assert "solver total: " in call(*train, "examples/mnist/lenet_solver.prototxt")
    assert "expected one solver, got 2" in call(*train, "examples/mnist/lenet_solver.prototxt", "--gpus", "0", "1")


def test_a_python_layer(bvlc):
    (bvlc / "linreg.solver").write_text(
        'net: "examples/pycaffe/linreg.prototxt" base_lr: 0.001 lr_policy: "fixed" max_iter: 3 display: 1 '
        'snapshot_prefix: "linreg"'
    )
    options = ("-solver", "linreg.solver", "-allow_python")
    said = call(bvlc, "build/tools/caffe", "train", *options, PYTHONPATH=str(bvlc / "examples/pycaffe/layers"))
    assert "Iteration 2, loss = " in said


def test_train_of_dilation(dilation):
    random = np.random.default_rng(0)
    for number in range(2):
        with (dilation / f"f{number}.bin").open("wb") as file:
            file.write(np.int32([5, 3, 3, 20, 22]).tobytes() + random.random((3, 20, 22), np.float32).tobytes())
        Image.fromarray(random.integers(0, 3, (160, 176), np.uint8)).save(dilation / f"l{number}.png")
    (dilation / "bins.txt").write_text("f0.bin\nf1.bin\n")
    (dilation / "labels.txt").write_text("l0.png\nl1.png\n")
    # It asks for 400,000 iterations.
    (dilation / "caffe.sh").write_text('#!/bin/sh\nexec build/tools/caffe "$@" -max_iter 6\n')
    (dilation / "caffe.sh").chmod(0o755)
    lists = [f"--{subset}_{kind}" for subset in ("train", "test") for kind in ("image=bins.txt", "label=labels.txt")]
    lists += ["--train_batch=1", "--test_batch=1"]
    said = call(
        dilation, "python", "train.py", "context", "--caffe=./caffe.sh", *lists, "--classes=3", "--label_shape", 20, 22
    )
    assert "Iteration 5, loss = " in said
    assert (dilation / "training" / "snapshots" / "context_iter_6.caffemodel").is_file()
