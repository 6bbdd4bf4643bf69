"""ROIPooling, and Region of the ports of YOLOv2."""

from __future__ import annotations

from caffecompat.export.onnx.registry import Precision, emits
from caffecompat.export.onnx.scope import Scope
from caffecompat.export.onnx.values import Value
from caffecompat.layers.roi import ROIPooling
from caffecompat.layers.yolo import Region


@emits(ROIPooling, precision=Precision.SINGLE)
def roi_pooling(layer: ROIPooling, at: Scope) -> Value:
    param = layer.spec.message.roi_pooling_param
    features, rois = at.bottoms
    if param.pad_ratio:
        raise at.error(f"pad_ratio {param.pad_ratio:g}: ONNX's MaxRoiPool has no margin", "convert to .pt2")
    rows = at.op("Reshape", rois, at.ints(-1, 5))
    pooled = [param.pooled_h, param.pooled_w]
    return at.op("MaxRoiPool", features, rows, pooled_shape=pooled, spatial_scale=param.spatial_scale)


@emits(Region, precision=Precision.SINGLE)
def region(layer: Region, at: Scope) -> Value:
    param = layer.spec.message.region_param
    loss = layer.spec.message.region_loss_param
    if layer.spec.message.HasField("region_loss_param"):
        boxes, coords, classes, softmax = loss.num, loss.coords, loss.num_class, loss.softmax
    else:
        boxes, coords, classes, softmax = param.num, param.coords, param.classes, param.softmax
    (x,) = at.bottoms
    sizes = at.sizes_of(x)
    split = at.reshape(x, [sizes[0], boxes, coords + 1 + classes, *sizes[2:]])
    ends = [0, 2, coords, coords + 1, coords + 1 + classes]
    places, rest, confidence, scores = (at.slice(split, 2, *ends[part : part + 2]) for part in range(4))
    if softmax:
        scores = at.op("Softmax", scores, axis=2)
    parts = [at.op("Sigmoid", places), rest, at.op("Sigmoid", confidence), scores]
    joined = at.op("Concat", *parts, axis=2)
    return at.reshape(joined, sizes)
