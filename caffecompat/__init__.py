"""Caffe models, unchanged, on PyTorch: load, run, prove equal, convert.

>>> import caffecompat
>>> net = caffecompat.load("deploy.prototxt", "net.caffemodel")
>>> outputs = net(data=images)
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from caffecompat.errors import CaffeCompatError, CaffeCompatWarning

if TYPE_CHECKING:
    from caffecompat.net import Net, load

__version__ = "0.1.0"
__all__ = ["CaffeCompatError", "CaffeCompatWarning", "Net", "__version__", "load"]


def __getattr__(name: str) -> object:
    """Import what needs torch when it is first asked for: `import caffecompat` stays cheap."""
    if name in ("Net", "load"):
        # A collection in the middle of these imports walks all of PyTorch's objects: 80 ms.
        collecting = gc.isenabled()
        gc.disable()
        try:
            import caffecompat.net
        finally:
            if collecting:
                gc.enable()
        return getattr(caffecompat.net, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
