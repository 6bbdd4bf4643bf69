"""A Net as a file: `export(net, path)` picks the format by the suffix; one module for each format."""

from caffecompat.export.files import SUFFIXES, export

__all__ = ["SUFFIXES", "export"]
