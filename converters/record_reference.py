#!/usr/bin/env python
"""Records what an old Caffe computes, for `caffecompat verify --against reference.npz`; no recipe.

It is one file for Python 2.7 and 3, and needs NumPy and pycaffe only. Copy it to where the old Caffe runs:

    python record_reference.py deploy.prototxt net.caffemodel reference.npz [input.npz]

`input.npz` has an array for each input, under the input's name; without it they are drawn from a fixed seed. The file
it writes has `input/NAME` for each input and `blob/NAME` for every blob after one pass forward in phase TEST.
"""

from __future__ import print_function

import sys

import numpy as np


def record(prototxt, weights, target, given=None):
    # type: (str, str, str, dict[str, np.ndarray] | None) -> None
    """Run the net once and write the file."""
    import caffe

    caffe.set_mode_cpu()
    net = caffe.Net(prototxt, weights, caffe.TEST)
    generator = np.random.RandomState(1)
    arrays = {}
    for name in net.inputs:
        blob = net.blobs[name]
        if given is None:
            value = generator.uniform(-1, 1, tuple(blob.shape))
        else:
            value = given[name]
            blob.reshape(*value.shape)
        blob.data[...] = value
        arrays["input/" + name] = np.array(blob.data, np.float32)
    net.forward()
    for name, blob in net.blobs.items():
        if name not in net.inputs:
            arrays["blob/" + name] = np.array(blob.data, np.float32)
    with open(target, "wb") as file:
        np.savez(file, **arrays)  # type: ignore
    print("{}: {} blobs".format(target, len(arrays)))


if __name__ == "__main__":
    if len(sys.argv) not in (4, 5):
        sys.exit(__doc__)
    record(sys.argv[1], sys.argv[2], sys.argv[3], np.load(sys.argv[4]) if len(sys.argv) == 5 else None)
