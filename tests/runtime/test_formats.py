"""Each format against what a person would write down."""

from __future__ import annotations

import json

import pytest

from recitative.runtime.formats import FORMATS, cues, utt_id_of
from recitative.runtime.recognizer import Transcript
from recitative.text.words import Word

TWO = Transcript((Word("hello", 0.09, 0.5, 0.98), Word("wörld", 3661.2, 3662.0, 0.5)), 3663.0)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("text", "a b/c.wav\thello wörld\n"),
        ("kaldi", "c hello wörld\n"),
        ("ctm", "c 1 0.09 0.41 hello 0.98\nc 1 3661.20 0.80 wörld 0.50\n"),
        ("tsv", "a b/c.wav\t0.090\t0.500\thello\t0.980\na b/c.wav\t3661.200\t3662.000\twörld\t0.500\n"),
        (
            "srt",
            "1\n00:00:00,090 --> 00:00:00,500\nhello\n\n2\n01:01:01,200 --> 01:01:02,000\nwörld\n",
        ),
        ("vtt", "00:00:00.090 --> 00:00:00.500\nhello\n\n01:01:01.200 --> 01:01:02.000\nwörld\n"),
    ],
)
def test_two_words(name, written):
    assert FORMATS[name].write("a b/c.wav", TWO) == written


def test_json_holds_words_with_times():
    expected = {
        "file": "c.wav",
        "duration": 3663.0,
        "text": "hello wörld",
        "words": [
            {"word": "hello", "start": 0.09, "end": 0.5, "confidence": 0.98},
            {"word": "wörld", "start": 3661.2, "end": 3662.0, "confidence": 0.5},
        ],
    }
    line = FORMATS["jsonl"].write("c.wav", TWO)
    assert json.loads(line) == expected
    assert line.count("\n") == 1
    assert "wörld" in line
    assert json.loads(FORMATS["json"].file_content("c.wav", TWO)) == expected


def test_files_of_their_own_have_heads_and_plain_text():
    assert FORMATS["vtt"].file_content("c.wav", TWO).startswith("WEBVTT\n\n00:00:00.090")
    assert FORMATS["text"].file_content("c.wav", TWO) == "hello wörld\n"
    assert FORMATS["tsv"].file_content("c.wav", TWO).startswith("file\tstart\tend\tword\tconfidence\nc.wav\t0.090")


@pytest.mark.parametrize("name", list(FORMATS))
def test_nothing_said_is_no_error(name):
    assert isinstance(FORMATS[name].file_content("c.wav", Transcript((), 1.0)), str)


def words(count, length_s=0.3, gap_s=0.0, letters=4):
    return [Word("x" * letters, i * (length_s + gap_s), i * (length_s + gap_s) + length_s, 1.0) for i in range(count)]


def test_cues_end_at_pauses_after_six_seconds_and_when_two_lines_are_full():
    assert [len(cue) for cue in cues(words(3, gap_s=0.8))] == [1, 1, 1]
    assert [len(cue) for cue in cues(words(25, letters=1))] == [20, 5]
    assert [len(cue) for cue in cues(words(10, length_s=0.1, letters=20))] == [4, 4, 2]


def test_long_cues_break_in_the_middle():
    lines = FORMATS["srt"].write("a", Transcript(tuple(words(12, length_s=0.2, letters=5)), 9.0)).split("\n")[2:4]
    assert [len(line) for line in lines] == [35, 35]


def test_an_id_has_no_white_space():
    assert utt_id_of("my talks/first talk.flac") == "first_talk"
    assert utt_id_of("-") == "stdin"
