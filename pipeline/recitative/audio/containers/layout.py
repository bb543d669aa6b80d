"""What every container is read into, and how its bytes are looked at."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, replace
from typing import BinaryIO

SHORTFALL_S = 0.01
"""So much less than a header says may be there without that anything is missing."""

_BLOCK = 1 << 18


@dataclass(frozen=True)
class Part:
    """One stream of a recording: bytes of its file, as a decoder is to see them."""

    start: int
    stop: int
    patches: tuple[tuple[int, bytes], ...] = ()  # (offset from start, the bytes that stand there instead)
    prefix: bytes = b""  # what comes before, for a decoder that would else expect fewer samples
    prefix_samples: int = 0  # that a decoder leaves out because of it
    num_samples: int | None = None  # per channel, where it is known better than the decoder's own header tells


@dataclass(frozen=True)
class Layout:
    """The streams of a recording, one after the other, and what is wrong with it."""

    parts: tuple[Part, ...]
    fault: str = ""  # nothing: it is whole; else the parts hold what there is

    def joined(self, other: Layout) -> Layout:
        """Followed by another."""
        return Layout(self.parts + other.parts, self.fault or other.fault)

    def moved(self, start: int) -> Layout:
        """In a file that begins so many bytes earlier."""
        parts = (replace(part, start=part.start + start, stop=part.stop + start) for part in self.parts)
        return Layout(tuple(parts), self.fault)


class Bytes:
    """The bytes of a file from ``start`` on, read in blocks as they are asked for."""

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
        """Where the pattern is from an offset on, or -1."""
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
        """Those from an offset on, as a file of their own."""
        return Bytes(self.file, self.start + offset, self.start + self.size)


class Window(io.RawIOBase):
    """A part of a file as a file of its own, for a decoder."""

    def __init__(self, file: BinaryIO, part: Part) -> None:
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
