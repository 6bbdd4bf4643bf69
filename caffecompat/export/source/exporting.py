"""`export_source`: a net as two files, its code and its parameters."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from caffecompat.data.preprocessing import Preprocessing
from caffecompat.export.axes import find_axes
from caffecompat.export.drafting import drafted
from caffecompat.export.pt2 import evaluation
from caffecompat.export.safetensors import safetensors_bytes
from caffecompat.export.source.blocks import fold_blocks
from caffecompat.export.source.building import Draft, build
from caffecompat.export.source.chains import fold_chains, fold_fans
from caffecompat.export.source.item import Item, Value
from caffecompat.export.source.names import attribute, class_name, variable
from caffecompat.export.source.operators import names as operator_names
from caffecompat.export.source.operators import sources
from caffecompat.export.source.printing import Forward, class_lines, returned_by_name
from caffecompat.export.source.program import MAX_LABELS, load_source, main_sources
from caffecompat.export.source.runs import fold_runs
from caffecompat.export.source.text import WIDTH, comment_safe, constant, fitted, of
from caffecompat.export.source.verifying import can_verify
from caffecompat.export.source.verifying import verify as verify_module
from caffecompat.export.verifying import Exported
from caffecompat.formats import atomic_write
from caffecompat.net import Net

# Keys of the preprocessing record that are written even if they are as they are by default.
_ALWAYS = ("input", "channels", "mean", "scale", "size")
_BESIDE = ".safetensors"


def export_source(net: Net, path: Path, metadata: Mapping[str, str], *, verify: bool = True) -> Exported:
    """Write a net as the source of a module that needs torch and safetensors alone, as it computes in evaluation.

    The parameters go into a `.safetensors` of the same name beside it, and with them the metadata, whole, and as
    "layers" a JSON object that says where the parameters of each layer are. Unless told otherwise, the module is run
    in a process of its own, and its outputs are compared with the net's, before a file appears.

    Args:
        net: the net, its parameters filled; it does not change.
        path: where to, `*.py`; both files are replaced whole.
        metadata: texts by name.
        verify: compare, if the packages are installed that the module needs.

    Raises:
        UnsupportedError: a layer cannot be written; it names the layer.
        CaffeCompatError: a file cannot be written, or the outputs are not the net's.
    """
    name = net.graph.name or Path(net.graph.file or "").stem
    comparisons = None
    with evaluation(net), drafted(path, _BESIDE) as written:
        draft = build(net)
        code, tensors, layers = write_source(draft, name, metadata)
        axes = find_axes(net, dynamic_batch=True, dynamic_size=False)
        with atomic_write(written) as file:
            file.write(code.encode())
        with atomic_write(written.with_suffix(_BESIDE)) as weights:
            for part in safetensors_bytes(tensors, {**metadata, "layers": json.dumps(layers)}):
                weights.write(part)
        if verify and can_verify():
            comparisons = verify_module(net, written, axes, list(draft.inputs), list(draft.outputs))
    return Exported([path, path.with_suffix(_BESIDE)], axes.batch, comparisons)


def write_source(draft: Draft, name: str, metadata: Mapping[str, str]) -> tuple[str, dict[str, Tensor], dict[str, str]]:
    """The source of a net, its parameters by the keys of `state_dict()`, and where those of each layer are.

    Args:
        draft: the net.
        name: its name.
        metadata: as `export` makes it.
    """
    outputs = list(draft.outputs.values())
    taken = {*operator_names()}
    main = class_name(name, "Net", taken)
    taken.add(main)
    items, runs = fold_runs(draft.items, outputs, taken)
    before = set(taken)
    items, blocks = fold_blocks(items, outputs, taken)
    classes = sorted(taken - before)
    items = fold_fans(fold_chains(items, outputs, classes), outputs, classes)

    attributes = _attributes(items)
    own = _main_class(main, draft, items, attributes, name)
    needed = sorted({operator for item in items for operator in item.operators})
    record = Preprocessing.from_json(metadata.get("preprocessing") or Preprocessing().to_json())
    body = [*sources(needed), *runs, *blocks, own, load_source(main), *main_sources(draft, record)]
    tensors = {
        f"{attributes[item]}.{key}": tensor for item in items if item.has_module for key, tensor in item.tensors.items()
    }
    layers = {
        layer: f"{attributes[item]}.{path}".rstrip(".")
        for item in items
        if item.has_module
        for layer, path in item.layers.items()
    }
    text = "\n\n\n".join(body)
    head = _head(name, draft, metadata, text)
    return f'{head}\n\n\n{text}\n\n\nif __name__ == "__main__":\n    main()\n', tensors, layers


def _attributes(items: Sequence[Item]) -> dict[Item, str]:
    names: dict[Item, str] = {}
    taken: set[str] = set()
    for item in items:
        if item.has_module:
            names[item] = attribute(item.label, item.kind, taken)
            taken.add(names[item])
    return names


def _main_class(main: str, draft: Draft, items: Sequence[Item], attributes: Mapping[Item, str], name: str) -> str:
    init = [
        fitted(item.make.text(), 2, f"self.{attributes[item]} = ")
        for item in items
        if item.has_module and item.make is not None
    ]
    inputs: dict[Value, str] = {}
    for blob, (value, _) in draft.inputs.items():
        inputs[value] = variable(blob, "input", inputs.values())
    kinds = {value: item.kind for item in items for value in item.outputs}

    def called(value: Value) -> str:
        return inputs[value] if value in inputs else variable(value.name, kinds[value], ())

    returned = returned_by_name(list(draft.outputs))
    forward = Forward(items, attributes, inputs, list(draft.outputs.values()), called, returned).lines()
    result = "Tensor" if len(draft.outputs) == 1 else "dict[str, Tensor]"
    signature = f"def forward({', '.join(['self', *(f'{each}: Tensor' for each in inputs.values())])}) -> {result}:"
    sizes = {blob: shape for blob, (_, shape) in draft.inputs.items()} | draft.shapes
    named = [
        ", ".join(f"{comment_safe(blob)} {sizes[blob]}" for blob in each) for each in (draft.inputs, draft.outputs)
    ]
    docstring = f"{comment_safe(name) or 'The net'}: {' -> '.join(named)}."
    if len(docstring) > WIDTH - 10:
        docstring = f"{comment_safe(name) or 'The net'}."
    return class_lines(main, docstring, [], init, signature, forward)


def _head(name: str, draft: Draft, metadata: Mapping[str, str], text: str) -> str:
    """The docstring, the imports that the text needs, and the constants."""
    version = comment_safe(metadata.get("caffecompat_version", ""))
    shown = comment_safe(name) or "A net"
    imports = [line for word, line in _IMPORTS if re.search(rf"(?<![\w.\"']){word}", text)]
    first, second = imports[: -len(_others(imports))], _others(imports)
    record, left = _record(metadata.get("preprocessing", "{}"))
    where = f"\n# Its {' and '.join(left)}: in the metadata of the .safetensors." if left else ""
    sources_ = of(json.loads(metadata.get("sources", "{}")))
    shapes = {blob: tuple(shape) for blob, (_, shape) in draft.inputs.items()}
    return "\n".join(
        [
            f'"""{shown}: a Caffe net as a plain PyTorch module.',
            "",
            f"Written by caffecompat {version}, which it does not need. The parameters are in the",
            '.safetensors of the same name beside this file.\n"""',
            "",
            *first,
            "",
            *second,
            "",
            f"# How a picture becomes the input; sizes are (height, width).{where}",
            constant("PREPROCESSING", record),
            "# The files that it was made from, with their SHA-256.",
            constant("SOURCES", sources_),
            constant("LICENSE", metadata.get("license", "")),
            "# The inputs, with the shapes that the net was built for.",
            constant("INPUTS", shapes),
        ]
    )


_IMPORTS = (
    (r"base64\.", "import base64"),
    (r"json\.", "import json"),
    (r"math\.", "import math"),
    (r"sys\.", "import sys"),
    (r"Callable\[", "from collections.abc import Callable"),
    (r"Path\(", "from pathlib import Path"),
    (r"numpy\.", "import numpy"),
    (r"torch\.", "import torch"),
    (r"F\.", "import torch.nn.functional as F"),
    (r"safe_open\(", "from safetensors import safe_open"),
    (r"load_file\(", "from safetensors.torch import load_file"),
    (r"Tensor\b", "from torch import Tensor, nn"),
)


def _others(imports: Sequence[str]) -> list[str]:
    """Those that are not of the standard library."""
    return [line for line in imports if re.search("torch|numpy|safetensors", line)]


def _record(text: str) -> tuple[dict[str, object], list[str]]:
    """The preprocessing record without what is as it is by default, and the keys of what is too long to stand there."""
    values = json.loads(text)
    usual = json.loads(Preprocessing().to_json())
    record = {key: of(value) for key, value in values.items() if key in _ALWAYS or value != usual.get(key)}
    left = [name for name in ("mean_image", "labels") if _is_long(name, values.get(name))]
    for name in left:
        record.pop(name, None)
    return record, left


def _is_long(name: str, value: Any) -> bool:
    return value is not None and (name == "mean_image" or len(value) > MAX_LABELS)
