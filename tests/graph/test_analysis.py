"""What a net costs and sees: known answers of published nets, and what gradients show of small ones."""

from __future__ import annotations

import pytest
import torch

import caffecompat
from caffecompat.graph.analysis import analyse
from tests.support import shared_file


def costs(prototxt, **arguments):
    net = caffecompat.load(prototxt, **arguments)
    parameters = [[tuple(blob.shape) for blob in layer.blobs] for layer in net.layers]
    return net, {cost.spec.name: cost for cost in analyse(net.graph, net.blob_shapes, parameters)}


def totals(found):
    names = ("parameters", "multiply_adds", "memory_access")
    return {name: sum(getattr(cost, name) for cost in found.values()) for name in names}


def test_vgg16(monkeypatch):
    """Simonyan & Zisserman: 138 million parameters; the published 15.5 billion multiply-adds; reaches by hand."""
    monkeypatch.setattr("caffecompat.net.Net.fill", lambda net: None)
    _, found = costs(shared_file("prototxt/vgg/VGG_ILSVRC_16_layers_deploy.prototxt"))
    assert totals(found)["parameters"] == 138_357_544
    assert totals(found)["multiply_adds"] == 15_470_264_320
    reach = {name: (found[name].receptive_field, found[name].stride) for name in found}
    assert reach["conv4_3"] == ((92, 92), (8, 8))
    assert reach["pool5"] == ((212, 212), (32, 32))
    assert reach["conv5_3"] == ((196, 196), (16, 16))
    assert reach["fc6"] == ((404, 404), (32, 32))
    # 15.5 is the middle of the first 32 pixels.
    assert (found["conv5_3"].offset, found["pool5"].offset) == ((7.5, 7.5), (15.5, 15.5))
    first = found["conv1_1"]
    assert first.memory_access == 3 * 224 * 224 + 1792 + 64 * 224 * 224


def test_alexnet(monkeypatch):
    """Krizhevsky et al.: 60 million parameters; 724 million multiply-adds with the groups."""
    monkeypatch.setattr("caffecompat.net.Net.fill", lambda net: None)
    _, found = costs(shared_file("prototxt/bvlc/bvlc_alexnet__deploy.prototxt"))
    assert totals(found)["parameters"] == 60_965_224
    assert totals(found)["multiply_adds"] == 724_406_816
    assert found["pool5"].receptive_field == (195, 195)


ONES = 'num_output: 2 %s weight_filler { type: "constant" value: 1 }'
LAYERS = {
    "conv": f'type: "Convolution" convolution_param {{ {ONES} }}',
    "deconv": f'type: "Deconvolution" convolution_param {{ {ONES} }}',
    "pool": 'type: "Pooling" pooling_param { pool: AVE %s }',
    "lrn": 'type: "LRN" lrn_param { norm_region: WITHIN_CHANNEL %s }',
    "fc": f'type: "InnerProduct" inner_product_param {{ {ONES} }}',
}
CHAINS = {
    "plain": [("conv", "kernel_size: 3"), ("pool", "kernel_size: 2 stride: 2"), ("conv", "kernel_size: 5 pad: 2")],
    "dilated": [("conv", "kernel_size: 3 dilation: 2"), ("conv", "kernel_size: 3 stride: 2 dilation: 3 pad: 3")],
    "uneven": [("conv", "kernel_h: 3 kernel_w: 5 stride_h: 2 stride_w: 1"), ("pool", "kernel_h: 1 kernel_w: 3")],
    "upsampled": [
        ("pool", "kernel_size: 2 stride: 2"),
        ("deconv", "kernel_size: 4 stride: 2"),
        ("conv", "kernel_size: 3"),
    ],
    "sparse": [("conv", "kernel_size: 2 stride: 3"), ("deconv", "kernel_size: 3 stride: 2")],
    "shifted": [("conv", "kernel_size: 4 pad: 1 stride: 2"), ("pool", "kernel_size: 3 pad: 1 stride: 2")],
    "within": [("lrn", "local_size: 5"), ("conv", "kernel_size: 3")],
}


def chain(tmp_path, layers, size):
    text = [f'input: "data" input_shape {{ dim: 1 dim: 2 dim: {size[0]} dim: {size[1]} }}']
    bottom = "data"
    for index, (kind, parameters) in enumerate(layers):
        body = LAYERS[kind] % parameters
        text.append(f'layer {{ name: "l{index}" bottom: "{bottom}" top: "t{index}" {body} }}')
        bottom = f"t{index}"
    path = tmp_path / "chain.prototxt"
    path.write_text("\n".join(text))
    return costs(path)


def seen(net, size):
    """For values in the middle of the output, axis by axis: (its place, the first and the last place it depends on)."""
    data = torch.rand(1, 2, *size, requires_grad=True)
    (output,) = net(data=data).values()
    rows, columns = output.shape[2] // 2, output.shape[3] // 2
    found = ([], [])
    for row in range(rows - 2, rows + 2):
        for column in range(columns - 2, columns + 2):
            (gradient,) = torch.autograd.grad(output[0, 0, row, column], data, retain_graph=True)
            touched = gradient[0].abs().sum(0) > 0
            for axis, place in enumerate((row, column)):
                places = touched.any(1 - axis).nonzero()
                found[axis].append((place, int(places[0]), int(places[-1])))
    return found


@pytest.mark.parametrize("name", CHAINS)
def test_reach_is_what_gradients_show(tmp_path, name):
    size = (40, 48)
    net, found = chain(tmp_path, CHAINS[name], size)
    last = list(found.values())[-1]
    for axis, places in enumerate(seen(net, size)):
        assert last.receptive_field[axis] == max(end - start + 1 for _, start, end in places)
        for place, start, end in places:
            middle = last.offset[axis] + place * last.stride[axis]
            # Under a transposed window neighbours see more and less by turns.
            assert abs((start + end) / 2 - middle) <= (0.5 * last.stride[axis] if "deconv" in str(CHAINS[name]) else 0)


def test_stride_after_upsampling(tmp_path):
    _, found = chain(tmp_path, CHAINS["sparse"], (40, 48))
    assert list(found.values())[-1].stride == (1.5, 1.5)


def test_crop_moves_what_is_seen(tmp_path):
    path = tmp_path / "crop.prototxt"
    path.write_text(
        'input: "data" input_shape { dim: 1 dim: 2 dim: 9 dim: 8 } input: "like" input_shape { dim: 1 dim: 2 dim: 2 '
        f'dim: 2 }} layer {{ name: "c" bottom: "data" top: "c" {LAYERS["conv"] % "kernel_size: 3 stride: 2"} }} '
        'layer { name: "crop" type: "Crop" bottom: "c" bottom: "like" top: "crop" '
        "crop_param { axis: 2 offset: 2 offset: 1 } }"
    )
    _, found = costs(path)
    assert (found["c"].offset, found["crop"].offset) == ((1, 1), (5, 3))
    assert found["crop"].receptive_field == (3, 3)


def test_inner_product_and_global_pooling_see_the_whole_map(tmp_path):
    _, found = chain(tmp_path, [("conv", "kernel_size: 3 stride: 2"), ("fc", "")], (11, 15))
    assert list(found.values())[-1].receptive_field == (11, 15)
    _, found = chain(tmp_path, [("conv", "kernel_size: 3 stride: 2"), ("pool", "global_pooling: true")], (11, 15))
    assert list(found.values())[-1].receptive_field == (11, 15)


def test_numbers_are_for_one_image(tmp_path):
    net, found = chain(
        tmp_path, [("conv", "kernel_size: 3 bias_term: true"), ("deconv", "kernel_size: 2 stride: 2")], (7, 9)
    )
    conv, deconv = list(found.values())[1:]
    assert conv.multiply_adds == 2 * 5 * 7 * 2 * 9
    assert conv.parameters == 2 * 2 * 9 + 2
    assert deconv.multiply_adds == 2 * 5 * 7 * 2 * 4
    assert deconv.memory_access == 2 * 5 * 7 + (2 * 2 * 4 + 2) + 2 * 10 * 14
    net = caffecompat.load(tmp_path / "chain.prototxt", input_shapes={"data": (6, 2, 7, 9)})
    parameters = [[tuple(blob.shape) for blob in layer.blobs] for layer in net.layers]
    batch = analyse(net.graph, net.blob_shapes, parameters)[1:]
    assert [cost.multiply_adds for cost in batch] == [conv.multiply_adds, deconv.multiply_adds]
    assert [cost.memory_access for cost in batch] == [conv.memory_access, deconv.memory_access]


def test_shared_parameters_count_once(tmp_path):
    path = tmp_path / "shared.prototxt"
    layer = (
        'layer {{ name: "{0}" type: "InnerProduct" bottom: "data" top: "{0}" inner_product_param {{ num_output: 3 }}'
        ' param {{ name: "w" }} param {{ name: "b" }} }}\n'
    )
    path.write_text('input: "data" input_shape { dim: 4 dim: 5 }\n' + layer.format("a") + layer.format("b"))
    _, found = costs(path)
    assert (found["a"].parameters, found["b"].parameters) == (18, 0)
    assert found["a"].multiply_adds == found["b"].multiply_adds == 15
    assert found["a"].receptive_field is None
