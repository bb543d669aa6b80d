"""Ogg pages with a serial number of our choice: libsndfile draws a new one each time, and bytes would never repeat.

RFC 3533: a page is 27 bytes of header, its table of segments, and the segments; bytes 14 to 17 are the stream's serial
number, 22 to 25 the CRC-32 of the page with these four at zero (polynomial 0x04c11db7, not reflected, starting at 0).
"""

from __future__ import annotations

SERIAL = 1


def with_serial(content: bytes, serial: int = SERIAL) -> bytes:
    """The same Ogg stream under another serial number."""
    pages = bytearray(content)
    start = 0
    while start < len(pages):
        segments = pages[start + 26]
        stop = start + 27 + segments + sum(pages[start + 27 : start + 27 + segments])
        pages[start + 14 : start + 18] = serial.to_bytes(4, "little")
        pages[start + 22 : start + 26] = bytes(4)
        pages[start + 22 : start + 26] = _crc(pages[start:stop]).to_bytes(4, "little")
        start = stop
    return bytes(pages)


def _crc(page: bytearray) -> int:
    value = 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ _TABLE[value >> 24 ^ byte]
    return value


def _table() -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        value = byte << 24
        for _ in range(8):
            value = value << 1 ^ (0x104C11DB7 if value & 0x80000000 else 0)
        rows.append(value)
    return tuple(rows)


_TABLE = _table()
