"""Read and write recordings: wav, flac, ogg (Opus, Vorbis), mp3 and others, as float32 samples.

A recording that cannot be read completely is an error (``audio.recording``). ``read_audio`` and ``open_blocks`` give
the same samples; blocks need memory for one block only, whatever the duration.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from recitative.atomic import replacing, write_bytes
from recitative.audio import media
from recitative.audio.recording import AudioDecoder, AudioInfo, Samples, open_recording, require_sound, truncated
from recitative.audio.samples import dbfs
from recitative.errors import DataError

__all__ = ["OVERSHOOT_S", "ROUNDING_S", "SUFFIXES", "AudioInfo", "Samples", "inspect", "read_audio", "write_wav"]

SUFFIXES = media.SUFFIXES | {
    ".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".w64", ".caf", ".rf64",
}  # fmt: skip
"""Suffixes of recordings in folders; a file given by name may have any."""

OVERSHOOT_S = 0.5
"""An end time may be this far beyond the recording, as in Kaldi; the samples then stop at its end."""

ROUNDING_S = 0.01
"""Up to this excess, a table has only rounded its times: no warning."""


def inspect(path: str | Path, *, partial: bool = False) -> AudioInfo:
    """Read a recording's header.

    path: of a file, or a location inside one; partial: accept truncated recordings. Raises DataError for a file that is
    missing, empty, not audio, truncated (as far as the container shows without decoding), or without samples.
    """
    with open_recording(path, partial=partial) as recording:
        return recording.info


def read_audio(
    path: str | Path, *, start_s: float = 0.0, end_s: float | None = None, partial: bool = False
) -> tuple[Samples, int]:
    """Decode one channel of samples, whole or from ``start_s`` to ``end_s``.

    Returns (samples (S,), sample_rate in Hz). Samples are in [-1, 1], but lossy decoders exceed it by a few percent.
    Raises DataError for whatever ``inspect`` refuses, more than one channel, NaN, infinite or far too large samples, a
    decoding failure, and times outside the recording (see OVERSHOOT_S).
    """
    with open_recording(path, partial=partial) as recording:
        info = recording.info
        if info.channels != 1:
            remedy = f"mix it down, for example 'sox {path} -c 1 mono.wav'"
            raise DataError(str(path), f"has {info.channels} channels", "one", remedy)
        first, stop = _sample_range(path, info, start_s, end_s)
        if first:
            recording.seek(first)
        samples = recording.read(stop - first)[:, 0]
    if len(samples) < max(1, stop - first - info.shortfall) and not (partial and len(samples)):
        raise truncated(path, len(samples), stop - first)
    require_sound(path, samples, first, info.sample_rate)
    return samples, info.sample_rate


def write_wav(path: str | Path, samples: npt.NDArray[np.floating], sample_rate: int) -> None:
    """Write (S,) samples in [-1, 1] as 16-bit wav; atomic.

    Raises DataError for samples that are not finite or would clip.
    """
    peak = float(np.max(np.abs(samples), initial=0.0))
    if not peak <= 1.0:  # also true for NaN
        raise DataError(str(path), f"samples reach {peak:g}", "-1 to 1", "scale them down before writing")
    integers = np.round(np.asarray(samples, np.float64) * 32768).clip(-32768, 32767).astype(np.int16)
    memory = io.BytesIO()  # libsndfile doesn't report why it cannot write a file
    soundfile.write(memory, integers, sample_rate, subtype="PCM_16", format="WAV")
    write_bytes(path, memory.getvalue())


def _sample_range(path: str | Path, info: AudioInfo, start_s: float, end_s: float | None) -> tuple[int, int]:
    first = round(start_s * info.sample_rate)
    stop = info.num_samples if end_s is None else round(end_s * info.sample_rate)
    if stop > info.num_samples + OVERSHOOT_S * info.sample_rate:
        raise DataError(
            str(path), f"{end_s:g} s is beyond its end", f"at most {info.duration_s:.3f} s", "correct the segment"
        )
    stop = min(stop, info.num_samples)
    if not 0 <= first < stop:
        raise DataError(
            str(path),
            f"{start_s:g} s to {end_s if end_s is not None else info.duration_s:g} s holds no samples",
            "0 <= start < end",
            "correct the segment",
        )
    return first, stop


CANCELLED = 0.1
"""Channels cancel each other if their average has less than this share of their mean power; unrelated ones have 0.5."""

QUIET = 0.01
"""The peak (-40 dBFS) below which speech is too quiet for models."""

OnWarning = Callable[[str], None]
"""Called with a warning about a recording."""


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

    partial: read the intact part of truncated or damaged recordings. ``on_warning`` is called after the last block if
    the channels cancel each other in their average, or the samples are very quiet. Raises DataError for whatever
    ``inspect`` refuses and for a missing channel, and, while blocks are read, for NaN, infinite or far too large
    samples, a decoding failure, or fewer samples than in the header.
    """
    with open_recording(path, partial=partial) as recording:
        info = recording.info
        if channel is not None and channel >= info.channels:
            allowed = "1" if info.channels == 1 else f"1 to {info.channels}"
            raise DataError(str(path), f"has no channel {channel + 1}", allowed, "correct the channel")
        yield info, _blocks(path, recording, max(1, round(block_s * info.sample_rate)), channel, on_warning)


def _blocks(
    path: str | Path, recording: AudioDecoder, size: int, channel: int | None, on_warning: OnWarning
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


CONVERT_BLOCK_S = 10.0


def convert(
    path: str | Path, target: str | Path, sample_rate: int, channel: int | None = None, *, partial: bool = False
) -> float:
    """Convert a recording to 16-bit FLAC with one channel at ``sample_rate`` Hz; atomic.

    channel: its number, from 0; None: the average of all; partial: read the intact part of truncated recordings.
    Returns the peak before samples were clipped to [-1, 1]: resampling slightly exceeds full scale where the recording
    reaches it. Raises DataError for whatever ``open_blocks`` refuses.
    """
    peak = 0.0
    with (
        open_blocks(path, CONVERT_BLOCK_S, channel, partial=partial) as (info, blocks),
        replacing(target) as unfinished,
    ):
        resampler = soxr.ResampleStream(info.sample_rate, sample_rate, 1, dtype="float32", quality="VHQ")
        with _flac(unfinished, sample_rate) as file:
            for samples in blocks:
                peak = max(peak, _write(file, resampler.resample_chunk(samples)))
            peak = max(peak, _write(file, resampler.resample_chunk(np.zeros(0, np.float32), last=True)))
    return peak


@contextmanager
def _flac(path: Path, sample_rate: int) -> Iterator[soundfile.SoundFile]:
    """Raises the OSError itself where libsndfile would raise an error without its reason."""
    with _Output(path, "w") as output:
        try:
            with soundfile.SoundFile(output, "w", sample_rate, 1, "PCM_16", format="FLAC") as file:
                yield file
        finally:
            if output.error:
                raise output.error


class _Output(io.FileIO):
    """Keeps an error that cannot pass through native code."""

    error: OSError | None = None

    def write(self, content: Any, /) -> int:
        left = memoryview(content)
        try:
            while left:  # a nearly full disk may take a part
                left = left[super().write(left) :]
        except OSError as error:
            self.error = self.error or error
        return len(content) - len(left)


def _write(file: soundfile.SoundFile, samples: Samples) -> float:
    """Write samples clipped to [-1, 1]; returns their peak before."""
    file.write(np.clip(samples, -1.0, 1.0))
    return float(np.max(np.abs(samples), initial=0.0))
