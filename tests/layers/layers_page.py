"""Writes LAYERS.md: every layer type of the registry, by what is observed of it.

    python -m tests.layers.layers_page            # write it
    python -m tests.layers.layers_page --check    # exit with 1 if it is stale

Which fields count is watched, not claimed: the recorded nets and the cases of `type_cases` run with parameters that
note who reads what, and then once more for each field that nobody has read, with that field changed.
"""

from __future__ import annotations

import io
import logging
import os
import sys
import tempfile
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from caffecompat import Net
from caffecompat.formats import parse_net
from caffecompat.formats.fields import fields_of
from caffecompat.graph import Graph, build_graph
from caffecompat.graph.spec import LayerSpec
from caffecompat.layers import build, registered
from caffecompat.schema import LAYER_TYPES, caffe_pb2
from caffecompat.schema.plugins import parameters
from tests.layers import golden
from tests.layers.test_gradients import NOT_DIFFERENTIABLE
from tests.layers.type_cases import CASES, Case

PAGE = Path(__file__).resolve().parents[2] / "LAYERS.md"
HEAD = """# Layers

Every layer type that there is; `make layers` writes this page. "fields" are those that a layer reads: they change
what it does, or it checks them. "passed over" are those that may be stated and change nothing here. Both are watched
in runs, not claimed. What all layers have is not listed: `name`, `bottom`, `top`, `phase`, `include`, `exclude`,
`loss_weight`, `propagate_down`, `param`.

- forward: "fed" marks data layers, whose tops are fed like inputs: `net(data=..., label=...)`.
- backward: gradients to the bottoms and the parameters, compared with finite differences in float64.
- `.pt2`: the layer by itself passes `torch.export`.
- cases: recorded nets of the original Caffe that hold the layer, compared forward and backward. Layers with 0 are
  compared with independent loops or libraries in `tests/layers`.

| type | V1, V0 names | fields | passed over | forward | backward | `.pt2` | cases |
|---|---|---|---|---|---|---|---|
"""
# A data layer by itself, where it needs more than its type.
SOURCES = {
    "DummyData": "dummy_data_param { shape { dim: 2 } }",
    "EpisodeData": "episode_data_param { ways: 2 queries: 1 }",
    "MemoryData": "memory_data_param { batch_size: 1 channels: 3 height: 8 width: 8 }",
    "ImageLabelData": "image_label_data_param { batch_size: 1 }",
}
Read = dict[str, set[tuple[str, str]]]


@dataclass(frozen=True)
class Watched:
    """The parameters in one field of a layer; notes which of them are read."""

    message: Message
    field: str
    read: set[tuple[str, str]]

    def __getattr__(self, name: str) -> Any:
        if name in self.message.DESCRIPTOR.fields_by_name:
            self.read.add((self.field, name))
        return getattr(self.message, name)

    def HasField(self, name: str) -> bool:  # noqa: N802
        self.read.add((self.field, name))
        return bool(self.message.HasField(name))


@dataclass(frozen=True)
class WatchedLayer:
    """A LayerParameter whose own parameters are watched."""

    message: caffe_pb2.LayerParameter
    params: tuple[str, ...]
    read: set[tuple[str, str]]

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.message, name)
        return Watched(value, name, self.read) if name in self.params else value

    @property
    def Extensions(self) -> WatchedExtensions:  # noqa: N802
        """Those of plug-ins."""
        return WatchedExtensions(self)


@dataclass(frozen=True)
class WatchedExtensions:
    """What plug-ins added to a watched layer."""

    layer: WatchedLayer

    def __getitem__(self, extension: FieldDescriptor) -> Watched:
        return Watched(self.layer.message.Extensions[extension], extension.name, self.layer.read)


def watched(spec: LayerSpec, read: Read) -> LayerSpec:
    """The layer with its parameters watched."""
    message: Any = WatchedLayer(spec.message, spec.row.params, read[spec.type])
    return replace(spec, message=message)


def watched_graph(graph: Graph, read: Read) -> Graph:
    """The graph with the parameters of all layers watched."""
    return replace(graph, layers=tuple(watched(spec, read) for spec in graph.layers))


class WatchedCase(golden.Case):
    """A recorded case that runs with watched layers."""

    def graph(self) -> Graph:
        return watched_graph(super().graph(), self.record["read"])  # type: ignore[arg-type]


def watch_recorded(read: Read) -> Counter[str]:
    """Run the recorded cases; how many hold each type."""
    count: Counter[str] = Counter()
    for case in golden.cases():
        count.update(case.types)
        os.chdir(case.path.parent)
        golden.run(WatchedCase(case.path, case.dialect, {**case.record, "read": read}))  # type: ignore[dict-item]
    return count


def run(case: Case, spec: LayerSpec) -> None:
    """Build the layer and pass the case's bottoms through it; what is wrong with changed fields is no matter."""
    with suppress(Exception):
        layer = build(spec, [bottom.shape for bottom in case.bottoms])
        layer.fill()
        layer.train(case.phase == "TRAIN")
        layer.double()(*case.inputs())


def watch_cases(read: Read) -> None:
    """Run the cases of `type_cases`, as they are and with each field changed that is not read yet."""
    for case in CASES:
        spec = case.layer().spec
        run(case, watched(spec, read))
        for changed in changes(spec, read[spec.type]):
            run(case, watched(replace(spec, message=changed), read))


def watch_sources(read: Read) -> None:
    """Build the data layers by themselves, with each field changed, and ask for their preprocessing."""
    for type_ in registered():
        row = LAYER_TYPES[type_]
        if not row.data:
            continue
        tops = " ".join(f'top: "t{index}"' for index in range(row.tops[0]))
        text = f'layer {{ name: "l" type: "{type_}" {tops} {SOURCES.get(type_, "")} }}'
        graph = build_graph(parse_net(text))
        spec = graph.layers[0]
        for message in [spec.message, *changes(spec, set())]:
            layers = (watched(replace(spec, message=message), read),)
            for shapes in ({}, {"t0": (2, 3, 8, 8)}):
                with suppress(Exception):
                    _ = Net(replace(graph, layers=layers), shapes).preprocessing


def changes(spec: LayerSpec, read: set[tuple[str, str]]) -> Iterator[caffe_pb2.LayerParameter]:
    """The layer's message once for each field that is not read, and each value worth a try."""
    for param in spec.row.params:
        for name, field in parameters(caffe_pb2.LayerParameter(), param).DESCRIPTOR.fields_by_name.items():
            for value in values(field) if (param, name) not in read else ():
                message = caffe_pb2.LayerParameter()
                message.CopyFrom(spec.message)
                target = parameters(message, param)
                if field.message_type is not None:
                    inner = getattr(target, name)
                    _ = inner.add() if fields_of(target.DESCRIPTOR)[name].repeated else inner.SetInParent()
                elif fields_of(target.DESCRIPTOR)[name].repeated:
                    getattr(target, name).extend([value, value])
                else:
                    setattr(target, name, value)
                yield message


def values(field: FieldDescriptor) -> Iterable[Any]:
    """Values to try in a field."""
    if field.enum_type is not None:
        return [value.number for value in field.enum_type.values]
    if field.type == FieldDescriptor.TYPE_BOOL:
        return [True, False]
    if field.type == FieldDescriptor.TYPE_STRING:
        return ["x"]
    return [1, 2, 0] if field.cpp_type not in (FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE) else [0.5]


def exported() -> set[str]:
    """The types of which every case in evaluation passes torch.export."""
    good, bad = set(), set()
    for case in CASES:
        layer = case.layer().float().eval()
        bottoms = tuple(x.detach().float() for x in case.inputs())
        try:
            # What torch.export says of those it refuses fills pages.
            with torch.no_grad(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
                torch.export.export(layer, bottoms, strict=False)
            good.add(case.type)
        except Exception:
            bad.add(case.type)
    return good - bad


def page() -> str:
    """The text of LAYERS.md."""
    read: Read = defaultdict(set)
    here = Path.cwd()
    with warnings.catch_warnings(), tempfile.TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        try:
            count = watch_recorded(read)
            os.chdir(folder)
            watch_cases(read)
            watch_sources(read)
            logging.disable(logging.ERROR)
            exports = exported()
        finally:
            logging.disable(logging.NOTSET)
            os.chdir(here)
    return HEAD + "".join(line(type_, read[type_], count[type_], type_ in exports) for type_ in sorted(registered()))


def line(type_: str, read: set[tuple[str, str]], count: int, exports: bool) -> str:
    """The row of a type."""
    row = LAYER_TYPES[type_]
    old = ", ".join(f"`{name}`" for name in (row.v1, row.v0) if name)
    fields, passed_over = [], []
    for param in row.params:
        message = parameters(caffe_pb2.LayerParameter(), param)
        names = [name for name in message.DESCRIPTOR.fields_by_name if (param, name) in read]
        if names:
            fields.append(f"`{param}`: {', '.join(names)}")
        if len(names) < len(message.DESCRIPTOR.fields) and (names or param == row.param):
            others = [name for name in message.DESCRIPTOR.fields_by_name if name not in names]
            passed_over.append(f"`{param}`: {', '.join(others)}")
    forward = "fed" if row.data else "yes"
    backward = "" if row.data else f"none: {NOT_DIFFERENTIABLE[type_]}" if type_ in NOT_DIFFERENTIABLE else "yes"
    export = "" if row.data else "yes" if exports else "no"
    cells = (type_, old, "; ".join(fields), "; ".join(passed_over), forward, backward, export, str(count))
    return f"| {' | '.join(cells)} |\n"


def main() -> int:
    """Write the page, or with `--check` only compare it; 1 if it is stale."""
    text = page()
    if "--check" in sys.argv[1:]:
        if not PAGE.exists() or PAGE.read_text() != text:
            print("LAYERS.md is stale: run make layers", file=sys.stderr)
            return 1
        return 0
    PAGE.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
