"""An authentic cadence as the end of a piece: V or V7, then I, both in root position.

The chords are constraints on what a model samples. A voice gets the notes of the chord, the lowest one its root, and
never a note after which the remaining voices could not complete the chord. The leading note is not doubled, and voices
do not cross if they need not. The first chord lasts up to a quarter note, the second to the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recitative.music.frames import FrameCode
from recitative.music.piece import SILENT, Pitches, key_of
from recitative.stage import Ids, Mask

_ROOT, _THIRD, _FIFTH, _SEVENTH = 7, 11, 2, 5  # of the dominant, in semitones above the tonic
MIN_VOICES = 3

TonalKey = tuple[int, bool]  # pitch class of the tonic, whether it is minor


@dataclass(frozen=True)
class ChordRule:
    """Pitch classes: of the lowest voice, of all voices, those that must sound, and those that are not doubled."""

    bass: int
    notes: frozenset[int]
    needed: frozenset[int]
    single: frozenset[int] = frozenset()


def chord_rules(key: TonalKey) -> tuple[ChordRule, ChordRule]:
    """The dominant and the tonic of a key."""
    tonic, minor = key

    def above(*steps: int) -> frozenset[int]:
        return frozenset((tonic + step) % 12 for step in steps)

    third = 3 if minor else 4
    dominant = ChordRule(
        (tonic + _ROOT) % 12, above(_ROOT, _THIRD, _FIFTH, _SEVENTH), above(_ROOT, _THIRD), above(_THIRD, _SEVENTH)
    )
    return dominant, ChordRule(tonic, above(0, third, 7), above(0, third))


@dataclass(frozen=True)
class Cadence:
    """dominant, tonic: the steps at which the chords begin; key: None: that of each piece, estimated from its notes"""

    dominant: int
    tonic: int
    key: TonalKey | None = None

    def keys(self, code: FrameCode, tokens: Ids) -> list[TonalKey]:
        """The key of each piece (N, T, V), from its notes before the cadence."""
        return [self.key or key_of(code.midi(row[: self.dominant])) for row in tokens]

    def allowed(self, code: FrameCode, key: TonalKey, step: int, frame: Ids, voice: int, possible: Mask) -> Mask:
        """(outputs,): the tokens of a voice in a step. frame: (V,), ``hidden`` where nothing is decided.

        possible: (outputs,), the tokens that other constraints leave; if none of them fits, all notes of the chord.
        """
        rule = chord_rules(key)[step >= self.tonic]
        midi = np.arange(code.lowest, code.highest + 1)
        decided = {v: int(p) for v, p in enumerate(code.midi(frame)) if frame[v] < code.silence}
        classes = {pitch % 12 for pitch in decided.values()}
        left = int((frame == code.hidden).sum()) - 1  # voices that are decided later
        if voice == code.voices - 1:
            fits = midi % 12 == rule.bass
        else:
            bass_left = frame[-1] == code.hidden  # it will bring its root
            missing = rule.needed - classes - ({rule.bass} if bass_left else set())
            good = rule.notes - (rule.single & classes)
            fits = np.isin(midi % 12, [c for c in good if len(missing - {c}) <= left - bass_left])
        above = min((pitch for v, pitch in decided.items() if v < voice), default=code.highest)
        below = max((pitch for v, pitch in decided.items() if v > voice), default=code.lowest)
        allowed = np.append(fits, False) & possible
        in_order = allowed & np.append((midi >= below) & (midi <= above), False)
        if in_order.any():
            return np.asarray(in_order)
        return np.asarray(allowed if allowed.any() else np.append(np.isin(midi % 12, list(rule.notes)), False))


def is_authentic(pitches: Pitches, key: TonalKey) -> bool:
    """Whether a piece ends with V or V7 and then I, complete up to the fifth and in root position. pitches: (T, V).

    The last chord is what sounds at the end, the one before it what sounded when the last chord began. In minor, the
    last chord may be major.
    """
    sounding = np.flatnonzero((pitches != SILENT).any(axis=1))
    if not len(sounding):
        return False
    last = int(sounding[-1])
    begin = last
    while begin > 0 and (pitches[begin - 1] == pitches[last]).all():
        begin -= 1
    if not begin:
        return False
    dominant, tonic = chord_rules(key)
    _, major = chord_rules((key[0], False))
    final = pitches[last]
    return _is_chord(pitches[begin - 1], dominant) and (_is_chord(final, tonic) or _is_chord(final, major))


def _is_chord(frame: Sequence[int] | Pitches, rule: ChordRule) -> bool:
    sounding = [int(pitch) for pitch in frame if pitch != SILENT]
    classes = {pitch % 12 for pitch in sounding}
    return bool(sounding) and min(sounding) % 12 == rule.bass and rule.needed <= classes <= rule.notes


def fits(pitches: Pitches, cadence: Cadence, key: TonalKey) -> bool:
    """Whether given notes (T, V), SILENT where there is none, have their place in the two chords."""
    for rule, first, last in zip(
        chord_rules(key), (cadence.dominant, cadence.tonic), (cadence.tonic, len(pitches)), strict=True
    ):
        part = pitches[first:last]
        bass = part[:, -1][part[:, -1] != SILENT] % 12
        if not np.isin(part[part != SILENT] % 12, list(rule.notes)).all() or (bass != rule.bass).any():
            return False
    return True
