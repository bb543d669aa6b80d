"""Readable text: sentences over segments, figures with their times, partial results that do not flicker."""

from __future__ import annotations

import numpy as np
import pytest

from recitative.asr.recognizer import Recognizer
from recitative.asr.transcript import Final, Partial, ReadableText, Segment, load_punctuator
from recitative.text.tokens import Word

SAID = [
    "he was sure that mister smith had paid twenty three dollars and fifty cents for the horse in nineteen oh five",
    "did you know that i don't think so said the old man and went away",
    "on july fourth at three thirty p m they came to london and",
    "found nobody there what do you want he asked ten of them said nothing at all",
]


def words_of(text: str, start_s: float = 0.0) -> tuple[Word, ...]:
    return tuple(Word(word, start_s + n, start_s + n + 0.5, 0.9) for n, word in enumerate(text.split()))


def final(words: tuple[Word, ...], utterance: int = 1) -> Final:
    return Final(utterance, (Segment(words[0].start_s, words[-1].end_s, words),))


def test_a_figure_has_the_time_of_all_its_words() -> None:
    written = ReadableText().final(final(words_of(SAID[0]))).words
    by_text = {word.word.rstrip(",.!?"): word for word in written}
    assert {"Mr", "Smith", "$23.50", "1905"} <= by_text.keys()
    assert (by_text["$23.50"].start_s, by_text["$23.50"].end_s) == (8.0, 13.5)
    assert (written[-1].start_s, written[-1].end_s) == (18.0, 20.5)
    assert written[0].word == "He"
    assert " " not in "".join(word.word for word in written)


def test_numbers_are_no_names() -> None:
    assert ReadableText().final(final(words_of("six seven zero"))).text.rstrip(".") == "Six seven zero"


def test_a_segment_begins_with_a_capital_only_if_the_sentence_before_has_ended() -> None:
    rewriter = ReadableText()
    before: list[str] = []
    for text in SAID:
        written = rewriter.final(final(words_of(text))).text
        ended = not before or before[-1][-1] in ".?!"
        plain = text.split()[0] not in ("on", "he", "did", "found")
        assert plain or written[0].isupper() == ended
        before = written.split()


def test_what_is_stable_of_a_partial_result_stays_in_all_later_ones() -> None:
    rewriter, lookahead = ReadableText(), load_punctuator().lookahead
    seen = 0
    for number, text in enumerate(SAID, start=1):
        words, stable = words_of(text), ""
        for heard in range(1, len(words) + 1):
            raw = Partial(number, 0.0, 0.0, words[:heard], max(0, heard - 2))
            partial = rewriter.partial(raw)
            assert partial.stable.startswith(stable)
            assert partial.num_stable <= max(0, raw.num_stable - lookahead)
            assert partial.text.endswith(raw.words[-1].word)
            stable = partial.stable
            seen += bool(stable)
        assert rewriter.final(final(words, number)).text.startswith(stable)
    assert seen > 20


def test_a_recognizer_gives_either_form() -> None:
    """The shipped model on noise and a recording: the same words, whatever their form."""
    recognizer = Recognizer.load("en")
    recording = "recipes/digits/corpus/audio/bf_lily-06.ogg"
    raw, readable = (recognizer.transcribe(recording, text=form) for form in ("raw", "readable"))
    assert recognizer.transcribe(recording) == raw
    assert Recognizer.load("en", text="readable").transcribe(recording) == readable
    assert raw.text.islower()
    assert readable.text[0].isupper() or readable.text[0].isdigit()
    assert readable.words[0].start_s == raw.words[0].start_s
    assert readable.words[-1].end_s == raw.words[-1].end_s


@pytest.mark.parametrize("form", ["raw", "readable"])
def test_silence_is_nothing_in_either_form(form: str) -> None:
    stream = Recognizer.load("en").stream(text=form)
    assert not [event for event in stream.accept(np.zeros(16000, np.float32), 16000) if event.text]
    assert stream.finish() == []
