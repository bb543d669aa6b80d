"""Open a recording: its header, and its samples to the end of decoding.

Through libsndfile, with the corrections of ``containers``; m4a, mp4, webm, wma and others through PyAV (package ``av``,
the extra ``media``), if it is installed. A path may also be the location of a recording inside another file, see
``AudioSlice``.
"""

from __future__ import annotations

import io
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import soundfile

from recitative.audio.containers import (
    SHORTFALL_S,
    Bytes,
    Layout,
    StreamPart,
    Window,
    read_chunks,
    read_flac,
    read_mp3,
    read_ogg,
)
from recitative.errors import DataError, counted
from recitative.reading import opened

Samples = npt.NDArray[np.float32]
"""(S,) of one channel, or (S, channels), in [-1, 1]."""

REMEDY = "record or copy it again, or remove the utterance"
PARTIAL_REMEDY = "copy it again, or take what there is: --partial of 'transcribe' and of 'data import'"

_LOCATION = re.compile(r"(?P<path>.+)\?offset=(?P<offset>\d+)&bytes=(?P<size>\d+)&crc32=(?P<crc32>[0-9a-f]{8})")
_SLICE_REMEDY = "fetch that file again, or write the shards again with 'recitative shards'"


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
        with opened(self.path, "the shard that the index names", _SLICE_REMEDY) as file:
            length = os.fstat(file.fileno()).st_size
            if self.offset + self.size <= length:
                file.seek(self.offset)
                content = file.read(self.size)
        if self.offset + self.size > length:
            found = f"ends at byte {length}, within a recording"
            raise DataError(self.path, found, f"at least {self.offset + self.size} bytes", _SLICE_REMEDY)
        if zlib.crc32(content) != self.crc32:
            found = f"its {counted(self.size, 'byte')} from {self.offset} on are not those that were indexed"
            raise DataError(self.path, found, f"bytes with the CRC-32 {self.crc32:08x}", _SLICE_REMEDY)
        return content


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
            file = stack.enter_context(_open_file(path))
            status = os.fstat(file.fileno())
            kind = _media_kind(file.read(64))
            if kind:
                yield stack.enter_context(closing(_open_media(path, kind, partial)))
                return
            layout = _cached_layout(os.fspath(path), status.st_size, status.st_mtime_ns, status.st_ino)
        if layout.fault and not partial:
            raise DataError(str(path), layout.fault, "", PARTIAL_REMEDY)
        chain = stack.enter_context(closing(_Chain(path, file, layout, None if inside else os.fspath(path), partial)))
        chain.open()
        yield chain


def truncated(path: str | Path, done: int, of: int) -> DataError:
    """The error for a recording with only ``done`` decodable samples."""
    return DataError(str(path), f"is truncated: {done} of {of} samples could be decoded", "", PARTIAL_REMEDY)


def _open_file(path: str | Path) -> BinaryIO:
    try:
        if os.path.isdir(path):
            raise DataError(str(path), "is a folder", "a recording", "give the path of a file")
        file = open(path, "rb")  # noqa: SIM115
        size = os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        found = f"cannot be read ({getattr(error, 'strerror', None) or error})"
        if isinstance(error, FileNotFoundError):
            found = "does not exist"
        elif isinstance(error, PermissionError):
            found = "cannot be read (permission denied)"
        raise DataError(str(path), found, "a recording", "correct the path (relative to the current folder)") from None
    if size == 0:
        file.close()
        raise DataError(str(path), "is empty (0 bytes)", "a recording", REMEDY)
    return file


@lru_cache(4096)
def _cached_layout(path: str, size: int, _mtime_ns: int, _inode: int) -> Layout:
    """The layout of an unchanged file: segments of a long recording need not read it again."""
    with open(path, "rb") as file:
        return _read_layout(file)


def _read_layout(file: BinaryIO) -> Layout:
    content = Bytes(file)
    for read in (read_chunks, read_flac, read_ogg, read_mp3):
        layout = read(content)
        if layout and (layout.parts or layout.fault):
            return layout
    return Layout((StreamPart(0, content.size),))


# Through libsndfile.

_LONGEST = 1 << 40  # samples; libsndfile reports 2**63-1 for a flac whose header leaves the length open
_MP3_MEMORY = 24 * 1152  # earlier samples that decoding depends on


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

    def open(self) -> None:
        """Read all headers. Raises what ``open_recording`` does."""
        headers: list[AudioInfo] = []
        for number in range(len(self._parts)):
            try:
                header = self._header(number)
                if headers:
                    self._require_alike(number, headers[0], header)
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
                    raise self._failure(error) from None
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
            raise self._failure(error) from None
        self._done = start
        if start < first:
            self.read(first - start)

    def close(self) -> None:
        if self._sound:
            self._sound.close()
        self._sound = None

    def _failure(self, error: soundfile.LibsndfileError) -> DataError:
        found = f"is truncated or damaged ({error.error_string.rstrip('.')})"
        return DataError(str(self._path), found, "", PARTIAL_REMEDY)

    def _header(self, number: int) -> AudioInfo:
        """The header of a stream, which is opened."""
        sound, part = self._start(number), self._parts[number]
        length = sound.frames if part.num_samples is None else part.num_samples
        length -= part.prefix_samples if self._is_window else 0
        return AudioInfo(sound.samplerate, sound.channels, length, sound.subtype)

    def _start(self, number: int) -> _Sound:
        """Open a stream at its beginning."""
        self.close()
        part = self._parts[number]
        self._number, self._done = number, 0
        self._is_window = False
        if self._plain is not None and not part.patches:
            self._sound = self._open(os.fsencode(self._plain))  # soundfile encodes str as UTF-8 only
            if part.num_samples is None or self._sound.frames >= part.num_samples:
                return self._sound
            self.close()
        self._is_window = True
        self._sound = self._open(Window(self._file, part))
        return self._sound

    def _open(self, source: bytes | Window) -> _Sound:
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


# Through PyAV.

MEDIA_SUFFIXES = frozenset({".m4a", ".mp4", ".webm", ".wma", ".mkv", ".mka", ".aac", ".amr", ".3gp", ".mov"})

_MEDIA_PADDING = 3 * 1024  # samples of encoder delay and padding


def _media_kind(head: bytes) -> str | None:
    """The name of a format that PyAV reads, from the first bytes of a file; None for others."""
    if head[4:8] == b"ftyp":
        return "MP4 (m4a)"
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "WebM or Matroska"
    if head[:8] == b"\x30\x26\xb2\x75\x8e\x66\xcf\x11":
        return "WMA (ASF)"
    if head[:5] == b"#!AMR":
        return "AMR"
    if head[:1] == b"\xff" and head[1:2] in (b"\xf0", b"\xf1", b"\xf8", b"\xf9"):
        return "AAC"
    return None


def has_pyav() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


def _open_media(path: str | Path, kind: str, partial: bool) -> _Media:
    """Decode the first audio stream of a file.

    Raises DataError if PyAV is missing or finds no audio, and, unless ``partial``, for truncated audio.
    """
    if not has_pyav():
        remedy = f"convert it: ffmpeg -i '{path}' '{Path(path).with_suffix('.flac')}'; or pip install av"
        raise DataError(str(path), f"is {kind}, which needs the package 'av'", "wav, flac, ogg or mp3", remedy)
    stat = Path(path).stat()
    info, fault = _measure_media(str(path), kind, stat.st_size, stat.st_mtime_ns)
    if fault and not partial:
        raise DataError(str(path), fault, "", PARTIAL_REMEDY)
    if not info.num_samples:
        raise DataError(str(path), "has no samples", "at least one", "record or copy it again")
    return _Media(path, info)


class _Media:
    def __init__(self, path: str | Path, info: AudioInfo) -> None:
        self.info, self._path = info, path
        self._begin()

    def _begin(self) -> None:
        self._pieces = _decode_media(self._path)
        self._rest = np.zeros((0, self.info.channels), np.float32)

    def read(self, count: int) -> Samples:
        pieces, length = [self._rest], len(self._rest)
        while length < count and (piece := next(self._pieces, None)) is not None:
            pieces.append(piece)
            length += len(piece)
        samples = np.concatenate(pieces)
        self._rest = samples[count:]
        return samples[:count]

    def seek(self, first: int) -> None:
        """Decodes everything before: times in these containers are not exact to a sample."""
        self._begin()
        while first > 0 and len(skipped := self.read(min(first, 1 << 16))):
            first -= len(skipped)

    def close(self) -> None:
        self._pieces.close()


@lru_cache(4096)
def _measure_media(path: str, kind: str, _size: int, _mtime_ns: int) -> tuple[AudioInfo, str]:
    """The header, with the number of decoded samples, and the first fault; decodes everything."""
    import av

    try:
        with av.open(path) as container:
            streams = container.streams.audio
            if not streams:
                raise DataError(path, f"is {kind} without sound", "a recording", "give another file")
            stream = streams[0]
            rate, channels, encoding = stream.rate, stream.codec_context.channels, stream.codec_context.name
            claimed = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
    except (av.FFmpegError, OSError) as error:
        raise DataError(path, f"is {kind}, truncated or damaged ({error.strerror})", "", "copy it again") from None
    faults: list[str] = []
    num_samples = sum(map(len, _decode_media(path, faults)))
    missing = claimed * rate - num_samples
    if missing > max(_MEDIA_PADDING, SHORTFALL_S * rate):
        faults.append(f"is truncated: {num_samples} of {round(claimed * rate)} samples could be decoded")
    return AudioInfo(rate, channels, num_samples, encoding.upper(), is_media=True), faults[0] if faults else ""


def _decode_media(path: str | Path, faults: list[str] | None = None) -> Any:
    """Blocks (S, channels), up to the end or the first undecodable part, which is added to ``faults``."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler("fltp", stream.codec_context.layout, stream.rate)
        try:
            for frame in container.decode(stream):
                for piece in resampler.resample(frame):
                    yield np.ascontiguousarray(piece.to_ndarray().T, np.float32)
            for piece in resampler.resample(None):
                yield np.ascontiguousarray(piece.to_ndarray().T, np.float32)
        except av.FFmpegError as error:
            if faults is not None:
                faults.append(f"is truncated or damaged ({error.strerror})")
