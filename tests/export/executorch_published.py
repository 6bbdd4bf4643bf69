"""Published nets as programs for ExecuTorch: a table of what runs them and how far they are from the nets.

    python -m tests.export.executorch_published [--fuse] [PART OF A NAME ...]

Without names the nets of `shared/models`; nets without weights get random ones. Each is compared by the conversion
itself, on two random inputs. Needs the folder `shared` and some minutes.
"""

from __future__ import annotations

import sys
import tempfile
import time
import warnings
from pathlib import Path

from caffecompat.errors import CaffeCompatError
from caffecompat.export.executorch.exporting import export_executorch
from caffecompat.export.fusing import fuse
from tests.export.onnx_published import opened, published
from tests.support import SHARED


def main() -> int:
    """Print the table; 1 if a net fails."""
    warnings.simplefilter("ignore")
    fused = "--fuse" in sys.argv
    parts = [part for part in sys.argv[1:] if part != "--fuse"]
    failed = 0
    print("| net | run by | largest difference | MB | s |")
    print("|---|---|---|---|---|", flush=True)
    for path in published(parts or ["models/"]):
        start, told = time.process_time(), []
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / "net.pte"
            try:
                net = opened(path)
                found = export_executorch(fuse(net, verify=False) if fused else net, target, {}, tell=told.append)
                worst = f"{max(each.difference for each in found.comparisons):.1e}"
                size = f"{target.stat().st_size / 1e6:.1f}"
            except CaffeCompatError as error:
                failed += 1
                worst, size = error.message, ""
        seconds = f"{time.process_time() - start:.0f}"
        print(f"| {path.relative_to(SHARED)} | {'; '.join(told)} | {worst} | {size} | {seconds} |", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
