"""Permissions that hold for the superuser, too, as which tests often run in containers."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

OVERRIDES = 1 << 1 | 1 << 2  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH of linux/capability.h
VERSION = 0x20080522


@contextmanager
def unprivileged() -> Iterator[None]:
    """This thread, and threads and processes that it starts, must obey the permissions of files.

    Raises OSError if the system has no capabilities.
    """
    if os.geteuid():
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(VERSION, 0)
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: the lower 32 bits, then the upper ones

    def call(name: str) -> None:
        if getattr(libc, name)(header, sets):
            raise OSError(ctypes.get_errno(), f"{name} failed")

    call("capget")
    before = sets[0]
    sets[0] = before & ~OVERRIDES
    call("capset")
    try:
        yield
    finally:
        sets[0] = before
        call("capset")
