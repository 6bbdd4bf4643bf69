"""Boxes, non-maximum suppression, matching, and evaluation: pure functions on tensors."""
