"""Kaldi's own validator accepts every directory that is written. Needs a Kaldi tree: KALDI_ROOT=/path/to/kaldi."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from recitative.config import FeatureSettings, FrontEndSettings
from recitative.data import select
from recitative.data.check import check_directory, fix_directory
from recitative.data.directory import DataDirectory
from small_corpus import audio_of, make_corpus, make_segmented_corpus, write_lines

KALDI_ROOT = os.environ.get("KALDI_ROOT", "")
pytestmark = pytest.mark.skipif(not KALDI_ROOT, reason="KALDI_ROOT does not point at a Kaldi tree")


def kaldi_says(folder: Path) -> str:
    """The last line of validate_data_dir.sh, which exits 0 on some bad files: the words count, not the status."""
    recipe = Path(KALDI_ROOT) / "egs" / "wsj" / "s5"
    options = ["--no-feats"] if (folder / "text").exists() else ["--no-feats", "--no-text"]
    command = ["bash", "utils/validate_data_dir.sh", *options, str(folder.resolve())]
    done = subprocess.run(command, cwd=recipe, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip().splitlines()[-1]


def accepted(folder: Path) -> bool:
    return "Successfully validated" in kaldi_says(folder)


def with_every_table(train: Path) -> Path:
    ids = [line.split()[0] for line in (train / "utt2spk").read_text().splitlines()]
    recordings = [line.split()[0] for line in (train / "wav.scp").read_text().splitlines()]
    for name, value in {"utt2dur": "0.5", "utt2num_frames": "48", "utt2lang": "en", "utt2uniq": "u"}.items():
        write_lines(train / name, [f"{utt_id} {value}" for utt_id in ids])
    write_lines(train / "spk2gender", ["anna f", "bert m"])
    write_lines(train / "reco2dur", [f"{recording} 1.0" for recording in recordings])
    write_lines(train / "reco2file_and_channel", [f"{recording} {recording} A" for recording in recordings])
    return train


SELECTIONS: dict[str, Callable[[DataDirectory], DataDirectory]] = {
    "all": lambda d: d,
    "first": lambda d: select.first(d, 3),
    "last": lambda d: select.last(d, 1),
    "shortest": lambda d: select.shortest(d, 3),
    "drawn": lambda d: select.drawn(d, 2, 1),
    "per speaker": lambda d: select.per_speaker(d, 1),
    "speakers": lambda d: select.only_speakers(d, ["bert"]),
    "utterances": lambda d: select.only_utterances(d, ["anna-2", "bert-1"]),
    "prefixed": lambda d: select.prefixed(d, "x-"),
    "half": lambda d: select.split(d, 2)[1],
    "third": lambda d: select.split_by_utterance(d, 3)[2],
    "held out": lambda d: select.hold_out(d, ["anna"])[0],
    "combined": lambda d: select.combine({"a": d, "b": select.prefixed(d, "b-")})[0],
}


@pytest.mark.parametrize("make", [make_corpus, make_segmented_corpus])
@pytest.mark.parametrize("name", SELECTIONS)
def test_kaldi_accepts_every_selection(tmp_path: Path, name: str, make: Callable[[Path], Path]) -> None:
    train = with_every_table(make(tmp_path))
    SELECTIONS[name](DataDirectory.read(train)).write(tmp_path / "out")
    assert accepted(tmp_path / "out"), kaldi_says(tmp_path / "out")


def test_kaldi_accepts_whole_recordings_combined_with_segments(tmp_path: Path) -> None:
    whole = DataDirectory.read(make_corpus(tmp_path / "whole"))
    parts = select.prefixed(DataDirectory.read(make_segmented_corpus(tmp_path / "parts")), "p-")
    select.combine({"whole": whole, "parts": parts})[0].write(tmp_path / "both")
    assert accepted(tmp_path / "both"), kaldi_says(tmp_path / "both")


def test_kaldi_refuses_a_broken_directory_and_accepts_it_when_fixed(tmp_path: Path) -> None:
    train = with_every_table(make_corpus(tmp_path))
    audio_of(train, "anna-2").write_bytes(b"")
    write_lines(train / "text", (train / "text").read_text().splitlines()[::-1])
    assert not accepted(train)
    report = check_directory(train, FeatureSettings(), FrontEndSettings.subsampled_by(3))
    fix_directory(train, report.unreadable, force=True)
    assert accepted(train), kaldi_says(train)


INTERLEAVED = {"a-1": "a", "a-b-1": "a-b", "a-c": "a"}


def test_kaldi_agrees_that_speakers_must_not_interleave(tmp_path: Path) -> None:
    train = tmp_path / "train"
    write_lines(train / "utt2spk", [f"{utt_id} {speaker}" for utt_id, speaker in INTERLEAVED.items()])
    write_lines(train / "spk2utt", ["a a-1 a-c", "a-b a-b-1"])
    write_lines(train / "wav.scp", [f"{utt_id} {utt_id}.wav" for utt_id in INTERLEAVED])
    assert not accepted(train)
