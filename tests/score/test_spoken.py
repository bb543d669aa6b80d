"""Confidences and word times: errors that a person can work out."""

import json
import math

import pytest
from typer.testing import CliRunner

from recitative.cli.main import app
from recitative.data.tables import write_table
from recitative.errors import DataError
from recitative.score.calibration import measure_words, read_timed_words
from recitative.score.results import read_results
from recitative.text.words import Word


def timed(*rows):
    """(word, start, end, confidence) ..."""
    return [Word(*row) for row in rows]


REFS = {"u1": "the cat sat", "u2": "down"}
FOUND = {
    "u1": timed(("the", 0.0, 0.2, 0.9), ("bat", 0.3, 0.5, 0.6), ("sat", 0.6, 0.9, 0.8)),
    "u2": timed(("sit", 0.1, 0.2, 0.1), ("down", 0.2, 0.5, 0.7)),
}
TRUE = {
    "u1": timed(("the", 0.01, 0.23, 1.0), ("cat", 0.3, 0.5, 1.0), ("sat", 0.55, 0.97, 1.0)),
    "u2": timed(("down", 0.2, 0.5, 1.0)),
}
# right: the 0.9, sat 0.8, down 0.7; wrong: bat 0.6, sit 0.1; every word is alone in its bin
ECE = (0.1 + 0.2 + 0.3 + 0.6 + 0.1) / 5


def test_the_calibration_error_is_the_mean_gap_between_confidence_and_truth():
    quality = measure_words(REFS, FOUND)
    assert (quality.words, quality.right) == (5, 3)
    assert quality.ece == pytest.approx(ECE)
    entropy = -(0.6 * math.log(0.6) + 0.4 * math.log(0.4))
    cross = -(math.log(0.9) + math.log(0.8) + math.log(0.7) + math.log(0.4) + math.log(0.9)) / 5
    assert quality.nce == pytest.approx((entropy - cross) / entropy)
    assert (quality.timed, quality.time_error_ms) == (0, None)


def test_words_of_one_bin_are_judged_together():
    found = {"u": timed(*(("a", i, i + 0.5, 0.75) for i in range(4)))}
    assert measure_words({"u": "a a a b"}, found).ece == pytest.approx(0.0)  # three of four are right
    assert measure_words({"u": "a a a a"}, found).ece == pytest.approx(0.25)


def test_the_time_error_is_the_median_over_both_ends_of_the_words_that_are_right():
    # the: 10, 30 ms; sat: 50, 70 ms; down, beside an inserted word: 0, 0 ms
    quality = measure_words(REFS, FOUND, TRUE)
    assert quality.timed == 3
    assert quality.time_error_ms == pytest.approx(20.0)
    only = measure_words(REFS, FOUND, {"u1": TRUE["u1"]})  # an utterance that was not aligned
    assert (only.timed, only.time_error_ms) == (2, pytest.approx(40.0))


def test_deleted_words_shift_nothing():
    found = {"u": timed(("sat", 0.6, 0.9, 0.8))}
    true = {"u": timed(("the", 0.0, 0.2, 1.0), ("cat", 0.3, 0.5, 1.0), ("sat", 0.61, 0.91, 1.0))}
    quality = measure_words({"u": "the cat sat"}, found, true)
    assert (quality.words, quality.right, quality.timed) == (1, 1, 1)
    assert quality.time_error_ms == pytest.approx(10.0)


def test_the_table_has_the_bins_that_have_words():
    lines = measure_words({"u": "a a"}, {"u": timed(("a", 0, 1, 0.95), ("b", 1, 2, 0.91))}).table.splitlines()
    assert lines == ["confidence    words   mean  right", "0.9 to 1.0        2  0.930  0.500"]


def test_where_nothing_was_recognised_there_is_nothing_to_measure():
    with pytest.raises(DataError, match="hypotheses: have no words; at least one"):
        measure_words(REFS, {"u1": [], "u2": []})


def test_what_decoding_wrote_is_read(tmp_path):
    words = [{"word": "a", "start_s": 0, "end_s": 0.5, "confidence": 1}]
    (tmp_path / "words.jsonl").write_text(json.dumps({"utt_id": "u", "words": words}) + "\n")
    assert read_timed_words(tmp_path / "words.jsonl") == {"u": timed(("a", 0.0, 0.5, 1.0))}


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"utt_id": "u"}', '{"words": []}', '{"utt_id": "u", "words": [{"word": "a"}]}', '"u"', r'["\ud800"]'],
)
def test_a_line_that_is_none_is_named(tmp_path, line):
    (tmp_path / "words.jsonl").write_text('{"utt_id": "t", "words": []}\n' + line + "\n")
    with pytest.raises(DataError, match=r"words\.jsonl:2: .*; .*words\.jsonl"):
        read_timed_words(tmp_path / "words.jsonl")


def test_a_file_that_is_missing_or_not_text_is_named(tmp_path):
    with pytest.raises(DataError, match=r"words\.jsonl: does not exist"):
        read_timed_words(tmp_path / "words.jsonl")
    (tmp_path / "words.jsonl").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"words\.jsonl:1: byte 0xff in column 1 is not UTF-8"):
        read_timed_words(tmp_path / "words.jsonl")


def as_lines(found):
    return "".join(
        json.dumps({"utt_id": name, "words": [vars(word) for word in words]}) + "\n" for name, words in found.items()
    )


@pytest.fixture
def data(tmp_path):
    write_table(tmp_path / "data/text", REFS)
    write_table(tmp_path / "data/utt2spk", {name: name for name in REFS})
    write_table(tmp_path / "hyp", {name: " ".join(word.word for word in words) for name, words in FOUND.items()})
    (tmp_path / "words.jsonl").write_text(as_lines(FOUND))
    (tmp_path / "alignment.jsonl").write_text(as_lines(TRUE))
    return tmp_path


def test_the_command_prints_and_records_confidences_and_times(data):
    files = (data / "data", data / "hyp", "--output", data / "score", "--words", data / "words.jsonl")
    more = ("--aligned", data / "alignment.jsonl", "--results", data / "r.jsonl", "--model", "m", "--set", "test")
    done = CliRunner().invoke(app, ["score", *map(str, (*files, *more))], catch_exceptions=False)
    nce = measure_words(REFS, FOUND).nce
    assert done.stdout.splitlines()[3:] == [
        f"confidence: ECE {ECE:.4f}, NCE {nce:.3f}, 3 of 5 words right",
        "word times: median error 20 ms over 3 words, both ends",
    ]
    rows = {row.metric: (row.value, row.counts) for row in read_results(data / "r.jsonl")}
    assert rows["ECE"] == (round(ECE, 4), "5 words")
    assert rows["NCE"] == (round(nce, 4), "5 words")
    assert rows["word times, ms"] == (20.0, "3 words")
    assert (data / "score" / "reliability").read_text() == measure_words(REFS, FOUND).table


def test_times_alone_are_refused(data):
    files = (data / "data", data / "hyp", "--output", data / "score", "--aligned", data / "alignment.jsonl")
    done = CliRunner().invoke(app, ["score", *map(str, files)])
    assert "the true times; the times of --words are compared with them: give both" in str(done.exception)
