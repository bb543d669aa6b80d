"""Synthesis of a piece: with a soundfont (sf2, sf3) and TinySoundFont, or with a small additive synthesizer.

TinySoundFont's wheel requires PyAudio, which has to be compiled and is not needed to compute samples. It is therefore
not a dependency; users who want it install it with ``pip install --no-deps tinysoundfont``.

A note of the additive synthesizer is a sum of harmonics, the higher of which decay faster, as on a struck string. Notes
start and end at exact samples.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from recitative.errors import DataError, UsageError
from recitative.music.piece import VELOCITY, Piece, velocities

ENVIRONMENT = "RECITATIVE_SOUNDFONT"
FOLDERS = (Path("/usr/share/sounds/sf2"), Path("/usr/share/sounds/sf3"), Path("/usr/share/soundfonts"))
SUFFIXES = frozenset({".sf2", ".sf3"})
TAIL_S = 1.0  # after the last step, for the decay of the last notes
_LOUDER = 10  # added to velocities for a soundfont
_CHANNELS = tuple(channel for channel in range(16) if channel != 9)  # 9 is for drums
_PAN = 10  # controller number

Stereo = npt.NDArray[np.float32]
"""(S, 2): left, right."""


def find_soundfont() -> Path | None:
    """The soundfont in RECITATIVE_SOUNDFONT, otherwise the first in the usual folders or in pretty_midi; None without
    one, or without TinySoundFont, which plays it.

    Raises UsageError if the variable does not name a file.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        if not Path(named).is_file():
            raise UsageError(f"{ENVIRONMENT}: '{named}' is not a file; an sf2 or sf3 file; correct it or unset it")
        return Path(named)
    if not importlib.util.find_spec("tinysoundfont"):
        return None
    spec = importlib.util.find_spec("pretty_midi")
    folders = [*FOLDERS, *([Path(spec.origin).parent] if spec and spec.origin else [])]
    found = (path for folder in folders for path in sorted(folder.glob("*")) if path.suffix.lower() in SUFFIXES)
    return next(found, None)


def play(piece: Piece, soundfont: Path, sample_rate: int, program: int | Sequence[int]) -> Stereo:
    """Samples (S, 2) of the piece and TAIL_S, not limited. Each voice has one MIDI channel and one program.

    Raises UsageError if TinySoundFont is not installed or the soundfont lacks the program (0..127), DataError for a
    file that is not a soundfont.
    """
    synth = _open_synth(piece, soundfont, sample_rate, program)
    per_step = piece.step_s * sample_rate
    events = []  # (sample, whether the note starts, pitch, voice, velocity): ends come first at the same time
    for note, velocity in zip(piece.notes, velocities(piece, VELOCITY + _LOUDER), strict=True):
        events.append((round(note.start * per_step), True, note.pitch, note.voice, velocity))
        events.append((round(note.end * per_step), False, note.pitch, note.voice, 0))
    parts, now = [], 0

    def generate(until: int) -> None:
        parts.append(np.frombuffer(synth.generate(until - now), np.float32).reshape(-1, 2))

    for sample, starts, pitch, voice, velocity in sorted(events):
        generate(sample)
        now = sample
        channel = _CHANNELS[voice % len(_CHANNELS)]
        if starts:
            synth.noteon(channel, pitch, velocity)
        else:
            synth.noteoff(channel, pitch)
    generate(round((piece.seconds + TAIL_S) * sample_rate))
    samples = np.concatenate(parts)
    fade = round(TAIL_S / 2 * sample_rate)
    samples[len(samples) - fade :] *= np.linspace(1, 0, fade, dtype=np.float32)[:, None]
    return samples


def place(voice: int, voices: int) -> float:
    """The position of a voice, from -1 for left to 1 for right; 0 for a single voice."""
    return 2 * voice / (voices - 1) - 1 if voices > 1 else 0.0


def _open_synth(piece: Piece, soundfont: Path, sample_rate: int, program: int | Sequence[int]) -> Any:
    """A synthesizer with program and panning on the channel of each voice."""
    synth, number = load_soundfont(soundfont, sample_rate)
    programs = [program] if isinstance(program, int) else program
    for voice in range(piece.voices):
        channel, chosen = _CHANNELS[voice % len(_CHANNELS)], programs[min(voice, len(programs) - 1)]
        try:
            synth.program_select(channel, number, 0, chosen)
        except RuntimeError:
            raise UsageError(f"{soundfont}: has no program {chosen}; 0 to 127; choose one that it has") from None
        synth.control_change(channel, _PAN, round(64 + 40 * place(voice, piece.voices)))
    return synth


def load_soundfont(soundfont: Path, sample_rate: int) -> tuple[Any, int]:
    """A synthesizer with a soundfont, and the number of the soundfont in it. Raises what ``play`` raises."""
    try:
        import tinysoundfont
    except ImportError:
        raise UsageError(
            "soundfont: TinySoundFont is not installed; it plays sf2 and sf3 files; "
            "'pip install --no-deps tinysoundfont', or leave the soundfont out"
        ) from None
    synth = tinysoundfont.Synth(samplerate=sample_rate)
    try:
        number = synth.sfload(str(soundfont))
    except Exception as error:  # the binding raises any error of its C code
        found = f"is not a soundfont ({error})" if soundfont.is_file() else "does not exist"
        raise DataError(str(soundfont), found, "an sf2 or sf3 file", "give another one") from None
    return synth, number


# Additive synthesis

SAMPLE_RATE = 44100  # Hz
PEAK = 0.9  # maximum
LEVEL = 0.25  # of one note
HARMONICS = (1.0, 0.42, 0.28, 0.15, 0.09, 0.05, 0.03)  # amplitudes of the fundamental and its multiples
DECAY = 0.9  # 1/s, of the fundamental of middle C
ATTACK_S = 0.006
RELEASE_S = 0.045  # within the note
WIDTH = 0.7  # of the panning; 1: outer voices are on one side only
_MIDDLE_C = 60
_AUDIBLE = 0.45  # of the sample rate; higher harmonics are left out


def render(
    piece: Piece,
    *,
    sample_rate: int = SAMPLE_RATE,
    soundfont: Path | None = None,
    program: int | Sequence[int] = 0,
) -> Stereo:
    """Samples (S, 2) of at most PEAK. S is the duration of the piece, with a soundfont plus TAIL_S.

    sample_rate: Hz. soundfont: an sf2 or sf3 file. program: with a soundfont, General MIDI instrument, 0..127, of all
    voices or of each.
    Raises UsageError and DataError; see ``play``.
    """
    played = _synthesize(piece, sample_rate) if soundfont is None else play(piece, soundfont, sample_rate, program)
    loudest = float(np.max(np.abs(played), initial=0.0))
    return played * np.float32(PEAK / loudest) if loudest > PEAK else played


def mp3_bytes(samples: Stereo, sample_rate: int = SAMPLE_RATE) -> bytes:
    """Encode (S, 2) as MP3 at about 70 kbit/s. sample_rate: one of MPEG, such as 44100 Hz"""
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples, sample_rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.7,
        bitrate_mode="VARIABLE",
    )  # fmt: skip
    return buffer.getvalue()


def frequency(pitch: int) -> float:
    """Frequency of a MIDI pitch in Hz, in equal temperament: 440 * 2^((pitch - 69) / 12)."""
    return float(440.0 * 2.0 ** ((pitch - 69) / 12))


def tone(pitch: int, num_samples: int, sample_rate: int) -> npt.NDArray[np.float32]:
    """(S,) samples of a tone that is held.

    sum over n of HARMONICS[n - 1] exp(-(1 + n) d t / 2) sin(2 pi n f t), which is exp(-d t / 2) times the imaginary
    part of a polynomial in z = exp((2 pi i f - d / 2) t): one exponential instead of a sine for each harmonic.
    """
    time_s = np.arange(num_samples) / sample_rate
    hertz = frequency(pitch)
    decay = DECAY * 2.0 ** ((pitch - _MIDDLE_C) / 24)  # higher tones decay faster
    z = np.exp((2j * np.pi * hertz - decay / 2) * time_s)
    total = np.zeros(num_samples, np.complex128)
    for amplitude in reversed(HARMONICS[: int(_AUDIBLE * sample_rate / hertz)]):  # Horner's scheme
        total = (total + amplitude) * z
    sound = np.abs(z) * total.imag
    attack = _rise(round(ATTACK_S * sample_rate))[:num_samples]
    sound[: len(attack)] *= attack
    return np.asarray(LEVEL * sound, np.float32)


def _synthesize(piece: Piece, sample_rate: int) -> Stereo:
    """The highest voice is on the left, with constant power. Notes of one pitch are cut from one long tone."""
    mix = np.zeros((round(piece.seconds * sample_rate), 2), np.float32)
    gains = {note: value / VELOCITY for note, value in zip(piece.notes, velocities(piece), strict=True)}
    angles = [np.pi / 4 * (1 + WIDTH * place(voice, piece.voices)) for voice in range(piece.voices)]
    panning = [np.array([np.cos(angle), np.sin(angle)], np.float32) for angle in angles]
    by_pitch = sorted(piece.notes, key=lambda note: (note.pitch, note))
    for pitch, notes in itertools.groupby(by_pitch, key=lambda note: note.pitch):
        spans = [
            (note, round(note.start * piece.step_s * sample_rate), round(note.end * piece.step_s * sample_rate))
            for note in notes
        ]
        long = tone(pitch, max(end - first for _, first, end in spans), sample_rate)
        for note, first, end in spans:
            sound = long[: end - first].copy()
            fall = _rise(min(round(RELEASE_S * sample_rate), len(sound) // 4))[::-1]  # at most a quarter of the note
            sound[len(sound) - len(fall) :] *= fall
            mix[first:end] += sound[:, None] * (gains[note] * panning[note.voice])
    return mix


def _rise(num_samples: int) -> npt.NDArray[np.float32]:
    """A raised cosine from 0 to 1, which avoids clicks."""
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.arange(num_samples) / max(1, num_samples)), np.float32)
