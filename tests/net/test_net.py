import copy
import pickle

import numpy as np
import pytest
import torch

from caffecompat import Net
from caffecompat.errors import ShapeError, UsageError, WeightsError
from caffecompat.formats.weights import LayerWeights, WeightBlob, Weights
from caffecompat.graph.spec import BlobKey
from tests.support import make_net

DATA = 'layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 2 dim: 3 dim: 5 dim: 4 } } }\n'
CONV = (
    'layer { name: "%s" type: "Convolution" bottom: "%s" top: "%s" '
    "convolution_param { num_output: %d kernel_size: 1 "
    'weight_filler { type: "constant" value: 0.5 } bias_filler { type: "constant" value: -1 } } }\n'
)
RELU = 'layer { name: "relu" type: "ReLU" bottom: "conv" top: "conv" }\n'
LABEL = 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }\n'


def small() -> Net:
    return make_net(DATA + CONV % ("conv", "data", "conv", 2) + RELU)


def test_call_returns_outputs_by_name():
    x = torch.arange(120.0).reshape(2, 3, 5, 4) / 40 - 1
    outputs = small()(data=x)
    assert list(outputs) == ["conv"]
    expected = (0.5 * x.sum(1, keepdim=True) - 1).clamp(min=0).expand(2, 2, 5, 4)
    torch.testing.assert_close(outputs["conv"], expected)


def test_arrays_are_taken_as_tensors():
    x = np.ones((2, 3, 5, 4), np.float32)
    assert small()(data=x)["conv"].max().item() == 0.5


def test_the_batch_may_differ_from_the_prototxt():
    assert small()(data=torch.zeros(7, 3, 9, 9))["conv"].shape == (7, 2, 9, 9)


def test_in_place_layers_leave_the_earlier_version_alone():
    net = small()
    env = {BlobKey("data", 0): torch.zeros(2, 3, 5, 4)}
    net.run(env)
    first, last = (key for key in env if key.name == "conv")
    assert env[first].min().item() == -1
    assert env[last].min().item() == 0
    assert net.graph.last["conv"] == last


def test_keep_and_blobs():
    net = make_net(DATA + CONV % ("a", "data", "a", 2) + CONV % ("b", "a", "b", 1))
    x = torch.ones(2, 3, 5, 4)
    net(data=x)
    assert net.blobs == {}
    net.keep = {"a"}
    net(data=x)
    assert set(net.blobs) == {"a"}
    assert net.blobs["a"].mean().item() == 0.5
    net.keep = "all"
    net(data=x)
    assert set(net.blobs) == {"data", "a", "b"}
    net.keep = {"datta"}
    with pytest.raises(UsageError, match='no blob of the net\n  did you mean "data"'):
        net(data=x)


def test_inputs_are_checked():
    net = small()
    with pytest.raises(UsageError, match="input 'data' is missing"):
        net()
    with pytest.raises(UsageError, match="no input 'dta'; its inputs are data\n  did you mean \"data\""):
        net(dta=torch.zeros(1))
    with pytest.raises(UsageError, match="no input 'date'"):
        make_net(DATA, input_shapes={"date": (1, 3, 2, 2)})


def test_a_blob_that_is_no_identifier_is_fed_by_either_name():
    net = make_net(DATA.replace('top: "data"', 'top: "in/data"'))
    x = torch.zeros(2, 3, 5, 4)
    assert net(**{"in/data": x})["in/data"] is x
    assert net(in_data=x)["in/data"] is x
    assert net.input_names == {"in_data": "in/data"}


def test_input_shapes_by_either_name_and_the_limit_of_a_blob():
    text = DATA.replace('top: "data"', 'top: "in/data"')
    for name in ("in/data", "in_data"):
        net = make_net(text, input_shapes={name: (1, 3, 8, 9)})
        assert net.blob_shapes[BlobKey("in/data", 0)] == (1, 3, 8, 9)
    tile = 'layer { name: "t" type: "Tile" bottom: "data" top: "t" tile_param { tiles: 1000000000 } }'
    with pytest.raises(ShapeError, match=r'layer "t": \'t\' would have shape \(2, 3000000000, 5, 4\)'):
        make_net(DATA + tile)


def test_a_wrong_shape_names_the_layer():
    with pytest.raises(ShapeError, match='layer "conv"'):
        small()(data=torch.zeros(2, 4, 5, 4))


def test_state_dict_keys_and_escaped_names():
    net = make_net(
        DATA
        + CONV % ("conv1_1", "data", "a", 2)
        + CONV % ("b/3x3", "a", "b", 2)
        + CONV % ("type", "b", "c", 2)
        + CONV % ("loss", "c", "d", 2)
        + CONV % ("conv1_1", "d", "e", 2)
    )
    names = ["conv1_1", "b_3x3", "type_2", "loss_2", "conv1_1_2"]
    assert list(net.state_dict()) == [f"{name}.{part}" for name in names for part in ("weight", "bias")]
    assert net.module_names[1:] == names
    assert net.layer("b/3x3") is net.b_3x3
    assert net.layer("conv1_1") is net.layers[1]


def test_shared_parameters_are_one():
    shared = 'param { name: "w" } param { name: "b" } convolution_param'
    text = DATA + (CONV % ("a", "data", "a", 3) + CONV % ("b", "a", "b", 3)).replace("convolution_param", shared)
    net = make_net(text)
    assert net.layer("a").weight is net.layer("b").weight
    assert len(list(net.parameters())) == 2
    assert [(item.layer.spec.name, item.index) for item in net.learnable] == [("a", 0), ("a", 1)]
    net.layer("b").give(0, torch.full((3, 3, 1, 1), 2.0))
    assert net.layer("a").weight.mean().item() == 2
    again = copy.deepcopy(net)
    assert again.layer("a").weight is again.layer("b").weight
    net(data=torch.ones(2, 3, 5, 4))["b"].sum().backward()
    assert net.layer("a").weight.grad is not None


def test_permissive_sharing_reshapes_and_still_trains():
    text = (
        DATA + 'layer { name: "a" type: "InnerProduct" bottom: "data" top: "a" param { name: "w" } '
        "inner_product_param { num_output: 4 axis: 3 bias_term: false "
        'weight_filler { type: "uniform" min: -1 max: 1 } } }\n'
        'layer { name: "b" type: "InnerProduct" bottom: "data" top: "b" '
        'param { name: "w" share_mode: PERMISSIVE } inner_product_param { num_output: 8 axis: 3 '
        "bias_term: false } }\n"
    )
    with pytest.raises(ShapeError, match="as many values"):
        make_net(text)
    fits = text.replace("num_output: 8 axis: 3", "num_output: 1 axis: 1").replace("dim: 5", "dim: 1")
    fits = fits.replace("num_output: 4 axis: 3", "num_output: 3 axis: 3")
    net = make_net(fits)
    assert net.layer("b").weight.shape == (1, 12)
    torch.testing.assert_close(net.layer("b").weight.flatten(), net.layer("a").weight.flatten())
    for _ in range(2):
        net(data=torch.ones(2, 3, 1, 4))["b"].sum().backward()
    torch.testing.assert_close(net.layer("a").weight.grad, torch.full((3, 4), 4.0))


def test_sharing_in_another_shape_is_refused():
    shared = 'param { name: "w" } convolution_param'
    text = DATA + (CONV % ("a", "data", "a", 2) + CONV % ("b", "a", "b", 2)).replace("convolution_param", shared)
    with pytest.raises(ShapeError, match=r'param "w" has shape \(2, 2, 1, 1\) here and \(2, 3, 1, 1\) in layer "a"'):
        make_net(text)


def test_loss_sums_weighted_blobs_also_those_that_another_layer_reads():
    text = (
        DATA
        + CONV % ("conv", "data", "conv", 2)
        + 'layer { name: "p" type: "Power" bottom: "conv" top: "p" loss_weight: 0.5 }\n'
        + 'layer { name: "q" type: "Power" bottom: "p" top: "q" loss_weight: 2 power_param { scale: 3 } }\n'
    )
    net = make_net(text, "TRAIN")
    assert net.training
    outputs = net(data=torch.ones(2, 3, 5, 4))
    assert list(outputs) == ["p", "q"]
    count = 2 * 2 * 5 * 4
    assert net.loss(outputs).item() == pytest.approx(0.5 * 0.5 * count + 2 * 1.5 * count)
    net.loss(outputs).backward()
    assert net.conv.weight.grad is not None
    with pytest.raises(UsageError, match="expected what the call of the net returned"):
        net.loss({})
    with pytest.raises(UsageError, match="the net has no loss"):
        small().loss({})


def test_parameters_of_lr_mult_0_need_no_gradient_unless_force_backward():
    fixed = CONV.replace("convolution_param", "param { lr_mult: 0 } convolution_param")
    text = DATA + fixed % ("conv", "data", "conv", 2)
    net = make_net(text)
    assert (net.conv.weight.requires_grad, net.conv.bias.requires_grad) == (False, True)
    assert [item.lr_mult for item in net.learnable] == [0, 1]
    assert make_net("force_backward: true\n" + text).conv.weight.requires_grad


def weights(*layers: tuple[str, list[np.ndarray]], legacy: bool = False, hdf5: bool = False) -> Weights:
    made = [
        LayerWeights(name, "", tuple(WeightBlob(np.asarray(a, np.float32), legacy) for a in blobs))
        for name, blobs in layers
    ]
    return Weights(tuple(made), "w.caffemodel", hdf5)


def test_copy_from_matches_by_name():
    net = small()
    result = net.copy_from(
        weights(("other", [np.ones(3)]), ("relu", []), ("conv", [np.ones((2, 3, 1, 1)), np.ones(2)]))
    )
    assert result.matched == ("conv",)
    assert result.unused == ("other",)
    assert net(data=torch.ones(2, 3, 5, 4))["conv"].mean().item() == 4


def test_legacy_shapes_equal_ours_padded_on_the_left():
    net = small()
    blobs = [np.ones((2, 3, 1, 1)), np.full((1, 1, 1, 2), 7)]
    net.copy_from(weights(("conv", blobs), legacy=True))
    assert net.conv.bias.tolist() == [7, 7]
    with pytest.raises(
        WeightsError, match=r"expected shape \(2,\) for blob 1 \(bias\), got \(1, 1, 1, 2\) from w.caffe"
    ):
        net.copy_from(weights(("conv", blobs)))


def test_weights_that_do_not_fit_are_refused():
    with pytest.raises(WeightsError, match='layer "conv": expected 2 blobs, got 1 from w.caffemodel'):
        small().copy_from(weights(("conv", [np.ones((2, 3, 1, 1))])))
    with pytest.raises(WeightsError, match=r"expected shape \(2, 3, 1, 1\) for blob 0 \(weight\), got \(3, 2, 1, 1\)"):
        small().copy_from(weights(("conv", [np.ones((3, 2, 1, 1)), np.ones(2)])))


def test_of_layers_with_one_name_the_first_takes_a_binary_file_and_the_last_hdf5():
    text = DATA + CONV % ("conv", "data", "a", 3) + CONV % ("conv", "a", "b", 3)
    blobs = [np.ones((3, 3, 1, 1)), np.ones(3)]
    for hdf5, expected in ((False, [1, 0.5]), (True, [0.5, 1])):
        net = make_net(text)
        net.copy_from(weights(("conv", blobs), hdf5=hdf5))
        assert [layer.weight.mean().item() for layer in net.layers[1:]] == expected


def test_hdf5_may_leave_out_blobs_that_are_shared():
    shared = 'param { name: "w" } convolution_param'
    text = DATA + (CONV % ("a", "data", "a", 3) + CONV % ("b", "a", "b", 3)).replace("convolution_param", shared)
    net = make_net(text)
    full = LayerWeights("a", "", tuple(WeightBlob(np.full(shape, 2, np.float32)) for shape in ((3, 3, 1, 1), (3,))))
    rest = LayerWeights("b", "", (WeightBlob(np.full(3, 4, np.float32)),), indices=(1,))
    net.copy_from(Weights((full, rest), "w.h5", hdf5=True))
    assert [blob.mean().item() for blob in net.layer("b").blobs] == [2, 4]
    lacking = LayerWeights("a", "", full.blobs[:1], indices=(0,))
    with pytest.raises(WeightsError, match="expected 2 blobs, got 1"):
        net.copy_from(Weights((lacking,), "w.h5", hdf5=True))


def test_share_with_is_one_memory():
    train, test = small(), small()
    test.share_with(train)
    assert test.conv.weight is train.conv.weight
    with torch.no_grad():
        train.conv.weight.fill_(9)
    assert test.conv.weight.mean().item() == 9
    with pytest.raises(WeightsError, match="cannot share"):
        test.share_with(make_net(DATA + CONV % ("conv", "data", "conv", 4)))


def test_a_net_can_be_copied_and_pickled():
    net = small()
    x = torch.ones(2, 3, 5, 4)
    net.keep = "all"
    net(data=x)
    for again in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert net.blobs
        assert not again.blobs
        torch.testing.assert_close(again(data=x)["conv"], net(data=x)["conv"])
        assert set(again.blobs) == set(net.blobs)


def test_learnable_counts_statistics_and_keeps_caffes_order():
    text = DATA + 'layer { name: "bn" type: "BatchNorm" bottom: "data" top: "bn" }\n' + CONV % ("conv", "bn", "c", 1)
    net = make_net(text)
    slots = [(item.layer.spec.name, item.layer.blob_names[item.index]) for item in net.learnable]
    assert slots == [("bn", "mean"), ("bn", "variance"), ("bn", "factor"), ("conv", "weight"), ("conv", "bias")]


class Recorder:
    """Hooks that count calls and double every top of one layer."""

    def __init__(self, doubled: str) -> None:
        self.doubled = doubled
        self.seen: list[str] = []

    def before(self, index, layer, bottoms):
        self.seen.append(layer.spec.name)
        return tuple(blob.detach() for blob in bottoms)

    def after(self, index, layer, bottoms, tops):
        return tuple(2 * top for top in tops) if layer.spec.name == self.doubled else tops


def test_run_partly_and_with_hooks():
    net = make_net(DATA + CONV % ("a", "data", "a", 2) + CONV % ("b", "a", "b", 1))
    env = {BlobKey("data", 0): torch.ones(2, 3, 5, 4)}
    hooks = Recorder("a")
    net.run(env, 0, 2, hooks)
    assert hooks.seen == ["a"]
    assert set(env) == {BlobKey("data", 0), BlobKey("a", 0)}
    env[BlobKey("a", 0)] = torch.full((2, 2, 5, 4), 3.0)
    net.run(env, 2, 3, hooks)
    assert env[BlobKey("b", 0)].mean().item() == 2


def test_blobs_are_freed_after_their_last_use():
    net = make_net(DATA + CONV % ("a", "data", "a", 2) + CONV % ("b", "a", "b", 1))
    env = {BlobKey("data", 0): torch.ones(2, 3, 5, 4)}
    net.run(env, keep={BlobKey("b", 0)})
    assert list(env) == [BlobKey("b", 0)]
