"""InfogainLoss: its matrix from a file, and what it refuses."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from caffecompat import load
from caffecompat.errors import FormatError, GraphError, SchemaError, ShapeError
from caffecompat.schema import caffe_pb2
from tests.layers.single import single

MATRIX = np.arange(9, dtype=np.float32).reshape(3, 3)


def write_matrix(path, shape):
    blob = caffe_pb2.BlobProto(data=MATRIX.ravel().tolist())
    blob.shape.dim.extend(shape)
    path.write_bytes(blob.SerializeToString())


@pytest.mark.parametrize("shape", [(1, 1, 3, 3), (3, 3)])
@pytest.mark.parametrize("dialect", ["ssd", "bvlc"])
def test_matrix_from_a_file_beside_the_prototxt(tmp_path, dialect, shape):
    write_matrix(tmp_path / "H.binaryproto", shape)
    (tmp_path / "net.prototxt").write_text(
        """
        layer { name: "p" type: "Input" top: "p" input_param { shape { dim: 2 dim: 3 } } }
        layer { name: "t" type: "Input" top: "t" input_param { shape { dim: 2 } } }
        layer { name: "l" type: "InfogainLoss" bottom: "p" bottom: "t" top: "y"
                infogain_loss_param { source: "H.binaryproto" } }
        """
    )
    net = load(tmp_path / "net.prototxt", dialect=dialect)
    prob = np.array([[0.2, 0.3, 0.5], [0.6, 0.3, 0.1]], np.float32)
    bottom = prob if dialect == "ssd" else np.log(prob)
    loss = net(p=torch.from_numpy(bottom), t=torch.tensor([2, 0]))["y"]
    expected = -((MATRIX[2] * np.log(prob[0])).sum() + (MATRIX[0] * np.log(prob[1])).sum()) / 2
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert not net.state_dict(), "H is no parameter"


@pytest.mark.parametrize("content", [None, b"", b"\x0a\xff\xff\xff\xff\x0f"])
def test_a_broken_matrix_is_refused(tmp_path, content):
    path = tmp_path / "H.binaryproto"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises((FormatError, ShapeError)) as caught:
        single("InfogainLoss", f'infogain_loss_param {{ source: "{path}" }}', (2, 3), (2,))
    assert caught.value.layer == "l"


@pytest.mark.parametrize(
    ("dialect", "body", "shapes", "tops", "kind", "message"),
    [
        ("ssd", "", [(2, 3), (2,)], 1, SchemaError, "needs H: a third bottom, or"),
        ("ssd", "", [(2, 3), (2,), (1, 1, 2, 3)], 1, ShapeError, "H must hold 3 x 3 values for these classes, got (1,"),
        ("ssd", "", [(2, 3), (2, 3), (3, 3)], 1, ShapeError, "need 2 labels (2,), got 6"),
        ("ssd", "", [(2, 3), (2,), (3, 3)], 2, GraphError, "the SSD branch's InfogainLoss has one top"),
        ("bvlc", "loss_param { normalize: true }", [(2, 3), (2,), (3, 3)], 1, SchemaError, "normalize is not read"),
        ("bvlc", "infogain_loss_param { axis: 2 }", [(2, 3), (2,), (3, 3)], 1, ShapeError, "axis 2 is out of range"),
    ],
)
def test_infogain_refuses(dialect, body, shapes, tops, kind, message):
    weights = "loss_weight: 1 " * tops
    with pytest.raises(kind, match=re.escape(message)):
        single("InfogainLoss", weights + body, *shapes, tops=tops, dialect=dialect)
