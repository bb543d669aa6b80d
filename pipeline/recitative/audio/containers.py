"""Containers of recordings: the number of samples they claim and contain, found without decoding.

Decoders believe headers: they return a part of a file that was truncated, concatenated, or written to a pipe as if it
were complete. So every container is parsed before it is decoded. Wrong or missing lengths in the header are corrected
in memory (``StreamPart.patches``) or reported (``Layout.fault``).

This module has what all containers share, and the chunked ones: WAV, RF64, W64, AIFF, CAF; and AU, which is one chunk.
FLAC, MP3 and Ogg are in ``compressed``.
"""

from __future__ import annotations

import io
import math
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO

SHORTFALL_S = 0.01
"""Duration by which samples may fall short of the header without anything missing."""

Patches = tuple[tuple[int, bytes], ...]
"""(offset, replacement bytes)"""

_BLOCK = 1 << 18


@dataclass(frozen=True)
class StreamPart:
    """One stream of a recording: a range of its file, as presented to the decoder."""

    start: int
    stop: int
    patches: Patches = ()  # their offsets count from start
    prefix: bytes = b""  # inserted before, for a decoder that would expect fewer samples
    prefix_samples: int = 0  # that the decoder drops because of it
    num_samples: int | None = None  # per channel, if known better than from the header


@dataclass(frozen=True)
class Layout:
    """The consecutive streams of a recording, and its fault."""

    parts: tuple[StreamPart, ...]
    fault: str = ""  # empty: it is complete; otherwise the parts have what exists

    def followed_by(self, other: Layout, start: int) -> Layout:
        """This layout, and another of the bytes from ``start``."""
        moved = (replace(part, start=part.start + start, stop=part.stop + start) for part in other.parts)
        return Layout((*self.parts, *moved), self.fault or other.fault)


class Bytes:
    """The bytes of a file from ``start``, read in blocks on request."""

    def __init__(self, file: BinaryIO, start: int = 0, stop: int | None = None) -> None:
        self.file, self.start = file, start
        self.size = (file.seek(0, os.SEEK_END) if stop is None else stop) - start
        self._at, self._block = 0, b""

    def __call__(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes; fewer at the end."""
        count = max(0, min(count, self.size - offset))
        place = offset - self._at
        if place < 0 or place + count > len(self._block):
            self.file.seek(self.start + offset)
            self._at, place = offset, 0
            self._block = self.file.read(min(max(count, _BLOCK), self.size - offset))
        return self._block[place : place + count]

    def find(self, pattern: bytes, offset: int) -> int:
        """The position of a pattern from an offset, or -1."""
        while offset < self.size:
            block = self(offset, _BLOCK)
            place = block.find(pattern)
            if place >= 0:
                return offset + place
            if len(block) < _BLOCK:
                return -1
            offset += _BLOCK - len(pattern) + 1
        return -1

    def behind(self, offset: int) -> Bytes:
        """The bytes from an offset, as a separate file."""
        return Bytes(self.file, self.start + offset, self.start + self.size)


class Window(io.RawIOBase):
    """A part of a file as a separate file object, for a decoder."""

    def __init__(self, file: BinaryIO, part: StreamPart) -> None:
        self._file, self._part = file, part
        self._size = len(part.prefix) + part.stop - part.start
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = max(0, base + offset)
        return self._place

    def read(self, size: int | None = -1) -> bytes:
        left = max(0, self._size - self._place)
        size = left if size is None or size < 0 else min(size, left)
        content = self._part.prefix[self._place : self._place + size]
        first = self._place + len(content) - len(self._part.prefix)  # from the part's start
        if len(content) < size:
            self._file.seek(self._part.start + first)
            body = bytearray(self._file.read(size - len(content)))
            for offset, patch in self._part.patches:
                low, high = max(offset, first), min(offset + len(patch), first + len(body))
                if low < high:
                    body[low - first : high - first] = patch[low - offset : high - offset]
            content += bytes(body)
        self._place += len(content)
        return content

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)


OPEN_ENDED = 0x7F000000  # 32-bit sizes from here up are "unknown", as sox and ffmpeg write them to a pipe
_LARGEST_SIZE = 0xFFFFFFFF
_TAGS = (b"TAG", b"ID3", b"APETAGEX")  # of MP3, at the end
_LAST_CHUNKS = frozenset(
    {b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"fact", b"JUNK", b"PEAK", b"iXML", b"_PMX", b"afsp"}
    | {b"ANNO", b"NAME", b"AUTH", b"(c) ", b"MARK", b"INST", b"APPL", b"COMT", b"info", b"free", b"strg", b"mark"}
)  # may follow the samples, even truncated
_MAX_BEHIND = 1 << 20  # bytes examined there


@dataclass(frozen=True)
class _Family:
    """The structure of a chunked container."""

    first: int  # position of the first chunk
    name_bytes: int
    size: str  # struct's letter
    inclusive: int  # bytes of the chunk header that its size includes
    align: int
    samples: bytes  # name of the chunk with the samples
    form: bytes  # name of the chunk with their format
    lead: int  # bytes in the former before the samples
    byte_rate: Callable[[bytes], float]  # bytes per second, from the latter
    wholes: tuple[int, ...]  # positions of the total size, if any ...
    uncounted: int  # ... and the bytes of the file that it excludes

    @property
    def head(self) -> int:
        return self.name_bytes + struct.calcsize(self.size)

    def packed(self, size: int) -> bytes:
        return struct.pack(self.size, min(size, _LARGEST_SIZE) if self.size.endswith("I") else size)


def _wav_rate(form: bytes) -> float:
    return float(struct.unpack_from("<I", form, 8)[0]) if len(form) >= 16 else 0.0


def _aiff_rate(form: bytes) -> float:
    if len(form) < 18:
        return 0.0
    channels, _, bits, exponent, mantissa = struct.unpack_from(">hIhHQ", form)
    return float(math.ldexp(mantissa, (exponent & 0x7FFF) - 16383 - 63) * channels * ((bits + 7) // 8))


def _caf_rate(form: bytes) -> float:
    if len(form) < 24:
        return 0.0
    rate, _, _, packet_bytes, packet_samples = struct.unpack_from(">dIIII", form)
    return float(rate) * packet_bytes / packet_samples if packet_samples else 0.0


_WAV = _Family(12, 4, "<I", 0, 2, b"data", b"fmt ", 0, _wav_rate, (4,), 8)
_FAMILIES = {
    b"RIFF": _WAV,
    b"RF64": _WAV,
    b"BW64": _WAV,
    b"FORM": _Family(12, 4, ">I", 0, 2, b"SSND", b"COMM", 8, _aiff_rate, (4,), 8),
    b"riff": _Family(40, 16, "<Q", 24, 8, b"data", b"fmt ", 0, _wav_rate, (16,), 0),
    b"caff": _Family(8, 4, ">q", 0, 1, b"data", b"desc", 4, _caf_rate, (), 0),
}


@dataclass(frozen=True)
class _ChunkOfSamples:
    start: int
    claimed: int | None  # bytes; None: unknown
    byte_rate: float  # 0: unknown
    patches: Callable[[int], Patches]  # of the header, given the number of bytes of samples


def read_chunks(file: Bytes) -> Layout | None:
    """The layout of a chunked recording; None without samples, or for other files."""
    magic = file(0, 4)
    family = _FAMILIES.get(magic)
    found = _find_samples(file, family) if family else _find_au_samples(file, magic)
    if found is None:
        return None
    there = file.size - found.start
    tolerated = SHORTFALL_S * found.byte_rate

    def corrected(fault: str = "") -> Layout:
        """All existing samples, and headers that agree with them."""
        return Layout((StreamPart(0, file.size, found.patches(there)),), fault)

    if found.claimed is None:
        return corrected()
    missing = found.claimed - there
    if missing > 0:
        return corrected(f"is truncated: {missing} bytes of samples are missing" if missing > tolerated else "")
    stop = found.start + found.claimed
    if family:
        stop += -stop % family.align if family.inclusive else found.claimed % family.align
    behind = file.size - stop
    if file(stop, 4) == magic and behind > 12 and (other := read_chunks(file.behind(stop))):
        return Layout((StreamPart(0, stop),)).followed_by(other, stop)
    if behind <= tolerated or _is_metadata(file, family, stop):
        return Layout((StreamPart(0, file.size),))
    if found.claimed == 0:  # its writer never filled it in
        return corrected()
    return corrected(f"has {behind} bytes after the end that its header gives")


def _find_au_samples(file: Bytes, magic: bytes) -> _ChunkOfSamples | None:
    if magic != b".snd":
        return None
    start, size, coding, rate, channels = struct.unpack(">5I", file(4, 20).ljust(20, b"\0"))
    widths = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
    claimed = None if size >= OPEN_ENDED else size
    byte_rate = rate * channels * widths.get(coding, 0)
    return _ChunkOfSamples(start, claimed, byte_rate, lambda n: ((8, struct.pack(">I", min(n, _LARGEST_SIZE))),))


def _find_samples(file: Bytes, family: _Family) -> _ChunkOfSamples | None:
    byte_rate, form_at, long_sizes = 0.0, 0, b""
    for name, start, size in _chunks(file, family, family.first):
        if name == b"ds64":
            long_sizes = file(start, 16)
        elif name == family.form:
            byte_rate, form_at = family.byte_rate(file(start, 40)), start
        elif name == family.samples:
            claimed: int | None = size
            if len(long_sizes) == 16 and size == _LARGEST_SIZE:
                claimed = struct.unpack("<QQ", long_sizes)[1]
            elif size < 0 or (family.size.endswith("I") and size >= OPEN_ENDED and size > file.size - start):
                claimed = None
            if claimed is not None and claimed >= 1 << 62:
                claimed = None
            if claimed is not None and claimed > 0:
                claimed -= family.lead
            patches = partial(_patches, file, family, start, form_at if byte_rate else 0, len(long_sizes) == 16)
            return _ChunkOfSamples(start + family.lead, claimed, byte_rate, patches)
    return None


def _patches(file: Bytes, family: _Family, start: int, form_at: int, has_long_sizes: bool, num_bytes: int) -> Patches:
    """The lengths in the headers for ``num_bytes`` of samples in the chunk whose content begins at ``start``.

    form_at: content of the chunk with the format; 0: unknown.
    """
    if has_long_sizes:
        at = family.first + family.head  # of the content of 'ds64', the first chunk
        return (at, struct.pack("<Q", start + num_bytes - family.uncounted)), (at + 8, struct.pack("<Q", num_bytes))
    size_at = start - family.head + family.name_bytes
    whole = family.packed(start + family.lead + num_bytes - family.uncounted)
    patches = [(size_at, family.packed(num_bytes + family.lead + family.inclusive))]
    patches += [(at, whole) for at in family.wholes]
    if family.form == b"COMM" and form_at:
        channels, _, bits = struct.unpack_from(">hIh", file(form_at, 8))
        patches.append((form_at + 2, struct.pack(">I", num_bytes // (channels * ((bits + 7) // 8)))))
    return tuple(patches)


def _chunks(file: Bytes, family: _Family, position: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start of its content, claimed size) of each chunk, up to the end or an incomplete one."""
    while position + family.head <= file.size:
        head = file(position, family.head)
        name, size = head[:4], struct.unpack(family.size, head[family.name_bytes :])[0] - family.inclusive
        yield name, position + family.head, size
        if size < 0:
            return
        position += family.head + size
        position += -position % family.align if family.inclusive else size % family.align


def _is_metadata(file: Bytes, family: _Family | None, position: int) -> bool:
    """Whether only chunks, tags or zeros follow the samples."""
    if file(position, 8).startswith(_TAGS):
        return True
    behind = file(position, _MAX_BEHIND)
    if len(behind) == file.size - position and not behind.strip(b"\0"):
        return True
    if family is None:
        return False
    for name, start, size in _chunks(file, family, position):
        if name in _LAST_CHUNKS:
            position = start + max(0, size)
            continue
        is_name = name != family.samples and all(32 <= letter < 127 for letter in name)
        if not is_name or size < 0 or start + size > file.size:
            return file(start - family.head, 8).startswith(_TAGS)
        position = start + size
    return file.size - position < family.head
