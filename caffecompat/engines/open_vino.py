"""Engine "openvino": the trunk as ONNX in OpenVINO."""

from __future__ import annotations

import io
import threading

import torch
from torch import Tensor

from caffecompat.engines.onnx_models import refusals, trunk_model
from caffecompat.engines.programs import Program, ProgramEngine
from caffecompat.export.openvino.runtime import load_openvino
from caffecompat.net import Net


class OpenVinoEngine(ProgramEngine):
    """The net in OpenVINO, on its CPU plug-in."""

    name = "openvino"

    def build(self, trunk: Net, *, any_batch: bool) -> Program:
        """See `ProgramEngine.build`."""
        model = trunk_model(trunk, self.settings, any_batch=any_batch)
        options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self.settings.threads,
            "INFERENCE_PRECISION_HINT": "bf16" if self.precision == "bfloat16" else "f32",
        }
        with refusals("OpenVINO"):
            openvino = load_openvino()
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(io.BytesIO(model.SerializeToString())), "CPU", options)
            request = compiled.create_infer_request()
        fed = [value.get_any_name() for value in compiled.inputs]
        names = [value.get_any_name() for value in compiled.outputs]
        lock = threading.Lock()

        def program(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            arrays = [inputs[name].float().contiguous().numpy() for name in fed]
            with refusals("OpenVINO"), lock:
                # Given to `infer`, arrays and results are wrapped and copied once more.
                for index, array in enumerate(arrays):
                    request.set_input_tensor(index, openvino.Tensor(array, shared_memory=True))
                request.infer(share_outputs=True)
                # Copies, for the next pass overwrites what is there.
                found = [request.get_output_tensor(index).data.copy() for index in range(len(names))]
            return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}

        return program
