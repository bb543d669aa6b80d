"""Chord symbols, such as Am7 or G/b, as pitches.

The signs are those of ABC notation (standard 2.1, section 4.18) and of the Nottingham Music Database, which writes Cd
for diminished, Ca for augmented, and the bass in small letters with + for a sharp: D/f+.
"""

from __future__ import annotations

import re

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
