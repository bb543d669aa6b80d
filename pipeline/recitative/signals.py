"""Signals beside native code."""

from __future__ import annotations

import faulthandler
import sys


def handle_on_own_stack() -> None:
    """Have this thread's signals handled on a stack of their own; a crash of native code also prints where Python was.

    Matrix kernels of oneDNN, in PyTorch 2.11 at least, walk through memory of the heap with the stack's register. A
    signal that comes meanwhile, such as Ctrl-C or the end of a process that prepares batches, has its frame (12 KB with
    AMX) written there, over what lies below: "corrupted size vs. prev_size" some steps later (oneDNN's issue 4845).
    Python's own handlers ask for the other stack (SA_ONSTACK), and faulthandler provides one that is large enough.
    """
    if not faulthandler.is_enabled() and sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)
