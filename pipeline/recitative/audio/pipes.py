"""Samples through pipes: reading WAV of unknown length or raw 16-bit samples, and writing WAV of open length."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from recitative.audio.containers.chunks import OPEN_ENDED
from recitative.audio.containers.layout import SHORTFALL_S
from recitative.audio.recording import Samples, require_sound
from recitative.errors import DataError

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_WIDTHS = {_PCM: (8, 16, 24, 32), _FLOAT: (32, 64)}
_LONGEST_CHUNK = 1 << 20  # bytes of a chunk before the samples


@dataclass(frozen=True)
class PipedFormat:
    """Format of the samples in the bytes that follow, little-endian, channels interleaved."""

    sample_rate: int  # Hz
    channels: int = 1
    bits: int = 16
    is_float: bool = False
    num_bytes: int | None = None  # of samples, from the header; None: until the pipe is closed

    @property
    def frame_bytes(self) -> int:
        """Bytes of one sample of all channels."""
        return self.channels * self.bits // 8

    def decode(self, content: bytes) -> Samples:
        """Bytes of complete samples -> (S,) in [-1, 1], the average of the channels."""
        values = self._values(content).reshape(-1, self.channels)
        samples = values[:, 0] if self.channels == 1 else values.mean(axis=1, dtype=np.float32)
        return np.asarray(samples, np.float32)

    def _values(self, content: bytes) -> Samples:
        if self.is_float:
            return np.frombuffer(content, f"<f{self.bits // 8}").astype(np.float32)
        if self.bits == 8:  # the only unsigned format
            return np.frombuffer(content, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
        if self.bits == 24:  # as the upper three bytes of 32 bits
            wide = np.zeros((len(content) // 3, 4), np.uint8)
            wide[:, 1:] = np.frombuffer(content, np.uint8).reshape(-1, 3)
            content = wide.tobytes()
        integers = np.frombuffer(content, "<i2" if self.bits == 16 else "<i4")
        return integers.astype(np.float32) / np.float32(32768 if self.bits == 16 else 2**31)


def read_wav_header(pipe: BinaryIO) -> tuple[bytes, PipedFormat | None]:
    """The bytes before the samples, and the format of the samples.

    The format is None if it is not WAV or has another coding; the bytes are then the beginning of the input.
    """
    head, form = pipe.read(12), None
    if head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return head, None
    while True:
        chunk = pipe.read(8)
        head += chunk
        if len(chunk) < 8:
            return head, None
        name, size = chunk[:4], struct.unpack("<I", chunk[4:])[0]
        if name == b"data":
            return head, form and PipedFormat(*form, None if size == 0 or size >= OPEN_ENDED else size)
        if size > _LONGEST_CHUNK:
            return head, None
        content = pipe.read(size + size % 2)  # chunks are padded to even sizes
        head += content
        if name == b"fmt ":
            form = _format(content)


def _format(content: bytes) -> tuple[int, int, int, bool] | None:
    """From the chunk 'fmt ': Hz, channels, bits, is_float; None for another coding."""
    if len(content) < 16:
        return None
    code, channels, sample_rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
    if code == _EXTENSIBLE and len(content) >= 26:
        code = struct.unpack("<H", content[24:26])[0]
    known = bits in _WIDTHS.get(code, ()) and channels > 0 and sample_rate > 0
    return (sample_rate, channels, bits, code == _FLOAT) if known else None


def piped_blocks(pipe: BinaryIO, form: PipedFormat, block_s: float, where: str) -> Iterator[Samples]:
    """The samples (S,) float32 in blocks of ``block_s`` seconds, each as soon as it is complete, the last one shorter.

    Raises DataError with ``where`` as location for NaN, infinite or far too large samples, and at the end for fewer or
    more samples than in the header.
    """
    size = max(1, round(block_s * form.sample_rate)) * form.frame_bytes
    left, done = form.num_bytes, 0
    while content := pipe.read(size if left is None else min(size, left)):
        left = left and left - len(content)
        samples = form.decode(content[: len(content) // form.frame_bytes * form.frame_bytes])
        require_sound(where, samples, done, form.sample_rate)
        done += len(samples)
        yield samples
    behind = pipe.read(8) if left == 0 else b""
    if behind and not all(32 <= letter < 127 for letter in behind[:4]):  # no chunk
        raise DataError(where, "has more samples after the end that its header gives", "", "leave the length open: 0")
    if left and left > SHORTFALL_S * form.sample_rate * form.frame_bytes:
        raise DataError(where, f"is truncated: {left} bytes of samples are missing", "", "send all of it")


_OPEN_LENGTH = 0xFFFFFFFF  # players read to the end of the stream


def wav_header(sample_rate: int) -> bytes:
    """Header of a 16-bit mono WAV file of open length, such as for a pipe; sample_rate in Hz."""
    form = struct.pack("<HHIIHH", 1, 1, sample_rate, 2 * sample_rate, 2, 16)
    length = struct.pack("<I", _OPEN_LENGTH)
    return b"RIFF" + length + b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + length


def wav_samples(samples: npt.NDArray[np.floating]) -> bytes:
    """The bytes of samples (S,) in [-1, 1]; others are clipped."""
    return np.clip(np.round(samples * 32768.0), -32768, 32767).astype("<i2").tobytes()
