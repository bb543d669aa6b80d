"""Recordings on disk: wav, flac, ogg (Opus, Vorbis), mp3 and others, as float32 samples.

A path may also be the location of a recording inside a shard (``audio.slices``).

A recording that cannot be read whole is an error: see ``audio.recording``, through which ``audio.blocks`` reads as
well, so that both have the same samples.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from recitative.atomic import write_bytes
from recitative.audio import media
from recitative.audio.recording import AudioInfo, Samples, open_recording, require_sound, truncated
from recitative.errors import DataError

__all__ = ["OVERSHOOT_S", "ROUNDING_S", "SUFFIXES", "AudioInfo", "Samples", "inspect", "read_audio", "write_wav"]

SUFFIXES = media.SUFFIXES | {
    ".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3", ".aiff", ".aif", ".aifc", ".au", ".snd", ".w64", ".caf", ".rf64",
}  # fmt: skip
"""What counts as a recording in a folder; a file that is named itself may be called anything."""

OVERSHOOT_S = 0.5
"""An end time may lie this far beyond the recording, as in Kaldi. The samples then stop at its end."""

ROUNDING_S = 0.01
"""So far, a table has only rounded its seconds: nobody needs to be told."""


def inspect(path: str | Path, *, partial: bool = False) -> AudioInfo:
    """Read a recording's header.

    path: of a file, or a location inside one; partial: of what is cut off take what there is

    Raises DataError for a file that is missing, empty, not audio, truncated (as far as the container tells without
    decoding), or without samples.
    """
    with open_recording(path, partial=partial) as recording:
        return recording.info


def read_audio(
    path: str | Path, *, start_s: float = 0.0, end_s: float | None = None, partial: bool = False
) -> tuple[Samples, int]:
    """Decode one channel of samples, whole or from ``start_s`` to ``end_s``.

    Returns (samples (S,), sample_rate in Hz). Samples lie in [-1, 1], but lossy decoders overshoot by a few per cent.
    Raises DataError for everything ``inspect`` does, more than one channel, NaN, infinite or far too large samples, a
    decoding failure, and times that are not within the recording (see OVERSHOOT_S).
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
    """Write (S,) samples in [-1, 1] as 16-bit wav; atomic: the file is there whole or not at all.

    Raises DataError for samples that are not finite or would clip.
    """
    peak = float(np.max(np.abs(samples), initial=0.0))
    if not peak <= 1.0:  # also true for NaN
        raise DataError(str(path), f"samples reach {peak:g}", "-1 to 1", "scale them down before writing")
    integers = np.round(np.asarray(samples, np.float64) * 32768).clip(-32768, 32767).astype(np.int16)
    memory = io.BytesIO()  # libsndfile doesn't say why it cannot write a file
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
