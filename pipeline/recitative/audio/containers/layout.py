"""The layout of a container, and access to its bytes."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, replace
from typing import BinaryIO

SHORTFALL_S = 0.01
"""Duration by which samples may fall short of the header without anything missing."""

_BLOCK = 1 << 18


@dataclass(frozen=True)
class StreamPart:
    """One stream of a recording: a range of its file, as presented to the decoder."""

    start: int
    stop: int
    patches: tuple[tuple[int, bytes], ...] = ()  # (offset from start, replacement bytes)
    prefix: bytes = b""  # inserted before, for a decoder that would expect fewer samples
    prefix_samples: int = 0  # that the decoder drops because of it
    num_samples: int | None = None  # per channel, if known better than from the header


@dataclass(frozen=True)
class Layout:
    """The consecutive streams of a recording, and its fault."""

    parts: tuple[StreamPart, ...]
    fault: str = ""  # empty: it is complete; otherwise the parts have what exists

    def joined(self, other: Layout) -> Layout:
        """This layout followed by another."""
        return Layout(self.parts + other.parts, self.fault or other.fault)

    def moved(self, start: int) -> Layout:
        """The layout in a file that begins ``start`` bytes earlier."""
        parts = (replace(part, start=part.start + start, stop=part.stop + start) for part in self.parts)
        return Layout(tuple(parts), self.fault)


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


def id3_end(file: Bytes, position: int) -> int:
    """The end of an ID3 tag at a position; the position itself if there is none."""
    head = file(position, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return position
    return position + 10 + (head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9])


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
