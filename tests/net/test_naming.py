import keyword

from hypothesis import given
from hypothesis import strategies as st

from caffecompat.net.naming import escape


def test_readable_names_stay():
    assert escape("conv1_1", lambda name: False) == "conv1_1"


def test_each_rule():
    assert escape("inception_3a/1x1", lambda name: False) == "inception_3a_1x1"
    assert escape("1x1", lambda name: False) == "_1x1"
    assert escape("", lambda name: False) == "_"
    assert escape("class", lambda name: False) == "class_"
    assert escape("conv.a", lambda name: False) == "conv_a"
    assert escape("Straße", lambda name: False) == "Stra_e"
    assert escape("type", {"type"}.__contains__) == "type_2"
    assert escape("relu", {"relu", "relu_2"}.__contains__) == "relu_3"


@given(st.lists(st.text(max_size=8), max_size=20))
def test_always_an_identifier_that_is_new(names):
    taken: set[str] = set()
    for name in names:
        escaped = escape(name, taken.__contains__)
        assert escaped.isidentifier()
        assert not keyword.iskeyword(escaped)
        assert escaped not in taken
        taken.add(escaped)
