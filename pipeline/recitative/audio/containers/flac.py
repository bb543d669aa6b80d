"""FLAC: the length in its header beside the last frame that is there (RFC 9639)."""

from __future__ import annotations

from dataclasses import dataclass

from recitative.audio.containers.layout import SHORTFALL_S, Bytes, Layout, Part

_TAIL = 1 << 16  # bytes in which the last frame begins, or 16 times as many
_BLOCK_SIZES = {1: 192, 2: 576, 3: 1152, 4: 2304, 5: 4608} | {code: 256 << (code - 8) for code in range(8, 16)}


@dataclass(frozen=True)
class _StreamInfo:
    """What stands at the beginning."""

    at: int
    block_size: int  # the smallest, which is all frames' where they are numbered
    sample_rate: int
    total: int  # samples; 0: left open

    def patch(self, file: Bytes, total: int) -> tuple[int, bytes]:
        packed = int.from_bytes(file(self.at + 10, 8), "big") >> 36 << 36 | total
        return self.at + 10, packed.to_bytes(8, "big")


def read_flac(file: Bytes) -> Layout | None:
    """The layout of a FLAC file, or of several that were joined; None for another."""
    start = _behind_id3(file)
    if file(start, 4) != b"fLaC":
        return None
    again = file.find(b"fLaC\0\0\0\x22", start + 4)
    if again < 0:
        again = file.find(b"fLaC\x80\0\0\x22", start + 4)
    stop = again if again > 0 else file.size
    layout = _one(file, start, stop)
    other = read_flac(file.behind(again)) if again > 0 else None
    return layout.joined(other.moved(again)) if other else layout


def _behind_id3(file: Bytes) -> int:
    head = file(0, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    return 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])


def _one(file: Bytes, start: int, stop: int) -> Layout:
    info = _stream_info(file, start)
    if info is None:
        return Layout((Part(start, stop),))
    for size in (_TAIL, 16 * _TAIL):
        first = max(start + 42, stop - size)
        tail = file(first, stop - first)
        ends = _frame_ends(tail, info)
        if any(end == info.total for _, end in ends) and info.total:
            return Layout((Part(start, stop, num_samples=info.total),))
        whole = next(((place, end) for place, end in reversed(ends) if _crc16(tail[place:]) == 0), None)
        if whole:
            return _judged(file, info, start, stop, whole[1])
        if ends:  # the last frame is not all there; what is before it is
            place, _ = ends[-1]
            return _cut(file, info, start, first + place, _begin_of(ends, tail, info))
        if first == start + 42:
            break
    if info.total:
        return Layout((Part(start, stop),))  # no frame is known for one: the decoder will tell
    return Layout((Part(start, stop),), "is damaged: none of its last frames can be found")


def _judged(file: Bytes, info: _StreamInfo, start: int, stop: int, end: int) -> Layout:
    """Of a file whose last frame, complete, ends with sample ``end``."""
    part = Part(start, stop, (_relative(info.patch(file, end), start),), num_samples=end)
    if not info.total or abs(info.total - end) <= SHORTFALL_S * info.sample_rate:
        return Layout((part,))
    if end < info.total:
        return Layout((part,), f"is truncated: {end} of {info.total} samples are there")
    return Layout((part,), f"has {end - info.total} samples more behind the end that its header names")


def _cut(file: Bytes, info: _StreamInfo, start: int, stop: int, end: int) -> Layout:
    part = Part(start, stop, (_relative(info.patch(file, end), start),), num_samples=end)
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
    """(where it begins, the number of the sample behind its last) of all that looks like a frame, in order."""
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
    """(the number of its first sample, that of the one behind its last), None for no frame."""
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
    """0 for a frame with its checksum behind it."""
    crc = 0
    for letter in content:
        crc = (crc << 8 & 0xFFFF) ^ _CRC16[crc >> 8 ^ letter]
    return crc
