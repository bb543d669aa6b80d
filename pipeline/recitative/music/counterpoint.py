"""Voices and chords: voice-leading statistics, chord symbols, and voices for music that has none.

Crossings, parallel fifths and octaves, and the chords that voices form are counted on grids, by the definitions of J.
J. Fux, Gradus ad Parnassum (1725), and Aldwell and Schachter, Harmony and Voice Leading.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby

import numpy as np
import numpy.typing as npt

from recitative.music.piece import SILENT, Note, Piece, Pitches

FIFTH, OCTAVE = 7, 0  # semitones modulo 12
OTHER = "other"
_FEWEST = 3  # notes of a sonority that can be a chord

# Pitch classes above the root; every inversion and spacing is the same chord.
CHORDS: dict[str, tuple[int, ...]] = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "diminished": (0, 3, 6),
    "augmented": (0, 4, 8),
    "dominant seventh": (0, 4, 7, 10),
    "major seventh": (0, 4, 7, 11),
    "minor seventh": (0, 3, 7, 10),
    "half-diminished seventh": (0, 3, 6, 10),
    "diminished seventh": (0, 3, 6, 9),
}
TRIADS = ("major", "minor", "diminished", "augmented")
SEVENTHS = tuple(name for name in CHORDS if name not in TRIADS)


@dataclass(frozen=True)
class Share:
    """So many of so many."""

    count: int
    of: int

    def __add__(self, other: Share) -> Share:
        return Share(self.count + other.count, self.of + other.of)

    @property
    def rate(self) -> float:
        """0 to 1; NaN of nothing."""
        return self.count / self.of if self.of else float("nan")


def crossings(pitches: Pitches) -> Share:
    """Steps in which a voice sounds below one that is numbered as lower, of the steps in which two or more sound.

    pitches: (T, V), voice 0 the highest.
    """
    crossed = np.zeros(len(pitches), bool)
    for upper, lower in itertools.combinations(range(pitches.shape[1]), 2):
        both = (pitches[:, upper] != SILENT) & (pitches[:, lower] != SILENT)
        crossed |= both & (pitches[:, upper] < pitches[:, lower])
    together = (pitches != SILENT).sum(axis=1) >= 2
    return Share(int(crossed.sum()), int(together.sum()))


def chord_changes(pitches: Pitches) -> int:
    """Steps at which some voice has another pitch than one step before. pitches: (T, V)."""
    return int((pitches[1:] != pitches[:-1]).any(axis=1).sum())


def parallels(pitches: Pitches, interval: int) -> Share:
    """Pairs of voices that move in parallel, of the changes of chord.

    pitches: (T, V). interval: FIFTH or OCTAVE, modulo 12, so that a twelfth is a fifth and a unison an octave. A pair
    counts if, from one step to the next, both voices move in the same direction and are that interval apart before and
    after; contrary motion from a fifth to a twelfth doesn't count.
    """
    count = 0
    for first, second in itertools.combinations(range(pitches.shape[1]), 2):
        count += int(_parallel(pitches[:, first], pitches[:, second], interval).sum())
    return Share(count, chord_changes(pitches))


def _parallel(first: npt.NDArray[np.int16], second: npt.NDArray[np.int16], interval: int) -> npt.NDArray[np.bool_]:
    """(T - 1,) of two voices (T,)."""
    sounding = (first != SILENT) & (second != SILENT)
    apart = sounding & (np.abs(first - second) % 12 == interval)
    moves, follows = np.sign(np.diff(first)), np.sign(np.diff(second))
    return np.asarray(apart[:-1] & apart[1:] & (moves == follows) & (moves != 0))


def sonorities(pitches: Pitches) -> Counter[str]:
    """How many steps have which chord: a name of CHORDS, or OTHER. pitches: (T, V).

    Steps with fewer than three notes are left out; a doubled note is still two notes.
    """
    return Counter(
        chord_name([pitch for pitch in row if pitch != SILENT])
        for row in pitches.tolist()
        if sum(pitch != SILENT for pitch in row) >= _FEWEST
    )


def chord_name(sounding: list[int]) -> str:
    """Of MIDI pitches; the root may be any of them."""
    classes = frozenset(pitch % 12 for pitch in sounding)
    for root in sorted(classes):
        name = _NAMES.get(frozenset((pitch - root) % 12 for pitch in classes))
        if name:
            return name
    return OTHER


_NAMES = {frozenset(above): name for name, above in CHORDS.items()}


# Chord symbols, such as Am7 or G/b, as pitches.
#
# The signs are those of ABC notation (standard 2.1, section 4.18) and of the Nottingham Music Database, which writes
# Cd for diminished, Ca for augmented, and the bass in small letters with + for a sharp: D/f+.

LOWEST_ROOT = 48  # C3: roots lie in the octave from here

_NATURALS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_SIGNS = {"": 0, "#": 1, "+": 1, "b": -1, "-": -1}
_QUALITIES: dict[str, tuple[int, ...]] = {
    "": (0, 4, 7), "maj": (0, 4, 7), "M": (0, 4, 7),
    "m": (0, 3, 7), "min": (0, 3, 7), "-": (0, 3, 7),
    "5": (0, 7),
    "6": (0, 4, 7, 9), "m6": (0, 3, 7, 9),
    "7": (0, 4, 7, 10), "maj7": (0, 4, 7, 11), "M7": (0, 4, 7, 11), "m7": (0, 3, 7, 10), "min7": (0, 3, 7, 10),
    "9": (0, 4, 7, 10, 14), "m9": (0, 3, 7, 10, 14), "maj9": (0, 4, 7, 11, 14), "7b9": (0, 4, 7, 10, 13),
    "d": (0, 3, 6), "dim": (0, 3, 6), "o": (0, 3, 6), "dim7": (0, 3, 6, 9), "o7": (0, 3, 6, 9), "m7b5": (0, 3, 6, 10),
    "a": (0, 4, 8), "aug": (0, 4, 8), "+": (0, 4, 8), "a7": (0, 4, 8, 10), "aug7": (0, 4, 8, 10), "+7": (0, 4, 8, 10),
    "sus": (0, 5, 7), "sus4": (0, 5, 7), "sus2": (0, 2, 7), "7sus": (0, 5, 7, 10), "7sus4": (0, 5, 7, 10),
}  # fmt: skip
_CHORD = re.compile(r"(?P<root>[A-G])(?P<sign>[#b]?)(?P<quality>[^/]*)(?:/(?P<bass>[A-Ga-g])(?P<bass_sign>[#b+-]?))?")


def chord_pitches(symbol: str) -> tuple[int, ...]:
    """MIDI pitches from the lowest; the root is in the octave from LOWEST_ROOT, another bass under it.

    Raises ValueError for a symbol that is not understood.
    """
    match = _CHORD.fullmatch(symbol)
    quality = _QUALITIES.get(match["quality"]) if match else None
    if match is None or quality is None:
        raise ValueError(f"chord '{symbol}' is not understood")
    root = LOWEST_ROOT + (_NATURALS[match["root"]] + _SIGNS[match["sign"]]) % 12
    pitches = tuple(root + interval for interval in quality)
    if match["bass"] is None:
        return pitches
    below = (root - _NATURALS[match["bass"].upper()] - _SIGNS[match["bass_sign"]]) % 12
    return pitches if below == 0 else (root - below, *pitches)


# The voices of polyphonic music that comes without them, such as a piano's.


def separated(piece: Piece, voices: int) -> Piece:
    """Each note gets one of ``voices`` voices, from top to bottom at each moment.

    Notes that begin together are given, in the order of their pitches, to those free voices that keep the order with
    what is sounding and, among such, move least from their last pitches. More notes than free voices share them, the
    outer voices keeping the outer notes.
    Raises ValueError for fewer than one voice.
    """
    if voices < 1:
        raise ValueError(f"{piece.name}: {voices} voices; at least 1")
    last = _registers(piece, voices)
    ends = [0] * voices
    result: list[Note] = []
    for start, together in groupby(sorted(piece.notes), key=lambda note: note.start):
        chord = sorted(together, key=lambda note: note.pitch, reverse=True)
        for note, voice in zip(chord, _chosen(chord, start, last, ends), strict=True):
            result.append(replace(note, voice=voice))
            last[voice], ends[voice] = float(note.pitch), max(ends[voice], note.end)
    return replace(piece, notes=tuple(sorted(result)))


def _registers(piece: Piece, voices: int) -> list[float]:
    """Where each voice is thought to lie before its first note: the piece's pitches cut into equal parts."""
    pitches = [note.pitch for note in piece.notes] or [0]
    return [float(np.quantile(pitches, 1 - (voice + 0.5) / voices)) for voice in range(voices)]


def _chosen(chord: Sequence[Note], start: int, last: Sequence[float], ends: Sequence[int]) -> Sequence[int]:
    """A voice for each note of a chord, which is ordered from the top."""
    free = [voice for voice, end in enumerate(ends) if end <= start]
    if len(chord) > len(free):
        return _shared(chord, free or [_nearest(chord[0].pitch, last)])
    held = [(voice, last[voice]) for voice in range(len(ends)) if voice not in free]

    def cost(choice: Sequence[int]) -> tuple[int, float]:
        pairs = list(zip(chord, choice, strict=True))
        crossings = sum(_crosses(note.pitch, voice, *other) for note, voice in pairs for other in held)
        return crossings, sum(abs(note.pitch - last[voice]) for note, voice in pairs)

    return min(combinations(free, len(chord)), key=cost)


def _shared(chord: Sequence[Note], free: Sequence[int]) -> list[int]:
    """More notes than voices: the first voice has the top note, the last the lowest."""
    most = len(chord) - 1
    return [free[(number * (len(free) - 1) + most // 2) // most if most else 0] for number in range(len(chord))]


def _nearest(pitch: float, last: Sequence[float]) -> int:
    return min(range(len(last)), key=lambda voice: abs(last[voice] - pitch))


def _crosses(pitch: float, voice: int, other: int, other_pitch: float) -> bool:
    return (pitch - other_pitch) * (other - voice) < 0
