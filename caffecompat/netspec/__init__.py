"""Nets written from Python: `n.conv1 = L.Convolution(n.data, kernel_size=3, num_output=64)`, then `n.to_proto()`.

`layers` (usually `L`) makes layers of any type, `params` (usually `P`) has the constants of Caffe's enums, and a
`NetSpec` gives names to the blobs that are assigned to it. Source of the rules: net_spec.py of the original, the union
of the SSD branch's and BVLC master's.
"""

from caffecompat.netspec.fields import (
    FieldValueError,
    Parameters,
    UnknownFieldError,
    assign_proto,
    param_name_dict,
    params,
)
from caffecompat.netspec.spec import (
    Function,
    Layers,
    NetSpec,
    NotATopError,
    Top,
    UnknownTopError,
    layers,
    to_proto,
)

__all__ = [
    "FieldValueError",
    "Function",
    "Layers",
    "NetSpec",
    "NotATopError",
    "Parameters",
    "Top",
    "UnknownFieldError",
    "UnknownTopError",
    "assign_proto",
    "layers",
    "param_name_dict",
    "params",
    "to_proto",
]
