"""Old nets and solvers become today's; places and unknown fields go along."""

from __future__ import annotations

import warnings

import pytest

from caffecompat.errors import CaffeCompatWarning, GraphError, SchemaError
from caffecompat.formats import parse_net, parse_text, read_net, upgrade_net, upgrade_notes, upgrade_solver
from caffecompat.formats.solver_upgrade import SOLVER_TYPES
from caffecompat.graph import build_graph
from caffecompat.schema import LAYER_TYPES, caffe_pb2
from caffecompat.schema.types import V0_NAMES, V1_NAMES
from tests.support import shared_file


def net(text: str) -> caffe_pb2.NetParameter:
    return parse_text(text, caffe_pb2.NetParameter).message


def upgraded(text: str) -> caffe_pb2.NetParameter:
    parsed = parse_text(text, caffe_pb2.NetParameter, "old.prototxt")
    before = parsed.message.SerializeToString()
    new = upgrade_net(parsed)
    assert parsed.message.SerializeToString() == before, "the given message was changed"
    assert upgrade_net(new) is new, "an upgraded net needs no upgrade"
    return new.message


def v0(type_: str, fields: str = "", ends: str = 'bottom: "x" top: "y"') -> str:
    return f'layers {{ layer {{ name: "l" type: "{type_}" {fields} }} {ends} }}'


# --- V0


@pytest.mark.parametrize(
    ("type_", "fields", "expected"),
    [
        (
            "conv",
            'num_output: 96 biasterm: false pad: 4 kernelsize: 11 group: 2 stride: 3 weight_filler { type: "gaussian" '
            'std: 0.01 } bias_filler { type: "constant" value: 3 }',
            'type: "Convolution" convolution_param { num_output: 96 bias_term: false pad: 4 kernel_size: 11 group: 2 '
            'stride: 3 weight_filler { type: "gaussian" std: 0.01 } bias_filler { type: "constant" value: 3 } }',
        ),
        (
            "innerproduct",
            'num_output: 10 biasterm: true weight_filler { type: "xavier" }',
            'type: "InnerProduct" inner_product_param { num_output: 10 bias_term: true '
            'weight_filler { type: "xavier" } }',
        ),
        (
            "pool",
            "pool: STOCHASTIC kernelsize: 4 stride: 5 pad: 1",
            'type: "Pooling" pooling_param { pool: STOCHASTIC kernel_size: 4 stride: 5 pad: 1 }',
        ),
        ("pool", "pool: AVE", 'type: "Pooling" pooling_param { pool: AVE }'),
        ("dropout", "dropout_ratio: 0.2", 'type: "Dropout" dropout_param { dropout_ratio: 0.2 }'),
        (
            "lrn",
            "local_size: 3 alpha: 0.1 beta: 0.5 k: 2",
            'type: "LRN" lrn_param { local_size: 3 alpha: 0.1 beta: 0.5 k: 2 }',
        ),
        ("concat", "concat_dim: 2", 'type: "Concat" concat_param { concat_dim: 2 }'),
        ("infogain_loss", 'source: "H"', 'type: "InfogainLoss" infogain_loss_param { source: "H" }'),
        (
            "hdf5_output",
            'hdf5_output_param { file_name: "f" }',
            'type: "HDF5Output" hdf5_output_param { file_name: "f" }',
        ),
        (
            "data",
            'source: "db" meanfile: "m" batchsize: 2 cropsize: 7 mirror: true scale: 0.25 rand_skip: 3',
            'type: "Data" data_param { source: "db" batch_size: 2 rand_skip: 3 } '
            'transform_param { mean_file: "m" crop_size: 7 mirror: true scale: 0.25 }',
        ),
        ("hdf5_data", 'source: "h" batchsize: 2', 'type: "HDF5Data" hdf5_data_param { source: "h" batch_size: 2 }'),
        (
            "images",
            'source: "i" batchsize: 2 rand_skip: 3 shuffle_images: true new_height: 40 new_width: 30 cropsize: 8',
            'type: "ImageData" transform_param { crop_size: 8 } image_data_param { source: "i" batch_size: 2 '
            "rand_skip: 3 shuffle: true new_height: 40 new_width: 30 }",
        ),
        (
            "window_data",
            'source: "w" batchsize: 2 det_fg_threshold: 0.25 det_bg_threshold: 0.75 det_fg_fraction: 0.5 '
            'det_context_pad: 16 det_crop_mode: "square"',
            'type: "WindowData" window_data_param { source: "w" batch_size: 2 fg_threshold: 0.25 bg_threshold: 0.75 '
            'fg_fraction: 0.5 context_pad: 16 crop_mode: "square" }',
        ),
        (
            "relu",
            "blobs_lr: 1 blobs_lr: 2 weight_decay: 3",
            'type: "ReLU" param { lr_mult: 1 decay_mult: 3 } param { lr_mult: 2 }',
        ),
    ],
)
def test_v0_parameters(type_, fields, expected):
    want = net(f'layer {{ name: "l" bottom: "x" top: "y" {expected} }}')
    assert upgraded(v0(type_, fields)) == want


@pytest.mark.parametrize("type_", sorted(V0_NAMES))
def test_every_v0_type(type_):
    assert [layer.type for layer in upgraded(v0(type_)).layer] == [V0_NAMES[type_]]


def test_v0_net_keeps_what_stands_beside_the_layers():
    new = upgraded('name: "n" force_backward: true input: "x" input_dim: [1, 2, 3, 4]' + v0("relu"))
    assert (new.name, new.force_backward) == ("n", True)
    assert [layer.type for layer in new.layer] == ["Input", "ReLU"]


PADDED = (
    'layers { layer { name: "p" type: "padding" pad: 2 } bottom: "x" top: "p" }'
    'layers { layer { name: "c" type: "conv" kernelsize: 5 pad: 9 } bottom: "p" top: "c" }'
)


def test_v0_padding_goes_into_the_convolution():
    want = net(
        'layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { kernel_size: 5 pad: 2 } }'
    )
    assert upgraded(PADDED) == want


def test_v0_padding_goes_into_every_reader():
    second = 'layers { layer { name: "q" type: "pool" kernelsize: 3 } bottom: "p" top: "q" }'
    layers = upgraded(PADDED + second).layer
    assert [list(layer.bottom) for layer in layers] == [["x"], ["x"]]
    assert list(layers[0].convolution_param.pad) == [2]
    assert layers[1].pooling_param.pad == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'layers { layer { name: "p" type: "padding" } bottom: "x" top: "p" }'
            'layers { layer { name: "r" type: "relu" } bottom: "p" top: "r" }',
            "only a conv or pool",
        ),
        (
            'layers { layer { name: "p" type: "padding" } bottom: "x" top: "p" }'
            'layers { layer { name: "r" type: "conv" } bottom: "p" bottom: "x" top: "r" }',
            "2 bottoms",
        ),
        (
            'layers { layer { name: "p" type: "padding" } bottom: "x" bottom: "z" top: "p" }'
            'layers { layer { name: "r" type: "conv" } bottom: "p" top: "r" }',
            "2 bottoms",
        ),
        (
            'layers { layer { name: "p" type: "padding" } bottom: "x" top: "p" top: "p2" }'
            'layers { layer { name: "r" type: "conv" } bottom: "p2" top: "r" }',
            "2 tops",
        ),
    ],
)
def test_v0_padding_where_caffe_allows_none(text, message):
    with pytest.raises(GraphError, match=message) as caught:
        upgraded(text)
    assert caught.value.layer == "r"
    assert caught.value.file == "old.prototxt"


def test_v0_field_that_means_nothing_is_warned_of():
    with pytest.warns(CaffeCompatWarning, match=r"old.prototxt:1:\d+: kernelsize means nothing .*'relu'"):
        new = upgrade_net(parse_text(v0("relu", "kernelsize: 3"), caffe_pb2.NetParameter, "old.prototxt"))
    assert new.message == net('layer { name: "l" type: "ReLU" bottom: "x" top: "y" }')


def test_v0_unknown_type():
    with pytest.raises(SchemaError, match=r"old.prototxt:2:.*unknown V0 layer type 'convv'") as caught:
        upgraded("\n" + v0("convv"))
    assert "conv" in str(caught.value.hint)


def test_v0_and_v1_mixed():
    with pytest.raises(SchemaError, match=r'layer "m".*V1 layer in a net of V0'):
        upgraded(v0("relu") + 'layers { name: "m" type: RELU bottom: "y" top: "y" }')


# --- V1


@pytest.mark.parametrize("name", list(caffe_pb2.V1LayerParameter.LayerType.keys()))
def test_every_v1_type(name):
    assert upgraded(f'layers {{ name: "l" type: {name} }}').layer[0].type == V1_NAMES.get(name, "")


def test_v1_types_have_rows():
    assert set(V1_NAMES) == set(caffe_pb2.V1LayerParameter.LayerType.keys()) - {"NONE"}
    assert set(V1_NAMES.values()) <= set(LAYER_TYPES)


def test_v1_params():
    old = (
        'layers { name: "l" type: CONVOLUTION bottom: "x" top: "y" param: "w" param: "" blob_share_mode: PERMISSIVE '
        "blobs_lr: 1 blobs_lr: 2 blobs_lr: 3 weight_decay: 4 loss_weight: 0.5 include { phase: TRAIN } "
        'exclude { stage: "s" } convolution_param { num_output: 3 } }'
    )
    want = net(
        'layer { name: "l" type: "Convolution" bottom: "x" top: "y" loss_weight: 0.5 include { phase: TRAIN } '
        'exclude { stage: "s" } convolution_param { num_output: 3 } '
        'param { name: "w" share_mode: PERMISSIVE lr_mult: 1 decay_mult: 4 } param { name: "" lr_mult: 2 } '
        "param { lr_mult: 3 } }"
    )
    assert upgraded(old) == want


def test_v1_messages_are_all_copied():
    """Each parameter message that V1 layers have arrives under its name."""
    special = {"layer", "type", "param", "blob_share_mode", "blobs_lr", "weight_decay"}
    layer = caffe_pb2.V1LayerParameter(type="RELU")
    names = [field.name for field in layer.DESCRIPTOR.fields if field.name not in special]
    for name in names:
        value = getattr(layer, name)
        if name.endswith("_param"):
            value.SetInParent()
        elif name in ("blobs", "include", "exclude"):
            value.add()
        elif name == "name":
            layer.name = "l"
        else:
            value.append(0.5 if name == "loss_weight" else "b")
    new = upgraded(str(caffe_pb2.NetParameter(layers=[layer]))).layer[0]
    assert {field.name for field, _ in new.ListFields()} == {"type", *names}


@pytest.mark.parametrize(
    ("type_", "param"),
    [("DATA", "data_param"), ("IMAGE_DATA", "image_data_param"), ("WINDOW_DATA", "window_data_param")],
)
def test_v1_data_transformation(type_, param):
    old = f'{param} {{ source: "s" scale: 0.5 mean_file: "m" crop_size: 4 mirror: true }}'
    want = f'{param} {{ source: "s" }} transform_param {{ scale: 0.5 mean_file: "m" crop_size: 4 mirror: true }}'
    new = upgraded(f"layers {{ type: {type_} {old} }}")
    assert new == net(f'layer {{ type: "{V1_NAMES[type_]}" {want} }}')


def test_v1_transformation_of_other_layers_stays():
    new = upgraded('layers { type: RELU data_param { source: "s" scale: 0.5 } }')
    assert new == net('layer { type: "ReLU" data_param { source: "s" scale: 0.5 } }')


def test_both_forms_are_refused():
    with pytest.raises(SchemaError, match=r"old.prototxt:2:1: the net has both `layer` and `layers`"):
        upgraded('layers { name: "l" type: RELU }\nlayer { name: "m" type: "ReLU" }')


# --- inputs


def test_input_dim():
    new = upgraded('input: "a" input: "b" input_dim: [1, 2, 3, 4, 5, 6, 7, 8] layer { name: "l" type: "ReLU" }')
    want = net(
        'layer { name: "input" type: "Input" top: "a" top: "b" input_param { shape { dim: [1, 2, 3, 4] } '
        'shape { dim: [5, 6, 7, 8] } } } layer { name: "l" type: "ReLU" }'
    )
    assert new == want


def test_input_shape():
    new = upgraded('input: "a" input_shape { dim: [1, 2] } layer { name: "l" type: "ReLU" }')
    assert (
        new.layer[0]
        == net('layer { name: "input" type: "Input" top: "a" input_param { shape { dim: [1, 2] } } }').layer[0]
    )
    assert [field.name for field, _ in new.ListFields()] == ["layer"]


def test_input_without_a_size_is_an_input_layer_without_a_shape():
    layer = upgraded('input: "a" layer { name: "l" type: "ReLU" }').layer[0]
    assert (layer.type, list(layer.top), len(layer.input_param.shape)) == ("Input", ["a"], 0)


@pytest.mark.parametrize("sizes", ["input_dim: [1, 2, 3, 4, 5]", "input_shape { dim: 1 }"])
def test_too_few_sizes(sizes):
    with pytest.raises(GraphError, match=r"old.prototxt:1:1: 2 inputs need"):
        upgraded(f'input: "a" input: "b" {sizes}')


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ("input_dim: [1, 2, 3, 4, 5]", "first 4 input_dim"),
        ("input_shape { dim: 1 } input_shape { dim: 1 }", "first 1 input_shape"),
        ("input_shape { dim: 1 } input_dim: [1, 2, 3, 4]", "input_dim is ignored"),
    ],
)
def test_sizes_too_many_are_warned_of(sizes, message):
    parsed = parse_text(f'input: "a" {sizes}', caffe_pb2.NetParameter)
    with pytest.warns(CaffeCompatWarning, match=message):
        assert len(upgrade_net(parsed).message.layer[0].input_param.shape) == 1


# --- BatchNorm


def test_batch_norm():
    new = upgraded('layer { type: "BatchNorm" param { name: "m" } param { lr_mult: 0 } param { decay_mult: 0 } }')
    zero = "lr_mult: 0 decay_mult: 0"
    assert new == net(
        f'layer {{ type: "BatchNorm" param {{ name: "m" {zero} }} param {{ {zero} }} param {{ {zero} }} }}'
    )


@pytest.mark.parametrize(
    "text", ['layer { type: "BatchNorm" param { lr_mult: 1 } }', 'layer { type: "Scale" ' + 3 * "param {} " + "}"]
)
def test_other_params_stay(text):
    assert upgraded(text) == net(text)


# --- places and unknown fields


def test_places_of_v1_layers():
    parsed = parse_net('input: "x"\nlayers { name: "l"\n type: RELU top: "x" bottom: "x" }\n', "old.prototxt")
    assert str(parsed.position("layer", 0)) == "old.prototxt:1:1"
    assert str(parsed.position("layer", 1)) == "old.prototxt:2:1"
    assert str(parsed.position("layer", 1, "type", 0)) == "old.prototxt:3:2"


def test_places_of_v0_layers():
    text = (
        'layers { layer { name: "p" type: "padding" } bottom: "x" top: "p" }\n'
        'layers { layer { name: "c"\n type: "conv" } bottom: "p"\n top: "c" }'
    )
    parsed = parse_net(text, "old.prototxt")
    assert str(parsed.position("layer", 0)) == "old.prototxt:2:1"
    assert str(parsed.position("layer", 0, "type", 0)) == "old.prototxt:3:2"
    assert str(parsed.position("layer", 0, "top", 0)) == "old.prototxt:4:2"


def test_places_of_inputs():
    parsed = parse_net('name: "n"\ninput: "x"\ninput_shape {\n dim: 1 }\nlayer { name: "l" }', "old.prototxt")
    assert str(parsed.position("layer", 0)) == "old.prototxt:2:1"
    assert str(parsed.position("layer", 0, "input_param", 0, "shape", 0, "dim", 0)) == "old.prototxt:4:2"
    assert str(parsed.position("layer", 1)) == "old.prototxt:5:1"


def test_error_in_an_upgraded_net_names_the_old_line():
    parsed = parse_net('input: "x"\n\nlayers { name: "l" type: RELU bottom: "y" top: "z" }', "old.prototxt")
    with pytest.raises(GraphError, match=r'old.prototxt:3:1: layer "l": unknown bottom'):
        build_graph(parsed)


def test_unknown_fields_move_with_their_layers():
    text = (
        'input: "x" input_shape { dim: 1 foo: 1 } bar: 2 '
        'layers { name: "a" type: RELU bottom: "x" top: "y" relu_param { baz: 3 } } '
        'layers { name: "b" type: RELU bottom: "y" top: "z" qux: 4 }'
    )
    parsed = parse_net(text)
    assert [(field.name, field.path) for field in parsed.unknown] == [
        ("foo", ("layer", 0, "input_param", 0, "shape", 0)),
        ("bar", ()),
        ("baz", ("layer", 1, "relu_param", 0)),
        ("qux", ("layer", 2)),
    ]


def test_unknown_fields_of_v0_layers():
    text = (
        'layers { layer { name: "r" type: "relu" foo: 1 } bottom: "x" top: "r" bar: 2 } '
        'layers { layer { name: "p" type: "padding" baz: 3 } bottom: "r" top: "p" } '
        'layers { layer { name: "c" type: "conv" } bottom: "p" top: "c" }'
    )
    assert [(field.name, field.path) for field in parse_net(text).unknown] == [
        ("foo", ("layer", 0)),
        ("bar", ("layer", 0)),
        ("baz", ("layer", 1)),
    ]


# --- solvers


@pytest.mark.parametrize("old", list(caffe_pb2.SolverParameter.SolverType.keys()))
def test_solver_type(old):
    parsed = parse_text(f"base_lr: 1\nsolver_type: {old}", caffe_pb2.SolverParameter, "s.prototxt")
    new = upgrade_solver(parsed)
    assert parsed.message.HasField("solver_type")
    assert new.message == caffe_pb2.SolverParameter(base_lr=1, type=SOLVER_TYPES[old])
    assert str(new.position("type", 0)) == "s.prototxt:2:1"
    assert upgrade_solver(new) is new


def test_solver_with_both_types():
    parsed = parse_text('type: "Adam"\nsolver_type: ADAM', caffe_pb2.SolverParameter, "s.prototxt")
    with pytest.raises(SchemaError, match=r"s.prototxt:2:1: both type 'Adam' and solver_type ADAM"):
        upgrade_solver(parsed)


@pytest.mark.parametrize("name", ["net_param", "train_net_param", "test_net_param"])
def test_net_inside_a_solver(name):
    text = f'base_lr: 1 {name} {{ input: "x"\nlayers {{ name: "l" type: RELU bottom: "x" top: "y" foo: 1 }} }} bar: 2'
    parsed = parse_text(text, caffe_pb2.SolverParameter)
    new = upgrade_solver(parsed)
    inside = new.message.test_net_param[0] if name == "test_net_param" else getattr(new.message, name)
    assert [layer.type for layer in inside.layer] == ["Input", "ReLU"]
    assert new.position(name, 0, "layer", 1).line == 2
    assert {(field.name, field.path) for field in new.unknown} == {("bar", ()), ("foo", (name, 0, "layer", 1))}
    assert any(note.startswith(f"{name}: 1 V1 layers") for note in upgrade_notes(parsed))


# --- notes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (PADDED, ["2 V0 layers", "1 padding layers"]),
        ("layers { type: RELU }", ["1 V1 layers"]),
        ('layers { name: "d" type: DATA data_param { scale: 1 crop_size: 2 } }', ['"d": scale, crop_size moved']),
        ('input: "x" input_dim: [1, 2, 3, 4]', ["inputs x (input_dim)"]),
        ('input: "x" input_shape { dim: 1 }', ["inputs x (input_shape)"]),
        ('input: "x"', ["inputs x (no size stated)"]),
        ('layer { type: "BatchNorm" param {} param {} param {} }', ["1 BatchNorm layers"]),
        ('layer { type: "ReLU" }', []),
    ],
)
def test_notes(text, words):
    parsed = parse_text(text, caffe_pb2.NetParameter)
    notes = "\n".join(upgrade_notes(parsed))
    assert all(word in notes for word in words)
    assert bool(notes) == bool(words)
    assert upgrade_notes(upgrade_net(parsed)) == []


def test_solver_notes():
    assert upgrade_notes(parse_text("solver_type: ADAM", caffe_pb2.SolverParameter)) == ["solver_type became type"]


# --- real files: the same nets in old and new forms

PAIRS = [
    ("prototxt/legacy/cifar10_quick.prototxt", "models/cifar10_quick_encodings/cifar10_quick.prototxt"),
    ("prototxt/legacy/cifar10_full.prototxt", "prototxt/bvlc/cifar10__cifar10_full.prototxt"),
    ("prototxt/legacy/lenet.prototxt", "models/lenet_v1/lenet.prototxt"),
    ("models/lenet_v1/lenet.prototxt", "prototxt/bvlc/mnist__lenet.prototxt"),
]


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_published_pairs(old, new):
    """Nets that were published in two forms: same types in order, same numbers that decide the shapes."""

    def shape(layer):
        conv, pool, inner = layer.convolution_param, layer.pooling_param, layer.inner_product_param
        return (
            layer.type,
            (conv.num_output, *conv.kernel_size, *conv.stride, *conv.pad, conv.group),
            (pool.pool, pool.kernel_size, pool.stride, pool.pad),
            inner.num_output,
            layer.lrn_param.local_size,
        )

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CaffeCompatWarning)
        left, right = (read_net(shared_file(name)).message for name in (old, new))
    assert [shape(layer) for layer in left.layer] == [shape(layer) for layer in right.layer]
