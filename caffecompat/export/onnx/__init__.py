"""`.onnx`: a net as a graph of ONNX's standard operators, written by hand for each layer type.

`registry` knows the emitters, one module for each family of layers; `building` runs them over a net; `verifying`
compares what ONNX Runtime makes of the result with the net; `writing` puts it into a file; `exporting` does it all.
"""
