"""The sound of a piece: through a soundfont, or with a small synthesiser of its own.

The own one is additive: a note is a handful of harmonics of which the higher ones fade sooner, as on a plucked or
struck string. Notes begin and end at their sample; where nothing sounds, there is silence.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from recitative.audio import files
from recitative.music import soundfont as fonts
from recitative.music.piece import Note, Piece

Stereo = npt.NDArray[np.float32]
"""(S, 2): left, right."""

SAMPLE_RATE = 44100  # Hz
PEAK = 0.9  # no rendering is louder
LEVEL = 0.25  # of one note
HARMONICS = (1.0, 0.42, 0.28, 0.15, 0.09, 0.05, 0.03)  # amplitudes of the fundamental and its multiples
DECAY = 0.9  # 1/s, of middle C's fundamental
ATTACK_S = 0.006
RELEASE_S = 0.045  # within the note, so that it is over at its end
WIDTH = 0.7  # 1: the outer voices sound on one side only
_MIDDLE_C = 60
_AUDIBLE = 0.45  # of the sample rate: harmonics above it are left out


def render(piece: Piece, *, sample_rate: int = SAMPLE_RATE, soundfont: Path | None = None, program: int = 0) -> Stereo:
    """Samples (S, 2) of at most PEAK, the same for the same piece. S is the piece's duration, with a soundfont
    ``soundfont.TAIL_S`` more, in which the last notes fade.

    sample_rate: Hz. soundfont: an sf2 or sf3 file. program: General MIDI's instrument, 0..127, with a soundfont.
    Raises UsageError and DataError as ``soundfont.play`` does.
    """
    played = _add_up(piece, sample_rate) if soundfont is None else fonts.play(piece, soundfont, sample_rate, program)
    loudest = float(np.max(np.abs(played), initial=0.0))
    return played * np.float32(PEAK / loudest) if loudest > PEAK else played


def write_wav(
    piece: Piece,
    path: str | Path,
    *,
    sample_rate: int = SAMPLE_RATE,
    soundfont: Path | None = None,
    program: int = 0,
) -> None:
    """Write what ``render`` gives as 16-bit stereo wav; atomic."""
    samples = render(piece, sample_rate=sample_rate, soundfont=soundfont, program=program)
    files.write_wav(path, samples, sample_rate)


def mp3_bytes(samples: Stereo, sample_rate: int = SAMPLE_RATE) -> bytes:
    """(S, 2) as MP3, which every browser plays, at about 70 kbit/s. sample_rate: one of MPEG's, such as 44100 Hz."""
    buffer = io.BytesIO()
    soundfile.write(
        buffer, samples, sample_rate, format="MP3", subtype="MPEG_LAYER_III", compression_level=0.7,
        bitrate_mode="VARIABLE",
    )  # fmt: skip
    return buffer.getvalue()


def frequency(pitch: int) -> float:
    """Hz of a MIDI pitch: 440 * 2^((pitch - 69) / 12), equal temperament."""
    return float(440.0 * 2.0 ** ((pitch - 69) / 12))


def sample_span(note: Note, step_s: float, sample_rate: int) -> tuple[int, int]:
    """The first sample of a note and the one after its last."""
    return round(note.start * step_s * sample_rate), round(note.end * step_s * sample_rate)


def tone(pitch: int, num_samples: int, sample_rate: int) -> npt.NDArray[np.float32]:
    """(S,) of a string that is struck and held; its attack begins at sample 0.

    sum over n of HARMONICS[n - 1] exp(-(1 + n) d t / 2) sin(2 pi n f t), which is exp(-d t / 2) times the imaginary
    part of a polynomial in z = exp((2 pi i f - d / 2) t): one exponential in place of a sine for each harmonic.
    """
    time_s = np.arange(num_samples) / sample_rate
    hertz = frequency(pitch)
    decay = DECAY * 2.0 ** ((pitch - _MIDDLE_C) / 24)  # shorter strings fade sooner
    z = np.exp((2j * np.pi * hertz - decay / 2) * time_s)
    total = np.zeros(num_samples, np.complex128)
    for amplitude in reversed(HARMONICS[: int(_AUDIBLE * sample_rate / hertz)]):  # Horner's scheme
        total = (total + amplitude) * z
    sound = np.abs(z) * total.imag
    attack = _rise(round(ATTACK_S * sample_rate))[:num_samples]
    sound[: len(attack)] *= attack
    return np.asarray(LEVEL * sound, np.float32)


def _add_up(piece: Piece, sample_rate: int) -> Stereo:
    mix = np.zeros((round(piece.seconds * sample_rate), 2), np.float32)
    panning = [_panned(voice, piece.voices) for voice in range(piece.voices)]
    for note, first, sound in _sounds(piece, sample_rate):
        mix[first : first + len(sound)] += sound[:, None] * panning[note.voice]
    return mix


def _sounds(piece: Piece, sample_rate: int) -> Iterator[tuple[Note, int, npt.NDArray[np.float32]]]:
    """Each note with its first sample and samples: notes of one pitch are the beginnings of one long tone."""
    by_pitch = sorted(piece.notes, key=lambda note: (note.pitch, note))
    for pitch, notes in itertools.groupby(by_pitch, key=attrgetter("pitch")):
        spans = [(note, *sample_span(note, piece.step_s, sample_rate)) for note in notes]
        long = tone(pitch, max(end - first for _, first, end in spans), sample_rate)
        for note, first, end in spans:
            yield note, first, _released(long[: end - first], sample_rate)


def _released(sound: npt.NDArray[np.float32], sample_rate: int) -> npt.NDArray[np.float32]:
    """Faded out at its end, over a quarter of a very short note."""
    fall = _rise(min(round(RELEASE_S * sample_rate), len(sound) // 4))[::-1]
    return np.concatenate([sound[: len(sound) - len(fall)], sound[len(sound) - len(fall) :] * fall])


def _rise(num_samples: int) -> npt.NDArray[np.float32]:
    """Half a cosine from 0 up to 1: no edge, so no click."""
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * np.arange(num_samples) / max(1, num_samples)), np.float32)


def _panned(voice: int, voices: int) -> npt.NDArray[np.float32]:
    """(2,) gains of left and right of constant power: the highest voice on the left, the lowest on the right."""
    angle = np.pi / 4 * (1 + WIDTH * fonts.place(voice, voices))
    return np.array([np.cos(angle), np.sin(angle)], np.float32)
