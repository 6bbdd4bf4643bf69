"""`.py`: a net as the source of a plain PyTorch module, with its parameters in a `.safetensors` beside it.

`registry` knows the writers, one module for each family of layers; `building` runs them over a net and gets items: what
to make in `__init__`, and what to compute in `forward`. `runs`, `blocks` and `chains` fold items that repeat into
functions, classes and loops; `printing` makes a class of them; `exporting` writes the two files. What PyTorch lacks is
in `operators`: its functions are copied into the files that need them.
"""
