from __future__ import annotations

import caffecompat.pycaffe as caffe
from caffecompat.schema.types import LAYER_TYPES


def test_the_list_has_the_types_that_can_be_built_and_no_others():
    types = list(caffe.layer_type_list())
    assert types == sorted(types)
    assert {"Data", "Convolution", "InnerProduct", "Python", "MultiBoxLoss", "Split"} <= set(types)
    assert set(types) <= set(LAYER_TYPES)
