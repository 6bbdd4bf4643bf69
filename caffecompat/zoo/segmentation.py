"""FCN-8s and DeepLab-LargeFOV, which the paper on dilated convolutions compares with.

Source: Long, Shelhamer and Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015, trained at once
as their voc-fcn8s-atonce; Chen et al.: Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected
CRFs, ICLR 2015, whose experiments state batch, rates and steps, and nothing of when training ends. Both are VGG-16 with
names and weights of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.builders.blocks import Params, constant, rates
from caffecompat.zoo.classifying import bare
from caffecompat.zoo.model import Asked, Model, Nets
from caffecompat.zoo.segmenting import IGNORED, MAX_CLASSES, enlarged, image_label_data, loss_and_accuracy, square

_BLOCKS = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
_RATES = rates((1, 1), (2, 0))
# As each of the two was published with.
_FCN_MEAN = [104.00699, 116.66877, 122.67892]
_DEEPLAB_MEAN = [104.008, 116.669, 122.675]


def _vgg(net: NetSpec, pools: list[Params], windows: dict[str, Params]) -> str:
    """The convolutions of VGG-16.

    Args:
        net: the net, which gets the layers.
        pools: the windows of the five poolings.
        windows: those of convolutions that differ from 3x3 with a padding of 1.
    """
    last = "data"
    for block, (count, channels) in enumerate(_BLOCKS, start=1):
        for index in range(1, count + 1):
            conv = f"conv{block}_{index}"
            window = {"kernel_size": 3, "pad": 1, **windows.get(conv, {})}
            net[conv] = L.Convolution(net[last], num_output=channels, param=_RATES, **window)
            net[f"relu{block}_{index}"] = L.ReLU(net[conv], in_place=True)
            last = conv
        net[f"pool{block}"] = L.Pooling(net[last], pool=P.Pooling.MAX, **pools[block - 1])
        last = f"pool{block}"
    return last


def _dropped(net: NetSpec, bottom: str, index: int, channels: int, window: Params) -> str:
    """fc6 or fc7 as a convolution, with ReLU and Dropout."""
    fc = f"fc{index}"
    net[fc] = L.Convolution(net[bottom], num_output=channels, param=_RATES, **window)
    net[f"relu{index}"] = L.ReLU(net[fc], in_place=True)
    net[f"drop{index}"] = L.Dropout(net[fc], dropout_ratio=0.5, in_place=True)
    return fc


def _fcn_8s(net: NetSpec, classes: int) -> str:
    """Scores of fc7, pool4 and pool3, each enlarged to the next and cropped to it; the last to the image."""
    _vgg(net, [{"kernel_size": 2, "stride": 2}] * 5, {"conv1_1": {"pad": 100}})
    _dropped(net, "pool5", 6, 4096, {"kernel_size": 7})
    _dropped(net, "fc6", 7, 4096, {"kernel_size": 1})

    def scored(bottom: str, name: str) -> str:
        # No filler: scores begin with 0.
        net[name] = L.Convolution(net[bottom], num_output=classes, kernel_size=1, param=_RATES)
        return name

    last = enlarged(net, scored("fc7", "score_fr"), "upscore2", classes, 2, 0)
    for block, factor, scale, offset in ((4, 2, 0.01, 5), (3, 8, 0.0001, 9)):
        pool = f"pool{block}"
        net[f"scale_{pool}"] = L.Scale(net[pool], param=[{"lr_mult": 0}], filler=constant(scale))
        score = scored(f"scale_{pool}", f"score_{pool}")
        net[f"{score}c"] = L.Crop(net[score], net[last], axis=2, offset=[offset])
        net[f"fuse_{pool}"] = L.Eltwise(net[last], net[f"{score}c"], operation=P.Eltwise.SUM)
        last = enlarged(net, f"fuse_{pool}", "upscore_pool4" if factor == 2 else "upscore8", classes, factor, 0)
    net.score = L.Crop(net[last], net.data, axis=2, offset=[31])
    return "score"


def _large_fov(net: NetSpec, classes: int) -> str:
    """The last two poolings keep the size, and the convolutions behind them are dilated."""
    halving, keeping = ({"kernel_size": 3, "stride": stride, "pad": 1} for stride in (2, 1))
    dilated = {f"conv5_{index}": {"pad": 2, "dilation": 2} for index in (1, 2, 3)}
    last = _vgg(net, [halving, halving, halving, keeping, keeping], dilated)
    net.pool5a = L.Pooling(net[last], pool=P.Pooling.AVE, **keeping)
    _dropped(net, "pool5a", 6, 1024, {"kernel_size": 3, "pad": 12, "dilation": 12})
    _dropped(net, "fc6", 7, 1024, {"kernel_size": 1})
    net.fc8_voc12 = L.Convolution(
        net.fc7,
        num_output=classes,
        kernel_size=1,
        param=rates((10, 1), (20, 0)),
        weight_filler={"type": "gaussian", "std": 0.01},
        bias_filler=constant(0),
    )
    return "fc8_voc12"


def _deploy(body: Callable[[NetSpec, int], str], size: int, classes: int) -> caffe_pb2.NetParameter:
    net = NetSpec()
    net.data = L.Input(name="input", shape={"dim": [1, 3, size, size]})
    net.prob = L.Softmax(net[body(net, classes)])
    return bare(net.to_proto(), rates=True)


def _build_fcn_8s(asked: Asked) -> Nets:
    def net_of(training: bool) -> caffe_pb2.NetParameter:
        net = NetSpec()
        # Whole images: none of VOC's is larger; what is added has labels that do not count.
        labels = square(500, 1)
        image_label_data(net, asked, training, mirror=False, batch=1, crop=500, mean=_FCN_MEAN, labels=labels)
        scores = _fcn_8s(net, asked.classes)
        net.loss = L.SoftmaxWithLoss(net[scores], net.label, loss_param={"ignore_label": IGNORED, "normalize": False})
        if not training:
            net.accuracy = L.Accuracy(net[scores], net.label, accuracy_param={"ignore_label": IGNORED})
        return net.to_proto()

    return Nets(
        {"train": net_of(True), "test": net_of(False), "deploy": _deploy(_fcn_8s, 500, asked.classes)},
        caffe_pb2.SolverParameter(
            test_iter=[736],
            test_interval=4000,
            test_initialization=False,
            display=20,
            average_loss=20,
            lr_policy="fixed",
            base_lr=1e-10,
            momentum=0.99,
            iter_size=1,
            max_iter=300_000,
            weight_decay=0.0005,
            snapshot=4000,
            solver_mode=caffe_pb2.SolverParameter.GPU,
        ),
        "fcn_8s",
        "vgg16_conv.caffemodel",
        ("`caffecompat convert --recipe fc_to_conv` makes vgg16_conv.caffemodel of VGG-16's weights",),
    )


def _build_large_fov(asked: Asked) -> Nets:
    def net_of(training: bool) -> caffe_pb2.NetParameter:
        net = NetSpec()
        # 321 pixels make 41 places.
        batch = 20 if training else 1
        image_label_data(net, asked, training, batch=batch, crop=321, mean=_DEEPLAB_MEAN, labels=square(41, 8))
        loss_and_accuracy(net, _large_fov(net, asked.classes), training)
        return net.to_proto()

    return Nets(
        {"train": net_of(True), "test": net_of(False), "deploy": _deploy(_large_fov, 513, asked.classes)},
        caffe_pb2.SolverParameter(
            test_iter=[1449],
            test_interval=2000,
            base_lr=0.001,
            lr_policy="step",
            gamma=0.1,
            stepsize=2000,
            display=10,
            max_iter=6000,
            momentum=0.9,
            weight_decay=0.0005,
            snapshot=2000,
            solver_mode=caffe_pb2.SolverParameter.GPU,
        ),
        "deeplab_largefov",
        "VGG_ILSVRC_16_layers_fc_reduced.caffemodel",
        (
            "`caffecompat convert --recipe vgg_reduced` makes these weights of VGG-16's",
            "the deploy net gives a place for 8x8 pixels: `caffecompat segment --zoom 8` enlarges it",
        ),
    )


_model = partial(Model, datasets={"voc": 21}, max_classes=MAX_CLASSES, min_classes=2, files=("labels", "test_labels"))
MODELS = (
    _model("fcn-8s", "FCN-8s, which labels each pixel", "Long et al. 2015", _build_fcn_8s),
    _model("deeplab-largefov", "DeepLab-LargeFOV, without its CRF", "Chen et al. 2015", _build_large_fov),
)
