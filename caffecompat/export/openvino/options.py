"""What may be asked of an export to OpenVINO; imports no openvino."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class OpenVinoOptions:
    """How a net is written for OpenVINO.

    Attributes:
        half: the weights are kept as float16; inputs and outputs stay float32.
        verify: run the result in OpenVINO and compare it with the net.
        dynamic_batch: let the number of images vary, where the net does not fix it.
        dynamic_size: let the height and width of pictures vary.
    """

    half: bool = False
    verify: bool = True
    dynamic_batch: bool = True
    dynamic_size: bool = False
