"""The recorded answers of the original for small nets and for training runs, asked for as they were recorded.

The programs are those of `reference/make_layers.py` and `reference/training/make_training.py`.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

import caffecompat.pycaffe as caffe
from tests.layers.golden import Case, cases, differences
from tests.solver.runs import RUNS, TRAINING, recorded

# A value of a MAX window comes within rounding of another early in these runs: see tests/solver/test_training.py.
NEAR_TIES = ("nesterov", "sgd_inv_clip", "legacy_solver_type")


def found(case: Case, folder) -> dict[str, torch.Tensor]:
    """What the recorder's program gives with the drop-in, for every recorded key."""
    path = folder / "net.prototxt"
    path.write_text(str(case.record["prototxt"]))
    net = caffe.Net(str(path), caffe.TRAIN if str(case.record["phase"]) == "TRAIN" else caffe.TEST)
    for key, value in case.part("param").items():
        layer, index = key.rsplit("/", 1)
        net.params[layer][int(index)].data[...] = value
    for name, value in case.part("in").items():
        net.blobs[name].reshape(*value.shape)
        net.blobs[name].data[...] = value
    net.reshape()
    net.forward()
    arrays = {f"out/{name}": net.blobs[name].data.copy() for name in case.part("out")}
    arrays |= {f"after/{key}": parameter(net, key).data.copy() for key in case.part("after")}
    for name, value in case.part("topdiff").items():
        net.blobs[name].diff[...] = value
    net.backward()
    arrays |= {f"grad_in/{name}": net.blobs[name].diff.copy() for name in case.part("grad_in")}
    arrays |= {f"grad_param/{key}": parameter(net, key).diff.copy() for key in case.part("grad_param")}
    return {key: torch.from_numpy(np.asarray(array)) for key, array in arrays.items()}


def parameter(net: caffe.Net, key: str):
    layer, index = key.rsplit("/", 1)
    return net.params[layer][int(index)]


@pytest.mark.parametrize("case", cases(), ids=str)
def test_layers(case, tmp_path, monkeypatch):
    monkeypatch.chdir(case.path.parent)
    caffe.set_dialect(case.dialect)
    try:
        assert differences(case, found(case, tmp_path)) == {}
    finally:
        caffe.set_dialect("ssd")


@pytest.mark.parametrize("run", [run for run in RUNS if run not in NEAR_TIES])
def test_training(run, monkeypatch):
    """The first losses, each read from the train net's blob after a step, and the parameters that tests use."""
    monkeypatch.chdir(TRAINING)
    solver = caffe.get_solver(f"{run}/solver.prototxt")
    solver.net.copy_from(f"{run}/init.caffemodel")
    losses = []
    for _ in range(15):
        solver.step(1)
        losses.append(float(solver.net.blobs["loss"].data))
    np.testing.assert_allclose(losses, recorded(run)["loss"][:15], atol=1e-5)
