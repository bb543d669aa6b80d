"""Recordings of any length and number of channels, in blocks: memory does not grow with their duration."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from recitative.audio.quality import dbfs
from recitative.audio.recording import AudioInfo, Decoder, Samples, open_recording, require_sound
from recitative.errors import DataError

CANCELLED = 0.1
"""Channels cancel each other whose average has less than this part of their mean power; unlike sounds have 0.5."""

QUIET = 0.01
"""The peak (-40 dBFS) below which speech is so quiet that models hear little of it."""

OnWarning = Callable[[str], None]
"""Called with what is odd about a recording."""


@contextmanager
def open_blocks(
    path: str | Path,
    block_s: float,
    channel: int | None = None,
    *,
    partial: bool = False,
    on_warning: OnWarning = lambda found: None,
) -> Iterator[tuple[AudioInfo, Iterator[Samples]]]:
    """The header and the samples (S,) float32 in blocks of ``block_s`` seconds, of one ``channel`` or of their average.

    partial: of what is cut off or damaged take what there is. ``on_warning`` is told, after the last block, of channels
    that cancel each other in their average, and of samples that are very quiet. Raises DataError for what ``inspect``
    refuses and for a channel that isn't there, and while blocks are taken for NaN, infinite or far too large samples,
    a decoding failure, or fewer samples than the header says.
    """
    with open_recording(path, partial=partial) as recording:
        info = recording.info
        if channel is not None and channel >= info.channels:
            allowed = "1" if info.channels == 1 else f"1 to {info.channels}"
            raise DataError(str(path), f"has no channel {channel + 1}", allowed, "correct the channel")
        yield info, _blocks(path, recording, max(1, round(block_s * info.sample_rate)), channel, on_warning)


def _blocks(
    path: str | Path, recording: Decoder, size: int, channel: int | None, on_warning: OnWarning
) -> Iterator[Samples]:
    info, done = recording.info, 0
    of_channels = of_average = 0.0  # power
    peak = 0.0
    while done < info.num_samples:
        frames = recording.read(min(size, info.num_samples - done))  # (S, channels)
        if len(frames) == 0:
            break
        require_sound(path, frames, done, info.sample_rate)
        if channel is None and info.channels > 1:
            samples = frames.mean(axis=1, dtype=np.float32)
            of_channels += float(np.square(frames).sum()) / info.channels
            of_average += float(np.square(samples).sum())
        else:
            samples = frames[:, channel or 0]
        done += len(samples)
        peak = max(peak, float(np.abs(samples).max()))
        yield samples
    if of_average < CANCELLED * of_channels:
        on_warning("the channels cancel each other: one of them is inverted, or nearly; take one with --channel left")
    elif peak < QUIET:
        on_warning(f"is quiet, its peak is {dbfs(peak)}: models hear little of it; raise its level")
