"""Compile caffe.proto into what the package carries: a descriptor set and the types of its messages.

Run `python proto/compile.py` after every change of caffe.proto (needs the `dev` extra). With `--check`
nothing is written and the exit status tells whether the committed files are fresh.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

PROTO = Path(__file__).resolve().parent / "caffe.proto"
SCHEMA = PROTO.parent.parent / "caffecompat" / "schema"


def compiled() -> dict[Path, bytes]:
    """Each generated file's path and its content."""
    with tempfile.TemporaryDirectory() as folder:
        descriptors = Path(folder) / "caffe.desc"
        subprocess.run(
            [
                sys.executable,
                "-m",
                "grpc_tools.protoc",
                f"--proto_path={PROTO.parent}",
                f"--descriptor_set_out={descriptors}",
                f"--pyi_out={folder}",
                str(PROTO),
            ],
            check=True,
        )
        return {
            SCHEMA / "caffe.desc": descriptors.read_bytes(),
            SCHEMA / "caffe_pb2.pyi": (Path(folder) / "caffe_pb2.pyi").read_bytes(),
        }


def main() -> int:
    """Write the generated files, or with `--check` only compare them; 1 if one is stale."""
    files = compiled()
    if "--check" in sys.argv[1:]:
        stale = [path for path, data in files.items() if not path.exists() or path.read_bytes() != data]
        for path in stale:
            print(f"{path.name} is stale: run python proto/compile.py", file=sys.stderr)
        return 1 if stale else 0
    for path, data in files.items():
        path.write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
