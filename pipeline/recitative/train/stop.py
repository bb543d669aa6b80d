"""Stopping a run from outside without losing a step."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from recitative.signals import handle_on_own_stack


class Stop:
    """Whether somebody asked the run to stop."""

    requested = False


@contextmanager
def stop_signals() -> Iterator[Stop]:
    """Turn SIGINT and SIGTERM into a request that the loop honours between two steps; a second one acts at once."""
    handle_on_own_stack()
    stop = Stop()

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
