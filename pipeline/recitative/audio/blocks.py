"""Recordings of any length and number of channels, in blocks: memory does not grow with their duration."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import soundfile

from recitative.audio.files import AudioInfo, Samples, decoding_failure, inspect, not_finite
from recitative.errors import DataError


@contextmanager
def open_blocks(
    path: str | Path, block_s: float, channel: int | None = None
) -> Iterator[tuple[AudioInfo, Iterator[Samples]]]:
    """The header and the samples (S,) float32 in blocks of ``block_s`` seconds, of one ``channel`` or of their average.

    Raises DataError for what ``inspect`` refuses, and while blocks are taken for NaN or infinite samples, a decoding
    failure, or fewer samples than the header says.
    """
    info = inspect(path)
    with soundfile.SoundFile(os.fsencode(path)) as file:
        yield info, _blocks(path, info, file, max(1, round(block_s * info.sample_rate)), channel)


def _blocks(
    path: str | Path, info: AudioInfo, file: soundfile.SoundFile, size: int, channel: int | None
) -> Iterator[Samples]:
    done = 0
    while done < info.num_samples:
        try:
            frames = file.read(min(size, info.num_samples - done), dtype="float32", always_2d=True)  # (S, channels)
        except soundfile.LibsndfileError as error:
            raise decoding_failure(path, error) from None
        if len(frames) == 0:
            if done and done >= info.num_samples - info.shortfall:
                return
            found = f"is truncated: {done} of {info.num_samples} samples could be decoded"
            raise DataError(str(path), found, "", "record or copy it again")
        if channel is None:
            samples = frames[:, 0] if info.channels == 1 else frames.mean(axis=1, dtype=np.float32)
        else:
            samples = frames[:, channel]
        if not np.isfinite(samples).all():
            raise not_finite(path, samples, done, info.sample_rate)
        done += len(samples)
        yield np.asarray(samples, np.float32)
