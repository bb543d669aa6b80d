"""A recording inside another file, such as a shard: ``data/shard-0003.tar?offset=512&bytes=48213&crc32=9af3c1d2``.

It stands wherever a path does, in a table as well (Kaldi's ``archive.ark:12345`` with a length and a checksum, so that
a file that has changed since is noticed).
"""

from __future__ import annotations

import os
import re
import zlib
from dataclasses import dataclass

from recitative.errors import DataError
from recitative.reading import opened

_LOCATION = re.compile(r"(?P<path>.+)\?offset=(?P<offset>\d+)&bytes=(?P<size>\d+)&crc32=(?P<crc32>[0-9a-f]{8})")
_REMEDY = "fetch that file again, or write the shards again with 'recitative shards'"


@dataclass(frozen=True)
class AudioSlice:
    """``size`` bytes of a file from ``offset`` on, and their CRC-32."""

    path: str
    offset: int
    size: int
    crc32: int

    @classmethod
    def parse(cls, location: str) -> AudioSlice | None:
        """None for the path of a plain file."""
        match = _LOCATION.fullmatch(location)
        if not match:
            return None
        return cls(match["path"], int(match["offset"]), int(match["size"]), int(match["crc32"], 16))

    def __str__(self) -> str:
        return f"{self.path}?offset={self.offset}&bytes={self.size}&crc32={self.crc32:08x}"

    def read(self) -> bytes:
        """The bytes. Raises DataError for a file that is missing, too short, or not the one the checksum is of."""
        with opened(self.path, "the shard that the index names", _REMEDY) as file:
            length = os.fstat(file.fileno()).st_size
            if self.offset + self.size <= length:
                file.seek(self.offset)
                content = file.read(self.size)
        if self.offset + self.size > length:
            found = f"ends at byte {length}, within a recording"
            raise DataError(self.path, found, f"at least {self.offset + self.size} bytes", _REMEDY)
        if zlib.crc32(content) != self.crc32:
            found = f"its {self.size} bytes from {self.offset} on are not those that were indexed"
            raise DataError(self.path, found, f"bytes with the CRC-32 {self.crc32:08x}", _REMEDY)
        return content
