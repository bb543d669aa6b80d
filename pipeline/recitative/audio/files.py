"""Recordings on disk: wav, flac, ogg (Opus, Vorbis) and mp3 through libsndfile, as float32 samples.

A path may also be the location of a recording inside a shard (``audio.slices``).

A recording that cannot be read whole is an error. libsndfile alone returns the first half of a truncated wav as if
it were all, so the sizes that the file itself declares are compared with what is there.
"""

from __future__ import annotations

import io
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile

from recitative.atomic import write_bytes
from recitative.audio.slices import AudioSlice
from recitative.errors import DataError

Samples = npt.NDArray[np.float32]

SUFFIXES = frozenset({".wav", ".flac", ".ogg", ".opus", ".oga", ".mp3", ".aiff", ".aif", ".au", ".w64", ".caf"})
"""What counts as a recording in a folder; a file that is named itself may be called anything."""

OVERSHOOT_S = 0.5
"""An end time may lie this far beyond the recording, as in Kaldi. The samples then stop at its end."""

ROUNDING_S = 0.01
"""So far, a table has only rounded its seconds: nobody needs to be told."""

SHORTFALL_S = 0.01
"""A decoder may deliver so much less than the header says without that anything is missing."""

_MP3_PADDING = 3 * 1152  # samples of an encoder's delay and padding, which headers count and decoders leave out
_LONGEST = 1 << 40  # samples; libsndfile reports 2**63-1 for a flac whose header leaves the length open
OPEN_ENDED = 0x7FFF0000  # wav sizes from here up are what sox and ffmpeg write into a pipe: "unknown"
_OGG_PAGE_MAX = 65307  # bytes, RFC 3533
_REMEDY = "record or copy it again, or remove the utterance"


@dataclass(frozen=True)
class AudioInfo:
    """What a recording's header says."""

    sample_rate: int  # Hz
    channels: int
    num_samples: int  # per channel
    encoding: str  # libsndfile's name: PCM_16, PCM_U8, FLOAT, OPUS, ...

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate

    @property
    def shortfall(self) -> int:
        """Samples by which a whole recording may end before its header says."""
        padding = _MP3_PADDING if self.encoding == "MPEG_LAYER_III" else 0
        return max(padding, round(SHORTFALL_S * self.sample_rate))


def inspect(path: str | Path) -> AudioInfo:
    """Read a recording's header.

    path: of a file, or a location inside one

    Raises DataError for a file that is missing, empty, not audio, truncated (as far as the container tells without
    decoding), or without samples.
    """
    return _inspect(path, _open(path))


def _inspect(path: str | Path, source: _Source) -> AudioInfo:
    try:
        header = soundfile.info(_rewound(source))
    except soundfile.LibsndfileError as error:
        raise DataError(str(path), _open_failure(path, error), "wav, flac, ogg or mp3", _REMEDY) from None
    if isinstance(source, str):
        _require_whole_container(source)
    if header.frames >= _LONGEST:
        raise DataError(str(path), "the header does not say how long it is", "a complete flac", "encode it again")
    if header.frames == 0:
        raise DataError(str(path), "has no samples", "at least one", _REMEDY)
    return AudioInfo(header.samplerate, header.channels, header.frames, header.subtype)


def read_audio(path: str | Path, *, start_s: float = 0.0, end_s: float | None = None) -> tuple[Samples, int]:
    """Decode one channel of samples, whole or from ``start_s`` to ``end_s``.

    Returns (samples (S,), sample_rate in Hz). Samples lie in [-1, 1], but lossy decoders overshoot by a few per cent.
    Raises DataError for everything ``inspect`` does, more than one channel, NaN or infinite samples, a decoding
    failure, and times that are not within the recording (see OVERSHOOT_S).
    """
    source = _open(path)
    info = _inspect(path, source)
    if info.channels != 1:
        raise DataError(
            str(path), f"has {info.channels} channels", "one", f"mix it down, for example 'sox {path} -c 1 mono.wav'"
        )
    first, stop = _sample_range(path, info, start_s, end_s)
    samples = _decode(path, source, first, stop, info.shortfall)
    if not np.isfinite(samples).all():
        raise not_finite(path, samples, first, info.sample_rate)
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


def not_finite(path: str | Path, samples: Samples, first: int, sample_rate: int) -> DataError:
    """The error for NaN or infinity among samples that begin with number ``first`` of a recording."""
    at_s = (first + int(np.argmin(np.isfinite(samples)))) / sample_rate
    return DataError(str(path), f"has NaN or infinite samples, the first at {at_s:.3f} s", "numbers", _REMEDY)


def decoding_failure(path: str | Path, error: soundfile.LibsndfileError) -> DataError:
    """The error for a recording whose header is sound and whose samples are not."""
    return DataError(str(path), f"is truncated or damaged ({error.error_string.rstrip('.')})", "", _REMEDY)


_Source = str | io.BytesIO
"""What libsndfile is given: a path, or the bytes of a slice, which its checksum has shown to be whole."""


def _open(path: str | Path) -> _Source:
    inside = AudioSlice.parse(str(path))
    if inside:
        return io.BytesIO(inside.read())
    _require_bytes(path)
    return os.fspath(path)


def _rewound(source: _Source) -> bytes | io.BytesIO:
    if isinstance(source, str):
        return os.fsencode(source)  # of a str soundfile takes UTF-8 only
    source.seek(0)
    return source


def _require_bytes(path: str | Path) -> None:
    try:
        size = os.stat(path).st_size
    except OSError as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        raise DataError(str(path), reason, "a recording", "correct the path (relative to the current folder)") from None
    if os.path.isdir(path):
        raise DataError(str(path), "is a folder", "a recording", "give the path of a file")
    if size == 0:
        raise DataError(str(path), "is empty (0 bytes)", "a recording", _REMEDY)


def _open_failure(path: str | Path, error: soundfile.LibsndfileError) -> str:
    if "malformed" in error.error_string:
        return "is truncated or damaged"
    if os.path.exists(path) and not os.access(path, os.R_OK):
        return "cannot be read (permission denied)"
    return "is not audio that can be read"


def _require_whole_container(path: str | Path) -> None:
    with open(path, "rb") as file:
        magic = file.read(4)
        if magic == b"RIFF":
            missing = _missing_wav_bytes(file.read(1 << 16), os.fstat(file.fileno()).st_size)
            if missing > 0:
                raise DataError(str(path), f"is truncated: {missing} bytes of samples are missing", "", _REMEDY)
        if magic == b"OggS":
            file.seek(max(0, os.fstat(file.fileno()).st_size - _OGG_PAGE_MAX))
            if not _ends_an_ogg_stream(file.read()):
                raise DataError(str(path), "is truncated: the ogg stream has no last page", "", _REMEDY)


def _missing_wav_bytes(header: bytes, file_size: int) -> int:
    """Bytes that the 'data' chunk declares beyond the end of the file; ``header`` starts after 'RIFF'."""
    position = 8  # past the size and 'WAVE'
    while position + 8 <= len(header):
        name, size = header[position : position + 4], struct.unpack("<I", header[position + 4 : position + 8])[0]
        position += 8
        if name == b"data":
            return 0 if size >= OPEN_ENDED else max(0, 4 + position + size - file_size)
        position += size + size % 2  # chunks are padded to even sizes
    return 0  # not found near the start: libsndfile decides


def _ends_an_ogg_stream(tail: bytes) -> bool:
    page = tail.rfind(b"OggS")
    if page < 0 or page + 27 > len(tail):
        return False
    num_segments = tail[page + 26]
    body = sum(tail[page + 27 : page + 27 + num_segments])
    whole = page + 27 + num_segments + body <= len(tail)
    return whole and bool(tail[page + 5] & 4)  # header_type bit 3: end of stream


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


def _decode(path: str | Path, source: _Source, first: int, stop: int, shortfall: int) -> Samples:
    try:
        samples, _ = soundfile.read(_rewound(source), start=first, stop=stop, dtype="float32")
    except soundfile.LibsndfileError as error:
        raise decoding_failure(path, error) from None
    if len(samples) < max(1, stop - first - shortfall):
        raise DataError(
            str(path), f"is truncated: {len(samples)} of {stop - first} samples could be decoded", "", _REMEDY
        )
    return np.asarray(samples, np.float32)
