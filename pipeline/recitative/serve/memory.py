"""Memory of the server's processes: what they use, and the return of what they no longer use."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

RELEASE_S = 30.0  # between releases of free memory

_trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # glibc only


def memory_of(pid: int) -> tuple[int, int]:
    """Resident bytes of a process, and its share of them: a page of n processes counts 1/n. 0 on other systems than
    Linux."""
    with suppress(OSError):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kilobytes = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines[1:])}
        return 1024 * kilobytes["Rss"], 1024 * kilobytes["Pss"]
    return 0, 0


def release_memory() -> None:
    """Return the free memory of this process to the system.

    Python keeps lists of freed objects, and the allocator what is free between blocks in use. Each of its heaps (one
    for every few threads) would stay as large as the largest uploads and rounds that ever came together, and in a
    forked process every page that is used again becomes a copy.
    """
    gc.collect()
    if _trim:
        _trim(0)


@asynccontextmanager
async def releasing() -> AsyncIterator[None]:
    """Release memory every ``RELEASE_S``, except for the objects that there are at the start: searching them takes
    long."""
    release_memory()
    gc.freeze()

    async def repeat() -> None:
        while True:
            await asyncio.sleep(RELEASE_S)
            await asyncio.to_thread(release_memory)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        gc.unfreeze()
