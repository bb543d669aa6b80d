"""Signals: during native code, and as a request to stop a training run."""

from __future__ import annotations

import faulthandler
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def handle_on_own_stack() -> None:
    """Have this thread's signals handled on a stack of their own; a crash of native code also prints where Python was.

    Matrix kernels of oneDNN, in PyTorch 2.11 at least, walk through memory of the heap with the stack's register. A
    signal that comes meanwhile, such as Ctrl-C or the end of a process that prepares batches, has its frame (12 KB with
    AMX) written there, over what lies below: "corrupted size vs. prev_size" some steps later (oneDNN's issue 4845).
    Python's own handlers ask for the other stack (SA_ONSTACK), and faulthandler provides one that is large enough.
    """
    if not faulthandler.is_enabled() and sys.__stderr__ is not None:
        faulthandler.enable(sys.__stderr__)


class StopRequest:
    """Whether somebody asked the run to stop."""

    requested = False


@contextmanager
def stop_signals() -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a request that the training loop honors between two steps.

    A second signal takes effect at once.
    """
    handle_on_own_stack()
    stop = StopRequest()

    def request(number: int, frame: FrameType | None) -> None:
        stop.requested = True
        signal.signal(number, previous[signal.Signals(number)])

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, request) for number in signals}
    try:
        yield stop
    finally:
        for number in signals:
            signal.signal(number, previous[number])
