"""Each engine computes what the net does, for the shapes it was made for and for others."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

import caffecompat
from caffecompat.engines import ENGINES, available, optimize, registry
from caffecompat.engines.comparing import others_of
from caffecompat.errors import CaffeCompatError, ShapeError, UnsupportedError, UsageError
from tests.engines.engine_nets import CLASSIFIER, INPUT, classifier, conv, detector, pictures
from tests.support import make_net

# Compiling takes many seconds.
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name == "compile" else name for name in ENGINES]


@pytest.fixture(scope="module")
def net():
    return classifier()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_outputs_are_those_of_the_net(name, net):
    engine = optimize(net, name, example={"data": pictures()})
    assert (engine.name, engine.precision, engine.net) == (name, "float32", net)
    for data in (pictures(), pictures(), pictures(5, 3, 21, 18), pictures(1, 3, 21, 18)):
        torch.testing.assert_close(engine(data=data)["prob"], net(data=data)["prob"].detach(), atol=1e-5, rtol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", NAMES)
def test_detections_are_those_of_the_net(name):
    net = detector()
    engine = optimize(net, name)
    shapes = ((2, 3, 21, 18),) if name == "compile" else ((2, 3, 21, 18), (2, 3, 30, 24), (1, 3, 30, 24))
    for shape in shapes:
        data = pictures(*shape)
        found, wanted = engine(data=data)["found"], net(data=data)["found"].detach()
        assert found.shape == wanted.shape
        assert wanted.shape[2] > shape[0], "the case has no detections"
        assert others_of(found, wanted, "float32") == 0


def test_what_is_given_is_a_result_of_its_own(net):
    for name in ("torch", "onnxruntime", "openvino", "opencv"):
        engine = optimize(net, name)
        first = engine(data=pictures())["prob"]
        before = first.clone()
        engine(data=-pictures())
        assert torch.equal(first, before), name


def test_arrays_are_taken_and_the_net_stays(net):
    state = {name: value.clone() for name, value in net.state_dict().items()}
    engine = optimize(net, "torch")
    found = engine(data=pictures().numpy())["prob"]
    assert not found.requires_grad
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("name", ["torch", "openvino"])
def test_bfloat16_is_near(name, net):
    engine = optimize(net, name, "bfloat16")
    difference = (engine(data=pictures())["prob"] - net(data=pictures())["prob"]).abs().max()
    assert difference < 0.02
    assert name == "openvino" or difference > 1e-6, "it did not compute in bfloat16"


def test_losses_and_labels_drop_out():
    text = (
        INPUT.replace("data", "pictures")
        + 'layer { name: "label" type: "Input" top: "label" input_param { shape { dim: 2 } } }\n'
        + conv("c", "pictures", 4, "kernel_h: 21 kernel_w: 18")
        + 'layer { name: "loss" type: "SoftmaxWithLoss" bottom: "c" bottom: "label" top: "loss" }\n'
        + 'layer { name: "acc" type: "Accuracy" bottom: "c" bottom: "label" top: "acc" }\n'
    )
    torch.manual_seed(0)
    net = make_net(text)
    engine = optimize(net, "torch", example={"pictures": pictures(), "label": torch.zeros(2)})
    assert engine.outputs == ["prob"]
    found = engine(pictures=pictures())
    wanted = torch.softmax(net.layer("c")(pictures()), 1).detach()
    torch.testing.assert_close(found["prob"], wanted)


def test_an_input_whose_name_is_no_identifier():
    net = make_net(CLASSIFIER.replace('"data"', '"the/data"'))
    engine = optimize(net, "torch", example={"the_data": pictures()})
    torch.testing.assert_close(engine(the_data=pictures())["prob"], net(the_data=pictures())["prob"].detach())


def test_threads_are_the_callers_again(net):
    before = torch.get_num_threads()
    engine = optimize(net, "torch", threads=before + 1)
    engine(data=pictures())
    assert torch.get_num_threads() == before


# --- errors


def test_an_engine_that_is_not_installed_names_its_extra(net, monkeypatch):
    def find(name):
        return None if name == "openvino" else object()

    monkeypatch.setattr(registry, "find_spec", find)
    assert "openvino" not in available()
    with pytest.raises(UnsupportedError, match=r"openvino needs openvino\n.*caffecompat\[openvino\]"):
        optimize(net, "openvino")


@pytest.mark.parametrize("name", ["onnxruntime", "openvino", "opencv"])
def test_a_layer_that_has_no_form_there_is_named(name):
    rois = 'layer { name: "rois" type: "Input" top: "rois" input_param { shape { dim: 2 dim: 5 } } }\n'
    odd = 'layer { name: "odd" type: "PSROIPooling" bottom: "c" bottom: "rois" top: "x" psroi_pooling_param { '
    net = make_net(INPUT + rois + conv("c", "data", 8) + odd + "spatial_scale: 1 output_dim: 2 group_size: 2 } }")
    with pytest.raises(UnsupportedError, match="odd"):
        optimize(net, name)
    boxes = torch.tensor([[0, 1, 1, 9, 9], [1.0, 0, 0, 5, 5]])
    found, wanted = (call(data=pictures(), rois=boxes)["x"] for call in (optimize(net, "torch"), net))
    torch.testing.assert_close(found, wanted.detach(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "tensorflow"}, "engine must be auto, torch"),
        ({"engine": 3}, "engine must be auto"),
        ({"precision": "float16"}, "precision must be float32, bfloat16 or int8"),
        ({"engine": "torch", "threads": 0}, "threads must be at least 1"),
        ({"engine": "torch", "example": {"dat": 1}}, 'did you mean "data"'),
        ({"engine": "torch", "example": [1.0]}, "tensors by name, got list"),
    ],
)
def test_wrong_usage(options, message, net):
    with pytest.raises(UsageError, match=message):
        optimize(net, **options)


def test_the_example_may_be_the_only_input(net):
    """The engine has it as its shapes; what is a tensor stands for no other input."""
    given = pictures(5, 3, 21, 18)
    for example in (given, given.numpy()):
        found = optimize(net, "torch", example=example)(data=given)["prob"]
        torch.testing.assert_close(found, net(data=given)["prob"].detach(), atol=1e-5, rtol=0)
    both = 'layer { name: "s" type: "Eltwise" bottom: "data" bottom: "more" top: "s" }'
    other = INPUT + INPUT.replace("data", "more") + both
    with pytest.raises(UsageError, match="the net has 'data', 'more'"):
        optimize(make_net(other), "torch", example=given)


def test_a_path_is_no_net():
    with pytest.raises(UsageError, match=r"expected a Net from caffecompat\.load, got 'lenet\.prototxt'"):
        optimize("lenet.prototxt")


def test_a_precision_that_an_engine_lacks(net):
    with pytest.raises(UsageError, match="opencv does not compute in bfloat16\n.*torch"):
        optimize(net, "opencv", "bfloat16")


def test_a_net_in_training_is_refused():
    with pytest.raises(UsageError, match="evaluation"):
        caffecompat.optimize(make_net(CLASSIFIER).train())


def test_a_net_that_is_not_on_the_cpu_is_refused():
    with pytest.raises(UsageError, match="engines run on the CPU, and the net is on meta"):
        optimize(make_net(CLASSIFIER).to("meta"))


def test_wrong_inputs(net):
    engine = optimize(net, "torch")
    with pytest.raises(UsageError, match="'data' is missing"):
        engine()
    with pytest.raises(UsageError, match="no input 'dta'"):
        engine(dta=pictures())
    with pytest.raises(ShapeError, match="expected 4 axes"):
        engine(data=np.zeros((3, 21, 18), np.float32))
    with pytest.raises(ShapeError, match="fc"):
        engine(data=torch.zeros(1, 3, 40, 40))


def test_no_compiler(net, monkeypatch):
    def fails(*arguments, **options):
        raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")

    monkeypatch.setattr(torch, "compile", fails)
    with pytest.raises(CaffeCompatError, match="C\\+\\+ compiler") as caught:
        optimize(net, "compile")
    assert "g++" in str(caught.value)


def test_listing_needs_no_torch():
    code = "import sys; from caffecompat.engines import available; available(); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
