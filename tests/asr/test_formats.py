"""Each format against what a person would write down."""

from __future__ import annotations

import json

import pytest

from recitative.asr.transcript import FORMATS, Segment, Transcript
from recitative.cli.options import output_names, recording_ids
from recitative.text.tokens import Word


def transcript(words, duration_s):
    return Transcript((Segment(0.0, duration_s, tuple(words)),), duration_s, model="m.onnx")


TWO = transcript([Word("hello", 0.09, 0.5, 0.98), Word("wörld", 3661.2, 3662.0, 0.5)], 3663.0)


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("text", "a b/c.wav\thello wörld\n"),
        ("kaldi", "c hello wörld\n"),
        ("ctm", "c 1 0.09 0.41 hello 0.98\nc 1 3661.20 0.80 wörld 0.50\n"),
        ("tsv", "a b/c.wav\t0.090\t0.500\thello\t0.980\na b/c.wav\t3661.200\t3662.000\twörld\t0.500\n"),
        (
            "srt",
            "1\n00:00:00,090 --> 00:00:01,090\nhello\n\n2\n01:01:01,200 --> 01:01:02,200\nwörld\n",
        ),
        ("vtt", "00:00:00.090 --> 00:00:01.090\nhello\n\n01:01:01.200 --> 01:01:02.200\nwörld\n"),
    ],
)
def test_two_words(name, written):
    form = FORMATS[name]
    assert form.write("c" if form.by_id else "a b/c.wav", TWO) == written


def test_json_holds_words_with_times():
    expected = {
        "schema": 1,
        "model": "m.onnx",
        "file": "c.wav",
        "duration": 3663.0,
        "text": "hello wörld",
        "words": [
            {"word": "hello", "start": 0.09, "end": 0.5, "confidence": 0.98},
            {"word": "wörld", "start": 3661.2, "end": 3662.0, "confidence": 0.5},
        ],
        "segments": [{"start": 0.0, "end": 3663.0, "text": "hello wörld", "whole": True}],
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


def test_a_name_that_is_not_utf8_is_valid_json():
    name = b"caf\xe9.wav".decode("utf-8", "surrogateescape")
    line = FORMATS["jsonl"].write(name, TWO)
    assert json.loads(line.encode("utf-8"))["file"] == name
    assert "wörld" in line


@pytest.mark.parametrize(
    ("files", "ids"),
    [
        (["my talks/first talk.flac", "-"], ["first_talk", "stdin"]),
        (["a/x.wav", "b/x.wav", "b/y.wav"], ["a-x", "b-x", "y"]),
        (["a/x.wav", "a/x.flac", "a/X.ogg"], ["x.wav", "x.flac", "X.ogg"]),
        (["a/x.wav", "a/x.flac", "a/y.ogg"], ["x.wav", "x.flac", "y"]),
        (["a/x y.wav", "a/x_y.wav"], ["x_y.wav-1", "x_y.wav-2"]),
        (["a/x.wav", "b/x.wav", "c/a-x.wav"], ["a-x.wav", "b-x", "a-x"]),
        (["stdin.wav", "-"], ["stdin.wav", "stdin"]),
    ],
)
def test_ids_are_short_without_white_space_and_never_alike(files, ids):
    found = recording_ids(files)
    assert [found[file] for file in files] == ids


@pytest.mark.parametrize(
    ("inputs", "files", "names"),
    [
        (["a/x.wav", "b/y.wav", "-"], None, ["x", "y", "stdin"]),
        (["a/x.wav", "b/x.wav", "b/y.wav"], None, ["a/x", "b/x", "y"]),
        (["a/x.wav", "a/x.flac"], None, ["x.wav", "x.flac"]),
        (["talks"], ["talks/x.wav", "talks/deep/x.wav"], ["x", "deep/x"]),
        (["talks/**/*.wav"], ["talks/deep/x.wav", "talks/y.wav"], ["deep/x", "y"]),
        (["one", "two"], ["one/x.wav", "two/x.wav", "two/y.wav"], ["one/x", "two/x", "y"]),
        (["../x.wav"], None, ["x"]),
    ],
)
def test_results_in_a_folder_keep_the_folders_of_their_recordings(inputs, files, names, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("talks", "one", "two"):
        (tmp_path / folder).mkdir()
    found = output_names(files or inputs, inputs)
    assert [found[file] for file in files or inputs] == names
