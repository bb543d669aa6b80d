"""A sound data directory of four short recordings that tests make and then break."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

RATE = 16000
TEXTS = {"anna-1": "one two", "anna-2": "three", "bert-1": "two", "bert-2": "four one"}


def noise(seconds: float = 0.5, *, seed: int = 0, level: float = 0.1) -> np.ndarray:
    """(S,) noise that no check minds."""
    samples = level * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return samples.clip(-0.9, 0.9).astype(np.float32)


def write_audio(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype=subtype)


def write_lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(f"{line}\n" for line in lines).encode())


def make_corpus(folder: Path) -> Path:
    """Write audio and tables under ``folder``; returns the data directory ``folder/train``."""
    train = folder / "train"
    for seed, utt_id in enumerate(TEXTS):
        write_audio(audio_of(train, utt_id), noise(seed=seed))
    write_lines(train / "wav.scp", [f"{utt_id} {audio_of(train, utt_id)}" for utt_id in TEXTS])
    write_lines(train / "text", [f"{utt_id} {text}" for utt_id, text in TEXTS.items()])
    write_lines(train / "utt2spk", [f"{utt_id} {utt_id.split('-')[0]}" for utt_id in TEXTS])
    write_lines(train / "spk2utt", ["anna anna-1 anna-2", "bert bert-1 bert-2"])
    return train


def make_segmented_corpus(folder: Path) -> Path:
    """The same utterances, two to a recording of one second each."""
    train = make_corpus(folder)
    for seed, speaker in enumerate(("anna", "bert")):
        write_audio(audio_of(train, speaker), noise(1.0, seed=seed))
    write_lines(train / "wav.scp", [f"{speaker} {audio_of(train, speaker)}" for speaker in ("anna", "bert")])
    spans = {"1": "0.0 0.5", "2": "0.5 1.0"}
    write_lines(train / "segments", [f"{u} {u.split('-')[0]} {spans[u.split('-')[1]]}" for u in TEXTS])
    return train


def audio_of(train: Path, utt_id: str) -> Path:
    return train.parent / "audio" / f"{utt_id}.wav"


def replace_line(table: Path, number: int, line: str) -> None:
    """Line ``number`` from 1."""
    lines = table.read_text().splitlines()
    lines[number - 1] = line
    write_lines(table, lines)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below the folder, to see that nothing changed."""
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def write_sounds(folder: Path, rate: int, seconds: list[float], text: list[str]) -> Path:
    """A data directory of noise at any sample rate: utterances u0, u1, ... by one speaker each."""
    names = [f"u{number}" for number in range(len(seconds))]
    for number, (name, length) in enumerate(zip(names, seconds, strict=True)):
        samples = 0.1 * np.random.default_rng(number).standard_normal(round(length * rate))
        write_audio(folder / "audio" / f"{name}.wav", samples.clip(-0.9, 0.9).astype(np.float32), rate)
    write_lines(folder / "wav.scp", [f"{name} {folder / 'audio' / name}.wav" for name in names])
    write_lines(folder / "text", [f"{name} {words}" for name, words in zip(names, text, strict=True)])
    write_lines(folder / "utt2spk", [f"{name} {name}" for name in names])
    write_lines(folder / "spk2utt", [f"{name} {name}" for name in names])
    return folder
