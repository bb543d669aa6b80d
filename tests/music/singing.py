"""Melodies as sound for tests: clean tones, and a voice with vibrato, glides, drift and noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recitative.music.midi import frequency
from recitative.music.piece import Piece

RATE = 16000


@dataclass(frozen=True)
class Voice:
    """vibrato, drift and scatter: semitones, drift over the whole melody, scatter of each note; glide_s: between notes;
    snr_db: of white noise; timing_s: standard deviation of the onsets"""

    vibrato: float = 0.0
    glide_s: float = 0.0
    drift: float = 0.0
    scatter: float = 0.0
    snr_db: float = 60.0
    timing_s: float = 0.0


CLEAN = Voice()
SUNG = Voice(vibrato=0.5, glide_s=0.07, drift=0.4, scatter=0.12, snr_db=20.0, timing_s=0.02)


def sing(piece: Piece, voice: Voice, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    """(S,) samples of a melody without rests, at RATE. offset: semitones from A = 440 Hz"""
    rng = np.random.default_rng(seed)
    starts = [note.start * piece.step_s + rng.normal(0, voice.timing_s) * (note.start > 0) for note in piece.notes]
    count = round((piece.seconds + 0.3) * RATE)
    time = np.arange(count) / RATE
    pitch = np.zeros(count)
    level = np.zeros(count)
    for number, (note, start) in enumerate(zip(piece.notes, starts, strict=True)):
        end = starts[number + 1] if number + 1 < len(starts) else note.end * piece.step_s
        first, last = round(start * RATE), round(end * RATE)
        pitch[first:] = note.pitch + rng.normal(0, voice.scatter)
        inside = time[first:last] - start
        shape = np.minimum(1, np.minimum(inside / 0.03, (end - start - inside) / 0.03 + 0.3))
        level[first:last] = np.maximum(shape, 0.35) * (0.7 + 0.3 * np.exp(-inside))
    if voice.glide_s:
        window = np.hanning(round(voice.glide_s * RATE))
        pitch = np.convolve(np.pad(pitch, len(window), mode="edge"), window / window.sum(), "same")[
            len(window) : -len(window)
        ]
    pitch += offset + voice.drift * time / time[-1] + voice.vibrato * np.sin(2 * np.pi * 5.5 * time) * (level > 0)
    phase = 2 * np.pi * np.cumsum(frequency(69) * 2 ** ((pitch - 69) / 12)) / RATE
    sound = level * sum(np.sin(n * phase) / n for n in range(1, 6))
    noise = rng.normal(0, np.sqrt(np.mean(sound**2)) * 10 ** (-voice.snr_db / 20), count)
    return (0.2 * (sound + noise)).astype(np.float32)


def note_f1(transcribed, wanted: Piece) -> float:
    """Notes with equal pitch and an onset within 50 ms (as in MIREX), each found once."""
    left = [(note.start_s, note.pitch) for note in transcribed]
    hits = 0
    for note in wanted.notes:
        start = note.start * wanted.step_s
        match = next((one for one in left if one[1] == note.pitch and abs(one[0] - start) <= 0.05), None)
        if match:
            left.remove(match)
            hits += 1
    return 2 * hits / (len(transcribed) + len(wanted.notes))
