"""Data layers of episodes, for matching networks: pictures from an LMDB, and sentences of a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from caffecompat.data.episodes import Episodes
from caffecompat.graph.spec import message_param
from caffecompat.layers.base import Shape
from caffecompat.layers.data import DataLayer
from caffecompat.layers.picture_data import PictureData
from caffecompat.layers.plugins import layer

if TYPE_CHECKING:
    from caffecompat.data.source import Reading, Source


@dataclass
class EpisodeDataParameter:
    """What episodes are drawn.

    Attributes:
        ways: classes of an episode.
        shots: examples of each class in the support set.
        queries: queries of each class.
        episodes: episodes of a batch.
        held_out_classes: so many classes, drawn by split_seed, are kept for phase TEST; TRAIN sees the others.
        split_seed: see held_out_classes.
    """

    ways: int = 5
    shots: int = 1
    queries: int = 5
    episodes: int = 1
    held_out_classes: int = 0
    split_seed: int = 0


@layer(
    "EpisodeData",
    param="episode_data_param",
    message=EpisodeDataParameter,
    bottoms=0,
    tops=(1, 2),
    data=True,
    also=("data_param", "transform_param"),
)
class EpisodeData(PictureData):
    """Episodes from a labelled LMDB: pictures (rows, C, H, W), and labels (rows,) within the episode.

    The rows are the support sets of all episodes, then the queries of all episodes; see `data.episodes.Episodes`. Of
    `data_param` source and backend count.
    """

    reads = "a database"

    def batch_size(self) -> int:
        return Episodes.of(self.spec, message_param(self.spec)).rows

    def open_source(self, reading: Reading) -> Source | None:
        from caffecompat.data.sources.episodes import EpisodeSource

        return EpisodeSource(self.spec, reading)


@dataclass
class SentenceDataParameter:
    """What episodes are drawn of a text.

    Attributes:
        source: the text, one sentence in a line, its words apart by spaces.
        vocabulary_source: the text whose words are counted for the vocabulary; else `source`.
        vocabulary: how many indices of words there are, the three special ones included.
        length: the most words that a sentence may have; longer ones are left out.
        ways: words to choose from.
        shots: sentences of each in the support set.
        queries: queries of each.
        episodes: episodes of a batch.
        held_out_words: so many words of the vocabulary, drawn by split_seed, are asked for in phase TEST only.
        held_out_sentences: the share of sentences, drawn by split_seed, that are kept for phase TEST.
        split_seed: see the two before.
    """

    source: str = ""
    vocabulary_source: str = ""
    vocabulary: int = 10_000
    length: int = 40
    ways: int = 5
    shots: int = 1
    queries: int = 4
    episodes: int = 1
    held_out_words: int = 0
    held_out_sentences: float = 0.0
    split_seed: int = 0


@layer("SentenceData", param="sentence_data_param", message=SentenceDataParameter, bottoms=0, tops=3, data=True)
class SentenceData(DataLayer):
    """Episodes of sentences in which one word is blanked.

    tops: indices of words (length, rows), sentences ending with the last step: 0 is no word, 1 the blank, 2 a word
    beyond the vocabulary; cont (length, rows), which begins each sentence anew; labels (rows,) within the episode. The
    rows are those of EpisodeData.
    """

    reads = "a text"

    def stated(self) -> Sequence[Shape | None]:
        param: Any = message_param(self.spec)
        sentences = (param.length, Episodes.of(self.spec, param).rows)
        return sentences, sentences, sentences[1:]

    def open_source(self, reading: Reading) -> Source | None:
        from caffecompat.data.sources.sentences import SentenceSource

        return SentenceSource(self.spec, reading)
