"""Python layers as scripts write them, for the tests of the drop-in."""

from __future__ import annotations

import numpy as np

import caffecompat.pycaffe as caffe


class Times(caffe.Layer):
    """Multiplies by ten, or by what param_str states."""

    def setup(self, bottom, top):
        if len(bottom) != 1:
            raise Exception("expected one bottom")
        self.factor = float(self.param_str or 10)

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.factor * bottom[0].data

    def backward(self, top, propagate_down, bottom):
        bottom[0].diff[...] = self.factor * top[0].diff


class Phase(caffe.Layer):
    """Its phase, a single number."""

    def reshape(self, bottom, top):
        top[0].reshape()

    def forward(self, bottom, top):
        top[0].data[()] = self.phase


class Line(caffe.Layer):
    """y = w x + b with parameters of its own."""

    def setup(self, bottom, top):
        self.blobs.add_blob(1)
        self.blobs.add_blob()
        self.blobs[0].data[0] = 0.5

    def reshape(self, bottom, top):
        top[0].reshape(*bottom[0].shape)

    def forward(self, bottom, top):
        top[0].data[...] = self.blobs[0].data * bottom[0].data + self.blobs[1].data

    def backward(self, top, propagate_down, bottom):
        self.blobs[0].diff[0] += (top[0].diff * bottom[0].data).sum()
        self.blobs[1].diff[...] += top[0].diff.sum()
        if propagate_down[0]:
            bottom[0].diff[...] = self.blobs[0].data * top[0].diff


class Euclidean(caffe.Layer):
    """A loss that keeps the difference from its forward for its backward."""

    def setup(self, bottom, top):
        if len(bottom) != 2:
            raise Exception("Need two inputs to compute distance.")

    def reshape(self, bottom, top):
        if bottom[0].count != bottom[1].count:
            raise Exception("Inputs must have the same dimension.")
        self.diff = np.zeros_like(bottom[0].data, dtype=np.float32)
        top[0].reshape(1)

    def forward(self, bottom, top):
        self.diff[...] = bottom[0].data - bottom[1].data
        top[0].data[...] = np.sum(self.diff**2) / bottom[0].num / 2.0

    def backward(self, top, propagate_down, bottom):
        for i, sign in enumerate((1, -1)):
            if propagate_down[i]:
                bottom[i].diff[...] = sign * self.diff / bottom[i].num * top[0].diff


class Fails(caffe.Layer):
    """Raises in the method that param_str names."""

    def setup(self, bottom, top):
        self._do("setup")

    def reshape(self, bottom, top):
        self._do("reshape")
        top[0].reshape(*bottom[0].data.shape)

    def forward(self, bottom, top):
        self._do("forward")

    def backward(self, top, propagate_down, bottom):
        self._do("backward")

    def _do(self, method):
        if self.param_str == method:
            raise KeyError("no such thing")


class Misshapen(caffe.Layer):
    """Gives its top one row more than is written to it."""

    def reshape(self, bottom, top):
        top[0].reshape(bottom[0].num + 1, *bottom[0].shape[1:])

    def forward(self, bottom, top):
        top[0].data[...] = bottom[0].data


class NotALayer:
    """No subclass of caffe.Layer."""
