"""Matching networks: few-shot learning of pictures, and of the word that a sentence lacks.

Source: Vinyals et al.: Matching Networks for One Shot Learning, 2016, sections 4.1.1 and 4.1.3. The paper states no
solver: Adam at its usual rate stands here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

from caffecompat.data.databases import open_database
from caffecompat.data.sentences import read_lines, vocabulary
from caffecompat.errors import UsageError, quoted
from caffecompat.netspec import NetSpec
from caffecompat.netspec import layers as L  # noqa: N812
from caffecompat.netspec import params as P  # noqa: N812
from caffecompat.schema import caffe_pb2
from caffecompat.zoo.builders.blocks import Params
from caffecompat.zoo.data_there import is_database
from caffecompat.zoo.embedding import Embedding, behind_inputs, find_embedding
from caffecompat.zoo.model import Asked, Model, Nets

_XAVIER: Params = {"weight_filler": {"type": "xavier"}}
QUERIES = 5
# The paper's batch of 20 sentences, of 5 words.
SENTENCE_QUERIES = 4
WORDS, LENGTH, HIDDEN = 10_000, 40, 128


@dataclass(frozen=True)
class _Episodes:
    """What the layers behind the embedding need to know.

    Attributes:
        ways: classes of an episode.
        shots: examples of each.
        context: whether embeddings have full context.
        count: how many episodes the batches of training and tests have.
    """

    ways: int
    shots: int
    context: bool
    count: int = 1

    @staticmethod
    def of(asked: Asked, count: int = 1) -> _Episodes:
        shots, _, context = asked.variant.partition("-shot")
        return _Episodes(asked.classes, int(shots), context == "-fce", count)

    @property
    def members(self) -> int:
        """How many rows the support set of one has."""
        return self.ways * self.shots

    def params(self, **more: Any) -> Params:
        """What the parameters of several layers have in common."""
        return {**more, **({"episodes": self.count} if self.count > 1 else {})}


def _sentences() -> Embedding:
    """What an LSTM holds after the last word."""
    net = NetSpec()
    net.data, net.cont = L.Input(ntop=2)
    net.embedded = L.Embed(net.data, input_dim=WORDS, num_output=HIDDEN, bias_term=False, **_XAVIER)
    net.lstm = L.LSTM(net.embedded, net.cont, recurrent_param={"num_output": HIDDEN, **_XAVIER})
    net.steps, net.step = L.Slice(net.lstm, ntop=2, axis=0, slice_point=LENGTH - 1)
    net.silence = L.Silence(net.steps, ntop=0)
    net.sentence = L.Reshape(net.step, shape={"dim": [-1, HIDDEN]})
    return Embedding(behind_inputs(net), "sentence", (1, LENGTH, 1), {}, scale=1)


def _matched(net: NetSpec, blob: str, episodes: _Episodes) -> tuple[Any, Any]:
    """The embeddings of the queries and of the support, whose rows come first."""
    net.support, net.query = L.Slice(net[blob], ntop=2, axis=0, slice_point=episodes.count * episodes.members)
    if not episodes.context:
        return net.query, net.support
    params = episodes.params(**_XAVIER)
    net.support_context = L.SupportContext(net.support, full_context_param=params)
    net.query_context = L.QueryContext(net.query, net.support_context, full_context_param=params)
    return net.query_context, net.support_context


def _training(data: Any, tops: tuple[str, ...], embedding: Embedding, episodes: _Episodes) -> caffe_pb2.NetParameter:
    """A net of both phases; `data` makes the data layer of a phase."""
    heads = []
    for name, phase in (("train", caffe_pb2.TRAIN), ("test", caffe_pb2.TEST)):
        head = NetSpec()
        for top, value in zip(tops, data(name, phase), strict=True):
            head[top] = value
        heads.append(head.to_proto().layer[0])
    net = NetSpec()
    net[embedding.blob], net.label = L.Input(ntop=2)
    query, support = _matched(net, embedding.blob, episodes)
    net.support_label, net.query_label = L.Slice(
        net.label, ntop=2, axis=0, slice_point=episodes.count * episodes.members
    )
    net.loss, net.prob = L.MatchingLoss(
        query,
        support,
        net.support_label,
        net.query_label,
        ntop=2,
        matching_param=episodes.params(ways=episodes.ways, scale=embedding.scale),
        loss_weight=[1, 0],
    )
    net.accuracy = L.Accuracy(net.prob, net.query_label, include={"phase": caffe_pb2.TEST})
    return _joined(heads, embedding, behind_inputs(net))


def _deploy(shapes: dict[str, list[int]], embedding: Embedding, episodes: _Episodes) -> caffe_pb2.NetParameter:
    """A net of one episode."""
    inputs = NetSpec()
    for name, shape in shapes.items():
        inputs[name] = L.Input(shape={"dim": shape})
    net = NetSpec()
    net[embedding.blob], net.support_label = L.Input(ntop=2)
    query, support = _matched(net, embedding.blob, episodes)
    net.prob = L.Matching(
        query, support, net.support_label, matching_param={"ways": episodes.ways, "scale": embedding.scale}
    )
    return _joined(list(inputs.to_proto().layer), embedding, behind_inputs(net))


def _joined(
    heads: list[caffe_pb2.LayerParameter], embedding: Embedding, behind: list[caffe_pb2.LayerParameter]
) -> caffe_pb2.NetParameter:
    """One net of all.

    Raises:
        UsageError: a layer or a blob of the embedding has a name that one of the others needs.
    """
    own = [*heads, *behind]
    tops = {top for layer in own for top in layer.top} - {"data"}
    both = {layer.name for layer in own} & {layer.name for layer in embedding.layers}
    both |= tops & {top for layer in embedding.layers for top in layer.top}
    if both:
        raise UsageError(
            f"the net of the embedding has {quoted(min(both))}, a name that the matching network needs",
            hint="rename it in a copy of the prototxt",
        )
    return caffe_pb2.NetParameter(layer=[*heads, *embedding.layers, *behind])


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


def _named(nets: dict[str, caffe_pb2.NetParameter], name: str) -> dict[str, caffe_pb2.NetParameter]:
    for net in nets.values():
        net.name = name
    return nets


def _held_out_classes(path: str, ways: int) -> int:
    """A third of the classes of the database that is there, enough for an episode and at most for four.

    Raises:
        UsageError: it has too few classes for episodes of both phases.
        CaffeCompatError: it cannot be read.
    """
    from caffecompat.data.datum import read_datum

    if not is_database(path):
        return 4 * ways
    labels = set()
    with open_database(path) as database:
        for _, value in database.records():
            labels.add(read_datum(value).label)
            if len(labels) == 12 * ways:
                break
    if len(labels) < 2 * ways:
        raise UsageError(
            f"the database {quoted(path)} has {len(labels)} classes; at least {2 * ways} are needed: "
            f"{ways} for each episode, of training and of tests",
            hint="name a database of other classes with --test-data, or ask for fewer --classes",
        )
    return min(4 * ways, max(ways, len(labels) // 3))


def _build_pictures(asked: Asked) -> Nets:
    embedding = find_embedding(asked.embedding)
    episodes = _Episodes.of(asked, embedding.episodes)
    ways = episodes.ways
    sources = {
        "train": asked.data or "omniglot/train_lmdb",
        "test": asked.test_data or asked.data or "omniglot/test_lmdb",
    }
    held_out = _held_out_classes(asked.data, ways) if asked.data is not None and asked.test_data is None else 0

    def data(name: str, phase: int) -> Any:
        split = {"held_out_classes": held_out} if held_out else {}
        return L.EpisodeData(
            name="data",
            ntop=2,
            include={"phase": phase},
            transform_param=embedding.transform,
            data_param={"source": sources[name], "backend": P.Data.LMDB},
            episode_data_param=episodes.params(ways=ways, shots=episodes.shots, queries=QUERIES, **split),
        )

    shapes = {
        "data": [episodes.members + ways * QUERIES, *embedding.shape],
        "support_label": [episodes.members],
    }
    nets = {
        "train_val": _training(data, ("data", "label"), embedding, episodes),
        "deploy": _deploy(shapes, embedding, replace(episodes, count=1)),
    }
    notes = (f"tests are of {held_out} classes of the database that training does not see",) if held_out else ()
    return Nets(
        _named(nets, "MatchingNet"),
        _solver(800 // episodes.count),
        "matching_net",
        weights=embedding.weights,
        notes=(*notes, *embedding.notes),
    )


def _held_out_words(text: str, ways: int) -> int:
    """The paper's thousand of ten thousand words, or as large a share of the text that is there."""
    if not os.path.exists(text):
        return WORDS // 10
    words = len(vocabulary(read_lines(text), WORDS))
    return min(WORDS // 10, max(2 * ways, words // 10))


def _build_text(asked: Asked) -> Nets:
    embedding, episodes = _sentences(), _Episodes.of(asked)
    ways = episodes.ways
    train = asked.data or "ptb.train.txt"
    held_out = _held_out_words(train, ways)

    def data(name: str, phase: int) -> Any:
        split: Params = {"source": train, "held_out_words": held_out, "held_out_sentences": 0.1}
        if name == "test" and asked.test_data is not None:
            split = {"source": asked.test_data, "vocabulary_source": train, "held_out_words": held_out}
        return L.SentenceData(
            name="data",
            ntop=3,
            include={"phase": phase},
            sentence_data_param={
                **split,
                "vocabulary": WORDS,
                "length": LENGTH,
                "ways": ways,
                "shots": episodes.shots,
                "queries": SENTENCE_QUERIES,
            },
        )

    rows = episodes.members + ways * SENTENCE_QUERIES
    shapes = {"data": [LENGTH, rows], "cont": [LENGTH, rows], "support_label": [episodes.members]}
    nets = {
        "train_val": _training(data, ("data", "cont", "label"), embedding, episodes),
        "deploy": _deploy(shapes, embedding, episodes),
    }
    notes = (f"tests ask for {held_out} words of the vocabulary that training does not, in sentences of their own",)
    return Nets(_named(nets, "MatchingNetText"), _solver(200), "matching_net_text", notes=notes)


MODELS = (
    Model(
        "matching-net",
        "matching network, for pictures of 28x28 or those of --embedding; --classes are those of an episode",
        "Vinyals et al. 2016",
        _build_pictures,
        {"omniglot": 5},
        variants=("1-shot", "1-shot-fce", "5-shot", "5-shot-fce"),
        files=("embedding",),
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
