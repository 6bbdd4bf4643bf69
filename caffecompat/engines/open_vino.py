"""Engine "openvino": the trunk as ONNX in OpenVINO."""

from __future__ import annotations

import io
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from caffecompat.engines.onnx_models import refusals, trunk_model
from caffecompat.engines.programs import Program, ProgramEngine
from caffecompat.engines.splitting import pieces
from caffecompat.export.openvino.runtime import load_openvino
from caffecompat.net import Net

Array = np.ndarray[Any, Any]


class OpenVinoEngine(ProgramEngine):
    """The net in OpenVINO, on its CPU plug-in."""

    name = "openvino"

    def build(self, trunk: Net, *, any_batch: bool) -> Program:
        """See `ProgramEngine.build`.

        The batch of the example passes in pieces side by side, where the net allows: threads of their own for each,
        not bound to a core, which others may need.
        """
        threads = self.settings.threads
        count = 1 if any_batch else pieces(trunk, threads)
        model = trunk_model(trunk, self.settings, any_batch=any_batch or count > 1)
        options = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bfloat16" else "f32",
        }
        hints = {"PERFORMANCE_HINT": "LATENCY"} if count == 1 else {"NUM_STREAMS": threads, "ENABLE_CPU_PINNING": False}
        with refusals("OpenVINO"):
            core = load_openvino().Core()
            read = core.read_model(io.BytesIO(model.SerializeToString()))
            if count > 1:
                shapes = {key.name: trunk.blob_shapes[key] for key in trunk.graph.inputs}
                known = [value.get_any_name() for value in read.inputs]
                read.reshape({name: [shapes[name][0] // count, *shapes[name][1:]] for name in known})
            compiled = core.compile_model(read, "CPU", {**options, **hints})
            requests = [compiled.create_infer_request() for _ in range(count)]
        fed = [value.get_any_name() for value in compiled.inputs]
        names = [value.get_any_name() for value in compiled.outputs]
        lock = threading.Lock()

        def program(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            arrays = {name: inputs[name].float().contiguous().numpy() for name in fed}
            with refusals("OpenVINO"), lock:
                found = _run(requests, arrays, len(names))
            return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}

        return program


def _run(requests: Sequence[Any], arrays: Mapping[str, Array], outputs: int) -> list[Array]:
    """The outputs, each request with its part of the inputs; copies, for the next pass overwrites what is there."""
    if len(requests) == 1:
        requests[0].infer(arrays, share_inputs=True)
        return [requests[0].get_output_tensor(index).data.copy() for index in range(outputs)]
    parts = {name: value.reshape(len(requests), -1, *value.shape[1:]) for name, value in arrays.items()}
    for place, request in enumerate(requests):
        request.start_async({name: part[place] for name, part in parts.items()}, share_inputs=True)
    for request in requests:
        request.wait()
    tensors = [[request.get_output_tensor(index).data for request in requests] for index in range(outputs)]
    return [np.concatenate(values) for values in tensors]
