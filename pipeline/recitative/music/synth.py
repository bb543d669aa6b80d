"""The sound of a piece: through a soundfont (sf2, sf3) with TinySoundFont, or with a small additive synthesizer.

TinySoundFont's wheel requires PyAudio, which has to be compiled and is not needed to compute samples. It is therefore
not a dependency; users who want it install it with ``pip install --no-deps tinysoundfont``.
"""

from __future__ import annotations

import importlib.util
import io
import itertools
import os
from collections.abc import Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile

from recitative.audio import files
from recitative.errors import DataError, UsageError
from recitative.music import synth as fonts
from recitative.music.piece import Note, Piece

ENVIRONMENT = "RECITATIVE_SOUNDFONT"
FOLDERS = (Path("/usr/share/sounds/sf2"), Path("/usr/share/sounds/sf3"), Path("/usr/share/soundfonts"))
SUFFIXES = frozenset({".sf2", ".sf3"})
TAIL_S = 1.0  # after the last step, for what still rings
VELOCITY = 90
_CHANNELS = tuple(channel for channel in range(16) if channel != 9)  # the tenth is drums'
_PAN = 10  # the controller
_OFF, _ON = 0, 1  # at one moment notes end before others begin


def find_soundfont() -> Path | None:
    """The file that RECITATIVE_SOUNDFONT names, else the first by name in the usual folders, else pretty_midi's.

    Raises UsageError if the variable names no file. None: there is none.
    """
    named = os.environ.get(ENVIRONMENT)
    if named:
        if not Path(named).is_file():
            raise UsageError(f"{ENVIRONMENT}: '{named}' is not a file; an sf2 or sf3 file; correct it or unset it")
        return Path(named)
    folders = (*FOLDERS, *_folder_of("pretty_midi"))
    found = (path for folder in folders for path in sorted(folder.glob("*")) if path.suffix.lower() in SUFFIXES)
    return next(found, None)


def play(piece: Piece, soundfont: Path, sample_rate: int, program: int) -> npt.NDArray[np.float32]:
    """Samples (S, 2) of the piece and TAIL_S, not limited. One MIDI channel a voice.

    Raises UsageError if TinySoundFont isn't installed or the soundfont has no such program (0..127), DataError for a
    file that is no soundfont.
    """
    synth = _opened(piece, soundfont, sample_rate, program)
    parts, now = [], 0
    for sample, kind, pitch, voice in _events(piece, sample_rate):
        parts.append(_generated(synth, sample - now))
        now = sample
        channel = _CHANNELS[voice % len(_CHANNELS)]
        if kind == _ON:
            synth.noteon(channel, pitch, VELOCITY)
        else:
            synth.noteoff(channel, pitch)
    parts.append(_generated(synth, round((piece.seconds + TAIL_S) * sample_rate) - now))
    return _faded(np.concatenate(parts), round(TAIL_S / 2 * sample_rate))


def place(voice: int, voices: int) -> float:
    """From -1, left, for the first voice to 1 for the last; 0 for a single one."""
    return 2 * voice / (voices - 1) - 1 if voices > 1 else 0.0


def _folder_of(package: str) -> Iterator[Path]:
    spec = importlib.util.find_spec(package)
    if spec and spec.origin:
        yield Path(spec.origin).parent


def _opened(piece: Piece, soundfont: Path, sample_rate: int, program: int) -> Any:
    """A synthesizer with the program and a place from left to right on each voice's channel."""
    synth = _library().Synth(samplerate=sample_rate)
    try:
        number = synth.sfload(str(soundfont))
    except Exception as error:  # the binding raises whatever its C code does
        found = f"is not a soundfont ({error})" if soundfont.is_file() else "does not exist"
        raise DataError(str(soundfont), found, "an sf2 or sf3 file", "give another one") from None
    for voice in range(piece.voices):
        channel = _CHANNELS[voice % len(_CHANNELS)]
        try:
            synth.program_select(channel, number, 0, program)
        except RuntimeError:
            raise UsageError(f"{soundfont}: has no program {program}; 0 to 127; choose one that it has") from None
        synth.control_change(channel, _PAN, round(64 + 40 * place(voice, piece.voices)))
    return synth


def _library() -> Any:
    try:
        import tinysoundfont
    except ImportError:
        raise UsageError(
            "soundfont: TinySoundFont is not installed; it plays sf2 and sf3 files; "
            "'pip install --no-deps tinysoundfont', or leave the soundfont out"
        ) from None
    return tinysoundfont


def _events(piece: Piece, sample_rate: int) -> list[tuple[int, int, int, int]]:
    """(sample, _OFF or _ON, pitch, voice) in the order in which they are played."""
    per_step = piece.step_s * sample_rate
    return sorted(
        event
        for note in piece.notes
        for event in (
            (round(note.start * per_step), _ON, note.pitch, note.voice),
            (round(note.end * per_step), _OFF, note.pitch, note.voice),
        )
    )


def _generated(synth: Any, num_samples: int) -> npt.NDArray[np.float32]:
    return np.frombuffer(synth.generate(num_samples), np.float32).reshape(-1, 2)


def _faded(samples: npt.NDArray[np.float32], num_samples: int) -> npt.NDArray[np.float32]:
    """What still rings at the end is turned down."""
    samples[len(samples) - num_samples :] *= np.linspace(1, 0, num_samples, dtype=np.float32)[:, None]
    return samples


# The sound of a piece: through a soundfont, or with a small synthesizer of its own.
#
# The own one is additive: a note is a handful of harmonics of which the higher ones fade sooner, as on a plucked or
# struck string. Notes begin and end at their sample; where nothing sounds, there is silence.

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
