"""Every net of the zoo in every setting: it makes a net in both phases, and has the sizes that its paper states."""

from __future__ import annotations

import re
from collections import Counter

import pytest
import torch

import caffecompat
from caffecompat.export.recipes import list_recipes
from caffecompat.zoo import MODELS
from tests.zoo.made import built, costs, made, multiply_adds, parameters, shape

FORMED = ("repvgg-a0", "repvgg-b1g4")
# Of RepVGG's forms, which are alike in all sizes, two sizes are enough.
SETTINGS = [
    (name, dataset, variant)
    for name, model in MODELS.items()
    for dataset in model.datasets
    for variant in (model.variants if not name.startswith("repvgg-") or name in FORMED else model.variants[:1])
    or (None,)
]


@pytest.mark.parametrize(("name", "dataset", "variant"), SETTINGS)
def test_every_net_can_be_built(name, dataset, variant):
    nets = made(name, dataset=dataset, variant=variant).nets
    assert nets.keys() in ({"train_val", "deploy"}, {"train", "test", "deploy"})
    whole = nets.get("train_val")
    train = built(whole if whole is not None else nets["train"], "TRAIN")
    test = built(whole if whole is not None else nets["test"], "TEST")
    deploy = built(nets["deploy"], "TEST")
    # What one learns the others use.
    learnt = {layer.spec.name: [tuple(blob.shape) for blob in layer.blobs] for layer in train.layers if layer.blobs}
    for net in (test, deploy):
        for layer in net.layers:
            if layer.blobs and layer.spec.type != "Deconvolution":
                assert learnt.get(layer.spec.name) == [tuple(blob.shape) for blob in layer.blobs]


# Of nets that differ in depth and width alone, one is enough.
@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith(("repvgg-b", "resnet-1", "vgg-b"))])
def test_other_numbers_of_classes(name):
    for file, net in made(name, classes=7).nets.items():
        built(net, "TRAIN" if file.startswith("train") else "TEST")


@pytest.mark.parametrize(
    ("name", "millions"),
    [("vgg-a", 133), ("vgg-a-lrn", 133), ("vgg-b", 133), ("vgg-c", 134), ("vgg-d", 138), ("vgg-e", 144)],
)
def test_vgg_table_2(name, millions):
    assert round(parameters(built(made(name).nets["deploy"], "TEST")) / 1e6) == millions


# Millions of weights and of multiply-adds at the net's own size.
SIZES = {
    ("lenet", None): (0.43, 2.29),
    # By hand: 32x75, 32x800 and 64x800 at 32x32, 16x16 and 8x8 places, then 64x1024 and 10x64.
    ("cifar10-quick", None): (0.1456, 12.35),
    ("alexnet", None): (60.97, 724),
    ("googlenet", None): (7.0, 1582),
    ("vgg-d", None): (138.36, 15470),
    ("vgg-e", None): (143.67, 19632),
    # torchvision's weights; the papers' tables give 1.8, 3.6, 3.8, 7.6 and 11.3 billion.
    ("resnet-18", None): (11.69, 1814),
    ("resnet-34", None): (21.80, 3664),
    ("resnet-50", None): (25.56, 3858),
    ("resnet-101", None): (44.55, 7570),
    ("resnet-152", None): (60.19, 11283),
    # Howard et al., table 6.
    ("mobilenet-v1", "1.0"): (4.23, 569),
    ("mobilenet-v1", "0.75"): (2.59, 325),
    ("mobilenet-v1", "0.5"): (1.33, 149),
    ("mobilenet-v1", "0.25"): (0.47, 41),
    # Ma et al., tables 5 and 8.
    ("shufflenet-v2", "0.5"): (1.37, 41),
    ("shufflenet-v2", "1.0"): (2.28, 146),
    ("shufflenet-v2", "1.5"): (3.50, 299),
    ("shufflenet-v2", "2.0"): (7.39, 591),
}


@pytest.mark.parametrize(("dataset", "mean"), [("voc", "102.93,111.36,116.52"), ("cityscapes", "72.39,82.91,73.16")])
def test_dilation_context_tells_what_it_trains_on(dataset, mean):
    """The command of the page: the front end's net in its folder, and the mean of the data set."""
    (note,) = made("dilation-context", dataset=dataset).notes
    assert "features FRONTEND/deploy.prototxt" in note
    assert f" --mean {mean} " in note


@pytest.mark.parametrize(("name", "variant"), SIZES)
def test_sizes(name, variant):
    weights, work = SIZES[name, variant]
    net = built(made(name, variant=variant).nets["deploy"], "TEST")
    assert parameters(net) / 1e6 == pytest.approx(weights, rel=0.005)
    assert multiply_adds(net) / 1e6 == pytest.approx(work, rel=0.015)


@pytest.mark.parametrize(
    ("name", "variant", "priors"),
    [
        # Table 7 of the paper, and section 3.3: 8732 and 24564 boxes.
        ("ssd300", "vgg", 8732),
        ("ssd512", "vgg", 24564),
        # 38, 19, 10, 5, 3 and 1 places a side, of 4, 6, 6, 6, 4 and 4 boxes. On ZFNet a pooling with a padding rounds
        # 38 up to 20; on ResNet there are 3 boxes and 6.
        ("ssd300", "zf", 4 * 38**2 + 6 * (20**2 + 10**2 + 5**2) + 4 * (3**2 + 1)),
        # At 512 the poolings' padding makes it one place more at once: 65, 33, 17, 9, 5 and 3, and the last has 2.
        ("ssd512", "zf", 4 * 65**2 + 6 * (33**2 + 17**2 + 9**2 + 5**2) + 4 * (3**2 + 2**2)),
        ("ssd300", "resnet-101", 3 * 38**2 + 6 * (19**2 + 10**2 + 5**2 + 3**2 + 1)),
    ],
)
def test_ssd_priors(name, variant, priors):
    net = built(made(name, variant=variant, dataset="coco").nets["deploy"], "TEST")
    assert shape(net, "mbox_priorbox") == (1, 2, 4 * priors)
    assert shape(net, "mbox_conf_flatten")[1] == priors * 81


def test_ssd_prior_sizes():
    """The smallest and largest boxes of what the scripts state in no file here: COCO at 512."""
    layers = [layer for layer in made("ssd512", dataset="coco").nets["deploy"].layer if layer.type == "PriorBox"]
    sizes = [20.48, 51.2, 133.12, 215.04, 296.96, 378.88, 460.8, 542.72]
    assert [layer.prior_box_param.min_size[0] for layer in layers] == pytest.approx(sizes[:-1])
    assert [layer.prior_box_param.max_size[0] for layer in layers] == pytest.approx(sizes[1:])


def test_the_last_blob_of_classifiers():
    for name in ("vgg-a", "lenet", "googlenet"):
        assert shape(built(made(name, classes=7).nets["deploy"], "TEST"), "prob")[1] == 7


@pytest.mark.parametrize(
    ("name", "dataset", "sees"),
    [
        # Table 1: eight layers see 67x67 of their input; two fewer see half as much, and so on.
        ("dilation-context", "voc", 67),
        ("dilation-context", "camvid", 67),
        ("dilation-context", "kitti", 35),
        ("dilation-context", "cityscapes", 259),
        ("dilation-context-large", "voc", 67),
    ],
)
def test_what_context_modules_see(name, dataset, sees):
    net = built(made(name, dataset=dataset).nets["deploy"], "TEST")
    assert {cost.receptive_field for cost in costs(net) if cost.spec.name.endswith("_final")} == {(sees, sees)}
    assert shape(net, "prob") == shape(net, "data")


@pytest.mark.parametrize(
    ("joint", "modules"),
    [
        ("dilation-joint", [("dilation-frontend", "basic"), ("dilation-context", None)]),
        ("dilation-joint-large", [("dilation-frontend", "large"), ("dilation-context-large", None)]),
    ],
)
def test_modules_go_into_the_joint_net_by_their_names(joint, modules):
    """Every layer of weights of both modules, and no other, is in the net of both."""

    def weights(name, variant=None):
        net = built(made(name, variant=variant).nets["train"], "TRAIN")
        return {layer.spec.name: [blob.shape for blob in layer.blobs] for layer in net.layers if layer.blobs}

    parts = [weights(*module) for module in modules]
    assert weights(joint) == parts[0] | parts[1]


def test_recipes_that_notes_name():
    names = {recipe.name for recipe in list_recipes()}
    found = {
        name
        for model in MODELS.values()
        for note in made(model.name).notes
        for name in re.findall(r"--recipe (\w+)", note)
    }
    assert found == {"vgg_reduced", "vgg_to_frontend", "fc_to_conv", "vgg_start"}
    assert found <= names


@pytest.mark.parametrize("name", ["dilation-context", "dilation-context-large"])
def test_context_modules_hand_on_what_they_get(name):
    """Section 3: identity initialisation, but for its noise."""
    message = made(name, classes=3).nets["train"]
    for layer in message.layer:
        if layer.type == "Convolution":
            layer.convolution_param.weight_filler.std = 0
    message.layer[0].bin_label_data_param.label_slice.dim[:] = [9, 9]
    net = built(message, "TRAIN")
    net.fill()
    net.keep = {message.layer[-1].bottom[0]}
    data = torch.rand(2, 3, 9, 9)
    net(data=data, label=torch.zeros(2, 1, 9, 9))
    (out,) = net.blobs.values()
    assert torch.allclose(out, data, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "millions", "places"),
    # "134M parameters" (Long et al., table 1, for FCN-VGG16), "20.5M" (Chen et al., table 2, DeepLab-CRF-LargeFOV).
    [("fcn-8s", 134, (500, 500)), ("deeplab-largefov", 20.5, (65, 65))],
)
def test_segmentation(name, millions, places):
    deploy = made(name).nets["deploy"]
    net = built(deploy, "TEST")
    assert parameters(net) / 1e6 == pytest.approx(millions, rel=0.005)
    assert shape(net, "prob") == (1, 21, *places)
    # What enlarges does so without weights too.
    assert all(layer.convolution_param.HasField("weight_filler") for layer in deploy.layer if "upscore" in layer.name)


# Tables 4 and 5 of the paper, once fused: millions of parameters (cut, not rounded), and billions of multiply-adds.
REPVGG = {
    "a0": (8.30, 1.4),
    "a1": (12.78, 2.4),
    "a2": (25.49, 5.1),
    "b0": (14.33, 3.1),
    "b1": (51.82, 11.8),
    "b1g2": (41.36, 8.8),
    "b1g4": (36.12, 7.3),
    "b2": (80.31, 18.4),
    "b2g4": (55.77, 11.3),
    "b3": (110.96, 26.2),
    "b3g4": (75.62, 16.1),
}


@pytest.mark.parametrize("variant", REPVGG)
def test_repvgg_tables(variant):
    """What fusing leaves: the 3x3 convolutions, with a bias for each channel, and the classifier."""
    kept = [
        cost
        for cost in costs(built(made(f"repvgg-{variant}").nets["deploy"], "TEST"))
        if cost.spec.name.endswith("_3x3") or cost.spec.name == "fc"
    ]
    biases = sum(cost.shapes[0][1] for cost in kept[:-1])
    weights, work = REPVGG[variant]
    assert len(kept) == (23 if variant.startswith("a") else 29)
    assert (sum(cost.parameters for cost in kept) + biases) // 10_000 == round(100 * weights)
    assert sum(cost.multiply_adds for cost in kept) == pytest.approx(work * 1e9, abs=6e7)


def test_repvgg_a0_fused():
    """22 convolutions, and nothing beside them; 8.30 million parameters."""
    plain = caffecompat.fuse(filled(made("repvgg-a0").nets["deploy"]), verify=False)
    kinds = Counter(layer.spec.type for layer in plain.layers)
    assert kinds == {"Input": 1, "Convolution": 22, "ReLU": 22, "Pooling": 1, "InnerProduct": 1, "Softmax": 1}
    assert parameters(plain) // 10_000 == 830
    assert multiply_adds(plain) == pytest.approx(1.4e9, abs=6e7)


def filled(message):
    net = built(message, "TEST")
    net.fill()
    return net


@pytest.mark.parametrize("name", ["vgg-a", "repvgg-a0"])
def test_narrow_nets_of_small_pictures(name):
    """A quarter of the channels, pictures of 32x32; as many layers."""
    whole, narrow = (built(made(name, **asked).nets["deploy"], "TEST") for asked in ({}, {"width": 0.25, "size": 32}))
    assert shape(narrow, "data")[1:] == (3, 32, 32)
    outputs = [
        [layer.blobs[0].shape[0] for layer in net.layers if layer.spec.type in ("Convolution", "InnerProduct")]
        for net in (whole, narrow)
    ]
    assert outputs[1] == [channels // 4 for channels in outputs[0][:-1]] + [1000]


@pytest.mark.parametrize("base", ["vgg", "zf", "resnet-101"])
def test_narrow_ssd(base):
    """An eighth of the channels, but for what predicts, and the same boxes; it starts from its fillers."""
    nets = [made("ssd300", variant=base, classes=4, width=width) for width in (1.0, 0.125)]
    whole, narrow = (
        {layer.name: layer for layer in one.nets["train"].layer if layer.type == "Convolution"} for one in nets
    )
    assert whole.keys() == narrow.keys()
    for name, layer in narrow.items():
        channels = whole[name].convolution_param.num_output
        predicts = "_mbox_" in name
        assert layer.convolution_param.num_output == (channels if predicts else channels // 8)
        assert layer.convolution_param.weight_filler.type == ("xavier" if predicts else "msra")
    priors = [shape(built(one.nets["deploy"], "TEST"), "mbox_priorbox") for one in nets]
    assert priors[0] == priors[1]
    assert nets[0].weights is not None
    assert nets[1].weights is None


def test_repvgg_forms_have_the_names_of_each_other():
    """The factors that "search" learns are found by the convolutions of "plain", each of which has them."""
    search, plain = (built(made("repvgg-a0", variant=form).nets["train_val"], "TRAIN") for form in ("search", "plain"))
    names = {layer.spec.name for layer in search.layers if layer.spec.type == "Scale"}
    for layer in plain.layers:
        if layer.spec.type == "Convolution":
            assert {f"{layer.spec.name}_3x3_scale", f"{layer.spec.name}_1x1_scale"} <= names
    assert sum(name.endswith("_identity_scale") for name in names) == 22 - 5


def test_search_fuses_to_plain():
    kernels = []
    for form in ("search", "plain"):
        net = caffecompat.fuse(filled(made("repvgg-a0", variant=form, width=0.125, size=32).nets["deploy"]))
        kernels.append([tuple(layer.blobs[0].shape) for layer in net.layers if layer.blobs])
    assert kernels[0] == kernels[1]
    assert len(kernels[0]) == 23


def test_shuffling():
    """Channels of both halves in turn: 0, 58, 1, 59, ... (Ma et al., figure 3)."""
    net = filled(made("shufflenet-v2").nets["deploy"])
    net.keep = {"stage2_1_concat", "stage2_1"}
    net(data=torch.rand(1, 3, 224, 224))
    before, after = net.blobs["stage2_1_concat"], net.blobs["stage2_1"]
    assert torch.equal(after[:, 0::2], before[:, :58])
    assert torch.equal(after[:, 1::2], before[:, 58:])
