"""Layers joined by blobs, and every fault that keeps them from being a net."""

from __future__ import annotations

import warnings

import pytest

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, GraphError, SchemaError
from caffecompat.formats import parse_net, parse_text, read_net
from caffecompat.graph import BlobKey, Graph, build_graph, message_param
from caffecompat.graph.linker import AUTOMATIC
from caffecompat.schema import LAYER_TYPES, caffe_pb2
from caffecompat.schema.types import MANY
from tests.support import SHARED, shared_file

DATA = 'layer { name: "data" type: "Input" top: "data" }\n'


def build(text: str, phase: str = "TEST", **options) -> Graph:
    return build_graph(parse_net(text, "n.prototxt"), phase, **options)


def refused(text: str, kind: type[CaffeCompatError] = GraphError, **options) -> CaffeCompatError:
    with pytest.raises(kind) as caught:
        build(text, **options)
    assert type(caught.value) is kind
    return caught.value


def relu(bottom: str, top: str, name: str = "r", more: str = "") -> str:
    return f'layer {{ name: "{name}" type: "ReLU" bottom: "{bottom}" top: "{top}" {more} }}\n'


# --- blobs


def test_a_chain():
    graph = build('name: "n" force_backward: true ' + DATA + relu("data", "x") + relu("x", "y"))
    assert (graph.name, graph.phase, graph.dialect, graph.force_backward) == ("n", "TEST", "ssd", True)
    assert graph.file == "n.prototxt"
    assert [spec.index for spec in graph.layers] == [0, 1, 2]
    assert graph.inputs == (BlobKey("data", 0),)
    assert graph.outputs == (BlobKey("y", 0),)
    assert [(spec.bottoms, spec.tops) for spec in graph.layers[1:]] == [
        ((BlobKey("data", 0),), (BlobKey("x", 0),)),
        ((BlobKey("x", 0),), (BlobKey("y", 0),)),
    ]
    assert str(graph.layers[1].position) == "n.prototxt:2:1"


def test_in_place_makes_versions():
    graph = build(DATA + relu("data", "x") + relu("x", "x") + relu("x", "x") + relu("x", "y") + relu("x", "z"))
    assert [str(key) for spec in graph.layers for key in spec.tops] == ["data@0", "x@0", "x@1", "x@2", "y@0", "z@0"]
    assert [str(key) for spec in graph.layers[4:] for key in spec.bottoms] == ["x@2", "x@2"]
    assert {name: str(key) for name, key in graph.last.items()} == {
        "data": "data@0",
        "x": "x@2",
        "y": "y@0",
        "z": "z@0",
    }


def test_in_place_on_several_blobs():
    text = 'layer { name: "d" type: "Input" top: "a" top: "b" }'
    text += 'layer { name: "c" type: "Convolution" bottom: "a" bottom: "b" top: "a" top: "b" }'
    assert [str(key) for key in build(text).outputs] == ["a@1", "b@1"]


def test_outputs_are_alphabetical_and_inputs_in_order():
    text = 'layer { name: "d" type: "Input" top: "q" top: "b" }' + relu("q", "z") + relu("b", "Z") + relu("q", "a")
    graph = build(text)
    assert [key.name for key in graph.inputs] == ["q", "b"]
    assert [key.name for key in graph.outputs] == ["Z", "a", "z"]


def test_data_layers_are_inputs():
    text = 'layer { name: "d" type: "Data" top: "data" top: "label" }' + relu("data", "x")
    graph = build(text)
    assert [key.name for key in graph.inputs] == ["data", "label"]
    assert [key.name for key in graph.outputs] == ["label", "x"]


def test_layers_of_one_name_are_legal():
    assert [spec.name for spec in build(DATA + relu("data", "x") + relu("x", "y")).layers] == ["data", "r", "r"]


def test_message_param():
    layer = 'layer { name: "c" type: "Convolution" bottom: "data" top: "c" convolution_param { num_output: 7 } }'
    graph = build(DATA + layer + 'layer { name: "s" type: "Silence" bottom: "c" }')
    assert message_param(graph.layers[1]).num_output == 7
    assert message_param(graph.layers[2]) is None


def test_the_given_message_stays():
    parsed = parse_net(DATA + relu("data", "x", more="include { phase: TRAIN }") + relu("data", "y"))
    before = parsed.message.SerializeToString()
    graph = build_graph(parsed)
    assert parsed.message.SerializeToString() == before
    assert [layer.name for layer in graph.message.layer] == ["data", "r"]


def test_phase_of_a_layer():
    """A layer may state the phase it runs in, whatever the net's."""
    graph = build(DATA + relu("data", "x", more="phase: TRAIN") + relu("x", "y"))
    assert [spec.phase for spec in graph.layers] == ["TEST", "TRAIN", "TEST"]


def test_old_nets_are_upgraded():
    text = 'input: "x" layers { name: "l" type: RELU bottom: "x" top: "y" }'
    parsed = parse_text(text, caffe_pb2.NetParameter)
    assert [spec.type for spec in build_graph(parsed).layers] == ["Input", "ReLU"]


# --- losses

LOSS = 'layer { name: "label" type: "Input" top: "label" }\n' + DATA


def loss(tops: str, more: str = "", name: str = "loss") -> str:
    return f'layer {{ name: "{name}" type: "SoftmaxWithLoss" bottom: "data" bottom: "label" {tops} {more} }}\n'


def test_loss_weights():
    assert build(LOSS + loss('top: "l"')).layers[-1].loss_weights == (1.0,)
    assert build(LOSS + loss('top: "l"', "loss_weight: 0.5")).layers[-1].loss_weights == (0.5,)
    assert build(LOSS + loss('top: "l" top: "p"')).layers[-1].loss_weights == (1.0, 0.0)
    assert build(LOSS + loss('top: "l" top: "p"', "loss_weight: [0, 2]")).layers[-1].loss_weights == (0.0, 2.0)
    assert build(DATA + relu("data", "x", more="loss_weight: 3")).layers[-1].loss_weights == (3.0,)
    assert build(DATA + relu("data", "x")).layers[-1].loss_weights == (0.0,)


@pytest.mark.parametrize("weights", ["[1, 2]", "[1, 2, 3]"])
def test_number_of_loss_weights(weights):
    error = refused(LOSS + loss('top: "l"', f"loss_weight: {weights}"))
    assert "1 tops" in error.message
    assert error.layer == "loss"


def test_automatic_tops():
    graph = build(LOSS + loss("") + loss("", name="second"))
    assert [spec.tops for spec in graph.layers[2:]] == [(BlobKey(AUTOMATIC, 0),), (BlobKey(AUTOMATIC, 1),)]
    assert graph.outputs == ()
    assert AUTOMATIC not in graph.last
    assert "unknown bottom" in refused(LOSS + loss("") + relu(AUTOMATIC, "x")).message


def test_a_top_that_is_called_automatic():
    graph = build(LOSS + relu("data", AUTOMATIC) + loss("") + relu(AUTOMATIC, AUTOMATIC))
    tops = [key for spec in graph.layers for key in spec.tops]
    assert len(set(tops)) == len(tops) == 5
    assert [key.name for key in graph.outputs] == [AUTOMATIC]
    assert graph.outputs[0] == graph.layers[-1].tops[0]


def test_a_stated_loss_that_is_read_is_an_output_still():
    """Caffe's Split layer keeps a copy of it that nobody reads."""
    read = relu("l", "x")
    assert [key.name for key in build(LOSS + loss('top: "l"', "loss_weight: 1") + read).outputs] == ["l", "x"]
    assert [key.name for key in build(LOSS + loss('top: "l"') + read).outputs] == ["x"]


# --- faults


def test_unknown_bottom():
    error = refused(DATA + relu("data", "conv5_3") + relu("conv5_33", "x", name="here"))
    assert str(error).startswith("n.prototxt:3:1: layer \"here\": unknown bottom 'conv5_33'")
    assert error.hint == 'did you mean "conv5_3"?'


def test_unknown_bottom_of_another_phase():
    error = refused(DATA + relu("data", "x", name="there", more="include { phase: TRAIN }") + relu("x", "y"))
    assert error.hint == "layer 'there' makes it, but is left out of this net: it belongs only to phase TRAIN"


def test_unknown_bottom_that_comes_later():
    error = refused(DATA + relu("x", "y") + relu("data", "x", name="later"))
    assert str(error.hint).startswith("layer 'later' makes it, but comes later")


def test_a_layer_cannot_read_itself():
    assert "unknown bottom" in refused(DATA + relu("x", "x")).message


def test_top_made_twice():
    error = refused(DATA + relu("data", "x", name="first") + relu("data", "x", name="second"))
    assert str(error).startswith("n.prototxt:3:1: layer \"second\": top 'x' is made twice: by layer 'first'")


def test_in_place_only_at_the_same_index():
    text = 'layer { name: "d" type: "Input" top: "a" top: "b" }'
    error = refused(text + 'layer { name: "e" type: "Eltwise" bottom: "a" bottom: "b" top: "b" }')
    assert "made twice" in error.message
    assert build(text + 'layer { name: "e" type: "Eltwise" bottom: "a" bottom: "b" top: "a" }').outputs


@pytest.mark.parametrize("tops", ['top: "x" top: "x"', 'top: "data" top: "data"'])
def test_one_name_for_two_tops(tops):
    assert "made twice" in refused(DATA + f'layer {{ name: "s" type: "Slice" bottom: "data" {tops} }}').message


def test_in_place_where_another_layer_reads():
    """Caffe's Split layers make it a top of two sources."""
    error = refused(DATA + relu("data", "x") + relu("x", "y", name="other") + relu("x", "x", name="here"))
    assert error.message == "works in place on 'x', which layer 'other' reads as well"
    assert error.layer == "here"
    twice = 'layer { name: "e" type: "Eltwise" bottom: "x" bottom: "x" top: "x" }'
    assert refused(DATA + relu("data", "x") + twice).message == "works in place on 'x', which it reads twice as well"
    is_loss = refused(DATA + relu("data", "x", more="loss_weight: 1") + relu("x", "x"))
    assert is_loss.message == "works in place on 'x', which is a loss as well"


@pytest.mark.parametrize("type_", sorted(LAYER_TYPES))
def test_numbers_of_blobs(type_):
    """One bottom or top beyond each end of the row's range is refused, the ends are not."""
    row = LAYER_TYPES[type_]

    def text(bottoms: int, tops: int) -> str:
        names = "".join(f'layer {{ name: "d{i}" type: "Input" top: "b{i}" }}' for i in range(bottoms))
        reads = "".join(f'bottom: "b{i}" ' for i in range(bottoms))
        makes = "".join(f'top: "t{i}" ' for i in range(tops))
        return f'{DATA} {names} layer {{ name: "l" type: "{type_}" {reads} {makes} }}'

    (low, high), (least, most) = row.bottoms, row.tops
    if row.same_number:
        build(text(2, 2))
        assert "as many tops as bottoms" in refused(text(2, 1)).message
        return
    build(text(low, least))
    if high < MANY:
        build(text(high, least))
        assert f"got {high + 1}" in refused(text(high + 1, least)).message
    if low:
        assert f"got {low - 1}" in refused(text(low - 1, least)).message
    if most < MANY:
        build(text(low, most))
        assert f"got {most + 1}" in refused(text(low, most + 1)).message
    if least and not row.loss:
        assert f"got {least - 1}" in refused(text(low, least - 1)).message


def test_propagate_down():
    build(DATA + relu("data", "x", more="propagate_down: false"))
    error = refused(DATA + relu("data", "x", more="propagate_down: [false, true]"))
    assert "1 bottoms, 2 values" in error.message


@pytest.mark.parametrize(
    ("type_", "hint"),
    [
        ("Convolutoin", 'did you mean "Convolution"?'),
        ("CONVOLUTION", 'today it is written "Convolution"'),
        ("innerproduct", 'today it is written "InnerProduct"'),
        ("relu", 'today it is written "ReLU"'),
        ("DenseCRF", "it is a layer of deeplab-v2"),
        ("", None),
    ],
)
def test_unknown_types(type_, hint):
    error = refused(DATA + f'layer {{ name: "l" type: "{type_}" bottom: "data" top: "x" }}', SchemaError)
    assert (error.file, error.line, error.layer) == ("n.prototxt", 2, "l")
    assert str(error.hint).startswith(str(hint))


def test_no_layers():
    assert str(refused('name: "x"')) == "n.prototxt: the net has no layers"
    left_out = refused(relu("x", "y", more="include { phase: TRAIN }"))
    assert left_out.message == "the rules of all 1 layers leave them out in phase TEST"


# --- unknown fields


def test_unknown_field_in_a_computed_layer():
    error = refused(DATA + relu("data", "x", name="l", more="\nrelu_param {\n interp: 1 }"), SchemaError)
    assert (error.file, error.line, error.layer) == ("n.prototxt", 4, "l")
    assert "--ignore-field interp" in str(error.hint)


def test_unknown_field_names_its_forks():
    error = refused(DATA + relu("data", "x", more="dense_crf_param { zoom_factor: 2 }"), SchemaError)
    assert "PSPNet" in str(error.hint)


def test_unknown_field_misspelt():
    more = "pooling_param { kernel_sise: 2 }"
    error = refused(DATA + f'layer {{ type: "Pooling" bottom: "data" top: "x" {more} }}', SchemaError)
    assert 'did you mean "kernel_size"?' in str(error.hint)


def test_ignored_field_is_warned_of():
    text = DATA + relu("data", "x", more="foo: 1")
    with pytest.warns(CaffeCompatWarning, match=r"n.prototxt:2:\d+: unknown field 'foo' is ignored"):
        graph = build(text, ignore_fields=["foo"])
    assert [field.name for field in graph.layers[1].unknown] == ["foo"]
    refused(text, SchemaError, ignore_fields=["bar"])


@pytest.mark.parametrize(
    "text",
    [
        "foo: 1 " + DATA,
        "state { foo: 1 } " + DATA,
        'layer { name: "d" type: "Data" top: "data" data_param { foo: 1 } }',
        DATA + relu("data", "x", more="include { phase: TRAIN } foo: 1"),
    ],
    ids=["net", "state", "data layer", "layer left out"],
)
def test_unknown_field_that_computes_nothing_is_warned_of_once(text):
    with pytest.warns(CaffeCompatWarning, match=r"n.prototxt:1:\d+: .*foo|n.prototxt:2:\d+: .*foo") as caught:
        build(text)
    assert len(caught) == 1


# --- real nets


def prototxts() -> list[str]:
    found = [*SHARED.glob("prototxt/**/*.prototxt"), *SHARED.glob("models/**/*.prototxt")]
    # A solver is no net, and VGG_19_layers_train_val.prototxt is refused at its first line.
    skipped = ("solver", "VGG_19_layers_train_val")
    return sorted(str(path.relative_to(SHARED)) for path in found if not any(word in path.name for word in skipped))


ONE_PHASE = {"ssd/SSD300_VOC0712", "ssd/SSD300_coco", "ssd/SSD512_VOC0712"}


@pytest.mark.parametrize("name", prototxts())
@pytest.mark.parametrize("phase", ["TRAIN", "TEST"])
def test_published_nets(name, phase):
    """They all build in both phases, but for SSD's training and test nets, whose data layer has one phase."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*unknown field", CaffeCompatWarning)
        parsed = read_net(shared_file(name))
        only = {"train.prototxt": "TRAIN", "test.prototxt": "TEST"}.get(name.rpartition("/")[2])
        if only not in (None, phase):
            with pytest.raises(GraphError, match="unknown bottom 'data'") as caught:
                build_graph(parsed, phase)
            assert f"only to phase {only}" in str(caught.value.hint)
            return
        graph = build_graph(parsed, phase)
    assert graph.inputs
    made = [key for spec in graph.layers for key in spec.tops]
    assert len(set(made)) == len(made)
    assert {key for spec in graph.layers for key in spec.bottoms} <= set(made)
    assert [layer.name for layer in graph.message.layer] == [spec.name for spec in graph.layers]


# What the original logs as outputs of these nets.
@pytest.mark.parametrize(
    ("name", "phase", "outputs"),
    [
        ("prototxt/ssd/SSD300_VOC0712/deploy.prototxt", "TEST", ["detection_out"]),
        ("prototxt/ssd/SSD300_VOC0712/deploy.prototxt", "TRAIN", ["mbox_conf_flatten", "mbox_loc", "mbox_priorbox"]),
        ("prototxt/ssd/SSD300_VOC0712/train.prototxt", "TRAIN", ["mbox_loss"]),
        ("prototxt/vgg/VGG_ILSVRC_16_layers_train_val.prototxt", "TEST", ["accuracy_at_1", "accuracy_at_5", "loss"]),
        ("models/mtcnn/det3.prototxt", "TEST", ["conv6-2", "conv6-3", "prob1"]),
    ],
)
def test_outputs_of_published_nets(name, phase, outputs):
    graph = build_graph(read_net(shared_file(name)), phase)
    assert [key.name for key in graph.outputs] == outputs
