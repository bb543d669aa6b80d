"""Alignment of data directories: times of tones that are known, the files, and what cannot be aligned."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import soundfile
import tiny

from command_line import refusal, run
from recitative.asr.alignment import AlignedUtterance, SpokenWord, align_directory, ctm, jsonl, read_ctm, textgrid
from recitative.asr.decoding import TimedToken
from recitative.asr.network import new_transcriber
from recitative.audio.files import write_wav
from recitative.data.directory import DataDirectory, Utterance
from recitative.errors import DataError
from recitative.model.export import export_checked
from recitative.model.folder import save_model
from recitative.text.tokens import Word

FRAME_S = 0.0025
HEARD = AlignedUtterance(
    "s1-1",
    1.0,
    -3.5,
    (SpokenWord("say", 0.1, 0.42, -0.1054, 0.9, 0), SpokenWord('"a"', 0.42, 0.9, -0.6931, 0.5, 1)),
    (TimedToken("s", 0.1, 0.2, 0.9), TimedToken(" ", 0.4, 0.42, 0.8), TimedToken('"', 0.42, 0.9, 0.7)),
)


def read_rows(output):
    return {row["utt_id"]: row for row in map(json.loads, (output / "alignment.jsonl").read_text().splitlines())}


def tiers_of(content):
    """Praat's file as it is read: numbers and quoted texts in order, whatever stands between."""
    found = re.findall(r'= "((?:[^"]|"")*)"|= ([0-9.]+)', content)
    values = iter([text.replace('""', '"') if not number else float(number) for text, number in found])
    assert [next(values), next(values)] == ["ooTextFile", "TextGrid"]
    span, tiers = (next(values), next(values)), {}
    for _ in range(int(next(values))):
        assert next(values) == "IntervalTier"
        name = next(values)
        assert (next(values), next(values)) == span
        tiers[name] = [(next(values), next(values), next(values)) for _ in range(int(next(values)))]
    assert next(values, None) is None
    return span, tiers


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """One model as a folder and as a file."""
    folder = tmp_path_factory.mktemp("models")
    made = tiny.talker()
    save_model(made, folder / "model")
    export_checked(made, folder / "m.onnx", dev=None, weights="float32")
    return folder


def test_every_letter_is_found_where_its_tone_is(tmp_path):
    texts = ["abc", "a bb", "cab bca b"]
    summary = align_directory(tiny.tone_transcriber(), tiny.write_data(tmp_path, texts), tmp_path / "out")
    assert (summary.utterances, summary.failed) == (3, ())
    assert summary.audio_s == pytest.approx(tiny.LETTER_S * len("".join(texts)))
    for text, row in zip(texts, read_rows(tmp_path / "out").values(), strict=True):
        assert "".join(token["token"] for token in row["tokens"]) == text
        assert [word["word"] for word in row["words"]] == text.split()
        for number, token in enumerate(row["tokens"]):
            assert token["start_s"] == pytest.approx(number * tiny.LETTER_S, abs=3 * FRAME_S)  # a window is two frames
            assert token["end_s"] == pytest.approx((number + 0.7) * tiny.LETTER_S, abs=3 * FRAME_S)
        for match, word in zip(re.finditer(r"\S+", text), row["words"], strict=True):
            letters = row["tokens"][match.start() : match.end()]
            assert (word["start_s"], word["end_s"]) == (letters[0]["start_s"], letters[-1]["end_s"])
            assert word["confidence"] == pytest.approx(np.exp(word["log_prob"]), abs=1e-3)
            assert word["confidence"] > 0.8


def test_the_pronunciation_that_was_said_is_reported(tmp_path, monkeypatch):
    lexicon = {"x": ((2, 3), (4,)), "y": ((2,), (3, 4))}  # 'ab' or 'c'; 'a' or 'bc'
    data = tiny.write_data(tmp_path, ["ab a", "c bc"], ["x y", "x y"])
    monkeypatch.setattr("recitative.asr.alignment.pronounce_with", lambda transcriber: lexicon.get)
    align_directory(tiny.tone_transcriber(), data, tmp_path / "out")
    rows = read_rows(tmp_path / "out")
    assert [word["pronunciation"] for word in rows["s-00"]["words"]] == [0, 0]
    assert [word["pronunciation"] for word in rows["s-01"]["words"]] == [1, 1]


def test_what_is_heard_together_does_not_change_the_times(tmp_path):
    transcriber = new_transcriber(tiny.recognizer(seed=2))
    data = tiny.write_corpus(tmp_path, 20, seed=3)  # more than one batch
    align_directory(transcriber, data, tmp_path / "all")
    together = read_rows(tmp_path / "all")
    assert list(together) == sorted(together)
    for utt_id in ("s0-000", "s1-019"):
        DataDirectory.read(data).where(lambda u, name=utt_id: u.utt_id == name).write(tmp_path / "one")
        align_directory(transcriber, tmp_path / "one", tmp_path / "alone")
        (alone,) = read_rows(tmp_path / "alone").values()
        for name in ("words", "tokens"):
            assert [(item["start_s"], item["end_s"]) for item in alone[name]] == [
                (item["start_s"], item["end_s"]) for item in together[utt_id][name]
            ]


def test_a_ctm_line_has_the_start_and_the_duration():
    assert ctm(HEARD) == 's1-1 1 0.100 0.320 say 0.9000\ns1-1 1 0.420 0.480 "a" 0.5000\n'


def test_an_object_has_all_that_is_known():
    row = json.loads(jsonl(HEARD))
    assert list(row) == ["utt_id", "duration_s", "log_prob", "words", "tokens"]
    assert row["words"][1] == {
        "word": '"a"', "start_s": 0.42, "end_s": 0.9, "log_prob": -0.6931, "confidence": 0.5, "pronunciation": 1
    }  # fmt: skip
    assert row["tokens"][1] == {"token": " ", "start_s": 0.4, "end_s": 0.42, "confidence": 0.8}


def test_a_textgrid_covers_the_utterance_and_doubles_quotation_marks():
    span, tiers = tiers_of(textgrid(HEARD))
    assert span == (0.0, 1.0)
    assert tiers == {
        "words": [(0.0, 0.1, ""), (0.1, 0.42, "say"), (0.42, 0.9, '"a"'), (0.9, 1.0, "")],
        "tokens": [
            (0.0, 0.1, ""), (0.1, 0.2, "s"), (0.2, 0.4, ""), (0.4, 0.42, "<space>"), (0.42, 0.9, '"'), (0.9, 1.0, ""),
        ],
    }  # fmt: skip
    assert textgrid(HEARD).splitlines()[:16] == [
        'File type = "ooTextFile"',
        'Object class = "TextGrid"',
        "",
        "xmin = 0",
        "xmax = 1.0",
        "tiers? <exists>",
        "size = 2",
        "item []:",
        "    item [1]:",
        '        class = "IntervalTier"',
        '        name = "words"',
        "        xmin = 0",
        "        xmax = 1.0",
        "        intervals: size = 4",
        "        intervals [1]:",
        "            xmin = 0.0",
    ]


def test_a_textgrid_ends_with_frames_that_reach_beyond_the_audio():
    late = AlignedUtterance("u", 0.75, -1.0, (), (TimedToken("a", 0.7, 0.8, 1.0),))
    span, tiers = tiers_of(textgrid(late))
    assert span == (0.0, 0.8)
    assert tiers == {"words": [(0.0, 0.8, "")], "tokens": [(0.0, 0.7, ""), (0.7, 0.8, "a")]}


def test_a_folder_and_a_file_give_the_same_three_files(models, tmp_path):
    data = tiny.write_data(tmp_path, ["cab bca", "ab"])
    for name in ("model", "m.onnx"):
        done = run("align", models / name, data, "--output", tmp_path / name)
        assert re.match(rf"{tmp_path / name}: 2 utterances, 1 s of audio in ", done.out)
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == [
            "alignment.jsonl", "s-00.TextGrid", "s-01.TextGrid", "words.ctm",
        ]  # fmt: skip
    for name in ("s-00.TextGrid", "s-01.TextGrid"):
        assert (tmp_path / "model" / name).read_text() == (tmp_path / "m.onnx" / name).read_text()
    assert [line.split()[4] for line in (tmp_path / "model" / "words.ctm").read_text().splitlines()] == [
        "cab", "bca", "ab",
    ]  # fmt: skip


def test_only_the_formats_that_are_asked_for_are_written(models, tmp_path):
    data = tiny.write_data(tmp_path, ["cab"])
    run("align", models / "m.onnx", data, "--output", tmp_path / "out", "--format", "ctm", "--format", "json")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["alignment.jsonl", "words.ctm"]


def test_what_cannot_be_aligned_is_named_and_the_rest_is_done(models, tmp_path):
    said = ["ab", "ab", "a", "ab", "ab", "ab"]
    data = tiny.write_data(tmp_path, said, ["ab", "ab é", "abc cba abc", "", "ab", "ab"])
    soundfile.write(tmp_path / "wav" / "s-04.wav", np.zeros(800), 8000)
    (tmp_path / "wav" / "s-05.wav").write_bytes(b"RIFF")
    out = tmp_path / "out"
    out.mkdir()
    (out / "s-01.TextGrid").write_text("of an earlier text")
    done = run("align", models / "m.onnx", data, "--output", out, status=1)
    assert done.out.startswith(f"{out}: 1 utterance,")
    starts = [
        "error: utterance 's-01', text 'é': 'é' not in the token table; its characters only; ",
        "error: utterance 's-02': 9 frames; at least 11 for these labels; correct the text or the segment",
        "error: utterance 's-03': has no text; at least one word; transcribe it, or leave it out",
        f"error: {tmp_path}/wav/s-04.wav: utterance 's-04': 8000 Hz; 4000 Hz (features.sample_rate); ",
        f"error: utterance 's-05', {tmp_path}/wav/s-05.wav: is not audio",
        "5 of 6 utterances could not be aligned",
    ]
    for line, start in zip(done.err.splitlines(), starts, strict=True):
        assert line.startswith(start)
    assert (out / "failed").read_text().splitlines() == [
        line.removeprefix("error: ") for line in done.err.splitlines()[:5]
    ]
    assert list(read_rows(out)) == ["s-00"]
    assert [path.name for path in out.glob("*.TextGrid")] == ["s-00.TextGrid"]


def test_a_list_of_failures_goes_when_they_are_mended(tmp_path):
    transcriber = tiny.tone_transcriber()
    summary = align_directory(transcriber, tiny.write_data(tmp_path, ["ab"], ["x"]), tmp_path / "out")
    assert (summary.utterances, len(summary.failed)) == (0, 1)
    assert (tmp_path / "out" / "failed").exists()
    align_directory(transcriber, tiny.write_data(tmp_path, ["ab"]), tmp_path / "out")
    assert not (tmp_path / "out" / "failed").exists()


def test_a_word_without_pronunciation_is_named(tmp_path, monkeypatch):
    data = tiny.write_data(tmp_path, ["ab"])
    monkeypatch.setattr("recitative.asr.alignment.pronounce_with", lambda transcriber: lambda word: ())
    summary = align_directory(tiny.tone_transcriber(), data, tmp_path / "out")
    (problem,) = summary.failed
    assert str(problem) == "utterance 's-00', word 'ab': has no pronunciation; add it to the lexicon"


def test_an_id_that_names_no_file_is_refused_for_textgrids_only(tmp_path):
    write_wav(tmp_path / "a.wav", tiny.speak("ab", np.random.default_rng(1)), tiny.RATE)
    DataDirectory((Utterance("../a", "../a", str(tmp_path / "a.wav"), text="ab"),)).write(tmp_path / "data")
    summary = align_directory(tiny.tone_transcriber(), tmp_path / "data", tmp_path / "out")
    assert str(summary.failed[0]).startswith("utterance '../a': its id has a '/'")
    assert (
        align_directory(tiny.tone_transcriber(), tmp_path / "data", tmp_path / "out", formats=["ctm"]).utterances == 1
    )
    assert (tmp_path / "out" / "words.ctm").read_text().startswith("../a 1 0.0")


def test_an_unknown_model_and_an_unknown_format_are_refused(models, tmp_path):
    data = tiny.write_data(tmp_path, ["ab"])
    told = refusal("align", "french", data, "--output", tmp_path / "out", status=1)
    assert told.startswith("error: french: is no model")
    told = refusal("align", models / "m.onnx", data, "--output", tmp_path / "out", "--format", "praat")
    assert told == "error: --format praat: is no format; choose from ctm, textgrid, json"
    assert not (tmp_path / "out").exists()


# Words with times, as 'recitative align' writes them.


def test_words_are_in_the_order_of_their_times_and_sure_where_nothing_is_said_of_it(tmp_path):
    (tmp_path / "words.ctm").write_text("s 1 0.5 0.25 two\ns 1 0.0 0.5 one 0.75\nt 1 1 1 three 0.5\n")
    found = read_ctm(tmp_path / "words.ctm")
    assert found == {
        "s": [Word("one", 0.0, 0.5, 0.75), Word("two", 0.5, 0.75, 1.0)],
        "t": [Word("three", 1.0, 2.0, 0.5)],
    }


def test_every_line_that_is_no_word_is_named(tmp_path):
    (tmp_path / "words.ctm").write_text("s 1 0.05 0.15 one 0.9\ns 1 soon\ns 1 x 0.1 two\n")
    with pytest.raises(DataError, match=r"words\.ctm:2: 's 1 soon' is no word with its time; utterance") as raised:
        read_ctm(tmp_path / "words.ctm")
    assert [problem.where for problem in raised.value.problems] == [f"{tmp_path}/words.ctm:{line}" for line in (2, 3)]
