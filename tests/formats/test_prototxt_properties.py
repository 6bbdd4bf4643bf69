"""What protobuf's own reader accepts we accept, and bind it to an equal message."""

from __future__ import annotations

import math
import os
import re
import warnings

import google.protobuf
import pytest
from google.protobuf import text_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from caffecompat.errors import CaffeCompatError
from caffecompat.formats import parse_text, write_text
from caffecompat.formats.fields import fields_of
from caffecompat.formats.parsed import Parsed
from caffecompat.schema import caffe_pb2

F = FieldDescriptor
# How many times the usual number of examples to try.
TIMES = int(os.environ.get("CAFFECOMPAT_FUZZ", "1"))
TYPES = (caffe_pb2.NetParameter, caffe_pb2.SolverParameter, caffe_pb2.BlobProto, caffe_pb2.Datum)
INTEGERS = {F.TYPE_INT32: (-(2**31), 2**31 - 1), F.TYPE_INT64: (-(2**63), 2**63 - 1), F.TYPE_UINT32: (0, 2**32 - 1)}


def protobuf(text: str | bytes, kind: type[Message]) -> Message | None:
    """What protobuf makes of a text, or None if it refuses it."""
    with warnings.catch_warnings():
        # Its unescaping warns of escapes that are none.
        warnings.simplefilter("ignore")
        try:
            return text_format.Parse(text, kind())
        except text_format.ParseError:
            return None


def ours(text: str | bytes, kind: type[Message]) -> Parsed[Message] | None:
    try:
        return parse_text(text, kind)
    except CaffeCompatError:
        return None


def content(message: Message) -> bytes:
    """Equal for equal messages, also where they hold NaN or lack required fields."""
    return message.SerializePartialToString(deterministic=True)


def assert_agreement(text: str | bytes, kind: type[Message], *, both_ways: bool = True) -> bool:
    expected, got = protobuf(text, kind), ours(text, kind)
    if expected is not None:
        assert got is not None, "we refuse what protobuf accepts"
        assert content(got.message) == content(expected)
        assert got.unknown == ()
    elif both_ways:
        assert got is None or got.unknown, "we accept what protobuf refuses"
    return expected is not None


def scalars(field: FieldDescriptor) -> st.SearchStrategy[object]:
    if field.type in INTEGERS:
        return st.integers(*INTEGERS[field.type])
    if field.type in (F.TYPE_FLOAT, F.TYPE_DOUBLE):
        floats = st.floats(width=32 if field.type == F.TYPE_FLOAT else 64)
        # Text knows one NaN only.
        return floats.map(lambda value: float("nan") if math.isnan(value) else value)
    if field.type == F.TYPE_ENUM:
        return st.sampled_from([value.number for value in field.enum_type.values])
    if field.type == F.TYPE_STRING:
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    return {F.TYPE_BOOL: st.booleans(), F.TYPE_BYTES: st.binary(max_size=12)}[field.type]


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, into: Message, depth: int = 0) -> Message:
    """Fill a message with random fields."""
    names = draw(st.lists(st.sampled_from([f.name for f in descriptor.fields]), max_size=4, unique=True))
    for field in (descriptor.fields_by_name[name] for name in names):
        repeated = fields_of(descriptor)[field.name].repeated
        if field.message_type is not None:
            for _ in range(draw(st.integers(0, 2)) if repeated and depth < 4 else 1):
                inner = getattr(into, field.name)
                inner = inner.add() if repeated else inner
                inner.SetInParent()
                draw(messages(field.message_type, inner, depth + 1))
        elif repeated:
            getattr(into, field.name).extend(draw(st.lists(scalars(field), max_size=3)))
        else:
            setattr(into, field.name, draw(scalars(field)))
    return into


any_message = st.sampled_from(TYPES).flatmap(lambda kind: messages(kind.DESCRIPTOR, kind()))

STYLES = (
    "as_utf8",
    "as_one_line",
    "use_short_repeated_primitives",
    "pointy_brackets",
    "use_index_order",
    "force_colon",
)
printed = st.fixed_dictionaries({style: st.booleans() for style in STYLES})


@given(any_message, printed)
@settings(max_examples=100 * TIMES, deadline=None)
def test_what_protobuf_prints(message: Message, style: dict[str, bool]) -> None:
    text = text_format.MessageToString(message, **style)
    assert content(parse_text(text, type(message)).message) == content(message)


@given(any_message)
@settings(max_examples=100 * TIMES, deadline=None)
def test_what_we_write_both_read(message: Message) -> None:
    text = write_text(message)
    for read in (parse_text(text, type(message)).message, text_format.Parse(text, type(message)())):
        assert content(read) == content(message)


def words_of(text: str) -> list[str]:
    """The words, by protobuf's own tokenizer."""
    tokenizer = text_format.Tokenizer(text.split("\n"))
    words = []
    while not tokenizer.AtEnd():
        words.append(tokenizer.token)
        tokenizer.NextToken()
    return words


GAPS = (" ", "\n", "\t \r\n", "\xa0", " # {\n", "#\n#'\n", "\u3000\f")


@st.composite
def respelled(draw: st.DrawFn) -> tuple[str, type[Message]]:
    """A printed message with other gaps, separators, and numbers in hexadecimal or octal or with an f."""
    message = draw(any_message)
    words = words_of(text_format.MessageToString(message, **draw(printed)))
    random = draw(st.randoms(use_true_random=False))
    parts = []
    in_list = False
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        in_list = word == "[" or (in_list and word != "]")
        parts.append(respelled_number(word, random.choice("xof ")) if before in (":", ",", "[") else word)
        ends = word in ("}", ">", "]") or (before == ":" and word not in ("{", "<", "["))
        if ends and not in_list and after[:1] not in ("'", '"') and random.random() < 0.3:
            parts.append(random.choice(",;"))
        parts.append(random.choice(GAPS))
    return "".join(parts), type(message)


def respelled_number(word: str, how: str) -> str:
    if re.fullmatch("-?[0-9]+", word):
        sign, digits = ("-", int(word[1:])) if word[0] == "-" else ("", int(word))
        return {"x": f"{sign}{digits:#x}", "o": f"{sign}0{digits:o}"}.get(how, word)
    is_float = re.fullmatch(r"-?[0-9.]+(e[+-][0-9]+)?|-?inf|nan", word)
    return word + "f" if is_float and how == "f" else word


@given(respelled())
@settings(max_examples=100 * TIMES, deadline=None)
def test_other_spellings(case: tuple[str, type[Message]]) -> None:
    text, kind = case
    assert assert_agreement(text, kind)
    assert_agreement(text.encode(), kind)


PIECES = (
    *"{}<>[]:,;#'\"-.+\\",
    *("\n", " ", "é", "٣", "\0", "name", "layer", "state", "dim", "foo", "0x", "1e", "1.f", "nan", "TEST", "'a' \"b\""),
    *('name: "n"', "input: 'a'", "input_dim: 3", "input_dim: [1, 2]", "input_dim: []", "force_backward: t"),
    *("layer {", "layer: <", "layer [", "}", ">", "]", "state {", "phase: TEST", "phase: 0", "level: -1", "# c\n"),
    *("input_shape { dim: 1 }", "input_shape: [{", "dim: [", "1,", "2]", "},{", "}]", "loss_weight: .5", "top: 'x'"),
    *("lrn_param {}", "type: 'LRN'", "name:", ": 'n'", "[a.b]: 1", "[a.b] {", "a/b", "1: 2", "'", '"\\'),
)


@given(st.lists(st.sampled_from(PIECES), max_size=14), st.sampled_from(["", " "]))
@settings(max_examples=400 * TIMES, deadline=None)
def test_soup(pieces: list[str], gap: str) -> None:
    text = gap.join(pieces)
    # Beyond protobuf we take a blank between a sign and its number.
    assert_agreement(text, caffe_pb2.NetParameter, both_ways=not re.search(r"-\s", text))


SCALARS = {
    "input_dim": caffe_pb2.NetParameter,  # int32
    "force_backward": caffe_pb2.NetParameter,  # bool
    "random_seed": caffe_pb2.SolverParameter,  # int64
    "base_lr": caffe_pb2.SolverParameter,  # float
    "double_data": caffe_pb2.BlobProto,  # double
    "solver_mode": caffe_pb2.SolverParameter,  # enum
    "crop_size": caffe_pb2.TransformationParameter,  # uint32
}

# Earlier releases of protobuf have other rules for escapes and for leading zeros of floats.
newest = pytest.mark.skipif(
    int(google.protobuf.__version__.split(".")[0]) < 7, reason="the rules are those of protobuf 7"
)

words = st.one_of(
    st.text("0123456789+-._xob", min_size=1, max_size=6),
    st.text("0178.eE+-_fF", min_size=1, max_size=6),
    st.from_regex(r"\A[-+]?(inf|infinity|nan|0x[0-9a-f]+|0[0-7]+|[0-9]+\.?[0-9]*e?[0-9]*)[fF]{0,2}\Z"),
    st.from_regex(r"\A-?[1-9][0-9]{8,20}\Z"),
    st.sampled_from(["true", "True", "TRUE", "t", "f", "false", "CPU", "GPU", "cpu", "00", "2147483648", "1e39", "e"]),
)


@newest
@pytest.mark.parametrize("name", SCALARS)
@given(word=words)
@settings(max_examples=100 * TIMES, deadline=None)
def test_numbers_and_names(name: str, word: str) -> None:
    # Beyond protobuf's Python reader we take 0x1 for true and +inff, as others do.
    lenient = name == "force_backward" or re.search("[+].*[fF]$|^[+]0", word)
    assert_agreement(f"{name}: {word}", SCALARS[name], both_ways=not lenient)


# Two accidents of protobuf's Python reader are not copied: \N{DIGIT ONE} is an escape there, and what \u makes is
# unescaped once more, so that \u005cn is a line's end, and a backslash before a letter beyond Latin-1 joins its code.
ACCIDENTS = re.compile(r"\\N\{|\\(u005c|U0000005c)|\\[^\x00-\xff]", re.IGNORECASE)

strings = st.lists(
    st.sampled_from(
        [
            *"\\\\\\\\nrxuUN0179afgz'\"?",
            "é",
            "ж",
            "\U0001f600",
            "\\u00e9",
            "\\U0001f600",
            "\\ud800",
            "\\377",
            "\\xC3\\xA9",
        ]
    ),
    max_size=8,
).map("".join)


@newest
@given(strings, st.sampled_from("'\""), st.sampled_from(["", " 'x'", '"\\x41"']))
@settings(max_examples=200 * TIMES, deadline=None)
def test_strings(inside: str, quote: str, more: str) -> None:
    if not ACCIDENTS.search(inside):
        assert_agreement(f"name: {quote}{inside}{quote}{more}", caffe_pb2.NetParameter)
        assert_agreement(f"data: {quote}{inside}{quote}{more}", caffe_pb2.Datum)
