"""The rooms of the house: a package imports only packages that stand above it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOMS = (
    "errors",
    "legacy",
    "schema",
    "formats",
    "netspec",
    "graph",
    "detection",
    "data",
    "layers",
    "net",
    "blob",
    "solver",
    "export",
    "engines",
    "verify",
    "zoo",
    "pycaffe",
    "cv2dnn",
    "cli",
)
# These stand side by side.
NEIGHBOURS = {"solver", "export"}
OUTSIDE = {"__init__", "__main__"}
PACKAGE = Path(__file__).resolve().parent.parent / "caffecompat"


def imported(path: Path) -> Iterator[str]:
    """The modules of caffecompat that a file imports, by their full names."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] == "caffecompat")


def may_import(room: str, other: str) -> bool:
    """Whether a file of `room` may import one of `other`."""
    if room in OUTSIDE or room == other:
        return True
    if {room, other} <= NEIGHBOURS:
        return False
    return ROOMS.index(other) < ROOMS.index(room)


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms(path):
    room = path.relative_to(PACKAGE).with_suffix("").parts[0]
    assert room in ROOMS or room in OUTSIDE, f"{room} is no room of the house"
    for name in imported(path):
        parts = name.split(".")
        if len(parts) == 1 or parts[1] not in ROOMS:
            continue  # caffecompat itself: its version, the place of its files
        assert may_import(room, parts[1]), f"{path}: {room} imports {name}"


def test_the_order_can_fail():
    assert not may_import("formats", "graph")
    assert not may_import("solver", "export")
    assert may_import("graph", "formats")
    assert may_import("engines", "export")


@pytest.mark.parametrize("call", ["import caffecompat", "import caffecompat.cli.main"])
def test_cheap_import(call):
    heavy = "{'torch', 'numpy', 'cv2', 'lmdb', 'h5py'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", f"{call}; import sys; found = {heavy}; assert not found, found"], check=True)


def test_help_imports_nothing_heavy():
    call = "from caffecompat.cli.main import main; main(['--help'], standalone_mode=False)"
    code = f"import sys; {call}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    modules = set(done.stdout.splitlines()[-1].split())
    assert "click" in modules
    assert not modules & {"torch", "numpy", "cv2", "google.protobuf"}
