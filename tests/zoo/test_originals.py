"""The files of the zoo beside those that their authors published, message by message."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from google.protobuf.message import Message

from caffecompat.formats import parse_net, read_net, read_solver
from caffecompat.schema import caffe_pb2
from tests.support import shared_file
from tests.zoo.made import made


def original(path):
    return read_net(shared_file(f"prototxt/{path}.prototxt")).message


def without(message: Message, *fields: str) -> Message:
    """A copy in which no message has these fields, on any level."""
    copy = type(message)()
    copy.CopyFrom(message)
    waiting = [copy]
    while waiting:
        one = waiting.pop()
        for field, value in one.ListFields():
            if field.name in fields:
                one.ClearField(field.name)
            elif field.message_type is not None:
                waiting.extend([value] if isinstance(value, Message) else value)
    return copy


def assert_same(ours, theirs, *apart: str) -> None:
    """Equal but for the fields named; layer by layer, so that a fault is told shortly."""
    ours, theirs = without(ours, *apart), without(theirs, *apart)
    assert [layer.name for layer in ours.layer] == [layer.name for layer in theirs.layer]
    for mine, wanted in zip(ours.layer, theirs.layer, strict=True):
        assert mine == wanted
    assert ours == theirs


@pytest.mark.parametrize(
    ("name", "file", "path"),
    [
        ("lenet", "deploy", "bvlc/mnist__lenet"),
        ("lenet", "train_val", "bvlc/mnist__lenet_train_test"),
        ("cifar10-full", "deploy", "bvlc/cifar10__cifar10_full"),
        ("cifar10-full", "train_val", "bvlc/cifar10__cifar10_full_train_test"),
        ("alexnet", "deploy", "bvlc/bvlc_alexnet__deploy"),
        ("alexnet", "train_val", "bvlc/bvlc_alexnet__train_val"),
        ("vgg-d", "deploy", "vgg/VGG_ILSVRC_16_layers_deploy"),
        ("vgg-e", "deploy", "vgg/VGG_ILSVRC_19_layers_deploy"),
    ],
)
def test_classifiers(name, file, path):
    assert_same(made(name).nets[file], original(path))


def test_vgg_16_training():
    """Up to the name of the net and the databases."""
    ours, theirs = made("vgg-d").nets["train_val"], original("vgg/VGG_ILSVRC_16_layers_train_val")
    ours.name = theirs.name
    assert_same(ours, theirs, "source", "backend")


def test_vgg_19_training():
    """The published file trains given weights: it has no fillers, and heads of other names; its first line is none."""
    text = shared_file("prototxt/vgg/VGG_19_layers_train_val.prototxt").read_text()
    ours, theirs = made("vgg-e").nets["train_val"], parse_net(text.partition("\n")[2]).message
    for net in (ours, theirs):
        del net.layer[-3:]
    assert_same(ours, theirs, "source", "param", "weight_filler", "bias_filler", "mean_value")


def test_googlenet():
    """The published file states a deviation, which its kind of filler does not have."""
    assert_same(made("googlenet").nets["deploy"], original("bvlc/bvlc_googlenet__deploy"), "std")


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("lenet", "bvlc/mnist__lenet_solver"),
        ("cifar10-full", "bvlc/cifar10__cifar10_full_solver"),
        ("alexnet", "bvlc/bvlc_alexnet__solver"),
    ],
)
def test_solvers(name, path):
    nets, theirs = made(name), read_solver(shared_file(f"prototxt/{path}.prototxt")).message
    assert theirs.snapshot_prefix.endswith(f"/{nets.prefix}")
    assert_fields(nets.solver, theirs)


@pytest.mark.parametrize(
    ("name", "dataset", "folder"),
    [
        ("ssd300", "voc", "SSD300_VOC0712"),
        ("ssd300", "coco", "SSD300_coco"),
        ("ssd512", "voc", "SSD512_VOC0712"),
    ],
)
def test_ssd(name, dataset, folder):
    nets = made(name, dataset=dataset)
    for file, net in nets.nets.items():
        text = shared_file(f"prototxt/ssd/{folder}/{file}.prototxt").read_text()
        assert net == text_format.Parse(text, caffe_pb2.NetParameter()), file
    solver = read_solver(shared_file(f"prototxt/ssd/{folder}/solver.prototxt")).message
    assert solver.snapshot_prefix.endswith(f"/{nets.prefix}")
    assert_fields(nets.solver, solver)


PATHS = ("image_list_path", "label_list_path", "bin_list_path", "batch_size")
# The original's labels for each pixel are cut out as those for every eighth: that net cannot be set up.
CROPS = ("crop_size", "mean_value", "label_slice")


@pytest.mark.parametrize(
    ("name", "dataset", "folder", "apart"),
    [
        ("dilation-frontend", "voc", "train_frontend", PATHS),
        ("dilation-context", "voc", "train_context", PATHS),
        ("dilation-joint", "voc", "train_joint", PATHS),
        ("dilation-joint", "cityscapes", "train_joint10_up", (*PATHS, *CROPS)),
    ],
)
def test_dilation_training(name, dataset, folder, apart):
    nets = made(name, dataset=dataset)
    assert_same(nets.nets["train"], original(f"dilation/{folder}/train_net"), *apart)
    assert_same(nets.nets["test"], original(f"dilation/{folder}/test_net"), *apart)
    solver = read_solver(shared_file(f"prototxt/dilation/{folder}/solver.prototxt")).message
    if dataset == "cityscapes":
        # The script's usual values; the paper says others.
        solver.momentum, solver.max_iter = 0.99, 60_000
    assert_fields(nets.solver, solver)


# Appendix A of the dilation paper, and D.1 of the one on Cityscapes: size of crops, batch, rate, momentum, iterations.
@pytest.mark.parametrize(
    ("name", "dataset", "crop", "batch", "rate", "momentum", "iterations"),
    [
        ("dilation-joint", "camvid", 852, 1, 1e-5, 0.9, None),
        ("dilation-frontend", "camvid", None, None, None, None, 20_000),
        ("dilation-joint", "kitti", 900, 1, 1e-5, 0.99, 20_000),
        ("dilation-frontend", "kitti", None, None, None, None, 10_000),
        ("dilation-frontend", "cityscapes", 628, 8, 1e-4, 0.99, 40_000),
        ("dilation-context", "cityscapes", 0, 100, 1e-4, 0.99, 24_000),
        ("dilation-joint", "cityscapes", 1396, 1, 1e-5, 0.99, 60_000),
    ],
)
def test_dilation_recipes_of_the_papers(name, dataset, crop, batch, rate, momentum, iterations):
    nets = made(name, dataset=dataset)
    data = nets.nets["train"].layer[0]
    taken = data.image_label_data_param.batch_size if crop != 0 else data.bin_label_data_param.batch_size
    solver = nets.solver
    found = data.transform_param.crop_size, taken, solver.base_lr, solver.momentum, solver.max_iter
    for value, wanted in zip(found, (crop, batch, rate, momentum, iterations), strict=True):
        assert wanted is None or value == pytest.approx(wanted)


# CamVid's pictures are made smaller, to 640x480; KITTI's are 1226x370, Cityscapes' 2048x1024.
@pytest.mark.parametrize(
    ("dataset", "size"), [("camvid", (480, 640)), ("kitti", (370, 1226)), ("cityscapes", (1024, 2048))]
)
def test_dilation_context_takes_whole_pictures(dataset, size):
    param = made("dilation-context", dataset=dataset).nets["train"].layer[0].bin_label_data_param
    assert list(param.label_slice.dim) == [-(-side // 8) for side in size]


@pytest.mark.parametrize(
    ("name", "dataset", "file", "apart"),
    [
        ("dilation-joint", "camvid", "dilation8_camvid", ()),
        ("dilation-joint", "kitti", "dilation7_kitti", ()),
        # Ours enlarges without weights too.
        ("dilation-joint", "cityscapes", "dilation10_cityscapes", ("weight_filler",)),
        # The rates of some layers are stated, which a deploy net has no use for.
        ("dilation-joint-large", "voc", "dilation8_pascal_voc", ("param",)),
    ],
)
def test_dilation_deploy(name, dataset, file, apart):
    theirs = original(f"dilation/{file}_deploy")
    for layer in theirs.layer:
        if list(layer.convolution_param.pad) == [0]:
            layer.convolution_param.ClearField("pad")
    assert_same(made(name, dataset=dataset).nets["deploy"], theirs, *apart)


def assert_fields(ours, theirs):
    """Equal but for the paths."""
    assert without(ours) == without(theirs, "net", "train_net", "test_net", "snapshot_prefix")
