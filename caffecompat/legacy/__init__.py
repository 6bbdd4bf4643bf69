"""Scripts that were written for Python 2, and for a `caffe` that is not here any more. Needs no torch."""
