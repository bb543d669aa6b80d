"""Rescoring of n-best lists: by hand, against all choices, and as a user calls it."""

import itertools
import json

import pytest
import tiny

from command_line import refusal, run
from recitative.asr.tuning import (
    WEIGHTS,
    Candidate,
    TextScorer,
    Weights,
    add_scores,
    best_texts,
    oracle_errors,
    read_nbest,
    to_text,
    tune_weights,
)
from recitative.data.directory import DataDirectory
from recitative.errors import DataError, UsageError
from recitative.model.folder import save_model

SURE, DOUBT = Candidate("a b", "a b", -1.0), Candidate("a c", "a c", -2.0)


class Likes:
    """ln P of a sentence: 0 for what it likes, -10 for the rest."""

    def __init__(self, *texts):
        self.texts = texts

    def score_texts(self, texts):
        return [0.0 if text in self.texts else -10.0 for text in texts]


def scored(*rows):
    """(text, score, attention, language) ..."""
    return [Candidate(text, text, *scores) for text, *scores in rows]


def test_what_decoding_wrote_is_read(tmp_path):
    path = tmp_path / "nbest.jsonl"
    rows = [{"text": "a b", "tokens": "a b", "score": -1, "acoustic": -1.0, "posterior": 0.7}]
    path.write_text(
        json.dumps({"utt_id": "u1", "nbest": rows}) + "\n" + json.dumps({"utt_id": "u2", "nbest": []}) + "\n"
    )
    assert read_nbest(path) == {"u1": [SURE], "u2": []}


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "[]",
        '{"utt_id": "u2"}',
        '{"nbest": []}',
        '{"utt_id": "u2", "nbest": [{"text": "a"}]}',
        '{"utt_id": "u2", "nbest": [{"text": "a", "tokens": "a", "score": "low"}]}',
        '{"utt_id": "u2", "nbest": 3}',
        '{"utt_id": "u2", "words": []}',
        "[" * 9999,
    ],
)
def test_a_line_that_is_no_list_is_named(tmp_path, line):
    path = tmp_path / "nbest.jsonl"
    path.write_text('{"utt_id": "u1", "nbest": []}\n' + line + "\n")
    with pytest.raises(DataError) as caught:
        read_nbest(path)
    assert str(caught.value).startswith(f"{path}:2: ")
    assert "'recitative decode --nbest" in str(caught.value) or "an n-best file" in str(caught.value)


def test_a_file_that_is_missing_or_not_text_is_named(tmp_path):
    with pytest.raises(DataError, match=r"does not exist; .*; make it with 'recitative decode --nbest 20'"):
        read_nbest(tmp_path / "nbest.jsonl")
    (tmp_path / "nbest.jsonl").write_bytes(b"\xff\n")
    with pytest.raises(DataError, match=r"nbest\.jsonl:1: byte 0xff in column 1 is not UTF-8"):
        read_nbest(tmp_path / "nbest.jsonl")


def test_the_best_is_the_largest_weighted_sum_and_of_equals_the_first():
    rows = scored(("a", -1.0, -5.0, -3.0), ("b", -2.0, -1.0, -6.0), ("c", -3.0, -9.0, 0.0))
    assert Weights().best(rows).text == "a"
    assert Weights(attention=0.5).best(rows).text == "b"  # -3.5, -2.5, -7.5
    assert Weights(language=1.2).best(rows).text == "c"  # -4.6, -9.2, -3.0
    assert Weights(attention=0.25).best(rows).text == "a"  # -2.25 twice
    assert best_texts({"u": rows, "v": []}, Weights(attention=0.5)) == {"u": "b", "v": ""}


REFS = {"u1": "yes", "u2": "no"}
LISTS = {
    "u1": scored(("no", -1.0, -4.0, -1.0), ("yes", -2.0, -1.0, -1.0)),  # attention above 1/3
    "u2": scored(("no", -1.0, -3.0, -1.0), ("yes", -1.7, -2.0, -9.0)),  # attention below 0.7 + 8 * language
}


def test_the_weights_with_the_fewest_errors_are_found_among_all():
    weights, trials = tune_weights(LISTS, REFS, attention=True, lm=True)
    assert len(trials) == len(WEIGHTS) ** 2
    for attention, language in itertools.product(WEIGHTS, WEIGHTS):
        wrong = (attention <= 1 / 3) + (attention > 0.7 + 8 * language)
        assert trials[Weights(attention, language)].errors == wrong
    assert weights == Weights(0.5, 0.0)  # the smallest of those without errors
    assert trials[weights].errors == 0


def test_only_the_models_that_are_there_are_weighed():
    assert set(tune_weights(LISTS, REFS, attention=False, lm=True)[1]) == {Weights(0.0, w) for w in WEIGHTS}
    assert set(tune_weights(LISTS, REFS, attention=True, lm=False)[1]) == {Weights(w, 0.0) for w in WEIGHTS}
    assert tune_weights(LISTS, REFS, attention=False, lm=False)[0] == Weights()


def test_the_oracle_takes_the_nearest_of_every_list():
    refs = {"u1": "a b c", "u2": "d", "u3": "e f"}
    lists = {
        "u1": scored(("a x c", -1.0), ("a b", -2.0), ("x y z", -3.0)),  # one error, either way
        "u2": scored(("x", -1.0), ("d", -9.0)),  # none
        "u3": [],  # two words deleted
    }
    assert oracle_errors(lists, refs).errors == 3


@pytest.fixture
def place(tmp_path):
    """Two sets of two utterances with n-best lists, in which the second alternative is what was said."""
    for name, seed in (("dev", 1), ("test", 2)):
        data = tiny.write_corpus(tmp_path / name, 2, seed)
        lines = []
        for u in DataDirectory.read(data).utterances:
            texts = [u.text + " c", u.text]
            rows = [{"text": t, "tokens": t, "score": -1.0 - i} for i, t in enumerate(texts)]
            lines.append(json.dumps({"utt_id": u.utt_id, "nbest": rows}) + "\n")
        (tmp_path / f"{name}.jsonl").write_text("".join(lines))
    return tmp_path


def texts_of(data):
    return {u.utt_id: u.text for u in DataDirectory.read(data).utterances}


def test_a_scorer_of_texts_adds_what_it_says(place):
    data = place / "dev" / "data"
    refs = texts_of(data)
    calls = []
    lists = add_scores(
        read_nbest(place / "dev.jsonl"), data, None, Likes(*refs.values()), lambda *done: calls.append(done)
    )
    assert {name: [c.language for c in rows] for name, rows in lists.items()} == {name: [-10.0, 0.0] for name in refs}
    assert {c.attention for rows in lists.values() for c in rows} == {0.0}
    assert calls == [(1, 2), (2, 2)]
    assert isinstance(Likes(), TextScorer)


def test_an_utterance_of_another_set_and_a_model_without_attention_are_refused(place):
    lists = {"s9-000": [SURE, DOUBT]}
    with pytest.raises(DataError, match=r"data: has no utterance 's9-000'; those of the n-best file; correct the path"):
        add_scores(lists, place / "dev" / "data", None, Likes())
    with pytest.raises(UsageError, match="this model has no attention decoder to rescore with"):
        add_scores({}, place / "dev" / "data", tiny.recognizer(), None)


def test_a_text_table_is_in_order():
    assert to_text({"b": "x y", "a": ""}) == "a\nb x y\n"


def rescoring(place, *more):
    dev = ("--dev", place / "dev" / "data", "--dev-nbest", place / "dev.jsonl")
    return "rescore", place / "test" / "data", place / "test.jsonl", "--output", place / "out", *dev, *more


def test_the_command_rescores_with_a_language_model_and_says_what_it_gained(place, monkeypatch):
    test_texts, dev_texts = texts_of(place / "test" / "data"), texts_of(place / "dev" / "data")
    likes = Likes(*test_texts.values(), *dev_texts.values())
    monkeypatch.setattr("recitative.cli.recognize.open_lm", lambda path: likes)
    done = run(*rescoring(place, "--lm", place / "lm"))
    words = sum(len(text.split()) for text in dev_texts.values())
    before = 100 * 2 / words  # one word too many in each
    first, second = done.lines
    assert first == f"dev WER: {before:.2f} % before, 0.00 % after, 0.00 % with the best choice from every list"
    assert second == f"{place / 'out'}/text: weight of attention 0, of the language model 0.2"  # at 0.1 they are equal
    assert (place / "out" / "text").read_text() == to_text(test_texts)


def test_the_command_rescores_with_attention(place):
    made = tiny.recognizer(attention={"weight": 0.3, "hidden": 8, "embedding": 4, "key_width": 4})
    save_model(made, place / "model")
    assert "of the language model 0" in run(*rescoring(place, "--model", place / "model")).out
    assert [line.split()[0] for line in (place / "out" / "text").read_text().splitlines()] == ["s0-000", "s1-001"]


def test_nothing_to_rescore_with_and_an_ngram_model_are_refused(place):
    assert refusal(*rescoring(place)) == "error: nothing to rescore with: give --model (attention), --lm, or both"
    (place / "lm.arpa").write_text("\\data\\\nngram 1=2\n\n\\1-grams:\n0\t<s>\n-1\t</s>\n\n\\end\\\n")
    told = refusal(*rescoring(place, "--lm", place / "lm.arpa"))
    assert "is an n-gram model; use it in decoding, with 'decode --lm'" in told
    assert "is no language model" in refusal(*rescoring(place, "--lm", place / "nowhere"), status=1)
