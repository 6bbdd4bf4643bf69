"""Images of another size: whatever mixes rows with rows and columns with columns, by fixed weights."""

from __future__ import annotations

import torch
from torch import Tensor

from caffecompat.export.from_torch.registry import converts
from caffecompat.export.from_torch.scope import Scope, filled
from caffecompat.export.from_torch.values import Blob
from caffecompat.schema import caffe_pb2

# Values of the probe at a time.
_CHUNK = 1 << 24


def resampled(scope: Scope, x: Blob) -> Blob:
    """Two matrix products, one over the rows and one over the columns: exact at the borders too.

    The operation has to treat rows and columns apart and leave a constant image as it is. What it makes of a row is
    found by asking it. The sizes are fixed by it.
    """
    if len(x.shape) != 4 or len(scope.shape) != 4:
        raise scope.error(f"expected images, (num, channels, height, width), got {x.shape}")
    top = x
    rows, columns = _weights(scope, x.shape, 2), _weights(scope, x.shape, 3)
    if x.shape[2] != scope.shape[2] or not torch.equal(rows, torch.eye(x.shape[2])):
        # Height as channels: a convolution over the width alone. cuDNN's takes two axes, so Caffe's own has to do it.
        top = scope.layer(
            "Convolution",
            top,
            part="rows",
            blobs=[rows.unsqueeze(2)],
            fixed=True,
            axis=2,
            num_output=scope.shape[2],
            kernel_size=1,
            bias_term=False,
            engine=caffe_pb2.ConvolutionParameter.CAFFE,
        )
    if x.shape[3] != scope.shape[3] or not torch.equal(columns, torch.eye(x.shape[3])):
        top = scope.layer(
            "InnerProduct",
            top,
            part="columns",
            blobs=[columns],
            fixed=True,
            axis=3,
            num_output=scope.shape[3],
            bias_term=False,
        )
    return top


def _weights(scope: Scope, shape: tuple[int, ...], axis: int) -> Tensor:
    """What each row (or column) of the result takes from each of the image: (sizes behind, size before)."""
    size, across = shape[axis], shape[5 - axis]
    parts = []
    step = max(1, _CHUNK // (size * across))
    for first in range(0, size, step):
        one = torch.eye(size)[first : first + step]
        image = one[:, :, None].expand(-1, -1, across) if axis == 2 else one[:, None, :].expand(-1, across, -1)
        args = list(scope.node.args)
        args[0] = image.unsqueeze(0).contiguous()
        result = scope.node.target(*args, **scope.node.kwargs)[0]  # type: ignore[operator]
        parts.append(result[:, :, 0] if axis == 2 else result[:, 0, :])
    return torch.cat(parts).t().contiguous()


@converts("upsample_bilinear2d", "upsample_bicubic2d", "flip", "roll")
def _interpolated(scope: Scope) -> Blob:
    x = scope.blob("input" if scope.operation.startswith("upsample") else "self")
    if scope.operation in ("flip", "roll"):
        axes = {axis % len(x.shape) for axis in scope.arg("dims")}
        if not axes <= {2, 3}:
            raise scope.error("only rows and columns of images can be turned round")
    return resampled(scope, x)


@converts("upsample_nearest2d", "_upsample_nearest_exact2d")
def _nearest(scope: Scope) -> Blob:
    x = scope.blob("input")
    factors = [size // before for size, before in zip(scope.shape[2:], x.shape[2:], strict=True)]
    if any(f * before != size for f, size, before in zip(factors, scope.shape[2:], x.shape[2:], strict=True)):
        return resampled(scope, x)
    channels = x.shape[1]
    height, width = factors
    return scope.layer(
        "Deconvolution",
        x,
        blobs=[filled(channels, 1, height, width)],
        fixed=True,
        num_output=channels,
        group=channels,
        bias_term=False,
        kernel_h=height,
        kernel_w=width,
        stride_h=height,
        stride_w=width,
    )
