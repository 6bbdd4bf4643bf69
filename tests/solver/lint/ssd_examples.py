"""A small SSD with its solver that no rule finds fault with, on databases of a few records; and ways to spoil it."""

from __future__ import annotations

from pathlib import Path

import lmdb

from tests.solver.boxes import GOOD, LABEL_MAP, Box, record
from tests.solver.lint.examples import Edits, edited

SOLVER = """net: "net.prototxt"
test_iter: 3
test_interval: 50
base_lr: 0.0001
momentum: 0.9
weight_decay: 0.0005
lr_policy: "multistep"
gamma: 0.1
stepvalue: 60
max_iter: 100
display: 10
snapshot: 50
snapshot_prefix: "snapshots/net"
solver_mode: CPU
type: "SGD"
eval_type: "detection"
ap_version: "11point"
"""


def _head(name: str, bottom: str, sizes: str) -> str:
    """What predicts for the two priors at each place of a feature map, and the priors."""
    text = "".join(
        f"""layer {{ name: "{name}_{part}" type: "Convolution" bottom: "{bottom}" top: "{name}_{part}"
  convolution_param {{ num_output: {outputs} kernel_size: 1 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "{name}_{part}_perm" type: "Permute" bottom: "{name}_{part}" top: "{name}_{part}_perm"
  permute_param {{ order: 0 order: 2 order: 3 order: 1 }} }}
layer {{ name: "{name}_{part}_flat" type: "Flatten" bottom: "{name}_{part}_perm" top: "{name}_{part}_flat" }}
"""
        for part, outputs in (("loc", 8), ("conf", 6))
    )
    return f"""{text}layer {{ name: "{name}_prior" type: "PriorBox" bottom: "{bottom}" bottom: "data"
  top: "{name}_prior" prior_box_param {{ {sizes} variance: 0.1 variance: 0.1 variance: 0.2 variance: 0.2 }} }}
"""


def _joined(part: str, axis: int, suffix: str) -> str:
    bottoms = " ".join(f'bottom: "{name}_{part}{suffix}"' for name in ("a", "b"))
    return (
        f'layer {{ name: "mbox_{part}" type: "Concat" {bottoms} top: "mbox_{part}" concat_param {{ axis: {axis} }} }}\n'
    )


NET = f"""name: "small"
layer {{ name: "data" type: "AnnotatedData" top: "data" top: "label" include {{ phase: TRAIN }}
  transform_param {{ mean_value: 104 mirror: true resize_param {{ height: 32 width: 32 interp_mode: LINEAR }}
    emit_constraint {{ emit_type: CENTER }} }}
  data_param {{ source: "train" batch_size: 4 backend: LMDB }}
  annotated_data_param {{ batch_sampler {{ max_sample: 1 max_trials: 1 }}
    batch_sampler {{ sampler {{ min_scale: 0.5 }} sample_constraint {{ min_jaccard_overlap: 0.3 }}
      max_sample: 1 max_trials: 50 }}
    label_map_file: "map.prototxt" }} }}
layer {{ name: "data" type: "AnnotatedData" top: "data" top: "label" include {{ phase: TEST }}
  transform_param {{ mean_value: 104 resize_param {{ height: 32 width: 32 interp_mode: LINEAR }} }}
  data_param {{ source: "test" batch_size: 2 backend: LMDB }}
  annotated_data_param {{ batch_sampler {{ }} label_map_file: "map.prototxt" }} }}
layer {{ name: "conv" type: "Convolution" bottom: "data" top: "conv"
  convolution_param {{ num_output: 4 kernel_size: 8 stride: 8 weight_filler {{ type: "xavier" }} }} }}
layer {{ name: "conv2" type: "Convolution" bottom: "conv" top: "conv2"
  convolution_param {{ num_output: 4 kernel_size: 2 stride: 2 weight_filler {{ type: "xavier" }} }} }}
{_head("a", "conv", "min_size: 8 max_size: 12 step: 8")}{_head("b", "conv2", "min_size: 12 max_size: 20 step: 16")}\
{_joined("loc", 1, "_flat")}{_joined("conf", 1, "_flat")}{_joined("prior", 2, "")}\
layer {{ name: "mbox_loss" type: "MultiBoxLoss" bottom: "mbox_loc" bottom: "mbox_conf" bottom: "mbox_prior"
  bottom: "label" top: "mbox_loss" include {{ phase: TRAIN }} propagate_down: true propagate_down: true
  propagate_down: false propagate_down: false
  multibox_loss_param {{ num_classes: 3 code_type: CENTER_SIZE overlap_threshold: 0.5 }} }}
layer {{ name: "reshape" type: "Reshape" bottom: "mbox_conf" top: "reshape" include {{ phase: TEST }}
  reshape_param {{ shape {{ dim: 0 dim: -1 dim: 3 }} }} }}
layer {{ name: "softmax" type: "Softmax" bottom: "reshape" top: "softmax" include {{ phase: TEST }}
  softmax_param {{ axis: 2 }} }}
layer {{ name: "flatten" type: "Flatten" bottom: "softmax" top: "flatten" include {{ phase: TEST }} }}
layer {{ name: "out" type: "DetectionOutput" bottom: "mbox_loc" bottom: "flatten" bottom: "mbox_prior" top: "out"
  include {{ phase: TEST }} detection_output_param {{ num_classes: 3 code_type: CENTER_SIZE
    nms_param {{ nms_threshold: 0.45 top_k: 400 }} keep_top_k: 200 confidence_threshold: 0.01
    save_output_param {{ output_directory: "results" output_format: "VOC" label_map_file: "map.prototxt"
      name_size_file: "names.txt" num_test_image: 6 }} }} }}
layer {{ name: "eval" type: "DetectionEvaluate" bottom: "out" bottom: "label" top: "eval" include {{ phase: TEST }}
  detection_evaluate_param {{ num_classes: 3 name_size_file: "names.txt" }} }}
"""


def names(*numbers: int) -> str:
    """The text of a name_size_file."""
    return "".join(f"p{number} 32 32\n" for number in numbers)


def database(path: Path, boxes: list[list[Box] | tuple[Box, ...]], key: str = "{0:08d}_pictures/p{0}.jpg") -> None:
    """An LMDB of pictures with these boxes."""
    with lmdb.open(str(path), map_size=1 << 24) as env, env.begin(write=True) as transaction:
        for number, each in enumerate(boxes):
            transaction.put(key.format(number).encode(), record(each, number).SerializeToString())


def databases(folder: Path) -> None:
    """All that the net names."""
    database(folder / "train", [GOOD] * 12)
    database(folder / "test", [GOOD] * 6)
    (folder / "map.prototxt").write_text(LABEL_MAP)
    (folder / "names.txt").write_text(names(*range(6)))
    (folder / "snapshots").mkdir()


def write(folder: Path, solver: Edits = (), net: Edits = ()) -> Path:
    """The solver and its net in a folder; the path of the solver."""
    (folder / "net.prototxt").write_text(edited(NET, net))
    path = folder / "solver.prototxt"
    path.write_text(edited(SOLVER, solver))
    return path
