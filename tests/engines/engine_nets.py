"""Small nets that engines are tried on, and what they are fed."""

from __future__ import annotations

import torch

from tests.support import make_net

INPUT = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 21 dim: 18 } } }\n'
FILLERS = 'weight_filler { type: "xavier" } bias_filler { type: "gaussian" std: 0.3 }'


def conv(name, bottom, outputs, more="kernel_size: 3 pad: 1"):
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{name}" '
        f"convolution_param {{ num_output: {outputs} {more} {FILLERS} }} }}\n"
    )


def relu(blob, more=""):
    return f'layer {{ name: "{blob}_relu" type: "ReLU" bottom: "{blob}" top: "{blob}" {more} }}\n'


# Convolutions of several kinds, with a ReLU behind or not, a blob that two layers read, and a matrix product.
CLASSIFIER = (
    INPUT
    + conv("c1", "data", 12)
    + relu("c1")
    + conv("c2", "c1", 8, "kernel_size: 3 stride: 2")
    + relu("c2", "relu_param { negative_slope: 0.1 }")
    + conv("c3", "c1", 8, "kernel_size: 3 pad: 2 dilation: 2 group: 4")
    + 'layer { name: "pool" type: "Pooling" bottom: "c3" top: "pool" pooling_param { kernel_size: 3 stride: 2 } }\n'
    + 'layer { name: "small" type: "Crop" bottom: "pool" bottom: "c2" top: "small" crop_param { axis: 2 } }\n'
    + 'layer { name: "join" type: "Concat" bottom: "c2" bottom: "small" top: "join" }\n'
    + 'layer { name: "drop" type: "Dropout" bottom: "join" top: "join" }\n'
    + 'layer { name: "fc" type: "InnerProduct" bottom: "join" top: "fc" '
    + f"inner_product_param {{ num_output: 7 {FILLERS} }} }}\n"
    + relu("fc")
    + 'layer { name: "prob" type: "Softmax" bottom: "fc" top: "prob" }\n'
)

# A detector: the priors hang on shapes only, and the threshold of suppression adapts, which ONNX cannot say.
DETECTOR = (
    INPUT
    + conv("features", "data", 8, "kernel_size: 3 pad: 1 stride: 3")
    + relu("features")
    + conv("loc", "features", 12)
    + conv("conf", "features", 9)
    + """
layer { name: "loc_perm" type: "Permute" bottom: "loc" top: "loc_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "loc_flat" type: "Flatten" bottom: "loc_perm" top: "loc_flat" }
layer { name: "conf_perm" type: "Permute" bottom: "conf" top: "conf_perm"
  permute_param { order: 0 order: 2 order: 3 order: 1 } }
layer { name: "conf_rows" type: "Reshape" bottom: "conf_perm" top: "conf_rows"
  reshape_param { shape { dim: 0 dim: -1 dim: 3 } } }
layer { name: "conf_soft" type: "Softmax" bottom: "conf_rows" top: "conf_soft" softmax_param { axis: 2 } }
layer { name: "conf_flat" type: "Flatten" bottom: "conf_soft" top: "conf_flat" }
layer { name: "priors" type: "PriorBox" bottom: "features" bottom: "data" top: "priors"
  prior_box_param { min_size: 6 aspect_ratio: 2 variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 } }
layer { name: "found" type: "DetectionOutput" bottom: "loc_flat" bottom: "conf_flat" bottom: "priors" top: "found"
  detection_output_param { num_classes: 3 share_location: true background_label_id: 0 code_type: CENTER_SIZE
    nms_param { nms_threshold: 0.6 top_k: 40 eta: 0.9 } keep_top_k: 15 confidence_threshold: 0.2 } }
"""
)


def classifier():
    torch.manual_seed(3)
    return make_net(CLASSIFIER)


def detector():
    torch.manual_seed(3)
    return make_net(DETECTOR)


def pictures(*shape):
    return torch.randn(*(shape or (2, 3, 21, 18)), generator=torch.Generator().manual_seed(5))
