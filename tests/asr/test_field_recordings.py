"""Recordings as people have them, through the commands: their words, or what is the matter; see tests/field_cases."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from command_line import Ran, run
from recitative.asr.recognizer import Recognizer
from recitative.audio import recording
from recitative.errors import DataError

FIELD_CASES = Path(__file__).parents[1] / "field_cases"


def transcribe(*arguments: object, model: str = "an4-streaming", status: int = 0) -> Ran:
    return run("transcribe", *arguments, "--model", model, "--jobs", 1, "--format", "jsonl", status=status)


def texts(result: Ran) -> dict[str, str]:
    """Name -> text."""
    return {Path(line["file"]).name: line["text"] for line in map(json.loads, result.lines)}


@pytest.fixture(scope="module")
def heard() -> Ran:
    """All cases that can be read, in one call."""
    names = ("05_data_size_0.wav", "06_data_size_plus_44.wav", "08_piped.flac", "erase.wav", "go.wav")
    odd = ("10_inverted_stereo.wav", "11_quiet_40dB.flac", "13_telephone_8k.wav", "14_pink_noise.wav")
    return transcribe(*(FIELD_CASES / name for name in (*names, *odd)))


def test_a_wrong_length_in_the_header_changes_no_word(heard: Ran) -> None:
    words = texts(heard)
    assert words["erase.wav"]
    for name in ("05_data_size_0.wav", "06_data_size_plus_44.wav", "08_piped.flac"):
        assert words[name] == words["erase.wav"]


@pytest.mark.parametrize(
    ("name", "warning"),
    [
        ("10_inverted_stereo.wav", "the channels cancel each other"),
        ("11_quiet_40dB.flac", "is quiet, its peak is -43.0 dBFS"),
        ("13_telephone_8k.wav", "has 8000 Hz; the model knows speech of 16000 Hz"),
    ],
)
def test_what_a_model_cannot_hear_well_is_told(heard: Ran, name: str, warning: str) -> None:
    assert f"{name}: {warning}" in heard.err
    assert heard.err.count("warning: ") == 3  # and of nothing else


def test_noise_has_no_words_that_are_sure() -> None:
    (noise,) = map(json.loads, transcribe(FIELD_CASES / "14_pink_noise.wav", model="en").lines)
    assert all(word["confidence"] < 0.3 for word in noise["words"])


def test_each_channel_has_a_transcript_with_a_name() -> None:
    result = transcribe(FIELD_CASES / "10_inverted_stereo.wav", FIELD_CASES / "go.wav", "--channel", "each")
    assert texts(result) == {
        "10_inverted_stereo-left.wav": "go", "10_inverted_stereo-right.wav": "go", "go.wav": "go",
    }  # fmt: skip
    assert "cancel" not in result.err
    assert texts(transcribe(FIELD_CASES / "10_inverted_stereo.wav", "--channel", "right")) == {
        "10_inverted_stereo.wav": "go"
    }


def test_a_channel_that_is_not_there_is_told() -> None:
    result = transcribe(FIELD_CASES / "go.wav", "--channel", "right", status=1)
    assert "go.wav: has no channel 2; 1;" in result.err


@pytest.mark.parametrize("name", ["04_half.aiff", "04_half_rf64.wav", "07_data_size_half.wav"])
def test_partial_takes_what_there_is(name: str) -> None:
    result = transcribe(FIELD_CASES / name, status=1)
    assert result.out == ""
    assert "--partial" in result.err
    assert texts(transcribe(FIELD_CASES / name, "--partial"))[name]


def test_a_folder_names_what_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "has_pyav", lambda: False)
    for name in ("go.wav", "09_phone.m4a", "09_browser.webm", "README.md"):
        shutil.copy(FIELD_CASES / name, tmp_path / name)
    result = transcribe(tmp_path, status=1)
    assert texts(result) == {"go.wav": "go"}
    assert "files that are not recordings, skipped: 1 (README.md)" in result.err
    for stem, suffix, kind in (("09_phone", "m4a", "MP4 (m4a)"), ("09_browser", "webm", "WebM or Matroska")):
        path = tmp_path / stem
        assert f"{path}.{suffix}: is {kind}, which needs the package 'av'" in result.err
        assert f"convert it: ffmpeg -i '{path}.{suffix}' '{path}.flac'" in result.err


def test_recordings_of_phones_and_browsers_are_read_with_pyav() -> None:
    pytest.importorskip("av")
    result = transcribe(FIELD_CASES / "09_phone.m4a", FIELD_CASES / "09_browser.webm")
    assert len(set(texts(result).values())) == 1
    assert len(texts(result)["09_phone.m4a"].split()) > 3


def test_samples_at_16_bit_scale_are_refused(tmp_path: Path) -> None:
    samples, rate = soundfile.read(FIELD_CASES / "go.wav", dtype="float32")
    soundfile.write(tmp_path / "loud.wav", samples * 32768, rate, subtype="FLOAT")
    recognizer = Recognizer.load("an4-streaming")
    with pytest.raises(DataError, match=r"has samples up to [\d.]+; -1 to 1; divide by 32768"):
        recognizer.transcribe(tmp_path / "loud.wav")
    with pytest.raises(DataError, match=r"-1 to 1; divide them by 32768"):
        recognizer.transcribe(samples * 32768)
    stream = recognizer.stream()
    with pytest.raises(DataError, match=r"-1 to 1; divide them by 32768"):
        stream.accept(samples * np.float32(32768), rate)
