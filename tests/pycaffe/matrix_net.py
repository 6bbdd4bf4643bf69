"""The net under the recorded answers of Classifier and Detector: a matrix."""

from __future__ import annotations

from caffecompat.formats import parse_net, write_caffemodel

MATRIX_NET = """layer { name: "data" type: "Input" top: "data" input_param { shape { dim: [2, 3, 8, 8] } } }
layer { name: "prob" type: "InnerProduct" bottom: "data" top: "prob"
        inner_product_param { num_output: 5 bias_term: false } }"""


def write_matrix_net(folder, matrix):
    """Write the net's prototxt and weights, and return their paths."""
    model, weights = folder / "matrix.prototxt", folder / "matrix.caffemodel"
    model.write_text(MATRIX_NET)
    write_caffemodel(weights, parse_net(MATRIX_NET).message, [[], [matrix]])
    return model, weights
