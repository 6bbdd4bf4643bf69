"""What the tests of ONNX share: nets of one layer, and a model run in ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch

from tests.layers.type_cases import Case
from tests.support import make_net


def net_of(case: Case):
    """The net of a case, its parameters random."""
    lines = []
    for index, bottom in enumerate(case.bottoms):
        sizes = " ".join(f"dim: {size}" for size in bottom.shape)
        lines.append(
            f'layer {{ name: "x{index}" type: "Input" top: "x{index}" input_param {{ shape {{ {sizes} }} }} }}'
        )
    bottoms = " ".join(f'bottom: "x{index}"' for index in range(len(case.bottoms)))
    tops = " ".join(f'top: "y{index}"' for index in range(case.tops))
    lines.append(f'layer {{ name: "l" type: "{case.type}" {bottoms} {tops} {case.body} }}')
    torch.manual_seed(0)
    net = make_net("\n".join(lines), **case.options)
    layer = net.layers[-1]
    with torch.no_grad():
        for name in layer.blob_names:
            blob = getattr(layer, name)
            blob.copy_(torch.randn(blob.shape) if blob.requires_grad else torch.rand(blob.shape) + 0.5)
    return net.eval()


def inputs_of(case: Case):
    """The case's inputs as float32 arrays, by name."""
    return {f"x{index}": value.detach().float().numpy() for index, value in enumerate(case.inputs())}


def run_model(path, inputs):
    """The outputs of a model by name."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    wanted = {value.name for value in session.get_inputs()}
    outputs = session.run(None, {name: value for name, value in inputs.items() if name in wanted})
    return dict(zip([value.name for value in session.get_outputs()], outputs, strict=True))


def run_net(net, inputs):
    """The outputs of a net by name, as arrays."""
    with torch.no_grad():
        return {name: value.numpy() for name, value in net(**inputs).items()}


def assert_same(found, wanted, tolerance=1e-5):
    """Every output is within a part of its largest magnitude."""
    assert set(found) <= set(wanted)
    assert found or not wanted
    for name, value in found.items():
        ours = np.asarray(wanted[name])
        assert value.shape == ours.shape, name
        largest = np.abs(ours[np.isfinite(ours)]).max(initial=1e-30)
        np.testing.assert_allclose(value, ours, rtol=0, atol=tolerance * largest, err_msg=name)
