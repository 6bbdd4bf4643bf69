"""What the tests of `.py` share: a net written, read again, and run apart from this package."""

from __future__ import annotations

import ast
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch

from caffecompat.export.source.exporting import export_source

RUFF = Path(sys.executable).with_name("ruff")
# Runs modules on arrays in a process of its own; whoever imports caffecompat there fails.
APART = """
import importlib.util, sys
sys.modules["caffecompat"] = None
import numpy, torch
torch.set_num_threads(int(sys.argv[1]))
for path in sys.argv[2:]:
    spec = importlib.util.spec_from_file_location("model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    inputs = numpy.load(path + ".inputs.npz")
    with torch.inference_mode():
        outputs = module.load()(*(torch.from_numpy(inputs[f"arr_{i}"]) for i in range(len(module.INPUTS))))
    if not isinstance(outputs, dict):
        outputs = {"": outputs}
    numpy.savez(path + ".outputs.npz", *(value.numpy() for value in outputs.values()))
print(sorted(name for name in sys.modules if name.startswith("caffecompat") and sys.modules[name]))
"""


def written(net, folder, name="model", **metadata):
    """The path of a net's source."""
    metadata = {"preprocessing": net.preprocessing.to_json(), **metadata}
    files = export_source(net, folder / f"{name}.py", metadata, verify=False).files
    assert files == [folder / f"{name}.py", folder / f"{name}.safetensors"]
    return files[0]


def loaded(path):
    """The module of a source file."""
    spec = importlib.util.spec_from_file_location("model", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_source(path, inputs):
    """Its outputs as arrays, by name; a single one under ""."""
    module = loaded(path)
    with torch.no_grad():
        outputs = module.load()(*(torch.as_tensor(inputs[name]) for name in module.INPUTS))
    return named(outputs)


def named(outputs):
    """The outputs by name."""
    outputs = outputs if isinstance(outputs, dict) else {"": outputs}
    return {name: value.detach().numpy() for name, value in outputs.items()}


def run_apart(runs, threads=1):
    """Outputs of source files on arrays, computed in a process that cannot import this package, in their order.

    Args:
        runs: (path, [an array for each input]).
        threads: how many it may use.
    """
    for path, inputs in runs:
        np.savez(f"{path}.inputs.npz", *inputs)
    command = [sys.executable, "-I", "-W", "error", "-c", APART, str(threads), *(str(path) for path, _ in runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    results = []
    for path, _ in runs:
        with np.load(f"{path}.outputs.npz") as file:
            results.append([file[name] for name in file.files])
    return results


def assert_tidy(*paths):
    """ruff, with its own rules, finds nothing in the files, and would format them as they are."""
    for command in (["check"], ["format", "--diff"]):
        done = subprocess.run([RUFF, *command, "--isolated", *paths], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def calls_of(path):
    """The names of all functions called in a source file."""
    tree = ast.parse(Path(path).read_text())
    return {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def metadata_of(path):
    """The metadata of a `.safetensors`."""
    with open(path, "rb") as file:
        return json.loads(file.read(int.from_bytes(file.read(8), "little")))["__metadata__"]
