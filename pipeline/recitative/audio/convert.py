"""A recording of any rate and number of channels as FLAC of one channel at one rate."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
        with _flac(unfinished, sample_rate) as file:
            for samples in blocks:
                peak = max(peak, _write(file, resampler.resample_chunk(samples)))
            peak = max(peak, _write(file, resampler.resample_chunk(np.zeros(0, np.float32), last=True)))
    return peak


@contextmanager
def _flac(path: Path, sample_rate: int) -> Iterator[soundfile.SoundFile]:
    """What libsndfile makes of an error of the operating system is of no use to anybody; this raises the OSError."""
    with _Output(path, "w") as output:
        try:
            with soundfile.SoundFile(output, "w", sample_rate, 1, "PCM_16", format="FLAC") as file:
                yield file
        finally:
            if output.error:
                raise output.error


class _Output(io.FileIO):
    """Keeps the error that cannot pass through native code."""

    error: OSError | None = None

    def write(self, content: Any, /) -> int:
        left = memoryview(content)
        try:
            while left:  # a disk that is nearly full takes a part
                left = left[super().write(left) :]
        except OSError as error:
            self.error = self.error or error
        return len(content) - len(left)


def _write(file: soundfile.SoundFile, samples: Samples) -> float:
    """Write samples limited to [-1, 1]; returns their peak before."""
    file.write(np.clip(samples, -1.0, 1.0))
    return float(np.max(np.abs(samples), initial=0.0))
