"""`.onnx`: a net as a graph of ONNX's standard operators, written by hand for each layer type.

`emitters` names the modules of emitters, one for each family of layers; `building` runs them over a net; `verifying`
compares what ONNX Runtime makes of the result with the net; `writing` puts it into a file.
"""

from __future__ import annotations

from caffecompat.export.onnx.exporting import OnnxOptions, export_onnx

__all__ = ["OnnxOptions", "export_onnx"]
