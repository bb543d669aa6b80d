"""Containers of recordings: the number of samples they claim and contain, found without decoding.

Decoders believe headers: they return a part of a file that was truncated, concatenated, or written to a pipe as if it
were complete. So every container is parsed before it is decoded. Wrong or missing lengths in the header are corrected
in memory (``StreamPart.patches``) or reported (``Layout.fault``).

This module has what all containers share, and the chunked ones: WAV, RF64, W64, AIFF, CAF; and AU, which is one chunk.
"""

from __future__ import annotations

import io
import math
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from typing import BinaryIO

from recitative.errors import counted

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
        return corrected(f"is truncated: {counted(missing, 'byte')} of samples missing" if missing > tolerated else "")
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
    return corrected(f"has {counted(behind, 'byte')} after the end that its header gives")


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


# FLAC, MP3 and Ogg


@cache
def _crc_table(bits: int, polynomial: int) -> tuple[int, ...]:
    top, mask = 1 << bits - 1, (1 << bits) - 1
    rows = []
    for value in range(256):
        crc = value << bits - 8
        for _ in range(8):
            crc = (crc << 1 ^ (polynomial if crc & top else 0)) & mask
        rows.append(crc)
    return tuple(rows)


def _crc(content: bytes | bytearray, bits: int, polynomial: int) -> int:
    """The cyclic redundancy check of 8, 16 or 32 bits, not reflected, initially 0."""
    table, mask, shift = _crc_table(bits, polynomial), (1 << bits) - 1, bits - 8
    value = 0
    for byte in content:
        value = (value << 8 & mask) ^ table[value >> shift ^ byte]
    return value


def _id3_end(file: Bytes, position: int) -> int:
    """The end of an ID3 tag at a position; the position itself if there is none."""
    head = file(position, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return position
    return position + 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])


# FLAC: the length in its header, compared with the last frame in the file (RFC 9639).

_TAIL = 1 << 16  # bytes at the end that contain the last frame, or else 16 times as many
_BLOCK_SIZES = {1: 192, 2: 576, 3: 1152, 4: 2304, 5: 4608} | {code: 256 << (code - 8) for code in range(8, 16)}
_INFO_END = 42  # of 'fLaC' and the block STREAMINFO
_TOTAL_AT = 18  # of 8 bytes that end with the 36 bits of the number of samples


@dataclass(frozen=True)
class _FlacFrame:
    place: int  # in the tail of the file
    first: int  # number of its first sample
    end: int  # number of the sample after its last


def read_flac(file: Bytes) -> Layout | None:
    """The layout of a FLAC file, or of several concatenated ones; None for other files."""
    start = _id3_end(file, 0)
    if file(start, 4) != b"fLaC":
        return None
    again = file.find(b"fLaC\0\0\0\x22", start + 4)
    if again < 0:
        again = file.find(b"fLaC\x80\0\0\x22", start + 4)
    layout = _flac_stream(file, start, again if again > 0 else file.size)
    other = read_flac(file.behind(again)) if again > 0 else None
    return layout.followed_by(other, again) if other else layout


def _flac_stream(file: Bytes, start: int, stop: int) -> Layout:
    whole = StreamPart(start, stop)
    head = file(start, _INFO_END)
    if len(head) < _INFO_END or head[4] & 0x7F != 0:
        return Layout((whole,))
    packed = int.from_bytes(head[_TOTAL_AT : _TOTAL_AT + 8], "big")
    sample_rate, total = packed >> 44, packed & (1 << 36) - 1

    def corrected(stop: int, num_samples: int) -> StreamPart:
        length = (packed >> 36 << 36 | num_samples).to_bytes(8, "big")
        return StreamPart(start, stop, ((_TOTAL_AT, length),), num_samples=num_samples)

    for size in (_TAIL, 16 * _TAIL):
        first = max(start + _INFO_END, stop - size)
        tail = file(first, stop - first)
        frames = list(_flac_frames(tail, int.from_bytes(head[8:10], "big")))
        if total and any(frame.end == total for frame in frames):
            return Layout((StreamPart(start, stop, num_samples=total),))
        last = next((frame for frame in reversed(frames) if _crc(tail[frame.place :], 16, 0x8005) == 0), None)
        if last:
            fault = ""
            if total and abs(total - last.end) > SHORTFALL_S * sample_rate:
                fault = f"is truncated: {last.end} of {total} samples are there"
                if last.end > total:
                    fault = f"has {counted(last.end - total, 'sample')} after the end that its header gives"
            return Layout((corrected(stop, last.end),), fault)
        if frames:  # the last one is incomplete; those before are complete
            end = frames[-1].first
            found = f"{end} of {total} samples are there" if total else "it ends within a frame"
            parts = (corrected(first + frames[-1].place, end),) if end else ()
            return Layout(parts, f"is truncated: {found}")
        if first == start + _INFO_END:
            break
    # Without a frame, the decoder will report the fault, unless it has no length to compare with.
    return Layout((whole,), "" if total else "is damaged: none of its last frames can be found")


def _flac_frames(tail: bytes, block_size: int) -> Iterator[_FlacFrame]:
    """Everything that looks like a frame; block_size: samples of each if they are numbered by frame."""
    place = tail.find(b"\xff")
    while 0 <= place < len(tail) - 6:
        frame = _flac_frame(tail, place, block_size) if tail[place + 1] & 0xFE == 0xF8 else None
        if frame:
            yield frame
        place = tail.find(b"\xff", place + 1)


def _flac_frame(tail: bytes, place: int, block_size: int) -> _FlacFrame | None:
    by_sample, codes, channels = tail[place + 1] & 1, tail[place + 2], tail[place + 3]
    block_code, rate_code = codes >> 4, codes & 15
    if block_code == 0 or rate_code == 15 or channels >> 4 > 10 or channels & 1:
        return None
    position = place + 4
    first = tail[position] if position < len(tail) else 0
    extra = 0 if first < 0x80 else 7 - (first ^ 0xFF).bit_length()  # bytes of the number, coded like UTF-8
    if first >= 0x80 and not 1 <= extra <= 6:
        return None
    number = first if first < 0x80 else first & ((1 << 6 - extra) - 1)
    for letter in tail[position + 1 : position + 1 + extra]:
        if letter & 0xC0 != 0x80:
            return None
        number = number << 6 | letter & 0x3F
    position += 1 + extra
    if block_code in (6, 7):
        size = int.from_bytes(tail[position : position + block_code - 5], "big") + 1
        position += block_code - 5
    else:
        size = _BLOCK_SIZES[block_code]
    position += {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if position >= len(tail) or _crc(tail[place:position], 8, 0x07) != tail[position]:
        return None
    begin = number if by_sample else number * block_size
    return _FlacFrame(place, begin, begin + size)


# MP3: the number of its frames, compared with the header.

_RATES = (44100, 48000, 32000)
_BIT_RATES = {  # kbit/s of layer III
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_DECODER_DELAY = 529  # samples dropped by mpg123 if a header has the encoder's delay
_MISCOUNTED = 2  # frames: some headers count themselves, others omit the last
_MAX_JUNK = 1 << 16  # bytes without a frame, after which it is not MP3


@dataclass(frozen=True)
class _Mp3Frame:
    size: int  # bytes
    num_samples: int
    sample_rate: int
    side_bytes: int  # between the header and what follows


@dataclass
class _Mp3Stream:
    """Consecutive frames with at most one header frame."""

    start: int
    stop: int
    head: bytes  # the first frame's header
    frame: _Mp3Frame
    count: int = 0
    claim_at: int = 0  # position of the number of frames in the header; 0: none
    claimed: int = 0
    is_trimmed: bool = False  # whether the decoder drops:
    delay: int = 0  # samples that the encoder added before ...
    padding: int = 0  # ... and after
    ends_within: bool = False  # a frame


def read_mp3(file: Bytes) -> Layout | None:
    """The layout of an MP3 file, or of several concatenated ones; None without frames of layer III."""
    found = [_mp3_part(stream) for stream in _mp3_streams(file)]
    if not found:
        return None
    return Layout(tuple(part for part, _ in found), next((fault for _, fault in found if fault), ""))


def _mp3_streams(file: Bytes) -> list[_Mp3Stream]:
    position, junk = _id3_end(file, 0), 0
    streams: list[_Mp3Stream] = []
    while position + 4 <= file.size:
        head = file(position, 4)
        frame = _mp3_frame(head[1:]) if head[0] == 0xFF else None
        if frame and junk and position + frame.size + 4 <= file.size:  # after other bytes, require two in sequence
            following = file(position + frame.size, 4)
            if following[0] != 0xFF or not _mp3_frame(following[1:]):
                frame = None
        if not frame:
            tag_end = _id3_end(file, position)
            position, junk = (tag_end, junk) if tag_end > position else (position + 1, junk + 1)
            if junk > _MAX_JUNK:
                break
            continue
        junk = 0
        claim = _mp3_claim(file(position, min(frame.size, 256)), position, frame)
        if not streams or claim:
            streams.append(_Mp3Stream(position, position, head, frame, 0, *(claim or ())))
        if position + frame.size > file.size:
            streams[-1].ends_within = file(position, 3) not in (b"TAG", b"ID3", b"APE")
            break
        streams[-1].count += 0 if claim else 1
        position += frame.size
        streams[-1].stop = position
    return [stream for stream in streams if stream.count]


def _mp3_part(stream: _Mp3Stream) -> tuple[StreamPart, str]:
    """The part, and its fault."""
    start, stop, count = stream.start, stream.stop, stream.count
    samples = count * stream.frame.num_samples
    if not stream.claim_at:
        fault = "is truncated: it ends within a frame" if stream.ends_within else ""
        return StreamPart(start, stop, (), _mp3_header_frame(stream), _DECODER_DELAY, samples), fault
    if stream.is_trimmed:
        behind = max(0, stream.padding - _DECODER_DELAY)
        samples = max(0, samples - behind - stream.delay - _DECODER_DELAY)
    patches = ((stream.claim_at - start, struct.pack(">I", count)),) if stream.claimed != count else ()
    is_cut = stream.claimed > count + _MISCOUNTED
    fault = f"is truncated: {count} of {stream.claimed} frames are there" if is_cut else ""
    return StreamPart(start, stop, patches, num_samples=samples), fault


@lru_cache(256)
def _mp3_frame(head: bytes) -> _Mp3Frame | None:
    """The frame with the header 0xFF and these three bytes; None if it is not one of layer III."""
    version, layer = head[0] >> 3 & 3, head[0] >> 1 & 3
    rate, bits = head[1] >> 2 & 3, head[1] >> 4
    if head[0] & 0xE0 != 0xE0 or version == 1 or layer != 1 or rate == 3 or bits in (0, 15):
        return None
    first = version == 3
    sample_rate = _RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    num_samples = 1152 if first else 576
    size = num_samples // 8 * 1000 * _BIT_RATES[first][bits] // sample_rate + (head[1] >> 1 & 1)
    mono = head[2] >> 6 == 3
    side_bytes = (17 if mono else 32) if first else (9 if mono else 17)
    return _Mp3Frame(size, num_samples, sample_rate, side_bytes)


def _mp3_claim(content: bytes, position: int, frame: _Mp3Frame) -> tuple[int, int, bool, int, int] | None:
    """For a header frame: the position of the number of frames (0: none), the number, whether delay and padding of the
    encoder follow, and these."""
    if content[36:40] == b"VBRI":
        return position + 50, int.from_bytes(content[50:54], "big"), False, 0, 0
    at = 4 + frame.side_bytes
    if content[at : at + 4] not in (b"Xing", b"Info"):
        return None
    flags = int.from_bytes(content[at + 4 : at + 8], "big")
    if not flags & 1:
        return 0, 0, False, 0, 0
    count = int.from_bytes(content[at + 8 : at + 12], "big")
    lame = at + 12 + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
    trim = content[lame + 21 : lame + 24]
    if len(trim) < 3:
        return position + at + 8, count, False, 0, 0
    return position + at + 8, count, True, trim[0] << 4 | trim[1] >> 4, (trim[1] & 15) << 8 | trim[2]


def _mp3_header_frame(stream: _Mp3Stream) -> bytes:
    """A header frame with the number of frames, which the decoder would otherwise guess from the file size."""
    head, frame = bytearray(stream.head), stream.frame
    head[1] |= 1  # without a checksum
    first = frame.num_samples == 1152
    head[2] = head[2] & 0x0C | (9 if first else 8) << 4  # 128 or 64 kbit/s: there is room
    size = frame.num_samples // 8 * 1000 * (128 if first else 64) // frame.sample_rate
    body = bytes(frame.side_bytes) + b"Info" + struct.pack(">II", 1, stream.count)
    return (bytes(head) + body).ljust(size, b"\0")


# Ogg: its consecutive streams, each from a first page to a last page (RFC 3533). A page is 27 bytes of header, its
# segment table, and the segments.

_FIRST, _LAST = 2, 4  # bits of a page's header type


@dataclass
class _OggLink:
    """One stream of a chain, or several multiplexed ones."""

    start: int
    stop: int
    open: set[bytes] = field(default_factory=set)  # serial numbers of streams without a last page
    has_content: bool = False  # a page other than the first


def read_ogg(file: Bytes) -> Layout | None:
    """The layout of an Ogg file; None for other files."""
    if file(0, 4) != b"OggS":
        return None
    links: list[_OggLink] = []
    position, ends_within = 0, False
    while position < file.size:
        head = file(position, 27)
        if head[:4] != b"OggS":
            position = file.find(b"OggS", position + 1)
            if position < 0:
                break
            continue
        table = file(position + 27, head[26]) if len(head) == 27 else b""
        stop = position + 27 + len(table) + sum(table)
        ends_within = len(head) < 27 or len(table) < head[26] or stop > file.size
        if ends_within:
            break
        kind, serial = head[5], head[14:18]
        if not links or (kind & _FIRST and links[-1].has_content):
            links.append(_OggLink(position, stop))
        link = links[-1]
        link.stop = stop
        link.has_content |= not kind & _FIRST
        if kind & _LAST:
            link.open.discard(serial)
        elif kind & _FIRST:
            link.open.add(serial)
        position = stop
    if not links:
        return None
    links[-1].stop = file.size
    is_cut = ends_within or any(link.open for link in links)
    parts = tuple(StreamPart(link.start, link.stop) for link in links)
    return Layout(parts, "is truncated: the ogg stream has no last page" if is_cut else "")


def with_ogg_serial(content: bytes, serial: int) -> bytes:
    """The same Ogg stream with another serial number: encoders choose a random one, and bytes would never repeat.

    Bytes 14 to 17 of a page are the stream's serial number, 22 to 25 the CRC-32 of the page with these four at zero.
    """
    pages = bytearray(content)
    start = 0
    while start < len(pages):
        segments = pages[start + 26]
        stop = start + 27 + segments + sum(pages[start + 27 : start + 27 + segments])
        pages[start + 14 : start + 18] = serial.to_bytes(4, "little")
        pages[start + 22 : start + 26] = bytes(4)
        pages[start + 22 : start + 26] = _crc(pages[start:stop], 32, 0x04C11DB7).to_bytes(4, "little")
        start = stop
    return bytes(pages)
