"""Caffe's command-line tools by their old names and with their old flags; the work is done by our own commands."""
