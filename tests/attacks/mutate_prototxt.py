"""Mutated prototxts: words dropped, doubled, moved and exchanged, and bytes changed as in any file."""

from __future__ import annotations

import random
import re
import warnings

from caffecompat.errors import CaffeCompatWarning
from caffecompat.formats import parse_net, parse_text, write_text
from caffecompat.formats.parsed import Parsed
from caffecompat.graph import build_graph
from caffecompat.schema import caffe_pb2
from tests.attacks.mutate import Outcome, attack, mutated

NET = b"""\
name: "net"  # a comment
input: "data" input_shape { dim: [1, 3] dim: 30 dim: 30 }
layer {
  name: "conv1" type: "Convolution" bottom: "data" top: "conv1"
  param { name: "w" lr_mult: 1 } param { lr_mult: 2 decay_mult: 0 }
  convolution_param { num_output: 8 kernel_size: 3 pad: 1 stride: 2 weight_filler { type: "xavier" } bias_term: true }
}
layer { name: "relu1" type: "ReLU" bottom: "conv1" top: "conv1" relu_param { negative_slope: .1f } }
layer { name: "pool1" type: 'Pooling' bottom: "conv1" top: "pool1" pooling_param { pool: MAX kernel_size: 0x2 } }
layer < name: "norm" type: "Normalize" bottom: "pool1" top: "norm"; norm_param < across_spatial: false > >
layer { name: "prior" type: "PriorBox" bottom: "norm" bottom: "data" top: "prior"
  prior_box_param { min_size: 10.0, max_size: 20.0, aspect_ratio: [2, 3] flip: true variance: 0.1 }
  include { phase: TEST } }
layer { name: "label" type: "DummyData" top: "label" include { phase: TRAIN stage: "a" }
  dummy_data_param { shape { dim: 1 } data_filler { value: -inf } } }
layer { name: "ip" type: "InnerProduct" bottom: "norm" top: "ip" inner_product_param { num_output: 5 } }
layer { name: "loss" type: "SoftmaxWithLoss" bottom: "ip" bottom: "label" loss_weight: 1e-3 include { phase: TRAIN } }
"""
V1 = b"""\
name: "old" input: "data" input_dim: 1 input_dim: 1 input_dim: 28 input_dim: 28 force_backward: true
layers { name: "conv" type: CONVOLUTION bottom: "data" top: "conv" blobs_lr: 1 blobs_lr: 2 weight_decay: 1
  convolution_param { num_output: 20 kernel_size: 5 weight_filler { type: "gaussian" std: 0.01 } } }
layers { name: "relu" type: RELU bottom: "conv" top: "conv" }
layers { name: "prob" type: SOFTMAX bottom: "conv" top: "prob" dense_crf_param { zoom_factor: 2 } }
"""
V0 = b"""\
input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
layers { layer { name: "pad1" type: "padding" pad: 2 } bottom: "data" top: "pad1" }
layers { layer { name: "conv1" type: "conv" num_output: 4 kernelsize: 5 biasterm: true
  weight_filler { type: "constant" value: 1 } } bottom: "pad1" top: "conv1" }
layers { layer { name: "pool1" type: "pool" pool: AVE kernelsize: 3 stride: 2 } bottom: "conv1" top: "pool1" }
"""
WORD = re.compile(rb"""[\w.+-]+|"[^"\n]*"|'[^'\n]*'|\s+|.""", re.DOTALL)
STRANGE = (
    *(b"{", b"}", b"<", b">", b"[", b"]", b":", b",", b";", b"#", b'"', b"'", b"\\", b"-", b"\n"),
    *(b"\0", b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\xcf\x80"),
    *(b"layer {", b"layers {", b"include {", b"top:", b"name: ", b"param { name: 'w' }", b"unknown { a: [1, {}] }"),
    *(b"0", b"-1", b"1e999", b"nan", b"-inf", b"4294967295", b"2147483648", b"99999999999999999999", b"9" * 5000),
    *(b"0x" + b"f" * 20, b"017", b"1.5", b"MAX", b"true"),
    *(b'"data"', b'""', b'"\\ud800"', b'"\\xff"', b'"\xe9"', b"u: '\xe9'"),
    *(b"{ a " * 200, b"[" * 300, b"top: 'x' " * 50),
)


def sort(word: bytes) -> bytes:
    """Words of one sort often stand where another of it may: names, numbers, strings, blanks."""
    return re.sub(rb"[a-zA-Z_]", b"a", re.sub(rb"[0-9]", b"0", word[:1]))


def changed(rng: random.Random, data: bytes) -> bytes:
    """A copy with a few words dropped, doubled, moved or exchanged, and at times a few bytes changed."""
    words = WORD.findall(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at, other = rng.randrange(len(words)), rng.randrange(len(words))
        length = rng.choice((1, 1, 3, 20))
        kind = rng.randrange(8)
        if kind == 0:
            del words[at : at + length]
        elif kind == 1:
            words[at:at] = words[other : other + length]
        elif kind == 2:
            words[at], words[other] = words[other], words[at]
        elif kind == 3:
            words[at] = rng.choice(STRANGE)
        elif kind == 4:
            words.insert(at, rng.choice(STRANGE))
        else:
            words[at] = rng.choice([word for word in words if sort(word) == sort(words[at])])
        words = words or [b" "]
    text = b"".join(words)
    return mutated(rng, text) if rng.random() < 0.3 else text


def unknown_lines(parsed: Parsed[caffe_pb2.NetParameter]) -> list[str]:
    """The lines of the unknown fields; the writer puts them last in their messages."""
    return sorted(line for field in parsed.unknown for line in field.text.split("\n"))


def attempt(data: bytes) -> None:
    """Read a net, write it, and build its graphs."""
    parsed = parse_text(data, caffe_pb2.NetParameter)
    again = parse_text(write_text(parsed.message, parsed.unknown), caffe_pb2.NetParameter)
    assert again.message.SerializePartialToString() == parsed.message.SerializePartialToString()
    assert unknown_lines(again) == unknown_lines(parsed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CaffeCompatWarning)
        net = parse_net(data, "mutated.prototxt")
        build_graph(net, "TRAIN", stages=["a"], ignore_fields=["unknown", "dense_crf_param"])
        build_graph(net, "TEST", level=1, ignore_fields=["unknown", "dense_crf_param"])


def prototxts(count: int, seed: int = 0, first: int = 0) -> Outcome:
    """Attack the reader, the writer, the upgrade and the graph's builder with nets of every age."""
    return attack((NET, V1, V0), attempt, count, seed, first, change=changed)
