"""Segmentation: label maps in their several encodings, scores, data sets, and a dense CRF."""
