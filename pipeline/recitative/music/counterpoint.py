"""How voices move together: crossings, parallel fifths and octaves, and which chords they form. Counted on grids.

Definitions are those of the textbooks (J. J. Fux, Gradus ad Parnassum, 1725; Aldwell and Schachter, Harmony and Voice
Leading), put so that they need no judgement: whatever is counted is listed in a function's description.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recitative.music.piece import SILENT, Pitches

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
