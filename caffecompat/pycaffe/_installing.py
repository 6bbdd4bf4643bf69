"""`caffecompat.pycaffe.install()`: see `legacy.drop_in`, which does not import the drop-in to install it."""

from __future__ import annotations

from caffecompat.legacy.drop_in import install, uninstall

__all__ = ["install", "uninstall"]
