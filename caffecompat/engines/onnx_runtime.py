"""Engine "onnxruntime": the trunk as ONNX in ONNX Runtime."""

from __future__ import annotations

import onnxruntime
import torch
from torch import Tensor

from caffecompat.engines.onnx_models import refusals, trunk_model
from caffecompat.engines.programs import Program, ProgramEngine
from caffecompat.net import Net


class OnnxRuntimeEngine(ProgramEngine):
    """The net in ONNX Runtime, on its CPU provider."""

    name = "onnxruntime"

    def build(self, trunk: Net, *, any_batch: bool) -> Program:
        """See `ProgramEngine.build`."""
        model = trunk_model(trunk, self.settings, any_batch=any_batch)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.intra_op_num_threads = self.settings.threads
        options.inter_op_num_threads = 1
        # Threads that went on waiting busily would take the cores from what runs between two passes.
        options.add_session_config_entry("session.force_spinning_stop", "1")
        with refusals("ONNX Runtime"):
            session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        names = [output.name for output in session.get_outputs()]
        fed = {value.name for value in session.get_inputs()}

        def program(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            arrays = {name: value.float().contiguous().numpy() for name, value in inputs.items() if name in fed}
            with refusals("ONNX Runtime"):
                found = session.run(names, arrays)
            return {name: torch.from_numpy(value) for name, value in zip(names, found, strict=True)}

        return program
