"""Run an exported Caffe net with PyTorch alone.

python examples/run_pt2.py PROGRAM.pt2 INPUT.npy OUTPUT.npy
"""

from __future__ import annotations

import sys

import numpy as np
import torch

sys.modules["caffecompat"] = None  # type: ignore[assignment]  # any attempt to import it fails


def main() -> None:
    """Load the program, give it the input, save its first output."""
    program, source, target = sys.argv[1:]
    net = torch.export.load(program).module()
    with torch.inference_mode():
        outputs = net(data=torch.from_numpy(np.load(source)))
    np.save(target, next(iter(outputs.values())).numpy())


if __name__ == "__main__":
    main()
