"""A recording of any rate and number of channels as FLAC of one channel at one rate."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soundfile
import soxr

from recitative.atomic import replacing
from recitative.audio.blocks import open_blocks
from recitative.audio.files import Samples
from recitative.audio.quality import OUT_OF_RANGE
from recitative.errors import DataError

BLOCK_S = 10.0


def convert(path: str | Path, target: str | Path, sample_rate: int, channel: int | None = None) -> float:
    """Write ``target`` as 16-bit FLAC at ``sample_rate`` Hz; atomic, and in the memory of ten seconds.

    channel: the one that is taken, from 0; None: their average. Returns the largest |sample| before it was limited to
    [-1, 1]: where the recording itself reaches full scale, resampling overshoots it a little. Raises DataError for what
    ``open_blocks`` refuses and for samples that are not in [-1, 1] at all.
    """
    peak = 0.0
    with open_blocks(path, BLOCK_S, channel) as (info, blocks), replacing(target) as partial:
        resampler = soxr.ResampleStream(info.sample_rate, sample_rate, 1, dtype="float32", quality="VHQ")
        with soundfile.SoundFile(os.fspath(partial), "w", sample_rate, 1, "PCM_16", format="FLAC") as file:
            for samples in blocks:
                _require_scale(path, samples)
                peak = max(peak, _write(file, resampler.resample_chunk(samples)))
            peak = max(peak, _write(file, resampler.resample_chunk(np.zeros(0, np.float32), last=True)))
    return peak


def _write(file: soundfile.SoundFile, samples: Samples) -> float:
    """Write samples limited to [-1, 1]; returns their peak before."""
    file.write(np.clip(samples, -1.0, 1.0))
    return float(np.max(np.abs(samples), initial=0.0))


def _require_scale(path: str | Path, samples: Samples) -> None:
    peak = float(np.max(np.abs(samples), initial=0.0))
    if peak > OUT_OF_RANGE:
        raise DataError(
            str(path), f"has samples up to {peak:g}", "-1 to 1", "divide by 32768 if they are 16-bit values"
        )
