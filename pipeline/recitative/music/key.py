"""The key of a piece, from how long each pitch class sounds (Krumhansl & Kessler 1982, Temperley's correlation)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from recitative.music.piece import SILENT, Pitches

# How well each pitch class fits a key, from the tonic upwards: Krumhansl & Kessler's probe tones.
MAJOR = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)


def pitch_classes(pitches: Pitches) -> npt.NDArray[np.float64]:
    """(12,) how many steps each sounds in, C first; every voice counts."""
    counts = np.bincount(pitches[pitches != SILENT].astype(np.int64) % 12, minlength=12)
    return counts.astype(np.float64)


def key_of(pitches: Pitches) -> tuple[int, bool]:
    """(tonic's pitch class, whether it is minor): the key whose profile correlates best. C major for silence."""
    counts = pitch_classes(pitches)
    if not counts.any():
        return 0, False
    fits = [
        (float(np.corrcoef(np.roll(profile, tonic), counts)[0, 1]), tonic, minor)
        for minor, profile in ((False, MAJOR), (True, MINOR))
        for tonic in range(12)
    ]
    _, tonic, minor = max(fits, key=lambda fit: fit[0])
    return tonic, minor
