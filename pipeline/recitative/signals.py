"""Signals: during native code, and as a request to stop a training run."""

from __future__ import annotations

import faulthandler
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def handle_on_own_stack() -> None:
    """Handle signals of this thread on a separate stack; a crash of native code also prints the Python traceback.

    Matrix kernels of oneDNN, at least in PyTorch 2.11, use the stack pointer to walk through heap memory. The frame of
    a signal that arrives meanwhile, such as Ctrl-C or the end of a worker process, is written there (12 KB with AMX):
    "corrupted size vs. prev_size" some steps later (oneDNN's issue 4845). Python's handlers request the alternate stack
    (SA_ONSTACK), and faulthandler provides one that is large enough.
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
