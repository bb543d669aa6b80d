"""Whether a recording can be what it claims: level, clipping, silence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recitative.audio.recording import Samples

FULL_SCALE = 0.999  # -0.009 dBFS: what 16-bit limiters and lossy codecs leave of a sample at full scale
CLIPPED_RUN = 3  # samples in a row at full scale: one or two are a loud peak, three are a cut-off one
CLIPPED_WARNING = 0.001  # part of the samples in such runs from which a person hears it
CLIPPED_PROBLEM = 0.01  # ... and from which the spectrum is mostly made by the clipping
SILENCE = 0.001  # -60 dBFS


@dataclass(frozen=True)
class Quality:
    """Measures of samples in [-1, 1]."""

    peak: float  # largest |x|
    swing: float  # half the distance from the lowest to the highest sample: the peak without a constant offset
    clipped: float  # 0 to 1: part of the samples in runs of CLIPPED_RUN or more at full scale


def measure(samples: Samples) -> Quality:
    """Measures of (S,) finite samples, S >= 1."""
    low, high = float(samples.min()), float(samples.max())
    peak = max(abs(low), abs(high))
    return Quality(peak, (high - low) / 2, _clipped_part(samples) if peak >= FULL_SCALE else 0.0)


def dbfs(amplitude: float) -> str:
    """An amplitude in words: '-60.0 dBFS', or 'digital silence' for zero."""
    return f"{20 * np.log10(amplitude):.1f} dBFS" if amplitude > 0 else "digital silence"


def _clipped_part(samples: Samples) -> float:
    at_full_scale = np.abs(samples) >= FULL_SCALE
    edges = np.flatnonzero(np.diff(np.concatenate(([False], at_full_scale, [False]))))
    runs: npt.NDArray[np.int64] = edges[1::2] - edges[0::2]  # a run starts at an even edge and ends at the next
    return float(runs[runs >= CLIPPED_RUN].sum()) / len(samples)
