"""Layers of plug-ins: the documented example, what parameters may be, entry points, and what is refused."""

from __future__ import annotations

import copy
import importlib.metadata
import os
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

import caffecompat
from caffecompat.cli.main import main
from caffecompat.errors import CaffeCompatError, CaffeCompatWarning, SchemaError, UsageError
from caffecompat.export import export
from caffecompat.formats import parse_net, read_net, write_text
from caffecompat.layers import base, plugins
from caffecompat.schema import LAYER_TYPES
from caffecompat.schema import plugins as schema_plugins
from caffecompat.schema.caffe_pb2 import FillerParameter, NetParameter, PoolingParameter
from tests.support import make_net

CHECKOUT = Path(__file__).resolve().parents[2]
DOCS = CHECKOUT / "docs" / "plugins.md"
INPUT = 'layer { name: "x" type: "Input" top: "x" input_param { shape { dim: 2 dim: 3 } } }\n'


@pytest.fixture(autouse=True)
def _as_before():
    """Take the types that a test registers out again; fields stay, so each test has its own."""
    registries = (LAYER_TYPES, base._REGISTRY, schema_plugins.MODULES)
    before = [dict(registry) for registry in registries]
    yield
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


def plain(name="Plain", **options):
    """A layer that keeps its parameters' message, registered under a name."""

    @caffecompat.layer(name, **options)
    class Plain(caffecompat.Layer):
        def forward(self, *bottoms):
            return bottoms[0] * 1

    return Plain


def layer_of(body, name="Plain"):
    return make_net(INPUT + f'layer {{ name: "l" type: "{name}" bottom: "x" top: "y" {body} }}').layers[-1]


# --- the documented example


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.fixture
def example(tmp_path):
    """A folder with the files of the documented example."""
    module, *_ = (block for block in blocks("python") if "@caffecompat.layer(" in block)
    script = next(block for block in blocks("python") if "import gain" in block)
    (prototxt,) = blocks("prototxt")
    for name, text in (("gain.py", module), ("net.prototxt", prototxt), ("script.py", script)):
        (tmp_path / name).write_text(text)
    return tmp_path


def run(folder, *arguments):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_documented_example_runs_trains_and_converts(example):
    run(example, "script.py")
    assert "gain_param {\n    scale: 0.5\n" in (example / "gained.prototxt").read_text()
    # The exported program runs without the plug-in.
    program = torch.export.load(example / "gained.pt2").module()
    weight = program.state_dict()["net.gain.weight"]
    pool = program(data=torch.ones(1, 3, 8, 8))["pool"].flatten()
    torch.testing.assert_close(pool, 0.5 * weight)
    assert weight.lt(4).all()


@pytest.mark.slow
def test_the_documented_commands_run(example):
    (commands,) = (block for block in blocks("sh") if block.startswith("caffecompat convert"))
    for line in commands.strip().splitlines():
        program, *arguments = line.split()
        assert program == "caffecompat"
        told = run(example, "-m", "caffecompat", *arguments)
    assert "Gain" in told
    assert (example / "gained.pt2").exists()


def test_the_documented_proto_says_what_the_documented_dataclass_says(example):
    text = next(block for block in blocks("python") if "message GainParameter {" in block)
    namespace: dict[str, str] = {}
    exec(text.replace("\n    ", "\n").strip(), namespace)
    plain("FromText", param="gain_from_text_param", message=namespace["message"])
    stated = layer_of('gain_from_text_param { filler { type: "msra" } }', "FromText").message
    assert (stated.scale, stated.axis, stated.filler.type) == (1, 1, "msra")


@pytest.mark.slow
def test_a_pickled_net_finds_its_plugin(example):
    run(
        example,
        "-c",
        "import caffecompat, gain, pickle; net = caffecompat.load('net.prototxt');"
        "pickle.dump(net, open('net.pickle', 'wb')); pickle.dump(net.graph, open('graph.pickle', 'wb'))",
    )
    for name in ("net.layer('gain').spec", "graph.layers[1]"):
        pickled = name.split(".")[0]
        told = run(
            example,
            "-c",
            f"import pickle; {pickled} = pickle.load(open('{pickled}.pickle', 'rb'));"
            f"from caffecompat.graph.spec import message_param; print(message_param({name}).scale)",
        )
        assert told == "0.5\n"


# --- parameters


class Mode(IntEnum):
    PLUS = 0
    TIMES = 3


@dataclass
class Inner:
    count: int = 4


@dataclass
class EveryKind:
    real: float = 0.1
    whole: int = -(2**40)
    truth: bool = True
    text: str = 'a "quoted" word'
    raw: bytes = b"\x00\xff"
    mode: Mode = Mode.TIMES
    inner: Inner = field(default_factory=Inner)
    filler: FillerParameter | None = None
    axis: int | None = None
    bare: float = float("inf")
    many: list[int] = field(default_factory=list)
    inners: tuple[Inner, ...] = ()


def test_every_kind_of_field_of_a_dataclass():
    plain(param="every_kind_param", message=EveryKind)
    default = layer_of("").message
    assert default.real == 0.1
    assert default.whole == -(2**40)
    assert default.truth is True
    assert default.text == 'a "quoted" word'
    assert default.raw == b"\x00\xff"
    assert default.mode == Mode.TIMES
    assert default.inner.count == 4
    assert default.bare == float("inf")
    assert not default.HasField("axis")
    assert list(default.many) == list(default.inners) == []
    stated = layer_of(
        'every_kind_param { mode: PLUS axis: 0 many: [1, 2] inners { count: 1 } inners { } filler { type: "msra" } }'
    ).message
    assert stated.mode == Mode.PLUS
    assert stated.HasField("axis")
    assert list(stated.many) == [1, 2]
    assert [inner.count for inner in stated.inners] == [1, 4]
    assert isinstance(stated.filler, FillerParameter)


FORK = """
message LayerParameter { optional string name = 1; optional ForkParameter fork_param = 150; }
message NetParameter { repeated LayerParameter layer = 100; }
message ForkParameter {
  enum Kind { ONE = 1; TWO = 2; }
  message Deep { optional Kind kind = 1 [default = TWO]; optional ForkParameter again = 2; }
  required float must = 1;
  repeated Deep deep = 2;
  optional Shared shared = 3 [default = MANY];
  optional PoolingParameter.PoolMethod pool = 4 [default = AVE];
  optional caffe.Phase phase = 5 [default = TEST];
}
enum Shared { FEW = 0; MANY = 1; }
"""


def test_the_field_of_a_forks_whole_schema(tmp_path):
    (tmp_path / "caffe.proto").write_text(FORK)
    plain(param="fork_param", message=tmp_path / "caffe.proto")
    stated = layer_of("fork_param { must: 2 deep { kind: ONE } deep { again { must: 3 } } }").message
    assert stated.must == 2
    assert [deep.kind for deep in stated.deep] == [1, 2]
    assert stated.deep[1].again.must == 3
    assert (stated.shared, stated.pool, stated.phase) == (1, PoolingParameter.AVE, 1)
    with pytest.raises(SchemaError, match=r'layer "l": fork_param.must is missing'):
        print(layer_of("").message)


def test_a_field_of_the_schema_may_be_used_again():
    plain(param="power_param")
    assert layer_of("power_param { scale: 3 }").message.scale == 3
    plain("Bare")
    with pytest.raises(TypeError, match="no parameters"):
        print(layer_of("", "Bare").message)


def test_several_types_share_a_class_and_a_field():
    cls = plain(param="shared_plugin_param", message="message Shared { optional int32 n = 1; }")
    caffecompat.layer("Other", param="shared_plugin_param")(cls)
    assert layer_of("shared_plugin_param { n: 5 }", "Other").message.n == 5


# --- what travels with the message


TEXT = INPUT + 'layer { name: "l" type: "Plain" bottom: "x" top: "y" round_param { n: 7 later: 1 } }'


def test_parameters_survive_text_binary_copies_and_passes(tmp_path):
    plain(param="round_param", message="message Round { optional int32 n = 1 [default = 2]; }")
    parsed = parse_net(TEXT)
    assert [(unknown.name, unknown.path) for unknown in parsed.unknown] == [("later", ("layer", 1, "round_param", 0))]
    written = write_text(parsed.message, parsed.unknown)
    assert "round_param {\n    n: 7\n    later: 1\n  }" in written
    assert parse_net(written).message == parsed.message
    assert NetParameter.FromString(parsed.message.SerializeToString()) == parsed.message
    with pytest.warns(CaffeCompatWarning, match="'later' is ignored"):
        net = make_net(TEXT, ignore_fields=["later"])
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net.graph))):
        graph = getattr(again, "graph", again)
        assert schema_plugins.parameters(graph.layers[1].message, "round_param").n == 7
    export(net, tmp_path / "net.caffemodel")
    message = NetParameter.FromString((tmp_path / "net.caffemodel").read_bytes())
    assert schema_plugins.parameters(message.layer[1], "round_param").n == 7
    export(net, tmp_path / "net.prototxt")
    assert read_net(tmp_path / "net.prototxt").message.layer[1] == parsed.message.layer[1]


def test_unknown_fields_within_name_their_line_and_what_is_meant():
    plain(param="meant_param", message="message Meant { optional int32 number = 1; }")
    with pytest.raises(SchemaError, match="2:.*unknown field 'nunber'\n  did you mean \"number\""):
        layer_of("meant_param { nunber: 7 }")
    with pytest.raises(SchemaError, match="number of Meant takes a whole number"):
        layer_of("meant_param { number: 7.5 }")


def test_a_loss_trains_and_drops_out(tmp_path):
    @caffecompat.layer("Square", bottoms=(1, 2), loss=True)
    class Square(caffecompat.Layer):
        def forward(self, x):
            return x.square().sum()

    net = make_net(INPUT + 'layer { name: "l" type: "Square" bottom: "x" loss_weight: 2 }', "TRAIN")
    x = torch.ones(2, 3, requires_grad=True)
    net.loss(net(x=x)).backward()
    assert x.grad.eq(4).all()
    with pytest.raises(CaffeCompatError, match="Square expects 1 to 2 bottoms, got 3"):
        make_net(INPUT + 'layer { name: "l" type: "Square" bottom: "x" bottom: "x" bottom: "x" }')


# --- entry points


class Point:
    """An entry point that registers, or fails, when it is loaded."""

    dist = None
    value = "some.module"

    def __init__(self, name, load):
        self.name, self.load = name, load


def installed(monkeypatch, *points):
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: points if group == "caffecompat.layers" else ()
    )


def test_an_installed_package_brings_its_layer_when_it_is_met(monkeypatch):
    loaded = []

    def load():
        loaded.append("Brought")
        plain("Brought", param="brought_param", message="message Brought { optional int32 n = 1; }")

    def other():
        raise AssertionError("loaded without need")

    installed(monkeypatch, Point("Brought", load), Point("Another", other))
    make_net(INPUT)
    assert not loaded
    # The parameters stand before the type here.
    net = make_net(INPUT + 'layer { brought_param { n: 3 } name: "l" type: "Brought" bottom: "x" top: "y" }')
    assert net.layers[1].message.n == 3
    assert loaded == ["Brought"]


def test_an_installed_layer_without_parameters(monkeypatch):
    installed(monkeypatch, Point("Brought", lambda: plain("Brought")))
    assert layer_of("", "Brought").spec.row.name == "Brought"


def test_a_broken_package_is_named(monkeypatch):
    def load():
        raise ImportError("no module named gone")

    installed(monkeypatch, Point("Brought", load), Point("Idle", lambda: None))
    with pytest.raises(
        CaffeCompatError, match=r"brought by package \?, which fails: ImportError: no module named gone"
    ):
        layer_of("", "Brought")
    with pytest.raises(SchemaError, match="does not register it"):
        layer_of("", "Idle")


# --- refused


@pytest.mark.parametrize(
    ("names", "options", "says"),
    [
        ((), {}, "expected the names of layer types"),
        (("ReLU",), {}, "layer type ReLU is here already"),
        (("New",), {"param": "nonesuch_param"}, "there is no field 'nonesuch_param'"),
        (("New",), {"message": EveryKind}, "a message without the field it stands in"),
        (("New",), {"param": "relu_param", "message": EveryKind}, "has a field 'relu_param' already"),
        (("New",), {"param": "no name", "message": EveryKind}, "expected the name of a field"),
        (("New",), {"param": "bad_param", "message": 5}, "expected a dataclass"),
        (("New",), {"param": "bad_param", "message": Path("nowhere.proto")}, "nowhere.proto: cannot read"),
        (("New",), {"param": "bad_param", "message": "message A {} message B {}"}, "got A, B"),
        (("New",), {"param": "bad_param", "message": ""}, "got none"),
        (("New",), {"param": "bad_param", "message": "message A { optional Gone g = 1; }"}, "unknown type 'Gone'"),
        (("New",), {"param": "bad_param", "message": FORK}, "has no field 'bad_param'"),
        (
            ("New",),
            {"param": "worded_param", "message": "message A { optional int32 a = 1 [default = word]; }"},
            "the message of worded_param is at fault",
        ),
        (("New",), {"bottoms": (2, 1)}, r"expected a number of blobs or (least, most), got (2, 1)"),
    ],
)
def test_refused(names, options, says):
    with pytest.raises(SchemaError) as error:
        caffecompat.layer(*names, **options)(plain("Stand"))
    assert says in str(error.value)
    assert "New" not in LAYER_TYPES


@dataclass
class NoField:
    value: dict[str, int] = field(default_factory=dict)


@dataclass
class NoDefault:
    value: list[int] = field(default_factory=lambda: [1])


@dataclass
class Lost:
    value: Gone = 1  # noqa: F821


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (NoField, "field value of dataclass NoField: no field can be of type"),
        (NoDefault, "cannot have [1] as a default"),
        (Lost, "dataclass Lost: name 'Gone' is not defined"),
    ],
)
def test_dataclasses_refused(cls, says):
    with pytest.raises(SchemaError) as error:
        plain(param="refused_param", message=cls)
    assert says in str(error.value)


def test_no_other_class_takes_a_type_and_the_same_may_again():
    def cell(scale):
        return plain("Cell", param="cell_param", message=f"message Cell {{ optional int32 n = {scale}; }}")

    cell(1)
    second = cell(1)
    assert base.registered()["Cell"] is second
    with pytest.raises(SchemaError, match="cell_param has another message already"):
        cell(2)

    class Another(caffecompat.Layer):
        pass

    with pytest.raises(SchemaError, match="layer type Cell has two modules"):
        caffecompat.layer("Cell")(Another)
    with pytest.raises(SchemaError, match="expected a subclass of caffecompat.Layer"):
        caffecompat.layer("Thing")(EveryKind)


@pytest.mark.parametrize(
    ("name", "text", "kind", "says"),
    [
        ("gone.py", None, UsageError, "no plug-in at"),
        ("gone_module", None, UsageError, "no plug-in 'gone_module'"),
        ("broken.py", "import nonesuch_module", CaffeCompatError, "the plug-in fails: ModuleNotFoundError"),
        ("syntax.py", "def", CaffeCompatError, "the plug-in fails: SyntaxError"),
    ],
)
def test_plugins_that_do_not_load(tmp_path, monkeypatch, name, text, kind, says):
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(kind) as error:
        plugins.load_plugin(name)
    assert says in str(error.value)
    assert f"caffecompat_plugin_{Path(name).stem}" not in sys.modules


def test_a_plugin_runs_once_and_two_of_one_name_are_refused(tmp_path, monkeypatch):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(
            "import sys; sys.modules['json'].ran = getattr(sys.modules['json'], 'ran', 0) + 1"
        )
    monkeypatch.delitem(sys.modules, "caffecompat_plugin_mine", raising=False)
    import json

    monkeypatch.setattr(json, "ran", 0, raising=False)
    plugins.load_plugin(str(tmp_path / "a" / "mine.py"))
    plugins.load_plugin(str(tmp_path / "a" / "mine.py"))
    assert json.ran == 1
    with pytest.raises(UsageError, match=r"two plug-ins of the name mine\.py"):
        plugins.load_plugin(str(tmp_path / "b" / "mine.py"))


def test_without_the_plugin_the_type_is_unknown_and_nothing_runs(example):
    done = CliRunner().invoke(main, ["inspect", str(example / "net.prototxt")], standalone_mode=False)
    assert isinstance(done.exception, SchemaError)
    assert "unknown layer type 'Gain'" in str(done.exception)
