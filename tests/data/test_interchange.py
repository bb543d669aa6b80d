"""Data directories in the forms of other programs, there and back, and files as those programs write them."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import pytest

from recitative.data.annotations import (
    Form,
    Tier,
    eaf,
    export_directory,
    is_labels,
    read_eaf,
    read_stm,
    read_textgrid,
    read_trn,
    textgrid,
)
from recitative.data.directory import DataDirectory
from recitative.data.importing import ImportOptions, import_corpus, read_source
from recitative.data.shards import write_shards
from recitative.errors import DataError
from small_corpus import make_corpus, make_segmented_corpus, noise, write_audio, write_lines

SCLITE = shutil.which("sclite") or shutil.which("sclite", path="/usr/lib/sctk/bin")  # where Debian has it
Spoken = tuple[str, str, float, float]  # speaker, text, start and end in seconds


def spoken(data: DataDirectory) -> list[Spoken]:
    return sorted((u.speaker, str(u.text), u.start_s, 1.0 if u.end_s is None else u.end_s) for u in data.utterances)


def imported(
    folder: Path, source: Path, table: Path | None = None, tiers: Sequence[str] = (), **options: bool
) -> DataDirectory:
    found = read_source(source, table, tiers=tiers, unpacked=folder / "recordings")
    import_corpus(found, folder, ImportOptions(rules=None, **options))
    return DataDirectory.read(folder)


SEGMENTS = [
    ("anna", "one two", 0.0, 0.5),
    ("anna", "three", 0.5, 1.0),
    ("bert", "four one", 0.5, 1.0),
    ("bert", "two", 0.0, 0.5),
]
WITH_TABLE = {"stm": "ref.stm", "textgrid": "", "eaf": ""}  # form -> its file below the exported folder; '': the folder
ALONE = {"lhotse": "", "nemo": "manifest.json"}


@pytest.mark.parametrize("form", [*ALONE, *WITH_TABLE])
def test_segments_of_two_speakers_survive_the_way_there_and_back(form: str, tmp_path: Path) -> None:
    data = DataDirectory.read(make_segmented_corpus(tmp_path / "in"))
    export_directory(data, tmp_path / "out", form)
    there = tmp_path / "out" / (ALONE | WITH_TABLE)[form]
    if form in ALONE:
        back = imported(tmp_path / "back", there)
    else:
        (tmp_path / "audio").mkdir()
        for name in ("anna", "bert"):
            shutil.copy(tmp_path / "in" / "audio" / f"{name}.wav", tmp_path / "audio")
        back = imported(tmp_path / "back", tmp_path / "audio", there, ["all"] if form == "textgrid" else ())
    assert spoken(back) == sorted(SEGMENTS)


@pytest.mark.parametrize("form", ["audiofolder", "parquet"])
@pytest.mark.parametrize("make", [make_corpus, make_segmented_corpus])
def test_datasets_of_hugging_face_hold_the_audio_itself(make, form: str, tmp_path: Path) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is an optional package")
    data = DataDirectory.read(make(tmp_path / "in"))
    export_directory(data, tmp_path / "out", form)
    shutil.rmtree(tmp_path / "in")
    back = imported(tmp_path / "back", tmp_path / "out")
    assert [(u.utt_id, u.speaker, u.text) for u in back.utterances] == [
        (u.utt_id, u.speaker, u.text) for u in data.utterances
    ]
    assert all(Path(u.recording_path).is_file() for u in back.utterances)


def test_label_tracks_of_audacity_have_times_and_no_speakers(tmp_path: Path) -> None:
    data = DataDirectory.read(make_segmented_corpus(tmp_path / "in"))
    export_directory(data, tmp_path / "out", "audacity")
    assert (tmp_path / "out" / "anna.txt").read_text() == "0.000000\t0.500000\tone two\n0.500000\t1.000000\tthree\n"
    for name in ("anna", "bert"):
        shutil.copy(tmp_path / "in" / "audio" / f"{name}.wav", tmp_path / "out")
    back = imported(tmp_path / "back", tmp_path / "out", speaker_per_file=True)
    assert spoken(back) == sorted(SEGMENTS)


def test_references_of_sclite_name_recordings_and_speakers(tmp_path: Path) -> None:
    data = DataDirectory.read(make_corpus(tmp_path / "in"))
    export_directory(data, tmp_path / "out", "trn")
    assert (tmp_path / "out" / "ref.trn").read_text().splitlines()[0] == "one two (anna-1)"
    back = imported(tmp_path / "back", tmp_path / "in" / "audio", tmp_path / "out" / "ref.trn")
    assert [(u.utt_id, u.speaker, u.text) for u in back.utterances] == [
        (u.utt_id, u.speaker, u.text) for u in data.utterances
    ]


@pytest.mark.parametrize("form", ["stm", "trn"])
def test_references_of_sclite_are_read_again_with_any_words_and_names(form: str, tmp_path: Path) -> None:
    """Imported ids differ from the files' names, and sclite takes a word in angle brackets for a label."""
    texts = {"an na_1.wav": "one", "an na_2.wav": "<unk> two", "bert_1.wav": "(uh) three", "bert_2.wav": "<unk>"}
    (tmp_path / "audio").mkdir()
    for name in texts:
        write_audio(tmp_path / "audio" / name, noise(1.0))
    (tmp_path / "texts.csv").write_text("path,text\n" + "".join(f"{name},{text}\n" for name, text in texts.items()))
    made = imported(tmp_path / "data", tmp_path / "audio", tmp_path / "texts.csv")
    export_directory(made, tmp_path / "out", form)
    back = imported(tmp_path / "back", tmp_path / "audio", tmp_path / "out" / f"ref.{form}")
    assert [(u.speaker, u.text) for u in back.utterances] == [(u.speaker, u.text) for u in made.utterances]


@pytest.mark.skipif(not SCLITE, reason="sclite is not installed (Debian: sctk)")
@pytest.mark.parametrize("form", ["stm", "trn"])
def test_sclite_reads_all_words_of_its_references(form: str, tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "in")
    ids = [line.split()[0] for line in (corpus / "text").read_text().splitlines()]
    write_lines(corpus / "text", [f"{one} <unk> zwei größer" for one in ids])
    export_directory(DataDirectory.read(corpus), tmp_path / "out", form)
    words = [f"{one} 1 {0.1 * i:.1f} 0.1 {word}" for one in ids for i, word in enumerate(("<unk>", "zwei", "größer"))]
    write_lines(tmp_path / "hyp.ctm", words)
    hyp = [tmp_path / "out" / "ref.trn", "trn"] if form == "trn" else [tmp_path / "hyp.ctm", "ctm"]
    command = [SCLITE, "-r", tmp_path / "out" / f"ref.{form}", form, "-h", *hyp, "-i", "spu_id", "-o", "sum", "stdout"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    total = next(line for line in said.splitlines() if "Sum/Avg" in line)
    assert total.split("|")[2].split() == [str(len(ids)), str(3 * len(ids))]
    assert total.split("|")[3].split()[:5] == ["100.0", "0.0", "0.0", "0.0", "0.0"]


def test_shards_are_exported_with_their_audio_and_to_no_form_of_paths(tmp_path: Path) -> None:
    write_shards(DataDirectory.read(make_corpus(tmp_path / "in")), tmp_path / "shards")
    data = DataDirectory.read(tmp_path / "shards")
    assert export_directory(data, tmp_path / "out", "audiofolder") == 5
    with pytest.raises(DataError, match=r"is in a shard; recordings as files; use --format audiofolder"):
        export_directory(data, tmp_path / "manifests", "lhotse")


def test_what_has_no_transcript_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "in")
    (corpus / "text").unlink()
    for form in get_args(Form):
        with pytest.raises(DataError, match=r"utterance 'anna-1': has no transcript"):
            export_directory(DataDirectory.read(corpus), tmp_path / "out", form)
    assert not (tmp_path / "out").exists()


def test_overlapping_utterances_of_a_speaker_fit_no_tier(tmp_path: Path) -> None:
    corpus = make_segmented_corpus(tmp_path / "in")
    write_lines(
        corpus / "segments",
        ["anna-1 anna 0.0 0.6", "anna-2 anna 0.5 1.0", "bert-1 bert 0.0 0.5", "bert-2 bert 0.5 1.0"],
    )
    with pytest.raises(DataError, match=r"recording 'anna', speaker 'anna': has two utterances at 0.500 s"):
        export_directory(DataDirectory.read(corpus), tmp_path / "out", "textgrid")


# Files as other programs write them

TIERS = [Tier("Anna's", ((0.25, 0.5, 'a "b" <c> & é'),), "Anna"), Tier("notes", ((0.0, 1.0, "x"),), "Ben")]


def test_elan_and_praat_keep_quotes_and_signs(tmp_path: Path) -> None:
    (tmp_path / "a.eaf").write_text(eaf(TIERS, "/audio/a b.wav"), encoding="utf-8")
    assert read_eaf(tmp_path / "a.eaf") == TIERS
    (tmp_path / "a.TextGrid").write_text(textgrid(TIERS, 1.0), encoding="utf-8")
    assert [(tier.name, tier.spans) for tier in read_textgrid(tmp_path / "a.TextGrid")] == [
        (tier.name, tier.spans) for tier in TIERS
    ]


SHORT = '''File type = "ooTextFile"
Object class = "TextGrid"

0
1.5
<exists>
2
"IntervalTier"
"say"
0
1.5
2
0
0.75
"hello ""you"""
0.75
1.5
""
"TextTier"
"bell"
0
1.5
1
0.5
"ding"
'''


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_the_short_form_of_praat_is_read_and_points_are_skipped(encoding: str, tmp_path: Path) -> None:
    (tmp_path / "a.TextGrid").write_text(SHORT, encoding=encoding)
    assert read_textgrid(tmp_path / "a.TextGrid") == [Tier("say", ((0.0, 0.75, 'hello "you"'),))]


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("a.TextGrid", SHORT[:150], "is not a whole TextGrid"),
        ("a.TextGrid", "hello", "is not a whole TextGrid"),
        ("a.eaf", "<ANNOTATION_DOCUMENT>", "is not an ELAN document"),
        ("a.eaf", "<html></html>", "is not an ELAN document"),
        ("a.eaf", '<!DOCTYPE x [<!ENTITY a "b">]><ANNOTATION_DOCUMENT/>', "is not an ELAN document"),
        ("a.txt", "0.1\t0.2\t \n", "has no annotation with text"),
    ],
)
def test_damaged_annotations_are_named(name: str, content: str, found: str, tmp_path: Path) -> None:
    write_audio(tmp_path / "in" / "a.wav", noise(1.5))
    (tmp_path / "in" / name).write_text(content)
    (problem,) = read_source(tmp_path / "in").bad
    assert (problem.where, problem.found) == (str(tmp_path / "in" / name), found)


def test_the_tier_must_be_chosen_if_there_are_several(tmp_path: Path) -> None:
    write_audio(tmp_path / "in" / "a.wav", noise(1.0))
    tiers = [Tier("words", ((0.0, 0.5, "one"), (0.5, 1.0, "two"))), Tier("ben", ((0.0, 1.0, "one two"),))]
    (tmp_path / "in" / "a.TextGrid").write_text(textgrid(tiers, 1.0))
    assert [problem.found for problem in read_source(tmp_path / "in").bad] == ["has several tiers (words, ben)"]
    (unknown,) = read_source(tmp_path / "in", tiers=["Words"]).bad
    assert (unknown.found, unknown.allowed) == ("has the tiers words, ben", "one of Words")
    assert [u.text for u in imported(tmp_path / "data", tmp_path / "in", tiers=["ben"]).utterances] == ["one two"]


def test_lines_of_labels_are_told_from_transcripts() -> None:
    assert is_labels("0.5\t1.25\thello\n\\\t100\t200\n1,5\t2,25\t\n")
    for text in ("", "one two", "0.5 1.25 hello", "0.5\t1.25\thello\nand on"):
        assert not is_labels(text)


def test_stm_files_have_comments_labels_channels_and_parts_that_are_not_scored(tmp_path: Path) -> None:
    lines = [
        ";; a comment",
        "talk A anna 0.0 0.4 <o,f0,female> one two",
        "talk B bert 0.1 0.5 three",
        "talk A anna 0.4 0.5 IGNORE_TIME_SEGMENT_IN_SCORING",
        "talk A inter_segment_gap 0.5 0.6 <o,,>",
        "talk A anna x 0.6 four",
    ]
    write_lines(tmp_path / "ref.stm", lines)
    segments, problems, left_out = read_stm(tmp_path / "ref.stm")
    assert [(one.channel, one.speaker, one.start_s, one.end_s, one.text) for one in segments] == [
        ("A", "anna", 0.0, 0.4, "one two"),
        ("B", "bert", 0.1, 0.5, "three"),
    ]
    assert left_out == 2
    assert [str(problem) for problem in problems] == [
        f"{tmp_path}/ref.stm:6: 'talk A anna x 0.6 four' is no segment; file channel speaker start end text; correct it"
    ]


def test_ids_of_trn_files_stand_in_the_last_parentheses(tmp_path: Path) -> None:
    write_lines(tmp_path / "hyp.trn", ["one (two) three (a-1)", "(a_2)", "no id", "again (a-1)"])
    lines, problems = read_trn(tmp_path / "hyp.trn")
    assert {utt_id: text for utt_id, (_, text) in lines.items()} == {"a-1": "one (two) three", "a_2": ""}
    again = f"has the id 'a-1' again, first in {tmp_path}/hyp.trn:1"
    assert [problem.found for problem in problems] == ["'no id' has no id", again]


def test_a_table_of_metadata_is_found_in_an_audiofolder(tmp_path: Path) -> None:
    write_audio(tmp_path / "in" / "audio" / "a.wav", noise())
    write_lines(tmp_path / "in" / "metadata.jsonl", ['{"file_name": "audio/a.wav", "transcription": "one two"}'])
    assert [u.text for u in imported(tmp_path / "data", tmp_path / "in").utterances] == ["one two"]


ROWS: list[Mapping[str, object]] = [
    {"id": "1", "speaker": "anna", "text": "one", "audio": {"bytes": b"", "path": "a.wav"}},
    {"id": "2", "speaker": "anna", "text": "two", "audio": {"bytes": b"", "path": "a.wav"}},
]


def test_recordings_of_one_name_in_a_parquet_file_do_not_replace_each_other(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is an optional package")
    from recitative.data.manifests import write_parquet

    for number, row in enumerate(ROWS):
        write_audio(tmp_path / f"{number}.wav", noise(seed=number))
        row["audio"]["bytes"] = (tmp_path / f"{number}.wav").read_bytes()
    write_parquet(tmp_path / "in" / "train-00000.parquet", ROWS)
    data = imported(tmp_path / "data", tmp_path / "in")
    found = {u.text: Path(u.recording_path).read_bytes() for u in data.utterances}
    assert found == {"one": ROWS[0]["audio"]["bytes"], "two": ROWS[1]["audio"]["bytes"]}
    (tmp_path / "in" / "test-00000.parquet").write_bytes(b"PAR1 damaged")
    with pytest.raises(DataError, match="has the splits test, train"):
        imported(tmp_path / "more", tmp_path / "in")
    with pytest.raises(DataError, match="is damaged"):
        imported(tmp_path / "more", tmp_path / "in" / "test-00000.parquet")
