"""The names that scripts use: those of the SSD branch's pycaffe and of BVLC master's, together."""

from __future__ import annotations

from importlib import import_module

import pytest

import caffecompat.pycaffe as caffe
from tests.pycaffe.nets import LOSS_NET

MODULE = """
AdaDeltaSolver AdaGradSolver AdamSolver Classifier Detector Layer NCCL NesterovSolver Net NetSpec RMSPropSolver
SGDSolver TEST TRAIN Timer __version__ get_solver has_nccl init_log io layer_type_list layers log params proto
set_device set_mode_cpu set_mode_gpu set_multiprocess set_random_seed set_solver_count set_solver_rank solver_count
solver_rank to_proto
"""
NET = """
_backward _blob_loss_weights _blob_names _blobs _bottom_ids _forward _inputs _layer_names _outputs _top_ids
after_backward after_forward backward before_backward before_forward blob_loss_weights blobs bottom_names
clear_param_diffs copy_from forward forward_all forward_backward_all inputs layer_dict layers load_hdf5 outputs params
reshape save save_hdf5 set_input_arrays share_with top_names
"""
BLOB = "channels count data diff height num reshape shape width"
LAYER = "blobs reshape setup type"
SOLVER = "add_callback apply_update iter lr net param restore share_weights snapshot solve step test_nets"
TRANSFORMER = """
channel_swap deprocess input_scale inputs mean preprocess raw_scale set_channel_swap set_input_scale set_mean
set_raw_scale set_transpose transpose
"""
MODULES = {
    "io": "Transformer array_to_blobproto array_to_datum arraylist_to_blobprotovector_str blobproto_to_array caffe_pb2 "
    "blobprotovector_str_to_arraylist datum_to_array load_image oversample resize_image",
    "classifier": "Classifier",
    "detector": "Detector",
    "net_spec": "Function Layers NetSpec Parameters Top assign_proto layers param_name_dict params to_proto",
    "coord_map": "AxisMismatchException UndefinedMapException compose conv_params coord_map coord_map_from_to crop "
    "crop_params inverse",
    "draw": "choose_color_by_layertype draw_net draw_net_to_file get_edge_label get_layer_label get_layer_lr_mult "
    "get_pooling_types_dict get_pydot_graph",
    "model_libs": "ConvBNLayer CreateAnnotatedDataLayer CreateMultiBoxHead InceptionTower InceptionV3Body ResBody "
    "ResNet101Body ResNet152Body UnpackVariable VGGNetBody ZFNetBody check_if_exist make_if_not_exist",
    "proto.caffe_pb2": "NetParameter SolverParameter BlobProto Datum LayerParameter TRAIN TEST",
}


def missing(thing, names):
    return [name for name in names.split() if not hasattr(thing, name)]


def test_the_module():
    assert missing(caffe, MODULE) == []
    assert (caffe.TRAIN, caffe.TEST) == (0, 1)


@pytest.mark.parametrize("name", MODULES)
def test_modules_below_it(name):
    assert missing(import_module(f"caffecompat.pycaffe.{name}"), MODULES[name]) == []


def test_objects(write, tmp_path):
    net = write(LOSS_NET)
    solver = caffe.get_solver(
        write(f'train_net: "{net}" base_lr: 0.1 lr_policy: "fixed" snapshot_prefix: "{tmp_path}/s"')
    )
    assert missing(solver, SOLVER) == []
    assert missing(solver.net, NET) == []
    assert missing(solver.net.blobs["data"], BLOB) == []
    assert missing(solver.net.params["ip"][0], BLOB) == []
    assert missing(solver.net.layers[1], LAYER) == []
    assert missing(caffe.io.Transformer({"data": (1, 3, 4, 5)}), TRANSFORMER) == []
    assert missing(solver.param, "max_iter display base_lr") == []
    assert missing(caffe.Timer(), "start stop ms") == []
