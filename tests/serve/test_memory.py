"""Memory of a server: what is free goes back to the system, and clients leave nothing behind."""

from __future__ import annotations

import subprocess
import sys

import pytest

from recitative.serve import streams

HOLES = """
import os
from recitative.serve.access import memory_of
from recitative.serve.streams import release_memory

blocks = [b"x" * 100_000 for _ in range(1000)]  # small enough for the heap
del blocks[::2]
before = memory_of(os.getpid())[0]
release_memory()
print(before - memory_of(os.getpid())[0])
"""


@pytest.mark.skipif(not streams._trim, reason="the allocator is not glibc's")
def test_memory_that_is_free_between_blocks_in_use_is_returned():
    run = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    assert int(run.stdout) > 500 * 90_000
