"""SentenceData: episodes of sentences with one word blanked, which is to be told from a support set of such sentences.

Source: Vinyals et al.: Matching Networks for One Shot Learning, 2016, section 4.1.3. Within an episode no sentence
stands twice; held-out words are asked for in phase TEST only, and only in held-out sentences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from caffecompat.data.draws import Draws
from caffecompat.data.episodes import Episodes, distinct, phase_share
from caffecompat.data.lists import find, restored
from caffecompat.data.sentences import BLANK, NOTHING, SPECIAL, Ints, blanks, numbered, read_lines, vocabulary
from caffecompat.data.source import Batch, Reading, Source, State, Ticket
from caffecompat.errors import CaffeCompatError, SchemaError
from caffecompat.graph.spec import LayerSpec, Shape, message_param

# So many episodes of which a word has no sentence left are drawn anew.
MAX_TRIES = 100


class SentenceSource(Source):
    """The batches of a SentenceData layer.

    Args:
        spec: the layer.
        reading: how to read.

    Raises:
        CaffeCompatError: the text cannot be read, has too few words or sentences, or the parameters make no sense.
    """

    def __init__(self, spec: LayerSpec, reading: Reading) -> None:
        super().__init__(spec, reading)
        param: Any = message_param(spec)
        self._episodes = Episodes.of(spec, param)
        self._labels = self._episodes.labels()
        self._length: int = param.length
        if not param.source:
            raise spec.error("sentence_data_param: source is missing", kind=SchemaError)
        if param.vocabulary <= SPECIAL or self._length < 2:
            raise spec.error(
                f"expected a vocabulary above {SPECIAL} and a length of at least 2, got {param.vocabulary} and "
                f"{self._length}"
            )
        if not 0 <= param.held_out_sentences < 1:
            raise spec.error(f"expected held_out_sentences from 0 to below 1, got {param.held_out_sentences:g}")
        self._read(param)
        self._draws = Draws(reading.draws())

    def _read(self, param: Any) -> None:
        path = find(self.spec, self.reading, param.source, "source")
        try:
            lines = read_lines(path)
            others = lines
            if param.vocabulary_source:
                others = read_lines(find(self.spec, self.reading, param.vocabulary_source, "vocabulary_source"))
        except CaffeCompatError as error:
            raise self.spec.locate(error) from error.__cause__
        indices = vocabulary(others, param.vocabulary)
        self._names = dict(zip(indices.values(), indices, strict=True))
        self._sentences = numbered(lines, indices, self._length)
        self._blanks = blanks(self._sentences)
        self._words = self._words_of_the_phase(param, len(indices))
        if len(self._words) < self._episodes.ways:
            raise self.spec.error(
                f"expected {self._episodes.ways} words with at least {self._episodes.needed} sentences each "
                f"({self._episodes.shots} shots and {self._episodes.queries} queries), got {len(self._words)}",
                hint=f"of {path}, {len(self._sentences)} sentences have 2 to {self._length} words; "
                "fewer ways, shots, queries or held-out words, a greater length, or a longer text",
            )

    def _words_of_the_phase(self, param: Any, count: int) -> list[Ints]:
        """The blanks of each word that episodes may have."""
        words = phase_share(self.spec, count, param.held_out_words, param.split_seed, "words")
        aside = round(param.held_out_sentences * len(self._sentences))
        share = phase_share(self.spec, len(self._sentences), aside, param.split_seed, "sentences")
        usable = np.zeros(len(self._sentences), bool)
        usable[share] = True
        wanted = {word + SPECIAL for word in words}
        each = [
            numbers[usable[self._blanks.sentence[numbers]]]
            for word, numbers in self._blanks.by_word()
            if word in wanted
        ]
        return [numbers for numbers in each if len(numbers) >= self._episodes.needed]

    def shapes(self) -> tuple[Shape, ...]:
        sentences = (self._length, self._episodes.rows)
        return sentences, sentences, sentences[1:]

    def tickets(self) -> tuple[Ticket, ...]:
        return tuple(Ticket(number) for number in self._episodes.batch(self._draw))

    def _draw(self) -> list[list[int]]:
        """The blanks of an episode, by word, each in another sentence."""
        for _ in range(MAX_TRIES):
            taken: set[int] = set()
            words = distinct(self._draws, len(self._words), self._episodes.ways)
            drawn = [self._draw_word(self._words[word], taken) for word in words]
            if all(len(numbers) == self._episodes.needed for numbers in drawn):
                return drawn
        raise self.spec.error(
            f"{MAX_TRIES} times in a row a word had no sentence left that another does not use",
            hint="a longer text, or fewer ways, shots or queries",
        )

    def _draw_word(self, numbers: Ints, taken: set[int]) -> list[int]:
        """Blanks of a word in sentences that are not taken, as many as needed or there are; they are taken then."""
        drawn = []
        # More than these cannot be taken.
        most = min(len(numbers), self._episodes.ways * self._episodes.needed)
        for place in distinct(self._draws, len(numbers), most):
            number = int(numbers[place])
            sentence = int(self._blanks.sentence[number])
            if sentence not in taken:
                taken.add(sentence)
                drawn.append(number)
            if len(drawn) == self._episodes.needed:
                break
        return drawn

    def load(self, tickets: Sequence[Ticket]) -> Batch:
        words = np.full((self._length, len(tickets)), NOTHING, np.float32)
        cont = np.zeros((self._length, len(tickets)), np.float32)
        keys = []
        for column, ticket in enumerate(tickets):
            sentence, place = self._blanks.sentence[ticket.item], self._blanks.place[ticket.item]
            indices = self._sentences.sentence(sentence)
            # They end together, so that the last step of an LSTM has read all.
            begins = self._length - len(indices)
            words[begins:, column] = indices
            words[begins + place, column] = BLANK
            cont[begins + 1 :, column] = 1
            keys.append(f"{self._sentences.lines[sentence]}: {self._names[int(self._blanks.word[ticket.item])]}")
        return Batch((words, cont, self._labels.copy()), tuple(keys))

    def count(self) -> int | None:
        return len(self._blanks.word)

    def state(self) -> State:
        return {"draws": self._draws.state()}

    def restore(self, state: State) -> None:
        restored(state, lambda state: self._draws.restore(state["draws"]))
