"""Chunked containers: WAV, RF64, W64, AIFF, CAF; and AU, which is one chunk."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from recitative.audio.containers.layout import SHORTFALL_S, Bytes, Layout, StreamPart

OPEN_ENDED = 0x7F000000  # 32-bit sizes from here up are "unknown", as sox and ffmpeg write them to a pipe
_TAGS = (b"TAG", b"ID3", b"APETAGEX")  # of MP3, at the end
_LAST_CHUNKS = frozenset(
    {b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"smpl", b"fact", b"JUNK", b"PEAK", b"iXML", b"_PMX", b"afsp"}
    | {b"ANNO", b"NAME", b"AUTH", b"(c) ", b"MARK", b"INST", b"APPL", b"COMT", b"info", b"free", b"strg", b"mark"}
)  # may follow the samples, even truncated
_MAX_BEHIND = 1 << 20  # bytes examined there


@dataclass(frozen=True)
class Family:
    """The structure of a chunked container."""

    first: int  # position of the first chunk
    name_bytes: int
    size: str  # struct's letter
    inclusive: int  # bytes of the chunk header that its size includes
    align: int
    magic: bytes  # first bytes of a recording, also of one that follows this
    samples: bytes  # name of the chunk with the samples
    form: bytes  # name of the chunk with their format
    lead: int  # bytes in the former before the samples
    byte_rate: Callable[[bytes], float]  # bytes per second, from the latter
    wholes: tuple[int, ...]  # positions of the total size, if any ...
    uncounted: int  # ... and the bytes of the file that it excludes

    @property
    def head(self) -> int:
        return self.name_bytes + struct.calcsize(self.size)


@dataclass(frozen=True)
class _Found:
    """The samples of a recording in chunks."""

    size_at: int
    start: int
    claimed: int | None  # None: unknown
    byte_rate: float  # 0: unknown
    patches: tuple[tuple[int, Callable[[int], bytes]], ...]  # of the headers, given the number of bytes of samples


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


_WAV = Family(12, 4, "<I", 0, 2, b"RIFF", b"data", b"fmt ", 0, _wav_rate, (4,), 8)
_FAMILIES = {
    b"RIFF": _WAV,
    b"RF64": replace(_WAV, magic=b"RF64"),
    b"BW64": replace(_WAV, magic=b"BW64"),
    b"FORM": Family(12, 4, ">I", 0, 2, b"FORM", b"SSND", b"COMM", 8, _aiff_rate, (4,), 8),
    b"riff": Family(40, 16, "<Q", 24, 8, b"riff", b"data", b"fmt ", 0, _wav_rate, (16,), 0),
    b"caff": Family(8, 4, ">q", 0, 1, b"caff", b"data", b"desc", 4, _caf_rate, (), 0),
}


def read_chunks(file: Bytes) -> Layout | None:
    """The layout of a chunked recording; None without samples, or for other files."""
    magic = file(0, 4)
    if magic == b".snd":
        return _layout(file, None, magic, _find_au(file))
    family = _FAMILIES.get(magic)
    found = _find_samples(file, family) if family else None
    return _layout(file, family, magic, found) if found else None


def _layout(file: Bytes, family: Family | None, magic: bytes, found: _Found) -> Layout:
    there = file.size - found.start
    tolerated = SHORTFALL_S * found.byte_rate
    align = family.align if family else 1
    if found.claimed is None:
        return Layout((_mended(file, found, there),))
    missing = found.claimed - there
    if missing > 0:
        fault = f"is truncated: {missing} bytes of samples are missing" if missing > tolerated else ""
        return Layout((_mended(file, found, there),), fault)
    stop = found.start + found.claimed
    stop += -stop % align if family is None or family.inclusive else found.claimed % align
    behind = file.size - stop
    again = file(stop, 4)
    if again == magic and behind > 12:
        other = read_chunks(file.behind(stop))
        if other:
            return Layout((StreamPart(0, stop),)).joined(other.moved(stop))
    if behind <= tolerated or _is_metadata(file, family, stop):
        return Layout((StreamPart(0, file.size),))
    if found.claimed == 0:  # its writer never filled it in
        return Layout((_mended(file, found, there),))
    fault = f"has {behind} bytes after the end that its header gives"
    return Layout((_mended(file, found, there),), fault)


def _mended(file: Bytes, found: _Found, num_bytes: int) -> StreamPart:
    """The part with all existing samples, and matching headers."""
    return StreamPart(0, file.size, tuple((at, patch(num_bytes)) for at, patch in found.patches))


def _find_au(file: Bytes) -> _Found:
    start, size, coding, rate, channels = struct.unpack(">5I", file(4, 20).ljust(20, b"\0"))
    widths = {1: 1, 2: 1, 3: 2, 4: 3, 5: 4, 6: 4, 7: 8, 27: 1}
    claimed = None if size >= OPEN_ENDED else size
    patch = (8, lambda num_bytes: struct.pack(">I", min(num_bytes, 0xFFFFFFFF)))
    return _Found(8, start, claimed, rate * channels * widths.get(coding, 0), (patch,))


def _find_samples(file: Bytes, family: Family) -> _Found | None:
    byte_rate, long_sizes, form_at = 0.0, b"", 0
    for name, start, size in _chunks(file, family, family.first):
        if name == b"ds64":
            long_sizes = file(start, 16)
        if name == family.form:
            byte_rate, form_at = family.byte_rate(file(start, 40)), start
        if name != family.samples:
            continue
        claimed: int | None = size
        long_at = family.first + family.head
        if len(long_sizes) == 16 and size == 0xFFFFFFFF:
            claimed = struct.unpack("<QQ", long_sizes)[1]
        elif size < 0 or (family.size.endswith("I") and size >= OPEN_ENDED and size > file.size - start):
            claimed = None
        if claimed is not None and (claimed >= 1 << 62):
            claimed = None
        if claimed is not None and claimed > 0:
            claimed -= family.lead
        patches = _patches(file, family, start, byte_rate, form_at, long_at if len(long_sizes) == 16 else 0)
        return _Found(start - family.head, start + family.lead, claimed, byte_rate, patches)
    return None


def _patches(
    file: Bytes, family: Family, start: int, byte_rate: float, form_at: int, long_at: int
) -> tuple[tuple[int, Callable[[int], bytes]], ...]:
    """Positions of lengths in the headers, and their corrections."""
    size_at = start - family.head + family.name_bytes

    def chunk_size(num_bytes: int) -> bytes:
        size = num_bytes + family.lead + family.inclusive
        return struct.pack(family.size, min(size, 0xFFFFFFFF) if family.size.endswith("I") else size)

    def whole(num_bytes: int) -> bytes:
        size = start + family.lead + num_bytes - family.uncounted
        return struct.pack(family.size, min(size, 0xFFFFFFFF) if family.size.endswith("I") else size)

    if long_at:
        return (
            (long_at, lambda num_bytes: struct.pack("<Q", start + num_bytes - family.uncounted)),
            (long_at + 8, lambda num_bytes: struct.pack("<Q", num_bytes)),
        )
    patches: list[tuple[int, Callable[[int], bytes]]] = [(size_at, chunk_size)]
    patches += [(at, whole) for at in family.wholes]
    if family.form == b"COMM" and byte_rate:
        channels, _, bits = struct.unpack_from(">hIh", file(form_at, 8))
        width = channels * ((bits + 7) // 8)
        patches.append((form_at + 2, lambda num_bytes: struct.pack(">I", num_bytes // width)))
    return tuple(patches)


def _chunks(file: Bytes, family: Family, position: int) -> Iterator[tuple[bytes, int, int]]:
    """(name, start of its content, claimed size) of each chunk, up to the end or an incomplete one."""
    while position + family.head <= file.size:
        head = file(position, family.head)
        name, size = head[:4], struct.unpack(family.size, head[family.name_bytes :])[0] - family.inclusive
        yield name, position + family.head, size
        if size < 0:
            return
        position += family.head + size
        position += -position % family.align if family.inclusive else size % family.align


def _is_metadata(file: Bytes, family: Family | None, position: int) -> bool:
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
