"""What may be asked of an export to ONNX; imports no onnx."""

from __future__ import annotations

from dataclasses import dataclass

OPSET = 17
# protobuf holds at most 2 GiB in a message; what is not weights needs a little of it.
MAX_BYTES = 2**31 - 2**26


@dataclass(frozen=True)
class OnnxOptions:
    """How a net is written as ONNX.

    Attributes:
        opset: the version of the operators, from 17 on.
        half: weights and activations are float16; inputs and outputs stay float32.
        verify: run the result in ONNX Runtime and compare it with the net.
        dynamic_batch: let the number of images vary, where the net does not fix it.
        dynamic_size: let the height and width of pictures vary.
        max_bytes: weights of more bytes go into a file beside the model.
    """

    opset: int = OPSET
    half: bool = False
    verify: bool = True
    dynamic_batch: bool = True
    dynamic_size: bool = False
    max_bytes: int = MAX_BYTES
