"""Dilated convolutions: the front end, the context module (basic and large), and both together.

Source: Yu and Koltun: Multi-Scale Context Aggregation by Dilated Convolutions, ICLR 2016, tables 1 and 2, section 3
(identity initialisation) and appendix A (CamVid, KITTI, Cityscapes); of Cityscapes' front end Cordts et al.: The
Cityscapes Dataset, CVPR 2016, appendix D.1; names, and the solver where these are silent, are those of the authors'
scripts and published nets.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.builders.blocks import Params, constant, rates
from caffecompat.zoo.classifying import bare
from caffecompat.zoo.model import Asked, Model, Nets
from caffecompat.zoo.segmenting import (
    MAX_CLASSES,
    enlarged,
    image_label_data,
    lists,
    loss_and_accuracy,
    square,
)

# What the front end's windows take off at each side, and how many pixels make one place.
_MARGIN, _STRIDE = 186, 8
_RATES = rates((1, 1), (2, 0))


@dataclass(frozen=True)
class _Dataset:
    """A data set's settings.

    Attributes:
        classes: of its labels.
        layers: of the context module.
        mean: of blue, green and red.
        size: height and width of the deploy net's input.
        places: height and width of the front end's result for a whole image.
        crop: height and width of the crops that train the front end; of CamVid and KITTI as of Cityscapes, for want of
            a source.
        joint_crop: likewise, for both modules together.
        batch: images of a batch.
        joint_batch: likewise.
        context_batch: likewise.
        context_rate: the learning rate of the context module.
        momentum: of all training.
        iterations: of the front end, the context module, and both.
        enlarges: whether the loss is taken of scores for each pixel.
    """

    classes: int
    layers: int
    mean: list[float]
    size: tuple[int, int]
    places: tuple[int, int]
    crop: int = 628
    joint_crop: int = 628
    batch: int = 8
    joint_batch: int = 1
    context_batch: int = 60
    context_rate: float = 0.001
    momentum: float = 0.99
    iterations: tuple[int, int, int] = (400_000, 400_000, 400_000)
    enlarges: bool = False


_DATASETS = {
    "voc": _Dataset(
        21, 8, [102.93, 111.36, 116.52], (900, 900), (66, 66), 500, 500, batch=14, joint_batch=14, momentum=0.9
    ),
    "camvid": _Dataset(
        11,
        8,
        [110.70313206, 108.77808759, 105.41212523],
        (900, 1100),
        (60, 80),
        joint_crop=852,
        momentum=0.9,
        iterations=(20_000, 400_000, 400_000),
    ),
    "kitti": _Dataset(
        11,
        7,
        [96.19429688, 95.55136972, 91.34692262],
        (852, 1640),
        (47, 154),
        joint_crop=900,
        iterations=(10_000, 400_000, 20_000),
    ),
    "cityscapes": _Dataset(
        19,
        10,
        [72.39, 82.91, 73.16],
        (1396, 1396),
        (128, 256),
        joint_crop=1396,
        context_batch=100,
        context_rate=0.0001,
        iterations=(40_000, 24_000, 60_000),
        enlarges=True,
    ),
}


def _frontend(net: NetSpec, classes: int, final: str) -> str:
    """VGG-16 without its last two poolings: what follows them is dilated instead, and nothing is padded."""
    last = "data"
    for block, count in enumerate((2, 2, 3, 3, 3), start=1):
        for index in range(1, count + 1):
            conv, relu = f"conv{block}_{index}", f"relu{block}_{index}"
            window: Params = {"num_output": min(32 * 2**block, 512), "kernel_size": 3}
            if block == 5:
                window["dilation"] = 2
            net[conv] = L.Convolution(net[last], param=_RATES, convolution_param=window)
            net[relu] = L.ReLU(net[conv], in_place=True)
            last = conv
        if block < 4:
            net[f"pool{block}"] = L.Pooling(net[last], pool=P.Pooling.MAX, kernel_size=2, stride=2)
            last = f"pool{block}"
    for index, window in ((6, {"kernel_size": 7, "dilation": 4}), (7, {"kernel_size": 1})):
        fc = f"fc{index}"
        net[fc] = L.Convolution(net[last], param=_RATES, convolution_param={"num_output": 4096, **window})
        net[f"relu{index}"] = L.ReLU(net[fc], in_place=True)
        net[f"drop{index}"] = L.Dropout(net[fc], in_place=True, dropout_ratio=0.5)
        last = fc
    filled = {"weight_filler": {"type": "gaussian", "std": 0.001}, "bias_filler": constant(0)}
    net[final] = L.Convolution(
        net[last], param=_RATES, convolution_param={"num_output": classes, "kernel_size": 1, **filled}
    )
    return final


def _context(net: NetSpec, bottom: str, classes: int, layers: int, large: bool) -> str:
    """The context module: in the beginning it hands on what it gets.

    The large one widens from layer to layer, and pads once for all of its windows.
    """
    prefix = "ct" if large else "ctx"
    dilations = (1, 1, *(2 ** (index - 1) for index in range(2, layers - 2)))
    names = ("1_1", "1_2", *(f"{index}_1" for index in range(2, layers - 2)))
    widths = (2, *(2**index for index in range(1, layers - 2))) if large else (1,) * len(names)

    def conv(name: str, bottom: str, width: int, dilation: int, kernel: int = 3, pad: int = 0) -> str:
        window: Params = {"num_output": classes * width, "kernel_size": kernel}
        if pad:
            window["pad"] = pad
        if dilation > 1:
            window["dilation"] = dilation
        filler = {"type": "identity", "num_groups": classes, "std": 0.01 / width}
        filled = {"weight_filler": filler, "bias_filler": constant(0)}
        net[name] = L.Convolution(net[bottom], param=_RATES, convolution_param={**window, **filled})
        return name

    last = bottom
    for index, (name, width, dilation) in enumerate(zip(names, widths, dilations, strict=True)):
        whole = sum(dilations) + 1 if index == 0 else 0
        last = conv(f"{prefix}_conv{name}", last, width, dilation, pad=whole if large else dilation)
        net[f"{prefix}_relu{name}"] = L.ReLU(net[last], in_place=True)
    last = conv(f"{prefix}_fc1", last, widths[-1], 1, pad=0 if large else 1)
    net[f"{prefix}_fc1_relu"] = L.ReLU(net[last], in_place=True)
    return conv(f"{prefix}_final", last, 1, 1, kernel=1)


@dataclass(frozen=True)
class _Kind:
    """Which modules a net has; `large`: with the large context module, or made for it."""

    frontend: bool = True
    context: bool = True
    large: bool = False

    def rate(self, dataset: _Dataset) -> float:
        """The learning rate to begin with."""
        if not self.frontend:
            return dataset.context_rate
        return 0.00001 if self.context else 0.0001

    def iterations(self, dataset: _Dataset) -> int:
        """How long it trains."""
        return dataset.iterations[(self.context and self.frontend) + self.context]

    def layers(self, net: NetSpec, dataset: _Dataset, classes: int) -> str:
        """The layers from "data" to the scores."""
        last = "data"
        if self.frontend:
            last = _frontend(net, classes, "fc-final" if self.large else "final")
        if self.context:
            last = _context(net, last, classes, dataset.layers, self.large)
        return last


def _enlarges(kind: _Kind, dataset: _Dataset) -> bool:
    return dataset.enlarges and kind.frontend and kind.context


def _data(kind: _Kind, dataset: _Dataset, asked: Asked, net: NetSpec, training: bool) -> None:
    if not kind.frontend:
        features, maps = lists(asked, training, "features")
        slices = {"dim": list(dataset.places), "stride": [_STRIDE, _STRIDE]}
        net.data, net.label = L.BinLabelData(
            ntop=2,
            bin_label_data_param={
                "bin_list_path": features,
                "label_list_path": maps,
                "shuffle": True,
                "batch_size": dataset.context_batch if training else 10,
                "label_slice": slices,
            },
        )
        return
    crop = dataset.joint_crop if kind.context else dataset.crop
    stride = 1 if _enlarges(kind, dataset) else _STRIDE
    batch = dataset.joint_batch if kind.context else dataset.batch
    image_label_data(
        net,
        asked,
        training,
        batch=batch if training else min(batch, 2),
        crop=crop,
        mean=dataset.mean,
        labels=square((crop - 2 * _MARGIN) // stride, stride, _MARGIN),
        shuffled_tests=True,
        padding=P.ImageLabelData.REFLECT,
    )


def _net(kind: _Kind, dataset: _Dataset, asked: Asked, training: bool) -> caffe_pb2.NetParameter:
    net = NetSpec()
    _data(kind, dataset, asked, net, training)
    last = kind.layers(net, dataset, asked.classes)
    if _enlarges(kind, dataset):
        last = enlarged(net, last, "upsample", asked.classes, _STRIDE, _STRIDE // 2)
    loss_and_accuracy(net, last, training)
    return net.to_proto()


def _deploy(kind: _Kind, dataset: _Dataset, classes: int) -> caffe_pb2.NetParameter:
    net = NetSpec()
    channels, size = (3, dataset.size) if kind.frontend else (classes, dataset.places)
    net.data = L.Input(name="input", shape={"dim": [1, channels, *size]})
    last = kind.layers(net, dataset, classes)
    if _enlarges(kind, dataset):
        last = enlarged(net, last, "ctx_upsample", classes, _STRIDE, _STRIDE // 2)
    net.prob = L.Softmax(net[last])
    return bare(net.to_proto(), rates=True)


def _named(kind: _Kind, dataset: str) -> tuple[str, str | None, str]:
    """The name of a net, what it starts from, and what is to be said of that."""
    size = "_large" if kind.large else ""
    frontend, context = f"dilation_frontend{size}_{dataset}", f"dilation_context{size}_{dataset}"
    if not kind.context:
        return (
            frontend,
            "vgg_conv.caffemodel",
            "`caffecompat convert --recipe vgg_to_frontend` makes these weights of VGG-16's",
        )
    if not kind.frontend:
        height, width = _DATASETS[dataset].places
        mean = ",".join(map(str, _DATASETS[dataset].mean))
        return (
            context,
            None,
            f"it trains on files of {height}x{width} places: `caffecompat features FRONTEND/deploy.prototxt "
            f"-w {frontend}.caffemodel IMAGES.txt --mean {mean} "
            f"--blob {'fc-final' if kind.large else 'final'} --format bin -o DIR "
            f"--input-shape 1,3,{height * _STRIDE + 2 * _MARGIN},{width * _STRIDE + 2 * _MARGIN}` "
            "writes them; FRONTEND is the folder of the front end's nets",
        )
    trained = f"{frontend}.caffemodel", f"{context}.caffemodel"
    return (
        f"dilation_joint{size}_{dataset}",
        ",".join(trained),
        f"{trained[0]} and {trained[1]} stand for the trained modules"
        + (", of dilation-frontend --variant large and dilation-context-large" if kind.large else ""),
    )


def _build(kind: _Kind, asked: Asked) -> Nets:
    dataset = _DATASETS[asked.dataset]
    kind = replace(kind, large=kind.large or asked.variant == "large")
    name, weights, note = _named(kind, asked.dataset)
    return Nets(
        {
            "train": _net(kind, dataset, asked, True),
            "test": _net(kind, dataset, asked, False),
            "deploy": _deploy(kind, dataset, asked.classes),
        },
        caffe_pb2.SolverParameter(
            test_iter=[50],
            test_interval=100,
            base_lr=kind.rate(dataset),
            display=5,
            max_iter=kind.iterations(dataset),
            lr_policy="step",
            gamma=0.1,
            momentum=dataset.momentum,
            weight_decay=0.0005,
            stepsize=100_000,
            snapshot=2000,
            solver_mode=caffe_pb2.SolverParameter.GPU,
            regularization_type="L2",
            iter_size=1,
            snapshot_format=caffe_pb2.SolverParameter.BINARYPROTO,
            type="SGD",
        ),
        name,
        weights,
        (note,),
    )


_KINDS = {
    "frontend": (_Kind(context=False), "front end", _DATASETS),
    "context": (_Kind(frontend=False), "basic context module", _DATASETS),
    "context-large": (_Kind(frontend=False, large=True), "large context module", ("voc",)),
    "joint": (_Kind(), "front end and basic context module", _DATASETS),
    "joint-large": (_Kind(large=True), "front end and large context module", ("voc",)),
}
MODELS = tuple(
    Model(
        f"dilation-{name}",
        f"Dilated convolutions: the {summary}",
        "Yu and Koltun 2016",
        partial(_build, kind),
        {dataset: _DATASETS[dataset].classes for dataset in datasets},
        max_classes=MAX_CLASSES,
        min_classes=2,
        # Made for the large context module, its last layer is called as in the published net of both.
        variants=("basic", "large") if name == "frontend" else (),
        files=("labels", "test_labels"),
    )
    for name, (kind, summary, datasets) in _KINDS.items()
)
