"""A recording of any rate and number of channels as FLAC of one channel at one rate."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import soundfile
import soxr

from recitative.atomic import replacing
from recitative.audio.blocks import open_blocks
from recitative.audio.recording import Samples

BLOCK_S = 10.0


def convert(
    path: str | Path, target: str | Path, sample_rate: int, channel: int | None = None, *, partial: bool = False
) -> float:
    """Write ``target`` as 16-bit FLAC at ``sample_rate`` Hz; atomic, and in the memory of ten seconds.

    channel: the one that is taken, from 0; None: their average; partial: of what is cut off take what there is. Returns
    the largest |sample| before it was limited to [-1, 1]: where the recording itself reaches full scale, resampling
    overshoots it a little. Raises DataError for what ``open_blocks`` refuses.
    """
    peak = 0.0
    with open_blocks(path, BLOCK_S, channel, partial=partial) as (info, blocks), replacing(target) as unfinished:
        resampler = soxr.ResampleStream(info.sample_rate, sample_rate, 1, dtype="float32", quality="VHQ")
        with soundfile.SoundFile(os.fspath(unfinished), "w", sample_rate, 1, "PCM_16", format="FLAC") as file:
            for samples in blocks:
                peak = max(peak, _write(file, resampler.resample_chunk(samples)))
            peak = max(peak, _write(file, resampler.resample_chunk(np.zeros(0, np.float32), last=True)))
    return peak


def _write(file: soundfile.SoundFile, samples: Samples) -> float:
    """Write samples limited to [-1, 1]; returns their peak before."""
    file.write(np.clip(samples, -1.0, 1.0))
    return float(np.max(np.abs(samples), initial=0.0))
