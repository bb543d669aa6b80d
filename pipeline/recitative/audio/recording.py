"""Open a recording: its header, and its samples to the end of decoding.

Through libsndfile, with the corrections of ``containers``; m4a, mp4, webm and wma through PyAV, if it is installed
(``media``). A path may also be the location of a recording inside another file, see ``AudioSlice``.
"""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from recitative.audio import media
from recitative.audio.containers.chunks import read_chunks
from recitative.audio.containers.flac import read_flac
from recitative.audio.containers.layout import SHORTFALL_S, Bytes, Layout, StreamPart, Window
from recitative.audio.containers.mp3 import read_mp3
from recitative.audio.containers.ogg import read_ogg
from recitative.errors import DataError
from recitative.reading import opened

_LOCATION = re.compile(r"(?P<path>.+)\?offset=(?P<offset>\d+)&bytes=(?P<size>\d+)&crc32=(?P<crc32>[0-9a-f]{8})")
_REMEDY = "fetch that file again, or write the shards again with 'recitative shards'"


@dataclass(frozen=True)
class AudioSlice:
    """A recording inside another file, such as a shard: ``size`` bytes from ``offset``, and their CRC-32.

    ``str`` gives its location, ``data/shard-0003.tar?offset=512&bytes=48213&crc32=9af3c1d2``, which can be used
    wherever a path can, also in tables (like Kaldi's ``archive.ark:12345``, but a changed file is detected).
    """

    path: str
    offset: int
    size: int
    crc32: int

    @classmethod
    def parse(cls, location: str) -> AudioSlice | None:
        """Parse a location; None for the path of a plain file."""
        match = _LOCATION.fullmatch(location)
        if not match:
            return None
        return cls(match["path"], int(match["offset"]), int(match["size"]), int(match["crc32"], 16))

    def __str__(self) -> str:
        return f"{self.path}?offset={self.offset}&bytes={self.size}&crc32={self.crc32:08x}"

    def read(self) -> bytes:
        """The bytes. Raises DataError for a file that is missing, too short, or has another checksum."""
        with opened(self.path, "the shard that the index names", _REMEDY) as file:
            length = os.fstat(file.fileno()).st_size
            if self.offset + self.size <= length:
                file.seek(self.offset)
                content = file.read(self.size)
        if self.offset + self.size > length:
            found = f"ends at byte {length}, within a recording"
            raise DataError(self.path, found, f"at least {self.offset + self.size} bytes", _REMEDY)
        if zlib.crc32(content) != self.crc32:
            found = f"its {self.size} bytes from {self.offset} on are not those that were indexed"
            raise DataError(self.path, found, f"bytes with the CRC-32 {self.crc32:08x}", _REMEDY)
        return content


Samples = npt.NDArray[np.float32]

REMEDY = "record or copy it again, or remove the utterance"
PARTIAL_REMEDY = "copy it again, or take what there is: --partial of 'transcribe' and of 'data import'"
MAX_AMPLITUDE = 2.0
"""Lossy decoders exceed 1 by a few percent, float files at 16-bit scale by thousands."""

_LONGEST = 1 << 40  # samples; libsndfile reports 2**63-1 for a flac whose header leaves the length open
_MP3_MEMORY = 24 * 1152  # earlier samples that decoding depends on
_CACHED = 4096  # layouts of files


@dataclass(frozen=True)
class AudioInfo:
    """The header of a recording."""

    sample_rate: int  # Hz
    channels: int
    num_samples: int  # per channel
    encoding: str  # libsndfile's name: PCM_16, PCM_U8, FLOAT, OPUS, ...
    is_media: bool = False  # read through PyAV: convert it once rather than read it often

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate

    @property
    def shortfall(self) -> int:
        """Samples by which decoding may end early without anything missing."""
        return round(SHORTFALL_S * self.sample_rate)


class AudioDecoder(Protocol):
    """The samples of an open recording, from its beginning or the position of ``seek``."""

    info: AudioInfo

    def read(self, count: int) -> Samples:
        """Up to ``count`` samples (S, channels); none at the end."""

    def seek(self, first: int) -> None:
        """Continue from sample number ``first``."""


@contextmanager
def open_recording(path: str | Path, *, partial: bool = False) -> Iterator[AudioDecoder]:
    """Open a file, or a location inside one.

    partial: read the intact part of truncated or damaged recordings. Raises DataError for a recording that is missing,
    empty, not audio, truncated (as far as the container shows without decoding), or without samples.
    """
    with ExitStack() as stack:
        inside = AudioSlice.parse(str(path))
        file: BinaryIO
        if inside:
            file = io.BytesIO(inside.read())
            layout = _read_layout(file)
        else:
            file = stack.enter_context(_open(path))
            status = os.fstat(file.fileno())
            kind = media.recognize(file.read(64))
            if kind:
                yield stack.enter_context(media.open_media(path, kind, partial=partial))
                return
            layout = _layout_of(os.fspath(path), status.st_size, status.st_mtime_ns, status.st_ino)
        if layout.fault and not partial:
            raise DataError(str(path), layout.fault, "", PARTIAL_REMEDY)
        chain = _Chain(path, file, layout, None if inside else os.fspath(path), partial)
        stack.callback(chain.close)
        chain.open()
        yield chain


def decoding_failure(path: str | Path, error: soundfile.LibsndfileError) -> DataError:
    """The error for a recording whose samples cannot be decoded."""
    return DataError(str(path), f"is truncated or damaged ({error.error_string.rstrip('.')})", "", PARTIAL_REMEDY)


def truncated(path: str | Path, done: int, of: int) -> DataError:
    """The error for a recording with only ``done`` decodable samples."""
    return DataError(str(path), f"is truncated: {done} of {of} samples could be decoded", "", PARTIAL_REMEDY)


def require_sound(path: str | Path, samples: Samples, first: int, sample_rate: int) -> None:
    """Raises DataError for NaN, infinity or another scale in samples that start at number ``first``."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    if peak <= MAX_AMPLITUDE:  # false for NaN
        return
    if np.isfinite(samples).all():
        remedy = "divide by 32768 if they are 16-bit values"
        raise DataError(str(path), f"has samples up to {peak:g}", "-1 to 1", remedy)
    raise not_finite(path, samples, first, sample_rate)


def not_finite(path: str | Path, samples: Samples, first: int, sample_rate: int) -> DataError:
    """The error for NaN or infinity in samples (S,) or (S, channels) that start at number ``first``."""
    finite = np.isfinite(samples).reshape(len(samples), -1).all(axis=1)
    at_s = (first + int(np.argmin(finite))) / sample_rate
    return DataError(str(path), f"has NaN or infinite samples, the first at {at_s:.3f} s", "numbers", REMEDY)


class _Sound(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read sequentially: soundfile would seek after every block, which resets an MP3 decoder."""

    def seekable(self) -> bool:
        return False


class _Chain:
    """The consecutive streams of a recording as one."""

    info: AudioInfo

    def __init__(self, path: str | Path, file: BinaryIO, layout: Layout, plain: str | None, partial: bool) -> None:
        """plain: a path that libsndfile may open itself if no correction is needed."""
        self._path, self._file, self._partial = path, file, partial
        self._parts, self._plain = layout.parts, plain if len(layout.parts) == 1 else None
        self._lengths: list[int] = []
        self._sound: _Sound | None = None
        self._is_window = False

    def open(self) -> None:
        """Read all headers. Raises what ``open_recording`` does."""
        headers: list[AudioInfo] = []
        for number, part in enumerate(self._parts):
            try:
                header = _header(self._start(number), part, self._is_window)
                self._require_alike(number, headers[0] if headers else header, header)
            except DataError:
                if not self._partial or not headers:
                    raise
                break
            headers.append(header)
        self._lengths = [header.num_samples for header in headers]
        if not sum(self._lengths):
            raise DataError(str(self._path), "has no samples", "at least one", REMEDY)
        self.info = replace(headers[0], num_samples=sum(self._lengths))
        if self.info.num_samples >= _LONGEST:
            found = "the header does not say how long it is"
            raise DataError(str(self._path), found, "a complete flac", "encode it again")
        if self._number:
            self._start(0)

    def read(self, count: int) -> Samples:
        pieces: list[Samples] = []
        while count > 0:
            assert self._sound is not None
            try:
                piece = self._sound.read(count, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                if not self._partial:
                    raise decoding_failure(self._path, error) from None
                piece = np.zeros((0, self.info.channels), np.float32)
            self._done += len(piece)
            count -= len(piece)
            pieces.append(piece)
            if len(piece) == 0:
                if not self._partial and self._done < self._lengths[self._number] - self.info.shortfall:
                    before = sum(self._lengths[: self._number])
                    raise truncated(self._path, before + self._done, self.info.num_samples)
                if self._number + 1 >= len(self._lengths):
                    break
                self._start(self._number + 1)
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)

    def seek(self, first: int) -> None:
        number = 0
        while number + 1 < len(self._lengths) and first >= self._lengths[number]:
            first -= self._lengths[number]
            number += 1
        sound = self._sound if number == self._number else self._start(number)
        assert sound is not None
        start = max(0, first - _MP3_MEMORY) if self.info.encoding == "MPEG_LAYER_III" else first
        try:
            sound.seek(min(start, self._lengths[number]))
        except soundfile.LibsndfileError as error:
            raise decoding_failure(self._path, error) from None
        self._done = start
        if start < first:
            self.read(first - start)

    def close(self) -> None:
        if self._sound:
            self._sound.close()
        self._sound = None

    def _start(self, number: int) -> _Sound:
        """Open a stream at its beginning."""
        self.close()
        part = self._parts[number]
        self._number, self._done = number, 0
        self._is_window = False
        if self._plain is not None and not part.patches:
            self._sound = self._opened(os.fsencode(self._plain))  # soundfile encodes str as UTF-8 only
            if part.num_samples is None or self._sound.frames >= part.num_samples:
                return self._sound
            self.close()
        self._is_window = True
        self._sound = self._opened(Window(self._file, part))
        return self._sound

    def _opened(self, source: bytes | Window) -> _Sound:
        try:
            return _Sound(source)
        except soundfile.LibsndfileError as error:
            is_damaged = "malformed" in error.error_string
            found = "is truncated or damaged" if is_damaged else "is not audio that can be read"
            raise DataError(str(self._path), found, "wav, flac, ogg or mp3", REMEDY) from None

    def _require_alike(self, number: int, first: AudioInfo, this: AudioInfo) -> None:
        if (first.sample_rate, first.channels) != (this.sample_rate, this.channels):
            found = (
                f"is several recordings, the first of {first.sample_rate} Hz and {first.channels} channels, number "
                f"{number + 1} of {this.sample_rate} Hz and {this.channels}"
            )
            raise DataError(str(self._path), found, "recordings of one kind", "divide it")


def _header(sound: soundfile.SoundFile, part: StreamPart, is_window: bool) -> AudioInfo:
    length = sound.frames if part.num_samples is None else part.num_samples
    length -= part.prefix_samples if is_window else 0
    return AudioInfo(sound.samplerate, sound.channels, length, sound.subtype)


def _open(path: str | Path) -> BinaryIO:
    try:
        if os.path.isdir(path):
            raise DataError(str(path), "is a folder", "a recording", "give the path of a file")
        file = open(path, "rb")  # noqa: SIM115
        size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        raise DataError(str(path), _reason(error), "a recording", _PATH_REMEDY) from None
    if size == 0:
        file.close()
        raise DataError(str(path), "is empty (0 bytes)", "a recording", REMEDY)
    return file


_PATH_REMEDY = "correct the path (relative to the current folder)"


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, FileNotFoundError):
        return "does not exist"
    if isinstance(error, PermissionError):
        return "cannot be read (permission denied)"
    return f"cannot be read ({getattr(error, 'strerror', None) or error})"


@lru_cache(_CACHED)
def _layout_of(path: str, size: int, _mtime_ns: int, _inode: int) -> Layout:
    """The layout of an unchanged file is cached: segments of a long recording need not read it again."""
    with open(path, "rb") as file:
        return _read_layout(file)


def _read_layout(file: BinaryIO) -> Layout:
    content = Bytes(file)
    for read in (read_chunks, read_flac, read_ogg, read_mp3):
        layout = read(content)
        if layout and (layout.parts or layout.fault):
            return layout
    return Layout((StreamPart(0, content.size),))
