"""Soundfonts (sf2, sf3): where they lie, and a piece played with one by TinySoundFont.

TinySoundFont's wheel asks for PyAudio, which has to be compiled and isn't needed to compute samples; so it is no
dependency, and who wants it installs it alone.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recitative.errors import DataError, UsageError
from recitative.music.piece import Piece

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
    """A synthesiser with the program and a place from left to right on each voice's channel."""
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
