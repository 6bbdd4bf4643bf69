"""`caffecompat.from_torch`: a module of plain PyTorch as a Net, and so as Caffe's files.

`tracing` turns the module into a list of ATen operations, the converters (one file a family) turn each into layers,
`scope` writes these, and `converting` proves the result equal to the module.
"""
