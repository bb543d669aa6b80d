"""How many processes recordings get without --jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from recitative.cli import options
from small_corpus import noise, write_audio


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(options, "available_cores", lambda: 4)
    for name, seconds in (("short", 1.0), ("minute", 61.0), ("also", 61.0)):
        write_audio(tmp_path / f"{name}.wav", noise(seconds))
    (tmp_path / "bad.wav").write_bytes(b"nothing")
    return {path.stem: str(path) for path in tmp_path.glob("*.wav")}


@pytest.mark.parametrize(
    ("names", "jobs", "expected"),
    [
        (["minute"], 0, 1),
        (["short", "minute"], 0, 1),
        (["minute", "also"], 0, 2),  # two minutes: one for each core, and no more than recordings
        (["short", "minute", "also", "bad", "bad", "bad"], 0, 4),
        (["bad", "bad"], 0, 1),
        (["short", "minute"], 2, 2),
        (["short", "minute"], 8, 2),
    ],
)
def test_little_audio_gets_one_process(files, names: list[str], jobs: int, expected: int) -> None:
    assert options.processes_for([files[name] for name in names], {}, jobs) == expected


def test_the_channels_of_a_file_count_as_the_recordings_they_are(files) -> None:
    channels = {f"{side}.wav": (files["minute"], number) for number, side in enumerate(("left", "right"))}
    assert options.processes_for(list(channels), channels, 0) == 2
