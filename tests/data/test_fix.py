"""Mending what is safe, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recitative.audio.files import write_wav
from recitative.config import FeatureSettings, FrontEndSettings
from recitative.data.check import Fix, check_directory, fix_directory
from recitative.data.directory import DataDirectory
from recitative.errors import DataError
from small_corpus import TEXTS, audio_of, make_corpus, make_segmented_corpus, replace_line, snapshot, write_lines


def fix(train: Path, *, force: bool = False) -> Fix:
    report = check_directory(train, FeatureSettings(), FrontEndSettings.subsampled_by(3))
    return fix_directory(train, report.unreadable, force=force)


def many(folder: Path) -> Path:
    """40 utterances of two speakers on four files, so that one of them is 2.5 %."""
    train = make_corpus(folder)
    ids = [f"{speaker}-{number:02d}" for speaker in ("anna", "bert") for number in range(20)]
    for number, utt_id in enumerate(ids):
        source = audio_of(train, list(TEXTS)[number % 4])
        audio_of(train, utt_id).write_bytes(source.read_bytes())
    write_lines(train / "wav.scp", [f"{utt_id} {audio_of(train, utt_id)}" for utt_id in ids])
    write_lines(train / "text", [f"{utt_id} one" for utt_id in ids])
    write_lines(train / "utt2spk", [f"{utt_id} {utt_id[:4]}" for utt_id in ids])
    write_lines(train / "spk2utt", ["anna " + " ".join(ids[:20]), "bert " + " ".join(ids[20:])])
    return train


@pytest.mark.parametrize("make", [make_corpus, make_segmented_corpus])
def test_a_sound_directory_is_not_touched(tmp_path: Path, make: object) -> None:
    assert callable(make)
    train = make(tmp_path)
    before = snapshot(train)
    assert fix(train) == Fix((), {}, None)
    assert snapshot(train) == before


def test_order_line_ends_repeated_lines_and_spk2utt_are_mended_without_loss(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    sound = snapshot(train)
    lines = (train / "text").read_text().splitlines()
    (train / "text").write_bytes("\r\n".join(["", " " + lines[2], *lines[::-1]]).encode())
    write_lines(train / "utt2spk", (train / "utt2spk").read_text().splitlines()[::-1])
    (train / "spk2utt").unlink()
    broken = snapshot(train)
    done = fix(train)
    assert done.dropped == {}
    assert done.backup == train / ".backup"
    assert done.actions == (
        "wrote text: 4 lines (text:6 the last line has no newline, and 9 more)",
        "wrote utt2spk: 4 lines (utt2spk:2 'bert-1' comes after 'bert-2')",
        "wrote spk2utt: 2 lines",
    )
    after = snapshot(train)
    assert {name: content for name, content in after.items() if not name.startswith(".backup/")} == sound
    assert {f".backup/{name}": content for name, content in broken.items()}.items() <= after.items()


def test_utterances_missing_somewhere_or_unreadable_are_dropped_and_named(tmp_path: Path) -> None:
    train = many(tmp_path)
    audio_of(train, "anna-03").write_bytes(b"")
    replace_line(train / "text", 8, "anna-99 one")
    write_lines(train / "utt2dur", [f"{u} 0.5" for u in _ids(train)])
    done = fix(train, force=True)
    assert done.dropped == {
        "anna-03": f"{audio_of(train, 'anna-03')} is empty (0 bytes)",
        "anna-07": "not in text",
        "anna-99": "not in utt2spk, wav.scp",
    }
    assert done.actions[0] == f"dropped utterance 'anna-03': {audio_of(train, 'anna-03')} is empty (0 bytes)"
    directory = DataDirectory.read(train)
    assert len(directory.utterances) == 38
    assert len(directory.extras["utt2dur"]) == 38


def _ids(train: Path) -> list[str]:
    return [line.split()[0] for line in (train / "utt2spk").read_text().splitlines()]


def test_one_utterance_in_forty_is_dropped_without_force(tmp_path: Path) -> None:
    train = many(tmp_path)
    audio_of(train, "anna-03").unlink()
    assert list(fix(train).dropped) == ["anna-03"]
    assert check_directory(train, FeatureSettings(), FrontEndSettings.subsampled_by(3)).problems == ()


def test_whatever_has_a_problem_is_dropped_if_that_is_asked_for(tmp_path: Path) -> None:
    train = many(tmp_path)
    write_wav(audio_of(train, "anna-03"), np.zeros(16000, np.float32), 16000)  # silence can be read
    replace_line(train / "text", 28, "bert-07 " + "x" * 400)
    report = check_directory(train, FeatureSettings(), FrontEndSettings.subsampled_by(3))
    assert set(report.unusable) == {"anna-03", "bert-07"}
    assert report.unreadable == {}
    done = fix_directory(train, report.unusable)
    assert "silent" in done.dropped["anna-03"]
    assert "is too short" in done.dropped["bert-07"]
    assert check_directory(train, FeatureSettings(), FrontEndSettings.subsampled_by(3)).problems == ()


def test_more_than_five_per_cent_are_refused_and_nothing_is_touched(tmp_path: Path) -> None:
    train = many(tmp_path)
    for utt_id in ("anna-03", "anna-04", "bert-19"):
        audio_of(train, utt_id).unlink()
    before = snapshot(train)
    with pytest.raises(DataError, match=r"3 of 40 utterances would be dropped, the first is 'anna-03'.*; at most 5%;"):
        fix(train)
    assert snapshot(train) == before
    assert len(fix(train, force=True).dropped) == 3


def test_dropping_everything_is_refused_even_by_force(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    for utt_id in TEXTS:
        audio_of(train, utt_id).unlink()
    with pytest.raises(DataError, match="all 4 utterances would be dropped"):
        fix(train, force=True)


def test_lines_that_contradict_each_other_are_left_to_the_user(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    write_lines(train / "text", ["anna-1 one two", "anna-1 one too", "anna-2 three", "bert-1 two", "bert-2 four one"])
    before = snapshot(train)
    with pytest.raises(DataError, match="text:2: utterance 'anna-1' contradicts line 1; one line per key; remove one"):
        fix(train)
    assert snapshot(train) == before


def test_a_missing_utt2spk_is_not_invented(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    (train / "utt2spk").unlink()
    with pytest.raises(DataError, match="utt2spk: does not exist"):
        fix(train)


def test_recordings_and_speakers_without_utterances_go_and_are_named(tmp_path: Path) -> None:
    train = make_segmented_corpus(tmp_path)
    write_lines(train / "wav.scp", [*(train / "wav.scp").read_text().splitlines(), "carl carl.wav"])
    write_lines(train / "spk2gender", ["anna f", "bert m", "carl m"])
    assert fix(train).actions[:2] == (
        "removed recording 'carl' from wav.scp: no utterance uses it",
        "removed speaker 'carl' from spk2gender: no utterance uses it",
    )
    assert check_directory(train, FeatureSettings(), FrontEndSettings.subsampled_by(3)).problems == ()


def test_an_optional_table_that_is_not_complete_goes_and_is_named(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    write_lines(train / "utt2dur", ["anna-1 0.5"])
    assert fix(train).actions == ("removed utt2dur: it does not cover every utterance",)
    assert (train / ".backup" / "utt2dur").exists()
    DataDirectory.read(train)


def test_an_earlier_backup_is_kept(tmp_path: Path) -> None:
    train = make_corpus(tmp_path)
    (train / "spk2utt").unlink()
    first = fix(train).backup
    (train / "spk2utt").unlink()
    assert first == train / ".backup"
    assert fix(train).backup == train / ".backup.1"


def test_fixing_twice_changes_nothing_more(tmp_path: Path) -> None:
    train = many(tmp_path)
    audio_of(train, "anna-03").unlink()
    (train / "spk2utt").unlink()
    fix(train)
    assert fix(train) == Fix((), {}, None)
