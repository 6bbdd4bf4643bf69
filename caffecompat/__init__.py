"""Caffe models, unchanged, on PyTorch."""
