"""A process that decodes as the server's does, but fails as its codecs might at files that say so."""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Any

from recitative.serve import decoder

FAULTS = {
    b"crash": lambda: ctypes.string_at(0),
    b"loop": lambda: any(iter(int, 1)),
    b"sleep": lambda: time.sleep(1e6),
    b"memory": lambda: bytearray(1 << 36),
    b"leak": lambda: [bytes(1 << 20) for _ in range(1 << 16)],
}


def serve(connection: Any, seconds: float, megabytes: int) -> None:
    sound = decoder.open_blocks

    def open_blocks(path: str, block_s: float) -> Any:
        if fault := FAULTS.get(Path(path).read_bytes()):
            fault()
        return sound(path, block_s)

    decoder.open_blocks = open_blocks  # type: ignore[assignment]
    decoder.serve(connection, seconds, megabytes)


def ends_at_once(connection: Any, seconds: float, megabytes: int) -> None:
    """Main function of a process that does not get as far as its first message."""
    connection.close()
