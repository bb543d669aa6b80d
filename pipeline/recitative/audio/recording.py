"""A recording, opened: its header, and its samples to the decoder's end.

Through libsndfile, which is shown what ``containers`` makes of a file; m4a, mp4, webm and wma through PyAV, where
that is installed (``media``).
"""

from __future__ import annotations

import io
import os
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
from recitative.audio.containers.layout import SHORTFALL_S, Bytes, Layout, Part, Window
from recitative.audio.containers.mp3 import read_mp3
from recitative.audio.containers.ogg import read_ogg
from recitative.audio.slices import AudioSlice
from recitative.errors import DataError

Samples = npt.NDArray[np.float32]

REMEDY = "record or copy it again, or remove the utterance"
PARTIAL_REMEDY = "copy it again, or take what there is: --partial of 'transcribe' and of 'data import'"
LOUDEST = 2.0
"""Lossy decoders overshoot 1 by a few per cent, float files at 16-bit scale by thousands."""

_LONGEST = 1 << 40  # samples; libsndfile reports 2**63-1 for a flac whose header leaves the length open
_MP3_MEMORY = 24 * 1152  # samples before a place, from which its own depend on
_CACHED = 4096  # layouts of files


@dataclass(frozen=True)
class AudioInfo:
    """What a recording is."""

    sample_rate: int  # Hz
    channels: int
    num_samples: int  # per channel
    encoding: str  # libsndfile's name: PCM_16, PCM_U8, FLOAT, OPUS, ...
    is_media: bool = False  # through PyAV: better converted once than read often

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sample_rate

    @property
    def shortfall(self) -> int:
        """Samples by which decoding may end early without that anything is missing."""
        return round(SHORTFALL_S * self.sample_rate)


class Decoder(Protocol):
    """The samples of an open recording, from its beginning or from where ``seek`` went."""

    info: AudioInfo

    def read(self, count: int) -> Samples:
        """Up to ``count`` instants (S, channels); none at the end."""

    def seek(self, first: int) -> None:
        """To the instant of this number."""


@contextmanager
def open_recording(path: str | Path, *, partial: bool = False) -> Iterator[Decoder]:
    """Open a file, or a location inside one.

    partial: of what is cut off or damaged take what there is. Raises DataError for a recording that is missing, empty,
    not audio, truncated (as far as the container tells without decoding), or without samples.
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
    """The error for a recording whose header is sound and whose samples are not."""
    return DataError(str(path), f"is truncated or damaged ({error.error_string.rstrip('.')})", "", PARTIAL_REMEDY)


def truncated(path: str | Path, done: int, of: int) -> DataError:
    """The error for a recording of which the decoder gives ``done`` samples only."""
    return DataError(str(path), f"is truncated: {done} of {of} samples could be decoded", "", PARTIAL_REMEDY)


def require_sound(path: str | Path, samples: Samples, first: int, sample_rate: int) -> None:
    """Raises DataError for NaN, infinity or another scale among samples that begin with number ``first``."""
    peak = float(np.max(np.abs(samples), initial=0.0))
    if peak <= LOUDEST:  # false for NaN
        return
    if np.isfinite(samples).all():
        remedy = "divide by 32768 if they are 16-bit values"
        raise DataError(str(path), f"has samples up to {peak:g}", "-1 to 1", remedy)
    raise not_finite(path, samples, first, sample_rate)


def not_finite(path: str | Path, samples: Samples, first: int, sample_rate: int) -> DataError:
    """The error for NaN or infinity among samples (S,) or (S, channels) that begin with number ``first``."""
    finite = np.isfinite(samples).reshape(len(samples), -1).all(axis=1)
    at_s = (first + int(np.argmin(finite))) / sample_rate
    return DataError(str(path), f"has NaN or infinite samples, the first at {at_s:.3f} s", "numbers", REMEDY)


class _Sound(soundfile.SoundFile):  # type: ignore[misc]
    """A file that is read from beginning to end: soundfile would seek after every block, where MP3 loses its memory."""

    def seekable(self) -> bool:
        return False


class _Chain:
    """The streams of a recording as one."""

    info: AudioInfo

    def __init__(self, path: str | Path, file: BinaryIO, layout: Layout, plain: str | None, partial: bool) -> None:
        """plain: the path for libsndfile to open itself where it need not be shown anything else."""
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
            self._sound = self._opened(os.fsencode(self._plain))  # of a str soundfile takes UTF-8 only
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
            raise DataError(str(self._path), _open_failure(error), "wav, flac, ogg or mp3", REMEDY) from None

    def _require_alike(self, number: int, first: AudioInfo, this: AudioInfo) -> None:
        if (first.sample_rate, first.channels) != (this.sample_rate, this.channels):
            found = (
                f"is several recordings, the first of {first.sample_rate} Hz and {first.channels} channels, number "
                f"{number + 1} of {this.sample_rate} Hz and {this.channels}"
            )
            raise DataError(str(self._path), found, "recordings of one kind", "divide it")


def _header(sound: soundfile.SoundFile, part: Part, is_window: bool) -> AudioInfo:
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


def _open_failure(error: soundfile.LibsndfileError) -> str:
    return "is truncated or damaged" if "malformed" in error.error_string else "is not audio that can be read"


@lru_cache(_CACHED)
def _layout_of(path: str, size: int, _mtime_ns: int, _inode: int) -> Layout:
    """Of a file as it is now: segments of a long recording need not read it each time."""
    with open(path, "rb") as file:
        return _read_layout(file)


def _read_layout(file: BinaryIO) -> Layout:
    content = Bytes(file)
    for read in (read_chunks, read_flac, read_ogg, read_mp3):
        layout = read(content)
        if layout and (layout.parts or layout.fault):
            return layout
    return Layout((Part(0, content.size),))
