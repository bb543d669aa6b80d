"""Keywords as a model's tokens write them, what stands for the edges of words, and lists that are refused."""

from __future__ import annotations

import json

import pytest

from recitative.errors import DataError, UsageError
from recitative.keywords.spotter import KeywordThresholds, fingerprint, keywords_of, parse_keywords, word_edges
from recitative.text.tokens import Lexicon, TokenTable

LETTERS = TokenTable(("<blank>", " ", "e", "s", "t", "y"))
PHONES = TokenTable(("<blank>", "AH", "IH", "IY", "K", "N", "S", "T", "W", "HH"))
PIECES = TokenTable.of_pieces({" yes": -1.0, "t": -2.0, " ": -3.0, "y": -4.0, "e": -4.0, "s": -4.0})
WORDS = TokenTable(("<blank>", " stop", " yes"))
SPOKEN = Lexicon(
    {
        "six": (("S", "IH", "K", "S"),),
        "sixty": (("S", "IH", "K", "S", "T", "IY"),),
        "one": (("W", "AH", "N"), ("HH", "W", "AH", "N")),
    }
)
NONE = Lexicon({})


def keyword(text, tokens, lexicon=NONE):
    [found] = keywords_of(parse_keywords(text), tokens, lexicon)
    return found


def test_letters_are_spelled_with_the_space_between_words() -> None:
    assert keyword("yes yet", LETTERS).spellings == ((5, 2, 3, 1, 5, 2, 4),)


def test_pieces_and_words_begin_with_their_own_space() -> None:
    assert keyword("yest", PIECES).spellings == ((1, 2),)
    assert keyword("yes stop", WORDS).spellings == ((2, 1),)


def test_phones_have_every_pronunciation_and_longer_words_as_rivals() -> None:
    six = keyword("six", PHONES, SPOKEN)
    assert six.spellings == ((6, 2, 4, 6),)
    assert six.rivals == ((6, 2, 4, 6, 7, 3),)
    assert keyword("six one", PHONES, SPOKEN).spellings == ((6, 2, 4, 6, 8, 1, 5), (6, 2, 4, 6, 9, 8, 1, 5))


def test_another_way_to_say_a_word_is_no_rival() -> None:
    assert keyword("one", PHONES, SPOKEN).rivals == ()


def test_a_word_of_no_lexicon_may_be_given_its_sound() -> None:
    assert keyword("knee=N IY", PHONES, SPOKEN).spellings == ((5, 3),)


def test_only_tables_that_tell_of_words_have_edges() -> None:
    edges = word_edges(LETTERS, 0.03)
    assert edges is not None
    assert (edges.starts, edges.before, edges.silence_frames) == ((1,), True, 10)
    edges = word_edges(PIECES, 0.03)
    assert edges is not None
    assert (edges.starts, edges.before) == ((1, 3), False)
    assert word_edges(PHONES, 0.03) is None
    assert word_edges(WORDS, 0.03) is None


@pytest.mark.parametrize(("text", "message"), [
        ("", "keywords: none is named; write them with commas between"),
        (" , # nothing", "keywords: none is named"),
        ("yes, stop, yes", "keyword 'yes': stands twice; name it once"),
        ("yes:2", "keyword 'yes:2': threshold 2 must be from 0 to 1"),
        ("yes:0", "keyword 'yes': threshold 0 would take everything"),
        ("yes:maybe", "keyword 'yes:maybe': 'maybe' is not a threshold; write phrase:0.5"),
        ("=Y EH S", "keyword '=Y EH S': has no word"),
])  # fmt: skip
def test_a_bad_list_is_refused(text, message) -> None:
    with pytest.raises(UsageError, match=message):
        parse_keywords(text)


@pytest.mark.parametrize(("tokens", "text", "message"), [
        (LETTERS, "yes, café", "keyword 'café': has 'a', 'c', 'f', 'é', which the model never writes; the model's"),
        (PHONES, "tokyo", "keyword 'tokyo': not in the lexicon; .*'tokyo=AH IH IY'"),
        (PHONES, "tokyo=T ZZ", "keyword 'tokyo': 'ZZ' not in the token table"),
        (WORDS, "go", "keyword 'go': has 'go', which the model never writes; the model's words"),
])  # fmt: skip
def test_words_that_the_model_cannot_write_are_refused(tokens, text, message) -> None:
    with pytest.raises(DataError, match=message):
        keywords_of(parse_keywords(text), tokens, SPOKEN)


def test_thresholds_are_of_one_model_and_of_its_keywords(tmp_path) -> None:
    model, path = tmp_path / "m.onnx", tmp_path / "thresholds.json"
    model.write_bytes(b"weights")
    KeywordThresholds(fingerprint(model), "data/dev", 0.5, 1.0, {"yes": 0.7}).write(path)
    found = KeywordThresholds.read(path)
    found.require(path, model, ["yes"])
    with pytest.raises(DataError, match=r"has no threshold of keyword 'stop'; only 'yes'; give it one yourself"):
        found.require(path, model, ["yes", "stop"])
    model.write_bytes(b"other weights")
    with pytest.raises(DataError, match=r"thresholds.json: is for another model than .*m.onnx; the model that it was"):
        found.require(path, model, ["yes"])


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": 1}', "no JSON"])
def test_a_file_without_thresholds_is_refused(tmp_path, content) -> None:
    path = tmp_path / "thresholds.json"
    path.write_text(content)
    with pytest.raises(DataError, match="; a file of 'recitative keywords tune'; make it again"):
        KeywordThresholds.read(path)
    with pytest.raises(DataError, match="does not exist"):
        KeywordThresholds.read(tmp_path / "missing")


def test_a_threshold_out_of_range_is_refused(tmp_path) -> None:
    path = tmp_path / "thresholds.json"
    entries = {"model": "", "data": "", "hours": 1, "false_alarms_per_hour": 1, "thresholds": {"yes": 1.5}}
    path.write_text(json.dumps(entries))
    with pytest.raises(DataError, match="holds no thresholds"):
        KeywordThresholds.read(path)
