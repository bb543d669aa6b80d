"""m4a, mp4, webm, wma and others, through PyAV (package ``av``, the extra ``media``), if it is installed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recitative.audio.containers.layout import SHORTFALL_S
from recitative.errors import DataError

if TYPE_CHECKING:
    from recitative.audio.recording import AudioDecoder, AudioInfo, Samples


SUFFIXES = frozenset({".m4a", ".mp4", ".webm", ".wma", ".mkv", ".mka", ".aac", ".amr", ".3gp", ".mov"})

_PADDING = 3 * 1024  # samples of encoder delay and padding
_REMEDY = "copy it again, or take what there is: --partial of 'transcribe' and of 'data import'"


def recognize(head: bytes) -> str | None:
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


def is_readable() -> bool:
    """Whether PyAV is installed."""
    return find_spec("av") is not None


@contextmanager
def open_media(path: str | Path, kind: str, *, partial: bool) -> Iterator[AudioDecoder]:
    """Decode the first audio stream of a file.

    Raises DataError if PyAV is missing or finds no audio, and, unless ``partial``, for truncated audio.
    """
    if not is_readable():
        remedy = f"convert it: ffmpeg -i '{path}' '{Path(path).with_suffix('.flac')}'; or pip install av"
        raise DataError(str(path), f"is {kind}, which needs the package 'av'", "wav, flac, ogg or mp3", remedy)
    stat = Path(path).stat()
    info, fault = _measure(str(path), kind, stat.st_size, stat.st_mtime_ns)
    if fault and not partial:
        raise DataError(str(path), fault, "", _REMEDY)
    if not info.num_samples:
        raise DataError(str(path), "has no samples", "at least one", "record or copy it again")
    decoder = _Media(path, info)
    try:
        yield decoder
    finally:
        decoder.close()


class _Media:
    def __init__(self, path: str | Path, info: AudioInfo) -> None:
        self.info, self._path = info, path
        self._begin()

    def _begin(self) -> None:
        self._pieces = _decoded(self._path)
        self._held = np.zeros((0, self.info.channels), np.float32)

    def read(self, count: int) -> Samples:
        pieces, held = [self._held], len(self._held)
        while held < count and (piece := next(self._pieces, None)) is not None:
            pieces.append(piece)
            held += len(piece)
        samples = np.concatenate(pieces)
        self._held = samples[count:]
        return samples[:count]

    def seek(self, first: int) -> None:
        """Decodes everything before: times in these containers are not exact to a sample."""
        self._begin()
        while first > 0 and len(skipped := self.read(min(first, 1 << 16))):
            first -= len(skipped)

    def close(self) -> None:
        self._pieces.close()


@lru_cache(4096)
def _measure(path: str, kind: str, _size: int, _mtime_ns: int) -> tuple[AudioInfo, str]:
    """The header, with the number of decoded samples, and the first fault; decodes everything."""
    import av

    from recitative.audio.recording import AudioInfo

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
    num_samples = sum(map(len, _decoded(path, faults)))
    missing = claimed * rate - num_samples
    if missing > max(_PADDING, SHORTFALL_S * rate):
        faults.append(f"is truncated: {num_samples} of {round(claimed * rate)} samples could be decoded")
    return AudioInfo(rate, channels, num_samples, encoding.upper(), is_media=True), faults[0] if faults else ""


def _decoded(path: str | Path, faults: list[str] | None = None) -> Any:
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
