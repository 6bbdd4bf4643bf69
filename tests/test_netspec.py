from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from google.protobuf import text_format

import caffecompat
from caffecompat import netspec
from caffecompat.errors import CaffeCompatError, GraphError, SchemaError
from caffecompat.formats import parse_net, write_text
from caffecompat.layers import base
from caffecompat.netspec import (
    FieldValueError,
    NetSpec,
    NotATopError,
    UnknownFieldError,
    UnknownTopError,
    assign_proto,
    param_name_dict,
    to_proto,
)
from caffecompat.netspec import layers as L  # noqa: N812 - as every script calls it
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import LAYER_TYPES, caffe_pb2
from caffecompat.schema.plugins import MODULES


def message(text, kind=caffe_pb2.NetParameter):
    return text_format.Parse(text, kind())


def only(top):
    """The last layer of the net that makes a top."""
    return to_proto(top).layer[-1]


class TestNames:
    def test_by_type_and_number_and_bottoms_first(self):
        data, label = L.DummyData(ntop=2)
        side = L.Convolution(data)
        loss = L.SoftmaxWithLoss(L.Eltwise(side, L.Convolution(L.ReLU(side, in_place=True))), label)
        rows = [(layer.name, list(layer.bottom), list(layer.top)) for layer in loss.to_proto().layer]
        assert rows == [
            ("DummyData1", [], ["DummyData1", "DummyData2"]),
            ("Convolution1", ["DummyData1"], ["Convolution1"]),
            ("ReLU1", ["Convolution1"], ["Convolution1"]),
            ("Convolution2", ["Convolution1"], ["Convolution2"]),
            ("Eltwise1", ["Convolution1", "Convolution2"], ["Eltwise1"]),
            ("SoftmaxWithLoss1", ["Eltwise1", "DummyData2"], ["SoftmaxWithLoss1"]),
        ]

    def test_a_layer_has_the_name_of_its_first_top(self):
        n = NetSpec()
        n.first, n.second = L.Slice(L.Input(), ntop=2)
        assert [(one.name, list(one.top)) for one in n.to_proto().layer] == [
            ("Input1", ["Input1"]),
            ("first", ["first", "second"]),
        ]

    def test_first_top_without_a_name(self):
        n = NetSpec()
        tops = L.Slice(L.Input(), ntop=2)
        n.second = tops[1]
        assert [(one.name, list(one.top)) for one in n.to_proto().layer][-1] == ("Slice1", ["Slice1", "second"])

    def test_without_tops(self):
        n = NetSpec()
        n.data, n.more = L.DummyData(shape={"dim": 3}, ntop=2)
        n.quiet = L.Silence(n.data, ntop=0)
        assert [(one.name, list(one.top)) for one in n.to_proto().layer][1:] == [("quiet", [])]
        assert to_proto(L.Silence(n.more, ntop=0)).layer[-1].name == "Silence1"

    def test_name_parameter_names_the_layer_only(self):
        layer = only(L.Input(name="other"))
        assert (layer.name, list(layer.top)) == ("other", ["Input1"])

    def test_two_names_for_one_blob(self):
        n = NetSpec()
        n.a = n.b = L.Input()
        assert [layer.name for layer in n.to_proto().layer] == ["b"]

    def test_in_place_hands_the_name_on(self):
        n = NetSpec()
        n.data = L.Input()
        n.relu = L.ReLU(n.data, in_place=True)
        n.drop = L.Dropout(n.relu, in_place=True)
        n.out = L.TanH(n.drop)
        assert [(one.name, list(one.bottom), list(one.top)) for one in n.to_proto().layer[1:]] == [
            ("relu", ["data"], ["data"]),
            ("drop", ["data"], ["data"]),
            ("out", ["data"], ["out"]),
        ]

    def test_long_chains(self):
        top = L.Input()
        for _ in range(3000):
            top = L.TanH(top)
        assert only(top).name == "TanH3000"


class TestNetSpec:
    def test_access(self):
        n = NetSpec()
        n["mixed/join"] = L.Input()
        n.conv = L.Convolution(n["mixed/join"])
        n.pool = L.Pooling(n.conv)
        assert n.keys() == ["mixed/join", "conv", "pool"] == list(n)
        assert n.vals() == [n["mixed/join"], n.conv, n.pool] == list(n.tops.values())
        assert n["conv"] is n.conv is getattr(n, "conv")  # noqa: B009
        assert "conv" in n
        del n["pool"]
        del n.conv
        assert n.keys() == ["mixed/join"]
        assert "conv" not in n

    def test_update(self):
        n = NetSpec()
        n.conv = L.Convolution(L.Input(), num_output=3, pad=1)
        n.update("conv", {"pad": 2, "dilation": 2, "param": [{"lr_mult": 0}]})
        layer = n.to_proto().layer[-1]
        assert list(layer.convolution_param.pad) == [2] == list(layer.convolution_param.dilation)
        assert layer.convolution_param.num_output == 3
        assert layer.param[0].lr_mult == 0

    def test_only_what_is_needed(self):
        n = NetSpec()
        n.data = L.Input()
        L.ReLU(n.data)
        assert len(n.to_proto().layer) == 1

    def test_copies(self):
        n = NetSpec()
        n.conv = L.Convolution(L.Input(), num_output=3)
        for other in (copy.deepcopy(n), pickle.loads(pickle.dumps(n))):
            assert other.to_proto() == n.to_proto()
            other.update("conv", {"num_output": 4})
            assert other.to_proto() != n.to_proto()

    def test_unknown_blob(self):
        n = NetSpec()
        n.conv1_1 = L.Input()
        for fault in (
            lambda: n.conv1_2,
            lambda: n["conv1_2"],
            lambda: n.update("conv1_2", {}),
            lambda: n.__delitem__("conv1_2"),
        ):
            with pytest.raises(UnknownTopError, match="no blob 'conv1_2'.*\n.*did you mean \"conv1_1\""):
                fault()
        assert issubclass(UnknownTopError, KeyError)
        assert issubclass(UnknownTopError, CaffeCompatError)
        assert not hasattr(n, "conv1_2")

    def test_tuple_for_one_name(self):
        n = NetSpec()
        n.data = L.Data(ntop=2)
        with pytest.raises(TypeError, match="for 'data'.*\n.*each of the tops"):
            n.to_proto()

    @pytest.mark.parametrize("value", [None, 3, [1]])
    def test_no_top(self, value):
        n = NetSpec()
        n.data = value
        with pytest.raises(NotATopError, match="for 'data'"):
            n.to_proto()
        with pytest.raises(NotATopError):
            to_proto(value)

    def test_input_is_no_top(self):
        """The words are BVLC's own, which its suite checks."""
        data = L.DummyData(ntop=2)
        with pytest.raises(TypeError, match=r"^Silence input 0 is not a Top \(type is <class 'tuple'>\)$"):
            L.Silence(data, ntop=0)
        L.Silence(*data, ntop=0)

    def test_too_many_tops_in_place(self):
        tops = L.Slice(L.Input(), in_place=True, ntop=2)
        with pytest.raises(GraphError, match='layer "Slice1".*top 1 is asked'):
            to_proto(L.ReLU(tops[1]))


class TestParameters:
    def test_own_message(self):
        layer = only(L.Pooling(L.Input(), pool=P.Pooling.AVE, kernel_size=3, loss_weight=2, include={"phase": 1}))
        wanted = """
            name: "Pooling1" type: "Pooling" bottom: "Input1" top: "Pooling1" loss_weight: 2 include { phase: TEST }
            pooling_param { pool: AVE kernel_size: 3 }"""
        assert layer == message(wanted, caffe_pb2.LayerParameter)

    @pytest.mark.parametrize(
        ("type_", "given", "wanted"),
        [
            ("Normalize", {"across_spatial": False}, "norm_param { across_spatial: false }"),
            ("LSTM", {"num_output": 4}, "recurrent_param { num_output: 4 }"),
            ("Deconvolution", {"num_output": 4}, "convolution_param { num_output: 4 }"),
            ("Python", {"module": "m", "param_str": "{}"}, 'python_param { module: "m" param_str: "{}" }'),
            ("Data", {"scale": 2, "source": "s"}, 'data_param { scale: 2 source: "s" }'),
            ("Data", {"transform_param": {"scale": 2}}, "transform_param { scale: 2 }"),
            (
                "Data",
                {"mirror": True, "force_color": True},
                "data_param { mirror: true } transform_param { force_color: true }",
            ),
            (
                "SoftmaxWithLoss",
                {"ignore_label": 9, "axis": 1},
                "softmax_param { axis: 1 } loss_param { ignore_label: 9 }",
            ),
            ("DetectionOutput", {"nms_param": {"top_k": 4}}, "detection_output_param { nms_param { top_k: 4 } }"),
            ("Anything", {"convolution_param": {"pad": 1}}, "convolution_param { pad: 1 }"),
            ("Input", {"phase": P.Solver.GPU}, "phase: TEST"),
        ],
    )
    def test_where_they_belong(self, type_, given, wanted):
        layer = only(getattr(L, type_)(**given))
        assert layer == message(f'name: "{type_}1" type: "{type_}" top: "{type_}1" {wanted}', caffe_pb2.LayerParameter)

    def test_names_of_the_original(self):
        """Those of the SSD branch that are not the name in small letters with lines between."""
        names = param_name_dict()
        assert names["Normalize"] == "norm"
        assert names["Loss"] == "loss"
        assert names["Transformation"] == "transform"
        assert names["MultiBoxLoss"] == "multibox_loss"
        assert names["HDF5Output"] == "hdf5_output"
        assert names["InnerProduct"] == "inner_product"
        assert names["SPP"] == "spp"

    def test_the_table_agrees_with_the_names(self):
        """What the original finds by the names of messages, we find in the table of layer types."""
        shared = param_name_dict().keys() & LAYER_TYPES.keys()
        assert len(shared) > 60
        assert {name: LAYER_TYPES[name].param for name in shared} == {
            name: f"{param_name_dict()[name]}_param" for name in shared
        }

    def test_unknown_parameter(self):
        n = NetSpec()
        n.conv1 = L.Convolution(L.Input(), kernel_sise=3)
        with pytest.raises(UnknownFieldError) as caught:
            n.to_proto()
        text = str(caught.value)
        assert 'layer "conv1"' in text
        assert "'Convolution'" in text
        assert "'kernel_sise'" in text
        assert 'did you mean "kernel_size"?' in text
        assert isinstance(caught.value, AttributeError)

    def test_unknown_parameter_without_a_like(self):
        with pytest.raises(UnknownFieldError, match="its parameters: negative_slope|engine, negative_slope"):
            only(L.ReLU(L.Input(), zzz=3))
        with pytest.raises(UnknownFieldError, match='did you mean "Convolution"'):
            only(L.Convolutoin(L.Input(), zzz=3))

    def test_unknown_field_inside(self):
        with pytest.raises(UnknownFieldError, match="FillerParameter has no field 'tpye'.*\n.*\"type\""):
            only(L.Convolution(L.Input(), weight_filler={"tpye": "xavier"}))

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ({"num_output": 3.5}, "expected a whole number.*num_output of ConvolutionParameter, got 3.5"),
            ({"num_output": -1}, "whole number from 0"),
            ({"num_output": [1, 2]}, "got \\[1, 2\\]"),
            ({"num_output": None}, "got None"),
            ({"bias_term": "yes"}, "true or false"),
            ({"engine": "CUDDN"}, "one of DEFAULT, CAFFE, CUDNN"),
            ({"weight_filler": 3}, "a dict"),
            ({"kernel_size": [3, "3"]}, "got '3'"),
            ({"param": [3]}, "a dict"),
            ({"name": True}, "got True"),
        ],
    )
    def test_misfits(self, given, words):
        with pytest.raises(FieldValueError, match=f"^layer .*{words}"):
            only(L.Convolution(L.Input(), **given))
        assert issubclass(FieldValueError, TypeError)
        assert issubclass(FieldValueError, SchemaError)


class TestAssignProto:
    @pytest.mark.parametrize(
        ("given", "wanted"),
        [
            ({"kernel_size": 3}, "kernel_size: 3"),
            ({"kernel_size": [3, 5]}, "kernel_size: 3 kernel_size: 5"),
            ({"kernel_size": (3, 5)}, "kernel_size: 3 kernel_size: 5"),
            ({"kernel_size": np.array([3, 5])}, "kernel_size: 3 kernel_size: 5"),
            ({"kernel_size": [np.int64(3)], "num_output": np.int32(7)}, "kernel_size: 3 num_output: 7"),
            ({"kernel_size": []}, ""),
            ({"weight_filler": {}}, ""),
            ({"weight_filler": {"type": "gaussian", "std": 0.5}}, 'weight_filler { type: "gaussian" std: 0.5 }'),
            ({"weight_filler": caffe_pb2.FillerParameter(type="msra")}, 'weight_filler { type: "msra" }'),
            ({"pad": True, "bias_term": False}, "pad: 1 bias_term: false"),
            ({"engine": "CUDNN"}, "engine: CUDNN"),
        ],
    )
    def test_values(self, given, wanted):
        proto = caffe_pb2.ConvolutionParameter()
        for name, value in given.items():
            assign_proto(proto, name, value)
        assert proto == message(wanted, caffe_pb2.ConvolutionParameter)

    def test_messages(self):
        layer = caffe_pb2.LayerParameter()
        assign_proto(layer, "param", [{"lr_mult": 1}, caffe_pb2.ParamSpec(name="w")])
        assign_proto(layer, "include", {"phase": 0, "stage": ["a", "b"]})
        assign_proto(layer, "param", {})
        wanted = 'param { lr_mult: 1 } param { name: "w" } param {} include { phase: TRAIN stage: "a" stage: "b" }'
        assert layer == message(wanted, caffe_pb2.LayerParameter)


class TestConstants:
    def test_values(self):
        assert (P.Pooling.AVE, P.Eltwise.SUM, P.Data.LMDB, P.Solver.GPU, P.Loss.VALID) == (1, 1, 1, 1, 1)
        assert P.Resize.FIT_LARGE_SIZE_AND_PAD == caffe_pb2.ResizeParameter.FIT_LARGE_SIZE_AND_PAD
        assert "MAX_NEGATIVE" in dir(P.MultiBoxLoss)

    def test_unknown(self):
        with pytest.raises(AttributeError, match="PoolingParameter has no constant 'MAXX'.*\n.*\"MAX\""):
            P.Pooling.MAXX  # noqa: B018
        with pytest.raises(AttributeError, match="'PolingParameter'.*\n.*\"Pooling\""):
            P.Poling.MAX  # noqa: B018


def test_layers_by_name():
    assert L.Convolution.__name__ == "Convolution"
    assert "Convolution" in dir(L)
    assert not hasattr(L, "__wrapped__")
    assert set(netspec.__all__) <= set(vars(netspec))


def test_parameters_of_a_plugins_layer(monkeypatch):
    """They are stated as those of any layer; the layer type is taken out again."""
    for registry in (LAYER_TYPES, base._REGISTRY, MODULES):
        monkeypatch.setitem(registry, "SpecGain", None)
        del registry["SpecGain"]
    message = "message SpecGainParameter { optional float scale = 1; repeated int32 axis = 2; }"

    @caffecompat.layer("SpecGain", param="spec_gain_param", message=message)
    class SpecGain(caffecompat.Layer):
        pass

    n = NetSpec()
    n.one = L.SpecGain(L.Input(), scale=2, axis=[1, 2])
    n.other = L.SpecGain(n.one, spec_gain_param={"scale": 2, "axis": [1, 2]})
    one, other = n.to_proto().layer[1:]
    text = "spec_gain_param {\n    scale: 2\n    axis: 1\n    axis: 2\n  }"
    assert text in write_text(n.to_proto())
    other.name, other.top[0], other.bottom[0] = one.name, one.top[0], one.bottom[0]
    assert one == other
    assert parse_net(write_text(n.to_proto())).message == n.to_proto()
    with pytest.raises(UnknownFieldError, match='SpecGain.*\n.*did you mean "scale"'):
        only(L.SpecGain(scael=2))
