"""Mappings of coordinates: by hand, and beside the offsets that the fully convolutional nets were published with."""

from __future__ import annotations

import numpy as np
import pytest

from caffecompat.errors import CaffeCompatError
from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812 - as every script calls it
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.pycaffe.coord_map import (
    PASS_THROUGH_LAYERS,
    AxisMismatchException,
    UndefinedMapException,
    compose,
    conv_params,
    coord_map,
    coord_map_from_to,
    crop,
    crop_params,
    inverse,
)


def net(ks=3, stride=1, pad=0, pool=2, dstride=2, dpad=0):
    """data -> conv -> pool -> deconv, whose kernel is twice its stride."""
    n = NetSpec()
    n.data = L.Input(shape={"dim": [2, 1, 100, 100]})
    n.aux = L.Input(shape={"dim": [2, 1, 20, 20]})
    n.conv = L.Convolution(n.data, num_output=10, kernel_size=ks, stride=stride, pad=pad)
    n.pool = L.Pooling(n.conv, pool=P.Pooling.MAX, kernel_size=pool, stride=pool, pad=0)
    n.deconv = L.Deconvolution(n.pool, num_output=10, kernel_size=dstride * 2, stride=dstride, pad=dpad)
    return n


def vgg(n, last):
    """The trunk of the fully convolutional nets: five poolings, 100 zeros around the image."""
    for block, count in enumerate((2, 2, 3, 3, 3), start=1):
        for index in range(count):
            pad = 100 if (block, index) == (1, 0) else 1
            last = L.ReLU(L.Convolution(last, kernel_size=3, pad=pad, num_output=8), in_place=True)
        n[f"pool{block}"] = last = L.Pooling(last, pool=P.Pooling.MAX, kernel_size=2, stride=2)
    fc6 = L.Dropout(L.ReLU(L.Convolution(last, kernel_size=7, pad=0), in_place=True), in_place=True)
    return L.Convolution(L.Convolution(fc6, kernel_size=1, pad=0), kernel_size=1, pad=0)


def up(last, factor):
    return L.Deconvolution(
        last, convolution_param={"num_output": 21, "kernel_size": factor * 2, "stride": factor, "bias_term": False}
    )


def offsets(top):
    stated = top.to_proto().layer[-1].crop_param
    assert stated.axis == 2
    return list(stated.offset)


class TestPublishedOffsets:
    """J. Long and E. Shelhamer's fcn32s, fcn16s and fcn8s, whose prototxts state the offsets of their Crops."""

    def test_fcn32s(self):
        n = NetSpec()
        n.data = L.Input()
        assert offsets(crop(up(vgg(n, n.data), 32), n.data)) == [19]

    def test_fcn16s(self):
        n = NetSpec()
        n.data = L.Input()
        double = up(vgg(n, n.data), 2)
        side = crop(L.Convolution(n.pool4, kernel_size=1, pad=0), double)
        assert offsets(side) == [5]
        assert offsets(crop(up(L.Eltwise(double, side), 16), n.data)) == [27]

    def test_fcn8s(self):
        n = NetSpec()
        n.data = L.Input()
        double = up(vgg(n, n.data), 2)
        fused = L.Eltwise(double, crop(L.Convolution(n.pool4, kernel_size=1, pad=0), double))
        again = up(fused, 2)
        side = crop(L.Convolution(n.pool3, kernel_size=1, pad=0), again)
        assert offsets(side) == [9]
        assert offsets(crop(up(L.Eltwise(again, side), 8), n.data)) == [31]


class TestLayers:
    @pytest.mark.parametrize(
        ("top", "wanted"),
        [
            # Output o is centred at input o * stride - pad + (extent - 1) / 2.
            (L.Convolution(L.Input(), kernel_size=5, stride=2, pad=1), (1, 0.5, -0.5)),
            (L.Convolution(L.Input(), kernel_size=3, dilation=4, pad=4), (1, 1, 0)),
            (L.Convolution(L.Input(), kernel_size=3), (1, 1, -1)),
            (L.Convolution(L.Input(), kernel_size=3, axis=2), (2, 1, -1)),
            (L.Convolution(L.Input(), convolution_param={"kernel_size": 7, "stride": 2}), (1, 0.5, -1.5)),
            (L.Pooling(L.Input(), kernel_size=2, stride=2), (1, 0.5, -0.25)),
            (L.Pooling(L.Input(), pooling_param={"kernel_size": 3, "stride": 2, "pad": 1}), (1, 0.5, 0)),
            (L.Im2col(L.Input(), convolution_param={"kernel_size": 3}), (1, 1, -1)),
            (L.Deconvolution(L.Input(), kernel_size=4, stride=2, pad=1), (1, 2, 0.5)),
            (L.Crop(L.Input(), L.Input(), offset=3), (1, 1, -3)),
            (L.Crop(L.Input(), L.Input(), crop_param={"axis": 3, "offset": 4}), (2, 1, -4)),
            (L.Crop(L.Input(), L.Input()), (1, 1, 0)),
            *((getattr(L, name)(L.Input()), (None, 1, 0)) for name in PASS_THROUGH_LAYERS),
        ],
    )
    def test_maps(self, top, wanted):
        assert coord_map(top.fn) == wanted

    def test_parameters(self):
        axis, stride, extent, pad = conv_params(L.Convolution(kernel_size=[3, 5], dilation=2, pad=1).fn)
        assert axis == 1
        assert (stride.tolist(), extent.tolist(), pad.tolist()) == ([1], [5, 9], [1])
        axis, offset = crop_params(L.Crop(offset=[1, 2]).fn)
        assert (axis, offset.tolist()) == (2, [1, 2])

    def test_undefined(self):
        with pytest.raises(UndefinedMapException, match="'InnerProduct'"):
            coord_map(L.InnerProduct(L.Input()).fn)
        assert issubclass(UndefinedMapException, CaffeCompatError)

    @pytest.mark.parametrize("given", [{"kernel_h": 3, "kernel_w": 5}, {"kernel_size": 3, "pad_w": 1}])
    def test_legacy_sizes(self, given):
        with pytest.raises(AssertionError, match="does not support legacy _h/_w params: (kernel_h, kernel_w|pad_w)"):
            coord_map(L.Convolution(L.Input(), **given).fn)

    def test_no_kernel(self):
        with pytest.raises(AssertionError, match="Pooling without kernel_size"):
            coord_map(L.Pooling(L.Input(), global_pooling=True).fn)


class TestAlgebra:
    def test_compose(self):
        """3 * (2 x + 5) + 7."""
        assert compose((1, 3, 7), (None, 2, 5)) == (1, 6, 22)
        assert compose((None, 3, 7), (2, 2, 5)) == (2, 6, 22)
        assert compose((None, 1, 0), (None, 1, 0)) == (None, 1, 0)

    def test_other_axes(self):
        with pytest.raises(AxisMismatchException, match="axes 1 and 2"):
            compose((1, 1, 0), (2, 1, 0))

    def test_inverse(self):
        assert inverse((1, 4, 6)) == (1, 0.25, -1.5)
        axis, scale, shift = compose((1, 4.0, 6.0), inverse((1, 4.0, 6.0)))
        assert (axis, scale, shift) == (1, 1, 0)


class TestBetweenBlobs:
    def test_pool_and_deconv_of_one_factor(self):
        n = net()
        assert coord_map_from_to(n.deconv, n.data) == (1, 1, 0)
        n = net(pool=4, dstride=4)
        assert coord_map_from_to(n.deconv, n.data) == (1, 1, -1)

    def test_passed_through(self):
        n = net(pool=4, dstride=4)
        n.relu = L.ReLU(n.deconv)
        n.conv1x1 = L.Convolution(n.relu, num_output=10, kernel_size=1, stride=1, pad=0)
        wanted = coord_map_from_to(n.deconv, n.data)
        assert coord_map_from_to(n.relu, n.data) == wanted
        assert coord_map_from_to(n.conv1x1, n.data) == wanted

    @pytest.mark.parametrize("pad", [0, 3, 10])
    def test_padding(self, pad):
        """That of a convolution moves one way, that of a deconvolution the other."""
        for given, shift in (({"pad": pad}, -pad), ({"dpad": pad}, pad), ({"pad": pad, "dpad": pad}, 0)):
            n = net(**given)
            assert coord_map_from_to(n.deconv, n.data) == (1, 1, shift)

    def test_several_bottoms_and_tops(self):
        n = net()
        n.one, n.other = L.Convolution(n.data, n.aux, ntop=2, num_output=10, kernel_size=5, stride=2, pad=0)
        assert coord_map_from_to(n.one, n.data) == coord_map_from_to(n.other, n.aux) == (1, 2, 2)

    def test_sides_of_their_own(self):
        small, large, both = net(3, 1, 0), net(5, 2, 10), net([3, 5], [1, 2], [0, 10])
        axes, scales, shifts = zip(*(coord_map_from_to(n.deconv, n.data) for n in (small, large, both)), strict=True)
        assert set(axes) == {1}
        assert scales[2].tolist() == [*scales[0], *scales[1]]
        assert shifts[2].tolist() == [*shifts[0], *shifts[1]]

    def test_three_dimensions(self):
        n = NetSpec()
        n.data = L.Input(shape={"dim": [2, 3, 100, 100, 100]})
        n.conv = L.Convolution(n.data, num_output=10, kernel_size=[3, 3, 3], stride=[1, 1, 1], pad=[0, 1, 2])
        n.pool = L.Pooling(n.conv, pool=P.Pooling.MAX, kernel_size=2, stride=2, pad=0)
        n.deconv = L.Deconvolution(n.pool, num_output=10, kernel_size=4, stride=2, pad=0)
        axis, scale, shift = coord_map_from_to(n.deconv, n.data)
        assert (axis, scale.tolist(), shift.tolist()) == (1, [1, 1, 1], [0, -1, -2])

    def test_crop_of_a_crop(self):
        n = net()
        n.crop = L.Crop(n.deconv, n.data, axis=2, offset=4)
        assert coord_map_from_to(n.crop, n.data) == (1, 1, 4)

    def test_the_second_bottom_of_a_crop_leads_nowhere(self):
        n = net()
        n.crop = L.Crop(n.aux, n.data)
        with pytest.raises(RuntimeError):
            coord_map_from_to(n.crop, n.data)

    def test_not_connected(self):
        n = net()
        n.ip = L.InnerProduct(n.deconv, num_output=10)
        with pytest.raises(RuntimeError, match="Could not compute map between tops") as caught:
            coord_map_from_to(n.ip, n.data)
        assert isinstance(caught.value, CaffeCompatError)

    def test_axes_that_differ_on_the_way(self):
        n = net()
        n.other = L.Convolution(n.deconv, kernel_size=3, axis=2)
        with pytest.raises(AxisMismatchException):
            coord_map_from_to(n.other, n.data)

    def test_many_ways(self):
        """Forty sums of a blob with itself: 2 to the 40th ways, each blob walked once."""
        top = data = L.Input()
        for _ in range(40):
            top = L.Eltwise(L.ReLU(top), top)
        assert coord_map_from_to(top, data) == (None, 1, 0)


class TestCrop:
    def test_states_axis_and_offset(self):
        n = net(pool=4, dstride=4)
        n.crop = crop(n.deconv, n.data)
        assert offsets(n.crop) == [1]
        assert n.crop.fn.inputs == (n.deconv, n.data)
        n = net([3, 5], [1, 1], [0, 3])
        assert offsets(crop(n.deconv, n.data)) == [0, 2]

    def test_where_all_is_passed_through(self):
        n = net()
        assert offsets(crop(L.ReLU(n.data), n.data)) == [0]

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"pool": 3, "dstride": 2}, "scale mismatch"),
            ({"dpad": 10}, "negative offset"),
            ({"ks": 2, "pool": 4, "dstride": 4}, r"noninteger offset \(b = \[-1.5\]\)"),
        ],
    )
    def test_refusals(self, given, words):
        n = net(**given)
        with pytest.raises(AssertionError, match=words) as caught:
            crop(n.deconv, n.data)
        assert isinstance(caught.value, CaffeCompatError)

    def test_offsets_are_plain_numbers(self):
        n = net(pool=4, dstride=4)
        (offset,) = crop(n.deconv, n.data).fn.params["crop_param"]["offset"]
        assert type(offset) is int
        assert not isinstance(offset, np.generic)
