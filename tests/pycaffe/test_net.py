from __future__ import annotations

import gc
from collections import OrderedDict

import numpy as np
import pytest

import caffecompat.pycaffe as caffe
from caffecompat.errors import CaffeCompatError, ShapeError, UsageError
from tests.pycaffe.nets import CHOICES, LOSS_NET, SMOOTH_NET, choice


@pytest.fixture
def net(write):
    return caffe.Net(write(LOSS_NET), caffe.TRAIN)


@pytest.fixture
def smooth(write):
    net = caffe.Net(write(SMOOTH_NET), caffe.TEST)
    net.blobs["data"].data[...] = np.random.default_rng(1).uniform(-1, 1, net.blobs["data"].shape)
    return net


def test_inputs_and_outputs(net, smooth):
    assert (net.inputs, net.outputs) == ([], ["loss"])
    assert (smooth.inputs, smooth.outputs) == (["data"], ["ip"])


def test_names_of_bottoms_and_tops(net):
    assert net.top_names == OrderedDict(data=["data", "label"], conv=["conv"], ip=["scores"], loss=["loss"])
    assert net.bottom_names == OrderedDict(data=[], conv=["data"], ip=["conv"], loss=["scores", "label"])


def test_layers_by_name(net):
    assert list(net.layer_dict) == list(net._layer_names) == ["data", "conv", "ip", "loss"]
    assert [layer.type for layer in net.layer_dict.values()] == [layer.type for layer in net.layers]
    assert net.layer_dict["conv"].blobs[0].data.shape == net.params["conv"][0].data.shape == (7, 2, 2, 2)
    assert len(net.layers[0].blobs) == 0


def test_blobs_and_parameters_outlive_their_net(net):
    parameters = [blob for blobs in net.params.values() for blob in blobs]
    blobs = net.blobs
    net.forward()
    net.backward()
    expected = [(blob.data.copy(), blob.diff.copy()) for blob in (*parameters, *blobs.values())]
    views = [(blob.data, blob.diff) for blob in (*parameters, *blobs.values())]
    del net, parameters, blobs
    gc.collect()
    for (data, diff), (expected_data, expected_diff) in zip(views, expected, strict=True):
        assert np.array_equal(data, expected_data)
        assert np.array_equal(diff, expected_diff)


def test_the_loss_is_that_of_its_scores(net):
    loss = net.forward()["loss"]
    scores = net.blobs["scores"].data.astype(float)
    log_probability = scores[:, 1] - np.log(np.exp(scores).sum(1))
    np.testing.assert_allclose(loss, -log_probability.mean(), rtol=1e-5)


def test_a_part_of_a_pass_forward(net):
    net.forward()
    values = np.random.default_rng(0).uniform(size=net.blobs["conv"].shape).astype(np.float32)
    net.blobs["conv"].data[...] = values
    out = net.forward(start="ip", end="ip")
    assert list(out) == ["scores"]
    weight, bias = (blob.data for blob in net.params["ip"])
    np.testing.assert_allclose(out["scores"], values.reshape(5, -1) @ weight.T + bias, rtol=1e-4, atol=1e-5)


def test_a_part_of_a_pass_backward(net):
    net.forward()
    diff = np.random.default_rng(0).uniform(size=net.blobs["scores"].shape).astype(np.float32)
    net.blobs["scores"].diff[...] = diff
    before = net.params["conv"][0].diff.copy()
    out = net.backward(start="ip", end="ip")
    assert list(out) == ["conv"]
    expected = (diff @ net.params["ip"][0].data).reshape(net.blobs["conv"].shape)
    np.testing.assert_allclose(out["conv"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(net.params["ip"][1].diff, diff.sum(0), rtol=1e-5)
    assert np.array_equal(net.params["conv"][0].diff, before)


def test_gradients_are_those_that_differences_give(smooth):
    rng = np.random.default_rng(2)
    smooth.forward()
    back = rng.uniform(-1, 1, smooth.blobs["ip"].shape).astype(np.float32)
    smooth.backward(ip=back)
    for blob in (smooth.blobs["data"], *smooth.params["conv"], *smooth.params["ip"]):
        for place in rng.integers(blob.data.size, size=4):
            values, at = blob.data.reshape(-1), blob.diff.reshape(-1)[place]
            kept = values[place]
            ends = []
            for step in (1e-2, -1e-2):
                values[place] = kept + step
                ends.append(float((smooth.forward()["ip"].astype(float) * back).sum()))
            values[place] = kept
            assert (ends[0] - ends[1]) / 2e-2 == pytest.approx(at, rel=1e-2, abs=2e-3)


def test_dreaming_into_the_middle_of_a_net_of_any_size(write):
    """Passes end and begin at a layer in place, and what comes after it keeps the shapes it had."""
    net = caffe.Net(write(SMOOTH_NET), caffe.TEST)
    source, target = net.blobs["data"], net.blobs["conv"]
    rng = np.random.default_rng(3)

    def objective():
        net.forward(end="tanh")
        return 0.5 * float((target.data.astype(float) ** 2).sum())

    for height, width in ((5, 4), (7, 9), (6, 3)):
        source.reshape(1, 2, height, width)
        source.data[...] = rng.uniform(-1, 1, source.shape)
        objective()
        target.diff[...] = target.data
        assert net.backward(start="tanh")["data"].shape == source.shape
        values, gradient = source.data.reshape(-1), source.diff.reshape(-1)
        for place in rng.integers(values.size, size=4):
            kept = values[place]
            values[place] = kept + 1e-2
            more = objective()
            values[place] = kept - 1e-2
            less = objective()
            values[place] = kept
            assert (more - less) / 2e-2 == pytest.approx(gradient[place], rel=1e-2, abs=2e-3)
    assert net.blobs["sum"].shape == (2, 3, 3, 3)


def test_layers_that_share_a_parameter_have_one_memory_for_it(write):
    inputs = "shape { dim: [4, 3] } shape { dim: [4, 3] } shape { dim: 4 }"
    branch = (
        'layer {{ name: "f{0}" type: "InnerProduct" bottom: "{0}" top: "f{0}" param {{ name: "w" }} '
        'param {{ name: "b" }} inner_product_param {{ num_output: 2 weight_filler {{ type: "xavier" }} }} }}\n'
    )
    text = f"""layer {{ name: "in" type: "Input" top: "x" top: "y" top: "same" input_param {{ {inputs} }} }}
    {branch.format("x")}{branch.format("y")}
    layer {{ name: "loss" type: "ContrastiveLoss" bottom: "fx" bottom: "fy" bottom: "same" top: "loss" }}"""
    net = caffe.Net(write(text), caffe.TRAIN)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 4, 3))
    net.forward(x=x, y=y, same=np.array([1, 0, 1, 0]))
    net.backward()
    (one, other), (bias, _) = zip(net.params["fx"], net.params["fy"], strict=True)
    assert np.shares_memory(one.data, other.data)
    assert np.shares_memory(one.diff, other.diff)
    both = net.blobs["fx"].diff.T @ x + net.blobs["fy"].diff.T @ y
    assert np.abs(both).max() > 0.01
    np.testing.assert_allclose(one.diff, both, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias.diff, 0, atol=1e-6)


def test_diffs_of_parameters_add_up_until_they_are_cleared(net):
    net.forward()
    net.backward()
    diff = net.params["conv"][0].diff
    once = diff.copy()
    assert abs(once).max() > 0
    net.backward()
    np.testing.assert_allclose(diff, 2 * once, rtol=1e-5, atol=1e-6)
    net.clear_param_diffs()
    assert not diff.any()


def test_views_that_are_held_follow_later_passes(smooth):
    data, diff, weight_diff = smooth.blobs["sum"].data, smooth.blobs["sum"].diff, smooth.params["ip"][0].diff
    for scale in (1, 3):
        smooth.blobs["data"].data[...] *= scale
        smooth.forward()
        smooth.clear_param_diffs()
        smooth.backward(ip=np.full((2, 2), scale, np.float32))
        np.testing.assert_array_equal(data, smooth.blobs["sum"].data)
        expected = np.tile(scale * smooth.params["ip"][0].data.sum(0), (2, 1))
        np.testing.assert_allclose(diff.reshape(2, -1), expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(weight_diff[0], scale * data.reshape(2, -1).sum(0), rtol=1e-5)


def test_weights_are_saved_and_read(net, write, tmp_path):
    path = tmp_path / "w.caffemodel"
    net.save(path)
    for other in (
        caffe.Net(write(LOSS_NET), str(path), caffe.TRAIN),
        caffe.Net(write(LOSS_NET), caffe.TRAIN, weights=str(path)),
        caffe.Net(network_file=write(LOSS_NET), phase=caffe.TRAIN, weights=path),
    ):
        assert_same_parameters(net, other)
    other.params["ip"][0].data[...] = 0
    other.copy_from(path)
    assert_same_parameters(net, other)


def test_weights_are_saved_and_read_as_hdf5(net, write, tmp_path):
    pytest.importorskip("h5py")
    path = tmp_path / "w.h5"
    net.save_hdf5(str(path))
    other = caffe.Net(write(LOSS_NET), caffe.TRAIN)
    other.load_hdf5(str(path))
    assert_same_parameters(net, other)


def assert_same_parameters(net, other):
    assert list(net.params) == list(other.params)
    for name, blobs in net.params.items():
        for blob, twin in zip(blobs, other.params[name], strict=True):
            assert np.array_equal(blob.data, twin.data)


def test_shared_parameters_are_one_memory(net, write):
    other = caffe.Net(write(LOSS_NET), caffe.TEST)
    other.share_with(net)
    net.params["ip"][1].data[...] = 5
    assert np.all(other.params["ip"][1].data == 5)
    other.params["conv"][0].data[...] *= 2
    assert_same_parameters(net, other)


@pytest.mark.parametrize(
    ("level", "expected"), [(0, ["always", "zero", "from0"]), (1, ["always", "one", "from0", "from1"])]
)
def test_levels(write, level, expected):
    rules = {
        "zero": "include { min_level: 0 max_level: 0 }",
        "one": "include { min_level: 1 max_level: 1 }",
        "from0": "include { min_level: 0 }",
        "from1": "include { min_level: 1 }",
    }
    net = caffe.Net(write(CHOICES + "".join(map(choice, rules, rules.values()))), caffe.TEST, level=level)
    assert net.outputs == sorted(expected)
    assert [name for name in net.blobs if "data" not in name] == expected


@pytest.mark.parametrize(
    ("stages", "expected"),
    [(["a"], ["a", "either"]), (["b"], ["b", "either"]), (["a", "b"], ["a", "b", "either", "both"])],
)
def test_stages(write, stages, expected):
    rules = {
        "a": 'include { stage: "a" }',
        "b": 'include { stage: "b" }',
        "either": 'include { stage: "a" } include { stage: "b" }',
        "both": 'include { stage: ["a", "b"] }',
    }
    net = caffe.Net(write(CHOICES + "".join(map(choice, rules, rules.values()))), caffe.TEST, stages=stages)
    assert [name for name in net.blobs if "data" not in name] == ["always", *expected]


@pytest.mark.parametrize(
    ("phase", "stage", "inputs", "outputs"),
    [
        (caffe.TRAIN, "train", [], ["loss"]),
        (caffe.TEST, "val", [], ["loss"]),
        (caffe.TEST, "deploy", ["data"], ["prob"]),
    ],
)
def test_all_in_one_prototxt(write, phase, stage, inputs, outputs):
    shapes = "shape { dim: [2, 1, 4, 3] } shape { dim: 2 }"
    text = f"""
    layer {{ name: "train_data" type: "DummyData" top: "data" top: "label" dummy_data_param {{ {shapes} }}
             include {{ phase: TRAIN stage: "train" }} }}
    layer {{ name: "val_data" type: "DummyData" top: "data" top: "label" dummy_data_param {{ {shapes} }}
             include {{ phase: TEST stage: "val" }} }}
    layer {{ name: "data" type: "Input" top: "data" input_param {{ shape {{ dim: [2, 1, 4, 3] }} }}
             include {{ phase: TEST stage: "deploy" }} }}
    layer {{ name: "ip" type: "InnerProduct" bottom: "data" top: "ip" inner_product_param {{ num_output: 2 }} }}
    layer {{ name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" top: "loss"
             include: {{ phase: TRAIN stage: "train" }} include: {{ phase: TEST stage: "val" }} }}
    layer {{ name: "prob" type: "Softmax" bottom: "ip" top: "prob" include: {{ phase: TEST stage: "deploy" }} }}
    """
    net = caffe.Net(write(text), phase, stages=[stage])
    assert (net.inputs, net.outputs) == (inputs, outputs)
    assert net.blobs["data"].shape == (2, 1, 4, 3)
    assert set(net.forward()) == set(outputs)


def test_callbacks_are_told_the_layers(smooth):
    calls = []
    for name in ("before_forward", "after_forward", "before_backward", "after_backward"):
        getattr(smooth, name)(lambda index, name=name: calls.append((name, index)))
    smooth.forward(start="tanh", end="conv_tanh_0_split")
    smooth.backward(start="ip", end="sum")
    passes = {"forward": [2, 3], "backward": [6, 5]}
    assert calls == [
        (f"{when}_{way}", index) for way, indices in passes.items() for index in indices for when in ("before", "after")
    ]


def test_a_callback_may_edit_a_blob_on_the_way(smooth):
    def mute(index):
        if smooth._layer_names[index] == "left":
            smooth.blobs["left"].data[...] = 0

    smooth.after_forward(mute)
    smooth.forward()
    np.testing.assert_allclose(smooth.blobs["sum"].data, -0.5 * smooth.blobs["conv"].data, rtol=1e-6)


def test_arrays_in_memory(write):
    text = """
    layer { name: "data" type: "MemoryData" top: "data" top: "label"
            memory_data_param { batch_size: 2 channels: 1 height: 3 width: 2 } }
    layer { name: "twice" type: "Power" bottom: "data" top: "twice" power_param { scale: 2 } }
    """
    net = caffe.Net(write(text), caffe.TEST)
    data = np.arange(24, dtype=np.float32).reshape(4, 1, 3, 2)
    net.set_input_arrays(data, np.arange(4, dtype=np.float32))
    for part in (data[:2], data[2:], data[:2]):
        assert np.array_equal(net.forward()["twice"], 2 * part)
    assert net.blobs["label"].data.ravel().tolist() == [0, 1]
    with pytest.raises(ShapeError):
        net.set_input_arrays(data[:3], np.arange(3, dtype=np.float32))
    with pytest.raises(UsageError, match="MemoryData"):
        caffe.Net(write(LOSS_NET), caffe.TEST).set_input_arrays(data, np.arange(4, dtype=np.float32))


def test_another_batch_size(smooth):
    smooth.blobs["data"].reshape(3, 2, 5, 4)
    smooth.reshape()
    assert smooth.blobs["ip"].shape == (3, 2)
    x = np.random.default_rng(0).uniform(-1, 1, (3, 2, 5, 4))
    together = smooth.forward(data=x)["ip"].copy()
    smooth.blobs["data"].reshape(1, 2, 5, 4)
    # Without Net.reshape, the next pass gives the blobs their shapes.
    apart = [smooth.forward(data=item[np.newaxis])["ip"][0].copy() for item in x]
    np.testing.assert_allclose(apart, together, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("items", [1, 2, 5])
def test_inputs_of_any_length(smooth, items):
    x = np.random.default_rng(0).uniform(-1, 1, (items, 2, 5, 4))
    out = smooth.forward_all(data=x, blobs=["conv"])
    assert (out["ip"].shape, out["conv"].shape) == ((items, 2), (items, 3, 3, 3))
    padded = np.concatenate([x[-1:], x[-1:]])
    np.testing.assert_allclose(smooth.forward(data=padded)["ip"][0], out["ip"][-1], rtol=1e-4, atol=1e-6)


def test_what_makes_no_sense_is_refused(smooth, write, tmp_path):
    with pytest.raises(CaffeCompatError, match=r"nowhere\.prototxt"):
        caffe.Net(str(tmp_path / "nowhere.prototxt"), caffe.TEST)
    with pytest.raises(CaffeCompatError, match=r"nowhere\.caffemodel"):
        caffe.Net(write(SMOOTH_NET), caffe.TEST, weights=str(tmp_path / "nowhere.caffemodel"))
    for arguments, named in (((), {}), ((2,), {}), ((caffe.TEST, 0, [], None, 1), {}), ((caffe.TEST,), {"stage": "a"})):
        with pytest.raises(UsageError):
            caffe.Net(write(SMOOTH_NET), *arguments, **named)
    with pytest.raises(UsageError, match="'conf'"):
        smooth.forward(end="conf")
    with pytest.raises(UsageError, match="did you mean"):
        smooth.forward(blobs=["convv"])
    with pytest.raises(UsageError, match="inputs data"):
        smooth.forward(date=np.zeros((2, 2, 5, 4)))
    with pytest.raises(ShapeError, match="reshape"):
        smooth.forward(data=np.zeros((3, 2, 5, 4)))
    with pytest.raises(ShapeError, match="could not broadcast"):
        smooth.forward(data=np.zeros((2, 2, 5, 3)))
    with pytest.raises(UsageError, match="outputs ip"):
        smooth.backward(sum=np.zeros((2, 2)))


def test_a_file_that_is_not_there_is_what_the_original_raised():
    with pytest.raises(RuntimeError, match="not-there.prototxt") as caught:
        caffe.Net("not-there.prototxt", caffe.TEST)
    assert isinstance(caught.value, CaffeCompatError)
    with pytest.raises(RuntimeError, match="not-there.prototxt"):
        caffe.SGDSolver("not-there.prototxt")
