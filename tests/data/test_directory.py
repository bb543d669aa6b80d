"""Data directories as values."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from recitative.data.directory import DataDirectory, Utterance
from recitative.data.tables import column_fault
from recitative.errors import DataError
from small_corpus import audio_of, make_corpus, make_segmented_corpus, replace_line, snapshot, write_lines


def problems_of(train: Path) -> list[str]:
    with pytest.raises(DataError) as caught:
        DataDirectory.read(train)
    return [str(problem) for problem in caught.value.problems]


def test_utterances_are_whole_recordings_without_segments(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    directory = DataDirectory.read(train)
    assert [u.utt_id for u in directory.utterances] == ["anna-1", "anna-2", "bert-1", "bert-2"]
    assert directory.utterances[0] == Utterance("anna-1", "anna", str(audio_of(train, "anna-1")), text="one two")
    assert list(directory.by_speaker) == ["anna", "bert"]
    assert directory.texts["anna-2"] == "three"
    assert directory.utt2spk["bert-1"] == "bert"


def test_segments_are_parts_of_recordings(tmp_path: Path) -> None:
    train = make_segmented_corpus(tmp_path)
    last = DataDirectory.read(train).utterances[-1]
    assert last == Utterance("bert-2", "bert", str(audio_of(train, "bert")), 0.5, 1.0, "four one", "bert")


@pytest.mark.parametrize("make", [make_corpus, make_segmented_corpus])
def test_writing_what_was_read_gives_the_same_tables_byte_for_byte(tmp_path: Path, make: object) -> None:
    assert callable(make)
    train = make(tmp_path)
    write_lines(train / "spk2gender", ["anna f", "bert m"])
    write_lines(train / "utt2dur", [f"{u} 0.5" for u in ("anna-1", "anna-2", "bert-1", "bert-2")])
    DataDirectory.read(train).write(tmp_path / "copy")
    before, after = snapshot(train), snapshot(tmp_path / "copy")
    before["segments"] = before.get("segments", b"").replace(b".0 ", b" ").replace(b".0\n", b"\n")  # 1.0 is written 1
    after.setdefault("segments", b"")
    assert after == before


def test_text_is_optional_and_extra_blanks_between_words_do_not_count(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    replace_line(train / "text", 1, "anna-1  one \t two ")
    assert DataDirectory.read(train).utterances[0].text == "one two"
    (train / "text").unlink()
    assert DataDirectory.read(train).utterances[0].text is None


def test_a_part_keeps_only_what_belongs_to_it(tmp_path: Path) -> None:
    train = make_segmented_corpus(tmp_path)
    write_lines(train / "spk2gender", ["anna f", "bert m"])
    write_lines(train / "utt2dur", [f"{u} 0.5" for u in ("anna-1", "anna-2", "bert-1", "bert-2")])
    write_lines(train / "reco2dur", ["anna 1.0", "bert 1.0"])
    part = DataDirectory.read(train).where(lambda u: u.utt_id == "bert-2")
    assert part.extras == {"spk2gender": {"bert": "m"}, "utt2dur": {"bert-2": "0.5"}, "reco2dur": {"bert": "1.0"}}
    part.write(tmp_path / "part")
    assert (tmp_path / "part" / "wav.scp").read_text() == f"bert {audio_of(train, 'bert')}\n"


BROKEN = {
    "unknown in text": (
        "text",
        2,
        "anna-9 three",
        ["text:2: utterance 'anna-9' is not in utt2spk", "utt2spk:2: utterance 'anna-2' is not in text"],
    ),
    "unknown in wav.scp": (
        "wav.scp",
        4,
        "bert-9 x.wav",
        ["utt2spk:4: utterance 'bert-2' is not in wav.scp", "wav.scp:4: utterance 'bert-9' is not in utt2spk"],
    ),
    "no prefix": (
        "utt2spk",
        1,
        "anna-1 bert",
        ["utt2spk:1: utterance 'anna-1' does not start with its speaker 'bert'; ids of the form speaker-utterance"],
    ),
    "pipe": (
        "wav.scp",
        1,
        "anna-1 flac -dc a.flac |",
        ["wav.scp:1: recording 'anna-1' is a command ('flac -dc a.flac |'); the path of a file: commands are not run"],
    ),
    "tilde": ("wav.scp", 1, "anna-1 ~/a.wav", ["wav.scp:1: recording 'anna-1' '~/a.wav' starts with '~'"]),
    "no path": ("wav.scp", 1, "anna-1", ["wav.scp:1: recording 'anna-1' has no value; at least two columns"]),
    "three columns": ("utt2spk", 1, "anna-1 anna b", ["utt2spk:1: utterance 'anna-1' 3 columns; two"]),
    "sentence marks": ("text", 1, "anna-1 <s> one </s>", ["text:1: utterance 'anna-1' has '<s>'; words only"]),
    "no-break space": ("text", 1, "anna-1 one\u00a0two", ["text:1: utterance 'anna-1' has the blank U+00A0"]),
    "inverse": ("spk2utt", 1, "anna anna-1", ["spk2utt: is not the inverse of utt2spk"]),
}


@pytest.mark.parametrize("name", BROKEN)
def test_tables_that_make_no_sense_together_are_named(tmp_path: Path, name: str) -> None:
    train = make_corpus(tmp_path)
    table, number, line, expected = BROKEN[name]
    replace_line(train / table, number, line)
    found = problems_of(train)
    for start in expected:
        assert any(problem.startswith(f"{train}/{start}") for problem in found), found
    if name != "three columns":  # which is a speaker that no utterance starts with, too
        assert len(found) == len(expected)


def test_all_problems_are_found_at_once(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    replace_line(train / "text", 2, "anna-9 three")
    replace_line(train / "wav.scp", 1, "anna-1 cat a.wav |")
    (train / "utt2dur").write_text("anna-1 0\nanna-2 1\nbert-1 nan\nbert-2 1\n")
    assert len(problems_of(train)) == 5


def test_speakers_whose_utterances_interleave_are_named_though_all_have_prefixes(tmp_path: Path) -> None:
    train = tmp_path / "train"
    # Byte order puts '-' before '.', so sorting by utterance gives a-b's utterance between the two of a.
    rows = {"a-1": "a", "a-b-1": "a-b", "a-c": "a"}
    write_lines(train / "utt2spk", [f"{u} {s}" for u, s in rows.items()])
    write_lines(train / "wav.scp", [f"{u} {u}.wav" for u in rows])
    assert problems_of(train) == [
        f"{train}/utt2spk:2: utterance 'a-b-1' of speaker 'a-b' stands between utterances of 'a'; ids of the form "
        "speaker-utterance, so that sorting by utterance also sorts by speaker; "
        "give 'a-b' and 'a' ids of the same length"
    ]


@pytest.mark.parametrize(
    ("table", "value", "found"),
    [
        ("segments", "rec 0.5", "3 columns"),
        ("segments", "rec 0.5 1.0 2.0", "5 columns"),
        ("segments", "rec zero 1.0", "'zero 1.0' are not two numbers"),
        ("segments", "rec 1.0 0.5", "start 1.0 and end 0.5"),
        ("segments", "rec 1.0 1.0", "start 1.0 and end 1.0"),
        ("segments", "rec -1.0 1.0", "start -1.0 and end 1.0"),
        ("segments", "rec 0.0 inf", "'0.0 inf' are not two numbers"),
        ("utt2dur", "0.0", "'0.0'"),
        ("utt2num_frames", "1.5", "'1.5'"),
        ("spk2gender", "x", "'x'"),
        ("spk2warp", "1.6", "'1.6'"),
        ("reco2file_and_channel", "rec C", "'rec C'"),
        ("feats.scp", "", "has no value"),
    ],
)
def test_a_value_that_kaldi_refuses_is_a_fault(table: str, value: str, found: str) -> None:
    fault = column_fault(table, value)
    assert fault
    assert fault.found == found
    assert fault.allowed


@pytest.mark.parametrize(
    ("table", "value"),
    [("segments", "rec 0 1.5e1"), ("utt2dur", "1e-2"), ("spk2gender", "f"), ("wav.scp", "a folder/a b.wav")],
)
def test_a_value_that_kaldi_accepts_is_none(table: str, value: str) -> None:
    assert column_fault(table, value) is None


def utterance(utt_id: str, speaker: str, path: str = "a.wav", **others: object) -> Utterance:
    return Utterance(utt_id, speaker, path, **others)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("utterances", "message"),
    [
        ([], "would hold no utterances"),
        ([utterance("1", "a")], "utterance '1' does not start with its speaker 'a'"),
        ([utterance("a-1", "a"), utterance("a-1", "a", "b.wav")], "utterance 'a-1' appears twice"),
        ([utterance("a 1", "a")], "'a 1' has a blank in it"),
        ([utterance("a-1", "a", text="one\ntwo")], r"utterance 'a-1' has the blank U\+000A"),
        ([utterance("a-1", "a", text="one"), utterance("a-2", "a")], "utterance 'a-2' is not in text"),
        (
            [
                utterance("a-1", "a", "a.wav", end_s=1.0, recording_id="r"),
                utterance("a-2", "a", "b.wav", end_s=1.0, recording_id="r"),
            ],
            "recording 'r' has two paths",
        ),
        ([utterance("a-1", "a", end_s=1.0), utterance("a-2", "a")], "utterance 'a-2' is not in segments"),
    ],
)
def test_nothing_is_written_that_could_not_be_read(tmp_path: Path, utterances: list[Utterance], message: str) -> None:
    with pytest.raises(DataError, match=message):
        DataDirectory(tuple(utterances)).write(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"{tmp_path}/nowhere: is not a folder; a data directory")):
        DataDirectory.read(tmp_path / "nowhere")


def test_a_folder_without_tables_names_those_it_needs(tmp_path: Path) -> None:
    assert [problem.split(":")[0] for problem in problems_of(tmp_path)] == [
        f"{tmp_path}/wav.scp",
        f"{tmp_path}/utt2spk",
    ]
