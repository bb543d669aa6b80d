"""Alternatives and words that fit nothing: in JSON, live and on the command line."""

import dataclasses
import json

import numpy as np
import pytest
import tiny

from command_line import refusal, run
from recitative.asr.decoding import Alternative
from recitative.asr.transcript import FORMATS, Final, Segment, Transcript, as_object
from recitative.audio.files import write_wav
from recitative.cli.recognize import warn_of_broken
from recitative.model.export import export_checked
from recitative.text.tokens import Word

TWO = Alternative("yes", "y e s", -1.25, -1.0, 0.75), Alternative("yet", "y e t", -2.5, -2.25, 0.25)
YES, NO = Word("yes", 0.0, 0.5, 0.75), Word("nö", 2.1, 2.4, 0.5)


SEGMENTS = (
    Segment(0.0, 2.0, (YES,), TWO),
    Segment(2.0, 3.0, (NO,), (Alternative("nö", "n ö", -0.5, -0.5, 1.0),)),
)
TRANSCRIPT = Transcript(SEGMENTS, 3.0, model="m.onnx")


def test_json_lists_the_alternatives_of_every_segment():
    expected = [
        {
            "start": 0.0,
            "end": 2.0,
            "text": "yes",
            "whole": True,
            "nbest": [
                {"text": "yes", "score": -1.25, "posterior": 0.75},
                {"text": "yet", "score": -2.5, "posterior": 0.25},
            ],
        },
        {"start": 2.0, "end": 3.0, "text": "nö", "whole": True},
    ]
    line = FORMATS["jsonl"].write("a.wav", TRANSCRIPT)
    assert line.count("\n") == 1
    for written in (line, FORMATS["json"].file_content("a.wav", TRANSCRIPT)):
        assert json.loads(written)["segments"] == expected
    keys = ["schema", "model", "file", "duration", "text", "words", "segments"]
    assert list(as_object("a.wav", TRANSCRIPT)) == keys
    assert as_object("a.wav", TRANSCRIPT)["model"] == "m.onnx"
    assert Final(3, SEGMENTS).to_dict()["segments"] == expected


BROKEN = Segment(2.0, 3.04, (NO,), whole=False)
SILENT = Segment(3.04, 4.0, ())


def test_a_segment_is_silent_if_nothing_in_it_can_be_told():
    assert SILENT.is_silent
    assert not BROKEN.is_silent
    assert not dataclasses.replace(SILENT, whole=False).is_silent
    assert not dataclasses.replace(SILENT, alternatives=TWO).is_silent


def test_segments_that_fit_nothing_are_known(capsys):
    assert TRANSCRIPT.broken == ()
    warn_of_broken("a.wav", TRANSCRIPT)
    assert capsys.readouterr().err == ""
    some = dataclasses.replace(TRANSCRIPT, segments=(SEGMENTS[0], BROKEN))
    assert some.broken == (BROKEN,)
    warn_of_broken("a.wav", some)
    expected = "warning: a.wav: at 2.0 to 3.0 s nothing whole fits the lexicon or grammar\n"
    assert capsys.readouterr().err == expected
    warn_of_broken("a.wav", dataclasses.replace(TRANSCRIPT, segments=(BROKEN, SEGMENTS[0], BROKEN, BROKEN)))
    assert "at 2.0 to 3.0 s and 2 more nothing whole" in capsys.readouterr().err


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A model that talks, a recording, and ways to decode it."""
    folder = tmp_path_factory.mktemp("alternatives")
    export_checked(tiny.talker(), folder / "m.onnx", dev=None, weights="float32")
    write_wav(folder / "a.wav", tiny.speak("cab bca b", np.random.default_rng(3)), tiny.RATE)
    (folder / "grammar").write_text("abcabc cba abcabc cba abcabc\n")
    (folder / "lm.arpa").write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n0\t<s>\n-1\t</s>\n-1\ta\n\n\\end\\\n")
    return folder


def transcribe(place, *options):
    return run("transcribe", place / "a.wav", "--model", place / "m.onnx", "--jobs", 1, *options)


def test_the_command_writes_as_many_alternatives_as_asked_for(place):
    for form in ("json", "jsonl"):
        written = transcribe(place, "--format", form, "--nbest", 3).json
        [transcript] = written if form == "json" else [written]
        assert [len(part["nbest"]) for part in transcript["segments"]] == [3]
        assert transcript["segments"][0]["nbest"][0]["text"] == transcript["text"]
    assert "nbest" not in transcribe(place, "--format", "jsonl").out


@pytest.mark.parametrize("form", ["text", "srt", "vtt", "ctm", "tsv", "kaldi"])
def test_formats_without_a_place_for_alternatives_refuse_them(place, form):
    told = refusal("transcribe", place / "a.wav", "--model", place / "m.onnx", "--format", form, "--nbest", 3)
    assert told == "error: --nbest 3: requires --format json or jsonl"


def test_a_grammar_and_a_language_model_are_refused_but_not_a_grammar_without_one(place):
    for verb in (("transcribe", place / "a.wav"), ("listen", "--input", place / "a.wav")):
        told = refusal(*verb, "--model", place / "m.onnx", "--grammar", place / "grammar", "--lm", place / "lm.arpa")
        assert told == "error: --grammar and --lm: a grammar replaces the language model; give one of them"
    transcribe(place, "--grammar", place / "grammar", "--lm", "none")


def test_what_fits_no_sentence_of_the_grammar_is_told(place):
    done = transcribe(place, "--grammar", place / "grammar", "--beam", 1)
    assert done.err.startswith(f"warning: {place}/a.wav: at 0.0 to ")
    assert "nothing whole fits the lexicon or grammar" in done.err
    assert "warning" not in transcribe(place).err


def test_live_lines_have_the_alternatives_too(place):
    rules = ("--silence-s", 100, "--empty-silence-s", 100, "--longest-s", 100)
    listen = ("listen", "--model", place / "m.onnx", "--input", place / "a.wav", "--format", "jsonl", "--nbest", 2)
    *partials, heard = map(json.loads, run(*listen, *rules).lines)
    assert partials
    assert {event["type"] for event in partials} == {"partial"}
    assert (heard["type"], heard["utterance"], heard["model"]) == ("final", 1, "m.onnx")
    whole = transcribe(place, "--format", "jsonl", "--nbest", 2).json
    assert heard["text"] == whole["text"]
    assert [[one["text"] for one in part["nbest"]] for part in heard["segments"]] == [
        [one["text"] for one in part["nbest"]] for part in whole["segments"]
    ]


def test_live_text_has_no_place_for_alternatives(place):
    told = refusal("listen", "--model", place / "m.onnx", "--input", place / "a.wav", "--nbest", 2)
    assert told == "error: --nbest 2: requires --format jsonl"
