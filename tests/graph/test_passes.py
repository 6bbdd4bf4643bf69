"""Passes: training nets made ready for use, and Caffe's Split layers."""

from __future__ import annotations

import pytest

from caffecompat.errors import GraphError, ShapeError, UsageError
from caffecompat.formats import parse_net, read_net
from caffecompat.graph import Graph, build_graph
from caffecompat.graph.passes import data_to_inputs, drop_train_only, insert_splits
from tests.support import shared_file

DATA = 'layer { name: "d" type: "Data" top: "data" top: "label" include { phase: TEST } }\n'
IP = 'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 3 } }\n'


def build(text: str, phase: str = "TEST") -> Graph:
    return build_graph(parse_net(text, "n.prototxt"), phase)


def published(name: str, phase: str) -> Graph:
    return build_graph(read_net(shared_file(f"prototxt/{name}")), phase)


def layers(graph: Graph) -> list[str]:
    return [f"{spec.name}/{spec.type}" for spec in graph.layers]


def outputs(graph: Graph) -> list[str]:
    return [key.name for key in graph.outputs]


# --- data_to_inputs


def test_data_layer_becomes_an_input():
    graph = data_to_inputs(build(DATA + IP), {"data": (2, 3, 4, 5)})
    assert layers(graph) == ["d/Input", "ip/InnerProduct"]
    message = graph.layers[0].message
    assert list(message.top) == ["data"]
    assert [list(shape.dim) for shape in message.input_param.shape] == [[2, 3, 4, 5]]
    assert not message.include
    assert [key.name for key in graph.inputs] == ["data"]
    assert outputs(graph) == ["ip"]
    assert graph.message.layer[0] == message
    assert str(graph.layers[0].position) == "n.prototxt:1:1"


def test_label_that_is_read_stays():
    graph = build(DATA + IP + 'layer { name: "l" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "l" }')
    new = data_to_inputs(graph, {"data": (2, 3), "label": (2,)})
    assert [list(shape.dim) for shape in new.layers[0].message.input_param.shape] == [[2, 3], [2]]
    with pytest.raises(ShapeError, match=r"n.prototxt:1:1: layer \"d\": the shape of input 'label' is not known"):
        data_to_inputs(graph, {"data": (2, 3)})


def test_data_layer_that_nobody_reads_disappears():
    graph = build('layer { name: "e" type: "HDF5Data" top: "e" }' + DATA + IP)
    assert layers(data_to_inputs(graph, {"data": (1, 2)})) == ["d/Input", "ip/InnerProduct"]


def test_inputs_take_given_shapes_and_keep_others():
    text = 'layer { name: "i" type: "Input" top: "data" top: "b" input_param { shape { dim: 1 } shape { dim: 2 } } }'
    graph = build(text + IP)
    assert data_to_inputs(graph, {}).layers[0].message == graph.layers[0].message
    new = data_to_inputs(graph, {"data": (7, 8)})
    assert [list(shape.dim) for shape in new.layers[0].message.input_param.shape] == [[7, 8], [2]]
    assert outputs(new) == outputs(graph) == ["b", "ip"]


def test_dummy_data_stays_unless_it_is_named():
    text = 'layer { name: "z" type: "DummyData" top: "data" dummy_data_param { shape { dim: [1, 2] } } }'
    assert layers(data_to_inputs(build(text + IP), {}))[0] == "z/DummyData"
    assert layers(data_to_inputs(build(text + IP), {"data": (3, 4)}))[0] == "z/Input"


@pytest.mark.parametrize("shape", [(-1, 3), (2**31, 1), (2**63,)])
def test_shapes_that_no_blob_can_have(shape):
    with pytest.raises(ShapeError, match="'data' cannot have shape"):
        data_to_inputs(build(DATA + IP), {"data": shape})


def test_shape_of_no_input():
    with pytest.raises(UsageError, match="no input 'dat'") as caught:
        data_to_inputs(build(DATA + IP), {"dat": (1, 2)})
    assert caught.value.hint == 'did you mean "data"?'


# --- drop_train_only

ACCURACY = 'layer { name: "acc" type: "Accuracy" bottom: "ip" bottom: "label" top: "acc" }\n'


def loss(type_: str = "SoftmaxWithLoss", tops: str = 'top: "loss"', name: str = "loss", more: str = "") -> str:
    return f'layer {{ name: "{name}" type: "{type_}" bottom: "ip" bottom: "label" {tops} {more} }}\n'


def test_nothing_to_drop():
    graph = build(DATA + IP)
    assert drop_train_only(graph) == (graph, [])


@pytest.mark.parametrize(("type_", "remains"), [("SoftmaxWithLoss", "Softmax"), ("SigmoidCrossEntropyLoss", "Sigmoid")])
def test_what_remains_of_a_loss(type_, remains):
    graph, notes = drop_train_only(build(DATA + IP + ACCURACY + loss(type_)))
    assert layers(graph) == ["d/Data", "ip/InnerProduct", f"prob/{remains}"]
    assert outputs(graph) == ["label", "prob"]
    assert notes == [
        'Accuracy "acc" dropped out',
        f'{type_} "loss" became {remains}: output "prob", made from "ip"',
    ]
    assert outputs(data_to_inputs(graph, {"data": (1, 2)})) == ["prob"]


def test_parameters_of_the_softmax_stay():
    graph, _ = drop_train_only(build(DATA + IP + loss(more="softmax_param { axis: 0 } loss_param { ignore_label: 1 }")))
    assert graph.layers[-1].message.softmax_param.axis == 0
    assert not graph.layers[-1].message.HasField("loss_param")


def test_second_top_of_a_softmax_loss_keeps_its_name():
    tail = 'layer { name: "a" type: "ArgMax" bottom: "p" top: "a" }'
    graph, _ = drop_train_only(build(DATA + IP + loss(tops='top: "loss" top: "p"') + tail))
    assert layers(graph) == ["d/Data", "ip/InnerProduct", "p/Softmax", "a/ArgMax"]


def test_a_softmax_that_is_there_already():
    text = DATA + IP + 'layer { name: "s" type: "Softmax" bottom: "ip" top: "s" }' + loss()
    graph, notes = drop_train_only(build(text))
    assert layers(graph) == ["d/Data", "ip/InnerProduct", "s/Softmax"]
    assert notes == ['SoftmaxWithLoss "loss" dropped out']


def test_the_main_loss_makes_prob():
    second = IP.replace('"ip"', '"aux"').replace("num_output: 3", "num_output: 4")
    aux = loss(name="aux_loss", tops='top: "l1"', more="loss_weight: 0.3").replace('"ip"', '"aux"')
    graph, _ = drop_train_only(build(DATA + IP + second + loss() + aux))
    assert outputs(graph) == ["aux_loss_prob", "label", "prob"]
    assert graph.layers[-2].bottoms[0].name == "ip"


def test_a_blob_that_is_called_prob():
    text = DATA + IP + 'layer { name: "x" type: "Power" bottom: "data" top: "prob" }' + loss()
    assert outputs(drop_train_only(build(text))[0]) == ["label", "loss_prob", "prob"]


@pytest.mark.parametrize("bottoms", [("ip", "label"), ("label", "ip")])
@pytest.mark.parametrize("type_", ["EuclideanLoss", "SmoothL1Loss"])
def test_the_target_of_a_regression_may_be_either_bottom(type_, bottoms):
    text = f'layer {{ name: "l" type: "{type_}" bottom: "{bottoms[0]}" bottom: "{bottoms[1]}" top: "l" }}'
    graph, notes = drop_train_only(build(DATA + IP + text))
    assert layers(graph) == ["d/Data", "ip/InnerProduct"]
    assert notes == [f'{type_} "l" dropped out; what it read is output now: "ip"']


def test_what_only_losses_need_goes_too():
    text = (
        DATA
        + 'layer { name: "flat" type: "Flatten" bottom: "label" top: "flat" }'
        + 'layer { name: "shift" type: "Power" bottom: "flat" top: "flat" }'
        + IP
        + loss().replace('"label"', '"flat"')
    )
    graph, notes = drop_train_only(build(text))
    assert layers(graph) == ["d/Data", "ip/InnerProduct", "prob/Softmax"]
    assert notes[-1] == '"flat" (Flatten), "shift" (Power) dropped out too: nothing else needs what it makes'


def test_what_reads_a_loss_goes_too():
    text = DATA + IP + loss() + 'layer { name: "twice" type: "Power" bottom: "loss" top: "twice" }'
    assert layers(drop_train_only(build(text))[0]) == ["d/Data", "ip/InnerProduct", "prob/Softmax"]


def test_silence_and_what_it_silences_go():
    text = DATA + IP + 'layer { name: "x" type: "Power" bottom: "data" top: "x" }'
    text += 'layer { name: "s" type: "Silence" bottom: "x" bottom: "label" }'
    assert layers(drop_train_only(build(text))[0]) == ["d/Data", "ip/InnerProduct"]


def test_a_stated_loss_of_any_type_goes():
    text = DATA + IP + 'layer { name: "sum" type: "Reduction" bottom: "ip" top: "sum" loss_weight: 1 }'
    graph, notes = drop_train_only(build(text))
    assert layers(graph) == ["d/Data", "ip/InnerProduct"]
    assert notes == ['Reduction "sum" dropped out; what it read is output now: "ip"']


def test_input_layers_lose_their_labels():
    both = (
        'layer { name: "i" type: "Input" top: "data" top: "label" input_param { shape { dim: 1 } shape { dim: 2 } } }'
    )
    graph, _ = drop_train_only(build(both + IP + loss()))
    assert [key.name for key in graph.inputs] == ["data"]
    assert [list(shape.dim) for shape in graph.layers[0].message.input_param.shape] == [[1]]
    apart = 'layer { name: "x" type: "Input" top: "data" } layer { name: "y" type: "Input" top: "label" }'
    assert layers(drop_train_only(build(apart + IP + loss()))[0]) == ["x/Input", "ip/InnerProduct", "prob/Softmax"]


def test_outputs_that_were_there_stay():
    text = DATA + IP + 'layer { name: "f" type: "Flatten" bottom: "data" top: "f" }' + loss()
    assert outputs(drop_train_only(build(text))[0]) == ["f", "label", "prob"]


def test_nothing_remains():
    text = 'layer { name: "i" type: "Input" top: "x" } layer { name: "s" type: "Silence" bottom: "x" }'
    with pytest.raises(GraphError, match="nothing remains"):
        drop_train_only(build(text))


def test_the_given_graph_stays():
    graph = build(DATA + IP + ACCURACY + loss())
    before = graph.message.SerializeToString()
    data_to_inputs(drop_train_only(graph)[0], {"data": (1, 2)})
    assert graph.message.SerializeToString() == before
    assert len(graph.layers) == 4


@pytest.mark.parametrize(
    ("name", "phase", "wanted"),
    [
        ("vgg/VGG_ILSVRC_16_layers_train_val.prototxt", "TEST", ["prob"]),
        ("bvlc/bvlc_alexnet__train_val.prototxt", "TRAIN", ["prob"]),
        ("bvlc/siamese__mnist_siamese_train_test.prototxt", "TEST", ["feat", "feat_p"]),
        ("legacy/lenet_train.prototxt", "TEST", ["prob"]),
        ("ssd/SSD300_VOC0712/test.prototxt", "TEST", ["detection_out"]),
        ("ssd/SSD300_VOC0712/train.prototxt", "TRAIN", ["mbox_conf", "mbox_loc", "mbox_priorbox"]),
        ("dilation/train_frontend/test_net.prototxt", "TEST", ["prob"]),
    ],
)
def test_published_training_nets(name, phase, wanted):
    graph, notes = drop_train_only(published(name, phase))
    graph = data_to_inputs(graph, {key.name: (1, 3, 300, 300) for key in graph.inputs})
    assert outputs(graph) == wanted
    assert len(graph.inputs) == 1
    assert notes


def test_training_net_of_ssd_becomes_its_deploy_net():
    """But for DetectionOutput and what prepares its scores, the layers are those of the published deploy file."""
    graph, notes = drop_train_only(published("ssd/SSD300_VOC0712/train.prototxt", "TRAIN"))
    deploy = published("ssd/SSD300_VOC0712/deploy.prototxt", "TEST")
    tail = {"mbox_conf_reshape", "mbox_conf_softmax", "mbox_conf_flatten", "detection_out"}
    wanted = [f"{spec.name}/{spec.type}" for spec in deploy.layers[1:] if spec.name not in tail]
    assert layers(graph)[1:] == wanted
    assert "boxes are not decoded" in notes[0]


# --- insert_splits

# The nets and the names of layers and blobs that pycaffe gave for them.
TAPE = """
layer { name: "data" type: "Input" top: "data" }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "left" type: "Power" bottom: "conv" top: "left" }
layer { name: "right" type: "Sigmoid" bottom: "conv" top: "right" }
layer { name: "sum" type: "Eltwise" bottom: "left" bottom: "right" top: "sum" }
"""
TAPE_BOTTOMS = (
    "data< conv<data relu<conv conv_relu_0_split<conv left<conv_relu_0_split_0 right<conv_relu_0_split_1 sum<left,right"
)
TAPE_TOPS = (
    "data>data conv>conv relu>conv conv_relu_0_split>conv_relu_0_split_0,conv_relu_0_split_1 left>left right>right "
    "sum>sum"
)


def test_recorded_splits():
    new = insert_splits(build(TAPE).message)
    assert " ".join(f"{layer.name}<{','.join(layer.bottom)}" for layer in new.layer) == TAPE_BOTTOMS
    assert " ".join(f"{layer.name}>{','.join(layer.top)}" for layer in new.layer) == TAPE_TOPS


def test_recorded_splits_of_a_loss_net():
    text = """
    layer { name: "data" type: "Input" top: "data" }
    layer { name: "label" type: "Input" top: "label" }
    layer { name: "fc" type: "InnerProduct" bottom: "data" top: "fc" }
    layer { name: "loss" type: "SoftmaxWithLoss" bottom: "fc" bottom: "label" top: "loss" loss_weight: 2 }
    layer { name: "acc" type: "Accuracy" bottom: "fc" bottom: "label" top: "acc" }
    """
    made = dict.fromkeys(top for layer in insert_splits(build(text).message).layer for top in layer.top)
    assert " ".join(made) == (
        "data label label_label_0_split_0 label_label_0_split_1 fc fc_fc_0_split_0 fc_fc_0_split_1 loss acc"
    )


def test_split_of_a_stated_loss():
    """The loss weight moves to the first copy, and the reader gets the second."""
    text = TAPE + 'layer { name: "l" type: "Reduction" bottom: "sum" top: "l" loss_weight: 3 }'
    new = insert_splits(build(text + 'layer { name: "t" type: "TanH" bottom: "l" top: "t" }').message)
    loss_layer, split, reader = new.layer[-3:]
    assert not loss_layer.loss_weight
    assert (split.name, list(split.top), list(split.loss_weight)) == (
        "l_l_0_split",
        ["l_l_0_split_0", "l_l_0_split_1"],
        [3.0, 0.0],
    )
    assert list(reader.bottom) == ["l_l_0_split_1"]


def test_splits_change_no_given_message():
    message = build(TAPE).message
    before = message.SerializeToString()
    insert_splits(message)
    assert message.SerializeToString() == before


def test_split_net_is_a_net_that_needs_no_splits():
    parsed = parse_net(TAPE)
    new = insert_splits(parsed.message)
    assert insert_splits(new) == new


def test_splits_of_an_unknown_bottom():
    with pytest.raises(GraphError, match="unknown bottom 'x'"):
        insert_splits(parse_net('layer { name: "l" type: "ReLU" bottom: "x" top: "y" }').message)
