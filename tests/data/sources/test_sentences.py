"""The SentenceData layer: which words are blanked, which sentences a phase sees, and faults."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from caffecompat.data.sentences import read_lines, vocabulary
from caffecompat.errors import CaffeCompatError
from tests.data.sources.sources import check_no_state, check_restore, check_workers, passes, reading_net

WORDS = [f"w{number:02d}" for number in range(30)]


def text_of(more: str = "ways: 3 shots: 2 queries: 2 episodes: 2", vocabulary: int = 20, length: int = 8) -> str:
    return (
        'layer { name: "data" type: "SentenceData" top: "words" top: "cont" top: "label" sentence_data_param { '
        f'source: "text" vocabulary: {vocabulary} length: {length} {more} }} }}'
    )


@pytest.fixture
def root(tmp_path):
    """Sentences of 2 to 10 words, the first words of the list commoner; every one begins with a mark."""
    chance = random.Random(1)
    weights = [30 - number for number in range(30)]
    lines = [" ".join(["<s>", *chance.choices(WORDS, weights, k=chance.randint(1, 9))]) for _ in range(400)]
    (tmp_path / "text").write_text("\n".join(lines))
    return tmp_path


def read(root):
    """Lines of words, and the words by their indices, counted anew."""
    lines = [line.split() for line in (root / "text").read_text().split("\n")]
    counts = Counter(word for line in lines for word in line if word != "<s>")
    return lines, sorted(counts, key=lambda word: (-counts[word], word))[:17]


def test_one_word_of_each_sentence_is_blanked(root):
    lines, common = read(root)
    lines = [line for line in lines if len(line) <= 8]
    for tops in check_workers(text_of(), root, 10):
        words, cont, labels = tops["words"], tops["cont"], tops["label"]
        assert words.shape == cont.shape == (8, 2 * 3 * 4)
        assert labels.tolist() == [0, 0, 1, 1, 2, 2] * 4
        answers: dict[tuple[int, float], set[str]] = {}
        shown = []
        for column in range(24):
            episode = column % 12 // 6
            own = [int(word) for word in words[:, column] if word]
            assert own.count(1) == 1
            assert words[-len(own) :, column].tolist() == own
            assert cont[:, column].tolist() == [0] * (9 - len(own)) + [1] * (len(own) - 1)
            pattern = [common[index - 3] if index > 2 else index for index in own]
            fitting = {
                line[pattern.index(1)]
                for line in lines
                if len(line) == len(own)
                and all(
                    seen == word or seen == 1 or (seen == 2 and word not in common)
                    for seen, word in zip(pattern, line, strict=True)
                )
                and line.count(line[pattern.index(1)]) == 1
            }
            key = (episode, labels[column])
            answers[key] = answers.get(key, fitting) & fitting
            shown.append((episode, tuple(own)))
        # One word answers all sentences of a class.
        assert all(answers.values())
        assert all(found & set(common) for found in answers.values())


def test_keys_name_line_and_word_and_no_sentence_stands_twice(root):
    lines, common = read(root)
    with reading_net(text_of(), root) as net:
        for _ in range(20):
            net()
            keys = net.readers[0].batch.keys
            for start in range(2):
                columns = [*range(6 * start, 6 * start + 6), *range(12 + 6 * start, 18 + 6 * start)]
                own = [keys[column].split(": ") for column in columns]
                assert len({line for line, _ in own}) == 12
                assert len({word for _, word in own}) == 3
                for line, word in own:
                    assert lines[int(line) - 1].count(word) == 1
                    assert word in common


def test_words_and_sentences_are_held_out(root):
    more = "ways: 2 shots: 1 queries: 1 held_out_words: 6 held_out_sentences: 0.4"
    seen = {}
    for phase in ("TRAIN", "TEST"):
        with reading_net(text_of(more), root, phase) as net:
            keys: list[str] = []
            for _ in range(100):
                net()
                keys += net.readers[0].batch.keys
            seen[phase] = [set(part) for part in zip(*(key.split(": ") for key in keys), strict=True)]
    for train, test in zip(seen["TRAIN"], seen["TEST"], strict=True):
        assert not train & test
    assert (len(seen["TRAIN"][1]), len(seen["TEST"][1])) == (11, 6)


def test_the_vocabulary_of_another_text(root):
    (root / "other").write_text("w05 w05 w06")
    with reading_net(text_of('vocabulary_source: "other" ways: 2 shots: 1 queries: 1'), root) as net:
        assert {value for tops in passes(net, 30) for value in np.unique(tops["words"])} <= {0, 1, 2, 3, 4}
    assert vocabulary(read_lines(root / "other"), 5) == {"w05": 3, "w06": 4}
    assert vocabulary(read_lines(root / "other"), 4) == {"w05": 3}


def test_a_state_goes_on(root):
    check_restore(text_of(), root)
    check_no_state(text_of(), root)


@pytest.mark.parametrize(
    ("more", "options", "says"),
    [
        ("", {"vocabulary": 3}, "expected a vocabulary above 3"),
        ("", {"length": 1}, "length of at least 2"),
        ("held_out_sentences: 1", {}, "held_out_sentences from 0 to below 1, got 1"),
        ("held_out_words: 17", {}, "17 of 17 words are to be held out"),
        ("ways: 18", {}, "expected 18 words with at least 5 sentences"),
        ("shots: 300", {}, "expected 5 words with at least 304 sentences"),
        ('vocabulary_source: "gone"', {}, "vocabulary_source 'gone' is not there"),
    ],
)
def test_refused(more, options, says, root):
    with pytest.raises(CaffeCompatError, match=says), reading_net(text_of(more, **options), root):
        pass


def test_texts_without_use(root):
    (root / "text").write_text("\n \n")
    with pytest.raises(CaffeCompatError, match="text: .*got no words"), reading_net(text_of(), root):
        pass
    # Two words that only one sentence has.
    (root / "text").write_text("a b\n" * 1 + "a c\nb c\na b c\n")
    with (
        reading_net(text_of("ways: 2 shots: 1 queries: 2"), root) as net,
        pytest.raises(CaffeCompatError, match="100 times in a row a word had no sentence left"),
    ):
        net()
