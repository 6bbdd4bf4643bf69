from __future__ import annotations

import sys

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.errors import CaffeCompatError, ShapeError, UsageError
from tests.pycaffe import detector_layers

MODULE = "tests.pycaffe.python_layers"


def python(name, kind, bottom="data", top=None, param_str="", more=""):
    """A Python layer of the module of the tests."""
    bottoms = "".join(f' bottom: "{b}"' for b in bottom.split())
    tops = "".join(f' top: "{t}"' for t in (top or name).split())
    own = f'python_param {{ module: "{MODULE}" layer: "{kind}" param_str: "{param_str}" }}'
    return f'layer {{ name: "{name}" type: "Python"{bottoms}{tops} {own} {more} }}\n'


INPUT = 'force_backward: true input: "data" input_shape { dim: [4, 3, 2] }\n'


def test_layers_one_after_the_other(write):
    net = caffe.Net(write(INPUT + python("one", "Times") + python("two", "Times", "one", param_str="3")), caffe.TRAIN)
    net.blobs["data"].data[...] = 8
    assert np.all(net.forward()["two"] == 240)
    net.blobs["two"].diff[...] = 7
    net.backward()
    assert np.all(net.blobs["one"].diff == 21)
    assert np.all(net.blobs["data"].diff == 210)
    assert [layer.type for layer in net.layers[1:]] == ["Python", "Python"]
    assert [layer.factor for layer in net.layers[1:]] == [10, 3]


def test_backward_before_forward(write):
    net = caffe.Net(write(INPUT + python("one", "Times")), caffe.TRAIN)
    net.blobs["one"].diff[...] = 2
    net.backward()
    assert np.all(net.blobs["data"].diff == 20)


def test_shapes_follow_the_bottoms(write):
    net = caffe.Net(write(INPUT + python("one", "Times") + python("two", "Times", "one")), caffe.TRAIN)
    net.blobs["data"].reshape(5, 4, 3, 2)
    net.blobs["data"].data[...] = 1
    net.forward()
    assert {blob.data.shape for blob in net.blobs.values()} == {(5, 4, 3, 2)}
    assert np.all(net.blobs["two"].data == 100)


def test_in_place(write):
    net = caffe.Net(write(INPUT + python("one", "Times", top="data", param_str="3")), caffe.TRAIN)
    net.blobs["data"].data[...] = 2
    assert list(net.blobs) == ["data"]
    net.forward()
    assert np.all(net.blobs["data"].data == 6)


def test_in_place_in_the_middle(write):
    text = 'layer { name: "twice" type: "Power" bottom: "data" top: "twice" power_param { scale: 2 } }'
    text = INPUT + text + python("thrice", "Times", "twice", "twice", "3") + python("out", "Times", "twice")
    net = caffe.Net(write(text), caffe.TRAIN)
    net.blobs["data"].data[...] = 1
    assert np.all(net.forward()["out"] == 60)
    assert np.all(net.blobs["twice"].data == 6)
    net.blobs["out"].diff[...] = 1
    net.backward()
    assert np.all(net.blobs["data"].diff == 60)


def test_the_phase(write):
    for phase in caffe.TRAIN, caffe.TEST:
        net = caffe.Net(write(python("phase", "Phase", bottom="")), phase)
        assert net.forward()["phase"] == phase
        assert net.blobs["phase"].shape == ()


def test_parameters_are_saved_read_and_shared(write, tmp_path):
    text = write(INPUT + python("line", "Line"))
    net = caffe.Net(text, caffe.TRAIN)
    assert [blob.shape for blob in net.params["line"]] == [(1,), ()]
    net.layers[1].blobs[0].data[0] = 3
    net.layers[1].blobs[1].data[...] = -1
    net.blobs["data"].data[...] = 2
    assert np.all(net.forward()["line"] == 5)
    path = str(tmp_path / "w.caffemodel")
    net.save(path)
    net.params["line"][0].data[0] = 0
    net.copy_from(path)
    assert net.params["line"][0].data[0] == 3
    other = caffe.Net(text, path, caffe.TEST)
    assert np.all(other.forward(data=np.ones((4, 3, 2)))["line"] == 2)
    third = caffe.Net(text, caffe.TRAIN)
    third.share_with(net)
    third.params["line"][1].data[...] = 4
    assert net.params["line"][1].data == 4


def test_diffs_of_parameters_add_up(write):
    net = caffe.Net(write(INPUT + python("line", "Line")), caffe.TRAIN)
    net.blobs["data"].data[...] = 2
    net.forward()
    for times in (1, 2):
        net.blobs["line"].diff[...] = 1
        net.backward()
        assert net.params["line"][0].diff[0] == 48 * times
        assert net.params["line"][1].diff == 24 * times
    assert np.all(net.blobs["data"].diff == 0.5)
    net.clear_param_diffs()
    assert net.params["line"][0].diff[0] == 0


def test_a_line_is_learned(write, tmp_path, capsys):
    data = """
    layer { name: "x" type: "DummyData" top: "x" dummy_data_param { shape { dim: [8, 1] }
            data_filler { type: "uniform" min: -1 max: 1 } } }
    layer { name: "y" type: "Power" bottom: "x" top: "y" power_param { scale: -2 shift: 0.75 } }
    """
    text = data + python("line", "Line", "x") + python("loss", "Euclidean", "line y", more="loss_weight: 1")
    solver = caffe.SGDSolver(
        write(f'net: "{write(text)}" base_lr: 0.5 lr_policy: "fixed" max_iter: 200 random_seed: 1 '
              f'snapshot_after_train: false snapshot_prefix: "{tmp_path}/s" display: 100')
    )  # fmt: skip
    solver.solve()
    assert solver.net.params["line"][0].data[0] == pytest.approx(-2, abs=1e-3)
    assert solver.net.params["line"][1].data == pytest.approx(0.75, abs=1e-3)
    assert "Iteration 100, loss" in capsys.readouterr().err


@pytest.mark.parametrize("method", ["setup", "reshape", "forward", "backward"])
def test_an_exception_names_the_layer_and_keeps_its_cause(write, method):
    text = write(INPUT + python("bad one", "Fails", param_str=method))
    with pytest.raises(RuntimeError, match="no such thing") as caught:
        forward_and_backward(text)
    error = caught.value
    assert isinstance(error, CaffeCompatError)
    assert (error.layer, error.file) == ("bad one", text)
    assert isinstance(error.__cause__, KeyError)
    for part in (f"Fails.{method}", "KeyError", "python_layers.py:"):
        assert part in str(error)


def forward_and_backward(file):
    net = caffe.Net(file, caffe.TRAIN)
    net.forward()
    net.backward()


def test_users_own_complaints_of_shapes(write):
    text = INPUT + 'input: "other" input_shape { dim: [4, 3, 1] }' + python("loss", "Euclidean", "data other")
    with pytest.raises(RuntimeError, match="same dimension"):
        caffe.Net(write(text), caffe.TEST)
    with pytest.raises(RuntimeError, match="Need two inputs"):
        caffe.Net(write(INPUT + python("loss", "Euclidean")), caffe.TEST)
    net = caffe.Net(write(INPUT + python("more", "Misshapen")), caffe.TEST)
    with pytest.raises(RuntimeError, match="broadcast"):
        net.forward()


def test_modules_and_classes_that_are_not_there(write):
    with pytest.raises(CaffeCompatError, match="NoSuchLayer"):
        caffe.Net(write(INPUT + python("x", "NoSuchLayer")), caffe.TEST)
    with pytest.raises(UsageError, match=r"subclass of caffe\.Layer"):
        caffe.Net(write(INPUT + python("x", "NotALayer")), caffe.TEST)
    with pytest.raises(CaffeCompatError, match="no_such_module") as caught:
        caffe.Net(write((INPUT + python("x", "Times")).replace(MODULE, "no_such_module")), caffe.TEST)
    assert "PYTHONPATH" in caught.value.hint


def test_blobs_are_added_in_setup_only(write):
    net = caffe.Net(write(INPUT + python("line", "Line")), caffe.TEST)
    with pytest.raises(UsageError, match="setup"):
        net.layers[1].blobs.add_blob(3)
    ip = 'layer { name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param { num_output: 1 } }'
    with pytest.raises(UsageError, match="Python layers"):
        caffe.Net(write(INPUT + ip), caffe.TEST).params["ip"].add_blob(3)
    with pytest.raises(ShapeError):
        net.params["line"][0].reshape(2)


def test_a_module_that_imports_caffe_is_served(write, tmp_path, monkeypatch):
    (tmp_path / "legacy_layers.py").write_text(
        "import caffe\nfrom caffe.proto import caffe_pb2\n"
        "class Same(caffe.Layer):\n"
        "    def setup(self, bottom, top): assert caffe_pb2.TEST == caffe.TEST\n"
        "    def reshape(self, bottom, top): top[0].reshape(*bottom[0].shape)\n"
        "    def forward(self, bottom, top): top[0].data[...] = bottom[0].data\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "legacy_layers", raising=False)
    text = (INPUT + python("same", "Same")).replace(MODULE, "legacy_layers")
    net = caffe.Net(write(text), caffe.TEST)
    assert np.all(net.forward(data=np.full((4, 3, 2), 5))["same"] == 5)


DETECTOR = """
layer { name: "input" type: "Python" top: "data" top: "im_info" top: "gt_boxes"
        python_param { module: "M" layer: "Pictures" param_str: "7" } }
layer { name: "conv" type: "Convolution" bottom: "data" top: "conv"
        convolution_param { num_output: 12 kernel_size: 5 pad: 2 stride: 2 weight_filler { type: "xavier" } } }
layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }
layer { name: "rpn" type: "Convolution" bottom: "conv" top: "rpn"
        convolution_param { num_output: 12 kernel_size: 5 pad: 2 weight_filler { type: "xavier" } } }
layer { name: "rpn_relu" type: "ReLU" bottom: "rpn" top: "rpn" }
layer { name: "rpn_score" type: "Convolution" bottom: "rpn" top: "rpn_score"
        convolution_param { num_output: 4 kernel_size: 1 weight_filler { type: "gaussian" std: 0.01 } } }
layer { name: "rpn_box" type: "Convolution" bottom: "rpn" top: "rpn_box"
        convolution_param { num_output: 8 kernel_size: 1 } }
layer { name: "rpn_flat" type: "Reshape" bottom: "rpn_score" top: "rpn_flat"
        reshape_param { shape { dim: [0, 2, -1, 0] } } }
layer { name: "rpn_labels" type: "Python" bottom: "rpn_score" bottom: "gt_boxes" top: "rpn_labels"
        python_param { module: "M" layer: "AnchorTargets" } }
layer { name: "rpn_loss" type: "SoftmaxWithLoss" bottom: "rpn_flat" bottom: "rpn_labels" top: "rpn_loss"
        propagate_down: [true, false] loss_param { ignore_label: -1 } }
layer { name: "rpn_softmax" type: "Softmax" bottom: "rpn_flat" top: "rpn_softmax" }
layer { name: "rpn_prob" type: "Reshape" bottom: "rpn_softmax" top: "rpn_prob"
        reshape_param { shape { dim: [0, 4, -1, 0] } } }
layer { name: "proposal" type: "Python" bottom: "rpn_prob" bottom: "rpn_box" bottom: "im_info" top: "rpn_rois"
        python_param { module: "M" layer: "Proposals" } }
layer { name: "targets" type: "Python" bottom: "rpn_rois" bottom: "gt_boxes" top: "rois" top: "labels"
        python_param { module: "M" layer: "ProposalTargets" } }
layer { name: "pool" type: "ROIPooling" bottom: "conv" bottom: "rois" top: "pool"
        roi_pooling_param { pooled_h: 3 pooled_w: 3 spatial_scale: 0.5 } }
layer { name: "score" type: "InnerProduct" bottom: "pool" top: "score"
        inner_product_param { num_output: 3 weight_filler { type: "xavier" } } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "score" bottom: "labels" top: "loss"
        propagate_down: [true, false] }
""".replace('module: "M"', f'module: "{detector_layers.__name__}"')


def test_a_detector_of_python_layers_learns_to_propose_and_to_classify(write, tmp_path):
    settings = 'base_lr: 0.01 momentum: 0.9 lr_policy: "fixed" random_seed: 1'
    solver = caffe.SGDSolver(write(f'train_net: "{write(DETECTOR)}" snapshot_prefix: "{tmp_path}/s" {settings}'))
    net = solver.net
    counts, losses, found, right = set(), [], [], []
    for _ in range(300):
        solver.step(1)
        counts.add(net.blobs["rpn_rois"].num)
        losses.append([float(net.blobs[name].data) for name in ("rpn_loss", "loss")])
        box = net.blobs["gt_boxes"].data
        found.append(detector_layers.overlaps(net.blobs["rpn_rois"].data[:1, 1:], box).item() > 0.5)
        right.append(net.blobs["score"].data[-1].argmax() == box[0, 4])
    assert np.all(np.mean(losses[-60:], 0) < 0.5 * np.mean(losses[:20], 0))
    assert np.mean(found[:20]) < 0.5 < 0.9 < np.mean(found[-60:])
    assert np.mean(right[:20]) < 0.5 < 0.9 < np.mean(right[-60:])
    # The counts of proposals differ from pass to pass, and so do the shapes of all that follows.
    assert len(counts) > 2
    assert net.blobs["rois"].num == net.blobs["rpn_rois"].num + 1 == net.blobs["pool"].num == net.blobs["score"].num


def test_no_gradient_passes_a_proposal_layer(write):
    """What trains the proposals' deltas is a loss of their own; here they have none."""
    net = caffe.Net(write(DETECTOR), caffe.TRAIN)
    net.forward()
    net.backward()
    assert not net.params["rpn_box"][0].diff.any()
    assert net.params["rpn_score"][0].diff.any()
    both = net.params["conv"][0].diff.copy()
    net.clear_param_diffs()
    net.blobs["loss"].diff[...] = 0
    net.backward()
    proposing = net.params["conv"][0].diff.copy()
    assert proposing.any()
    assert not np.allclose(both, proposing)
