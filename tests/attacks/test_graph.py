"""Hostile nets: each is a graph or a `CaffeCompatError`, in little time and memory."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning
from caffecompat.formats import Parsed, parse_net, upgrade_net, upgrade_solver
from caffecompat.formats.unknown import MAX_WARNINGS
from caffecompat.graph import build_graph
from caffecompat.graph.passes import data_to_inputs, drop_train_only, insert_splits
from caffecompat.schema import caffe_pb2

DATA = 'layer { name: "d" type: "Input" top: "b0" }\n'
MANY = 10_000


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Time of this process only: others may be busy."""
    start = time.process_time()
    yield
    assert time.process_time() - start < seconds


def net(*layers: caffe_pb2.LayerParameter) -> Parsed[caffe_pb2.NetParameter]:
    source = caffe_pb2.LayerParameter(name="d", type="Input", top=["b0"])
    return Parsed(caffe_pb2.NetParameter(layer=[source, *layers]))


def relu(bottom: str, top: str, **more: object) -> caffe_pb2.LayerParameter:
    return caffe_pb2.LayerParameter(name="l", type="ReLU", bottom=[bottom], top=[top], **more)


def refused(parsed: Parsed[caffe_pb2.NetParameter], **options: object) -> CaffeCompatError:
    with within(1), pytest.raises(CaffeCompatError) as caught:
        build_graph(parsed, **options)
    assert len(str(caught.value)) < 1000
    return caught.value


def test_a_long_chain():
    parsed = net(*(relu(f"b{i}", f"b{i + 1}") for i in range(MANY)))
    with within(2):
        graph = build_graph(parsed)
    assert len(graph.layers) == MANY + 1
    with within(3):
        drop_train_only(graph)
        insert_splits(parsed.message)


def test_a_long_chain_in_place():
    parsed = net(*(relu("b0", "b0") for _ in range(MANY)))
    with within(2):
        assert build_graph(parsed).outputs[0].version == MANY


def test_many_readers_of_one_blob():
    parsed = net(*(relu("b0", f"t{i}") for i in range(MANY)))
    with within(2):
        assert len(build_graph(parsed).outputs) == MANY
    with within(3):
        assert len(insert_splits(parsed.message).layer) == MANY + 2


def test_many_automatic_tops():
    loss = caffe_pb2.LayerParameter(name="l", type="SoftmaxWithLoss", bottom=["b0", "b0"])
    with within(2):
        assert build_graph(net(*MANY * [loss])).outputs == ()


def test_many_sharers():
    layers = [relu("b0", f"t{i}", param=[caffe_pb2.ParamSpec(name="w")]) for i in range(MANY)]
    with within(2):
        assert build_graph(net(*layers)).layers[-1].params[0].owner == (1, 0)


def test_many_bottoms_and_tops():
    names = [f"t{i}" for i in range(MANY)]
    slices = caffe_pb2.LayerParameter(name="s", type="Slice", bottom=["b0"], top=names)
    concat = caffe_pb2.LayerParameter(name="c", type="Concat", bottom=names, top=["c"])
    with within(2):
        assert len(build_graph(net(slices, concat)).layers[1].tops) == MANY


def test_an_unknown_bottom_among_many_blobs():
    layers = [relu(f"b{i}", f"b{i + 1}") for i in range(MANY)]
    assert "unknown bottom" in refused(net(*layers, relu("nowhere", "x"))).message


def test_huge_stage_lists():
    stages = [f"s{i}" for i in range(10 * MANY)]
    rule = caffe_pb2.NetStateRule(stage=stages, not_stage=["absent"])
    with within(2):
        build_graph(net(relu("b0", "b1", include=[rule])), stages=stages)
    refused(net(relu("b0", "b1", include=[rule]), relu("b1", "b2")))


def test_many_rules():
    rules = [caffe_pb2.NetStateRule(min_level=i + 1) for i in range(10 * MANY)]
    with within(2):
        build_graph(net(relu("b0", "b1", include=rules)))
    refused(net(relu("b0", "b1", include=rules), relu("b1", "b2")))


@pytest.mark.parametrize("level", [-(2**31), 2**31 - 1, 2**70])
def test_extreme_levels(level):
    rule = caffe_pb2.NetStateRule(min_level=-(2**31), max_level=2**31 - 1)
    build_graph(net(relu("b0", "b1", include=[rule])), level=level)


@pytest.mark.parametrize("name", ["x" * 10**6, "", "\x00", "\n", "é" * 1000, "../../etc", "(automatic)", "a@1"])
def test_strange_names(name):
    with within(1):
        graph = build_graph(net(relu("b0", name), relu(name, name), relu(name, "z")))
    assert graph.last[name].version == 1
    refused(net(relu(name + "!", "x")))
    refused(net(caffe_pb2.LayerParameter(name=name, type=name + "?")))


def test_many_unknown_fields_are_no_flood():
    parsed = parse_net("foo: 1 " * MANY + DATA)
    with within(2), pytest.warns(CaffeCompatWarning) as caught:
        build_graph(parsed)
    assert len(caught) == MAX_WARNINGS + 1
    assert f"{MANY - MAX_WARNINGS} more" in str(caught[-1].message)


def test_many_old_layers():
    old = caffe_pb2.NetParameter()
    for i in range(MANY // 2):
        padding = old.layers.add(bottom=[f"b{i}"], top=[f"p{i}"])
        padding.layer.type = "padding"
        conv = old.layers.add(bottom=[f"p{i}"], top=[f"b{i + 1}"])
        conv.layer.type = "conv"
    with within(3):
        assert len(upgrade_net(Parsed(old)).message.layer) == MANY // 2


def test_many_inputs():
    old = caffe_pb2.NetParameter(input=[f"b{i}" for i in range(MANY)], input_dim=4 * MANY * [2**31 - 1])
    with within(2):
        assert len(build_graph(Parsed(old)).inputs) == MANY


def test_many_nets_inside_a_solver():
    solver = caffe_pb2.SolverParameter(test_net_param=200 * [caffe_pb2.NetParameter(input=["x"])])
    with within(2):
        new = upgrade_solver(Parsed(solver))
    assert {inside.layer[0].type for inside in new.message.test_net_param} == {"Input"}


# Fields that may join a layer, one a line.
FIELDS = """
bottom: "b0"
bottom: "b1"
top: "b1"
top: "(automatic)"
top: ""
name: "l"
type: "ReLU"
phase: TRAIN
loss_weight: 1
loss_weight: -0.5
propagate_down: true
input: "b0"
input_dim: 3
foo: 1
foo { }
include { phase: TRAIN }
include { min_level: 2 }
exclude { stage: "s" }
exclude { phase: TEST }
state { level: 1 }
param { name: "w" lr_mult: 2 }
param { name: "w" lr_mult: 1 }
param { }
blobs_lr: 2
pad: 1
relu_param { bar: 1 }
layer { type: "padding" }
layer { type: "conv" pad: 1 }
layer { type: "none" }
data_param { scale: 2 }
blobs { }
""".strip().splitlines()
TYPES = (
    "Input",
    "Data",
    "ReLU",
    "Power",
    "Slice",
    "Split",
    "Concat",
    "Eltwise",
    "Softmax",
    "SoftmaxWithLoss",
    "nothing",
)
TYPES += ("EuclideanLoss", "Accuracy", "Silence", "BatchNorm", "InnerProduct", "InnerProduct", "Python", "Reduction")
OLD_TYPES = ("RELU", "DATA", "CONVOLUTION", "SOFTMAX_LOSS", "NONE")


def random_layer(rng: random.Random, made: list[str], *, old: bool) -> str:
    """A layer that mostly reads what is made and makes what is not."""
    kind = rng.choice(TYPES)
    top = rng.choice(made) if rng.random() < 0.2 else f"b{len(made)}"
    words = [f"type: {rng.choice(OLD_TYPES)}" if old else f'type: "{kind}"']
    if kind not in ("Input", "Data"):
        words += [
            f'bottom: "{rng.choice(made)}"'
            for _ in range(2 if kind in ("Eltwise", "Accuracy") or "Loss" in kind else 1)
        ]
    if kind != "Silence":
        words.append(f'top: "{top}"')
        made.append(top)
    words += [rng.choice(FIELDS) for _ in range(rng.choice((0, 0, 0, 1, 2)))]
    return f"{'layers' if old else 'layer'} {{ {' '.join(words)} }}"


def random_text(rng: random.Random) -> str:
    made = ["b0"]
    old = rng.random() < 0.3
    parts = ['input: "b0" input_dim: [1, 2, 3, 4]']
    parts += [random_layer(rng, made, old=old if rng.random() < 0.97 else not old) for _ in range(rng.randint(1, 7))]
    if rng.random() < 0.1:
        parts.insert(rng.randint(0, len(parts)), rng.choice(FIELDS))
    return "\n".join(parts)


@pytest.mark.parametrize("seed", range(8))
def test_random_nets_raise_nothing_else(seed):
    """Random layers of random fields, through the upgrade, the builder in both phases, and the passes."""
    rng = random.Random(seed)
    built = 0
    for _ in range(400):
        text = random_text(rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CaffeCompatWarning)
            try:
                parsed = parse_net(text)
                for phase in ("TRAIN", "TEST"):
                    graph = build_graph(
                        parsed, phase, dialect=rng.choice(("ssd", "bvlc")), ignore_fields=["foo", "bar"]
                    )
                    built += 1
                    split = build_graph(Parsed(insert_splits(graph.message)), phase)
                    assert len(split.outputs) == len(graph.outputs), text
                    graph, _ = drop_train_only(graph)
                    data_to_inputs(graph, {key.name: (1, 2) for key in graph.inputs})
            except CaffeCompatError:
                continue
    assert built > 50, "too few of the random nets were nets"
