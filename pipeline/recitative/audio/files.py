"""From anything that is audio to float32 samples, and back to files; samples in memory: level, clipping, resampling.

Recordings are wav, flac, ogg (Opus, Vorbis), mp3 and others; one that cannot be read completely is an error
(``audio.recording``). ``read_audio`` and ``open_blocks`` give the same samples; blocks need memory for one block only,
whatever the duration. ``open_audio`` also takes bytes, open files and samples; ``expand`` and ``on_disk`` are for
arguments of the command line: files, folders, patterns, standard input.
"""

from __future__ import annotations

import glob
import io
import os
import shutil
import stat
import struct
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import gcd
from pathlib import Path
from typing import Any, Protocol, TypeGuard, cast

import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from recitative.atomic import replacing, write_bytes
from recitative.audio.recording import (
    MEDIA_SUFFIXES,
    REMEDY,
    AudioDecoder,
    AudioInfo,
    Samples,
    open_recording,
    truncated,
)
from recitative.errors import DataError, UsageError, counted, os_problem
from recitative.stage import Array

__all__ = ["OVERSHOOT_S", "ROUNDING_S", "SUFFIXES", "AudioInfo", "Samples", "inspect", "read_audio", "write_wav"]

SUFFIXES = MEDIA_SUFFIXES | {
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


def _sample_range(path: str | Path, info: AudioInfo, start_s: float, end_s: float | None) -> tuple[int, int]:
    first = round(start_s * info.sample_rate)
    stop = info.num_samples if end_s is None else round(end_s * info.sample_rate)
    if stop > info.num_samples + OVERSHOOT_S * info.sample_rate:
        allowed = f"at most {info.duration_s:.3f} s"
        raise DataError(str(path), f"{end_s:g} s is beyond its end", allowed, "correct the segment")
    stop = min(stop, info.num_samples)
    if not 0 <= first < stop:
        found = f"{start_s:g} s to {end_s if end_s is not None else info.duration_s:g} s holds no samples"
        raise DataError(str(path), found, "0 <= start < end", "correct the segment")
    return first, stop


MIXED_BLOCK_S = 30.0
CANCELLING = "the channels cancel each other: one of them is inverted, or nearly"
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
        on_warning(f"{CANCELLING}; take one, with --channel left or 'sox FILE left.wav remix 1'")
    elif peak < QUIET:
        on_warning(f"is quiet, its peak is {dbfs(peak)}: models hear little of it; raise its level")


class Readable(Protocol):
    """An open binary file, or any object with its ``read``."""

    def read(self, size: int = -1, /) -> bytes: ...


@dataclass(frozen=True)
class AudioBlocks:
    """A recording that is decoded elsewhere."""

    sample_rate: int  # Hz
    num_samples: int
    blocks: Iterator[Array]  # of samples (S,)


class SupportsArray(Protocol):
    """Any object that NumPy converts to an array, such as a torch tensor."""

    def __array__(self) -> Any: ...


SampleInput = Array | bytes | SupportsArray
"""Samples of one channel as a caller has them; see ``as_float``."""

AudioInput = str | Path | Readable | SampleInput | AudioBlocks
"""A recording in Python: a path, an open binary file, the bytes of a file, samples as an array or a tensor, or blocks
of them."""


@contextmanager
def open_audio(
    audio: AudioInput,
    sample_rate: int,
    block_s: float,
    channel: int | None = None,
    partial: bool = False,
    on_warning: OnWarning = lambda found: None,
) -> Iterator[tuple[int, int, Iterator[Array]]]:
    """The rate in Hz, the number of samples, and the samples (S,) in blocks of ``block_s`` seconds, of any input.

    sample_rate: of samples; a file has its own. The other parameters are those of ``open_blocks``, for files only.
    Raises DataError for an unreadable file, UsageError for samples of another shape or type.
    """
    if isinstance(audio, AudioBlocks):
        require_rate(audio.sample_rate)
        yield audio.sample_rate, audio.num_samples, audio.blocks
        return
    if not is_file(audio):
        require_rate(sample_rate)
        samples, size = as_float(cast(SampleInput, audio)), max(1, round(block_s * sample_rate))
        yield sample_rate, len(samples), (samples[start : start + size] for start in range(0, len(samples), size))
        return
    with (
        _spooled(audio) as path,
        open_blocks(path, block_s, channel, partial=partial, on_warning=on_warning) as (info, blocks),
    ):
        yield info.sample_rate, info.num_samples, blocks


def read_mixed(
    audio: AudioInput,
    sample_rate: int = 0,
    *,
    where: str = "",
    longest_s: float = np.inf,
    on_warning: OnWarning = lambda found: None,
) -> tuple[Samples, int]:
    """The mean of the channels (S,), or the left one if they cancel each other, and the rate in Hz.

    sample_rate: of samples; where: in errors. ``on_warning`` is called if channels cancel each other. Raises what
    ``open_audio`` raises, and DataError for more than ``longest_s``.
    """
    content: AudioInput = audio.read() if hasattr(audio, "read") else audio  # it may be read twice
    for channel in (None, 0):
        warnings: list[str] = []
        with open_audio(content, sample_rate, MIXED_BLOCK_S, channel, on_warning=warnings.append) as (rate, size, read):
            if size > longest_s * rate:
                raise DataError(where or str(audio), f"lasts {size / rate:.0f} s", f"at most {longest_s:g} s", "cut it")
            samples = np.concatenate([np.zeros(0, np.float32), *read])
        if not any(CANCELLING in warning for warning in warnings):
            break
        on_warning(f"{CANCELLING}; the left one is taken")
    return samples, rate


def is_file(audio: AudioInput) -> TypeGuard[str | Path | bytes | Readable]:
    """Whether a recording is a file or its content, and not samples."""
    return isinstance(audio, str | Path | bytes | bytearray) or hasattr(audio, "read")


@contextmanager
def _spooled(audio: str | Path | bytes | Readable) -> Iterator[str | Path]:
    """The path of a recording; bytes and open files are copied to a temporary file, which errors don't name."""
    if isinstance(audio, str | Path):
        yield audio
        return
    with tempfile.NamedTemporaryFile(prefix="recitative-audio-") as spool:
        if isinstance(audio, bytes | bytearray):
            spool.write(audio)
        else:
            shutil.copyfileobj(audio, spool)
        spool.flush()
        with naming(str(getattr(audio, "name", "the audio")), spool.name):
            yield spool.name


STANDARD_INPUT = "standard input"
"""The name of '-' in errors."""

MAX_LISTED = 5
"""Number of skipped files that are listed."""


def expand(inputs: Sequence[str], tell: Callable[[str], None] = lambda note: None) -> list[str]:
    """Expand files, folders (recursively) and patterns to files, each once, in order; '-' is kept.

    ``tell`` is called with a line about files in folders that are not recordings, and about a file that is given twice.
    Raises DataError for a folder or a pattern without recordings. A given file need not exist: opening it reports the
    error.
    """
    files: dict[str, None] = {}
    for name in inputs:
        if name != "-" and os.path.isdir(name):  # Path.is_dir fails for very long names
            paths = sorted(path for path in Path(name).rglob("*") if path.is_file())
            found = [str(path) for path in paths if path.suffix.lower() in SUFFIXES]
            if not found:
                os.listdir(name)  # raises PermissionError, which glob hides
                raise DataError(name, "has no recordings", ", ".join(sorted(SUFFIXES)), "correct the path")
            others = [str(path.relative_to(name)) for path in paths if path.suffix.lower() not in SUFFIXES]
            if others:
                shown = ", ".join(others[:MAX_LISTED]) + (", ..." if len(others) > MAX_LISTED else "")
                tell(f"{name}: files that are not recordings, skipped: {len(others)} ({shown})")
        elif any(sign in name for sign in "*?[") and not os.path.exists(name):
            found = sorted(path for path in glob.glob(name, recursive=True) if Path(path).is_file())
            if not found:
                raise DataError(name, "matches no file", "a pattern such as 'talks/*.flac'", "correct it")
        else:
            found = [name]
            if inputs.count(name) > 1 and name not in files:
                tell(f"{name}: is given more than once, and read once")
        files |= dict.fromkeys(found)
    return list(files)


def is_stream(file: str) -> bool:
    """Whether an input can be read only once, sequentially: '-', a pipe, ``<(command)``."""
    if file == "-" or file.startswith(("/dev/stdin", "/dev/fd/", "/proc/self/fd/")):
        return True
    try:
        mode = os.stat(file).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


@contextmanager
def on_disk(file: str, head: bytes = b"") -> Iterator[str]:
    """The path of a recording; a stream is copied to a temporary file, since its end may be needed to read its start.

    A DataError about that file names the stream. ``head``: bytes already read from it.
    """
    if not is_stream(file):
        yield file
        return
    with tempfile.NamedTemporaryFile(prefix="recitative-stdin-") as spool:
        spool.write(head)
        if file == "-":
            shutil.copyfileobj(sys.stdin.buffer, spool)
        else:
            try:
                with open(file, "rb") as source:
                    shutil.copyfileobj(source, spool)
            except OSError as error:
                raise DataError.collect([os_problem(error, file)]) from None
        spool.flush()
        with naming(file, spool.name):
            yield spool.name


@contextmanager
def naming(file: str, path: str) -> Iterator[None]:
    """Within this context, a DataError about ``path`` names ``file``, its source."""
    try:
        yield
    except DataError as error:
        name = STANDARD_INPUT if file == "-" else file
        problems = [replace(p, where=name) if p.where == path else p for p in error.problems]
        raise DataError.collect(problems) from None


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


def wav_header(sample_rate: int) -> bytes:
    """Header of a 16-bit mono WAV file of open length, such as for a pipe; sample_rate in Hz."""
    form = struct.pack("<HHIIHH", 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    length = b"\xff\xff\xff\xff"  # players read to the end of the stream
    return b"RIFF" + length + b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + length


def wav_samples(samples: npt.NDArray[np.floating]) -> bytes:
    """The bytes of samples (S,) in [-1, 1]; others are clipped."""
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype("<i2").tobytes()


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
        _flac(unfinished, sample_rate) as file,
    ):
        resampler = block_resampler(info.sample_rate, sample_rate)

        def write(samples: Samples) -> None:
            nonlocal peak
            file.write(np.clip(samples, -1.0, 1.0))
            peak = max(peak, float(np.max(np.abs(samples), initial=0.0)))

        for samples in blocks:
            write(resampler.resample_chunk(samples))
        write(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
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
    """Stores an error that cannot pass through native code."""

    error: OSError | None = None

    def write(self, content: Any, /) -> int:
        left = memoryview(content)
        try:
            while left:  # a nearly full disk may take a part
                left = left[super().write(left) :]
        except OSError as error:
            self.error = self.error or error
        return len(content) - len(left)


MAX_AMPLITUDE = 2.0
"""Lossy decoders exceed 1 by a few percent, float files at 16-bit scale by thousands."""


def as_float(samples: SampleInput) -> Array:
    """(S,) or (1, S), float in [-1, 1] or int16 -> (S,) float32.

    An array, a torch tensor on any device, or bytes of 16-bit little-endian samples. Raises UsageError for another
    shape or type, DataError for NaN, infinite or far too large samples.
    """
    array = _as_array(samples)
    if array.ndim == 2 and len(array) == 1:  # as torchaudio gives one channel
        array = array[0]
    if array.ndim != 1:
        raise UsageError(f"samples have shape {array.shape}: must be (S,), one channel; mix the channels first")
    if array.dtype == np.int16:
        return np.asarray(array / np.float32(32768), np.float32)
    if array.dtype.kind != "f":
        raise UsageError(f"samples are {array.dtype}: must be float in [-1, 1] or int16")
    peak = float(np.abs(array).max(initial=0.0))
    if peak <= MAX_AMPLITUDE:  # false for NaN
        return np.asarray(array, np.float32)
    if not np.isfinite(array).all():
        first = int(np.argmin(np.isfinite(array)))
        raise DataError(f"sample {first}", f"is {array[first]}", "finite numbers", "look for the fault before it")
    remedy = "divide them by 32768 if they are 16-bit values, or give int16"
    raise DataError(f"sample {int(np.abs(array).argmax())}", f"is {peak:g} in size", "-1 to 1", remedy)


def _as_array(samples: Any) -> Array:
    if isinstance(samples, bytes | bytearray | memoryview):
        if len(samples) % 2:
            raise UsageError(
                f"samples are {counted(len(samples), 'byte')}: must be an even number, two for each 16-bit sample"
            )
        return np.frombuffer(samples, "<i2")
    if hasattr(samples, "detach"):  # a torch tensor: it may have a gradient, or be on a GPU
        samples = samples.detach().cpu()
        samples = samples.float() if samples.is_floating_point() else samples
    return np.asarray(samples)


def require_rate(sample_rate: int, before: int = 0) -> None:
    """Raises UsageError for a rate (Hz) out of range, or other than ``before``, the stream's own (0: none yet)."""
    if before and sample_rate != before:
        found = f"sample rate changed from {before} to {sample_rate} Hz in mid-stream"
        raise UsageError(f"stream: {found}; finish() it and begin a new one")
    if not 1000 <= sample_rate <= 768000:
        raise UsageError(f"sample_rate={sample_rate}: must be from 1000 to 768000 Hz")


def require_sound(path: str | Path, samples: Samples, first: int, sample_rate: int) -> None:
    """Raises DataError for NaN, infinity or another scale in samples of a file that start at number ``first``."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    if peak <= MAX_AMPLITUDE:  # false for NaN
        return
    finite = np.isfinite(samples).reshape(len(samples), -1).all(axis=1)
    if finite.all():
        remedy = "divide by 32768 if they are 16-bit values"
        raise DataError(str(path), f"has samples up to {peak:g}", "-1 to 1", remedy)
    at_s = (first + int(np.argmin(finite))) / sample_rate
    raise DataError(str(path), f"has NaN or infinite samples, the first at {at_s:.3f} s", "numbers", REMEDY)


FULL_SCALE = 0.999  # -0.009 dBFS: what 16-bit limiters and lossy codecs leave of full scale
CLIPPED_RUN = 3  # consecutive samples at full scale: one or two are a loud peak, three are clipped
CLIPPED_WARNING = 0.001  # share of samples in such runs from which it is audible
CLIPPED_PROBLEM = 0.01  # ... and from which clipping dominates the spectrum
SILENCE = 0.001  # -60 dBFS


@dataclass(frozen=True)
class Quality:
    """Measures of samples in [-1, 1]."""

    peak: float  # largest |x|
    swing: float  # half the range of the samples: the peak without a constant offset
    clipped: float  # 0 to 1: share of samples in runs of CLIPPED_RUN or more at full scale


def measure(samples: Samples) -> Quality:
    """Measures of (S,) finite samples, S >= 1."""
    low, high = float(samples.min()), float(samples.max())
    peak, clipped = max(abs(low), abs(high)), 0.0
    if peak >= FULL_SCALE:
        at_full_scale = np.abs(samples) >= FULL_SCALE
        edges = np.flatnonzero(np.diff(np.concatenate(([False], at_full_scale, [False]))))
        runs = edges[1::2] - edges[0::2]  # a run starts at an even edge and ends at the next
        clipped = float(runs[runs >= CLIPPED_RUN].sum()) / len(samples)
    return Quality(peak, (high - low) / 2, clipped)


def dbfs(amplitude: float) -> str:
    """An amplitude as text: '-60.0 dBFS', or 'digital silence' for zero."""
    return f"{20 * np.log10(amplitude):.1f} dBFS" if amplitude > 0 else "digital silence"


def resample(samples: Samples, from_rate: float, to_rate: float) -> Samples:
    """(S,) at ``from_rate`` Hz -> (about S * to_rate / from_rate,) at ``to_rate`` Hz, float32.

    By libsoxr: windowed sinc, linear phase, very high quality. The rates are positive and may be fractional: speed
    perturbation by 1.1 is resample(x, 1.1 * rate, rate). Equal rates return the samples unchanged. Peaks may overshoot
    [-1, 1] slightly; nothing is clipped.
    """
    if from_rate <= 0 or to_rate <= 0:
        raise ValueError(f"rates must be positive, got {from_rate} and {to_rate}")
    if from_rate == to_rate:
        return samples
    return np.asarray(soxr.resample(np.asarray(samples, np.float32), from_rate, to_rate, quality="VHQ"), np.float32)


def block_resampler(from_rate: int, to_rate: int) -> soxr.ResampleStream:
    """Resamples (S,) float32 block by block; equal to ``resample`` of the whole."""
    return soxr.ResampleStream(from_rate, to_rate, 1, dtype="float32", quality="VHQ")


class StreamResampler:
    """Resampling of a stream: all outputs so far, followed by ``ending``, equal ``resample`` of all samples so far.

    libsoxr delays its output by some tenths of a second. ``ending`` returns what it would give if the recording ended
    here, and the stream can continue: a second resampler processes the last samples again, from a position where
    samples of both rates coincide, far enough back that its start-up has no effect.
    """

    REACH_S = 0.25  # of audio before an output that its filter covers, with a margin

    def __init__(self, from_rate: int, to_rate: int) -> None:
        """In Hz; equal rates leave the samples unchanged."""
        self._rates = from_rate, to_rate
        self._resampler = block_resampler(from_rate, to_rate) if from_rate != to_rate else None
        self._recent: Samples = np.zeros(0, np.float32)  # the last input samples,
        self._begin = 0  # and the number of the first of them
        self._given = 0  # output samples so far

    def accept(self, samples: Samples) -> Samples:
        """The next samples (S,) -> the output available after them (S',)."""
        if self._resampler is None:
            return samples
        out: Samples = self._resampler.resample_chunk(np.asarray(samples, np.float32))
        self._given += len(out)
        from_rate, to_rate = self._rates
        together = from_rate // gcd(from_rate, to_rate)  # samples between positions where both rates coincide
        needed = int((self._given / to_rate - self.REACH_S) * from_rate)
        begin = max(self._begin, needed // together * together)
        self._recent = np.concatenate([self._recent, samples])[begin - self._begin :]
        self._begin = begin
        return out

    def ending(self) -> Samples:
        """The rest of the output if the recording ends here (S',)."""
        if self._resampler is None:
            return self._recent
        from_rate, to_rate = self._rates
        again: Samples = block_resampler(from_rate, to_rate).resample_chunk(self._recent, last=True)
        return again[self._given - self._begin * to_rate // from_rate :]
