"""torchvision_vgg: the net gives for Caffe's pictures what torchvision's module gives for its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import caffecompat
from caffecompat.data.preprocessing import Preprocessing
from caffecompat.errors import FormatError, UnsupportedError, UsageError
from caffecompat.export.applying import apply_recipe
from caffecompat.export.recipes import find_recipe

NET = """
input: "data" input_shape { dim: 2 dim: 3 dim: 12 dim: 16 }
layer { name: "conv1_1" type: "Convolution" bottom: "data" top: "conv1_1"
        convolution_param { num_output: 4 kernel_size: 3 pad: 1 } }
layer { name: "relu1_1" type: "ReLU" bottom: "conv1_1" top: "conv1_1" }
layer { name: "pool1" type: "Pooling" bottom: "conv1_1" top: "pool1" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "conv2_1" type: "Convolution" bottom: "pool1" top: "conv2_1"
        convolution_param { num_output: 5 kernel_size: 3 pad: 1 } }
layer { name: "relu2_1" type: "ReLU" bottom: "conv2_1" top: "conv2_1" }
layer { name: "pool2" type: "Pooling" bottom: "conv2_1" top: "pool2" pooling_param { kernel_size: 2 stride: 2 } }
layer { name: "fc6" type: "InnerProduct" bottom: "pool2" top: "fc6" inner_product_param { num_output: 7 } }
layer { name: "relu6" type: "ReLU" bottom: "fc6" top: "fc6" }
layer { name: "fc7" type: "InnerProduct" bottom: "fc6" top: "fc7" inner_product_param { num_output: 6 } }
layer { name: "relu7" type: "ReLU" bottom: "fc7" top: "fc7" }
layer { name: "fc8" type: "InnerProduct" bottom: "fc7" top: "fc8" inner_product_param { num_output: 3 } }
"""


class Module(nn.Module):
    """torchvision's VGG, its layout with small numbers."""

    def __init__(self, norm=False):
        super().__init__()
        layers = []
        for inputs, outputs in ((3, 4), (4, 5)):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1)]
            layers += [nn.BatchNorm2d(outputs)] if norm else []
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(60, 7), nn.ReLU(), nn.Dropout(), nn.Linear(7, 6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3)
        )

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def module_of(norm=False):
    torch.manual_seed(3)
    module = Module(norm).eval()
    for buffer in module.buffers():
        if buffer.dtype == torch.float32:
            nn.init.uniform_(buffer, 0.5, 1.5)
    return module


def pictures():
    """B, G, R from 0 to 255, as Caffe has them before the mean is subtracted; and as torchvision has them."""
    found = np.random.default_rng(1).uniform(0, 255, (2, 3, 12, 16)).astype(np.float32)
    rgb = torch.from_numpy(found[:, ::-1].copy()) / 255
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return torch.from_numpy(found), (rgb - mean[:, None, None]) / std[:, None, None]


def loaded(tmp_path, text=NET):
    (tmp_path / "net.prototxt").write_text(text)
    return caffecompat.load(tmp_path / "net.prototxt")


def applied(net, **options):
    return apply_recipe(net, find_recipe("torchvision_vgg"), options, Preprocessing())


def for_caffe(found, mean):
    return found - torch.tensor(mean)[:, None, None]


@pytest.mark.parametrize("norm", [False, True], ids=["plain", "batch norm"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_from_torchvision(tmp_path, norm, suffix):
    module = module_of(norm)
    path = tmp_path / f"vgg{suffix}"
    state = {name: value for name, value in module.state_dict().items() if "num_batches" not in name}
    if suffix == ".pth":
        torch.save(module.state_dict() if not norm else state, path)
    else:
        save_file(state, path)
    net, record = applied(loaded(tmp_path), read=str(path))
    assert record.mean == (103.53, 116.28, 123.675)
    caffe, torchvision = pictures()
    with torch.no_grad():
        found = net(data=for_caffe(caffe, record.mean))["fc8"]
        torch.testing.assert_close(found, module(torchvision), rtol=1e-4, atol=1e-4)


def test_another_mean_differs_only_where_padding_reaches(tmp_path):
    module = module_of()
    torch.save(module.state_dict(), tmp_path / "vgg.pth")
    net, _ = applied(loaded(tmp_path), read=str(tmp_path / "vgg.pth"), mean="104,117,123")
    net.keep = {"conv1_1"}
    caffe, torchvision = pictures()
    with torch.no_grad():
        net(data=for_caffe(caffe, (104.0, 117.0, 123.0)))
        expected = module.features[:2](torchvision)
    found = net.blobs["conv1_1"]
    torch.testing.assert_close(found[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_there_and_back(tmp_path, suffix):
    module = module_of()
    torch.save(module.state_dict(), tmp_path / "vgg.pth")
    net, _ = applied(loaded(tmp_path), read=str(tmp_path / "vgg.pth"), mean="104,117,123")
    path = tmp_path / f"back{suffix}"
    applied(net, write=str(path), mean="104,117,123")
    state = torch.load(path, weights_only=True) if suffix == ".pth" else load_file(path)
    assert set(state) == set(module.state_dict())
    for name, value in module.state_dict().items():
        torch.testing.assert_close(state[name], value, rtol=1e-4, atol=1e-5)
    module.load_state_dict(state)


class Evil:
    def __reduce__(self):
        return (print, ("run",))


def test_what_is_refused(tmp_path, capsys):
    net = loaded(tmp_path)
    with pytest.raises(UsageError, match="give one of"):
        applied(net)
    with pytest.raises(FormatError, match="No such file"):
        applied(net, read=str(tmp_path / "none.pth"))
    (tmp_path / "bad.pth").write_bytes(b"nothing")
    with pytest.raises(FormatError, match="expected weights of torchvision's"):
        applied(net, read=str(tmp_path / "bad.pth"))
    torch.save({"features.0.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(FormatError, match="expected weights of torchvision's"):
        applied(net, read=str(tmp_path / "evil.pth"))
    assert "run" not in capsys.readouterr().out
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(FormatError, match="a dictionary of tensors"):
        applied(net, read=str(tmp_path / "list.pth"))
    state = module_of().state_dict()
    torch.save({**state, "classifier.6.weight": torch.zeros(9, 6)}, tmp_path / "other.pth")
    with pytest.raises(UnsupportedError, match=r"expected weights of shape \(3, 6\), got \(9, 6\)") as caught:
        applied(net, read=str(tmp_path / "other.pth"))
    assert caught.value.layer == "fc8"
    del state["classifier.6.weight"], state["classifier.6.bias"]
    torch.save(state, tmp_path / "short.pth")
    with pytest.raises(UnsupportedError, match="the net has 5 layers with weights, the file 4"):
        applied(net, read=str(tmp_path / "short.pth"))
    torch.save(module_of().state_dict(), tmp_path / "vgg.pth")
    with pytest.raises(UsageError, match="expected three values as mean"):
        applied(net, read=str(tmp_path / "vgg.pth"), mean="1,2")
