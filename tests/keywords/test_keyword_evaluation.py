"""Keywords in data directories, with a model that hears tones: what is counted, tuned, written and refused."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET

import pytest
import tiny

from command_line import refusal, run
from recitative.cli import keywords as verb
from recitative.data.directory import DataDirectory
from recitative.errors import DataError
from recitative.keywords.spotter import (
    KeywordThresholds,
    parse_keywords,
    phrase_decoder,
    search_directories,
    tune_thresholds,
)
from recitative.score.classification import LEVELS, DetectionCounts

SAID = ("ab c", "cab abc", "c ab ab", "bb c", "c c")


@pytest.fixture(scope="module")
def transcriber():
    """Its space is a tone whose begin and end sound like no letter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny.TONES_HZ, " ", 1900.0)
        yield tiny.tone_transcriber()


def heard_in(transcriber, data, keywords, **options):
    phrases = parse_keywords(",".join(f"{word}:{LEVELS[0]}" for word in keywords))
    return search_directories(transcriber, phrase_decoder(transcriber, phrases, **options), [data])


def counts(detections):
    return detections.occurrences, detections.found, detections.false_alarms


def test_whole_words_are_found_and_longer_ones_are_not(transcriber, tmp_path) -> None:
    heard = heard_in(transcriber, tiny.write_data(tmp_path, SAID), ["ab", "c", "b"])
    assert [counts(heard.count(number, 0.5)) for number in range(3)] == [(3, 3, 0), (5, 5, 0), (0, 0, 0)]
    assert heard.hours == pytest.approx(sum(map(len, SAID)) * tiny.LETTER_S / 3600)


def test_within_words_they_are_found_anywhere(transcriber, tmp_path) -> None:
    heard = heard_in(transcriber, tiny.write_data(tmp_path, SAID), ["ab"], within_words=True)
    assert counts(heard.count(0, 0.5)) == (3, 3, 2)


def test_a_phrase_of_two_words_is_found(transcriber, tmp_path) -> None:
    heard = heard_in(transcriber, tiny.write_data(tmp_path, SAID), ["ab ab", "c ab"])
    assert [counts(heard.count(number, 0.5)) for number in range(2)] == [(1, 1, 0), (1, 1, 0)]


def test_a_detection_elsewhere_is_a_false_alarm_and_an_unaligned_word_is_anywhere(transcriber, tmp_path) -> None:
    texts = ("c c", "cab abc", "c ab ab", "bb c", "zz ab")
    heard = heard_in(transcriber, tiny.write_data(tmp_path, ("ab c", *SAID[1:4], "c ab"), texts), ["ab"])
    assert counts(heard.count(0, 0.5)) == (3, 3, 1)
    assert [u.occurrences for u in heard.utterances if u.utt_id == "s-04"] == [(((0.0, 0.4),),)]


def test_an_utterance_without_transcript_is_refused(transcriber, tmp_path) -> None:
    data = tiny.write_data(tmp_path, ("ab", "c"))
    (data / "text").unlink()
    with pytest.raises(DataError, match="utterance 's-00': has no transcript; words, or an empty text"):
        heard_in(transcriber, data, ["ab"])


def test_a_tuned_threshold_keeps_the_rate(transcriber, tmp_path) -> None:
    heard = heard_in(transcriber, tiny.write_data(tmp_path, SAID), ["ab"], within_words=True)
    [none] = tune_thresholds(heard, 0.0)
    assert none.detections == heard.count(0, none.threshold)
    assert none.detections.false_alarms == 0 or not none.within_limit
    [any_rate] = tune_thresholds(heard, 1e9)
    assert any_rate.within_limit
    assert counts(any_rate.detections)[:2] == (3, 3)


@pytest.fixture
def place(transcriber, tmp_path, monkeypatch):
    """A folder with data, and a file that stands for the model that hears tones."""
    (tmp_path / "model.onnx").write_bytes(b"tones")
    monkeypatch.setattr(
        verb,
        "open_spotting",
        lambda path, phrases, within_words: (
            transcriber,
            phrase_decoder(transcriber, phrases, within_words=within_words),
        ),
    )
    tiny.write_data(tmp_path, SAID)
    return tmp_path


def both(place):
    return place / "model.onnx", place / "data"


def test_thresholds_are_tuned_written_and_scored(place) -> None:
    file, output = place / "thresholds.json", place / "scores"
    done = run("keywords", "tune", *both(place), "--keywords", "ab, c, b", "--output", file)
    assert "warning: keyword 'b': does not occur in" in done.err
    tuned = KeywordThresholds.read(file)
    assert set(tuned.thresholds) == {"ab", "c", "b"}
    results = ["--results", place / "results.jsonl", "--model", "tones", "--set", "test"]
    run("keywords", "score", *both(place), "--keywords", "ab, c", "--thresholds", file, "--output", output, *results)
    scored = json.loads((output / "keywords.json").read_text())
    assert scored["all"]["occurrences"] == 8
    assert scored["all"]["missed"] == scored["all"]["false_alarms"] == 0
    assert scored["keywords"]["ab"]["threshold"] == tuned.thresholds["ab"]
    assert len(scored["keywords"]["c"]["trade_off"]) == len(scored["levels"]) == len(LEVELS)
    ET.parse(output / "det.svg")
    rows = [json.loads(line) for line in (place / "results.jsonl").read_text().splitlines()]
    assert [(row["metric"], row["value"]) for row in rows] == [
        ("% missed", 0.0), ("false alarms per hour and keyword", 0.0),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("action", "arguments", "status", "message"),
    [
        ("tune", ["--keywords", "ab", "--false-alarms-per-hour", "-1"], 2, "must be 0 or more"),
        ("score", ["--keywords", "ab", "--thresholds", "nowhere.json"], 1, "nowhere.json: does not exist"),
    ],
)
def test_bad_input_is_refused(place, action, arguments, status, message) -> None:
    told = refusal("keywords", action, *both(place), *arguments, "--output", place / "out", status=status)
    assert message in told


def test_thresholds_of_another_model_are_refused(place) -> None:
    file = place / "thresholds.json"
    KeywordThresholds("0" * 16, "data", 1.0, 1.0, {"ab": 0.5}).write(file)
    options = ("--keywords", "ab", "--thresholds", file, "--output", place / "out")
    assert "is for another model than" in refusal("keywords", "score", *both(place), *options, status=1)


def test_several_folders_count_as_one(transcriber, tmp_path) -> None:
    folders = [tiny.write_data(tmp_path / name, SAID[:2]) for name in ("one", "two")]
    spotter = phrase_decoder(transcriber, parse_keywords("ab"))
    heard = search_directories(transcriber, spotter, folders)
    assert len(heard.utterances) == sum(len(DataDirectory.read(folder).utterances) for folder in folders)
    assert heard.count(0, 0.5) == DetectionCounts(2, 2, 0, heard.hours)
