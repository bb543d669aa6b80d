"""Everything that is wrong with a data directory, at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recitative.config import FeatureSettings, FrontEndSettings
from recitative.data.check import CheckReport, check_directory
from recitative.text.tokens import TokenTable
from small_corpus import (
    audio_of,
    make_corpus,
    make_segmented_corpus,
    noise,
    replace_line,
    snapshot,
    write_audio,
    write_lines,
)


def check(train: Path, *, tokens: TokenTable | None = None, subsampling: int = 3, rate: int = 16000) -> CheckReport:
    return check_directory(
        train, FeatureSettings(sample_rate=rate), FrontEndSettings.subsampled_by(subsampling), tokens
    )


def only_problem(train: Path, **options: object) -> str:
    report = check(train, **options)  # type: ignore[arg-type]
    assert len(report.problems) == 1, report.problems
    return str(report.problems[0]).removeprefix(f"{train}/").replace(str(train.parent), "DIR")


@pytest.mark.parametrize("make", [make_corpus, make_segmented_corpus])
def test_a_sound_directory_has_no_problems_and_is_not_touched(tmp_path: Path, make: object) -> None:
    assert callable(make)
    train = make(tmp_path)
    before = snapshot(tmp_path)
    report = check(train)
    assert (report.problems, report.warnings, report.unreadable) == ((), (), {})
    assert snapshot(tmp_path) == before


def test_statistics_are_those_a_person_counts(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    write_audio(audio_of(train, "bert-2"), noise(2.0))
    statistics = check(train).statistics
    assert (statistics.utterances, statistics.speakers, statistics.recordings) == (4, 2, 4)
    assert (statistics.shortest_s, statistics.median_s, statistics.longest_s, statistics.total_s) == (0.5, 0.5, 2, 3.5)
    assert (statistics.words, statistics.distinct_words) == (6, 4)
    assert dict(statistics.characters) == {
        " ": 2, "e": 4, "f": 1, "h": 1, "n": 2, "o": 5, "r": 2, "t": 3, "u": 1, "w": 2,
    }  # fmt: skip
    assert ("audio", "0.00 h") in statistics.rows()


def break_audio(train: Path, name: str) -> None:
    target = audio_of(train, "anna-2")
    whole = target.read_bytes()
    match name:
        case "missing":
            target.unlink()
        case "empty":
            target.write_bytes(b"")
        case "truncated":
            target.write_bytes(whole[: len(whole) // 2])
        case "no audio":
            target.write_text("three\n" * 100)
        case "no samples":
            write_audio(target, np.zeros(0, np.float32))
        case "rate":
            write_audio(target, noise(), rate=8000)
        case "stereo":
            write_audio(target, np.stack([noise(), noise()], axis=1))
        case "nan":
            write_audio(target, np.full(8000, np.nan, np.float32), subtype="FLOAT")
        case "silent":
            write_audio(target, np.tile(np.float32([16, -16]) / 32768, 4000))  # 20 log10(1 / 2048) = -66.2 dB
        case "clipped":
            write_audio(target, np.concatenate([noise()[:7600], np.ones(400, np.float32)]))  # 400 of 8000 = 5 %
        case "16-bit scale":
            write_audio(target, np.tile(np.float32([12000, -3000]), 4000), subtype="FLOAT")


AUDIO = {
    "missing": "does not exist; a recording; correct the path (relative to the current folder)",
    "empty": "is empty (0 bytes); a recording; record or copy it again, or remove the utterance",
    "truncated": "is truncated: 8022 bytes of samples missing; copy it again, or take what there is: --partial",
    "no audio": "is not audio that can be read; wav, flac, ogg or mp3; record or copy it again",
    "no samples": "has no samples; at least one; record or copy it again, or remove the utterance",
    "rate": "has 8000 Hz; 16000 Hz (features.sample_rate); resample it, or set features.sample_rate=8000",
    "stereo": "has 2 channels; one; mix it down",
    "nan": "has NaN or infinite samples, the first at 0.000 s; numbers; record or copy it again",
    "silent": "is silent: its peak is -66.2 dBFS; at least -60.0 dBFS; record it again, or remove it",
    "clipped": "is clipped: 5.0% of its samples lie in flat runs at full scale; less than 1%; record it again",
    "16-bit scale": "has samples up to 12000; -1 to 1; divide by 32768 if they are 16-bit values",
}
UNREADABLE = ("missing", "empty", "truncated", "no audio", "no samples", "nan", "16-bit scale")


@pytest.mark.parametrize("name", AUDIO)
def test_bad_audio_is_named_with_its_line_utterance_and_path(tmp_path: Path, name: str) -> None:
    train = make_corpus(tmp_path)
    break_audio(train, name)
    assert only_problem(train).startswith(f"wav.scp:2: recording 'anna-2' (DIR/audio/anna-2.wav) {AUDIO[name]}")
    assert list(check(train).unreadable) == (["anna-2"] if name in UNREADABLE else [])


def test_slight_clipping_and_a_recording_used_twice_are_only_warnings(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    samples = noise()
    samples[1000:1020] = 1.0
    write_audio(audio_of(train, "anna-1"), samples)
    replace_line(train / "wav.scp", 4, f"bert-2 {audio_of(train, 'bert-1')}")
    report = check(train)
    assert report.problems == ()
    assert [problem.found for problem in report.warnings] == [
        "recording 'bert-2' is the same file as 'bert-1'",
        f"recording 'anna-1' ({audio_of(train, 'anna-1')}) is clipped: "
        "0.2% of its samples lie in flat runs at full scale",
    ]


def test_a_recording_that_cannot_be_read_is_one_problem_however_many_segments_it_has(tmp_path: Path) -> None:
    train = make_segmented_corpus(tmp_path)
    audio_of(train, "anna").unlink()
    assert only_problem(train).startswith("wav.scp:1: recording 'anna' (DIR/audio/anna.wav) does not exist")
    assert list(check(train).unreadable) == ["anna-1", "anna-2"]


def test_a_segment_beyond_the_end_is_named(tmp_path: Path) -> None:
    train = make_segmented_corpus(tmp_path)
    replace_line(train / "segments", 2, "anna-2 anna 0.5 1.7")
    assert only_problem(train) == (
        "segments:2: utterance 'anna-2' (DIR/audio/anna.wav) ends at 1.7 s, beyond the end of its recording; "
        "at most 1.000 s; correct the segment"
    )


def test_levels_are_those_of_the_segment_and_not_of_the_recording(tmp_path: Path) -> None:
    train = make_segmented_corpus(tmp_path)
    samples = noise(1.0)
    samples[8000:] = 0
    write_audio(audio_of(train, "anna"), samples)
    assert only_problem(train).startswith(
        "segments:2: utterance 'anna-2' (DIR/audio/anna.wav) is silent: its peak is dig"
    )


def test_characters_outside_the_token_table_are_named(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    tokens = TokenTable.from_texts(["one two three four"])
    assert check(train, tokens=tokens).problems == ()
    replace_line(train / "text", 2, "anna-2 three 3!")
    assert only_problem(train, tokens=tokens) == (
        "text:2: utterance 'anna-2' has '!', '3', not in the token table; its characters only; "
        "normalize the text, or make the token table again with 'recitative tokens'"
    )


def test_words_outside_a_table_of_words_are_named(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    tokens = TokenTable.from_texts(["one two three four"], "word")
    assert check(train, tokens=tokens).problems == ()
    replace_line(train / "text", 2, "anna-2 three fou")
    assert only_problem(train, tokens=tokens).startswith(
        "text:2: utterance 'anna-2' has 'fou', not in the token table; its words only"
    )


def test_with_a_table_of_words_a_word_needs_one_frame(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    tokens = TokenTable.from_texts(["one two three four"], "word")
    replace_line(train / "text", 2, "anna-2 " + "three four " * 8)  # 88 letters, 16 words
    assert check(train, tokens=tokens).problems == ()
    assert "is too short" in only_problem(train)


def test_an_empty_text_is_a_problem(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    replace_line(train / "text", 2, "anna-2")
    assert only_problem(train).startswith("text:2: utterance 'anna-2' has an empty text; at least one word")


def test_text_fits_exactly_in_as_many_frames_as_labels_and_repeats(tmp_path: Path) -> None:
    # 0.5 s = 8000 samples give 1 + (8000 - 400) // 160 = 48 frames, by 3 = 16: 14 labels and 2 repeats fit.
    train = make_corpus(tmp_path)
    replace_line(train / "text", 2, "anna-2 aabbcdefghijkl")
    assert check(train).problems == ()
    replace_line(train / "text", 2, "anna-2 aabbccdefghijk")
    assert only_problem(train) == (
        "text:2: utterance 'anna-2' is too short: 0.500 s give 16 frames for 14 labels and 3 repeats; "
        "at least 17 frames; correct the text or the segment, or remove the utterance"
    )
    assert check(train, subsampling=2).problems == ()


def test_missing_tables_are_named_and_the_rest_is_checked_all_the_same(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    (train / "text").unlink()
    (train / "spk2utt").unlink()
    audio_of(train, "bert-1").unlink()
    assert [problem.where for problem in check(train).problems] == [
        f"{train}/spk2utt",
        f"{train}/text",
        f"{train}/wav.scp:3",
    ]


def test_no_text_by_design_is_fine(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    (train / "text").unlink()
    report = check_directory(train, FeatureSettings(), FrontEndSettings.subsampled_by(3), require_text=False)
    assert report.problems == ()


def test_one_problem_of_each_kind_gives_all_of_them_at_once(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    break_audio(train, "truncated")
    audio_of(train, "bert-1").write_bytes(b"")
    write_lines(train / "text", ["anna-1 one two", "anna-2", "bert-2 four one", "bert-1 two\r"])
    wheres = [problem.where.removeprefix(f"{train}/") for problem in check(train).problems]
    assert sorted(wheres) == ["text:2", "text:4", "text:4", "wav.scp:2", "wav.scp:3"]


def test_a_single_speaker_is_worth_a_warning(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    write_lines(train / "utt2spk", ["anna-1 anna", "anna-2 anna"])
    write_lines(train / "spk2utt", ["anna anna-1 anna-2"])
    for table in ("wav.scp", "text"):
        write_lines(train / table, (train / table).read_text().splitlines()[:2])
    assert [problem.found for problem in check(train).warnings] == ["has only one speaker"]


def test_progress_counts_every_recording(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    seen: list[tuple[int, int]] = []
    check_directory(
        train, FeatureSettings(), FrontEndSettings.subsampled_by(3), on_progress=lambda done, n: seen.append((done, n))
    )
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
