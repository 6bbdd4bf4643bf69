"""Matching networks: few-shot learning of pictures, and of the word that a sentence lacks.

Source: Vinyals et al.: Matching Networks for One Shot Learning, 2016, sections 4.1.1 and 4.1.3. The paper states no
solver: Adam at its usual rate stands here.
"""

from __future__ import annotations

from typing import Any

from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.builders.blocks import Params
from caffecompat.zoo.model import Asked, Model, Nets

_XAVIER: Params = {"weight_filler": {"type": "xavier"}}
# Omniglot's black strokes on white become 1 on 0.
_STROKES: Params = {"mean_value": [255], "scale": -1 / 255}
QUERIES = 5
# The paper's batch of 20 sentences, of 5 words.
SENTENCE_QUERIES = 4
FILTERS = 64
WORDS, LENGTH, HIDDEN = 10_000, 40, 128


def embed_pictures(net: NetSpec) -> str:
    """Four blocks of 64 filters of 3x3, normalised, rectified and pooled to half: 28x28 pixels become 64 values."""
    last = "data"
    for index in range(1, 5):
        conv, pool = f"conv{index}", f"pool{index}"
        net[conv] = L.Convolution(
            net[last], num_output=FILTERS, kernel_size=3, pad=1, bias_term=False, weight_filler={"type": "msra"}
        )
        net[f"bn{index}"] = L.BatchNorm(net[conv], in_place=True)
        net[f"scale{index}"] = L.Scale(net[f"bn{index}"], in_place=True, bias_term=True)
        net[f"relu{index}"] = L.ReLU(net[f"scale{index}"], in_place=True)
        net[pool] = L.Pooling(
            net[f"relu{index}"], pool=P.Pooling.MAX, kernel_size=2, stride=2, round_mode=P.Pooling.FLOOR
        )
        last = pool
    return last


def embed_sentences(net: NetSpec) -> str:
    """What an LSTM holds after the last word."""
    net.embedded = L.Embed(net.data, input_dim=WORDS, num_output=HIDDEN, bias_term=False, **_XAVIER)
    net.lstm = L.LSTM(net.embedded, net.cont, recurrent_param={"num_output": HIDDEN, **_XAVIER})
    net.steps, net.step = L.Slice(net.lstm, ntop=2, axis=0, slice_point=LENGTH - 1)
    net.silence = L.Silence(net.steps, ntop=0)
    net.sentence = L.Reshape(net.step, shape={"dim": [-1, HIDDEN]})
    return "sentence"


def _matched(net: NetSpec, embedding: str, members: int, context: bool) -> tuple[Any, Any]:
    """The embeddings of the queries and of the support, the first `members` rows."""
    net.support, net.query = L.Slice(net[embedding], ntop=2, axis=0, slice_point=members)
    if not context:
        return net.query, net.support
    net.support_context = L.SupportContext(net.support, **_XAVIER)
    net.query_context = L.QueryContext(net.query, net.support_context, **_XAVIER)
    return net.query_context, net.support_context


def _training(data: Any, ntop: int, embed: Any, ways: int, members: int, context: bool) -> caffe_pb2.NetParameter:
    """A net of both phases; `data` makes the data layer of a phase."""
    names = ("data", "cont", "label") if ntop == 3 else ("data", "label")
    net = NetSpec()
    for name, top in zip(names, data("train", caffe_pb2.TRAIN), strict=True):
        net[name] = top
    query, support = _matched(net, embed(net), members, context)
    net.support_label, net.query_label = L.Slice(net.label, ntop=2, axis=0, slice_point=members)
    net.loss, net.prob = L.MatchingLoss(
        query, support, net.support_label, net.query_label, ntop=2, ways=ways, loss_weight=[1, 0]
    )
    net.accuracy = L.Accuracy(net.prob, net.query_label, include={"phase": caffe_pb2.TEST})
    message = net.to_proto()
    # A NetSpec has one layer for each blob: the one that tests is put beside.
    test = NetSpec()
    for name, top in zip(names, data("test", caffe_pb2.TEST), strict=True):
        test[name] = top
    behind = list(message.layer)
    return caffe_pb2.NetParameter(layer=[behind[0], test.to_proto().layer[0], *behind[1:]])


def _deploy(shapes: dict[str, list[int]], embed: Any, ways: int, members: int, context: bool) -> caffe_pb2.NetParameter:
    net = NetSpec()
    for name, shape in shapes.items():
        net[name] = L.Input(shape={"dim": shape})
    query, support = _matched(net, embed(net), members, context)
    net.prob = L.Matching(query, support, net.support_label, ways=ways)
    return net.to_proto()


def _solver(tests: int) -> caffe_pb2.SolverParameter:
    return caffe_pb2.SolverParameter(
        type="Adam",
        test_iter=[tests],
        test_interval=1000,
        base_lr=0.001,
        momentum=0.9,
        momentum2=0.999,
        lr_policy="step",
        gamma=0.5,
        stepsize=10_000,
        display=100,
        max_iter=40_000,
        snapshot=10_000,
        solver_mode=caffe_pb2.SolverParameter.GPU,
    )


def _asked(asked: Asked) -> tuple[int, bool]:
    """The shots, and whether embeddings have full context."""
    shots, _, context = asked.variant.partition("-shot")
    return int(shots), context == "-fce"


def _named(nets: dict[str, caffe_pb2.NetParameter], name: str) -> dict[str, caffe_pb2.NetParameter]:
    for net in nets.values():
        net.name = name
    return nets


def _build_pictures(asked: Asked) -> Nets:
    ways = asked.classes
    shots, context = _asked(asked)
    sources = {
        "train": asked.data or "omniglot/train_lmdb",
        "test": asked.test_data or asked.data or "omniglot/test_lmdb",
    }
    one = asked.data is not None and asked.test_data is None

    def data(name: str, phase: int) -> Any:
        return L.EpisodeData(
            name="data",
            ntop=2,
            include={"phase": phase},
            transform_param=_STROKES,
            data_param={"source": sources[name], "backend": P.Data.LMDB},
            episode_data_param={
                "ways": ways,
                "shots": shots,
                "queries": QUERIES,
                **({"held_out_classes": 4 * ways} if one else {}),
            },
        )

    members = ways * shots
    shapes = {"data": [members + ways * QUERIES, 1, 28, 28], "support_label": [members]}
    nets = {
        "train_val": _training(data, 2, embed_pictures, ways, members, context),
        "deploy": _deploy(shapes, embed_pictures, ways, members, context),
    }
    notes = (f"tests are of {4 * ways} classes of the database that training does not see",) if one else ()
    return Nets(_named(nets, "MatchingNet"), _solver(200), "matching_net", notes=notes)


def _build_text(asked: Asked) -> Nets:
    ways = asked.classes
    shots, context = _asked(asked)
    train = asked.data or "ptb.train.txt"

    def data(name: str, phase: int) -> Any:
        split: Params = {"source": train, "held_out_words": 1000, "held_out_sentences": 0.1}
        if name == "test" and asked.test_data is not None:
            split = {"source": asked.test_data, "vocabulary_source": train, "held_out_words": 1000}
        return L.SentenceData(
            name="data",
            ntop=3,
            include={"phase": phase},
            sentence_data_param={
                **split,
                "vocabulary": WORDS,
                "length": LENGTH,
                "ways": ways,
                "shots": shots,
                "queries": SENTENCE_QUERIES,
            },
        )

    members = ways * shots
    rows = members + ways * SENTENCE_QUERIES
    shapes = {"data": [LENGTH, rows], "cont": [LENGTH, rows], "support_label": [members]}
    nets = {
        "train_val": _training(data, 3, embed_sentences, ways, members, context),
        "deploy": _deploy(shapes, embed_sentences, ways, members, context),
    }
    return Nets(_named(nets, "MatchingNetText"), _solver(200), "matching_net_text")


MODELS = (
    Model(
        "matching-net",
        "matching network, for pictures of 28x28; --classes are those of an episode",
        "Vinyals et al. 2016",
        _build_pictures,
        {"omniglot": 5},
        variants=("1-shot", "1-shot-fce", "5-shot", "5-shot-fce"),
        episodic=True,
    ),
    Model(
        "matching-net-text",
        "matching network for the word that a sentence lacks; --data is a text, a sentence in each line",
        "Vinyals et al. 2016",
        _build_text,
        {"ptb": 5},
        variants=("1-shot", "2-shot", "3-shot"),
        episodic=True,
    ),
)
