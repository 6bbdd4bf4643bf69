"""Nets for the tests of the drop-in."""

from __future__ import annotations

# Data of its own, a loss, and a blob whose name is not its layer's.
LOSS_NET = """
name: "digits" force_backward: true
layer { name: "data" type: "DummyData" top: "data" top: "label"
        dummy_data_param { shape { dim: [5, 2, 3, 4] } shape { dim: 5 }
                           data_filler { type: "gaussian" std: 1 } data_filler { type: "constant" value: 1 } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv" param { decay_mult: 1 } param { decay_mult: 0 }
        convolution_param { num_output: 7 kernel_size: 2 pad: 2 weight_filler { type: "gaussian" std: 1 }
                            bias_filler { type: "constant" value: 2 } } }
layer { name: "ip" type: "InnerProduct" bottom: "conv" top: "scores"
        inner_product_param { num_output: 6 weight_filler { type: "gaussian" std: 0.3 } bias_filler { value: -3 } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "scores" bottom: "label" top: "loss" }
"""

# Smooth everywhere, so that differences give its gradients.
SMOOTH_NET = """
force_backward: true
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [2, 2, 5, 4] } } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 3 kernel_h: 3 kernel_w: 2 weight_filler { type: "gaussian" std: 0.5 } } }
layer { name: "tanh" type: "TanH" bottom: "conv" top: "conv" }
layer { name: "left" type: "Power" bottom: "conv" top: "left" power_param { power: 2 scale: 0.5 shift: 1 } }
layer { name: "sum" type: "Eltwise" bottom: "left" bottom: "conv" top: "sum" eltwise_param { coeff: [1, -0.5] } }
layer { name: "ip" type: "InnerProduct" bottom: "sum" top: "ip"
        inner_product_param { num_output: 2 weight_filler { type: "gaussian" std: 0.5 } } }
"""

# Layers for levels and stages beside one that is always there.
CHOICES = """
layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: [1, 1, 4, 3] } } }
layer { name: "always" type: "InnerProduct" bottom: "data" top: "always" inner_product_param { num_output: 1 } }
"""


def choice(name, rules):
    """A layer of CHOICES' kind that is there under rules."""
    return (
        f'layer {{ name: "{name}" type: "InnerProduct" bottom: "data" top: "{name}" {rules} '
        "inner_product_param { num_output: 1 } }\n"
    )
