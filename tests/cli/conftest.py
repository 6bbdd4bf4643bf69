"""What tests of several commands are given."""

from __future__ import annotations

import pytest

from caffecompat.schema import caffe_pb2


@pytest.fixture
def weights(tmp_path):
    """A weight file, none of whose layers is in the nets here."""
    path = tmp_path / "other.caffemodel"
    net = caffe_pb2.NetParameter(name="other")
    net.layer.add(name="other", type="Bias").blobs.add(data=[1.0]).shape.dim.append(1)
    path.write_bytes(net.SerializeToString())
    return path
