"""A solver of a net without data."""

from __future__ import annotations

from dataclasses import replace

from caffecompat.formats import parse_text, upgrade_solver
from caffecompat.schema import caffe_pb2
from caffecompat.solver import Options, Solver

TINY = """
name: "tiny"
layer { name: "data" type: "DummyData" top: "data" dummy_data_param { shape { dim: 2 dim: 3 } data_filler {
  type: "gaussian" } } }
layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" } inner_product_param { num_output: 3
  weight_filler { type: "xavier" } } }
layer { name: "b" type: "InnerProduct" bottom: "a" top: "b" param { name: "w" } inner_product_param { num_output: 3 } }
layer { name: "loss" type: "EuclideanLoss" bottom: "b" bottom: "a" top: "loss" }
"""


def tiny(prefix, text="", net=TINY, file=None, listeners=(), group=None, device="cpu", **options):
    """A solver of a net without data: two layers share their weights, one blob has two readers."""
    named = f'snapshot_prefix: "{prefix}"' if prefix is not None else ""
    source = f'net_param {{ {net} }} base_lr: 0.1 lr_policy: "fixed" max_iter: 5 random_seed: 1 {named} {text}'
    parsed = upgrade_solver(parse_text(source, caffe_pb2.SolverParameter))
    if file is not None:
        parsed = replace(parsed, file=str(file))
    return Solver(parsed, options=Options(device=device, **options), listeners=listeners, group=group)
