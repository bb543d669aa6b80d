"""Data directories from tables and from folders of recordings, as people keep them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import command_line
from recitative.audio.files import convert, inspect, read_audio, resample
from recitative.config import FeatureSettings, FrontEndSettings
from recitative.data.check import check_directory
from recitative.data.directory import DataDirectory, speaker_order_problems
from recitative.data.importing import (
    ImportOptions,
    ImportResult,
    import_corpus,
    read_source,
    speaker_ids,
    utterance_ids,
)
from recitative.data.tables import TableRow
from recitative.errors import DataError
from recitative.text.normalize import NormalizationRules
from small_corpus import noise, write_audio, write_lines

FIELD_CASES = Path(__file__).parents[1] / "field_cases"

NOT_UTF8 = os.fsdecode(b"n\xe9")
SUBTYPES = {".wav": "PCM_16", ".mp3": "MPEG_LAYER_III"}


def recordings(folder: Path, names: Iterable[str]) -> Path:
    for seed, name in enumerate(names):
        write_audio(folder / name, noise(seed=seed), subtype=SUBTYPES[Path(name).suffix])
    return folder


def run(folder: Path, table: Path | None = None, options: ImportOptions = ImportOptions()) -> ImportResult:
    return import_corpus(read_source(folder, table), folder.parent / "data", options)


def texts(folder: Path, table: Path | None = None, options: ImportOptions = ImportOptions()) -> dict[str, str]:
    """utt_id -> transcript, as they stand on the disk."""
    run(folder, table, options)
    return DataDirectory.read(folder.parent / "data").texts


TABLES = {
    "commas and quotes": ["path,text,speaker", 'x.wav,"One, two",anna', "y.wav,Three!,bert"],
    "semicolons": ["speaker;filename;transcript", "anna;x.wav;One, two", "bert;y.wav;Three!"],
    "tabs, other columns": [
        "up_votes\tSentence\tpath\tclient_id",
        "2\tOne, two\tx.wav\tanna",
        "0\tThree!\ty.wav\tbert",
    ],
    "two columns called id and path": ["id,path,text,spk", "7,x.wav,one two,anna", "8,y.wav,three,bert"],
    "no header, speaker last": ["x.wav,one two,anna", "y.wav,three,bert"],
    "no header, speaker second": ["x.wav|anna|one two", "y.wav|bert|three"],
    "a byte order mark": ["\ufeffpath,text,speaker", "x.wav,one two,anna", "y.wav,three,bert"],
    "empty lines": ["path,text,speaker", "", "x.wav,one two,anna", "", "y.wav,three,bert", ""],
}


@pytest.mark.parametrize("lines", TABLES.values(), ids=TABLES)
def test_every_kind_of_table_gives_the_same(tmp_path: Path, lines: list[str]) -> None:
    folder = recordings(tmp_path / "in", ["x.wav", "y.wav"])
    write_lines(tmp_path / "in" / "table", lines)
    assert texts(folder, folder / "table") == {"anna-x": "one two", "bert-y": "three"}
    data = DataDirectory.read(tmp_path / "data")
    assert data.utt2spk == {"anna-x": "anna", "bert-y": "bert"}
    assert [u.recording_path for u in data.utterances] == [str(folder / "x.wav"), str(folder / "y.wav")]


def test_common_voice_as_it_is_unpacked(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "cv", ["clips/common_voice_en_1.mp3", "clips/common_voice_en_2.mp3"])
    speakers = ["ab" * 64, "cd" * 64]
    lines = ["client_id\tpath\tsentence\tup_votes\tdown_votes\tage"]
    lines += [f'{speakers[0]}\tcommon_voice_en_1.mp3\t"He said: ""No."""\t2\t0\t']
    lines += [f'{speakers[1]}\tcommon_voice_en_2.mp3\tAn open " quote\t2\t0\t']
    write_lines(folder / "validated.tsv", lines)
    found = texts(folder, folder / "validated.tsv")
    assert list(found.values()) == ["he said no", "an open quote"]
    assert [utt_id.split("-")[1] for utt_id in found] == ["common_voice_en_1", "common_voice_en_2"]
    assert all(len(speaker) == 32 for speaker in DataDirectory.read(tmp_path / "data").by_speaker)


def test_ljspeech_as_it_is_unpacked(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "LJSpeech-1.1", ["wavs/LJ001-0001.wav", "wavs/LJ001-0002.wav"])
    write_lines(
        folder / "metadata.csv",
        [
            "LJ001-0001|Printing, in the only sense|Printing, in the only sense",
            "LJ001-0002|in 1455.|in fourteen fifty-five.",
        ],
    )
    told = command_line.run("data", "import", folder, tmp_path / "data", "--table", folder / "metadata.csv")
    assert DataDirectory.read(tmp_path / "data").texts == {
        "speaker-LJ001-0001": "printing in the only sense",
        "speaker-LJ001-0002": "in fourteen fifty five",
    }
    assert "metadata.csv: has two transcripts; the second is taken" in told.err
    assert "the source names no speakers: all utterances get the same one; use --speaker-per-file" in told.err
    assert "data: 2 utterances, 1 speaker, 0.00 h" in told.out


def with_texts(folder: Path, names: Iterable[str]) -> Path:
    recordings(folder, names)
    for name in names:
        (folder / name).with_suffix(".txt").write_text(f"This is\n{Path(name).stem}.\n")
    return folder


def test_sub_folders_are_speakers(tmp_path: Path) -> None:
    folder = with_texts(tmp_path / "in", ["anna/01.wav", "anna/week 2/02.wav", "bert/01.wav"])
    assert texts(folder) == {"anna-01": "this is 01", "anna-02": "this is 02", "bert-01": "this is 01"}


def test_without_sub_folders_there_is_one_speaker_or_one_for_each_file(tmp_path: Path) -> None:
    folder = with_texts(tmp_path / "in", ["a b.wav", "c.wav"])
    assert list(texts(folder)) == ["speaker-a_b", "speaker-c"]
    assert list(texts(folder, options=ImportOptions(speaker_per_file=True))) == ["a_b", "c"]
    assert DataDirectory.read(tmp_path / "data").utt2spk == {"a_b": "a_b", "c": "c"}


def test_a_text_without_a_recording_is_reported(tmp_path: Path) -> None:
    folder = with_texts(tmp_path / "in", ["a.wav"])
    (folder / "README.txt").write_text("mine")
    assert run(folder).notes[0].endswith("transcripts without a recording beside them, not used: 1 (README.txt)")


def test_text_is_kept_if_asked(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "in", ["x.wav"])
    write_lines(folder / "t.csv", ["path,text,speaker", '"x.wav","One,  Two-three",a'])
    assert texts(folder, folder / "t.csv", ImportOptions(rules=None)) == {"a-x": "One, Two-three"}
    assert texts(folder, folder / "t.csv", ImportOptions(rules=NormalizationRules(keep_hyphens=True))) == {
        "a-x": "one two-three"
    }


def test_recordings_are_converted_only_if_necessary(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    write_audio(folder / "a" / "same.wav", noise())
    write_audio(folder / "a" / "fast.wav", noise(1.0), 44100)
    write_audio(folder / "a" / "two.wav", np.stack([noise(seed=1), noise(seed=2)], axis=1))
    for name in ("same", "fast", "two"):
        (folder / "a" / f"{name}.txt").write_text("one")
    made = run(folder)
    assert (made.converted, made.limited) == (2, 0)
    paths = {u.utt_id: Path(u.recording_path) for u in DataDirectory.read(tmp_path / "data").utterances}
    assert paths["a-same"] == folder / "a" / "same.wav"
    assert paths["a-fast"] == tmp_path / "data" / "audio" / "a-fast.flac"
    assert {(inspect(path).sample_rate, inspect(path).channels) for path in paths.values()} == {(16000, 1)}
    samples, _ = read_audio(paths["a-two"])
    expected = (noise(seed=1) + noise(seed=2)) / 2
    np.testing.assert_allclose(samples, expected, atol=2 / 32768)  # 16 bits there, 16 bits back
    report = check_directory(tmp_path / "data", FeatureSettings(), FrontEndSettings())
    assert report.problems == ()


def test_converting_in_blocks_is_resampling_the_whole(tmp_path: Path) -> None:
    write_audio(tmp_path / "long.wav", noise(2.5 * 22050 / 16000 * 8.7), 22050)  # more than two blocks of ten seconds
    peak = convert(tmp_path / "long.wav", tmp_path / "long.flac", 16000)
    whole, _ = read_audio(tmp_path / "long.wav")
    expected = resample(whole, 22050, 16000)
    samples, rate = read_audio(tmp_path / "long.flac")
    assert (rate, len(samples)) == (16000, len(expected))
    np.testing.assert_allclose(samples, expected, atol=1 / 32768)
    assert peak == pytest.approx(np.abs(expected).max(), abs=1e-4)


def test_one_channel_of_two(tmp_path: Path) -> None:
    write_audio(tmp_path / "two.wav", np.stack([noise(seed=1), noise(seed=2)], axis=1))
    convert(tmp_path / "two.wav", tmp_path / "right.flac", 16000, channel=1)
    np.testing.assert_allclose(read_audio(tmp_path / "right.flac")[0], noise(seed=2), atol=1 / 32768)


def test_converting_says_what_it_cut_off_and_refuses_integers(tmp_path: Path) -> None:
    square = np.sign(np.sin(np.arange(44100) / 17)).astype(np.float32)
    soundfile.write(tmp_path / "square.wav", square, 44100, subtype="FLOAT")
    assert 1.0 < convert(tmp_path / "square.wav", tmp_path / "square.flac", 16000) < 1.5
    assert np.abs(read_audio(tmp_path / "square.flac")[0]).max() <= 1
    soundfile.write(tmp_path / "loud.wav", square * 20000, 44100, subtype="FLOAT")
    with pytest.raises(DataError, match="has samples up to 20000; -1 to 1; divide by 32768"):
        convert(tmp_path / "loud.wav", tmp_path / "loud.flac", 16000)
    assert not (tmp_path / "loud.flac").exists()


def broken(folder: Path) -> Path:
    """Five rows, four of them bad."""
    recordings(folder, ["good.wav", "empty.wav", "twice.wav"])
    (folder / "text.wav").write_text("no audio")
    rows = ["path,text,speaker", "good.wav,one,a", "missing.wav,one,a", "text.wav,one,a", "empty.wav,...,a"]
    write_lines(folder / "t.csv", [*rows, "good.wav,two,a"])
    return folder


def test_all_bad_rows_are_reported_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    folder = broken(tmp_path / "in")
    arguments = ("data", "import", folder, tmp_path / "data", "--table", folder / "t.csv")
    assert command_line.run(*arguments, status=1).err.replace(str(folder), "DIR").splitlines() == [
        "error: DIR: rows that cannot be used: 4 of 5; none; correct them, or leave them out with --skip-bad",
        "error: DIR/t.csv:3: (missing.wav) does not exist; a recording; correct the path (relative to the folder or "
        "the table)",
        "error: DIR/t.csv:5: has no words; at least one; add them, or remove the row",
        "error: DIR/t.csv:6: (DIR/good.wav) is transcribed again, first in DIR/t.csv:2; each recording once; "
        "remove one of them",
        "error: DIR/t.csv:4: (DIR/text.wav) is not audio that can be read; wav, flac, ogg or mp3; record or copy it "
        "again, or remove the utterance",
    ]
    assert not (tmp_path / "data").exists()


def test_bad_rows_are_left_out_if_asked_but_not_most_of_them(tmp_path: Path) -> None:
    folder = broken(tmp_path / "in")
    with pytest.raises(DataError, match=r"4 of 5; at most 5.0%; .*allow more, such as --most-skipped 0\.8"):
        run(folder, folder / "t.csv", ImportOptions(skip_bad=True))
    made = run(folder, folder / "t.csv", ImportOptions(skip_bad=True, most_skipped=0.8))
    assert list(made.directory.texts) == ["a-good"]
    named = (tmp_path / "data" / "skipped.txt").read_text().splitlines()
    assert [line.removeprefix(f"{folder}/t.csv:")[0] for line in named] == ["3", "5", "6", "4"]
    (folder / "t.csv").write_text("path,text,speaker\ngood.wav,one,a\n")
    run(folder, folder / "t.csv")
    assert not (tmp_path / "data" / "skipped.txt").exists(), "that was another time"


def test_damage_that_shows_only_when_converting_is_a_bad_row_too(tmp_path: Path) -> None:
    folder = with_texts(tmp_path / "in", [f"{number:02d}.wav" for number in range(20)])
    path = folder / "07.wav"
    soundfile.write(path, np.append(noise(), np.nan).astype(np.float32), 8000, subtype="FLOAT")
    with pytest.raises(DataError, match="1 of 20; none") as caught:
        run(folder)
    assert f"{path}: ({path}) has NaN or infinite samples" in str(caught.value.problems[1])
    assert len(run(folder, options=ImportOptions(skip_bad=True)).directory.utterances) == 19


BAD_TABLES = {
    "no columns": (["one two"], "has no columns, or not the same number in every row; columns separated by"),
    "no names": (["a,b,c,d", "x.wav,1,2,3"], "t.csv:1: has 4 columns and no header with the names of recording and"),
    "a name is missing": (["path,words", "x.wav,one"], "t.csv:1: has 2 columns and no header with the names of"),
    "which is the speaker": (
        ["x.wav,one,anna", "y.wav,two,bert"],
        "t.csv:1: has three columns and no header, and ei",
    ),
    "columns missing": (["path,text,speaker", "x.wav,one"], "t.csv:2: has 2 columns; 3; correct the row, or quote"),
    "no recording": (["path,text", ",one"], "t.csv:2: names no recording; a path; complete the row"),
    "a speaker missing": (
        ["path,text,speaker", "x.wav,one,", "y.wav,two,anna"],
        "t.csv:2: names no speaker, other r",
    ),
    "a sentence mark": (["path,text", "x.wav,<s> one"], "t.csv:2: has '<s>'; words only, no sentence marks"),
    "nothing": ([], "t.csv: is empty; one row per recording"),
    "a separator line only": (["sep=;"], "t.csv: is empty; one row per recording"),
    "separators only": (["sep=;", ";;", " ; "], "t.csv: is empty; one row per recording"),
}


@pytest.mark.parametrize(("lines", "message"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_a_bad_table_is_refused(tmp_path: Path, lines: list[str], message: str) -> None:
    folder = recordings(tmp_path / "in", ["x.wav", "y.wav"])
    write_lines(folder / "t.csv", lines)
    with pytest.raises(DataError) as caught:
        run(folder, folder / "t.csv")
    assert any(message in str(problem) for problem in caught.value.problems)


def test_a_table_in_another_encoding_is_refused(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "in", ["x.wav"])
    (folder / "t.csv").write_bytes("path,text\nx.wav,über\n".encode("latin-1"))
    with pytest.raises(DataError, match=r't\.csv:2: byte 0xfc .* "x.wav,über"; UTF-8; .*--encoding cp1252'):
        run(folder, folder / "t.csv")


def test_a_folder_without_transcripts_says_where_they_could_be(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "in", ["x.wav"])
    with pytest.raises(
        DataError, match=r"has recordings and no transcripts; a \.txt, \.TextGrid or \.eaf beside each.*with --table"
    ):
        run(folder)
    (folder / "meta.csv").touch()
    with pytest.raises(DataError, match=r"say '--table .*meta.csv'"):
        run(folder)
    with pytest.raises(DataError, match=r"has no recordings; .*\.aif"):
        run(_empty(tmp_path))


def _empty(folder: Path) -> Path:
    (folder / "empty").mkdir()
    return folder / "empty"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["IN", "IN/data"], "lies within"),
        (["IN", "OUT", "--keep-text", "--keep-case"], "--keep-text and --keep-case exclude each other; give one"),
    ],
)
def test_arguments_that_make_no_sense(tmp_path: Path, arguments: list[str], message: str) -> None:
    with_texts(tmp_path / "in", ["x.wav"])
    places = [one.replace("IN", str(tmp_path / "in")).replace("OUT", str(tmp_path / "out")) for one in arguments]
    assert message in command_line.refusal("data", "import", *places)


def test_ids_sort_by_utterance_as_by_speaker() -> None:
    speakers = ["anna", "anna b", "anna-b", "anna.c", "annab", "Ätna", "a" * 99, "a" * 98]
    ids = speaker_ids(speakers)
    assert ids["anna"] == "anna"
    assert len(set(ids.values())) == len(speakers)
    owners = [ids[speaker] for speaker in speakers for _ in range(3)]
    names = ["0", "b", "z"] * len(speakers)
    utterances = utterance_ids(owners, names, [str(number) for number in range(len(names))])
    rows = {utt_id: TableRow(0, utt_id, owner) for utt_id, owner in zip(utterances, owners, strict=True)}
    assert len(rows) == len(names)
    assert speaker_order_problems(Path("data"), rows) == []


def test_an_id_does_not_say_the_speaker_twice() -> None:
    assert utterance_ids(["anna"] * 4, ["anna_01", "anna", "anna2", "x y"], list("1234")) == [
        "anna-01", "anna", "anna-anna2", "anna-x_y",
    ]  # fmt: skip


def test_equal_names_get_distinct_and_reproducible_ids(tmp_path: Path) -> None:
    first = with_texts(tmp_path / "one" / "in", ["anna/mon/01.wav", "anna/tue/01.wav"])
    other = with_texts(tmp_path / "moved" / "in", ["anna/mon/01.wav", "anna/tue/01.wav"])
    ids = list(texts(first))
    assert ids == list(texts(other))
    assert [utt_id[:8] for utt_id in ids] == ["anna-01-"] * 2
    assert len(set(ids)) == 2


def test_partial_imports_the_readable_part_of_damaged_recordings(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    shutil.copy(FIELD_CASES / "04_half.aiff", tmp_path / "in" / "half.aiff")
    (tmp_path / "in" / "half.txt").write_text("half of it")
    source = read_source(tmp_path / "in")
    with pytest.raises(DataError, match="rows that cannot be used: 1 of 1"):
        import_corpus(source, tmp_path / "out", ImportOptions())
    made = import_corpus(source, tmp_path / "out", ImportOptions(partial=True))
    assert made.notes[-1].startswith("damaged recordings of which a part was taken: 1 (")
    assert inspect(made.directory.utterances[0].recording_path).num_samples == 22177  # converted, so whole for all


def test_a_recording_whose_name_is_not_utf8_is_copied_under_another(tmp_path: Path) -> None:
    folder = recordings(tmp_path / "recordings", ["a.wav", "b.wav"])
    (folder / "b.wav").rename(folder / f"{NOT_UTF8}.wav")
    for name in ("a", NOT_UTF8):
        (folder / f"{name}.txt").write_text("one\n")
    assert run(folder).converted == 1
    read = DataDirectory.read(tmp_path / "data").utterances
    assert [Path(one.recording_path).name for one in read] == ["a.wav", "speaker-n_.flac"]


def test_a_data_directory_in_a_folder_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    folder = with_texts(tmp_path / "recordings", ["a.wav"])
    with pytest.raises(DataError, match=r"wav\.scp: would hold '.*/audio/.*\.flac'; UTF-8; rename that file or folder"):
        import_corpus(read_source(folder), tmp_path / NOT_UTF8, ImportOptions(sample_rate=8000))


def test_slips_in_options_are_one_line(tmp_path: Path) -> None:
    folder = with_texts(tmp_path / "recordings", ["a.wav"])
    first = command_line.refusal("data", "import", folder, tmp_path / "data", "--encoding", "xx")
    second = command_line.refusal("transcribe", folder, "--format", "xml")
    assert first.startswith("error: --encoding xx: is no encoding; such as utf-8")
    assert second.startswith("error: Invalid value for '--format': 'xml' is not one of")
