"""FLAC: the length in its header, compared with the last frame in the file (RFC 9639)."""

from __future__ import annotations

from dataclasses import dataclass

from recitative.audio.containers.layout import SHORTFALL_S, Bytes, Layout, StreamPart, id3_end

_TAIL = 1 << 16  # bytes at the end that contain the last frame, or else 16 times as many
_BLOCK_SIZES = {1: 192, 2: 576, 3: 1152, 4: 2304, 5: 4608} | {code: 256 << (code - 8) for code in range(8, 16)}


@dataclass(frozen=True)
class _StreamInfo:
    """The STREAMINFO block."""

    at: int
    block_size: int  # the smallest; that of all frames if they are numbered
    sample_rate: int
    total: int  # samples; 0: unknown

    def patch(self, file: Bytes, total: int) -> tuple[int, bytes]:
        packed = int.from_bytes(file(self.at + 10, 8), "big") >> 36 << 36 | total
        return self.at + 10, packed.to_bytes(8, "big")


def read_flac(file: Bytes) -> Layout | None:
    """The layout of a FLAC file, or of several concatenated ones; None for other files."""
    start = id3_end(file, 0)
    if file(start, 4) != b"fLaC":
        return None
    again = file.find(b"fLaC\0\0\0\x22", start + 4)
    if again < 0:
        again = file.find(b"fLaC\x80\0\0\x22", start + 4)
    stop = again if again > 0 else file.size
    layout = _one(file, start, stop)
    other = read_flac(file.behind(again)) if again > 0 else None
    return layout.joined(other.moved(again)) if other else layout


def _one(file: Bytes, start: int, stop: int) -> Layout:
    info = _stream_info(file, start)
    if info is None:
        return Layout((StreamPart(start, stop),))
    for size in (_TAIL, 16 * _TAIL):
        first = max(start + 42, stop - size)
        tail = file(first, stop - first)
        ends = _frame_ends(tail, info)
        if any(end == info.total for _, end in ends) and info.total:
            return Layout((StreamPart(start, stop, num_samples=info.total),))
        whole = next(((place, end) for place, end in reversed(ends) if _crc16(tail[place:]) == 0), None)
        if whole:
            return _judged(file, info, start, stop, whole[1])
        if ends:  # the last frame is incomplete; those before are complete
            place, _ = ends[-1]
            return _cut(file, info, start, first + place, _begin_of(ends, tail, info))
        if first == start + 42:
            break
    if info.total:
        return Layout((StreamPart(start, stop),))  # no frame found: the decoder will report it
    return Layout((StreamPart(start, stop),), "is damaged: none of its last frames can be found")


def _judged(file: Bytes, info: _StreamInfo, start: int, stop: int, end: int) -> Layout:
    """The layout of a file whose last frame is complete and ends with sample ``end``."""
    part = StreamPart(start, stop, (_relative(info.patch(file, end), start),), num_samples=end)
    if not info.total or abs(info.total - end) <= SHORTFALL_S * info.sample_rate:
        return Layout((part,))
    if end < info.total:
        return Layout((part,), f"is truncated: {end} of {info.total} samples are there")
    return Layout((part,), f"has {end - info.total} samples after the end that its header gives")


def _cut(file: Bytes, info: _StreamInfo, start: int, stop: int, end: int) -> Layout:
    part = StreamPart(start, stop, (_relative(info.patch(file, end), start),), num_samples=end)
    of = f"{end} of {info.total} samples are there" if info.total else "it ends within a frame"
    return Layout((part,) if end else (), f"is truncated: {of}")


def _relative(patch: tuple[int, bytes], start: int) -> tuple[int, bytes]:
    return patch[0] - start, patch[1]


def _stream_info(file: Bytes, start: int) -> _StreamInfo | None:
    head = file(start + 4, 38)
    if len(head) < 38 or head[0] & 0x7F != 0:
        return None
    packed = int.from_bytes(head[14:22], "big")
    return _StreamInfo(start + 8, int.from_bytes(head[4:6], "big"), packed >> 44, packed & (1 << 36) - 1)


def _frame_ends(tail: bytes, info: _StreamInfo) -> list[tuple[int, int]]:
    """(position, number of the sample after its last) of everything that looks like a frame, in order."""
    found: list[tuple[int, int]] = []
    place = tail.find(b"\xff")
    while 0 <= place < len(tail) - 6:
        frame = _frame(tail, place, info) if tail[place + 1] & 0xFE == 0xF8 else None
        if frame:
            found.append((place, frame[1]))
        place = tail.find(b"\xff", place + 1)
    return found


def _begin_of(ends: list[tuple[int, int]], tail: bytes, info: _StreamInfo) -> int:
    """The number of the first sample of the last frame."""
    frame = _frame(tail, ends[-1][0], info)
    assert frame is not None
    return frame[0]


def _frame(tail: bytes, place: int, info: _StreamInfo) -> tuple[int, int] | None:
    """(number of its first sample, number after its last); None if it is not a frame."""
    by_sample, codes, channels = tail[place + 1] & 1, tail[place + 2], tail[place + 3]
    block_code, rate_code = codes >> 4, codes & 15
    if block_code == 0 or rate_code == 15 or channels >> 4 > 10 or channels & 1:
        return None
    position = place + 4
    first = tail[position] if position < len(tail) else 0
    extra = 0 if first < 0x80 else 7 - (first ^ 0xFF).bit_length()
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
    if position >= len(tail) or _crc8(tail[place:position]) != tail[position]:
        return None
    begin = number if by_sample else number * info.block_size
    return begin, begin + size


def _table(bits: int, polynomial: int) -> tuple[int, ...]:
    top, mask = 1 << bits - 1, (1 << bits) - 1
    rows = []
    for value in range(256):
        crc = value << bits - 8
        for _ in range(8):
            crc = (crc << 1 ^ (polynomial if crc & top else 0)) & mask
        rows.append(crc)
    return tuple(rows)


_CRC8, _CRC16 = _table(8, 0x07), _table(16, 0x8005)


def _crc8(content: bytes) -> int:
    crc = 0
    for letter in content:
        crc = _CRC8[crc ^ letter]
    return crc


def _crc16(content: bytes) -> int:
    """0 for a frame followed by its checksum."""
    crc = 0
    for letter in content:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ letter]
    return crc
