"""Drawn sounds as a data directory like another one, so that a recognizer can be asked what is heard in them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from recitative.audio.files import write_wav
from recitative.audio.recording import Samples
from recitative.data.directory import DataDirectory


def write_data(like: DataDirectory, output: Path, sounds: Iterable[tuple[str, Samples]], sample_rate: int) -> None:
    """Write output/wav/UTT_ID.wav as each comes, then the tables of ``like`` for the utterances that came."""
    folder = output / "wav"
    folder.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    for utt_id, samples in sounds:
        paths[utt_id] = folder / f"{utt_id}.wav"
        write_wav(paths[utt_id], samples, sample_rate)
    like.with_utterances(
        replace(u, recording_path=str(paths[u.utt_id]), start_s=0.0, end_s=None, recording_id="")
        for u in like.utterances
        if u.utt_id in paths
    ).write(output)
