"""Hot words: the automaton by hand, and their effect on the search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recitative.decoding.beam import BeamSearch
from recitative.decoding.hotwords import WORD_END, HotWord, HotWords, parse_hot_words, read_hot_words
from recitative.errors import DataError, UsageError
from recitative.text.tokens import Lexicon, TokenTable

LETTERS = TokenTable(("<blank>", " ", *"abcdefghijklmnopqrstuvwxyz"))
PHONES = TokenTable(("<blank>", "AE", "B", "K", "OW", "T"))


def hot(*phrases: str, weight: float = 6.0, tokens: TokenTable = LETTERS, lexicon: Lexicon | None = None) -> HotWords:
    return HotWords(parse_hot_words(",".join(phrases), weight), tokens, lexicon)


def total(words: HotWords, text: str) -> float:
    """What a text earns in the end."""
    automaton, earned = words.automaton, 0.0
    state = automaton.start
    for word in text.split():
        for letter in word:
            gain, state = automaton.step(state, LETTERS.ids[letter])
            earned += gain
        gain, state = automaton.step(state, WORD_END)
        earned += gain
    return earned + automaton.finish(state)


@pytest.mark.parametrize(
    ("phrases", "text", "words_raised"),
    [
        (["cat"], "a cat sat", 1),
        (["cat"], "cat cat", 2),
        (["cat"], "concatenate cats", 0),  # not within a word, nor as its beginning
        (["cat"], "ca", 0),
        (["new york"], "in new york", 2),
        (["new york"], "new yorkshire", 0),
        (["new york"], "new new york", 2),
        (["new york"], "new", 0),
        (["new york", "new york city"], "new york city", 3),
        (["new york city", "new york"], "new york cities", 2),  # the longer one breaks off, the shorter one stays
        (["a b a c"], "a b a b a c", 4),  # it begins anew in its own middle
        (["york", "new york"], "york new york", 3),
        ([], "nothing at all", 0),
    ],
)
def test_whole_phrases_earn_their_weight_and_nothing_else_does(
    phrases: list[str], text: str, words_raised: int
) -> None:
    assert total(hot(*phrases), text) == pytest.approx(6.0 * words_raised)


def test_each_letter_earns_its_share_at_once_and_a_phrase_that_breaks_off_loses_all() -> None:
    automaton = hot("cat").automaton
    state, gains = automaton.start, []
    for letter in "cab":
        gain, state = automaton.step(state, LETTERS.ids[letter])
        gains.append(gain)
    assert gains == pytest.approx([1.5, 1.5, -3.0])  # three letters and the end of the word share 6
    assert automaton.largest_gain == pytest.approx(1.5)


def spoken(text: str, tokens: TokenTable, certainty: float = 0.9) -> np.ndarray:
    labels = [label for letter in text for label in (tokens.ids[letter], 0)]
    probs = np.full((len(labels), len(tokens)), (1 - certainty) / (len(tokens) - 1))
    probs[np.arange(len(labels)), labels] = certainty
    return np.log(probs)


def either(log_probs: np.ndarray, frame: int, token: str, share: float) -> np.ndarray:
    """One letter is heard as another with some probability."""
    probs = np.exp(log_probs)
    probs[frame, LETTERS.ids[token]] = share
    return np.log(probs / probs.sum(1, keepdims=True))


def text_of(log_probs: np.ndarray, words: HotWords | None, lexicon: Lexicon | None = None) -> str:
    search = BeamSearch(LETTERS, lexicon, hot_words=words)
    return search.finish(search.step(log_probs, search.start()))[0].text


def test_a_hot_word_is_heard_where_the_audio_leaves_a_doubt_and_its_neighbors_stay() -> None:
    log_probs = either(spoken("the bat sat", LETTERS, 0.999), 8, "c", 0.1)
    assert text_of(log_probs, None) == "the bat sat"
    assert text_of(log_probs, hot("cat")) == "the cat sat"
    assert text_of(log_probs, hot("cat", weight=0.1)) == "the bat sat"


def test_a_hot_word_is_not_heard_where_nothing_sounds_like_it() -> None:
    assert text_of(spoken("the dog sat", LETTERS, 0.999), hot("cat")) == "the dog sat"


def test_a_word_that_the_lexicon_lacks_joins_it() -> None:
    lexicon = Lexicon.of_spelling(["the", "sat"], LETTERS)
    words = hot("zyx", lexicon=lexicon)
    log_probs = spoken("the zyx sat", LETTERS)
    assert "zyx" not in text_of(log_probs, None, lexicon)
    assert text_of(log_probs, words, lexicon.with_entries(words.lexicon)) == "the zyx sat"


def test_every_pronunciation_of_a_phrase_is_raised() -> None:
    lexicon = Lexicon({"bat": (("B", "AE", "T"), ("B", "OW", "T")), "cat": (("K", "AE", "T"),)})
    automaton = hot("bat", tokens=PHONES, lexicon=lexicon).automaton
    for phones in (("B", "AE", "T"), ("B", "OW", "T")):
        state, earned = automaton.start, 0.0
        for phone in phones:
            gain, state = automaton.step(state, PHONES.ids[phone])
            earned += gain
        assert earned + automaton.step(state, WORD_END)[0] == pytest.approx(6.0)


def test_weights_and_pronunciations_are_read_from_the_phrase() -> None:
    assert parse_hot_words("new york: 2.5, tokyo=T OW K", 4.0) == [
        HotWord("new york", 2.5),
        HotWord("tokyo", 4.0, ("T", "OW", "K")),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat:lots", "hot word 'cat:lots': 'lots' is not a weight"),
        ("cat:99", "weight 99 must be from 0 to 50"),
        ("=K AE T", "has no word"),
        ("new york=K AE", "a pronunciation belongs to one word"),
    ],
)
def test_a_bad_phrase_is_named(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_hot_words(text, 4.0)
    assert message in str(caught.value)


def test_characters_that_the_model_never_writes_are_named() -> None:
    with pytest.raises(DataError, match=r"hot word 'café': has 'é', which the model never writes"):
        hot("café", "naïve")


def test_of_phones_a_word_outside_the_lexicon_needs_a_pronunciation() -> None:
    with pytest.raises(DataError, match=r"hot word 'tokyo': not in the lexicon.*'tokyo=AE B K'"):
        hot("tokyo", tokens=PHONES, lexicon=Lexicon({"bat": (("B", "AE", "T"),)}))
    with pytest.raises(DataError, match="hot word 'tokyo': 'ZZ' not in the token table"):
        hot("tokyo=T ZZ", tokens=PHONES)
    assert hot("tokyo=T OW K OW", tokens=PHONES).lexicon.entries == {"tokyo": (("T", "OW", "K", "OW"),)}


def test_a_file_has_one_phrase_a_line_and_comments(tmp_path: Path) -> None:
    path = tmp_path / "hot.txt"
    path.write_text("# names\nnew york:2\n\ntokyo\n")
    assert read_hot_words(path, 4.0) == [HotWord("new york", 2.0), HotWord("tokyo", 4.0)]
    path.write_text("# none\n")
    with pytest.raises(DataError, match="has no phrases"):
        read_hot_words(path, 4.0)
    with pytest.raises(DataError, match="does not exist"):
        read_hot_words(tmp_path / "missing", 4.0)
